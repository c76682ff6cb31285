public import CanonicalJSON
import CLinux
import Glibc
public import Linux
import RESP
import Synchronization

/// Serves one service's verbs on a Unix socket.
///
/// A thread of its own owns every connection; handlers run as tasks. A connection's requests run one after the other, so
/// replies are in order and nothing piles up; callers that want several at once open several connections.
public final class BusServer: Sendable {
    /// Handles one request; what it throws is told to the caller, a `BusError` with its own code.
    public typealias Handler = @Sendable (BusRequest) async throws -> BusReply

    struct Verb: Sendable {
        let accounts: Set<Account>
        let deadline: Duration
        let handler: Handler
    }
    private struct State {
        var verbs: [String: Verb] = [:]
        var requests: [String: [String: Int64]] = [:]
        var isStarted = false
    }

    /// The service's name in lower case, such as `network`.
    public let service: String
    /// The socket's path.
    public let socketPath: String
    private let state = Mutex(State())
    let mailbox = BusMailbox()

    /// A server that does not listen yet. `service` is its name, such as `network`.
    public init(service: String, socketPath: String) {
        (self.service, self.socketPath) = (service.lowercased(), socketPath)
        provideStatus { .object([:]) }
        provideMetrics { "" }
    }

    /// Adds a verb for these accounts; root, who could become any of them, may use every verb.
    ///
    /// `verb` is `NETWORK.ENSURE` or just `ENSURE`. A handler that takes longer than `deadline` is cancelled and its caller
    /// told so.
    public func on(
        _ verb: String, from accounts: [Account], deadline: Duration = .seconds(60), _ handler: @escaping Handler
    ) {
        let name = verb.contains(".") ? verb.uppercased() : "\(service).\(verb)".uppercased()
        let entry = Verb(accounts: Set(accounts + [.root]), deadline: deadline, handler: handler)
        state.withLock { $0.verbs[name] = entry }
    }

    /// Sets what `<SERVICE>.STATUS` answers.
    public func provideStatus(_ provider: @escaping @Sendable () async throws -> JSONValue) {
        on("STATUS", from: [.root]) { _ in BusReply(try await provider()) }
    }

    /// Sets what `<SERVICE>.METRICS` answers before the bus's own counters, as Prometheus text.
    public func provideMetrics(_ provider: @escaping @Sendable () async -> String) {
        on("METRICS", from: [.root]) { [weak self] _ in
            BusReply(text: await provider() + (self?.requestMetrics() ?? ""))
        }
    }

    /// Makes the socket and starts to serve; returns at once.
    public func start() throws(SystemError) {
        let isSecond = state.withLock { (state: inout State) in
            defer { state.isStarted = true }
            return state.isStarted
        }
        if isSecond { throw SystemError("listen", socketPath, Errno(EALREADY)) }
        let listener = try checked("listen", socketPath, zg_unix_listen(socketPath, 0o666, 128))
        let epoll = zg_epoll_create()
        guard epoll >= 0 else {
            close(listener)
            throw SystemError("epoll", socketPath, Errno(-epoll))
        }
        startThread { BusLoop(self, epoll: epoll, listener: listener).run() }
    }

    /// Stops to serve; open connections are closed and running handlers cancelled.
    public func stop() { mailbox.stop() }

    /// Starts if that was not done and serves until the task is cancelled.
    public func run() async throws {
        if !(state.withLock { $0.isStarted }) { try start() }
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        stop()
    }

    func verb(_ name: String) -> Verb? { state.withLock { $0.verbs[name] } }

    func verbNames() -> [String] { state.withLock { $0.verbs.keys.sorted() } }

    func count(_ verb: String, _ code: String) {
        state.withLock { $0.requests[verb, default: [:]][code, default: 0] += 1 }
    }

    private func requestMetrics() -> String {
        let requests = state.withLock { $0.requests }
        var text = "# HELP zero_bus_requests_total Requests on the bus by verb and outcome.\n"
        text += "# TYPE zero_bus_requests_total counter\n"
        for (verb, codes) in requests.sorted(by: { $0.key < $1.key }) {
            for (code, count) in codes.sorted(by: { $0.key < $1.key }) {
                text += "zero_bus_requests_total{service=\"\(service)\",verb=\"\(verb)\",code=\"\(code)\"} \(count)\n"
            }
        }
        return text
    }
}

/// A finished request on its way from its task back to the loop.
struct BusCompletion: Sendable {
    let token: UInt64
    let sequence: UInt64
    let verb: String
    let result: Result<BusReply, BusError>
}

/// How tasks reach the loop: a queue and an eventfd that wakes it.
final class BusMailbox: Sendable {
    private struct State {
        var completions: [BusCompletion] = []
        var isStopped = false
        var isClosed = false
    }
    private let state = Mutex(State())
    let wake: Int32 = zg_eventfd()

    deinit { if wake >= 0 { close(wake) } }

    func post(_ completion: BusCompletion) {
        let isClosed = state.withLock { (state: inout State) in
            if !state.isClosed { state.completions.append(completion) }
            return state.isClosed
        }
        if isClosed, case .success(let reply) = completion.result { reply.dispose() }
        _ = zg_eventfd_signal(wake)
    }

    func stop() {
        state.withLock { $0.isStopped = true }
        _ = zg_eventfd_signal(wake)
    }

    func take() -> (completions: [BusCompletion], isStopped: Bool) {
        _ = zg_eventfd_clear(wake)
        return state.withLock { (state: inout State) in
            let taken = state.completions
            state.completions = []
            return (taken, state.isStopped)
        }
    }

    func shut() { state.withLock { $0.isClosed = true } }
}
