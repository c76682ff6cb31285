public import Bus
internal import CanonicalJSON
internal import Linux
public import Service
internal import Synchronization

/// Starts and reloads the proxy.
public struct ProxyControl: Sendable {
    /// Starts it where it does not run.
    public let start: @Sendable () async throws -> Void
    /// Makes it read its configuration again without closing a connection.
    public let reload: @Sendable () async throws -> Void

    /// A control of these two.
    public init(
        start: @escaping @Sendable () async throws -> Void, reload: @escaping @Sendable () async throws -> Void
    ) {
        (self.start, self.reload) = (start, reload)
    }

    /// The unit `proxy` of this node's process manager.
    public static func unit(of core: BusClient) -> ProxyControl {
        ProxyControl(
            start: {
                let reply = try await core.call("CORE.START", ["unit": "proxy"])
                if let reason = reply["reason"]?.string { throw BusError.failed("the proxy did not start: \(reason)") }
            },
            reload: { _ = try await core.call("CORE.SIGNAL", ["unit": "proxy", "signal": "USR2"]) })
    }
}

/// The verbs of `GATEWAY.*`, and the loop that keeps the proxy right.
public final class GatewayService: Sendable {
    private let keeper: Keeper
    private let control: ProxyControl
    private let log: Log
    private let problem = Mutex<String?>("the proxy was not asked yet")

    /// A service over a keeper.
    public init(_ keeper: Keeper, control: ProxyControl, log: Log) {
        (self.keeper, self.control, self.log) = (keeper, control, log)
    }

    /// Adds the verbs to the service's bus socket, and its numbers.
    public func register(on server: BusServer, _ metrics: Metrics) {
        let keeper = keeper
        server.on("ENSURE", from: [.provision]) { [self] request in
            let (contract, name, backends) = try request.read { reader throws(JSONError) in
                (try reader.string("contract"), try reader.string("name"), try Self.backends(&reader))
            }
            try await blocking { try keeper.ensure(contract: contract, name: name, backends: backends) }
            return .ok
        }
        server.on("REMOVE", from: [.provision]) { [self] request in
            let (contract, name) = try request.read { reader throws(JSONError) in
                (try reader.string("contract"), try reader.string("name"))
            }
            try await blocking { try keeper.remove(contract: contract, name: name) }
            log.info("removed", ["name": name, "contract": contract])
            return .ok
        }
        server.on("LIST", from: [.provision]) { [self] _ in
            ["routes": .array(keeper.routes().map(document))]
        }
        server.provideStatus { [self] in status() }
        server.provideMetrics {
            let counters = await runBlocking { try? keeper.counters() }
            return metrics.text() + Self.metrics(keeper.routes(), counters)
        }
    }

    private static func backends(_ reader: inout ObjectReader) throws(JSONError) -> [(address: String, port: Int64)] {
        var backends: [(address: String, port: Int64)] = []
        for value in try reader.array("backends") {
            var backend = try ObjectReader(value, "a backend")
            backends.append((try backend.string("address"), try backend.integer("port")))
            try backend.finish()
        }
        return backends
    }

    private func document(_ route: Route) -> JSONValue {
        [
            "contract": .string(route.contract), "name": .string(route.name),
            "host": .string(keeper.settings.host(route.name)), "backends": .array(route.backends.map(\.value)),
        ]
    }

    private func status() -> JSONValue {
        let (slots, isSynced) = keeper.condition()
        var document: JSONValue = [
            "routes": .integer(Int64(keeper.routes().count)), "slots": .integer(Int64(slots)),
            "synced": .bool(isSynced), "domain": .string(keeper.settings.domain),
            "address": .string(keeper.settings.address), "port": .integer(Int64(keeper.settings.port)),
        ]
        if let problem = problem.withLock({ $0 }) { document["problem"] = .string(problem) }
        return document
    }

