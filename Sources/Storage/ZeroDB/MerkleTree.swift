import Crypto

/// The hashes by which who keeps only a root can check that a part of a value is what it was.
///
/// A value is cut into leaves of 4096 bytes, the last one shorter. A leaf's hash is SHA-256 of a zero byte and the
/// leaf, a node's of a one and its two children; a level's last node without a neighbour moves up as it is, which is
/// the tree of RFC 6962. The root is SHA-256 of a two, the number of leaves, the value's length (8 bytes each,
/// little-endian) and the tree's hash, so that neither can be lied about.
struct MerkleTree {
    static let leafBytes = 4096

    let length: Int
    private var levels: [[Digest]]

    /// Whether the levels above the leaves are there.
    private(set) var isWhole = false

    /// The tree of a value.
    init(_ value: UnsafeRawBufferPointer) {
        self.init(length: value.count)
        for index in 0..<Self.leafCount(value.count) {
            add(UnsafeRawBufferPointer(rebasing: value[Self.range(index, value.count)]))
        }
        end()
    }

    /// A tree whose leaves are added one by one.
    init(length: Int) {
        self.length = length
        levels = [[]]
        levels[0].reserveCapacity(Self.leafCount(length))
    }

    /// The next leaf.
    mutating func add(_ leaf: UnsafeRawBufferPointer) {
        precondition(!isWhole && leaf.count <= Self.leafBytes)
        var hasher = SHA256Hasher()
        hasher.update([0])
        hasher.update(leaf)
        levels[0].append(hasher.finish())
    }

    /// All leaves are there: what is above them.
    mutating func end() {
        precondition(!isWhole && leafCount == Self.leafCount(length))
        isWhole = true
        while let below = levels.last, below.count > 1 {
            var level: [Digest] = []
            for index in stride(from: 0, to: below.count - 1, by: 2) {
                level.append(Self.node(below[index], below[index + 1]))
            }
            if below.count % 2 == 1 { level.append(below[below.count - 1]) }
            levels.append(level)
        }
    }

    static func leafCount(_ length: Int) -> Int { (length + leafBytes - 1) / leafBytes }
    static func range(_ leaf: Int, _ length: Int) -> Range<Int> {
        leaf * leafBytes..<min((leaf + 1) * leafBytes, length)
    }

    var leafCount: Int { levels[0].count }

    var root: Digest {
        var hasher = SHA256Hasher()
        hasher.update([2])
        for number in [leafCount, length] {
            hasher.update((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
        }
        hasher.update(levels.last?.first ?? SHA256.hash([]))
        return hasher.finish()
    }

    /// The neighbours on the way from a leaf to the top, lowest first.
    func path(_ leaf: Int) -> [Digest] {
        var path: [Digest] = []
        var index = leaf
        for level in levels.dropLast() {
            if index ^ 1 < level.count { path.append(level[index ^ 1]) }
            index >>= 1
        }
        return path
    }

    private static func node(_ left: Digest, _ right: Digest) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update([1])
        hasher.update(left)
        hasher.update(right)
        return hasher.finish()
    }
}
