import CHTTP
import CLinux
import Glibc
public import Linux
import Synchronization

/// The head of a request, before anything of its body.
public struct HTTPHead: Sendable {
    /// Such as `GET`.
    public let method: String
    /// Path and query as sent, not decoded.
    public let target: String
    /// In the order they came, names in lower case, repeated ones repeated.
    public let headers: [(name: String, value: String)]
    /// The client's address.
    public let remoteAddress: String

    /// A head, for tests too.
    public init(method: String, target: String, headers: [(name: String, value: String)], remoteAddress: String = "") {
        (self.method, self.target, self.headers, self.remoteAddress) = (method, target, headers, remoteAddress)
    }

    /// The first header of that name (lower case).
    public func value(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// Where the body of a response comes from. Used by one thread at a time.
public protocol HTTPBodySource: AnyObject {
    /// Fills the buffer with what stands at `offset` of the body; bytes put there, at least one, or -1 to break the connection.
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) -> Int
}

/// A response whose length is known.
public struct HTTPStreamResponse {
    /// What follows the headers.
    public enum Body {
        /// These bytes.
        case bytes([UInt8])
        /// So many bytes, pulled when the client takes them.
        case pull(Int64, any HTTPBodySource)
        /// Only the length is said: the answer to HEAD.
        case length(Int64)
    }
    /// The status code.
    public var status: Int
    /// Headers in order.
    public var headers: [(name: String, value: String)]
    /// The body.
    public var body: Body

    /// A response.
    public init(_ status: Int, headers: [(name: String, value: String)] = [], _ body: Body = .bytes([])) {
        (self.status, self.headers, self.body) = (status, headers, body)
    }
}

/// Takes the body of one request and answers. Everything is called on the connection's thread and may wait.
public protocol HTTPStreamHandler: AnyObject {
    /// A piece of the body; the memory is the server's. False breaks the connection.
    func receive(_ piece: UnsafeRawBufferPointer) -> Bool
    /// The body is complete.
    func finish() -> HTTPStreamResponse
    /// Called last: whether the response was sent whole. Without a `finish` before, the client went.
    func ended(complete: Bool)
}

/// An HTTP/1.1 server through which bodies stream: a thread a connection, blocking handlers.
public final class HTTPStreamServer: Sendable {
    /// What to do with a request, by its head.
    public enum Decision {
        /// Answer without reading the body; a client that waits for 100 is not told to go on.
        case respond(HTTPStreamResponse)
        /// Read the body.
        case accept(any HTTPStreamHandler)
    }
    /// Decides; runs on the connection's thread.
    public typealias Begin = @Sendable (HTTPHead) -> Decision

    /// How a server listens, and its limits.
    public struct Options: Sendable {
        /// Local address.
        public var address: String
        /// Port; 0 takes a free one.
        public var port: UInt16
        /// Most connections, each with a thread.
        public var connectionsMax: Int
        /// Most connections of one client address.
        public var connectionsOfAddressMax: Int
        /// A connection on which nothing moves for so long is closed.
        public var idleSeconds: Int
        /// A head must be whole after so long, also when its bytes trickle.
        public var headerSeconds: Int
        /// Largest sum of header names and values; more gets 400.
        public var headerMax: Int

        /// Options; the limits suit a public S3 port.
        public init(
            address: String = "127.0.0.1", port: UInt16 = 0, connectionsMax: Int = 1024,
            connectionsOfAddressMax: Int = 512, idleSeconds: Int = 60, headerSeconds: Int = 60,
            headerMax: Int = 64 << 10
        ) {
            (self.address, self.port, self.connectionsMax) = (address, port, connectionsMax)
            (self.connectionsOfAddressMax, self.idleSeconds) = (connectionsOfAddressMax, idleSeconds)
            (self.headerSeconds, self.headerMax) = (headerSeconds, headerMax)
        }
    }

    /// The port it listens on.
    public let port: UInt16
    private let raw: Mutex<UnsafeRawPointer?>
    private let core: Unmanaged<StreamCore>

    /// Starts to serve at once.
    public init(_ options: Options, begin: @escaping Begin) throws(SystemError) {
        signal(SIGPIPE, SIG_IGN)
        let subject = "\(options.address):\(options.port)"
        let listener = try checked("listen", subject, zg_tcp_listen(options.address, options.port, 1024))
        port = UInt16(clamping: zg_tcp_port(listener))
        core = Unmanaged.passRetained(StreamCore(begin, options.headerMax))
        var server: OpaquePointer?
        var settings = Self.settings(options, listener, core.toOpaque())
        let code = zg_stream_start(&settings, &server)
        if code < 0 { core.release() }
        raw = Mutex(server.map { UnsafeRawPointer($0) })
        try checked("start HTTP on", subject, code)
    }

    /// Stops: running requests are waited for. May be called again.
    public func stop() {
        let server = raw.withLock { raw in
            defer { raw = nil }
            return raw
        }
        guard let server else { return }
        zg_stream_stop(OpaquePointer(server))
        core.release()
    }

    deinit { stop() }

