import CLinux
import CanonicalJSON
import Glibc
import Linux
import RESP
import Shim
import Testing

/// Real shims, real runc, real control groups.
@Suite(.serialized, .enabled(if: World.isPossible, "\(World.why)"))
struct ShimProcessTests {
    private func inWorld(_ body: (World) throws -> Void) throws {
        let world = try World()
        defer { world.end() }
        try body(world)
    }

    private func group(_ id: String, _ controller: String, _ file: String) -> String {
        let text = (try? File.readText("/sys/fs/cgroup/\(controller)/zero/\(id)/\(file)")) ?? ""
        return text.split(separator: "\n").first.map(String.init) ?? ""
    }

    @Test("a container runs as Docker would run it, within its limits, and leaves nothing")
    func runs() throws {
        try inWorld { world in
            let id = "t-runs"
            let limits: JSONValue = ["cpu_milli": 250, "memory": 33_554_432, "pids": 20]
            let script = "trap 'echo bye; exit 0' TERM; echo $GREETING; while :; do sleep 0.05; done"
            try world.order(
                world.spec(id, script, ["env": ["GREETING": "hello"], "user": "web", "limits": limits, "cwd": "/var"]))
            let pid = try world.start(id)
            #expect(world.isRunning(id))
            #expect(world.until { world.log(id).contains("hello") })
            let probe = """
                id; grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/kcore | wc -c
                unshare -U true || echo no-unshare; cat /etc/hostname /etc/hosts; ls /sys/firmware | wc -l
                touch /proc/sys/x 2>/dev/null || echo proc-sys-ro; stat -f -c %T /dev/shm; echo $$ $PWD
                """
            let (status, output, errors) = try world.exec(id, ["/bin/sh", "-c", probe])
            #expect(status == 0, "\(errors)")
            #expect(output.contains("uid=1000(web) gid=1001(web) groups=1001(web),2000(extra)"))
            #expect(output.contains("CapEff:\t0000000000000000"))
            #expect(output.contains("CapBnd:\t00000000a80425fb"), "exactly Docker's capabilities")
            #expect(output.contains("NoNewPrivs:\t1") && output.contains("Seccomp:\t2"))
            #expect(output.contains("no-unshare") && output.contains("proc-sys-ro") && output.contains("tmpfs"))
            #expect(output.contains("web\n127.0.0.1\tlocalhost"))
            if File.exists("/sys/fs/cgroup/memory") {
                #expect(group(id, "memory", "memory.limit_in_bytes") == "33554432")
                #expect(group(id, "cpu", "cpu.cfs_quota_us") == "25000")
                #expect(group(id, "pids", "pids.max") == "20")
            }
            let container = try #require(world.state(id)?.pid)
            let stopped = try world.call(id, "SHIM.STOP", ["timeout": 5])
            #expect(stopped["state"]?.string == "stopped" && stopped["exit"]?.integer == 0)
            #expect(world.log(id).last == "bye")
            #expect(world.leftovers(id) == [])
            #expect(!File.exists("/proc/\(container)"))
            zg_kill(pid, SIGTERM)
            #expect(world.wait(pid) == 0)
        }
    }

    @Test("the container outlives a killed shim; the next one takes it over without losing a line")
    func survives() throws {
        try inWorld { world in
            let id = "t-survives"
            try world.order(world.spec(id, "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"))
            let first = try world.start(id)
            #expect(world.isRunning(id))
            let before = try #require(world.state(id))
            usleep(300_000)
            world.kill(first)
            usleep(700_000)
            try world.start(id)
            #expect(world.isRunning(id))
            let after = try #require(world.state(id))
            #expect(after.pid == before.pid && after.starts == 1 && after.started == before.started)
            #expect(after.shim != before.shim)
            usleep(300_000)
            let numbers = world.log(id).compactMap { Int($0) }
            #expect(numbers.count > 40 && numbers == Array(1...numbers.count))
            // Its end is noticed too, though it is nobody's child here, and the policy followed.
            _ = try world.call(id, "SHIM.KILL", ["signal": "KILL"])
            #expect(world.until { world.state(id)?.starts == 2 })
            #expect(try world.call(id, "SHIM.STOP", ["timeout": 0])["state"]?.string == "stopped")
            #expect(world.leftovers(id) == [])
        }
    }