    /// The proxy's numbers as Prometheus text.
    private static func metrics(_ routes: [Route], _ counters: [String: ProxyAdmin.Counters]?) -> String {
        var text = "# HELP zero_gateway_up Whether the proxy answers.\n# TYPE zero_gateway_up gauge\n"
        text += "zero_gateway_up \(counters == nil ? 0 : 1)\n"
        text += "# HELP zero_gateway_routes Routes.\n# TYPE zero_gateway_routes gauge\n"
        text += "zero_gateway_routes \(routes.count)\n"
        guard let counters else { return text }
        var rows: [(labels: String, counters: ProxyAdmin.Counters)] = []
        if let all = counters["http"] { rows.append(("frontend=\"http\"", all)) }
        for route in routes {
            if let found = counters[ProxySettings.backend(route.slot)] {
                rows.append(("route=\"\(route.name)\"", found))
            }
        }
        func family(_ name: String, _ kind: String, _ help: String, _ read: (ProxyAdmin.Counters) -> Int64) {
            text += "# HELP zero_gateway_\(name) \(help)\n# TYPE zero_gateway_\(name) \(kind)\n"
            for row in rows { text += "zero_gateway_\(name){\(row.labels)} \(read(row.counters))\n" }
        }
        family("sessions", "gauge", "Requests that run now.") { $0.sessions }
        family("requests_total", "counter", "Requests.") { $0.requests }
        family("bytes_in_total", "counter", "Bytes from clients.") { $0.bytesIn }
        family("bytes_out_total", "counter", "Bytes to clients.") { $0.bytesOut }
        family("retries_total", "counter", "Connections to backends tried again.") { $0.retries }
        family("redispatches_total", "counter", "Requests given to another backend.") { $0.redispatches }
        text += "# HELP zero_gateway_responses_total Responses by class of status.\n"
        text += "# TYPE zero_gateway_responses_total counter\n"
        for row in rows {
            for (index, count) in row.counters.responses.enumerated() {
                text += "zero_gateway_responses_total{\(row.labels),class=\"\(index + 1)xx\"} \(count)\n"
            }
        }
        return text
    }

    // MARK: Keeping the proxy right

    /// Starts the proxy and brings it to what it should do; gives up waiting after `limit`, not trying.
    public func settle(_ limit: Duration) async {
        let clock = ContinuousClock()
        let end = clock.now + limit
        while !(await step()), clock.now < end, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(100)) }
    }

    /// Compares every few seconds, and soon after something went wrong, until it is cancelled.
    public func watch() async {
        let clock = ContinuousClock()
        var next = clock.now + Limits.comparePeriod
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(250))
            if keeper.condition().isSynced, clock.now < next { continue }
            await step()
            next = clock.now + Limits.comparePeriod
        }
    }

    /// One comparison and what follows from it. True when the proxy is right now.
    @discardableResult
    private func step() async -> Bool {
        let keeper = keeper
        do {
            switch try await runBlocking({ try keeper.compare() }) {
            case .same: break
            case .repaired(let count): log.warn("repaired the proxy", ["differences": count])
            case .needsReload:
                log.info("reloading the proxy")
                try await control.reload()
                // The new process takes over the admin socket within this time.
                try? await Task.sleep(for: .milliseconds(300))
                return false
            }
            report(nil)
            return true
        } catch let error as GatewayError {
            guard case .proxy = error else {
                report("\(error)")
                return false
            }
            do {
                try await control.start()
                report("\(error)")
            } catch {
                report("\(error)")
            }
        } catch {
            report("\(error)")
        }
        return false
    }

    /// Logs a problem once, and its end.
    private func report(_ text: String?) {
        let before = problem.withLock { current in
            defer { current = text }
            return current
        }
        guard before != text else { return }
        if let text { log.warn("proxy", ["problem": text]) } else { log.info("the proxy is right") }
    }

    /// Runs blocking work on a thread of its own; errors of the gateway become errors of the bus.
    private func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        do {
            return try await runBlocking(body)
        } catch let error as GatewayError {
            log.warn("refused", ["reason": "\(error)"])
            throw error.onBus
        }
    }
}
