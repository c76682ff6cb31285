import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Linux
import Records
import Terminal

/// `zero status`: nodes, daemons and workloads. What cannot be asked is said to be so; the rest is shown.
struct StatusCommand {
    let context: Context
    private let folder: GridFolder

    init(_ context: Context) {
        self.context = context
        folder = GridFolder(context)
    }

    func run() async throws {
        let units: [UnitStatus]?
        var problems: [String] = []
        do {
            units = try await CoreClient(folder).units()
            if units == nil { problems.append("no zero-core answers in \(folder.run)") }
        } catch {
            units = nil
            problems.append("the daemons cannot be asked: \(error)")
        }
        var state: LedgerState?
        do {
            let session = try LedgerSession(context, keepsState: false)
            if let chosen = session.grid.folder, chosen != folder.path {
                problems.append("other commands talk to the grid in \(chosen)")
            } else {
                state = try await session.state()
            }
        } catch {
            let error = CommandError(error)
            problems.append(error.what + (error.why.map { ": " + $0 } ?? ""))
        }
        guard units != nil || state != nil else {
            throw CommandError(
                .unreachable, "the grid is down", why: problems.joined(separator: "\n"), next: "`zero up`")
        }
        context.console.emit(json(units, state, problems), text(units, state))
        for problem in problems { context.console.note(context.console.errorStyle.yellow("note: ") + problem) }
    }

    private func json(_ units: [UnitStatus]?, _ state: LedgerState?, _ problems: [String]) -> JSONValue {
        var fields: [String: JSONValue] = [
            "grid": .string(folder.path), "problems": .array(problems.map { .string($0) }),
        ]
        if let units {
            fields["daemons"] = .array(
                units.map { unit in
                    var entry: [String: JSONValue] = [
                        "name": .string(unit.title), "kind": .string(unit.kind), "state": .string(unit.state),
                        "restarts": .integer(unit.restarts),
                    ]
                    if let pid = unit.pid { entry["pid"] = .integer(pid) }
                    if let memory = unit.memory { entry["memory"] = .integer(memory) }
                    if let cpu = unit.cpu { entry["cpu_ms"] = .integer(cpu) }
                    if let uptime = unit.uptime { entry["uptime_ms"] = .integer(uptime) }
                    if let reason = unit.reason { entry["reason"] = .string(reason) }
                    return .object(entry)
                })
        }
        if let state {
            fields["height"] = .integer(state.height)
            fields["nodes"] = .array(
                state.nodes.map { node in
                    [
                        "node": .string(node.node.address), "state": .string(live(node.node, state)),
                        "capacity": node.body.capacity.value,
                        "used": state.used(on: node.node).value, "arch": .string(node.body.arch),
                    ]
                })
            fields["workloads"] = .array(
                WorkloadRow.all(in: state).map { row in
                    [
                        "contract": .string(row.contract), "contract_id": .string(row.id.hex),
                        "workload": .string(row.workload),
                        "type": .string(row.type), "state": .string(row.state), "reason": .string(row.reason),
                    ]
                })
        }
        return .object(fields)
    }

    private func live(_ node: PublicKey, _ state: LedgerState) -> String {
        state.node(node)?.live.rawValue ?? "unknown"
    }

    private func text(_ units: [UnitStatus]?, _ state: LedgerState?) -> String {
        let style = context.console.style
        var parts: [String] = []
        if let state {
            let rows = state.nodes.map { node -> [String] in
                let (all, used) = (node.body.capacity, state.used(on: node.node))
                return [
                    node.node.address, live(node.node, state),
                    "\(Units.cpuText(used.cpu)) of \(Units.cpuText(all.cpu))",
                    "\(Amount.text(used.memory)) of \(Amount.text(all.memory))",
                    "\(Amount.text(used.storage)) of \(Amount.text(all.storage))",
                ]
            }
            parts.append(Table("NODE", "STATE", "CPU", "MEMORY", "STORAGE", rows: rows).text(style))
        }
        if let units {
            let columns: [Table.Column] = [
                .init("DAEMON"), .init("STATE"), .init("PID", right: true), .init("UP", right: true),
                .init("MEMORY", right: true),
                .init("RESTARTS", right: true), .init(""),
            ]
            let rows = units.map { unit in
                [
                    unit.title, unit.state, unit.pid.map { String($0) } ?? "", unit.uptime.map { Amount.age($0) } ?? "",
                    unit.memory.map { Amount.text($0) } ?? "", String(unit.restarts), unit.reason ?? "",
                ]
            }
            parts.append(Table(columns: columns, rows: rows).text(style))
        }
        if let state {
            let rows = WorkloadRow.all(in: state).map { [$0.contract, $0.workload, $0.type, $0.state, $0.reason] }
            parts.append(
                rows.isEmpty
                    ? "No contracts.\n" : Table("CONTRACT", "WORKLOAD", "TYPE", "STATE", "", rows: rows).text(style))
        }
        return parts.joined(separator: "\n")
    }
}