    @Test("policies: always backs off, on-failure and never stay ended, also for a new shim")
    func policies() throws {
        try inWorld { world in
            try world.order(world.spec("t-always", "echo run; exit 7"))
            try world.start("t-always")
            #expect(world.until { (world.state("t-always")?.attempt ?? 0) >= 3 })
            #expect(world.until { world.state("t-always")?.name == .failed })
            let failed = try #require(world.state("t-always"))
            #expect(failed.reason == "ended with status 7" && failed.exit == 7 && failed.next != nil)
            #expect((failed.next ?? 0) - Clock.wallMilliseconds() <= 30_000)
            #expect(world.leftovers("t-always") == [])

            try world.order(world.spec("t-never", "echo run; exit 4", ["restart": "never"]))
            let shim = try world.start("t-never")
            #expect(world.until { world.state("t-never")?.name == .failed })
            #expect(world.state("t-never")?.reason == "ended with status 4")
            world.kill(shim)
            try world.start("t-never")
            usleep(400_000)
            #expect(world.state("t-never")?.name == .failed && world.log("t-never") == ["run"])

            try world.order(world.spec("t-once", "echo run; exit 0", ["restart": "on-failure"]))
            try world.start("t-once")
            #expect(world.until { world.state("t-once")?.name == .stopped })
            #expect(world.state("t-once")?.exit == 0 && world.log("t-once") == ["run"])
        }
    }

    @Test("limits bite: memory, processes")
    func limits() throws {
        try inWorld { world in
            let tight: JSONValue = ["memory": 16_777_216, "pids": 10]
            try world.order(world.spec("t-eats", "exec guest eat", ["limits": tight, "restart": "never"]))
            try world.start("t-eats")
            #expect(world.until { world.state("t-eats")?.name == .failed })
            #expect(world.state("t-eats")?.reason == "ended by signal 9, out of memory")
            try world.order(world.spec("t-forks", "exec guest forks", ["limits": tight, "restart": "never"]))
            try world.start("t-forks")
            #expect(world.until { world.state("t-forks")?.name == .failed })
            #expect(world.state("t-forks")?.exit == 42)
        }
    }

    @Test("ready means that the probe succeeds inside the container's network")
    func probes() throws {
        try inWorld { world in
            let ready: JSONValue = ["http": "/health", "port": 8099]
            try world.order(
                world.spec("t-web", "sleep 0.6; exec guest http 8099 '204 No Content'", ["ready": ready]))
            try world.start("t-web")
            #expect(world.isRunning("t-web"))
            #expect(world.state("t-web")?.ready == false)
            #expect(world.until { world.state("t-web")?.ready == true })
            try world.order(world.spec("t-sick", "exec guest http 8099 '500 No'", ["ready": ready]))
            try world.start("t-sick")
            #expect(world.until { world.state("t-sick")?.reason == "not ready: it answers with an error" })
            #expect(world.state("t-sick")?.ready == false)
            let port: JSONValue = ["port": 8099]
            try world.order(world.spec("t-sick", "exec guest http 8099 '500 No'", ["ready": port]), generation: 2)
            _ = try world.call("t-sick", "SHIM.RELOAD")
            #expect(world.until { world.state("t-sick")?.ready == true })
            #expect(world.state("t-sick")?.starts == 1, "a new probe is no new container")
        }
    }

