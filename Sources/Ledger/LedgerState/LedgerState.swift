public import Crypto
public import Merkle
public import Records

/// A key of the state tree with what stands there.
public struct StateLeaf: Hashable, Sendable {
    /// The key.
    public let key: StateKey
    /// What stands there.
    public let entry: StateEntry

    /// Something at a key.
    public init(key: StateKey, entry: StateEntry) { (self.key, self.entry) = (key, entry) }
}

/// Everything that the records so far made true. A pure state machine: the ledger and everybody who follows it apply
/// the same records at the same block times and come to the same root.
public struct LedgerState: Sendable {
    /// What the ledger began with.
    public let genesis: Genesis
    /// The ledger id.
    public let ledger: Digest
    /// The block that is being applied, or was applied last; 0 before the first.
    public internal(set) var height: Int64 = 0
    /// That block's time.
    public internal(set) var time: Int64 = 0

    private(set) var tree = SparseMerkleTree<StateLeaf>()
    private(set) var index = StateIndex()
    /// What the block has taken of its limits so far.
    var budget = BlockBudget()

    /// The state before the first block: nothing but members.
    public init(genesis: Genesis) {
        self.genesis = genesis
        ledger = genesis.id
        for member in genesis.members { put(.member(1), at: .member(member)) }
    }

    /// A state that was stored: every leaf of it, and the block that it is the state after.
    init(genesis: Genesis, height: Int64, time: Int64, leaves: [StateLeaf]) {
        self.genesis = genesis
        ledger = genesis.id
        (self.height, self.time) = (height, time)
        tree = SparseMerkleTree(
            leaves.map { .init(path: StateHash.path($0.key.text), hash: $0.entry.hash, value: $0) })
        tree.forEach { index.add($0.value.entry, at: $0.value.key) }
    }

    /// Root of the sparse Merkle tree over everything.
    public var root: Digest { tree.root }
    /// How many keys there are.
    public var count: Int { tree.count }

    /// What stands at a key.
    public subscript(key: StateKey) -> StateEntry? { tree[StateHash.path(key.text)]?.entry }

    /// Proof of what is, or that nothing is, at a key given as text.
    public func proof(of key: String) -> StateProof { tree.proof(StateHash.path(key)) }

    /// What stands at a key given as text.
    public func entry(of key: String) -> StateEntry? { tree[StateHash.path(key)]?.entry }

    /// Every key and what stands there, in the order of the tree.
    public func forEach<Failure: Error>(_ body: (StateLeaf) throws(Failure) -> Void) throws(Failure) {
        try tree.forEach { entry throws(Failure) in try body(entry.value) }
    }

    mutating func put(_ entry: StateEntry, at key: StateKey) {
        if let old = self[key] { index.remove(old, at: key) }
        index.add(entry, at: key)
        tree.insert(.init(path: StateHash.path(key.text), hash: entry.hash, value: StateLeaf(key: key, entry: entry)))
    }

    mutating func remove(_ key: StateKey) {
        guard let old = self[key] else { return }
        index.remove(old, at: key)
        tree.remove(StateHash.path(key.text))
    }

    /// Whether what is derived from the entries agrees with the entries; for tests.
    package var isConsistent: Bool {
        var again = StateIndex()
        var leaves: [SparseMerkleTree<StateLeaf>.Entry] = []
        tree.forEach {
            again.add($0.value.entry, at: $0.value.key)
            leaves.append(.init(path: $0.path, hash: $0.value.entry.hash, value: $0.value))
        }
        return again == index && SparseMerkleTree(leaves).root == root
    }
}

/// What one block has taken of its limits.
struct BlockBudget: Sendable {
    var records: Int64 = 0
    var bytes: Int64 = 0
    var newIdentities: Int64 = 0
    var perIdentity: [PublicKey: (records: Int64, bytes: Int64)] = [:]
}
