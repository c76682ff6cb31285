import Bytes
import Crypto
public import HTTP
import Linux
public import Objects
import Synchronization

/// S3 in front of a store.
public final class S3Gateway: Sendable {
    /// How the gateway works.
    public struct Options: Sendable {
        /// Buckets are also served as `<bucket>.<domain>`.
        public var domain: String?
        /// The region that is told, and in which requests may be signed (any is accepted).
        public var region = "us-east-1"
        /// Requests a second; 0: no limit.
        public var requestsPerSecond = 0
        /// Gets one line a request; nil: none is written.
        public var accessLog: (@Sendable (String) -> Void)?
        /// More Prometheus text: the store's.
        public var storeMetrics: (@Sendable () -> String)?
        /// The clock, Unix milliseconds.
        public var clock: @Sendable () -> Int64 = { Clock.wallMilliseconds() }

        /// The defaults.
        public init() {}
    }

    let store: any ObjectStore
    let options: Options
    let counters = S3Counters()
    /// Memory of documents that are being received.
    let ofStrangers = MemoryBudget(S3Limits.documentsMax)
    let ofSigners = MemoryBudget(2 * S3Limits.documentsMax)
    private let rate: Mutex<RateLimit>

    /// A gateway to that store.
    public init(_ store: any ObjectStore, _ options: Options = Options()) {
        (self.store, self.options) = (store, options)
        rate = Mutex(RateLimit(perSecond: Int64(options.requestsPerSecond)))
    }

    /// Prometheus text.
    public var metrics: String { counters.text() + (options.storeMetrics?() ?? "") }

    /// Decides on a request by its head.
    public func begin(_ head: HTTPHead) -> HTTPStreamServer.Decision {
        let now = options.clock()
        var request = S3Request(head, domain: options.domain, id: Hex.encode(Random.bytes(8)).uppercased(), now: now)
        do {
            try Self.checkFraming(head)
            if !rate.withLock({ $0.takes(now) }) { throw S3Error("SlowDown", 503, "Please reduce your request rate.") }
            // Browsers ask before they may sign anything.
            if head.method != "OPTIONS" { try authenticate(&request) }
            let operation = try Operation.of(request)
            request.operation = operation.name
            counters.count(operation.name)
            switch operation.body {
            case .stream(let make): return .accept(try make(self, request))
            case .none(let run):
                if let length = head.value("content-length"), length != "0" {
                    return .accept(Document(self, request, run))
                }
                if head.value("transfer-encoding") != nil { return .accept(Document(self, request, run)) }
                return .respond(answer(request) { try run(self, request, []) })
            case .document(let run):
                return .accept(Document(self, request, run))
            }
        } catch {
            return .respond(answer(request) { throw error })
        }
    }

    /// Refuses a request whose body could end at two places, depending on who reads it.
    private static func checkFraming(_ head: HTTPHead) throws {
        let lengths = head.headers.count { $0.name == "content-length" }
        let codings = head.headers.filter { $0.name == "transfer-encoding" }.map { $0.value.lowercased() }
        if lengths > 1 || codings.count > 1 || (lengths > 0 && !codings.isEmpty) {
            throw S3Error.invalidRequest("The length of the body is said more than once")
        }
        if let coding = codings.first, coding != "chunked" {
            throw S3Error.invalidRequest("The transfer coding \(coding) is not served")
        }
    }

    /// Runs an operation and makes a response of what it gives or throws.
    func answer(_ request: S3Request, _ body: () throws -> HTTPStreamResponse) -> HTTPStreamResponse {
        var response: HTTPStreamResponse
        do {
            response = try body()
        } catch let error as S3Error {
            response = Self.response(error, request)
        } catch let error as ObjectError {
            response = Self.response(S3Error(error), request)
        } catch {
            response = Self.response(S3Error("InternalError", 500, "We encountered an internal error"), request)
        }
        if request.head.method != "OPTIONS", let headers = crossOriginHeaders(request) { response.headers += headers }
        response.headers += [("x-amz-request-id", request.id), ("x-amz-id-2", request.id), ("Server", "zero-s3")]
        counters.count(status: response.status)
        log(request, response)
        return response
    }

