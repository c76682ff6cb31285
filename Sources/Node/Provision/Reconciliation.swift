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
        /// What changed less than this ago is looked at again soon: many programs that cannot run end at once.
        public static let young: Int64 = 2_000
        /// Between two looks at such a container.
        public static let youngLook: Int64 = 250
        /// Between two looks at a container that is starting.
        public static let starting: Int64 = 60
        /// First pause after a failure; doubled each time.
        public static let firstRetry: Int64 = 250
        /// Longest pause after failures in a row.
        public static let longestRetry: Int64 = 60_000
        /// Pause while a daemon does not answer: it is being restarted.
        public static let unreachable: Int64 = 200
        /// A container without a readiness probe takes over from another once it ran so long.
        public static let proof: Int64 = 1_000
        /// Between the moment when nothing leads to an instance any more and its stop: requests in it end meanwhile.
        public static let drain: Int64 = 1_000
    }

    /// What is known of one step.
    struct Progress: Hashable, Sendable {
        var outcome: Outcome?
        /// The last outcome that was not `unreachable`.
        var known: Outcome?
        var failures = 0
        var next: Int64 = 0
        var since: Int64 = 0
        /// The revision of what was asked for when it last held.
        var revision = 0
    }

    /// What is wanted; nil once the contract is cancelled, expired or placed elsewhere.
    public private(set) var desired: DesiredContract?
    /// Parts that exist or may exist on this node.
    public private(set) var inventory: Inventory
    private(set) var progress: [Step: Progress] = [:]
    /// Moves on whenever steps ask for something else than before: what comes of an earlier one says nothing then.
    private(set) var revision = 0

    /// Starts from what an earlier process left.
    public init(inventory: Inventory = Inventory()) { self.inventory = inventory }

    /// Sets what is wanted. What changed is looked at now.
    public mutating func want(_ next: DesiredContract?, at now: Int64) {
        guard next != desired else { return }
        for container in desired?.containers ?? []
        where next?.instance(container.name) != desired?.instance(container.name) {
            // Another instance has everything still before it.
            progress[.container(container.name)] = nil
        }
        desired = next
        revision += 1
        if let next { inventory.add(next) }
        for instance in inventory.retiring { progress[.removeContainer(instance)] = nil }
        for step in progress.keys {
            progress[step]?.next = now
            // A new version or placement has to hold by itself before anything builds on it.
            switch step {
            case .network, .container, .volume, .zdb: progress[step]?.known = nil
            default: break
            }
        }
    }

    /// Whether nothing is wanted and nothing is left.
    public var isFinished: Bool { desired == nil && inventory.isEmpty }

    /// The steps to do now, independent of each other, but for those that are `running` already.
    public func due(at now: Int64, running: Set<Step> = []) -> [Step] {
        (creating() + removing()).filter { (progress[$0]?.next ?? 0) <= now && !running.contains($0) }
    }

    /// When `due` will next have something, if nothing else happens.
    public func wake(after now: Int64, running: Set<Step> = []) -> Int64 {
        let times = (creating() + removing()).filter { !running.contains($0) }.map { progress[$0]?.next ?? now }
        return times.min() ?? now + Pace.recheck
    }

    /// Steps whose predecessors hold.
    private func creating() -> [Step] {
        guard let desired else { return [] }
        var steps: [Step] = [.network]
        steps += desired.volumes.map { .volume($0.name) }
        let containers = desired.containers.filter { container in
            holds(.network) && container.volumes.allSatisfy { holds(.volume($0.name)) }
                && !inventory.others(desired).contains { inventory.isInTheWay($0, of: container, desired) }
        }
        steps += containers.map { .container($0.name) }
        if holds(.network) { steps += desired.zdbs.map { .zdb($0.name) } }
        if holds(.network), !desired.containers.isEmpty || !desired.zdbs.isEmpty { steps.append(.access) }
        steps += desired.gateways.filter { hasTakenOver($0.workload) }.map { .gateway($0.name) }
        return steps
    }

    /// What is here and no longer wanted: routes first, then what they led to, then what that stood on.
    private func removing() -> [Step] {
        let gateways = inventory.gateways.subtracting(desired?.gateways.map(\.name) ?? []).sorted()
        if !gateways.isEmpty { return gateways.map { .removeGateway($0) } }
        let containers = desired.map { inventory.others($0).filter(isDispensable) } ?? inventory.containers.sorted()
        let access: [Step] = desired == nil && inventory.hasAccess ? [.removeAccess] : []
        if !containers.isEmpty || !access.isEmpty { return containers.map { .removeContainer($0) } + access }
        let volumes = inventory.volumes.subtracting(desired?.volumes.map(\.name) ?? []).sorted()
        let network: [Step] = desired == nil && inventory.hasNetwork ? [.removeNetwork] : []
        let zdbs = inventory.zdbs.subtracting(desired?.zdbs.map(\.name) ?? []).sorted()
        return network + volumes.map { .removeVolume($0) } + zdbs.map { .removeZDB($0) }
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
            let settled = now - entry.since < Pace.young ? Pace.youngLook : Pace.recheck
            entry.next = now + (status.isSettled ? settled : failed ? 1_000 : Pace.starting)
        case .done:
            (entry.known, entry.failures, entry.revision) = (outcome, 0, revision)
            entry.next = now + Pace.recheck
        }
        progress[step] = entry
        if case .container(let name) = step, case .container(let status) = entry.known {
            takeOver(name, status, since: entry.since, at: now)
        }
        if case .done = outcome { settle(step) }
        drain(at: now)
    }

    /// A new instance that is ready serves from now on: names, routes and Core-X follow, then the old one retires.
    private mutating func takeOver(_ name: String, _ status: ContainerStatus, since: Int64, at now: Int64) {
        guard let desired, let instance = desired.instance(name), inventory.serving[name] != instance.host,
            let container = desired.containers.first(where: { $0.name == name })
        else { return }
        if status.isReady {
            guard container.ready != nil || now - since >= Pace.proof else {
                progress[.container(name)]?.next = now + Pace.starting
                return
            }
        } else {
            // What does its work once is done; a page is not served by what stopped.
            guard status.state == "stopped", !desired.gateways.contains(where: { $0.workload == name }) else { return }
        }
        for other in inventory.containers where other.workload == name && other.host == inventory.serving[name] {
            inventory.retiring.insert(other)
        }
        inventory.serving[name] = instance.host
        revision += 1
        for step in progress.keys {
            switch step {
            case .network, .access, .gateway: progress[step]?.next = now
            default: break
            }
        }
    }

    /// Starts the time of instances to which nothing leads any more.
    private mutating func drain(at now: Int64) {
        guard let desired else { return }
        for instance in inventory.retiring where progress[.removeContainer(instance)] == nil && isDispensable(instance)
        {
            progress[.removeContainer(instance)] = Progress(next: now + Pace.drain, since: now)
        }
        let routes = desired.gateways.filter { desired.placed($0.workload) != nil }
        guard routes.allSatisfy({ isCurrent(.gateway($0.name)) }),
            inventory.gateways.isSubset(of: desired.gateways.map(\.name))
        else { return }
        inventory.dropDoors(desired)
    }

    /// Whether an instance that is not wanted can go now.
    private func isDispensable(_ instance: Instance) -> Bool {
        guard let desired, let container = desired.containers.first(where: { $0.name == instance.workload }) else {
            return true
        }
        if desired.containers.contains(where: { inventory.isInTheWay(instance, of: $0, desired) }) { return true }
        if inventory.serving[instance.workload] == instance.host { return false }
        // What never served is in nobody's way, and of no use.
        guard inventory.retiring.contains(instance) else { return true }
        return status(container.name)?.isSettled == true && hasSwitched(container.name)
    }

    /// Whether name and routes of a workload lead to what is wanted now.
    private func hasSwitched(_ container: String) -> Bool {
        guard let desired else { return false }
        return isCurrent(.network)
            && desired.gateways.allSatisfy { $0.workload != container || isCurrent(.gateway($0.name)) }
    }

    /// Whether requests may still reach an instance of `container` from before the wanted one, which is well.
    func isTakingOver(_ container: String) -> Bool {
        if inventory.serving[container] != desired?.instance(container)?.host { return true }
        return inventory.retiring.contains { $0.workload == container } && !hasSwitched(container)
    }

    private mutating func settle(_ step: Step) {
        switch step {
        case .access: inventory.hasAccess = true
        case .removeGateway(let name):
            inventory.gateways.remove(name)
            forget([step, .gateway(name)])
        case .removeContainer(let instance):
            inventory.remove(instance)
            forget([step])
            if desired?.instance(instance.workload) == nil { forget([.container(instance.workload)]) }
            // Its place in the network goes, too.
            progress[.network]?.next = 0
        case .removeVolume(let name):
            inventory.volumes.remove(name)
            forget([step, .volume(name)])
        case .removeZDB(let name):
            inventory.zdbs.remove(name)
            forget([step, .zdb(name)])
        case .removeAccess:
            inventory.hasAccess = false
            forget([step, .access])
        case .removeNetwork:
            inventory.hasNetwork = false
            forget([step, .network])
        case .network, .volume, .zdb, .container, .gateway: break
        }
    }

    private mutating func forget(_ steps: [Step]) { for step in steps { progress[step] = nil } }

    /// Whether a step was done and nothing worse is known since.
    func holds(_ step: Step) -> Bool { if case .done = progress[step]?.known { true } else { false } }

    /// What a step yielded: a volume's path, a network's link address.
    func value(_ step: Step) -> String? { if case .done(let value) = progress[step]?.known { value } else { nil } }

    /// Whether a step was done since what is asked for last changed.
    private func isCurrent(_ step: Step) -> Bool { holds(step) && progress[step]?.revision == revision }

    /// Whether the wanted instance of a workload serves and is well.
    private func hasTakenOver(_ container: String) -> Bool {
        guard let desired, inventory.serving[container] == desired.instance(container)?.host else { return false }
        return status(container)?.isReady == true
    }

    /// How the wanted instance of a container is, where that is known.
    private func status(_ container: String) -> ContainerStatus? {
        if case .container(let status) = progress[.container(container)]?.known { status } else { nil }
    }
}
