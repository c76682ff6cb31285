import CHTTP
import CLinux
import Glibc
public import Linux
import Synchronization

/// An HTTP/1.1 server, plain or TLS. Each connection has a thread; handlers run as tasks in the pool.
public final class HTTPServer: Sendable {
    /// Answers one request. Cancelled when the client goes or the server stops; what it throws becomes a 500.
    public typealias Handler = @Sendable (HTTPRequest) async throws -> HTTPResponse

    /// How a server listens, and its limits.
    public struct Options: Sendable {
        /// Local address; `0.0.0.0` or `::` for all.
        public var address: String
        /// Port; 0 takes a free one.
        public var port: UInt16
        /// Certificate chain and private key as PEM text; nil for plain HTTP.
        public var tls: (certificate: String, key: String)?
        /// Largest request body in bytes; larger ones get 413.
        public var bodyMax: Int
        /// Most connections, each with a thread.
        public var connectionsMax: Int
        /// Most connections of one client address.
        public var connectionsOfAddressMax: Int
        /// A connection on which nothing moves for so long is closed; time inside a handler does not count.
        public var idleSeconds: Int
        /// A listening socket to use instead of address and port.
        public var listener: Int32?

        /// Options; the limits suit a node's ledger port.
        public init(
            address: String = "127.0.0.1", port: UInt16 = 0, tls: (certificate: String, key: String)? = nil,
            bodyMax: Int = 1 << 20, connectionsMax: Int = 512, connectionsOfAddressMax: Int = 256,
            idleSeconds: Int = 60, listener: Int32? = nil
        ) {
            (self.address, self.port, self.tls, self.bodyMax) = (address, port, tls, bodyMax)
            (self.connectionsMax, self.connectionsOfAddressMax) = (connectionsMax, connectionsOfAddressMax)
            (self.idleSeconds, self.listener) = (idleSeconds, listener)
        }
    }

    /// The port it listens on.
    public let port: UInt16
    private let core: HTTPServerCore
    private let raw: Mutex<UnsafeRawPointer?>

    /// Starts to serve at once.
    public init(_ options: Options, handler: @escaping Handler) throws(SystemError) {
        signal(SIGPIPE, SIG_IGN)
        let subject = "\(options.address):\(options.port)"
        let listener: Int32
        if let given = options.listener {
            listener = given
        } else {
            listener = try checked("listen", subject, zg_tcp_listen(options.address, options.port, 256))
        }
        port = UInt16(clamping: zg_tcp_port(listener))
        core = HTTPServerCore(handler)
        let started = Self.start(options, listener, core)
        try checked("start HTTP on", subject, started.code)
        raw = Mutex(started.server.map { UnsafeRawPointer($0) })
    }

    deinit { stop() }

    /// Stops: running handlers are cancelled and waited for, streams are broken off. Blocks; may be called again.
    public func stop() {
        let server = raw.withLock { raw in
            defer { raw = nil }
            return raw
        }
        guard let server else { return }
        // libmicrohttpd frees upgraded connections when it stops, so every one of them must have ended before.
        guard core.stop() else { return zg_http_abandon(OpaquePointer(server)) }
        zg_http_stop(OpaquePointer(server))
        Unmanaged.passUnretained(core).release()
    }

    private static func start(
        _ options: Options, _ listener: Int32, _ core: HTTPServerCore
    ) -> (server: OpaquePointer?, code: Int32) {
        let certificate = options.tls.map { strdup($0.certificate) } ?? nil
        let key = options.tls.map { strdup($0.key) } ?? nil
        defer {
            free(certificate)
            free(key)
        }
        // Connection threads use the core until the server has stopped, which releases it.
        let context = Unmanaged.passRetained(core).toOpaque()
        var raw = zg_http_options_t(
            listener: listener, certificate: certificate, key: key, connections_max: UInt32(options.connectionsMax),
            connections_of_address_max: UInt32(options.connectionsOfAddressMax),
            idle_seconds: UInt32(options.idleSeconds), body_max: UInt64(options.bodyMax), context: context,
            handle: { context, request in
                guard let context, let request else { return }
                Unmanaged<HTTPServerCore>.fromOpaque(context).takeUnretainedValue().handle(request)
            })
        var server: OpaquePointer?
        let code = zg_http_start(&raw, &server)
        if code < 0 { Unmanaged.passUnretained(core).release() }
        return (server, code)
    }
}

