import Glibc
import Testing

@testable import HTTP

/// Counts a body and says how long it was.
private final class Counting: HTTPStreamHandler {
    var count = 0
    func receive(_ piece: UnsafeRawBufferPointer) -> Bool {
        count += piece.count
        return true
    }
    func finish() -> HTTPStreamResponse { HTTPStreamResponse(200, .bytes(Array("\(count)".utf8))) }
    func ended(complete: Bool) {}
}

private final class Zeros: HTTPBodySource {
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        buffer.initializeMemory(as: UInt8.self, repeating: 48)
        return buffer.count
    }
}

private func serve() throws -> HTTPStreamServer {
    try HTTPStreamServer(.init(headerSeconds: 1, headerMax: 8 << 10)) { head in
        switch head.target {
        case "/refused": return .respond(HTTPStreamResponse(403))
        case "/pull": return .respond(HTTPStreamResponse(200, .pull(3_000_000, Zeros())))
        case "/head": return .respond(HTTPStreamResponse(200, .length(77)))
        case "/twice":
            let values = head.headers.filter { $0.name == "x-a" }.map(\.value).joined(separator: "|")
            return .respond(HTTPStreamResponse(200, headers: [("X-Empty", "")], .bytes(Array(values.utf8))))
        default: return .accept(Counting())
        }
    }
}

/// Sends text and reads until the server closes.
private func exchange(_ port: UInt16, _ text: String) -> String {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let connected = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard connected == 0 else { return "" }
    let bytes = Array(text.utf8)
    _ = send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = recv(socket, &buffer, buffer.count, 0)
        if count <= 0 { break }
        answer += buffer[..<count]
    }
    return String(decoding: answer, as: UTF8.self)
}

@Suite struct HTTPStreamServerTests {
    @Test func bodiesGoThroughInPieces() throws {
        let server = try serve()
        defer { server.stop() }
        let body = String(repeating: "a", count: 2_000_000)
        let answer = exchange(
            server.port, "PUT /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2000000\r\n\r\n\(body)")
        #expect(answer.hasPrefix("HTTP/1.1 200") && answer.hasSuffix("\r\n\r\n2000000"))
        let pulled = exchange(server.port, "GET /pull HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(pulled.contains("Content-Length: 3000000") && pulled.utf8.count > 3_000_000)
    }

    @Test func refusalComesBeforeTheBody() throws {
        let server = try serve()
        defer { server.stop() }
        let answer = exchange(
            server.port, "PUT /refused HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9000\r\n\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 403") && !answer.contains("100 Continue"))
    }

    @Test func headSaysTheLengthAlone() throws {
        let server = try serve()
        defer { server.stop() }
        let answer = exchange(server.port, "HEAD /head HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(answer.contains("Content-Length: 77") && answer.hasSuffix("\r\n\r\n"))
    }

    @Test func repeatedHeadersStayApart() throws {
        let server = try serve()
        defer { server.stop() }
        let answer = exchange(
            server.port, "GET /twice HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\n\r\n")
        #expect(answer.hasSuffix("\r\n\r\n1|2") && answer.contains("X-Empty:"))
    }

    @Test func largeHeadsAreRefused() throws {
        let server = try serve()
        defer { server.stop() }
        let large = String(repeating: "a", count: 10_000)
        let answer = exchange(server.port, "GET /x HTTP/1.1\r\nHost: h\r\nX-A: \(large)\r\nConnection: close\r\n\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 400"))
    }

    @Test func whoSendsNoHeadIsClosed() throws {
        let server = try serve()
        defer { server.stop() }
        #expect(exchange(server.port, "GET /x HTTP/1.1\r\nHost:") == "")
    }
}
