public import Contracts
public import Crypto
public import Records

extension LedgerState {
    /// The keys of an identity.
    public func identity(_ id: PublicKey) -> IdentityEntry? {
        if case .identity(let entry) = self[.identity(id)] { entry } else { nil }
    }
    /// How many records a key signed; the next one's `seq` is one more.
    public func sequence(_ key: PublicKey) -> Int64 {
        if case .sequence(let count) = self[.sequence(key)] { count } else { 0 }
    }
    /// A contract.
    public func contract(_ id: Digest) -> ContractEntry? {
        if case .contract(let entry) = self[.contract(id)] { entry } else { nil }
    }
    /// The placement in force of a contract.
    public func placement(_ contract: Digest) -> PlacementEntry? {
        if case .placement(let entry) = self[.placement(contract)] { entry } else { nil }
    }
    /// Who holds a name, in force or not.
    public func name(_ name: String) -> NameEntry? {
        if case .name(let entry) = self[.name(name)] { entry } else { nil }
    }
    /// A reserved name.
    public func commit(_ hash: Digest) -> CommitEntry? {
        if case .commit(let entry) = self[.commit(hash)] { entry } else { nil }
    }
    /// A node.
    public func node(_ id: PublicKey) -> NodeEntry? {
        if case .node(let entry) = self[.node(id)] { entry } else { nil }
    }
    /// A farmer's farm.
    public func farm(_ farmer: PublicKey) -> FarmEntry? {
        if case .farm(let entry) = self[.farm(farmer)] { entry } else { nil }
    }
    /// An image of an author.
    public func image(_ author: PublicKey, _ name: String) -> ImageEntry? {
        if case .image(let entry) = self[.image(author, name)] { entry } else { nil }
    }
    /// What a node said last about a contract.
    public func result(_ contract: Digest, _ node: PublicKey) -> ResultEntry? {
        if case .result(let entry) = self[.result(contract: contract, node: node)] { entry } else { nil }
    }
    /// Whether an identity is a member of the ledger.
    public func isMember(_ id: PublicKey) -> Bool { self[.member(id)] != nil }

    /// Whether an identity holds a name now.
    public func holds(_ name: String, _ identity: PublicKey) -> Bool {
        guard let entry = self.name(name) else { return false }
        return entry.holder == identity && entry.expires > time
    }

    /// Every node with its description, sorted.
    public var nodes: [NodeDescription] {
        index.nodes.sorted().compactMap { id in node(id).map { NodeDescription(node: id, body: $0.body) } }
    }
    /// Every contract, over or not, sorted.
    public var contracts: [Digest] { index.contracts.sorted() }
    /// The author's contract of that name that is not over.
    public func contract(of author: PublicKey, named name: String) -> Digest? { index.open[author]?[name] }
    /// The author's contracts that are not over, by name.
    public func openContracts(of author: PublicKey) -> [String: Digest] { index.open[author] ?? [:] }
    /// Contracts that are placed on a node, or were and are not removed from it yet; sorted.
    public func contracts(on node: PublicKey) -> [Digest] { (index.placed[node] ?? []).sorted() }

    /// What contracts take from a node, except one of them.
    public func used(on node: PublicKey, except contract: Digest? = nil) -> Capacity {
        (index.usage[node] ?? [:]).reduce(.zero) { $1.key == contract ? $0 : $0 + $1.value }
    }

    /// What every node has given away, except to one contract.
    public func used(except contract: Digest? = nil) -> [PublicKey: Capacity] {
        Dictionary(index.nodes.map { ($0, used(on: $0, except: contract)) }, uniquingKeysWith: { first, _ in first })
    }

    /// What became of a contract's workloads at its placement in force; empty where no node said anything of it yet.
    public func results(_ contract: Digest) -> [String: WorkloadResult] {
        guard let placement = placement(contract) else { return [:] }
        var results: [String: WorkloadResult] = [:]
        for node in placement.body.nodes {
            guard let result = result(contract, node), result.body.epoch == placement.body.epoch else { continue }
            results.merge(result.body.workloads) { first, _ in first }
        }
        return results
    }

    /// Where a contract is in its life, results included.
    public func status(_ contract: Digest) -> ContractStatus? {
        guard let entry = self.contract(contract) else { return nil }
        switch entry.state {
        case .proposed: return .proposed
        case .cancelling: return .cancelling
        case .cancelled: return .cancelled
        case .approved: break
        }
        guard let placement = placement(contract) else { return .approved }
        let results = results(contract)
        if results.values.contains(where: { $0.state == .failed }) { return .failed }
        let done = placement.body.workloads.keys.allSatisfy { name in
            guard let state = results[name]?.state else { return false }
            return state == .running || state == .stopped
        }
        return done ? .deployed : .deploying
    }
}

/// Where a contract is in its life (formats.md).
public enum ContractStatus: String, CaseIterable, Hashable, Sendable {
    /// Waits for approvals.
    case proposed
    /// In force, not placed.
    case approved
    /// Placed, and not all of it runs yet.
    case deploying
    /// All of it runs, or ended as it should.
    case deployed
    /// Something of it failed and is tried again.
    case failed
    /// Over, and not all of it is removed.
    case cancelling
    /// Over, and nothing is left.
    case cancelled
}