/// What connection threads share.
final class HTTPServerCore: Sendable {
    private let handler: HTTPServer.Handler
    private let isStopping = Atomic<Bool>(false)
    /// Upgrades that were promised and have not ended, with their stream once it is there.
    private let upgrades = Mutex<[ObjectIdentifier: DuplexStream?]>([:])
    /// How long upgraded connections get to end after their stream was closed.
    private static let stopSeconds: Int64 = 10

    init(_ handler: @escaping HTTPServer.Handler) { self.handler = handler }

    /// Closes upgraded connections; false when some did not end in time.
    func stop() -> Bool {
        isStopping.store(true, ordering: .sequentiallyConsistent)
        let end = Clock.monotonicNanoseconds() + Self.stopSeconds * 1_000_000_000
        while true {
            let streams = upgrades.withLock { Array($0.values) }
            if streams.isEmpty { return true }
            if Clock.monotonicNanoseconds() > end { return false }
            for stream in streams { stream?.close() }
            usleep(5_000)
        }
    }

    var stops: Bool { isStopping.load(ordering: .relaxed) }

    /// Runs on the connection's thread: starts the handler as a task and waits for it.
    func handle(_ raw: OpaquePointer) {
        let request = Self.request(raw)
        let gate = Gate()
        let handler = handler
        let box = ResponseBox()
        let task = Task.detached {
            box.set(await Self.answer(request, handler))
            gate.open()
        }
        while !gate.pass(milliseconds: 1000) {
            if stops || zg_http_client_gone(raw) == 1 { task.cancel() }
        }
        reply(box.take() ?? .empty(500), raw)
    }

    private static func answer(_ request: HTTPRequest, _ handler: HTTPServer.Handler) async -> HTTPResponse {
        do {
            return try await handler(request)
        } catch {
            // The reason may hold what is not the client's business.
            return .text(error is CancellationError ? 503 : 500, "the request could not be served\n")
        }
    }

