import Bus
import CLinux
import CanonicalJSON
import Glibc
import Linux
import Testing

@testable import Core0

/// Programs that the tests run, built once: zero-watch, and a unit that keeps a descriptor.
enum TestPrograms {
    struct Fault: Error { let message: String }

    /// The folder of the test bundle, where the package's programs are too.
    static let built: String = {
        var candidates = [Core.executable() ?? ""]
        candidates += CommandLine.arguments.filter { $0.hasSuffix(".xctest") }
        for path in candidates where File.exists(File.parent(path) + "/zero-core") { return File.parent(path) }
        return ""
    }()

    static let folder: Result<String, any Error> = Result {
        guard !built.isEmpty else { throw Fault(message: "zero-core is not built: ZERO_TARGETS=zero-core swift test") }
        let folder = "/tmp/zero-core-tests.\(getpid())"
        try File.makeDirectories(folder)
        let source = "\(File.parent(#filePath))/../../../Sources/C/watch/zero-watch.c"
        try Subprocess.check("cc", ["-O1", "-static", "-o", "\(folder)/zero-watch", source])
        try File.write("\(folder)/keeper.c", Array(keeper.utf8))
        try Subprocess.check("cc", ["-o", "\(folder)/keeper", "\(folder)/keeper.c"])
        try File.changeMode("\(folder)/keeper", 0o755)
        atexit { try? File.removeTree("/tmp/zero-core-tests.\(getpid())") }
        return folder
    }

    /// Without kept descriptors it makes one and stores it; with them it says what is in the first.
    private static let keeper = """
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            setvbuf(stdout, 0, _IOLBF, 0);
            const char *kept = getenv("ZERO_FDS");
            if (kept) {
                char text[64] = {0};
                int fd = atoi(strchr(kept, ':') + 1);
                if (pread(fd, text, 63, 0) > 0) printf("kept %s: %s\\n", kept, text);
            } else {
                int fd = memfd_create("kept", 0), bus = socket(AF_UNIX, SOCK_STREAM, 0);
                if (write(fd, argv[2], strlen(argv[2])) < 0) return 1;
                struct sockaddr_un name = {.sun_family = AF_UNIX};
                strcpy(name.sun_path, argv[1]);
                if (connect(bus, (struct sockaddr *)&name, sizeof(name))) return 2;
                char line[256], reply[256], space[CMSG_SPACE(sizeof(int))] = {0};
                snprintf(line, sizeof(line), "CORE.STORE-FD '{\\"unit\\":\\"%s\\",\\"instance\\":\\"%s\\",\\"name\\":\\"memory\\"}'\\r\\n",
                         getenv("ZERO_UNIT"), getenv("ZERO_INSTANCE"));
                struct iovec part = {line, strlen(line)};
                struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
                struct cmsghdr *header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(header), &fd, sizeof(int));
                sendmsg(bus, &message, 0);
                ssize_t got = read(bus, reply, sizeof(reply) - 1);
                reply[got > 0 ? got : 0] = 0;
                printf("stored: %s\\n", reply);
            }
            if (write(3, "READY=1\\n", 8) < 0) return 3;
            for (;;) pause();
        }
        """
}

/// A node of its own in a folder of its own: units that are shell scripts, a real zero-core, a real zero-watch.
final class TestNode {
    let root: String
    var units: String { "\(root)/units" }
    var socket: String { "\(root)/run/core.sock" }
    private nonisolated(unsafe) static var number = 0

    init() throws {
        TestNode.number += 1
        root = "\(try TestPrograms.folder.get())/node-\(TestNode.number)"
        for name in ["units", "state/core"] { try File.makeDirectories("\(root)/\(name)") }
    }

