internal import CanonicalJSON
internal import Contracts
public import Records

extension Reconciliation {
    /// How every workload of this node is, as a `result` record says it.
    public func results() -> [String: WorkloadResult] {
        guard let desired else { return [:] }
        var results: [String: WorkloadResult] = [:]
        for volume in desired.volumes { results[volume.name] = result(.volume(volume.name), waitingFor: nil) }
        for zdb in desired.zdbs {
            let blocked = progress[.zdb(zdb.name)]?.known == nil ? failure(of: .network) : nil
            let told = blocked ?? result(.zdb(zdb.name), waitingFor: nil)
            results[zdb.name] = WorkloadResult(
                state: told.state, reason: told.reason, attempt: told.attempt, since: told.since, access: access)
        }
        for container in desired.containers { results[container.name] = containerResult(container, desired) }
        for gateway in desired.gateways {
            let waiting = progress[.gateway(gateway.name)]?.known == nil ? "\(gateway.workload) is not ready yet" : nil
            results[gateway.name] = result(.gateway(gateway.name), waitingFor: waiting)
        }
        return results
    }

    /// Whether something is known to have changed for good or bad: such a change is reported at once, others wait a moment.
    public static func isWorthReportingNow(_ results: [String: WorkloadResult]) -> Bool {
        results.values.allSatisfy { $0.state == .running || $0.state == .stopped }
            || results.values.contains { $0.state == .failed }
    }

    private func result(_ step: Step, waitingFor reason: String?) -> WorkloadResult {
        let entry = progress[step]
        switch entry?.known {
        case .done: return WorkloadResult(state: .running, since: entry?.since ?? 0)
        case .failed(let why):
            return WorkloadResult(
                state: .failed, reason: clipped(why), attempt: entry.map { Int64($0.failures) },
                since: entry?.since ?? 0)
        case .container, .unreachable, nil:
            return WorkloadResult(state: .waiting, reason: reason.map(clipped), since: entry?.since ?? 0)
        }
    }

    private func containerResult(_ container: Container, _ desired: DesiredContract) -> WorkloadResult {
        let entry = progress[.container(container.name)]
        guard case .container(let status) = entry?.known else {
            if case .failed = entry?.known { return result(.container(container.name), waitingFor: nil) }
            let blockers = [Step.network] + container.volumes.map { Step.volume($0.name) }
            return blockers.lazy.compactMap(failure).first ?? WorkloadResult(state: .waiting, since: entry?.since ?? 0)
        }
        var state = WorkloadResult.State(rawValue: status.state) ?? .preparing
        var reason = status.reason
        if state == .running, !status.isReady {
            state = .preparing
        } else if state == .running, isTakingOver(container.name) {
            (state, reason) = (.preparing, "taking over from the one before")
        }
        return WorkloadResult(
            state: state, reason: reason.map(clipped), attempt: status.attempt, next: status.next,
            since: entry?.since ?? 0, access: access)
    }

    /// What a workload says while a step that it stands on fails.
    private func failure(of blocker: Step) -> WorkloadResult? {
        guard case .failed(let why) = progress[blocker]?.known else { return nil }
        return WorkloadResult(
            state: .failed, reason: clipped("\(blocker.workload ?? "its network"): \(why)"),
            since: progress[blocker]?.since ?? 0)
    }

    /// Where the contract's Core-X is reached.
    private var access: JSONValue? { value(.network).map { .object(["corex": .string("\($0):7700")]) } }

    /// A reason that fits a record.
    private func clipped(_ text: String) -> String {
        text.utf8.count <= 400 ? text : String(decoding: text.utf8.prefix(400), as: UTF8.self)
    }
}
