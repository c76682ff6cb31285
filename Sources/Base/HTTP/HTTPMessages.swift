/// One HTTP request as a server's handler sees it.
public struct HTTPRequest: Sendable {
    /// Such as `GET`.
    public let method: String
    /// The request target as it was sent: path and query, not decoded. What signatures cover.
    public let target: String
    /// The path, percent-decoded.
    public let path: String
    /// The query's parameters, percent-decoded; of several with one name the last.
    public let query: [String: String]
    /// Header values by name in lower case; several of one name are joined by `, `.
    public let headers: [String: String]
    /// The whole body.
    public let body: [UInt8]
    /// The client's address.
    public let remoteAddress: String

    /// A request; for tests.
    public init(
        method: String, target: String, headers: [String: String] = [:], body: [UInt8] = [], remoteAddress: String = ""
    ) {
        (self.method, self.target, self.headers) = (method, target, headers)
        (self.body, self.remoteAddress) = (body, remoteAddress)
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = PercentEncoding.decode(parts.first ?? "", plusIsSpace: false)
        var query: [String: String] = [:]
        for item in parts.dropFirst().first?.split(separator: "&") ?? [] {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = pair.count > 1 ? PercentEncoding.decode(pair[1], plusIsSpace: true) : ""
            query[PercentEncoding.decode(pair[0], plusIsSpace: true)] = value
        }
        self.query = query
    }

    /// The path's parts between slashes, each percent-decoded by itself.
    public var pathComponents: [String] {
        let path = target.prefix { $0 != "?" }
        return path.split(separator: "/").map { PercentEncoding.decode($0, plusIsSpace: false) }
    }
}

/// Percent-encoding of URLs.
public enum PercentEncoding {
    /// Decodes `%xx`; what is no such sequence stays, invalid UTF-8 is repaired.
    public static func decode(_ text: Substring, plusIsSpace: Bool) -> String {
        var bytes: [UInt8] = []
        let source = Array(text.utf8)
        var index = 0
        while index < source.count {
            let byte = source[index]
            if byte == UInt8(ascii: "%"), index + 2 < source.count, let high = digit(source[index + 1]),
                let low = digit(source[index + 2])
            {
                bytes.append(high << 4 | low)
                index += 3
            } else {
                bytes.append(plusIsSpace && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
                index += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Encodes everything but letters, digits and `-._~`.
    public static func encode(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: bytes.append(byte)
            default: bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}

/// What a server's handler answers.
public struct HTTPResponse: Sendable {
    /// Where the body comes from.
    enum Body: Sendable {
        case bytes([UInt8])
        case stream(@Sendable (HTTPBodyWriter) async throws -> Void)
        case upgrade(@Sendable (DuplexStream) -> Void)
    }

    /// The status code.
    public let status: Int
    /// Header lines.
    public var headers: [(name: String, value: String)]
    let body: Body

    /// A response with a whole body.
    public init(_ status: Int, type: String, _ bytes: [UInt8], headers: [(name: String, value: String)] = []) {
        self.status = status
        self.headers = [("Content-Type", type)] + headers
        body = .bytes(bytes)
    }

    /// A response without a body.
    public static func empty(_ status: Int) -> HTTPResponse { HTTPResponse(status, [], .bytes([])) }

    /// A response of plain text.
    public static func text(_ status: Int, _ text: String) -> HTTPResponse {
        HTTPResponse(status, type: "text/plain; charset=utf-8", Array(text.utf8))
    }

    /// A response of JSON bytes.
    public static func json(_ status: Int, _ bytes: [UInt8]) -> HTTPResponse {
        HTTPResponse(status, type: "application/json", bytes)
    }

    /// A response whose body is written bit by bit; each write is sent at once. When the client goes, writes throw.
    public static func stream(
        _ status: Int, type: String, _ write: @escaping @Sendable (HTTPBodyWriter) async throws -> Void
    ) -> HTTPResponse {
        HTTPResponse(status, [("Content-Type", type)], .stream(write))
    }

    /// Switches to another protocol. `body` runs on a thread of its own and may block; the stream is closed after it.
    /// Plain HTTP only.
    public static func upgrade(
        to name: String, headers: [(name: String, value: String)] = [],
        _ body: @escaping @Sendable (DuplexStream) -> Void
    ) -> HTTPResponse {
        HTTPResponse(101, [("Upgrade", name)] + headers, .upgrade(body))
    }

    private init(_ status: Int, _ headers: [(name: String, value: String)], _ body: Body) {
        (self.status, self.headers, self.body) = (status, headers, body)
    }
}
