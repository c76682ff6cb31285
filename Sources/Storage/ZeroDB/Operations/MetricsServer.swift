import CLinux
import HTTP
import Linux
import LogEngine
import Synchronization

/// Prometheus text over HTTP, on threads of its own that ask the loop for what they show.
final class MetricsServer: Sendable {
    /// What a page shows.
    struct Snapshot: Sendable {
        var metrics = ""
        var status = ""
        var isHealthy = false
    }

    /// Who asks has a number; what the loop made last answers all up to one.
    private struct State {
        var asked: UInt64 = 0
        var answered: UInt64 = 0
        var snapshot = Snapshot()
    }

    /// A loop that says nothing for so long is not healthy.
    private static let patienceMilliseconds = 3000

    private let state = Mutex(State())
    private let wake: Int32
    private let server = Mutex<HTTPServer?>(nil)

    init(wake: Int32) { self.wake = wake }

    func start(_ address: String, _ port: UInt16) throws(SystemError) {
        var options = HTTPServer.Options(address: address, port: port)
        (options.bodyMax, options.connectionsMax, options.connectionsOfAddressMax) = (4096, 32, 16)
        options.idleSeconds = 15
        let made = try HTTPServer(options) { [weak self] request in
            await self?.answer(request) ?? .empty(503)
        }
        server.withLock { $0 = made }
    }

    func stop() {
        let running = server.withLock { server in
            defer { server = nil }
            return server
        }
        running?.stop()
    }

    /// Whether somebody waits; the loop then gives a snapshot.
    var isAsked: Bool { state.withLock { $0.asked > $0.answered } }

    func give(_ snapshot: Snapshot) {
        state.withLock { state in
            state.answered = state.asked
            state.snapshot = snapshot
        }
    }

    private func answer(_ request: HTTPRequest) async -> HTTPResponse {
        guard request.method == "GET" || request.method == "HEAD" else { return .text(405, "GET only\n") }
        switch request.path {
        case "/metrics":
            guard let snapshot = await snapshot() else { return .text(503, "the server does not answer\n") }
            return HTTPResponse(200, type: "text/plain; version=0.0.4; charset=utf-8", Array(snapshot.metrics.utf8))
        case "/health":
            guard let snapshot = await snapshot() else { return .text(503, "the server does not answer\n") }
            return .json(snapshot.isHealthy ? 200 : 503, Array((snapshot.status + "\n").utf8))
        default: return .text(404, "/metrics and /health\n")
        }
    }

    private func snapshot() async -> Snapshot? {
        let ticket = state.withLock { state in
            state.asked += 1
            return state.asked
        }
        _ = zg_eventfd_signal(wake)
        for _ in 0..<Self.patienceMilliseconds / 2 {
            let found: Snapshot? = state.withLock { $0.answered >= ticket ? $0.snapshot : nil }
            if let found { return found }
            do { try await Task.sleep(for: .milliseconds(2)) } catch { return nil }
        }
        return nil
    }
}

extension Server {
    /// Gives the metrics' threads what they asked for.
    func answerMetrics() {
        guard let metrics = operations.metrics, metrics.isAsked else { return }
        metrics.give(
            .init(
                metrics: metricsText(), status: statusText(),
                isHealthy: engine.readOnlyReason == nil))
    }
}