    private static func settings(
        _ options: Options, _ listener: Int32, _ context: UnsafeMutableRawPointer
    ) -> zg_stream_options_t {
        zg_stream_options_t(
            listener: listener, connections_max: UInt32(options.connectionsMax),
            connections_of_address_max: UInt32(options.connectionsOfAddressMax),
            idle_seconds: UInt32(options.idleSeconds), header_seconds: UInt32(options.headerSeconds), context: context,
            begin: { context, stream in
                guard let context, let stream else { return nil }
                return Unmanaged<StreamCore>.fromOpaque(context).takeUnretainedValue().begin(stream)
            },
            piece: { handler, bytes, length in
                guard let handler else { return 0 }
                let box = Unmanaged<HandlerBox>.fromOpaque(handler).takeUnretainedValue()
                return box.handler.receive(UnsafeRawBufferPointer(start: bytes, count: length)) ? 1 : 0
            },
            end: { handler, stream in
                guard let handler, let stream else { return }
                let box = Unmanaged<HandlerBox>.fromOpaque(handler).takeUnretainedValue()
                StreamCore.reply(box.handler.finish(), stream)
            },
            done: { handler, isComplete in
                guard let handler else { return }
                Unmanaged<HandlerBox>.fromOpaque(handler).takeRetainedValue().handler.ended(complete: isComplete == 1)
            })
    }
}

/// A handler behind one pointer.
private final class HandlerBox {
    let handler: any HTTPStreamHandler
    init(_ handler: any HTTPStreamHandler) { self.handler = handler }
}

private final class SourceBox {
    let source: any HTTPBodySource
    init(_ source: any HTTPBodySource) { self.source = source }
}

/// What is only counted has nothing to read.
private final class NoSource: HTTPBodySource {
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) -> Int { -1 }
}

private final class StreamCore: Sendable {
    let decide: HTTPStreamServer.Begin
    let headerMax: Int
    init(_ decide: @escaping HTTPStreamServer.Begin, _ headerMax: Int) {
        (self.decide, self.headerMax) = (decide, headerMax)
    }

    func begin(_ raw: OpaquePointer) -> UnsafeMutableRawPointer? {
        let (head, size) = Self.head(raw)
        if size > headerMax {
            Self.reply(HTTPStreamResponse(400, .bytes(Array("the head of the request is too large\n".utf8))), raw)
            return nil
        }
        switch decide(head) {
        case .respond(let response):
            Self.reply(response, raw)
            return nil
        case .accept(let handler): return Unmanaged.passRetained(HandlerBox(handler)).toOpaque()
        }
    }

    private struct Headers {
        var list: [(name: String, value: String)] = []
        var size = 0
    }

    static func head(_ raw: OpaquePointer) -> (HTTPHead, Int) {
        var headers = Headers()
        withUnsafeMutablePointer(to: &headers) { pointer in
            zg_stream_headers(raw, pointer) { context, name, value, length in
                guard let name, let value, let context else { return }
                let text = String(decoding: UnsafeRawBufferPointer(start: value, count: length), as: UTF8.self)
                let headers = context.assumingMemoryBound(to: Headers.self)
                headers.pointee.list.append((String(cString: name).lowercased(), text))
                headers.pointee.size += strlen(name) + length
            }
        }
        var remote = [CChar](repeating: 0, count: 64)
        let count = zg_stream_remote(raw, &remote, remote.count)
        let target = String(cString: zg_stream_target(raw))
        let head = HTTPHead(
            method: String(cString: zg_stream_method(raw)), target: target, headers: headers.list,
            remoteAddress: String(decoding: remote[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
        return (head, headers.size + target.utf8.count)
    }

    static func reply(_ response: HTTPStreamResponse, _ raw: OpaquePointer) {
        var names: [UnsafeMutablePointer<CChar>?] = []
        for header in response.headers { names += [strdup(header.name), strdup(header.value)] }
        defer { for name in names { free(name) } }
        let pointers = names.map { UnsafePointer($0) }
        let status = UInt32(clamping: response.status)
        let code: Int32
        switch response.body {
        case .bytes(let bytes): code = zg_stream_reply(raw, status, pointers, pointers.count / 2, bytes, bytes.count)
        case .length(let length): code = pull(NoSource(), length, status, pointers, raw)
        case .pull(let length, let source): code = pull(source, length, status, pointers, raw)
        }
        if code < 0 { _ = zg_stream_reply(raw, 500, nil, 0, nil, 0) }
    }

    private static func pull(
        _ source: any HTTPBodySource, _ length: Int64, _ status: UInt32, _ headers: [UnsafePointer<CChar>?],
        _ raw: OpaquePointer
    ) -> Int32 {
        zg_stream_reply_pull(
            raw, status, headers, headers.count / 2, UInt64(max(0, length)),
            Unmanaged.passRetained(SourceBox(source)).toOpaque(),
            { context, position, out, size in
                guard let context, let out else { return -1 }
                let box = Unmanaged<SourceBox>.fromOpaque(context).takeUnretainedValue()
                return box.source.read(
                    at: Int64(position), into: UnsafeMutableRawBufferPointer(start: out, count: size))
            },
            { context in if let context { Unmanaged<SourceBox>.fromOpaque(context).release() } })
    }
}