    /// Writes `<name>.sh` and `<name>.unit` that runs it as root, unless `settings` says otherwise.
    func unit(_ name: String, _ settings: String = "", script: String = TestNode.serving) throws {
        let path = "\(root)/\(name).sh"
        try File.write(path, Array(("#!/bin/sh\n" + script).utf8), mode: 0o755)
        try File.changeMode(path, 0o755)
        let account = settings.contains("account =") ? "" : "account = root\n"
        let exec = settings.contains("exec =") ? "" : "exec = \(path) {state} {run}\n"
        try File.write("\(units)/\(name).unit", Array((exec + account + settings + "\n").utf8), mode: 0o644)
    }

    /// A daemon that is ready at once and ends well when asked to.
    static let serving = """
        trap 'exit 0' TERM
        echo serving $ZERO_UNIT $ZERO_INSTANCE
        [ -n "$ZERO_NOTIFY_FD" ] && echo READY=1 >&3
        while :; do sleep 0.05; done
        """

    /// Starts zero-watch and with it zero-core; returns when zero-core is ready.
    func start() throws {
        let folder = try TestPrograms.folder.get()
        try Subprocess.check(
            "\(folder)/zero-watch",
            [
                "--core", "\(TestPrograms.built)/zero-core", "--state", "\(root)/state", "--run", "\(root)/run",
                "--units",
                units, "--background",
            ], timeout: 20)
    }

    func call(_ verb: String, _ body: JSONValue = .object([:]), seconds: Int = 20) throws -> JSONValue {
        try BusClient(socket).callBlocking(verb, body, deadline: .seconds(seconds)).body
    }

    /// The code of the error that a request must give.
    func refusal(_ verb: String, _ body: JSONValue = .object([:])) -> String {
        do {
            return "answered: \(try call(verb, body).canonicalText)"
        } catch let error as BusError {
            return error.code
        } catch {
            return "\(error)"
        }
    }

    func status() throws -> [String: JSONValue] {
        var found: [String: JSONValue] = [:]
        for unit in try call("CORE.STATUS")["units"]?.array ?? [] {
            found[(unit["name"]?.string ?? "") + (unit["instance"]?.string ?? "")] = unit
        }
        return found
    }

    func core() throws -> JSONValue { try call("CORE.STATUS")["core"] ?? .object([:]) }

    func pids() throws -> [String: Int64] { try status().compactMapValues { $0["pid"]?.integer } }

    func corePid() throws -> Int32 { Int32(try core()["pid"]?.integer ?? 0) }

    /// The process that watches zero-core.
    func watchPid() throws -> Int32 { TestNode.processes("zero-watch", root).first ?? 0 }

    func log(_ name: String) -> String { (try? File.readText("\(root)/state/log/\(name).log")) ?? "" }

    /// Waits until the condition holds; false after the time.
    func eventually(_ seconds: Double = 8, _ holds: () throws -> Bool) -> Bool {
        let end = Clock.monotonicNanoseconds() + Int64(seconds * 1e9)
        while Clock.monotonicNanoseconds() < end {
            if (try? holds()) == true { return true }
            usleep(20_000)
        }
        return false
    }

    func isRunning(_ name: String) -> Bool { (try? status()[name]?["state"]?.string) == "running" }

    /// Shuts down and returns what is left of processes that have anything to do with this node.
    func end() throws -> [String] {
        _ = try call("CORE.SHUTDOWN", seconds: 60)
        _ = eventually(3) { TestNode.processes("", root).isEmpty }
        return TestNode.processes("", root).map { (try? File.readText("/proc/\($0)/cmdline")) ?? "" }
    }

    /// Removes every trace, whatever state a test left.
    func clean() {
        for pid in TestNode.processes("zero-watch", root) { kill(pid, SIGKILL) }
        for pid in TestNode.processes("", root) { kill(pid, SIGKILL) }
        try? File.removeTree(root)
    }

    /// Processes whose command line names both words.
    static func processes(_ word: String, _ other: String) -> [Int32] {
        ((try? File.list("/proc")) ?? []).compactMap(Int32.init).filter { pid in
            let line = (try? File.readText("/proc/\(pid)/cmdline", limit: 1 << 16)) ?? ""
            return line.contains(word) && (line.contains(other + "/") || line.hasSuffix(other))
        }
    }
}
