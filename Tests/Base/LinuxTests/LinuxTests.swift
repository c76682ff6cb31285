import Linux
import Testing

@Suite("Linux") struct LinuxTests {
    @Test("a durable write replaces the file and leaves no temporary")
    func durable() throws {
        let folder = "/tmp/zero-linux-\(Clock.monotonicNanoseconds())"
        try File.makeDirectories(folder + "/a/b")
        defer { try? File.removeTree(folder) }
        try File.writeDurably(folder + "/a/b/f", [1, 2], mode: 0o640)
        try File.writeDurably(folder + "/a/b/f", [3], mode: 0o600)
        #expect(try File.read(folder + "/a/b/f") == [3])
        #expect(try File.status(folder + "/a/b/f").permissions == 0o600)
        #expect(try File.list(folder + "/a/b") == ["f"])
        try File.removeTree(folder)
        #expect(!File.exists(folder))
    }

    @Test("errors name the call, the path and the reason")
    func errors() {
        #expect(throws: SystemError("open", "/nonexistent/x", .notFound)) { try File.read("/nonexistent/x") }
    }

    @Test("a program's output, status and input")
    func subprocess() throws {
        let cat = try Subprocess.run("cat", [], input: Array("hello".utf8))
        #expect(cat.text == "hello")
        #expect(cat.status == 0)
        let failed = try Subprocess.run("sh", ["-c", "echo out; echo err >&2; exit 3"])
        #expect((failed.status, failed.text, failed.errorText) == (3, "out\n", "err\n"))
        #expect(throws: SubprocessError.self) { try Subprocess.check("false", []) }
        #expect(throws: SubprocessError.self) { try Subprocess.run("/no/such/program", []) }
    }

    @Test("a program that hangs is stopped")
    func timeout() {
        #expect(throws: SubprocessError.self) { try Subprocess.run("sleep", ["30"], timeout: 1) }
    }

    @Test("a process is told apart from a later one with its number")
    func identity() throws {
        let parent = try #require(ProcessIdentity(pid: 1))
        #expect(parent.isAlive)
        #expect(!ProcessIdentity(pid: 1, startTime: parent.startTime + 1).isAlive)
        #expect(ProcessIdentity(pid: 0) == nil)
    }

    @Test("blocking work does not hold the pool")
    func blocking() async throws {
        let values = try await withThrowingTaskGroup(of: Int.self) { group in
            for value in 0..<8 {
                group.addTask {
                    try await runBlocking {
                        _ = try Subprocess.run("sleep", ["0.2"])
                        return value
                    }
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(values == 28)
    }
}
