public import Crypto

/// Hashes of the RFC 6962 log tree: leaves and nodes are kept apart by their first byte.
public enum LogHash {
    /// The root of a log without entries.
    public static let empty = SHA256.hash([])
    /// The hash of an entry.
    public static func leaf(_ entry: [UInt8]) -> Digest { SHA256.hash([0] + entry) }
    /// The hash of two subtrees.
    public static func node(_ left: Digest, _ right: Digest) -> Digest {
        var message: [UInt8] = [1]
        message.reserveCapacity(65)
        message += left.bytes
        message += right.bytes
        return SHA256.hash(message)
    }
}

/// The right edge of a log tree: enough to append and to know the root, not to prove.
public struct LogFrontier: Hashable, Sendable {
    /// How many entries the log has.
    public private(set) var size: Int64
    /// Roots of the complete subtrees, largest first: one for each bit that is set in `size`.
    public private(set) var peaks: [Digest]

    /// The log without entries.
    public init() { (size, peaks) = (0, []) }

    /// A frontier that was stored; nil where the number of peaks does not fit the size.
    public init?(size: Int64, peaks: [Digest]) {
        guard size >= 0, peaks.count == size.nonzeroBitCount else { return nil }
        (self.size, self.peaks) = (size, peaks)
    }

    /// Adds an entry at the end.
    public mutating func append(_ entry: [UInt8]) {
        var hash = LogHash.leaf(entry)
        var bit: Int64 = 1
        while size & bit != 0, let left = peaks.popLast() {
            hash = LogHash.node(left, hash)
            bit <<= 1
        }
        peaks.append(hash)
        size += 1
        assert(peaks.count == size.nonzeroBitCount)
    }

    /// The root over all entries.
    public var root: Digest {
        guard var hash = peaks.last else { return LogHash.empty }
        for peak in peaks.dropLast().reversed() { hash = LogHash.node(peak, hash) }
        return hash
    }
}

/// The whole RFC 6962 tree over a log: appends, and proves about any size it ever had.
public struct LogTree: Sendable {
    /// `levels[k][i]` is the root of the complete subtree over entries `i·2^k ..< (i+1)·2^k`.
    private var levels: [[Digest]] = [[]]

    /// The log without entries.
    public init() {}

    /// How many entries the log has.
    public var size: Int { levels[0].count }
    /// The root over all entries.
    public var root: Digest { root(size: size) }

    /// Adds an entry at the end.
    public mutating func append(_ entry: [UInt8]) { append(leaf: LogHash.leaf(entry)) }

    /// Hashes of entries, as `append(leaf:)` takes them again.
    public func leaves(_ range: Range<Int>) -> ArraySlice<Digest> { levels[0][range] }

    /// Adds an entry by its leaf's hash.
    public mutating func append(leaf: Digest) {
        var hash = leaf
        var level = 0
        levels[0].append(hash)
        while levels[level].count.isMultiple(of: 2) {
            hash = LogHash.node(levels[level][levels[level].count - 2], hash)
            level += 1
            if level == levels.count { levels.append([]) }
            levels[level].append(hash)
        }
    }

    /// The root that the log had with its first `size` entries.
    public func root(size: Int) -> Digest {
        precondition((0...self.size).contains(size))
        return size == 0 ? LogHash.empty : hash(0, size)
    }

    /// Proof that entry `index` is among the first `size` ones.
    public func inclusionProof(index: Int, size: Int) -> [Digest] {
        precondition(index >= 0 && index < size && size <= self.size)
        return path(index, 0, size)
    }

    /// Proof that the first `old` entries are a beginning of the first `new` ones.
    public func consistencyProof(from old: Int, to new: Int) -> [Digest] {
        precondition(old >= 0 && old <= new && new <= size)
        return old == 0 || old == new ? [] : subproof(old, 0, new, complete: true)
    }

    /// The root of the subtree over `count` entries from `start` on, a multiple of the next power of two.
    private func hash(_ start: Int, _ count: Int) -> Digest {
        if count.nonzeroBitCount == 1 {
            let level = count.trailingZeroBitCount
            return levels[level][start >> level]
        }
        let left = LogTree.split(count)
        return LogHash.node(hash(start, left), hash(start + left, count - left))
    }

    private func path(_ index: Int, _ start: Int, _ count: Int) -> [Digest] {
        guard count > 1 else { return [] }
        let left = LogTree.split(count)
        return index < left
            ? path(index, start, left) + [hash(start + left, count - left)]
            : path(index - left, start + left, count - left) + [hash(start, left)]
    }

    private func subproof(_ old: Int, _ start: Int, _ count: Int, complete: Bool) -> [Digest] {
        if old == count { return complete ? [] : [hash(start, count)] }
        let left = LogTree.split(count)
        return old <= left
            ? subproof(old, start, left, complete: complete) + [hash(start + left, count - left)]
            : subproof(old - left, start + left, count - left, complete: false) + [hash(start, left)]
    }

    /// The largest power of two below `count`, which is at least 2.
    private static func split(_ count: Int) -> Int {
        precondition(count > 1)
        return 1 << (Int.bitWidth - 1 - (count - 1).leadingZeroBitCount)
    }
}

/// Checks proofs of a log tree (RFC 9162, 2.1.3.2 and 2.1.4.2).
public enum LogProof {
    /// Whether `proof` shows that `entry` stands at `index` of the log with `size` entries and that root.
    public static func includes(
        _ entry: [UInt8], index: Int64, size: Int64, root: Digest, proof: [Digest]
    ) -> Bool {
        guard index >= 0, index < size else { return false }
        var (node, last) = (index, size - 1)
        var hash = LogHash.leaf(entry)
        for sibling in proof {
            guard last != 0 else { return false }
            if node & 1 == 1 || node == last {
                hash = LogHash.node(sibling, hash)
                while node & 1 == 0, node != 0 { (node, last) = (node >> 1, last >> 1) }
            } else {
                hash = LogHash.node(hash, sibling)
            }
            (node, last) = (node >> 1, last >> 1)
        }
        return last == 0 && hash == root
    }

    /// Whether `proof` shows that the log of `old` entries is a beginning of the one of `new`.
    public static func extends(
        from old: (size: Int64, root: Digest), to new: (size: Int64, root: Digest), proof: [Digest]
    ) -> Bool {
        guard old.size >= 0, old.size <= new.size else { return false }
        if old.size == new.size { return proof.isEmpty && old.root == new.root }
        if old.size == 0 { return proof.isEmpty && old.root == LogHash.empty }
        var rest = proof[...]
        if old.size.nonzeroBitCount == 1 { rest = ([old.root] + proof)[...] }
        guard let first = rest.popFirst() else { return false }
        var (node, last) = (old.size - 1, new.size - 1)
        while node & 1 == 1 { (node, last) = (node >> 1, last >> 1) }
        var (before, after) = (first, first)
        for sibling in rest {
            guard last != 0 else { return false }
            if node & 1 == 1 || node == last {
                before = LogHash.node(sibling, before)
                after = LogHash.node(sibling, after)
                while node & 1 == 0, node != 0 { (node, last) = (node >> 1, last >> 1) }
            } else {
                after = LogHash.node(after, sibling)
            }
            (node, last) = (node >> 1, last >> 1)
        }
        return last == 0 && before == old.root && after == new.root
    }
}