    @Test("exec: input, output, status, user, errors, terminal")
    func execs() throws {
        try inWorld { world in
            let id = "t-exec"
            try world.order(world.spec(id, "while :; do sleep 1; done"))
            try world.start(id)
            #expect(world.isRunning(id))
            let cat = try world.exec(id, ["/bin/sh", "-c", "cat; echo oops >&2; exit 9"], input: "a\nb\n")
            #expect(cat == (9, "a\nb\n", "oops\n"))
            #expect(try world.exec(id, ["/bin/sh", "-c", "kill -9 $$"]).0 == 137)
            #expect(try world.exec(id, ["id", "-un"], ["user": "web"]).1 == "web\n")
            #expect(try world.exec(id, ["env"], ["env": ["A": "b"], "cwd": "/tmp"]).1.contains("A=b\n"))
            #expect(try world.exec(id, ["/no/such"]).2.contains("no such file"))
            #expect(try world.exec(id, []).2.contains("BADREQUEST"))

            let terminal = try Conversation(
                world.paths(id).socket, ["args": ["/bin/sh", "-c", "tty; read x; echo got $x"]])
            #expect(try terminal.receive { $0.contains("/dev/pts/0") })
            terminal.type("yes\n")
            #expect(try terminal.receive { $0.contains("got yes") })
            #expect(try terminal.reply().contains("{\"exit\":0}"))
            // A client that goes takes its program with it.
            let gone = try Conversation(world.paths(id).socket, ["args": ["/bin/sleep", "777"]])
            #expect(
                try world.until {
                    try world.exec(id, ["/bin/sh", "-c", "cat /proc/*/cmdline | grep -c '77[7]'"]).0 == 0
                })
            gone.end()
            #expect(
                try world.until {
                    try world.exec(id, ["/bin/sh", "-c", "grep -l '77[7]' /proc/[0-9]*/cmdline"]).1 == ""
                })
        }
    }

    @Test("secrets reach the program and nothing else")
    func secrets() throws {
        try inWorld { world in
            let value = "s3cr3t-\(getpid())-value"
            let helper = "\(world.folder)/zero-init"
            let source = "\(World.sources)/Sources/C/init/zero-init.c"
            _ = try Subprocess.check("/usr/bin/cc", ["-static", "-o", helper, source])
            let identity = try FakeIdentity(world.run, ["TOKEN": value, "cert": "file of \(value)"])
            defer { identity.stop() }
            let secrets: JSONValue = [
                "TOKEN": ["sealed": "AAAA", "box": "BBBB", "env": ["API_TOKEN"]], "cert": ["sealed": "AAAA"],
            ]
            let script = """
                [ "$API_TOKEN" = "\("s3cr3t-")$SUFFIX" ] && echo env-ok; cat /run/secrets/cert | wc -c
                stat -c '%a %U' /run/secrets/cert /run/secrets; ls /proc/self/fd | wc -l; while :; do sleep 1; done
                """
            try world.order(
                world.spec(
                    "t-secret", script,
                    ["secrets": secrets, "user": "web", "env": ["SUFFIX": "\(getpid())-value"] as JSONValue]))
            let pid = try world.start("t-secret", initHelper: helper)
            #expect(world.isRunning("t-secret"))
            #expect(world.until { world.log("t-secret").count >= 5 })
            let log = world.log("t-secret")
            #expect(log.starts(with: ["env-ok", "\(value.utf8.count + 8)", "400 web", "700 web"]), "\(log)")
            let files = try Subprocess.run("/bin/grep", ["-r", "-l", "-a", value, world.folder, "--exclude-dir=proc"])
            #expect(files.text == "", "no file of the node holds it")
            #expect(!Memory.holds(value, of: pid), "the shim never had it")
            #expect(try world.exec("t-secret", ["env"]).1.contains(value) == false)
        }
    }

    @Test("a log stays within its bound, and readers follow through its turns")
    func logs() throws {
        try inWorld { world in
            let id = "t-log"
            let script =
                "n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo $n padding-padding-padding-padding; [ x${n#${n%??}} = x00 ] && sleep 0.03; done; sleep 60"
            try world.order(world.spec(id, "sleep 0.5; " + script, ["log_max": 65536]))
            try world.start(id)
            #expect(world.isRunning(id))
            var reader = LogReader(folder: world.paths(id).logs)
            var seen = try reader.tail(10).count
            let isWhole = try world.until {
                seen += try reader.more().count
                return seen >= 3000
            }
            let lost = reader.lost
            #expect(isWhole && seen == 3000 && !lost, "\(seen) lines, lost: \(lost)")
            let sizes = [LogFiles.current, LogFiles.previous].map { name in
                (try? File.status("\(world.paths(id).logs)/\(name)").size) ?? -1
            }
            #expect(sizes.allSatisfy { $0 > 0 && $0 <= 32768 }, "\(sizes)")
            #expect(world.log(id).last?.hasPrefix("3000 ") == true)
        }
    }

    @Test("a planted link, a foreign volume and rubbish on the socket do no harm")
    func hostile() throws {
        try inWorld { world in
            let id = "t-hostile"
            try world.order(world.spec(id, "while :; do sleep 1; done", ["volumes": [["path": "/etc", "at": "/x"]]]))
            try world.start(id)
            #expect(world.until { world.state(id)?.reason?.contains("is not below") == true })
            let paths = world.paths(id)
            try File.makeDirectories("\(world.state)/storage")
            symlink("/etc", "\(world.state)/storage/v")
            let volume: JSONValue = [["path": .string("\(world.state)/storage/v"), "at": "/x"]]
            try world.order(world.spec(id, "while :; do sleep 1; done", ["volumes": volume]), generation: 2)
            _ = try world.call(id, "SHIM.RELOAD")
            #expect(world.until { world.state(id)?.reason?.hasPrefix("volume: ") == true })
            _ = try Subprocess.run("/bin/umount", ["-l", paths.image])
            try File.remove(paths.image)
            symlink("/", paths.image)
            try world.order(world.spec(id, "while :; do sleep 1; done"), generation: 3)
            _ = try world.call(id, "SHIM.RELOAD")
            #expect(world.until { world.state(id)?.reason?.hasPrefix("mount: open") == true })
            let socket = zg_unix_connect(paths.socket)
            let rubbish: [UInt8] = Array("*99999999\r\n$-7\r\n\u{0}\u{1}".utf8)
            _ = rubbish.withUnsafeBytes { write(socket, $0.baseAddress, $0.count) }
            close(socket)
            for body in ["{", "[1,2]", "{\"timeout\":-1}"] {
                let client = RESPClient(unix: paths.socket)
                let reply = try client.call([Array("SHIM.STOP".utf8), Array(body.utf8)], deadline: .seconds(5))
                if body != "[1,2]" { #expect(reply.failure?.code == "BADREQUEST") }
            }
            #expect(world.state(id) != nil)
            let denied = try Subprocess.run(
                "/usr/bin/setpriv",
                ["--reuid=64111", "--clear-groups", "redis-cli", "-s", paths.socket, "SHIM.STOP", "{}"])
            #expect(denied.text.contains("DENIED"))
            let stranger = try Subprocess.run(
                "/usr/bin/setpriv", ["--reuid=12345", "--clear-groups", "redis-cli", "-s", paths.socket, "SHIM.STATE"])
            #expect(!stranger.text.contains("state"))
        }
    }

    @Test("another spec replaces the container, an image mounted anew starts it again, remove leaves nothing")
    func changes() throws {
        try inWorld { world in
            let id = "t-changes"
            try world.order(world.spec(id, "echo one; touch /mark; while :; do sleep 0.1; done", ["stop_seconds": 1]))
            let pid = try world.start(id)
            #expect(world.isRunning(id))
            try world.order(
                world.spec(
                    id, "ls /mark || echo fresh; while :; do sleep 0.1; done", ["version": 2, "stop_seconds": 1]),
                generation: 2)
            #expect(try world.call(id, "SHIM.RELOAD")["state"]?.string == "preparing")
            #expect(world.until { world.state(id)?.starts == 2 })
            #expect(world.until { world.log(id).contains("fresh") })
            #expect(world.state(id)?.generation == 2)
            try world.mountImage(world.paths(id))
            #expect(world.until { world.state(id)?.starts == 3 })
            try world.order(world.spec(id, "true"), desired: "remove", generation: 3)
            _ = try world.call(id, "SHIM.RELOAD")
            #expect(world.wait(pid) == 0)
            #expect(world.leftovers(id) == [])
            #expect(!File.exists(world.paths(id).kept) && !File.exists(world.paths(id).live))
        }
    }
}
