import CLinux
import Glibc
import Linux
import Testing

@testable import RESP

/// A server on a thread that answers each command by `answer`; nil closes the connection.
private final class ToyServer: @unchecked Sendable {  // only the thread touches the descriptor after init
    let path: String
    private let listener: Int32
    private let answer: @Sendable ([String]) -> (RESPValue, [Int32])?

    init(_ name: String, _ answer: @escaping @Sendable ([String]) -> (RESPValue, [Int32])?) {
        path = "/tmp/zg-resp-\(getpid())-\(name).sock"
        listener = zg_unix_listen(path, 0o600, 8)
        self.answer = answer
        startThread { self.serve() }
    }

    func stop() {
        unlink(path)
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func serve() {
        while true {
            guard zg_poll(listener, UInt32(ZG_READABLE), -1) > 0 else { break }
            let client = zg_accept(listener)
            guard client >= 0 else { break }
            zg_socket_nonblocking(client, 0)
            serve(client)
            close(client)
        }
        close(listener)
    }

    private func serve(_ client: Int32) {
        var parser = RESPParser(allowsInline: true)
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let got = read(client, &buffer, buffer.count)
            guard got > 0 else { return }
            parser.feed(Array(buffer[..<got]))
            while let value = try? parser.next() {
                guard let reply = answer(value.items?.compactMap(\.text) ?? []) else { return }
                var writer = RESPWriter()
                writer.value(reply.0)
                var bytes = writer.take()
                var descriptors = reply.1
                while !bytes.isEmpty {
                    let sent = zg_send(client, bytes, bytes.count, descriptors, descriptors.count)
                    guard sent > 0 else { return }
                    bytes.removeFirst(sent)
                    descriptors = []
                }
            }
        }
    }
}

@Test func callsPipelinesAndErrors() async throws { try await runBlocking(tryCallsPipelinesAndErrors) }

private func tryCallsPipelinesAndErrors() throws {
    let server = ToyServer("calls") { words in
        words.first == "FAIL" ? (.error("ERR told to"), []) : (.array(words.map { .text($0) }), [])
    }
    defer { server.stop() }
    let client = RESPClient(unix: server.path)
    #expect(try client.call("A", "b") == .array([.text("A"), .text("b")]))
    #expect(try client.call("FAIL").failure?.message == "told to")
    let replies = try client.pipeline((0..<5000).map { [Array("N".utf8), Array("\($0)".utf8)] })
    #expect(replies.count == 5000)
    #expect(replies.last == .array([.text("N"), .text("4999")]))
}

@Test func bigPipelineDoesNotDeadlock() async throws { try await runBlocking(tryBigPipelineDoesNotDeadlock) }

private func tryBigPipelineDoesNotDeadlock() throws {
    let big = RESPValue.bulk([UInt8](repeating: 7, count: 300_000))
    let server = ToyServer("big") { _ in (big, []) }
    defer { server.stop() }
    let client = RESPClient(unix: server.path)
    let request = [[UInt8](repeating: 1, count: 300_000)]
    #expect(try client.pipeline(Array(repeating: request, count: 40)) == Array(repeating: big, count: 40))
}

@Test func deadlineClosedAndReconnect() async throws { try await runBlocking(tryDeadlineClosedAndReconnect) }

private func tryDeadlineClosedAndReconnect() throws {
    let server = ToyServer("late") { words in
        if words.first == "SLEEP" { usleep(300_000) }
        return words.first == "DIE" ? nil : (.simple("OK"), [])
    }
    defer { server.stop() }
    let client = RESPClient(unix: server.path)
    #expect(throws: RESPClientError.late(endpoint: server.path)) {
        try client.call("SLEEP", deadline: .milliseconds(50))
    }
    #expect(try client.call("PING") == .simple("OK"))
    #expect(throws: RESPClientError.closed(endpoint: server.path)) { try client.call("DIE") }
    #expect(try client.call("PING") == .simple("OK"))
}

@Test func unreachableNamesThePath() {
    let client = RESPClient(unix: "/tmp/zg-none.sock")
    #expect(throws: RESPClientError.unreachable(endpoint: "/tmp/zg-none.sock", errno: ENOENT)) {
        try client.call("PING")
    }
}

@Test func descriptorsComeWithReplies() async throws { try await runBlocking(tryDescriptorsComeWithReplies) }

private func tryDescriptorsComeWithReplies() throws {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    let readEnd = ends[0]
    let server = ToyServer("fds") { _ in (.simple("OK"), [readEnd]) }
    defer { server.stop() }
    let client = RESPClient(unix: server.path)
    let reply = try client.exchange([Array("GET".utf8)])
    #expect(reply.descriptors.count == 1)
    #expect(write(ends[1], "hey", 3) == 3)
    var buffer = [UInt8](repeating: 0, count: 3)
    #expect(read(reply.descriptors[0], &buffer, 3) == 3)
    #expect(buffer == Array("hey".utf8))
    #expect(fcntl(reply.descriptors[0], F_GETFD) & FD_CLOEXEC != 0)
    for descriptor in reply.descriptors + ends { close(descriptor) }
}
