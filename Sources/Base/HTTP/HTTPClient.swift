import CHTTP
import Glibc
import Linux
import Synchronization

/// Why an HTTP request had no response.
public enum HTTPClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The server could not be reached.
    case unreachable(url: String, reason: String)
    /// The deadline passed.
    case late(url: String, reason: String)
    /// The server's public key is not the pinned one.
    case wrongPin(url: String)
    /// The TLS handshake failed, or the certificate does not verify.
    case tls(url: String, reason: String)
    /// The response body was larger than allowed.
    case tooLarge(url: String, limit: Int)
    /// The task was cancelled, or the body's consumer broke off.
    case cancelled(url: String)
    /// The URL is not one of http or https.
    case badURL(url: String, reason: String)
    /// The server did not switch protocols.
    case notUpgraded(url: String, status: Int, body: String)
    /// Anything else.
    case failed(url: String, reason: String)

    /// A sentence for people.
    public var description: String {
        switch self {
        case .unreachable(let url, let reason): "cannot reach \(url): \(reason)"
        case .late(let url, let reason): "\(url) did not answer in time: \(reason)"
        case .wrongPin(let url): "\(url) has another public key than the pinned one"
        case .tls(let url, let reason): "no secure connection to \(url): \(reason)"
        case .tooLarge(let url, let limit): "the answer of \(url) is larger than \(limit) bytes"
        case .cancelled(let url): "the request to \(url) was broken off"
        case .badURL(let url, let reason): "\(url) cannot be requested: \(reason)"
        case .notUpgraded(let url, let status, let body):
            "\(url) did not switch protocols, status \(status): \(body.prefix(200))"
        case .failed(let url, let reason): "request to \(url) failed: \(reason)"
        }
    }
}

/// A response as a client sees it.
public struct HTTPClientResponse: Sendable {
    /// The status code.
    public let status: Int
    /// Header values by name in lower case.
    public let headers: [String: String]
    /// The whole body; empty where it was streamed.
    public let body: [UInt8]

    /// The body as text, invalid UTF-8 repaired.
    public var text: String { String(decoding: body, as: UTF8.self) }
    /// Whether the status is 2xx.
    public var isSuccess: Bool { (200..<300).contains(status) }
}

/// An HTTP client that keeps connections; calls run on threads of their own, never on the cooperative pool.
public final class HTTPClient: Sendable {
    /// Connections kept between requests.
    private static let idleMax = 4

    /// `sha256//` and the base64 SHA-256 of the server's public key; certificates are then not checked otherwise.
    public let pin: String?
    private let unixSocket: String?
    private let connectTimeout: Duration
    private let idle = Mutex<[CurlHandle]>([])

    /// A client; with a `pin` exactly that public key is trusted, else the system's authorities.
    public init(pin: String? = nil, unixSocket: String? = nil, connectTimeout: Duration = .seconds(5)) {
        (self.pin, self.unixSocket, self.connectTimeout) = (pin, unixSocket, connectTimeout)
    }

    /// Requests and waits for the whole response.
    public func request(
        _ method: String, _ url: String, headers: [(name: String, value: String)] = [], body: [UInt8]? = nil,
        deadline: Duration = .seconds(30), bodyMax: Int = 64 << 20
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        let transfer = Transfer(method, url, headers, body, bodyMax: bodyMax, consumer: nil)
        return try await run(transfer, deadline: deadline, silence: nil)
    }

    /// `request` with GET.
    public func get(
        _ url: String, headers: [(name: String, value: String)] = [], deadline: Duration = .seconds(30)
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        try await request("GET", url, headers: headers, deadline: deadline)
    }

    /// `request` with POST.
    public func post(
        _ url: String, _ body: [UInt8], type: String = "application/json",
        headers: [(name: String, value: String)] = [], deadline: Duration = .seconds(30)
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        try await request("POST", url, headers: [("Content-Type", type)] + headers, body: body, deadline: deadline)
    }

    /// Requests and gives each piece of the body to `consumer`, on a thread that may block; false breaks off.
    ///
    /// Only a successful response is streamed; another one's body is returned. There is no deadline for the whole, but
    /// `silence` is the longest time without a byte.
    public func stream(
        _ method: String, _ url: String, headers: [(name: String, value: String)] = [], body: [UInt8]? = nil,
        silence: Duration? = nil, _ consumer: @escaping @Sendable ([UInt8]) -> Bool
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        let transfer = Transfer(method, url, headers, body, bodyMax: 1 << 20, consumer: consumer)
        return try await run(transfer, deadline: nil, silence: silence)
    }

    /// `request` that blocks this thread.
    public func requestBlocking(
        _ method: String, _ url: String, headers: [(name: String, value: String)] = [], body: [UInt8]? = nil,
        deadline: Duration = .seconds(30), bodyMax: Int = 64 << 20
    ) throws(HTTPClientError) -> HTTPClientResponse {
        try perform(
            Transfer(method, url, headers, body, bodyMax: bodyMax, consumer: nil), deadline: deadline, silence: nil)
    }

    /// Closes the connections that are kept between requests.
    public func dropIdle() { idle.withLock { $0 = [] } }

    private func run(
        _ transfer: Transfer, deadline: Duration?, silence: Duration?
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        let result: Result<HTTPClientResponse, HTTPClientError> = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                startThread {
                    do throws(HTTPClientError) {
                        let response = try self.perform(transfer, deadline: deadline, silence: silence)
                        continuation.resume(returning: .success(response))
                    } catch {
                        continuation.resume(returning: .failure(error))
                    }
                }
            }
        } onCancel: {
            transfer.cancel()
        }
        return try result.get()
    }

    private func perform(
        _ transfer: Transfer, deadline: Duration?, silence: Duration?
    ) throws(HTTPClientError) -> HTTPClientResponse {
        let handle = idle.withLock { $0.popLast() } ?? CurlHandle()
        guard let handle else { throw .failed(url: transfer.url, reason: "out of memory") }
        let code = transfer.perform(
            handle, pin: pin, unixSocket: unixSocket, deadline: deadline, connectTimeout: connectTimeout,
            silence: silence)
        let problem = handle.problem
        idle.withLock { if $0.count < Self.idleMax { $0.append(handle) } }
        return try transfer.result(code, problem)
    }
}

/// One easy handle of libcurl; used by one thread at a time.
final class CurlHandle: @unchecked Sendable {  // handed from thread to thread through the client's lock
    let raw: OpaquePointer
    init?() {
        guard let raw = zg_curl_new() else { return nil }
        self.raw = raw
    }
    deinit { zg_curl_free(raw) }
    var problem: String { String(cString: zg_curl_problem(raw)) }
}
