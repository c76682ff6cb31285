import CLinux
import Glibc
import Linux

extension HTTPClient {
    /// Asks a plain-HTTP server to switch to `name` and gives the raw connection.
    public func upgrade(
        _ url: String, to name: String, method: String = "GET", headers: [(name: String, value: String)] = [],
        deadline: Duration = .seconds(10)
    ) async throws(HTTPClientError) -> DuplexStream {
        let result: Result<DuplexStream, HTTPClientError> = await withUnsafeContinuation { continuation in
            startThread {
                do throws(HTTPClientError) {
                    let stream = try self.upgradeBlocking(
                        url, to: name, method: method, headers: headers, deadline: deadline)
                    continuation.resume(returning: .success(stream))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    /// `upgrade` that blocks this thread.
    public func upgradeBlocking(
        _ url: String, to name: String, method: String = "GET", headers: [(name: String, value: String)] = [],
        deadline: Duration = .seconds(10)
    ) throws(HTTPClientError) -> DuplexStream {
        let (host, port, target) = try Self.split(url)
        let end = Clock.monotonicNanoseconds() + Int64(deadline / .nanoseconds(1))
        let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        let descriptor = zg_tcp_connect(bare, port, Int32(min(deadline / .milliseconds(1), 1e9)))
        if descriptor < 0 { throw .unreachable(url: url, reason: "\(Errno(-descriptor))") }
        let stream = DuplexStream(descriptor: descriptor)
        var head =
            "\(method) \(target) HTTP/1.1\r\nHost: \(host):\(port)\r\nConnection: Upgrade\r\nUpgrade: \(name)\r\n"
        for (name, value) in headers {
            guard !(name + value).unicodeScalars.contains(where: { $0.value < 32 }) else {
                throw .badURL(url: url, reason: "header \(name) holds a control character")
            }
            head += "\(name): \(value)\r\n"
        }
        let answer: (status: Int, rest: [UInt8])
        do throws(SystemError) {
            try stream.write(Array((head + "\r\n").utf8))
            answer = try Self.readHead(stream, until: end)
        } catch {
            if error.errno == Errno(ETIMEDOUT) { throw .late(url: url, reason: "no answer to the upgrade") }
            throw .failed(url: url, reason: "\(error)")
        }
        guard answer.status == 101 else {
            let body = String(decoding: answer.rest, as: UTF8.self)
            throw .notUpgraded(url: url, status: answer.status, body: body)
        }
        stream.unread(answer.rest)
        return stream
    }

    /// Reads a response's head; also gives what came after it.
    private static func readHead(
        _ stream: DuplexStream, until end: Int64
    ) throws(SystemError) -> (status: Int, rest: [UInt8]) {
        var bytes: [UInt8] = []
        while bytes.count < 64 << 10 {
            let left = end - Clock.monotonicNanoseconds()
            let piece = try stream.read(timeout: .nanoseconds(max(0, left)))
            if piece.isEmpty { throw SystemError("read", "response", Errno(ECONNRESET)) }
            bytes += piece
            guard let stop = headEnd(bytes) else { continue }
            let line = String(decoding: bytes.prefix { $0 != 13 }, as: UTF8.self).split(separator: " ")
            guard line.count > 1, line[0].hasPrefix("HTTP/1."), let status = Int(line[1]) else {
                throw SystemError("read", "response", Errno(EPROTO))
            }
            var rest = Array(bytes[stop...])
            // The reason of a refusal usually comes in the next packet.
            if status != 101, let more = try? stream.read(timeout: .milliseconds(500)) { rest += more }
            return (status, rest)
        }
        throw SystemError("read", "response", Errno(EMSGSIZE))
    }

    private static func headEnd(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in 0...bytes.count - 4
        where bytes[index] == 13 && bytes[index + 1] == 10 && bytes[index + 2] == 13 && bytes[index + 3] == 10 {
            return index + 4
        }
        return nil
    }

    /// Host, port and target of an `http://` URL.
    static func split(_ url: String) throws(HTTPClientError) -> (host: String, port: UInt16, target: String) {
        guard url.hasPrefix("http://"), url.unicodeScalars.allSatisfy({ $0.value > 32 && $0.value != 127 }) else {
            throw .badURL(url: url, reason: "only http:// can be upgraded")
        }
        let rest = url.dropFirst(7)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        var target = String(rest.dropFirst(authority.count))
        if !target.hasPrefix("/") { target = "/" + target }
        var host = String(authority)
        var port: UInt16 = 80
        let afterBracket = authority.lastIndex(of: "]") ?? authority.startIndex
        if let colon = authority[afterBracket...].lastIndex(of: ":") {
            guard let number = UInt16(authority[authority.index(after: colon)...]) else {
                throw .badURL(url: url, reason: "the port is no number")
            }
            port = number
            host = String(authority[..<colon])
        }
        if host.isEmpty { throw .badURL(url: url, reason: "there is no host") }
        return (host, port, target)
    }
}
