import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records
import Terminal

/// Shows what a deployment would change.
struct PlanView {
    private let deployment: Deployment
    private let placement: Placement
    private let names: (take: [String], renew: [String])
    private let console: Console

    init(_ deployment: Deployment, placement: Placement, names: (take: [String], renew: [String]), console: Console) {
        (self.deployment, self.placement, self.names, self.console) = (deployment, placement, names, console)
    }

    private var plan: ContractPlan { deployment.plan }

    /// As the result of `zero plan`.
    func emit() { console.emit(json, text(console.style)) }

    /// Before a question, for people.
    func show() { console.note(String(text(console.errorStyle).dropLast())) }

    private var json: JSONValue {
        let demand = plan.demand.after
        return [
            "contract": .string(deployment.contract.name), "version": .integer(deployment.contract.version),
            "changes": .bool(!plan.isEmpty), "contract_changes": .array(plan.contract.map { .string($0) }),
            "names": .array(names.take.map { .string($0) }), "renewed_names": .array(names.renew.map { .string($0) }),
            "demand": demand.value,
            "workloads": .array(
                plan.steps.map { step in
                    var entry: [String: JSONValue] = [
                        "name": .string(step.name), "type": .string(step.type.rawValue),
                        "change": .string(step.change.rawValue),
                        "reasons": .array(step.reasons.map { .string($0) }),
                    ]
                    if let method = step.method { entry["method"] = .string(method.rawValue) }
                    if let node = placement.workloads[step.name]?.node { entry["node"] = .string(node.address) }
                    return .object(entry)
                }),
        ]
    }

    private func text(_ style: Style) -> String {
        let name = "\(deployment.contract.name) version \(deployment.contract.version)"
        if plan.isEmpty, deployment.previous != nil {
            return "\(deployment.contract.name) version \(deployment.previous?.version ?? 0): no changes\n"
        }
        var lines = [style.bold(name)]
        for change in plan.contract { lines.append("  \(style.yellow("~")) \(deployment.keys.named(change))") }
        for step in plan.steps { lines += self.lines(step, style) }
        let end = Units.timeText(deployment.contract.expires)
        for name in names.take { lines.append("  \(style.green("+")) name \(name), held until \(end)") }
        for name in names.renew { lines.append("  \(style.yellow("~")) name \(name), held until \(end)") }
        for name in deployment.fresh.sorted() { lines.append("  \(style.green("+")) secret \(name), sealed anew") }
        let demand = plan.demand.after
        let node = placement.nodes.first.map { " on node \($0.address.prefix(8))…" } ?? ""
        lines.append(
            "  \(Units.cpuText(demand.cpu)) CPU, \(Amount.text(demand.memory)) memory, \(Amount.text(demand.storage)) storage\(node)"
        )
        return lines.joined(separator: "\n") + "\n"
    }

    private func lines(_ step: ContractPlan.Step, _ style: Style) -> [String] {
        let title = "\(step.type.rawValue) \(step.name)"
        switch step.change {
        case .create: return ["  \(style.green("+")) \(title)" + (detail(step.name).map { "  " + style.dim($0) } ?? "")]
        case .remove: return ["  \(style.red("-")) \(title)"]
        case .unchanged: return ["    \(style.dim(title + ", unchanged"))"]
        case .update:
            return ["  \(style.yellow("~")) \(title)" + (step.method.map { ", \($0.rawValue)" } ?? "")]
                + step.reasons.map { "      \($0)" }
        }
    }

    private func detail(_ name: String) -> String? {
        switch deployment.contract.workload(name) {
        case .container(let it): "\(it.image.name), \(Units.cpuText(it.cpu)) CPU, \(Units.sizeText(it.memory))"
        case .volume(let it): Units.sizeText(it.size)
        case .gateway(let it): "to \(it.workload):\(it.port)"
        case .zdb(let it): "\(Units.sizeText(it.size)), \(it.mode.rawValue)"
        case nil: nil
        }
    }
}

/// Who approved something and who still has to.
struct ApprovalView {
    let text: String
    let missing: [PublicKey]

    init(_ entry: ContractEntry, _ pending: PendingAction, keys: KeyRing) {
        let action: ContractAction = pending.contract == nil ? .cancel : entry.approved == nil ? .deploy : .update
        let rules = Contract.rules(for: action, previous: entry.approved?.contract, next: pending.contract)
        let names = (try? keys.addresses()) ?? [:]
        func name(_ key: PublicKey) -> String {
            names.first { $0.value == key }?.key ?? key.address
        }
        let approvers = Set(pending.approvals)
        var missing: [PublicKey] = []
        let lines = rules.filter { !$0.isSatisfied(by: approvers, action: action) }.map { rule in
            let open = rule.missing(after: approvers).sorted { (name($0), $0) < (name($1), $1) }
            missing += open.filter { !missing.contains($0) }
            let list = open.map { name($0) + (rule.of[$0] == 1 ? "" : " with weight \(rule.of[$0] ?? 0)") }
            return
                "\(rule.weight(of: approvers)) of \(rule.need) are there; it can come from \(list.joined(separator: ", "))"
        }
        // The rule in force and the one of the next version often are the same.
        text = lines.enumerated().filter { !lines[..<$0.offset].contains($0.element) }.map(\.element)
            .joined(separator: "\n")
        self.missing = missing
    }
}
