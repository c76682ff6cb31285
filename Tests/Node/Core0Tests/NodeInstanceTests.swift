import Bus
import CLinux
import CanonicalJSON
import Glibc
import Linux
import Testing

@testable import Core0

/// Instances of templates, and what is kept for them.
extension Nodes {
    @Test func instancesComeAndGoWithoutATrace() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("t@", "started_by = compute\nkind = data\nready = notify")
        try node.unit("short@", "started_by = compute\nrestart = never", script: "exit 3\n")
        try node.start()
        func cycle(_ range: Range<Int>) throws {
            for index in range {
                let body: JSONValue = ["unit": "t@", "instance": .string("i\(index)")]
                #expect(try node.call("CORE.START", body)["state"] == "running")
                if index % 3 == 0 { _ = try node.call("CORE.START", body) }
                let stop: JSONValue = ["unit": "t@", "instance": .string("i\(index)"), "forget": true]
                _ = try node.call("CORE.STOP", stop)
                let short: JSONValue = ["unit": "short@", "instance": .string("s\(index)")]
                _ = try node.call("CORE.START", short)
                #expect(node.eventually { try node.status()["short@s\(index)"]?["state"] == "failed" })
                _ = try node.call("CORE.STOP", ["unit": "short@", "instance": .string("s\(index)"), "forget": true])
            }
        }
        func descriptors() throws -> Int { try File.list("/proc/\(try node.corePid())/fd").count }
        try cycle(0..<40)
        let (fds, memory) = (try descriptors(), try node.core()["rss"]?.integer ?? 0)
        try cycle(40..<240)
        #expect(node.eventually { try descriptors() <= fds })
        let grown = (try node.core()["rss"]?.integer ?? 0) - memory
        #expect(grown < 1 << 20, "200 cycles may not grow zero-core; grew by \(grown) bytes")
        #expect(try node.status().isEmpty)
        #expect(try File.list("\(node.root)/run/core") == ["lock"])
        #expect(try File.list("\(node.root)/state/log") == ["core.log"])
        #expect(try node.end() == [])
    }

    @Test func keptDescriptorsComeBackEvenWhenZeroCoreDied() throws {
        let node = try TestNode()
        defer { node.clean() }
        let keeper = "\(try TestPrograms.folder.get())/keeper"
        try node.unit(
            "k@",
            "exec = \(keeper) {run}/core.sock treasure-{instance}\nstarted_by = compute\nready = notify\nkind = data")
        try node.start()
        let one: JSONValue = ["unit": "k@", "instance": "one"]
        _ = try node.call("CORE.START", one)
        #expect(node.log("k@one").contains("stored: $2\r\n{}"))
        #expect(try node.status()["k@one"]?["descriptors"] == ["memory"])
        // Its own death, zero-core's death and the watcher's: the descriptor is handed on.
        for round in 1...4 {
            if round == 2 || round == 4 {
                let core = try node.corePid()
                kill(core, SIGKILL)
                #expect(node.eventually { try node.corePid() != core })
            }
            if round == 3 {
                let watch = try node.watchPid()
                kill(watch, SIGKILL)
                #expect(node.eventually { try node.watchPid() != watch && node.core()["watched"] == true })
            }
            kill(Int32(try node.pids()["k@one"] ?? 0), SIGKILL)
            #expect(
                node.eventually {
                    node.log("k@one").split(separator: "\n").filter { $0 == "kept memory:4: treasure-one" }.count
                        == round
                }, "round \(round): \(node.log("k@one"))")
        }
        _ = try node.call("CORE.STOP", one)
        #expect(try node.core()["descriptors"] == 1)
        _ = try node.call("CORE.START", one)
        #expect(node.eventually { node.log("k@one").contains("kept memory:4") })
        #expect(node.refusal("CORE.STORE-FD", ["unit": "k@", "instance": "one", "name": "x"]) == "DENIED")
        _ = try node.call("CORE.STOP", ["unit": "k@", "instance": "one", "forget": true])
        #expect(try node.core()["descriptors"] == 0)
        // Forgotten by the watcher as well.
        let core = try node.corePid()
        kill(core, SIGKILL)
        #expect(node.eventually { try node.corePid() != core })
        #expect(try node.core()["descriptors"] == 0)
        #expect(try node.end() == [])
    }

    @Test func statusOfWhatEndedIsKnownForAdoptedOnesToo() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit(
            "t@", "started_by = compute\nrestart = never", script: "trap 'exit 5' USR1\nwhile :; do sleep 0.05; done\n")
        try node.start()
        _ = try node.call("CORE.START", ["unit": "t@", "instance": "a"])
        let core = try node.corePid()
        kill(core, SIGKILL)
        #expect(node.eventually { try node.corePid() != core })
        _ = try node.call("CORE.SIGNAL", ["unit": "t@", "instance": "a", "signal": "USR1"])
        #expect(node.eventually { try node.status()["t@a"]?["state"] == "failed" })
        #expect(try node.status()["t@a"]?["reason"] == "ended with status 5")
        #expect(node.refusal("CORE.SIGNAL", ["unit": "t@", "instance": "a", "signal": "USR1"]) == "NOTFOUND")
        #expect(node.refusal("CORE.SIGNAL", ["unit": "t@", "instance": "a", "signal": "KILL"]) == "BADREQUEST")
        #expect(try node.end() == [])
    }

    @Test func networkNamespacesAreEnteredBeforePrivilegesAreDropped() throws {
        let node = try TestNode()
        defer { node.clean() }
        let name = "zc-c0t\(getpid())"
        try Subprocess.check("ip", ["netns", "add", name])
        defer { _ = try? Subprocess.run("ip", ["netns", "del", name]) }
        try node.unit(
            "n@", "started_by = network\naccount = dns\nnetns = /run/netns/{instance}",
            script: "readlink /proc/self/ns/net\n" + TestNode.serving)
        try node.start()
        #expect(try node.call("CORE.START", ["unit": "n@", "instance": .string(name)])["state"] == "running")
        let inode = try File.status("/run/netns/\(name)").inode
        #expect(node.eventually { node.log("n@\(name)").contains("net:[\(inode)]") })
        let missing = try node.call("CORE.START", ["unit": "n@", "instance": "nowhere"])
        #expect(missing["state"] == "backoff")
        #expect(missing["reason"] == "open /run/netns/nowhere: No such file or directory")
        #expect(try node.end() == [])
    }

    @Test func rubbishOnTheSocketHurtsNobody() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("a")
        try node.start()
        var state: UInt64 = 11
        for round in 0..<200 {
            let fd = zg_unix_connect(node.socket)
            #expect(fd >= 0)
            var bytes = round % 2 == 0 ? Array("*2\r\n$11\r\nCORE.STATUS\r\n$".utf8) : []
            for _ in 0..<(round * 7 % 300) {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes.append(UInt8(truncatingIfNeeded: state >> 33))
            }
            if round % 5 == 0 { bytes += Array("\r\nCORE.STATUS [\r\nPING\r\n".utf8) }
            _ = bytes.withUnsafeBytes { zg_send(fd, $0.baseAddress, $0.count, nil, 0) }
            close(fd)
        }
        let core = try node.corePid()
        #expect(node.isRunning("a"))
        // Requests in one write are answered in order, though the second has to wait.
        let fd = zg_unix_connect(node.socket)
        defer { close(fd) }
        let lines = Array("CORE.RESTART '{\"unit\":\"a\"}'\r\nPING\r\nCORE.STOP '{\"unit\":\"a\"}'\r\nPING\r\n".utf8)
        _ = lines.withUnsafeBytes { zg_send(fd, $0.baseAddress, $0.count, nil, 0) }
        var reply = ""
        var buffer = [UInt8](repeating: 0, count: 256)
        while reply.utf8.count < 30, zg_poll(fd, UInt32(ZG_READABLE), 5000) > 0 {
            let count = read(fd, &buffer, buffer.count)
            guard count > 0 else { break }
            reply += String(decoding: buffer[..<count], as: UTF8.self)
        }
        #expect(reply == "$2\r\n{}\r\n+PONG\r\n$2\r\n{}\r\n+PONG\r\n")
        #expect(try node.corePid() == core)
        #expect(try node.end() == [])
    }

    @Test func aSecondZeroCoreIsRefused() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("a")
        try node.start()
        let core = try node.corePid()
        #expect(throws: SubprocessError.self) { try node.start() }
        #expect(try node.corePid() == core)
        #expect(node.isRunning("a"))
        let watch = try node.watchPid()
        kill(watch, SIGTERM)
        #expect(node.eventually { TestNode.processes("", node.root).isEmpty })
    }

    @Test func whatWasStoppedStaysStoppedAndAShutdownIsFinishedByTheNext() throws {
        let node = try TestNode()
        defer { node.clean() }
        try node.unit("a")
        try node.unit("slow", script: "trap 'sleep 1; exit 0' TERM\necho on\nwhile :; do sleep 0.05; done\n")
        try node.start()
        #expect(node.eventually { node.log("slow") == "on\n" })
        _ = try node.call("CORE.STOP", ["unit": "a"])
        for _ in 0..<2 {
            let core = try node.corePid()
            kill(core, SIGKILL)
            #expect(node.eventually { try node.corePid() != core })
            #expect(try node.status()["a"]?["state"] == "stopped")
        }
        kill(try node.corePid(), SIGTERM)
        usleep(200_000)
        kill(try node.corePid(), SIGKILL)
        #expect(node.eventually { TestNode.processes("", node.root).isEmpty })
        #expect(node.log("slow") == "on\n" && !File.exists(node.socket))
        // The next start is a new one.
        try node.start()
        #expect(node.eventually { node.isRunning("a") && node.isRunning("slow") })
        #expect(try node.end() == [])
    }
}
