import CanonicalJSON
import Contracts
import Crypto
import Records

extension LedgerState {
    mutating func apply(contract body: JSONValue, _ record: Record) throws(AdmissionError) {
        let contract: Contract
        do { contract = try Contract(body: body) } catch { throw AdmissionError(error, in: .contract) }
        try checkHorizon(contract.expires, after: time, of: "the contract")
        if let id = contract.id {
            try update(contract, id, record)
        } else {
            try deploy(contract, record)
        }
    }

    private mutating func deploy(_ contract: Contract, _ record: Record) throws(AdmissionError) {
        guard contract.version == 1 else {
            throw AdmissionError(
                .badVersion, "version", "a contract without “id” is a first version, not \(contract.version)")
        }
        let open = openContracts(of: record.author)
        if let other = open[contract.name] {
            throw AdmissionError(
                .nameTaken, contract.name,
                "\(record.author.address) has a contract “\(contract.name)” already: \(other.hex)")
        }
        guard Int64(open.count) < genesis.rules.openContracts else {
            throw AdmissionError(
                .limit, "contracts", "an identity may have \(genesis.rules.openContracts) open contracts")
        }
        try checkGateways(contract, record.id, record.author)
        let entry = ContractEntry(
            author: record.author, name: contract.name, state: .proposed,
            pending: PendingAction(record: record.id, contract: contract))
        settle(entry, record.id)
    }

    private mutating func update(_ contract: Contract, _ id: Digest, _ record: Record) throws(AdmissionError) {
        var entry = try openContract(id)
        guard entry.author == record.author else {
            throw AdmissionError(.notAuthor, id.hex, "contract \(id.hex) is \(entry.author.address)'s")
        }
        guard let last = entry.approved else {
            throw AdmissionError(
                .notApproved, id.hex, "the first version of contract \(id.hex) is not approved, cancel it instead")
        }
        do { try contract.checkFollows(last.contract, contract: id) } catch {
            throw AdmissionError(error, in: .contract)
        }
        try checkGateways(contract, id, record.author)
        entry.pending = PendingAction(record: record.id, contract: contract)
        settle(entry, id)
    }

    mutating func apply(_ body: CancelBody, _ record: Record) throws(AdmissionError) {
        var entry = try openContract(body.contract)
        guard entry.author == record.author else {
            throw AdmissionError(
                .notAuthor, body.contract.hex, "contract \(body.contract.hex) is \(entry.author.address)'s")
        }
        guard entry.cancel == nil else {
            throw AdmissionError(.duplicate, body.contract.hex, "a cancel of this contract waits for approvals already")
        }
        entry.cancel = PendingAction(record: record.id, contract: nil)
        settle(entry, body.contract)
    }

    mutating func apply(_ body: ApprovalBody, _ record: Record) throws(AdmissionError) {
        var entry = try openContract(body.contract)
        let isCancel = entry.cancel?.record == body.record
        guard var pending = isCancel ? entry.cancel : entry.pending, pending.record == body.record else {
            throw AdmissionError(
                .notPending, body.record.hex, "record \(body.record.hex) of this contract waits for no approval")
        }
        let (rules, _) = LedgerState.rules(entry, pending)
        guard rules.contains(where: { $0.of[record.author] != nil }) else {
            throw AdmissionError(
                .notStakeholder, record.author.address, "\(record.author.address) has no say in this contract")
        }
        guard !pending.approvals.contains(record.author) else {
            throw AdmissionError(.duplicate, record.author.address, "\(record.author.address) approved this already")
        }
        pending.approvals = (pending.approvals + [record.author]).sorted()
        if isCancel { entry.cancel = pending } else { entry.pending = pending }
        settle(entry, body.contract)
    }

    /// The rules that a pending version or cancel has to satisfy: the approved version's and its own.
    static func rules(_ entry: ContractEntry, _ pending: PendingAction) -> ([ApprovalRule], ContractAction) {
        let action: ContractAction = pending.contract == nil ? .cancel : entry.approved == nil ? .deploy : .update
        return (
            Contract.rules(for: action, previous: entry.approved?.contract, next: pending.contract), action
        )
    }

    private static func isSatisfied(_ entry: ContractEntry, _ pending: PendingAction) -> Bool {
        let (rules, action) = rules(entry, pending)
        let approvers = Set(pending.approvals)
        return rules.allSatisfy { $0.isSatisfied(by: approvers, action: action) }
    }

    /// Puts an entry after what waits in it and has its approvals took effect.
    private mutating func settle(_ entry: ContractEntry, _ id: Digest) {
        var entry = entry
        if let pending = entry.pending, let contract = pending.contract, LedgerState.isSatisfied(entry, pending) {
            let placed = placement(id)?.body.version
            entry.versions = entry.versions.filter { $0.version == placed }
            entry.versions.append(ContractVersion(record: pending.record, contract: contract))
            entry.pending = nil
            entry.state = .approved
            // Approvals of a cancel were given under the rule of the version before.
            entry.cancel = nil
        }
        let cancelled = entry.cancel.map { LedgerState.isSatisfied(entry, $0) } ?? false
        put(.contract(entry), at: .contract(id))
        if cancelled { end(id) }
    }

    /// Ends a contract: at once where nothing of it is anywhere.
    mutating func end(_ id: Digest) {
        guard var entry = contract(id), !entry.isOver else { return }
        entry.ended = time
        entry.pending = nil
        entry.cancel = nil
        entry.state = placement(id) == nil ? .cancelled : .cancelling
        if entry.state == .cancelled { entry.versions = [] }
        put(.contract(entry), at: .contract(id))
    }

    /// Closes a contract that is over and of which every node said that it removed everything.
    mutating func close(_ id: Digest) {
        guard var entry = contract(id), entry.state == .cancelling, let placement = placement(id) else { return }
        let nodes = placement.body.nodes
        let isGone = nodes.allSatisfy { node in
            result(id, node).map { $0.body.workloads.values.allSatisfy { $0.state == .removed } } ?? false
        }
        guard isGone, placement.leaving.isEmpty else { return }
        for node in nodes { remove(.result(contract: id, node: node)) }
        remove(.placement(id))
        entry.state = .cancelled
        entry.versions = []
        put(.contract(entry), at: .contract(id))
    }

    func openContract(_ id: Digest) throws(AdmissionError) -> ContractEntry {
        guard let entry = contract(id) else {
            throw AdmissionError(.unknownContract, id.hex, "there is no contract \(id.hex)")
        }
        guard !entry.isOver else {
            throw AdmissionError(.contractOver, id.hex, "contract \(id.hex) is \(entry.state.rawValue)")
        }
        return entry
    }

    /// Gateways route names that the author holds, each in one open contract.
    private func checkGateways(_ contract: Contract, _ id: Digest, _ author: PublicKey) throws(AdmissionError) {
        for gateway in contract.gateways {
            guard holds(gateway.name, author) else {
                throw AdmissionError(
                    .nameNotHeld, gateway.name, "the name “\(gateway.name)” is not held by \(author.address)")
            }
            let others = (index.routes[gateway.name] ?? []).subtracting([id])
            if let other = others.sorted().first(where: { self.contract($0)?.author == author }) {
                throw AdmissionError(
                    .nameTaken, gateway.name, "contract \(other.hex) routes the name “\(gateway.name)” already")
            }
        }
    }
}
