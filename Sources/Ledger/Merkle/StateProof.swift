import Bytes
public import Crypto

/// Proof of what is, or that nothing is, at one path of a sparse Merkle tree.
public struct StateProof: Hashable, Sendable {
    /// What stands where the walk from the root ends.
    public enum Terminal: Hashable, Sendable {
        /// Nothing.
        case empty
        /// A leaf: the one that was asked for, or another that has the place to itself.
        case leaf(path: Digest, value: Digest)
    }

    /// How many steps the walk takes.
    public let depth: Int
    /// One bit a step from the root down, first step in the highest bit: whether its sibling is not empty.
    public let bitmap: [UInt8]
    /// The siblings that are not empty, from the root down.
    public let siblings: [Digest]
    /// Where the walk ends.
    public let terminal: Terminal

    /// A proof that was received; nil where its parts do not fit together.
    public init?(depth: Int, bitmap: [UInt8], siblings: [Digest], terminal: Terminal) {
        guard (0...256).contains(depth), bitmap.count == (depth + 7) / 8 else { return nil }
        let present = (0..<depth).count { bit(bitmap, $0) }
        let set = bitmap.reduce(0) { $0 + $1.nonzeroBitCount }
        guard present == set, present == siblings.count, !siblings.contains(StateHash.empty) else { return nil }
        (self.depth, self.bitmap, self.siblings, self.terminal) = (depth, bitmap, siblings, terminal)
    }

    /// A proof of parts that fit together.
    init(walk present: [Bool], siblings: [Digest], terminal: Terminal) {
        var bitmap = [UInt8](repeating: 0, count: (present.count + 7) / 8)
        for (step, isThere) in present.enumerated() where isThere { bitmap[step >> 3] |= 0x80 >> UInt8(step & 7) }
        (depth, self.bitmap, self.siblings, self.terminal) = (present.count, bitmap, siblings, terminal)
    }

    /// Whether this shows that the tree with `root` has a value of hash `value` at `path`; nil asks for absence.
    public func shows(_ value: Digest?, at path: Digest, root: Digest) -> Bool {
        let bits = path.bytes
        var hash: Digest
        switch terminal {
        case .empty:
            guard value == nil else { return false }
            hash = StateHash.empty
        case .leaf(let found, let content):
            if let value {
                guard found == path, content == value else { return false }
            } else {
                guard found != path else { return false }
                let other = found.bytes
                guard (0..<depth).allSatisfy({ bit(bits, $0) == bit(other, $0) }) else { return false }
            }
            hash = StateHash.leaf(path: found, value: content)
        }
        var rest = siblings[...]
        for step in (0..<depth).reversed() {
            let sibling = bit(bitmap, step) ? rest.popLast() ?? StateHash.empty : StateHash.empty
            hash = bit(bits, step) ? StateHash.node(sibling, hash) : StateHash.node(hash, sibling)
        }
        return rest.isEmpty && hash == root
    }
}

extension SparseMerkleTree {
    /// Proof of what is at `path`.
    public func proof(_ path: Digest) -> StateProof {
        let bits = path.bytes
        var node = top
        var present: [Bool] = []
        var siblings: [Digest] = []
        while case .inner(let inner) = node {
            let right = bit(bits, present.count)
            let sibling = (right ? inner.left : inner.right).hash
            present.append(sibling != StateHash.empty)
            if sibling != StateHash.empty { siblings.append(sibling) }
            node = right ? inner.right : inner.left
        }
        guard case .leaf(let leaf) = node else {
            return StateProof(walk: present, siblings: siblings, terminal: .empty)
        }
        return StateProof(
            walk: present, siblings: siblings, terminal: .leaf(path: leaf.entry.path, value: leaf.entry.hash))
    }
}
