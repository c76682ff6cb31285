internal import CanonicalJSON
public import Crypto
internal import HTTP
internal import Linux
internal import Service
public import Shim

/// Why Core-X did not do what it was asked.
public struct CoreXError: Error, Sendable, Equatable, CustomStringConvertible {
    /// `SKEW`, `DENIED`, `NOTFOUND`, `UNREACHABLE`, `NOTRUNNING`, `NOPROGRAM`, `NOEXEC`, …
    public let code: String
    /// A sentence for people.
    public let message: String
    /// Both.
    public var description: String { "\(code) \(message)" }

    init(_ code: String, _ message: String) { (self.code, self.message) = (code, message) }

    /// From a frame that says why a program was not started: `CODE message`, or a message alone.
    init(failure text: String) {
        let words = text.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        let isCode = words.count == 2 && !words[0].isEmpty && words[0].utf8.allSatisfy { (0x41...0x5A).contains($0) }
        self.init(isCode ? String(words[0]) : "FAILED", isCode ? String(words[1]) : text)
    }
}

/// One container as Core-X lists it.
public struct CoreXWorkload: Sendable, Equatable {
    /// The workload's name.
    public let name: String
    /// The container's id.
    public let id: String
    /// Its state.
    public let state: String
    /// Whether its probe succeeds.
    public let ready: Bool
    /// Why, where that is not plain.
    public let reason: String?
}

/// What a zdb holds.
public struct CoreXUsage: Sendable, Equatable {
    /// Bytes that are set aside for it.
    public let size: Int64
    /// Bytes of live keys and values.
    public let used: Int64
    /// Live keys.
    public let entries: Int64
}

/// Reads logs of a contract's containers and runs programs in them, with requests signed by an agent key.
public struct CoreXClient: Sendable {
    /// Longest target of a request; the server keeps a whole head in 64 KiB.
    static let targetMax = 48 << 10
    /// The protocol that `exec` switches to.
    public static let protocolName = "zero-exec/1"

    let context: RequestContext
    let identity: PublicKey
    let key: SigningKey
    private let http = HTTPClient()

    /// A client of the Core-X at `address:port` for a contract of `identity`, whose agent `key` is.
    public init(
        address: String, port: UInt16 = 7700, contract: Digest, ledger: Digest, identity: PublicKey, key: SigningKey
    ) {
        context = RequestContext(ledger: ledger, contract: contract, host: "\(address):\(port)")
        (self.identity, self.key) = (identity, key)
    }

    /// The containers that this Core-X reaches.
    public func workloads() async throws(CoreXError) -> [CoreXWorkload] {
        let target = "/v1/workloads"
        do throws(HTTPClientError) {
            let response = try await http.get(url(target), headers: headers("GET", target), deadline: .seconds(10))
            try check(response)
            guard let list = (try? JSONValue(parsing: response.body))?["workloads"]?.array else {
                throw HTTPClientError.failed(url: target, reason: "the answer is not a list")
            }
            return list.map { entry in
                CoreXWorkload(
                    name: entry["name"]?.string ?? "", id: entry["id"]?.string ?? "",
                    state: entry["state"]?.string ?? "", ready: entry["ready"]?.bool ?? false,
                    reason: entry["reason"]?.string)
            }
        } catch {
            throw Self.error(error)
        }
    }

    /// What a zdb holds now.
    public func usage(_ workload: String) async throws(CoreXError) -> CoreXUsage {
        let target = "/v1/workloads/\(PercentEncoding.encode(workload))/usage"
        do throws(HTTPClientError) {
            let response = try await http.get(url(target), headers: headers("GET", target), deadline: .seconds(10))
            try check(response)
            guard let body = try? JSONValue(parsing: response.body), let size = body["size"]?.integer,
                let used = body["used"]?.integer, let entries = body["entries"]?.integer
            else { throw HTTPClientError.failed(url: target, reason: "the answer is not a usage") }
            return CoreXUsage(size: size, used: used, entries: entries)
        } catch {
            throw Self.error(error)
        }
    }

    /// Gives the last `tail` records of a container's log to `consumer`, and with `follow` those that come; `consumer` runs on
    /// a thread that may block, and breaks off with false.
    public func logs(
        _ workload: String, tail: Int = 1000, follow: Bool = false,
        _ consumer: @escaping @Sendable (LogRecord) -> Bool
    ) async throws(CoreXError) {
        let target = "/v1/workloads/\(PercentEncoding.encode(workload))/logs?tail=\(tail)" + (follow ? "&follow=1" : "")
        let lines = LineCutter()
        do throws(HTTPClientError) {
            let response = try await http.stream("GET", url(target), headers: headers("GET", target)) { bytes in
                lines.cut(bytes) { line in LogRecord(line: line).map(consumer) ?? true }
            }
            try check(response)
        } catch {
            if case .cancelled = error { return }
            throw Self.error(error)
        }
    }

    /// Starts a program in a container and returns the conversation with it.
    public func exec(
        _ workload: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil,
        user: String? = nil, terminal: Bool = false
    ) async throws(CoreXError) -> ExecSession {
        var request: JSONValue = ["args": .array(arguments.map { .string($0) })]
        if !environment.isEmpty { request["env"] = .object(environment.mapValues { .string($0) }) }
        request["cwd"] = directory.map { .string($0) }
        request["user"] = user.map { .string($0) }
        if terminal { request["tty"] = true }
        let query = PercentEncoding.encode(request.canonicalText)
        let target = "/v1/workloads/\(PercentEncoding.encode(workload))/exec?request=\(query)"
        guard target.utf8.count <= Self.targetMax else {
            throw CoreXError(
                "TOOLONG",
                "the command is too long: encoded it has \(target.utf8.count) bytes, and \(Self.targetMax) are"
                    + " allowed; long text goes through its standard input")
        }
        do throws(HTTPClientError) {
            let stream = try await http.upgrade(
                url(target), to: Self.protocolName, method: "POST", headers: headers("POST", target))
            return ExecSession(stream)
        } catch {
            throw Self.error(error)
        }
    }

    private func url(_ target: String) -> String { "http://\(context.host)\(target)" }

    private func headers(_ method: String, _ target: String) -> [(name: String, value: String)] {
        SignedRequest.headers(context, method: method, target: target, identity: identity, key: key)
    }

    /// Refusals come as errors of the HTTP layer, so that one place turns them into ours.
    private func check(_ response: HTTPClientResponse) throws(HTTPClientError) {
        if !response.isSuccess {
            throw .notUpgraded(url: context.host, status: response.status, body: response.text)
        }
    }

    private static func error(_ error: HTTPClientError) -> CoreXError {
        switch error {
        case .notUpgraded(_, let status, let body):
            // The body may follow the head of a refusal in pieces; what is not JSON is shown as it is.
            guard let value = try? JSONValue(parsing: Array(body.utf8)), let code = value["code"]?.string,
                let message = value["message"]?.string
            else { return CoreXError("FAILED", "Core-X answered with status \(status): \(body.prefix(200))") }
            return CoreXError(code, message)
        case .unreachable: return CoreXError("UNREACHABLE", "\(error)")
        case .late: return CoreXError("LATE", "\(error)")
        default: return CoreXError("FAILED", "\(error)")
        }
    }
}
