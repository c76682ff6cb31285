import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records
import Terminal

/// `zero describe`.
struct DescribeCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    func run() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let (id, entry) = try ContractReference(session: session, state: state).find(context.argument("contract"))
        if context.invocation.has("source") {
            let waiting = context.invocation.has("pending")
            let inForce = waiting ? nil : entry.approved?.contract
            guard let contract = inForce ?? entry.pending?.contract else {
                throw CommandError(
                    .notFound, "nothing of `\(entry.name)` is kept", why: "it is \(entry.state.rawValue)")
            }
            return context.console.print(contract.body.canonicalText)
        }
        let usage = await ZDBUsage(of: id, entry, in: state, session)
        context.console.emit(json(id, entry, state, session, usage), text(id, entry, state, session, usage))
    }

    private func json(
        _ id: Digest, _ entry: ContractEntry, _ state: LedgerState, _ session: LedgerSession, _ usage: ZDBUsage
    ) -> JSONValue {
        var fields: [String: JSONValue] = [
            "name": .string(entry.name), "id": .string(id.hex), "author": .string(entry.author.address),
            "state": .string(state.status(id)?.rawValue ?? ""),
            "workloads": .object(
                Dictionary(
                    WorkloadRow.rows(of: id, in: state).map { row in
                        var value: JSONValue = [
                            "type": .string(row.type), "state": .string(row.state), "reason": .string(row.reason),
                        ]
                        value["usage"] = usage.value(row.workload)
                        return (row.workload, value)
                    },
                    uniquingKeysWith: { first, _ in first })),
        ]
        if let version = entry.approved {
            fields["contract"] = version.contract.body
            fields["record"] = .string(version.record.hex)
            fields["urls"] = .array(version.contract.gateways.map { .string(session.grid.url($0.name)) })
        }
        if let pending = entry.pending {
            fields["pending"] = [
                "record": .string(pending.record.hex),
                "approvals": .array(pending.approvals.map { .string($0.address) }),
            ]
        }
        if let placement = state.placement(id) {
            var body = placement.body.value
            // Sealed keys are long and of no use to a reader.
            body["workloads"] = .object(
                placement.body.workloads.mapValues { placed in
                    var value = placed.value
                    value["secrets"] = nil
                    return value
                })
            fields["placement"] = body
        }
        fields["results"] = .object(state.results(id).mapValues(\.value))
        return .object(fields)
    }

    private func text(
        _ id: Digest, _ entry: ContractEntry, _ state: LedgerState, _ session: LedgerSession, _ usage: ZDBUsage
    ) -> String {
        let style = context.console.style
        let names = (try? session.keys.addresses()) ?? [:]
        let author =
            names.first { $0.value == entry.author }.map { "\($0.key)  \(entry.author.address)" }
            ?? entry.author.address
        var lines = [
            "Contract   \(entry.name)", "Id         \(id.hex)", "Author     \(author)",
            "State      \(style.state(state.status(id)?.rawValue ?? ""))",
        ]
        if let version = entry.approved {
            lines += [
                "Version    \(version.version)", "Expires    \(Units.timeText(version.contract.expires))",
                "Network    \(version.contract.range), \(ContractPrefix(contract: id))",
            ]
            lines += version.contract.gateways.map { "URL        \(session.grid.url($0.name))" }
            if let rule = version.contract.approvals { lines.append("Approvals  " + DescribeCommand.text(rule, names)) }
        }
        for (what, pending) in [
            ("version \(entry.pending?.contract?.version ?? 0)", entry.pending), ("its end", entry.cancel),
        ] {
            if let pending {
                lines.append("Waiting    \(what): " + ApprovalView(entry, pending, keys: session.keys).text)
            }
        }
        if let placement = state.placement(id) {
            lines.append("Placement  epoch \(placement.body.epoch) of version \(placement.body.version)")
        }
        if let version = entry.approved?.version, !entry.isOver, entry.cancel == nil,
            state.placement(id)?.body.version != version
        {
            lines.append(
                "Next       version \(version) is approved but not placed: `zero deploy` of its file places it")
        }
        if let problem = usage.problem { lines.append("Usage      not known: \(problem)") }
        return lines.joined(separator: "\n") + "\n\n" + workloads(id, entry, state, usage).text(style)
    }

    private static func text(_ rule: ApprovalRule, _ names: [String: PublicKey]) -> String {
        let list = rule.of.map { key, weight in
            "\(names.first { $0.value == key }?.key ?? key.address)\(weight == 1 ? "" : " (\(weight))")"
        }.sorted()
        return
            "\(rule.need) of \(list.joined(separator: ", ")), to \(rule.on.sorted().map(\.rawValue).joined(separator: ", "))"
    }

    private func workloads(_ id: Digest, _ entry: ContractEntry, _ state: LedgerState, _ usage: ZDBUsage) -> Table {
        let contract = entry.approved?.contract ?? entry.pending?.contract
        let placement = state.placement(id)?.body
        let results = state.results(id)
        let rows = WorkloadRow.rows(of: id, in: state).map { row -> [String] in
            let placed = placement?.workloads[row.workload]
            let detail = [contract?.workload(row.workload)?.summary, usage.text(row.workload)].compactMap { $0 }
                .joined(separator: ", ")
            let since = results[row.workload].map { Units.timeText($0.since) } ?? ""
            let addresses = [placed?.address, placed?.address6].compactMap { $0 }.joined(separator: " ")
            return [row.workload, row.type, row.state, since, addresses, detail, row.reason]
        }
        return Table("WORKLOAD", "TYPE", "STATE", "SINCE", "ADDRESS", "WHAT", "", rows: rows)
    }
}
