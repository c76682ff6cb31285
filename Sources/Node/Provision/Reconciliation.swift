internal import Contracts

/// The pure core of a contract's reconciler: which steps are due now, given what is wanted and what came of earlier ones.
///
/// Level-triggered: `due(at:)` is asked again and again; every step is done anew after `Pace.recheck` even when all is well,
/// which is how a flushed table or a lost mount is found. No clock, no I/O and no dictionary order in here.
public struct Reconciliation: Sendable {
    /// Times in milliseconds.
    public enum Pace {
        /// Between two looks at something that is well: drift is found within this.
        public static let recheck: Int64 = 5_000
        /// Between two looks at a container that is starting.
        public static let starting: Int64 = 60
        /// First pause after a failure; doubled each time.
        public static let firstRetry: Int64 = 250
        /// Longest pause after failures in a row.
        public static let longestRetry: Int64 = 60_000
        /// Pause while a daemon does not answer: it is being restarted.
        public static let unreachable: Int64 = 200
    }

    /// What is known of one step.
    struct Progress: Hashable, Sendable {
        var outcome: Outcome?
        /// The last outcome that was not `unreachable`.
        var known: Outcome?
        var failures = 0
        var next: Int64 = 0
        var since: Int64 = 0
    }

    /// What is wanted; nil once the contract is cancelled, expired or placed elsewhere.
    public private(set) var desired: DesiredContract?
    /// Parts that exist or may exist on this node.
    public private(set) var inventory: Inventory
    private(set) var progress: [Step: Progress] = [:]

    /// Starts from what an earlier process left.
    public init(inventory: Inventory = Inventory()) { self.inventory = inventory }

    /// Sets what is wanted. What changed is looked at now.
    public mutating func want(_ next: DesiredContract?, at now: Int64) {
        guard next != desired else { return }
        desired = next
        if let next {
            inventory.containers.formUnion(next.containers.map(\.name))
            inventory.volumes.formUnion(next.volumes.map(\.name))
            inventory.gateways.formUnion(next.gateways.map(\.name))
            inventory.hasNetwork = true
        }
        for step in progress.keys {
            progress[step]?.next = now
            // A new version or placement has to hold by itself before anything builds on it.
            switch step {
            case .network, .container, .volume: progress[step]?.known = nil
            default: break
            }
        }
    }

    /// Whether nothing is wanted and nothing is left.
    public var isFinished: Bool { desired == nil && inventory.isEmpty }

    /// The steps to do now, independent of each other.
    public func due(at now: Int64) -> [Step] {
        (creating() + removing()).filter { (progress[$0]?.next ?? 0) <= now }
    }

    /// When `due` will next have something, if nothing else happens.
    public func wake(after now: Int64) -> Int64 {
        let times = (creating() + removing()).map { progress[$0]?.next ?? now }
        return times.min() ?? now + Pace.recheck
    }

    /// Steps whose predecessors hold.
    private func creating() -> [Step] {
        guard let desired else { return [] }
        var steps: [Step] = [.network]
        steps += desired.volumes.map { .volume($0.name) }
        let containers = desired.containers.filter { container in
            holds(.network) && container.volumes.allSatisfy { holds(.volume($0.name)) }
        }
        steps += containers.map { .container($0.name) }
        if holds(.network), !desired.containers.isEmpty { steps.append(.access) }
        steps += desired.gateways.filter { isReady($0.workload) }.map { .gateway($0.name) }
        return steps
    }

    /// What is here and no longer wanted: routes first, then what they led to, then what that stood on.
    private func removing() -> [Step] {
        let gateways = inventory.gateways.subtracting(desired?.gateways.map(\.name) ?? []).sorted()
        if !gateways.isEmpty { return gateways.map { .removeGateway($0) } }
        let containers = inventory.containers.subtracting(desired?.containers.map(\.name) ?? []).sorted()
        let access: [Step] = desired == nil && inventory.hasAccess ? [.removeAccess] : []
        if !containers.isEmpty || !access.isEmpty { return containers.map { .removeContainer($0) } + access }
        let volumes = inventory.volumes.subtracting(desired?.volumes.map(\.name) ?? []).sorted()
        let network: [Step] = desired == nil && inventory.hasNetwork ? [.removeNetwork] : []
        return network + volumes.map { .removeVolume($0) }
    }

    /// Takes note of what came of a step.
    public mutating func handle(_ step: Step, _ outcome: Outcome, at now: Int64) {
        var entry = progress[step] ?? Progress(since: now)
        if entry.outcome != outcome { entry.since = now }
        entry.outcome = outcome
        switch outcome {
        case .unreachable:
            entry.next = now + Pace.unreachable
        case .failed:
            entry.known = outcome
            entry.failures += 1
            let pause = Pace.firstRetry << Int64(min(entry.failures - 1, 8))
            entry.next = now + min(pause, Pace.longestRetry)
        case .container(let status):
            (entry.known, entry.failures) = (outcome, 0)
            let failed = status.state == "failed"
            entry.next = now + (status.isSettled ? Pace.recheck : failed ? 1_000 : Pace.starting)
        case .done:
            (entry.known, entry.failures) = (outcome, 0)
            entry.next = now + Pace.recheck
        }
        progress[step] = entry
        if case .done = outcome { settle(step) }
    }

    private mutating func settle(_ step: Step) {
        switch step {
        case .access: inventory.hasAccess = true
        case .removeGateway(let name):
            inventory.gateways.remove(name)
            forget([step, .gateway(name)])
        case .removeContainer(let name):
            inventory.containers.remove(name)
            forget([step, .container(name)])
        case .removeVolume(let name):
            inventory.volumes.remove(name)
            forget([step, .volume(name)])
        case .removeAccess:
            inventory.hasAccess = false
            forget([step, .access])
        case .removeNetwork:
            inventory.hasNetwork = false
            forget([step, .network])
        case .network, .volume, .container, .gateway: break
        }
    }

    private mutating func forget(_ steps: [Step]) { for step in steps { progress[step] = nil } }

    /// Whether a step was done and nothing worse is known since.
    func holds(_ step: Step) -> Bool { if case .done = progress[step]?.known { true } else { false } }

    /// What a step yielded: a volume's path, a network's link address.
    func value(_ step: Step) -> String? { if case .done(let value) = progress[step]?.known { value } else { nil } }

    private func isReady(_ container: String) -> Bool {
        if case .container(let status) = progress[.container(container)]?.known { status.isReady } else { false }
    }
}

/// Parts of a contract that exist or may exist on this node; durable, so that what is no longer wanted is still removed
/// by a process that starts later.
public struct Inventory: Hashable, Sendable {
    /// Containers by workload name.
    public var containers: Set<String> = []
    /// Volumes by workload name.
    public var volumes: Set<String> = []
    /// Gateways by name.
    public var gateways: Set<String> = []
    /// Whether the network may exist.
    public var hasNetwork = false
    /// Whether Core-X may run.
    public var hasAccess = false

    /// Nothing.
    public init() {}

    /// Whether nothing is left.
    public var isEmpty: Bool { containers.isEmpty && volumes.isEmpty && gateways.isEmpty && !hasNetwork && !hasAccess }
}
