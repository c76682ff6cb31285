import CanonicalJSON
import Contracts
import Crypto
import LedgerClient
import LedgerState
import Linux
import Records
import Terminal

/// Follows a contract until every workload runs or one failed, and says how to reach it.
struct DeployWatch {
    let context: Context
    let session: LedgerSession
    let id: Digest
    /// The placement that is waited for; what nodes said of earlier ones does not count.
    var epoch: Int64 = 0

    /// A container without a probe counts as running once it is started; one that ends within this time did not.
    private static let lingering: Duration = .milliseconds(1_200)

    /// Waits; `state` is looked at first where there is one.
    func run(from state: LedgerState?) async throws -> LedgerState {
        if let state, state.status(id) == .deployed { return state }
        let seconds = try context.seconds("timeout", default: 120)
        let (id, epoch) = (id, epoch)
        let progress = Progress("waiting for the node", on: context.console)
        let shown = ShownStates(context.console, progress)
        let final = try await session.following { follower in
            let state = await follower.state(deadline: .seconds(seconds)) { state in
                guard (state.placement(id)?.body.epoch ?? Int64.max) >= epoch else { return false }
                shown.show(WorkloadRow.rows(of: id, in: state))
                return [.deployed, .failed, .cancelled, .cancelling, nil].contains(state.status(id))
            }
            guard let state else { return state }
            return await linger(state, follower)
        }
        guard let final else {
            progress.fail()
            let open = shown.open
            throw CommandError(
                .waiting, "not all of it runs after \(seconds) s",
                why: open.isEmpty ? "no news from the node" : open.joined(separator: "\n"),
                next: "`zero describe \(id.hex.prefix(12))`, `zero status`; it goes on by itself")
        }
        let rows = WorkloadRow.rows(of: id, in: final)
        guard final.status(id) == .deployed else {
            progress.fail()
            let failed = rows.filter { $0.state == "failed" }.map { "\($0.workload): \($0.reason)" }
            let name = rows.first?.contract ?? ""
            throw CommandError(
                .failed,
                failed.isEmpty
                    ? "`\(name)` is \(final.status(id)?.rawValue ?? "gone")" : "a workload of `\(name)` failed",
                why: failed.isEmpty ? nil : failed.joined(separator: "\n"),
                next: "`zero logs \(name)`, `zero describe \(name)`"
                    + (isTriedAgain(rows, final) ? "; the node tries again by itself" : ""))
        }
        progress.finish("every workload runs")
        return final
    }

    /// Whether the node starts anew what failed: not where each says that it must not.
    private func isTriedAgain(_ rows: [WorkloadRow], _ state: LedgerState) -> Bool {
        let containers = state.contract(id)?.approved?.contract.containers ?? []
        let failed = Set(rows.filter { $0.state == "failed" }.map(\.workload))
        return !failed.allSatisfy { name in containers.contains { $0.name == name && $0.restart == .never } }
    }

    /// Gives what was only started a moment to end again.
    private func linger(_ state: LedgerState, _ follower: LedgerFollower) async -> LedgerState {
        let id = id
        let containers = state.contract(id)?.approved?.contract.containers ?? []
        guard state.status(id) == .deployed, containers.contains(where: { $0.ready == nil }) else { return state }
        return await follower.state(deadline: Self.lingering) { $0.status(id) == .failed } ?? state
    }

    /// The result: where it is and how to reach it.
    func report(_ state: LedgerState, changed: Bool) {
        guard let entry = state.contract(id), let version = entry.approved else { return }
        let urls = version.contract.gateways.map { session.grid.url($0.name) }
        let rows = WorkloadRow.rows(of: id, in: state)
        context.console.emit(
            [
                "contract": .string(entry.name), "id": .string(id.hex), "version": .integer(version.version),
                "changed": .bool(changed),
                "state": .string(state.status(id)?.rawValue ?? ""), "urls": .array(urls.map { .string($0) }),
                "workloads": .array(
                    rows.map { ["name": .string($0.workload), "type": .string($0.type), "state": .string($0.state)] }),
            ],
            (changed ? "" : "\(entry.name): no changes\n")
                + Table("WORKLOAD", "TYPE", "STATE", rows: rows.map { [$0.workload, $0.type, $0.state] }).text(
                    context.console.style)
                + urls.map { "\($0)\n" }.joined())
        guard !urls.isEmpty else { return }
        context.console.progress("next: curl \(urls[0]), zero logs \(entry.name), zero delete \(entry.name)")
    }
}
