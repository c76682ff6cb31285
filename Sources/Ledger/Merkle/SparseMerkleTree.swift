public import Crypto

/// Hashes of the sparse tree. A subtree with one leaf is that leaf, an empty one 32 zero bytes.
public enum StateHash {
    /// The root of a tree without leaves.
    public static let empty = Digest([UInt8](repeating: 0, count: 32)) ?? SHA256.hash([])
    /// Where a key's leaf is.
    public static func path(_ key: String) -> Digest { SHA256.hash(Array(key.utf8)) }
    /// The hash of a leaf.
    public static func leaf(path: Digest, value: Digest) -> Digest { tagged(0, path, value) }
    /// The hash of two subtrees.
    public static func node(_ left: Digest, _ right: Digest) -> Digest { tagged(1, left, right) }

    private static func tagged(_ tag: UInt8, _ first: Digest, _ second: Digest) -> Digest {
        var message: [UInt8] = [tag]
        message.reserveCapacity(65)
        message += first.bytes
        message += second.bytes
        return SHA256.hash(message)
    }
}

/// A map from 32-byte paths to values with one root hash. Old versions stay valid and share what did not change.
public struct SparseMerkleTree<Value: Sendable>: Sendable {
    /// A value and its hash.
    public struct Entry: Sendable {
        /// Where it is.
        public let path: Digest
        /// The hash that the leaf commits to.
        public let hash: Digest
        /// What is kept there.
        public let value: Value

        /// A value to keep.
        public init(path: Digest, hash: Digest, value: Value) {
            (self.path, self.hash, self.value) = (path, hash, value)
        }
    }

    final class Leaf: Sendable {
        let entry: Entry
        let bits: [UInt8]
        let hash: Digest
        init(_ entry: Entry) {
            self.entry = entry
            bits = entry.path.bytes
            hash = StateHash.leaf(path: entry.path, value: entry.hash)
        }
    }

    final class Inner: Sendable {
        let left: Node, right: Node
        let hash: Digest
        init(_ left: Node, _ right: Node) {
            (self.left, self.right) = (left, right)
            hash = StateHash.node(left.hash, right.hash)
        }
    }

    enum Node: Sendable {
        case empty
        case leaf(Leaf)
        case inner(Inner)

        var hash: Digest {
            switch self {
            case .empty: StateHash.empty
            case .leaf(let leaf): leaf.hash
            case .inner(let inner): inner.hash
            }
        }
    }

    var top: Node = .empty
    /// How many leaves there are.
    public private(set) var count = 0

    /// The tree without leaves.
    public init() {}

    /// The tree of many entries at once. Of two entries with one path the last counts.
    public init(_ entries: some Sequence<Entry>) {
        let leaves = Dictionary(entries.map { ($0.path, $0) }, uniquingKeysWith: { _, last in last })
            .values.map { Leaf($0) }.sorted { $0.entry.path < $1.entry.path }
        count = leaves.count
        top = Self.build(leaves[...], 0)
    }

    /// The hash that stands for all of it.
    public var root: Digest { top.hash }

    /// What is kept at `path`.
    public subscript(path: Digest) -> Value? {
        let bits = path.bytes
        var node = top
        var depth = 0
        while case .inner(let inner) = node {
            node = bit(bits, depth) ? inner.right : inner.left
            depth += 1
        }
        guard case .leaf(let leaf) = node, leaf.bits == bits else { return nil }
        return leaf.entry.value
    }

    /// Keeps an entry, instead of one that was at its path.
    public mutating func insert(_ entry: Entry) {
        let leaf = Leaf(entry)
        var added = true
        top = Self.inserting(leaf, into: top, 0, &added)
        if added { count += 1 }
    }

    /// Forgets what is at `path`.
    public mutating func remove(_ path: Digest) {
        var found = false
        top = Self.removing(path.bytes, from: top, 0, &found)
        if found { count -= 1 }
    }

    /// Every entry in the order of paths.
    public func forEach<Failure: Error>(_ body: (Entry) throws(Failure) -> Void) throws(Failure) {
        var open = [top]
        while let next = open.popLast() {
            switch next {
            case .empty: break
            case .leaf(let leaf): try body(leaf.entry)
            case .inner(let inner): open += [inner.right, inner.left]
            }
        }
    }

    private static func build(_ leaves: ArraySlice<Leaf>, _ depth: Int) -> Node {
        guard let first = leaves.first else { return .empty }
        if leaves.count == 1 { return .leaf(first) }
        var (low, high) = (leaves.startIndex, leaves.endIndex)
        while low < high {
            let middle = low + (high - low) / 2
            if bit(leaves[middle].bits, depth) { high = middle } else { low = middle + 1 }
        }
        return .inner(Inner(build(leaves[..<low], depth + 1), build(leaves[low...], depth + 1)))
    }

    private static func inserting(_ leaf: Leaf, into node: Node, _ depth: Int, _ added: inout Bool) -> Node {
        switch node {
        case .empty: return .leaf(leaf)
        case .leaf(let other):
            if other.bits == leaf.bits {
                added = false
                return .leaf(leaf)
            }
            return split(other, leaf, depth)
        case .inner(let inner):
            return bit(leaf.bits, depth)
                ? .inner(Inner(inner.left, inserting(leaf, into: inner.right, depth + 1, &added)))
                : .inner(Inner(inserting(leaf, into: inner.left, depth + 1, &added), inner.right))
        }
    }

    private static func split(_ first: Leaf, _ second: Leaf, _ depth: Int) -> Node {
        precondition(depth < 256, "two leaves with one path")
        switch (bit(first.bits, depth), bit(second.bits, depth)) {
        case (false, true): return .inner(Inner(.leaf(first), .leaf(second)))
        case (true, false): return .inner(Inner(.leaf(second), .leaf(first)))
        case (false, false): return .inner(Inner(split(first, second, depth + 1), .empty))
        case (true, true): return .inner(Inner(.empty, split(first, second, depth + 1)))
        }
    }

    private static func removing(_ bits: [UInt8], from node: Node, _ depth: Int, _ found: inout Bool) -> Node {
        switch node {
        case .empty: return node
        case .leaf(let leaf):
            guard leaf.bits == bits else { return node }
            found = true
            return .empty
        case .inner(let inner):
            let (left, right) =
                bit(bits, depth)
                ? (inner.left, removing(bits, from: inner.right, depth + 1, &found))
                : (removing(bits, from: inner.left, depth + 1, &found), inner.right)
            guard found else { return node }
            switch (left, right) {
            case (.empty, .empty): return .empty
            case (.empty, .leaf), (.leaf, .empty):
                if case .leaf = left { return left }
                return right
            default: return .inner(Inner(left, right))
            }
        }
    }
}

/// The bit of a path that decides at `depth`: true is right.
func bit(_ bits: [UInt8], _ depth: Int) -> Bool { bits[depth >> 3] & (0x80 >> UInt8(depth & 7)) != 0 }