    private static func response(_ error: S3Error, _ request: S3Request) -> HTTPStreamResponse {
        if request.head.method == "HEAD" || error.status == 304 {
            return HTTPStreamResponse(error.status, headers: error.headers)
        }
        var xml = XMLWriter("Error", isPlain: true)
        xml.leaf("Code", error.code)
        xml.leaf("Message", error.message)
        for (name, value) in error.details { xml.leaf(name, value) }
        xml.leaf("Resource", String(decoding: request.rawPath, as: UTF8.self))
        xml.leaf("RequestId", request.id)
        xml.leaf("HostId", request.id)
        return HTTPStreamResponse(
            error.status, headers: [("Content-Type", "application/xml")] + error.headers, .bytes(xml.finished()))
    }

    private func log(_ request: S3Request, _ response: HTTPStreamResponse) {
        guard let write = options.accessLog else { return }
        let size: Int64
        switch response.body {
        case .bytes(let bytes): size = Int64(bytes.count)
        case .pull(let length, _): size = length
        case .length: size = 0
        }
        let path = String(decoding: request.rawPath.prefix(256).map { $0 < 33 || $0 > 126 ? 63 : $0 }, as: UTF8.self)
        write(
            "\(CivilTime.iso(milliseconds: request.now)) \(request.head.remoteAddress) \(request.caller.identity) "
                + "\(request.id) \(request.head.method) \(path) \(response.status) \(size) "
                + "\(options.clock() - request.now)ms")
    }

    private func authenticate(_ request: inout S3Request) throws {
        guard let signature = try SignatureV4.read(request) else { return }
        guard let key = try store.accessKey(signature.accessKey) else {
            throw S3Error("InvalidAccessKeyId", 403, "The access key you provided does not exist in our records.")
        }
        guard signature.matches(request, secret: key.secret) else {
            throw S3Error(
                "SignatureDoesNotMatch", 403,
                "The request signature we calculated does not match the signature you provided.")
        }
        request.caller = .key(key)
        request.signature = signature
        request.secret = key.secret
    }
}

/// Memory that many share.
final class MemoryBudget: Sendable {
    private let left: Atomic<Int>
    init(_ bytes: Int) { left = Atomic(bytes) }
    /// Takes so many bytes; false where there are not so many.
    func take(_ bytes: Int) -> Bool {
        if left.subtract(bytes, ordering: .relaxed).newValue >= 0 { return true }
        left.add(bytes, ordering: .relaxed)
        return false
    }
    func giveBack(_ bytes: Int) { left.add(bytes, ordering: .relaxed) }
}

/// So many requests a second, with a second's worth in hand.
struct RateLimit {
    let perSecond: Int64
    private var tokens: Int64
    private var last: Int64 = 0
    init(perSecond: Int64) { (self.perSecond, tokens) = (perSecond, perSecond * 1000) }
    mutating func takes(_ now: Int64) -> Bool {
        if perSecond == 0 { return true }
        tokens = min(perSecond * 1000, tokens + max(0, now - last) * perSecond)
        last = now
        if tokens < 1000 { return false }
        tokens -= 1000
        return true
    }
}

/// What was served.
final class S3Counters: Sendable {
    private struct State {
        var operations: [String: Int] = [:]
        var statuses: [Int: Int] = [:]
        var received: Int64 = 0
        var sent: Int64 = 0
    }
    private let state = Mutex(State())
    func count(_ operation: String) { state.withLock { $0.operations[operation, default: 0] += 1 } }
    func count(status: Int) { state.withLock { $0.statuses[status, default: 0] += 1 } }
    func count(received: Int64) { state.withLock { $0.received += received } }
    func count(sent: Int64) { state.withLock { $0.sent += sent } }
    func text() -> String {
        let state = state.withLock { $0 }
        var text = "# TYPE zero_s3_requests_total counter\n"
        for (name, count) in state.operations.sorted(by: { $0.key < $1.key }) {
            text += "zero_s3_requests_total{operation=\"\(name)\"} \(count)\n"
        }
        text += "# TYPE zero_s3_responses_total counter\n"
        for (status, count) in state.statuses.sorted(by: { $0.key < $1.key }) {
            text += "zero_s3_responses_total{status=\"\(status)\"} \(count)\n"
        }
        text += "# TYPE zero_s3_received_bytes_total counter\nzero_s3_received_bytes_total \(state.received)\n"
        return text + "# TYPE zero_s3_sent_bytes_total counter\nzero_s3_sent_bytes_total \(state.sent)\n"
    }
}
