import Bus
import CanonicalJSON
import Glibc
import Linux
import Testing

@testable import Service

/// A folder for a toy daemon, named so that the child process of an exit test finds the same.
private func folder(_ name: String) -> String { "/tmp/zg-daemon-\(name)" }

private func start(_ name: String, _ body: @escaping @Sendable (DaemonContext) async throws -> Void) -> Never {
    let arguments = ["toy", "--state", folder(name), "--run", folder(name)]
    Daemon.main("toy", [], .node, [], arguments, body)
}

@Test func aDaemonServesUntilSIGTERM() async throws {
    await #expect(processExitsWith: .exitCode(0)) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { exit(9) }
        setenv("ZERO_NOTIFY_FD", "\(ends[1])", 1)
        let reader = ends[0]
        startThread {
            var text = [UInt8](repeating: 0, count: 8)
            guard read(reader, &text, 8) == 8, text == Array("READY=1\n".utf8) else { exit(8) }
            let client = BusClient(folder("term") + "/toy.sock")
            guard let reply = try? client.callBlocking("TOY.STATUS"), reply.body["fine"] == true else { exit(7) }
            kill(getpid(), SIGHUP)
            kill(getpid(), SIGTERM)
        }
        start("term") { context in
            context.server.provideStatus { ["fine": true] }
            guard File.exists(context.folder) else { exit(6) }
            try await context.serve()
        }
    }
    try File.removeTree(folder("term"))
}

@Test func aDaemonThatFailsSaysSoByItsStatus() async throws {
    await #expect(processExitsWith: .exitCode(1)) {
        start("fails") { _ in throw BusError.failed("no disk") }
    }
    await #expect(processExitsWith: .exitCode(2)) {
        Daemon.main("toy", [], .node, [], ["toy", "--state", "/tmp"]) { _ in exit(0) }
    }
    await #expect(processExitsWith: .exitCode(2)) {
        Daemon.main("toy", [], .node, [], ["toy", "--state", "/proc/none", "--run", "/tmp"]) { _ in exit(0) }
    }
    await #expect(processExitsWith: .exitCode(0)) {
        Daemon.main("toy", [], .node, [], ["toy", "--help"]) { _ in exit(5) }
    }
    try File.removeTree(folder("fails"))
}

@Test func aDaemonThatFailsTellsWhoStartedItWhy() async throws {
    await #expect(processExitsWith: .exitCode(1)) {
        try File.makeDirectories(folder("why"))
        let notice = open(folder("why") + "/notice", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        setenv("ZERO_NOTIFY_FD", "\(notice)", 1)
        start("why") { _ in throw BusError.failed("no disk\nREADY=1") }
    }
    #expect(try File.readText(folder("why") + "/notice") == "ERROR=FAILED no disk READY=1\n")
    try File.removeTree(folder("why"))
}

@Test func aDaemonThatHangsIsEndedByTheSecondSignal() async throws {
    await #expect(processExitsWith: .exitCode(1)) {
        startThread {
            usleep(300_000)
            kill(getpid(), SIGTERM)
            usleep(100_000)
            kill(getpid(), SIGINT)
        }
        start("hangs") { _ in while true { try? await Task.sleep(for: .seconds(1)); sleep(1) } }
    }
    try File.removeTree(folder("hangs"))
}

@Test func aCommandRunsAndEnds() async {
    await #expect(processExitsWith: .exitCode(3)) {
        let command = DaemonCommand("purge", "remove all") { context in exit(context.run == "/tmp/zg-r" ? 3 : 4) }
        let arguments = ["toy", "purge", "--state", "/tmp/zg-none", "--run", "/tmp/zg-r"]
        Daemon.main("toy", [], .node, [command], arguments) { _ in exit(5) }
    }
    #expect(!File.exists("/tmp/zg-none"))
}