    private static func request(_ raw: OpaquePointer) -> HTTPRequest {
        var headers: [String: String] = [:]
        withUnsafeMutablePointer(to: &headers) { pointer in
            zg_http_headers(raw, pointer) { context, name, value, length in
                guard let name, let value, let context else { return }
                let bytes = UnsafeRawBufferPointer(start: value, count: length)
                let text = String(decoding: bytes, as: UTF8.self)
                let key = String(cString: name).lowercased()
                let all = context.assumingMemoryBound(to: [String: String].self)
                all.pointee[key] = all.pointee[key].map { "\($0), \(text)" } ?? text
            }
        }
        var length = 0
        let start = zg_http_body(raw, &length)
        var remote = [CChar](repeating: 0, count: 64)
        let remoteLength = zg_http_remote(raw, &remote, remote.count)
        return HTTPRequest(
            method: String(cString: zg_http_method(raw)), target: String(cString: zg_http_target(raw)),
            headers: headers,
            body: start.map { Array(UnsafeBufferPointer(start: $0, count: length)) } ?? [],
            remoteAddress: String(decoding: remote[..<remoteLength].map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    private func reply(_ response: HTTPResponse, _ raw: OpaquePointer) {
        var names: [UnsafeMutablePointer<CChar>?] = []
        for header in response.headers { names += [strdup(header.name), strdup(header.value)] }
        defer { for name in names { free(name) } }
        let pointers = names.map { UnsafePointer($0) }
        let status = UInt32(clamping: response.status)
        var code: Int32 = 0
        switch response.body {
        case .bytes(let bytes):
            code = zg_http_reply(raw, status, pointers, pointers.count / 2, bytes, bytes.count)
        case .stream(let write): code = stream(write, status, pointers, raw)
        case .upgrade(let body): code = upgrade(body, pointers, raw)
        }
        // A header that cannot be sent, or an upgrade over TLS.
        if code < 0 { _ = zg_http_reply(raw, 500, nil, 0, nil, 0) }
    }
}

extension HTTPServerCore {
    private final class ResponseBox: Sendable {
        private let response = Mutex<HTTPResponse?>(nil)
        func set(_ value: HTTPResponse) { response.withLock { $0 = value } }
        func take() -> HTTPResponse? { response.withLock { $0 } }
    }

    private final class Streaming: @unchecked Sendable {  // `raw` is used by the connection's thread only
        let writer = HTTPBodyWriter()
        let core: HTTPServerCore
        let raw: OpaquePointer
        var task: Task<Void, Never>?
        init(_ core: HTTPServerCore, _ raw: OpaquePointer) { (self.core, self.raw) = (core, raw) }
    }

    private func stream(
        _ write: @escaping @Sendable (HTTPBodyWriter) async throws -> Void, _ status: UInt32,
        _ headers: [UnsafePointer<CChar>?], _ raw: OpaquePointer
    ) -> Int32 {
        let streaming = Streaming(self, raw)
        let writer = streaming.writer
        streaming.task = Task.detached {
            do {
                try await write(writer)
                writer.finish(broken: false)
            } catch {
                writer.finish(broken: true)
            }
        }
        return zg_http_reply_stream(
            raw, status, headers, headers.count / 2, Unmanaged.passRetained(streaming).toOpaque(),
            { context, out, size in
                guard let context, let out else { return -1 }
                let streaming = Unmanaged<Streaming>.fromOpaque(context).takeUnretainedValue()
                let space = UnsafeMutableRawBufferPointer(start: out, count: size)
                return streaming.writer.read(space) {
                    streaming.core.stops || zg_http_client_gone(streaming.raw) == 1
                }
            },
            { context in
                guard let context else { return }
                let streaming = Unmanaged<Streaming>.fromOpaque(context).takeRetainedValue()
                streaming.writer.abandon()
                streaming.task?.cancel()
            })
    }

    private final class Upgrading: Sendable {
        let core: HTTPServerCore
        let body: @Sendable (DuplexStream) -> Void
        private let hasStarted = Atomic<Bool>(false)

        init(_ core: HTTPServerCore, _ body: @escaping @Sendable (DuplexStream) -> Void) {
            (self.core, self.body) = (core, body)
            core.upgrades.withLock { $0[ObjectIdentifier(self)] = .some(nil) }
        }

        func start(_ stream: DuplexStream, _ handle: Int) {
            hasStarted.store(true, ordering: .relaxed)
            core.upgrades.withLock { $0[ObjectIdentifier(self)] = stream }
            startThread { self.run(stream, handle) }
        }

        private func run(_ stream: DuplexStream, _ handle: Int) {
            body(stream)
            stream.close()
            zg_http_upgrade_end(UnsafeMutableRawPointer(bitPattern: handle))
            forget()
        }

        /// The connection was handed over or ended before that.
        func finishHandover() { if !hasStarted.load(ordering: .relaxed) { forget() } }

        private func forget() { core.upgrades.withLock { _ = $0.removeValue(forKey: ObjectIdentifier(self)) } }
    }

    private func upgrade(
        _ body: @escaping @Sendable (DuplexStream) -> Void, _ headers: [UnsafePointer<CChar>?], _ raw: OpaquePointer
    ) -> Int32 {
        if stops { return -ESHUTDOWN }
        let context = Unmanaged.passRetained(Upgrading(self, body)).toOpaque()
        return zg_http_reply_upgrade(
            raw, headers, headers.count / 2, context,
            { context, descriptor, early, length, handle in
                guard let context, let handle else { return }
                let bytes = early.map { Array(UnsafeRawBufferPointer(start: $0, count: length)) } ?? []
                let stream = DuplexStream(descriptor: descriptor, early: bytes)
                Unmanaged<Upgrading>.fromOpaque(context).takeUnretainedValue().start(stream, Int(bitPattern: handle))
            },
            { context in
                if let context { Unmanaged<Upgrading>.fromOpaque(context).takeRetainedValue().finishHandover() }
            })
    }
}
