internal import Contracts
public import Crypto
internal import Linux
public import Records
public import Service

/// Keeps one contract real on this node: asks the pure core what is due, does it, and tells what changed.
///
/// One of these per contract, each with a task of its own, so that a slow image of one tenant delays no other.
public actor ContractReconciler {
    /// Steps of one contract that run at the same time.
    private static let parallelism = 4
    /// So many where all of them only remove: a container that ignores its signal is waited for.
    private static let parallelRemovals = 32
    /// A change that may still be on its way to another is reported once it stood this long, in milliseconds.
    private static let settling: Int64 = 1_000

    private let id: Digest
    private let services: NodeServices
    private let store: InventoryStore
    private let log: Log
    private let report: @Sendable (Digest, DesiredContract, [String: WorkloadResult]) async -> Bool
    private var core: Reconciliation
    private var namespaces: [String: String] = [:]
    private var reported: [String: WorkloadResult]?
    private var changedAt: Int64 = 0
    private var lastSeen: [String: WorkloadResult] = [:]
    private var steady = SteadyResults()
    private var isWoken = false
    /// Containers that are being stopped, which may take long: nothing else waits for that.
    private var stopping: Set<Step> = []
    private var sleeper: Task<Void, Never>?

    /// `report` tells the ledger how the workloads are and answers whether it took it.
    public init(
        id: Digest, services: NodeServices, store: InventoryStore, log: Log,
        report: @escaping @Sendable (Digest, DesiredContract, [String: WorkloadResult]) async -> Bool
    ) {
        (self.id, self.services, self.store, self.log, self.report) = (id, services, store, log, report)
        core = Reconciliation(inventory: store.load(id))
    }

    /// Sets what is wanted; `known` is what the ledger already has of this node's results.
    public func want(_ desired: DesiredContract?, known: [String: WorkloadResult]?) {
        // A new placement is a new question, also where the answer is the same.
        if let desired, let old = core.desired, desired.placement.epoch != old.placement.epoch {
            (reported, steady) = (nil, SteadyResults())
        }
        if reported == nil { reported = known }
        let before = core.inventory
        core.want(desired, at: now())
        // Written before anything is made, so that nothing that was made is ever forgotten.
        if core.inventory != before { store.save(id, core.inventory, log) }
        wake()
    }

    /// How every workload is now.
    public func results() -> [String: WorkloadResult] { core.results() }

    /// Works until nothing is wanted and nothing is left, or until cancelled.
    public func run() async {
        while !Task.isCancelled {
            let steps = core.due(at: now(), running: stopping)
            if !steps.isEmpty { await perform(steps) }
            await tell()
            if core.isFinished {
                store.remove(id)
                return
            }
            await pause(until: nextLook())
        }
    }

    private func now() -> Int64 { Clock.wallMilliseconds() }

    private func perform(_ steps: [Step]) async {
        let (scene, revision) = (scene(), core.revision)
        let services = services
        for step in steps {
            guard case .removeContainer = step else { continue }
            stopping.insert(step)
            Task {
                let outcome = await services.perform(step, scene).outcome
                stopping.remove(step)
                take(step, outcome, nil, revision)
                wake()
            }
        }
        await withTaskGroup(of: (Step, Outcome, [String: String]?).self) { group in
            var waiting = steps.filter { !stopping.contains($0) }[...]
            func startNext() {
                guard let step = waiting.popFirst() else { return }
                group.addTask {
                    let result = await services.perform(step, scene)
                    return (step, result.outcome, result.namespaces)
                }
            }
            let removesOnly = steps.allSatisfy(\.isRemoval)
            for _ in 0..<(removesOnly ? Self.parallelRemovals : Self.parallelism) { startNext() }
            while let (step, outcome, members) = await group.next() {
                take(step, outcome, members, revision)
                startNext()
            }
        }
    }

    private func take(_ step: Step, _ outcome: Outcome, _ members: [String: String]?, _ revision: Int) {
        // It was done for what was wanted before: every step is due again, and says then how it is now.
        guard revision == core.revision else { return }
        if let members { namespaces = members }
        if case .failed(let why) = outcome {
            log.warn("step-failed", ["contract": core.desired?.shortID ?? id.hex, "step": "\(step)", "reason": why])
        }
        let before = core.inventory
        core.handle(step, outcome, at: now())
        if core.inventory != before, !core.isFinished { store.save(id, core.inventory, log) }
    }

    private func scene() -> NodeServices.Scene {
        var volumes: [String: String] = [:]
        for volume in core.desired?.volumes ?? [] { volumes[volume.name] = core.value(.volume(volume.name)) }
        return NodeServices.Scene(
            shortID: String(id.hex.prefix(16)), contractID: id, desired: core.desired, volumes: volumes,
            link: core.value(.network), namespaces: namespaces, inventory: core.inventory)
    }

    /// Reports what changed: at once when it is final, else when it stood for a moment.
    private func tell() async {
        guard let desired = core.desired else { return }
        let results = steady.told(core.results(), at: now())
        if !same(results, lastSeen) { changedAt = now() }
        lastSeen = results
        if let reported, same(results, reported) { return }
        guard Reconciliation.isWorthReportingNow(results) || now() - changedAt >= Self.settling else { return }
        if await report(id, desired, results) { reported = results }
    }

    /// Equal but for the times, which move without anything having happened, and the number of a try unless it doubled.
    private func same(_ left: [String: WorkloadResult], _ right: [String: WorkloadResult]) -> Bool {
        guard left.count == right.count else { return false }
        return left.allSatisfy { name, value in
            guard let other = right[name], scale(value) == scale(other) else { return false }
            return (value.state, value.reason, value.access) == (other.state, other.reason, other.access)
        }
    }

    private func scale(_ result: WorkloadResult) -> Int {
        result.state == .failed ? Int64.bitWidth - (result.attempt ?? 0).leadingZeroBitCount : 0
    }

    private func nextLook() -> Int64 {
        let next = core.wake(after: now(), running: stopping)
        guard let reported, same(lastSeen, reported) else { return min(next, now() + Self.settling) }
        return next
    }

    /// Something happened: look now.
    public func wake() {
        isWoken = true
        sleeper?.cancel()
    }

    private func pause(until time: Int64) async {
        let length = max(5, time - now())
        if !isWoken {
            let sleep = Task { _ = try? await Task.sleep(for: .milliseconds(length)) }
            sleeper = sleep
            await withTaskCancellationHandler {
                await sleep.value
            } onCancel: {
                sleep.cancel()
            }
            sleeper = nil
        }
        isWoken = false
    }
}
