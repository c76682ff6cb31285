import Contracts
import Crypto
import Records

extension LedgerState {
    mutating func apply(_ body: PlacementBody, _ record: Record) throws(AdmissionError) {
        var entry = try openContract(body.contract)
        guard let approved = entry.approved, approved.version >= body.version else {
            throw AdmissionError(.notApproved, body.contract.hex, missing(entry, version: body.version))
        }
        let planner = approved.contract.planner
        guard record.author == entry.author || record.author == planner || record.key == planner else {
            throw AdmissionError(
                .notAuthor, record.author.address,
                "\(record.author.address) may not place contract \(body.contract.hex)")
        }
        let old = placement(body.contract)
        try checkEpoch(body, last: old?.body.epoch ?? 0)
        let nodes = body.nodes.sorted()
        let described = nodes.compactMap { id in node(id).map { NodeDescription(node: id, body: $0.body) } }
        let used = Dictionary(
            nodes.map { ($0, self.used(on: $0, except: body.contract)) }, uniquingKeysWith: { first, _ in first })
        do {
            try body.validate(
                against: approved.contract, id: body.contract, lastEpoch: old?.body.epoch ?? 0, nodes: described,
                used: used)
        } catch { throw AdmissionError(error, in: .placement) }
        let leaving = Set(old.map { Array($0.body.nodes) + $0.leaving } ?? []).subtracting(nodes)
        let placed = PlacementEntry(
            body: body, record: record.id, demand: body.demand(of: approved.contract), leaving: leaving.sorted())
        put(.placement(placed), at: .placement(body.contract))
        if entry.versions.count > 1 {
            entry.versions = [approved]
            put(.contract(entry), at: .contract(body.contract))
        }
    }

    private func checkEpoch(_ body: PlacementBody, last: Int64) throws(AdmissionError) {
        if body.epoch <= last {
            throw AdmissionError(.oldEpoch, "epoch", "epoch \(body.epoch) is old, the contract is at \(last)")
        }
        if body.epoch != last + 1 {
            throw AdmissionError(.skippedEpoch, "epoch", "epoch \(body.epoch) skips, the next is \(last + 1)")
        }
    }

    private func missing(_ entry: ContractEntry, version: Int64) -> String {
        guard let pending = entry.pending, pending.contract?.version == version else {
            return "version \(version) of contract “\(entry.name)” is not approved"
        }
        let (rules, _) = LedgerState.rules(entry, pending)
        let approvers = Set(pending.approvals)
        let waiting = rules.flatMap { $0.missing(after: approvers) }.map(\.address)
        let names = Set(waiting).sorted().joined(separator: ", ")
        return "version \(version) of contract “\(entry.name)” is not approved, it waits for \(names)"
    }

    mutating func apply(_ body: ResultBody, _ record: Record) throws(AdmissionError) {
        let node = record.author
        guard self.node(node) != nil else {
            throw AdmissionError(.unknownNode, node.address, "\(node.address) is no node of this ledger")
        }
        guard let contract = contract(body.contract) else {
            throw AdmissionError(.unknownContract, body.contract.hex, "there is no contract \(body.contract.hex)")
        }
        guard var placement = placement(body.contract) else {
            throw AdmissionError(
                contract.isOver ? .contractOver : .notPlaced, body.contract.hex,
                "contract \(body.contract.hex) is placed nowhere")
        }
        let isLeaving = placement.leaving.contains(node)
        guard isLeaving || placement.body.nodes.contains(node) else {
            throw AdmissionError(
                .notPlaced, node.address, "nothing of contract \(body.contract.hex) is placed on \(node.address)")
        }
        let last = result(body.contract, node)?.body.epoch ?? 0
        guard body.epoch >= last, body.epoch <= placement.body.epoch, body.version <= placement.body.version else {
            throw AdmissionError(
                .oldEpoch, "epoch",
                "a result of epoch \(body.epoch) does not fit, the last was \(last), the placement is \(placement.body.epoch)"
            )
        }
        let isGone = body.workloads.values.allSatisfy { $0.state == .removed }
        if isLeaving, isGone {
            remove(.result(contract: body.contract, node: node))
            placement.leaving.removeAll { $0 == node }
            put(.placement(placement), at: .placement(body.contract))
        } else {
            put(.result(ResultEntry(body: body, record: record.id)), at: .result(contract: body.contract, node: node))
        }
        if contract.state == .cancelling { close(body.contract) }
    }
}
