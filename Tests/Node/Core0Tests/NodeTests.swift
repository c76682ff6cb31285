import Bus
import CLinux
import CanonicalJSON
import Glibc
import Linux
import Testing

@testable import Core0

/// Real processes: zero-watch, zero-core and units of shell scripts. As root only: accounts are changed.
@Suite(.serialized, .enabled(if: getuid() == 0, "needs root: units run under accounts of their own"))
struct Nodes {
    @Test func unitsStartInOrderAndStopInReverse() throws {
        let node = try TestNode()
        defer { node.clean() }
        let script = """
            trap 'echo stop-'$ZERO_UNIT' >> '$2'/order; exit 0' TERM
            sleep 0.2
            echo ready-$ZERO_UNIT >> $2/order
            echo READY=1 >&3
            while :; do sleep 0.05; done
            """
        try node.unit("third", "after = first second\nready = notify", script: script)
        try node.unit("second", "after = first\nready = notify", script: script)
        try node.unit("first", "ready = notify", script: script)
        try node.start()
        #expect(node.eventually { node.isRunning("third") })
        #expect(try node.end() == [])
        let order = try File.readText("\(node.root)/run/order").split(separator: "\n")
        #expect(order == ["ready-first", "ready-second", "ready-third", "stop-third", "stop-second", "stop-first"])
        #expect(!File.exists(node.socket))
        #expect(try File.list("\(node.root)/run/core") == ["lock"])
    }

    @Test func everythingOutlivesZeroCoreAndIsAdopted() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("control", "ready = notify\naccount = identity")
        try node.unit("data", "kind = data\nafter = control")
        try node.unit("t@", "kind = data\nstarted_by = compute")
        // Ready only after its zero-core is dead; that must not be lost, nor end it.
        try node.unit(
            "slow", "ready = notify", script: "sleep 1\necho READY=1 >&3\nexec tail -n 0 -f \(node.units)/slow.unit\n")
        try node.start()
        #expect(try node.call("CORE.START", ["unit": "t@", "instance": "one"])["state"] == "running")
        #expect(node.eventually { node.isRunning("data") })
        let before = try node.pids()
        #expect(before.count == 4)
        for _ in 0..<3 {
            let core = try node.corePid()
            kill(core, SIGKILL)
            #expect(node.eventually { try node.corePid() != core })
            #expect(try node.pids() == before)
        }
        #expect(node.eventually { node.isRunning("slow") })

