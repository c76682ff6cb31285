public import Bus
internal import CanonicalJSON
internal import Linux
public import Service
internal import Shim

/// The verbs of `COMPUTE.*` and the reconcilers behind them.
public actor ComputeService {
    /// Most containers of one node; a shim and a mount each.
    private static let containersMax = 1024
    /// How long `COMPUTE.REMOVE` waits: a stop takes 10 s unless the spec says more.
    private static let removeWait: Duration = .seconds(40)
    /// How long `COMPUTE.ENSURE` waits for a container that is just being made.
    private static let ensureWait: Duration = .milliseconds(1500)

    private let store: ContainerStore
    private let core: BusClient
    private let log: Log
    private let access: AccessKeeper
    private var containers: [String: ContainerReconciler] = [:]

    /// The service of a node; takes up every container whose folder is there.
    public init(_ context: DaemonContext) throws {
        store = ContainerStore(state: context.state, run: context.run)
        core = context.bus("core")
        log = context.log
        access = try AccessKeeper(run: context.run, core: core, log: context.log)
        try store.prepare()
        for id in store.ids() {
            guard let order = store.order(id) else {
                log.error("order cannot be read", ["container": id])
                continue
            }
            containers[id] = ContainerReconciler(order, store, core: core, log: log)
        }
        log.info("found", ["containers": containers.count])
    }

    /// Adds the verbs to the service's bus socket.
    public nonisolated func register(on server: BusServer) {
        server.on("ENSURE", from: [.provision]) { try await self.ensure($0) }
        server.on("REMOVE", from: [.provision]) { try await self.remove($0) }
        server.on("LIST", from: [.provision]) { _ in BusReply(await self.list()) }
        server.on("ENSURE-ACCESS", from: [.provision]) { request in
            try await self.access.ensure(request.body)
            return .ok
        }
        server.on("REMOVE-ACCESS", from: [.provision]) { request in
            let contract = try request.read { reader throws(JSONError) in try reader.string("contract") }
            try await self.access.remove(contract)
            return .ok
        }
        server.provideStatus { await self.list() }
    }

    /// Looks at every container again and again, until cancelled.
    public func watch() async {
        while !Task.isCancelled {
            await withDiscardingTaskGroup { group in
                for container in containers.values { group.addTask { await container.step() } }
                group.addTask { await self.access.step() }
            }
            for (id, container) in containers where await container.isGone { containers[id] = nil }
            try? await Task.sleep(for: ContainerReconciler.interval)
        }
    }

    private func ensure(_ request: BusRequest) async throws -> BusReply {
        let spec: ContainerSpec
        do throws(JSONError) { spec = try ContainerSpec(request.body) } catch { throw BusError(error) }
        let container = try container(spec)
        do throws(SystemError) { try await container.want(spec) } catch { throw BusError.failed("\(error)") }
        let clock = ContinuousClock()
        let end = clock.now + Self.ensureWait
        await container.step()
        // Most containers run within a tenth of a second: the caller then needs no second question.
        while [.waiting, .preparing].contains(await container.report.state), clock.now < end {
            try await Task.sleep(for: .milliseconds(30))
            await container.step()
        }
        return BusReply(await container.report.json)
    }

    private func container(_ spec: ContainerSpec) throws(BusError) -> ContainerReconciler {
        if let known = containers[spec.id] { return known }
        guard containers.count < Self.containersMax else { throw .failed("more than \(Self.containersMax) containers") }
        // Generation 0 was never written: `want` writes the first one.
        let order = ShimOrder(.stop, generation: store.order(spec.id)?.generation ?? 0, spec)
        let made = ContainerReconciler(order, store, core: core, log: log)
        containers[spec.id] = made
        return made
    }

    private func remove(_ request: BusRequest) async throws -> BusReply {
        let id = try request.read { reader throws(JSONError) in try reader.string("id") }
        guard let container = containers[id] else {
            throw BusError.notFound("there is no container \(id)")
        }
        do throws(SystemError) { try await container.wantNothing() } catch { throw BusError.failed("\(error)") }
        let clock = ContinuousClock()
        let end = clock.now + Self.removeWait
        while clock.now < end {
            await container.step()
            if await container.isGone {
                containers[id] = nil
                return .ok
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw BusError.unavailable("\(id) is still \(await container.report.state.rawValue)")
    }

    private func list() async -> JSONValue {
        var list: [JSONValue] = []
        for (_, container) in containers.sorted(by: { $0.key < $1.key }) { list.append(await container.summary) }
        return ["containers": .array(list)]
    }
}
