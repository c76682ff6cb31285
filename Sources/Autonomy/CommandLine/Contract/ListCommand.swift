import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Terminal

/// `zero list`.
struct ListCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    func run() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let isAll = context.invocation.has("all")
        let isNobody = try session.keys.names().isEmpty
        // Nobody has no contracts; with several identities and none chosen there is no saying whose are meant.
        let own = isAll || isNobody ? try? session.identity().address : try session.identity().address
        let ids = state.contracts.filter { id in
            guard let entry = state.contract(id) else { return false }
            return isAll || (entry.author == own && state.status(id) != .cancelled)
        }
        let entries = ids.compactMap { id in state.contract(id).map { (id: id, entry: $0) } }
            .sorted { ($0.entry.name, $0.id) < ($1.entry.name, $1.id) }
        if context.invocation.has("names"), context.console.format == .table {
            return context.console.print(
                entries.map { $0.entry.author == own ? $0.entry.name : String($0.id.hex.prefix(12)) }.joined(
                    separator: "\n"))
        }
        let names = (try? session.keys.addresses()) ?? [:]
        let rows = entries.map { id, entry -> [String] in
            let workloads = WorkloadRow.rows(of: id, in: state)
            let running = workloads.count { $0.state == "running" || $0.state == "stopped" }
            let urls = (entry.approved?.contract.gateways ?? []).map { session.grid.url($0.name) }
            let version = entry.approved?.version ?? entry.pending?.contract?.version
            let author = names.first { $0.value == entry.author }?.key ?? entry.author.address
            let cells: [String] = [
                entry.name, String(id.hex.prefix(12)),
                version.map { "\($0)" } ?? "",
                state.status(id)?.rawValue ?? "", "\(running)/\(workloads.count)",
                entry.expires.map(Units.timeText) ?? "",
            ]
            return cells + (isAll ? [author] : []) + [urls.joined(separator: " ")]
        }
        let titles = ["CONTRACT", "ID", "VERSION", "STATE", "RUN", "EXPIRES"] + (isAll ? ["AUTHOR"] : []) + ["URL"]
        context.console.emit(
            [
                "contracts": .array(
                    entries.map { id, entry in
                        var fields: [String: JSONValue] = [
                            "name": .string(entry.name), "id": .string(id.hex), "author": .string(entry.author.address),
                            "state": .string(state.status(id)?.rawValue ?? ""),
                            "urls": .array(
                                (entry.approved?.contract.gateways ?? []).map { .string(session.grid.url($0.name)) }),
                        ]
                        if let version = entry.approved?.version { fields["version"] = .integer(version) }
                        if let pending = entry.pending?.contract?.version { fields["pending"] = .integer(pending) }
                        if let expires = entry.expires { fields["expires"] = .integer(expires) }
                        return .object(fields)
                    })
            ],
            Table(columns: titles.map { Table.Column($0) }, rows: rows).text(context.console.style))
        if entries.isEmpty { context.console.progress("none; next: zero deploy <contract>") }
    }
}