        // The watcher dies: zero-core gets a new one, and that one works too.
        let watch = try node.watchPid()
        kill(watch, SIGKILL)
        #expect(
            node.eventually { try node.watchPid() > 0 && node.watchPid() != watch && node.core()["watched"] == true })
        let core = try node.corePid()
        kill(core, SIGKILL)
        #expect(node.eventually { try node.corePid() != core })
        #expect(try node.pids() == before)

        // Both die at once: whoever starts them again finds everything.
        kill(try node.watchPid(), SIGKILL)
        kill(try node.corePid(), SIGKILL)
        usleep(100_000)
        #expect(before.values.allSatisfy { ProcessIdentity(pid: Int32($0)) != nil })
        try node.start()
        #expect(try node.pids() == before)
        #expect(try node.status().values.allSatisfy { $0["restarts"] == 0 && $0["state"] == "running" })

        // What died while nobody looked is started again.
        kill(try node.watchPid(), SIGKILL)
        kill(try node.corePid(), SIGKILL)
        kill(Int32(before["control"] ?? 0), SIGKILL)
        usleep(100_000)
        try node.start()
        #expect(node.eventually { node.isRunning("control") })
        let after = try node.pids()
        #expect(after["control"] != before["control"] && after["data"] == before["data"])
        #expect(try node.end() == [])
    }

    @Test func recordsOfAnotherBootAreForgotten() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("a")
        try File.makeDirectories("\(node.root)/run/core")
        var foreign = ProcessRecord(ProcessKey("a"), boot: "another")
        (foreign.pid, foreign.startTime, foreign.isReady) = (
            getpid(), ProcessIdentity(pid: getpid())?.startTime ?? 0, true
        )
        try File.write("\(node.root)/run/core/a.json", foreign.document.canonicalBytes)
        try File.write("\(node.root)/run/core/b.json", Array("rubbish".utf8))
        // A record of this boot, whose pid belongs to somebody else by now.
        var reused = ProcessRecord(ProcessKey("t@", "x"), boot: Clock.bootIdentity())
        (reused.pid, reused.startTime) = (getpid(), 1)
        try node.unit("t@", "started_by = compute\nrestart = never")
        try File.write("\(node.root)/run/core/t@x.json", reused.document.canonicalBytes)
        try node.start()
        #expect(node.eventually { node.isRunning("a") })
        #expect(try node.pids()["a"] != Int64(getpid()))
        #expect(try node.status()["t@x"]?["state"] == "failed")
        #expect(try node.end() == [])
    }

    @Test func accountsCapabilitiesAndDescriptorsAreDropped() throws {
        let node = try TestNode()
        defer { node.clean() }
        let script =
            "ls -l /proc/self/fd | grep -c ' -> '\necho fds $(echo /proc/$$/fd/*)\nenv\nulimit -c\n" + TestNode.serving
        try node.unit("plain", "account = db\ndirectories = {state}/db:0710 {run}/x/y:0755:proxy", script: script)
        try node.unit("net", "account = network\ncapabilities = net_admin net_raw\nno_new_privs = no\nno_file = 77")
        try node.unit("weak", "account = root")
        try node.unit("strong", "account = root\ncapabilities = all\nno_new_privs = no\nenvironment = \"A=b c\"")
        try node.start()
        #expect(node.eventually { ["plain", "net", "weak", "strong"].allSatisfy(node.isRunning) })
        func facts(_ unit: String) throws -> [String: String] {
            let text = try File.readText("/proc/\(try node.pids()[unit] ?? 0)/status")
            var facts: [String: String] = [:]
            for line in text.split(separator: "\n") {
                let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
                facts[parts[0]] = parts[1].split(whereSeparator: \.isWhitespace).joined(separator: " ")
            }
            return facts
        }
        let none = "0000000000000000"
        let network = "0000000000003000"
        for (unit, uid, caps, privs) in [
            ("plain", "64102", none, "1"), ("net", "64105", network, "0"), ("weak", "0", none, "1"),
        ] {
            let facts = try facts(unit)
            for name in ["Uid", "Gid"] { #expect(facts[name] == "\(uid) \(uid) \(uid) \(uid)", "\(unit)") }
            #expect(facts["Groups"] == "64100" && facts["NoNewPrivs"] == privs)
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                #expect(facts[set] == caps, "\(unit) \(set)")
            }
            // The shell blocks signals itself while it forks.
            #expect(
                node.eventually {
                    try File.readText("/proc/\(node.pids()[unit] ?? 0)/status").contains("SigBlk:\t\(none)")
                })
            #expect(facts["SigIgn"] == none)
        }
        #expect(try facts("strong")["CapEff"] == facts("strong")["CapBnd"] && facts("strong")["CapEff"] != none)
        let limits = try File.readText("/proc/\(try node.pids()["net"] ?? 0)/limits")
        #expect(limits.contains("Max open files            77                   77"))
        // It says so after it was started; a busy machine lets us look before it did.
        #expect(node.eventually { node.log("plain").contains("\n0\n") })
        let said = node.log("plain")
        #expect(said.contains("fds /proc/\(try node.pids()["plain"] ?? 0)/fd/0 "))
        for fd in 3...9 { #expect(!said.contains("/fd/\(fd) "), "descriptor \(fd) leaked") }
        #expect(!said.contains("WATCH") && said.contains("ZERO_UNIT=plain") && said.contains("\n0\n"))
        let folder = try File.status("\(node.root)/state/db")
        #expect(folder.uid == 64102 && folder.gid == 64102 && folder.permissions == 0o710)
        #expect(try File.status("\(node.root)/run/x/y").uid == 64109)
        let run = try File.status("\(node.root)/run")
        #expect(run.permissions == 0o1775 && run.gid == 64100)
        #expect(try node.end() == [])
    }

    @Test func aProgramUnderAFolderThatItsAccountCannotEnterIsRun() throws {
        let node = try TestNode()
        defer { node.clean() }
        // As in a clone under /root: closed for every account, open for zero-core.
        let closed = "\(node.root)/closed"
        try File.makeDirectories(closed, mode: 0o700)
        try Subprocess.check("cp", ["/bin/sleep", "\(closed)/sleep"])
        try node.unit("inside", "account = identity\nexec = \(closed)/sleep 1000")
        try node.start()
        #expect(node.eventually { node.isRunning("inside") })
        let pid = try #require(try node.pids()["inside"])
        #expect(try File.readText("/proc/\(pid)/status").contains("Uid:\t64101\t64101"))
        #expect(try node.end() == [])
    }

    @Test func verbsAreRefusedByAccount() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("t@", "started_by = compute\nkind = data")
        let ask = """
            for request in 'CORE.START {"unit":"t@","instance":"by-NAME"}' 'CORE.STOP {"unit":"other"}' \
                'CORE.SHUTDOWN {}' 'CORE.STATUS {}' 'CORE.RELOAD {}' 'PING' \
                'CORE.STORE-FD {"unit":"t@","instance":"by-NAME","name":"x"}'; do
                set -- $request; echo "$1: $(redis-cli -s "$RUN/core.sock" "$@" 2>&1)"
            done
            echo finished
            exec tail -n 0 -f "$0"
            """
        func script(_ name: String) -> String {
            "RUN=$2\n" + ask.split(separator: "NAME", omittingEmptySubsequences: false).joined(separator: name)
        }
        try node.unit("other", "account = db")
        try node.unit("compute", "account = compute\nafter = other", script: script("compute"))
        try node.unit("dns", "account = dns\nafter = other", script: script("dns"))
        try node.start()
        #expect(node.eventually { node.log("compute").contains("finished") && node.log("dns").contains("finished") })
        let (compute, dns) = (node.log("compute"), node.log("dns"))
        #expect(compute.contains("CORE.START: {\"pid\":"))
        #expect(dns.contains("CORE.START: DENIED CORE.START of t@ is not for dns"))
        for said in [compute, dns] {
            for verb in ["CORE.STOP", "CORE.SHUTDOWN", "CORE.RELOAD", "CORE.STORE-FD"] {
                #expect(said.contains("\(verb): DENIED"), "\(verb): \(said)")
            }
            #expect(said.contains("PING: PONG"))
        }
        #expect(compute.contains("CORE.STATUS: {\"units\":[{") && !compute.contains("\"name\":\"other\""))
        #expect(dns.contains("CORE.STATUS: DENIED"))
        #expect(node.isRunning("other"))
        #expect(try node.end() == [])
    }

    @Test func crashesAreTriedAgainLaterAndLater() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("crash", script: "date +%s%N\nexit 7\n")
        try node.unit("missing", "exec = /nowhere/program")
        try node.unit("unset", "exec = /bin/sleep {nothing}")
        try node.unit("once", "restart = on-failure", script: "exit 0\n")
        try node.unit(
            "mute", "ready = notify\nready_timeout = 300 ms", script: "exec tail -n 0 -f \(node.units)/mute.unit\n")
        try node.start()
        #expect(node.eventually { node.log("crash").split(separator: "\n").count >= 5 })
        let times = node.log("crash").split(separator: "\n").compactMap { Int64($0) }
        let waits = zip(times.dropFirst(), times).map { ($0 - $1) / 1_000_000 }
        for (index, wait) in waits.prefix(4).enumerated() { #expect(wait >= 50 << index && wait < 100 << index + 400) }
        #expect(node.eventually { try node.status()["crash"]?["state"] == "backoff" })
        let status = try node.status()
        #expect(status["crash"]?["reason"] == "ended with status 7")
        #expect(status["missing"]?["reason"] == "run /nowhere/program: No such file or directory")
        #expect(status["unset"]?["reason"] == "unset.unit: {nothing} has no value: it is not in core/settings.conf")
        #expect(status["once"]?["state"] == "exited")
        #expect(
            status["mute"]?["reason"] == "was not ready within 300 ms"
                || (status["mute"]?["restarts"]?.integer ?? 0) > 0)
        // The setting comes: it starts without anybody's help.
        try File.write("\(node.root)/state/core/settings.conf", Array("nothing = 600\n".utf8))
        #expect(node.eventually { node.isRunning("unset") })
        _ = try node.call("CORE.STOP", ["unit": "crash"])
        #expect(try node.status()["crash"]?["state"] == "stopped")
        #expect(try node.end() == [])
    }

    @Test func badUnitsStandInTheStatusAndAreMendedByReload() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("good")
        try node.unit("bad", "restrat = never")
        try node.unit("lost", "after = nobody")
        try node.start()
        #expect(node.eventually { node.isRunning("good") })
        let status = try node.status()
        #expect(status["bad"]?["state"] == "invalid")
        #expect(status["bad"]?["reason"]?.string?.contains("unknown key “restrat”; did you mean “restart”?") == true)
        #expect(status["lost"]?["state"] == "invalid")
        #expect(node.refusal("CORE.START", ["unit": "bad"]) == "FAILED")
        #expect(node.refusal("CORE.START", ["unit": "god"]) == "NOTFOUND")
        #expect(node.refusal("CORE.START", ["unit": "good", "instance": "x"]) == "BADREQUEST")
        #expect(node.refusal("CORE.START", ["unit": "good", "what": 1]) == "BADREQUEST")
        #expect(node.refusal("CORE.STAR") == "UNKNOWN")
        let good = try node.pids()["good"]
        try node.unit("bad", "restart = never")
        try node.unit("nobody")
        #expect(try node.call("CORE.RELOAD") == ["units": 4, "invalid": []])
        #expect(node.eventually { node.isRunning("bad") && node.isRunning("lost") })
        #expect(try node.pids()["good"] == good)
        // A changed file counts from the next start on.
        try node.unit("good", "environment = NEW=1", script: "echo new=$NEW\n" + TestNode.serving)
        _ = try node.call("CORE.RESTART", ["unit": "good"])
        #expect(try node.pids()["good"] != good)
        #expect(node.eventually { node.log("good").contains("new=1") })
        #expect(try node.end() == [])
    }

    @Test func nothingIsLeftOfAProcessGroupNorOfOrphans() throws {
        let node = try TestNode()
        defer { node.clean() }
        let children = "tail -n 0 -f \(node.units)/a &\nsetsid sh -c '(tail -n 0 -f \(node.units)/a &)'\n"
        try node.unit("parent", script: children + TestNode.serving)
        try File.write("\(node.units)/a", [])
        try node.unit(
            "stubborn", "stop_timeout = 300 ms", script: "trap '' TERM\necho on\nwhile :; do sleep 0.05; done\n")
        try node.unit(
            "burst", script: "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.1' &) ; done\n" + TestNode.serving)
        try node.start()
        #expect(node.eventually { TestNode.processes("tail", node.root).count >= 2 && node.log("stubborn") == "on\n" })
        let core = try node.corePid()
        #expect(
            node.eventually {
                let mine = try File.list("/proc").compactMap(Int32.init).filter { pid in
                    ((try? File.readText("/proc/\(pid)/stat")) ?? "").contains(" Z \(core) ")
                }
                return mine.isEmpty
            }, "zombies are reaped")
        kill(Int32(try node.pids()["parent"] ?? 0), SIGKILL)
        #expect(node.eventually { node.isRunning("parent") })
        let before = Clock.monotonicNanoseconds()
        #expect(try node.end() == [])
        #expect(Clock.monotonicNanoseconds() - before < 4_000_000_000)
    }

    @Test func logsAreBoundedAndSurviveZeroCore() throws {
        let node = try TestNode()
        defer { node.clean() }
        let line = String(repeating: "x", count: 99)
        let script = "i=0\nwhile [ $i -lt 4000 ]; do echo \(line); i=$((i+1)); done\n" + TestNode.serving
        try node.unit("talker", "log_max = 64 KiB", script: script)
        try node.start()
        #expect(node.eventually { File.exists("\(node.root)/state/log/talker.log.1") })
        #expect(node.eventually { (try File.status("\(node.root)/state/log/talker.log")).size < 65536 })
        #expect(try File.status("\(node.root)/state/log/talker.log.1").size <= 65536)
        let core = try node.corePid()
        kill(core, SIGKILL)
        #expect(node.eventually { try node.corePid() != core })
        _ = try node.call("CORE.RESTART", ["unit": "talker"])
        #expect(node.eventually { node.log("talker").contains("serving talker") })
        #expect(try node.end() == [])
    }
}
