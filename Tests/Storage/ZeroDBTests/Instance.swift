import CLinux
import Glibc
import Linux
import RESP
import Testing

@testable import ZeroDB

/// A running `zero-db` with a folder of its own.
final class Instance {
    static var program: String? {
        let folder = CommandLine.arguments.first.map { File.parent($0) } ?? "."
        let places = [getenv("ZERO_BIN").map { String(cString: $0) }, folder, File.parent(folder), ownFolder]
        return places.compactMap { $0 }.map { $0 + "/zero-db" }.first { access($0, X_OK) == 0 }
    }

    private static var ownFolder: String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, 4095)
        guard count > 0 else { return nil }
        return File.parent(String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    let folder: String
    let options: [String]
    private(set) var pid: pid_t = 0
    var data: String { folder + "/data" }
    var socket: String { folder + "/db.sock" }

    init(_ options: [String] = []) throws {
        var template = Array("/tmp/zero-db-test-XXXXXX".utf8CString)
        let made = try #require(mkdtemp(&template))
        folder = String(cString: made)
        self.options = options
        try start()
    }

    deinit {
        kill(SIGKILL)
        try? File.removeTree(folder)
    }

    /// Starts the program and waits for its ready line.
    func start() throws {
        let program = try #require(Instance.program, "zero-db is not built; set ZERO_BIN to its folder")
        let arguments = [program, "--data", data, "--socket", socket] + options
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, folder + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        let copies: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for copy in copies { free(copy) } }
        #expect(posix_spawn(&pid, program, &actions, nil, copies, environ) == 0)
        posix_spawn_file_actions_destroy(&actions)
        close(ends[1])
        var line = [UInt8](repeating: 0, count: 1000)
        let count = read(ends[0], &line, 1000)
        close(ends[0])
        let text = String(decoding: line.prefix(max(0, count)), as: UTF8.self)
        try #require(text.hasPrefix("ready "), "zero-db did not start: \(log)")
    }

    var log: String { (try? File.readText(folder + "/log")) ?? "" }

    /// Sends a signal and waits for the end; returns the wait status.
    @discardableResult
    func kill(_ signal: Int32) -> Int32 {
        guard pid > 0 else { return 0 }
        _ = Glibc.kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
        return status
    }

    func client() -> RESPClient { RESPClient(unix: socket) }

    /// Sends bytes on a new connection and returns what comes back until it is closed or quiet.
    func raw(_ bytes: [UInt8], milliseconds: Int32 = 300) -> String {
        let descriptor = zg_unix_connect(socket)
        guard descriptor >= 0 else { return "no connection" }
        defer { close(descriptor) }
        _ = bytes.withUnsafeBytes { zg_db_send(descriptor, $0.baseAddress, $0.count) }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while zg_poll(descriptor, UInt32(ZG_READABLE), milliseconds) > 0 {
            let count = read(descriptor, &buffer, buffer.count)
            if count <= 0 {
                result += Array("<closed>".utf8)
                break
            }
            result += buffer.prefix(count)
        }
        return String(decoding: result, as: UTF8.self)
    }
}

extension RESPClient {
    func text(_ arguments: String...) throws -> String? {
        let reply = try call(arguments.map { Array($0.utf8) }, deadline: .seconds(20))
        if let failure = reply.failure { return failure.code }
        return reply.text ?? reply.integer.map(String.init)
    }
}
