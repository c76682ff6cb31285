import Contracts
import Crypto
import Records

/// What follows from the entries of the state and is asked often. Never stored: `add` over all entries makes it again.
struct StateIndex: Hashable, Sendable {
    /// Contracts that are not over, by author and name.
    var open: [PublicKey: [String: Digest]] = [:]
    /// What each contract takes from a node, while it is not over.
    var usage: [PublicKey: [Digest: Capacity]] = [:]
    /// When contracts that are not over expire.
    var expiry: [Digest: Int64] = [:]
    /// Contracts that are not over, by the names that they route.
    var routes: [String: Set<Digest>] = [:]
    /// Names held or reserved, by identity.
    var names: [PublicKey: Int] = [:]
    /// Reserved names by the block that they were reserved in.
    var commits: [Int64: Set<Digest>] = [:]
    /// Images by author.
    var images: [PublicKey: Int] = [:]
    /// Every node.
    var nodes: Set<PublicKey> = []
    /// Every contract.
    var contracts: Set<Digest> = []
    /// Contracts that have something to do with a node.
    var placed: [PublicKey: Set<Digest>] = [:]

    mutating func add(_ entry: StateEntry, at key: StateKey) { change(entry, at: key, by: 1) }
    mutating func remove(_ entry: StateEntry, at key: StateKey) { change(entry, at: key, by: -1) }

    private mutating func change(_ entry: StateEntry, at key: StateKey, by step: Int) {
        switch (entry, key) {
        case (.contract(let entry), .contract(let id)): change(entry, id, by: step)
        case (.placement(let entry), .placement(let id)):
            for (node, demand) in entry.demand {
                usage[node, default: [:]][id] = step > 0 ? demand : nil
                if usage[node]?.isEmpty ?? false { usage[node] = nil }
            }
            for node in Set(entry.demand.keys).union(entry.leaving) { placed.change(node, id, by: step) }
        case (.name(let entry), _): names.count(entry.holder, by: step)
        case (.commit(let entry), .commit(let hash)):
            names.count(entry.author, by: step)
            commits.change(entry.height, hash, by: step)
        case (.image, .image(let author, _)): images.count(author, by: step)
        case (.node, .node(let node)):
            if step > 0 { nodes.insert(node) } else { nodes.remove(node) }
        default: break
        }
    }

    private mutating func change(_ entry: ContractEntry, _ id: Digest, by step: Int) {
        if step > 0 { contracts.insert(id) } else { contracts.remove(id) }
        guard !entry.isOver else { return }
        open[entry.author, default: [:]][entry.name] = step > 0 ? id : nil
        if open[entry.author]?.isEmpty ?? false { open[entry.author] = nil }
        expiry[id] = step > 0 ? entry.expires : nil
        let contracts = entry.versions.map(\.contract) + [entry.pending?.contract].compactMap { $0 }
        for name in Set(contracts.flatMap { $0.gateways.map(\.name) }) { routes.change(name, id, by: step) }
    }
}

extension Dictionary where Value == Int {
    fileprivate mutating func count(_ key: Key, by step: Int) {
        let count = self[key, default: 0] + step
        self[key] = count == 0 ? nil : count
    }
}

extension Dictionary where Value == Set<Digest> {
    fileprivate mutating func change(_ key: Key, _ member: Digest, by step: Int) {
        if step > 0 {
            self[key, default: []].insert(member)
        } else {
            self[key]?.remove(member)
            if self[key]?.isEmpty ?? false { self[key] = nil }
        }
    }
}
