internal import Bus
internal import CanonicalJSON
internal import Linux
internal import Service
internal import Shim

/// How a container is, as `COMPUTE.ENSURE` answers.
struct ContainerReport: Sendable, Equatable {
    var state = ShimState.Name.waiting
    var reason: String?
    var attempt: Int64 = 0
    var next: Int64?
    var ready = false
    var pid: Int64?
    var started: Int64?
    var exit: Int64?

    init(_ state: ShimState.Name, _ reason: String? = nil) { (self.state, self.reason) = (state, reason) }

    init(_ shim: ShimState) {
        (state, reason, attempt, next) = (shim.name, shim.reason, shim.attempt, shim.next)
        (ready, pid, started, exit) = (shim.ready, shim.pid, shim.started, shim.exit)
    }

    var json: JSONValue {
        var value: [String: JSONValue] = [
            "state": .string(state.rawValue), "attempt": .integer(attempt), "ready": .bool(ready),
        ]
        value["reason"] = reason.map { .string($0) }
        value["next"] = next.map { .integer($0) }
        value["pid"] = pid.map { .integer($0) }
        value["started"] = started.map { .integer($0) }
        value["exit"] = exit.map { .integer($0) }
        return .object(value)
    }
}

/// Makes one container what its order says: compares, does what is missing, looks again every two seconds.
actor ContainerReconciler {
    /// Between two looks when nobody asks.
    static let interval: Duration = .seconds(2)
    /// A shim answers within milliseconds; one that stopped is given up after this.
    private static let shimDeadline: Duration = .seconds(3)
    /// `CORE.START` answers after 8 s at the latest.
    private static let coreDeadline: Duration = .seconds(10)

    let id: String
    private let store: ContainerStore
    private let core: BusClient
    private let shim: BusClient
    private let log: Log
    private var order: ShimOrder
    private(set) var report = ContainerReport(.waiting)
    /// Only one step at a time; who comes meanwhile waits for the next one.
    private var current: Task<Void, Never>?
    /// Looks in a row that found the image dead.
    private var deadImages = 0
    /// Failures in a row before a shim was reached.
    private var failures: Int64 = 0
    private(set) var isGone = false

    init(_ order: ShimOrder, _ store: ContainerStore, core: BusClient, log: Log) {
        (id, self.order, self.store, self.core) = (order.spec.id, order, store, core)
        shim = BusClient(store.paths(order.spec.id).socket, patience: .milliseconds(200))
        self.log = log.with(["container": order.spec.id])
    }

    var generation: Int64 { order.generation }
    var isRemoving: Bool { order.desire == .remove }
    var summary: JSONValue {
        var value = report.json
        value["id"] = .string(id)
        value["contract"] = .string(order.spec.contract)
        value["workload"] = .string(order.spec.workload)
        value["version"] = .integer(order.spec.version)
        value["epoch"] = .integer(order.spec.epoch)
        return value
    }

    /// Takes a new spec; writes it down if it differs from the one before.
    func want(_ spec: ContainerSpec) throws(SystemError) {
        if order.desire == .run, order.spec == spec { return }
        let new = ShimOrder(.run, generation: order.generation + 1, spec)
        try store.write(new)
        log.info("order", ["generation": new.generation, "version": spec.version, "epoch": spec.epoch])
        order = new
        isGone = false
    }

    /// From now on nothing of it is wanted.
    func wantNothing() throws(SystemError) {
        if order.desire == .remove { return }
        let new = ShimOrder(.remove, generation: order.generation + 1, order.spec)
        try store.write(new)
        log.info("remove", ["generation": new.generation])
        order = new
    }

    /// One step, after the one that may be under way.
    func step() async {
        if let current {
            await current.value
            if self.current == current { self.current = nil }
        }
        if let current {
            // Somebody else began the next one already: that one saw what we want.
            await current.value
            return
        }
        let task = Task { await self.work() }
        current = task
        await task.value
        if current == task { current = nil }
    }

    private func work() async {
        if isGone { return }
        switch order.desire {
        case .run: await makeTrue()
        case .remove: await takeDown()
        case .stop: break  // Nothing was wanted yet.
        }
    }

    private func makeTrue() async {
        do {
            try await ensure("mount@")
            await checkImage()
            try await renewImage()
            guard await hasNetwork() else { return tell(ContainerReport(.preparing, "its network is not there yet")) }
            try await ensure("shim@")
            var state = try await shimState("SHIM.STATE")
            if state.generation != order.generation { state = try await shimState("SHIM.RELOAD") }
            failures = 0
            tell(ContainerReport(state))
        } catch {
            failures += 1
            // The shim may run on while something beside it failed.
            if let state = try? await shimState("SHIM.STATE"), state.generation == order.generation {
                tell(ContainerReport(state))
            } else {
                var report = ContainerReport(failures > 3 ? .failed : .preparing, error.message)
                report.attempt = failures
                tell(report)
            }
        }
    }

    /// After a boot this begins before the network is made anew: a start then would only fail. One that runs has its own.
    private func hasNetwork() async -> Bool {
        guard let path = order.spec.netns, !File.exists(path) else { return true }
        return (try? await shimState("SHIM.STATE"))?.pid != nil
    }

    /// Starts a data plane unless it runs.
    private func ensure(_ unit: String) async throws(BusError) {
        let reply = try await core.call(
            "CORE.START", ["unit": .string(unit), "instance": .string(id)], deadline: Self.coreDeadline)
        let state = reply["state"]?.string ?? "unknown"
        guard state == "running" else {
            let reason = reply["reason"]?.string.map { ": \($0)" } ?? ""
            throw .failed("\(unit)\(id) is \(state)\(reason)")
        }
    }

    /// A mount whose process hangs or died without a successor says ENOTCONN; then it is started anew. The shim sees
    /// the new mount and starts its container on it.
    private func checkImage() async {
        let path = store.paths(id).image
        let isDead: Bool =
            if case .failure(let error as SystemError) = Result(catching: { try File.status(path) }) {
                error.errno == .notConnected
            } else { false }
        deadImages = isDead ? deadImages + 1 : 0
        // The first time its own restart may just be under way.
        guard deadImages >= 2 else { return }
        deadImages = 0
        log.warn("image is dead", ["path": path])
        let body: JSONValue = ["unit": "mount@", "instance": .string(id)]
        _ = try? await core.call("CORE.RESTART", body, deadline: Self.coreDeadline)
    }

    /// A mount goes on with the image that it began with. For another one the container is stopped first, for it would lose
    /// its files under its feet.
    private func renewImage() async throws(BusError) {
        let path = store.paths(id).image
        guard ImageMount.isOther(at: path, than: order.spec.imageRoot) else { return }
        log.info("another image", ["root": String(order.spec.imageRoot.prefix(16))])
        if let state = try? await shimState("SHIM.STATE"), state.pid != nil {
            tell(ContainerReport(.preparing, "stopping, to be replaced by one with another image"))
            _ = try await shim.call("SHIM.STOP", deadline: .seconds(order.spec.stopSeconds + 10))
        }
        let body: JSONValue = ["unit": "mount@", "instance": .string(id)]
        _ = try await core.call("CORE.RESTART", body, deadline: .seconds(30))
        try await ensure("mount@")
    }

    private func shimState(_ verb: String) async throws(BusError) -> ShimState {
        let reply = try await shim.call(verb, .object([:]), deadline: Self.shimDeadline)
        do throws(JSONError) { return try ShimState(reply) } catch { throw BusError(error) }
    }

    private func takeDown() async {
        let paths = store.paths(id)
        do {
            if File.exists(paths.kept) || File.exists(paths.live) {
                // The shim made these as root, so it removes them; it ends when nothing is left.
                try await ensureForRemoval()
                return
            }
            for unit in ["shim@", "mount@"] {
                _ = try await core.call(
                    "CORE.STOP", ["unit": .string(unit), "instance": .string(id), "forget": true],
                    deadline: .seconds(60))
            }
            try await removeFolder()
            tell(ContainerReport(.removed))
            isGone = true
        } catch {
            tell(ContainerReport(.stopped, "\(error)"))
        }
    }

    /// A mount whose server was killed stays; only root can take it away, so the shim is asked once more.
    private func removeFolder() async throws {
        do throws(SystemError) {
            try store.remove(id)
        } catch {
            guard error.errno == .busy, !order.unmounts else { throw error }
            var new = ShimOrder(.remove, generation: order.generation + 1, order.spec)
            new.unmounts = true
            try store.write(new)
            order = new
            try await ensure("shim@")
            throw error
        }
    }

    private func ensureForRemoval() async throws(BusError) {
        if let state = try? await shimState("SHIM.STATE") {
            if state.generation != order.generation { _ = try await shimState("SHIM.RELOAD") }
            tell(ContainerReport(state))
            return
        }
        try await ensure("shim@")
        tell(ContainerReport(.stopped, "being removed"))
    }

    private func tell(_ new: ContainerReport) {
        if new.state != report.state || new.ready != report.ready || new.reason != report.reason {
            log.info("state", ["state": new.state.rawValue, "ready": new.ready, "reason": new.reason ?? "-"])
        }
        report = new
    }
}
