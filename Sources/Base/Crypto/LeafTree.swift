/// The hashes by which who keeps only a root can check that a part of a value is what it was.
///
/// A value is cut into leaves of 4096 bytes, the last one shorter. A leaf's hash is SHA-256 of a zero byte and the
/// leaf, a node's of a one and its two children; a level's last node without a neighbour moves up as it is, which is
/// the tree of RFC 6962. The root is SHA-256 of a two, the number of leaves, the value's length (8 bytes each,
/// little-endian) and the tree's hash, so that neither can be lied about.
public struct LeafTree: Sendable {
    /// Bytes of a leaf that is not the last.
    public static let leafBytes = 4096

    /// Bytes of the value.
    public let length: Int
    private var levels: [[Digest]]

    /// Whether the levels above the leaves are there.
    public private(set) var isWhole = false

    /// The tree of a value.
    public init(_ value: UnsafeRawBufferPointer) {
        self.init(length: value.count)
        for index in 0..<Self.leafCount(value.count) {
            add(UnsafeRawBufferPointer(rebasing: value[Self.range(index, value.count)]))
        }
        end()
    }

    /// A tree whose leaves are added one by one.
    public init(length: Int) {
        self.length = length
        levels = [[]]
        levels[0].reserveCapacity(Self.leafCount(length))
    }

    /// The next leaf.
    public mutating func add(_ leaf: UnsafeRawBufferPointer) {
        precondition(!isWhole && leaf.count <= Self.leafBytes)
        levels[0].append(Self.leaf(leaf))
    }

    /// All leaves are there: what is above them.
    public mutating func end() {
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

    /// How many leaves a value of so many bytes has.
    public static func leafCount(_ length: Int) -> Int { (length + leafBytes - 1) / leafBytes }
    /// Which bytes of the value a leaf is.
    public static func range(_ leaf: Int, _ length: Int) -> Range<Int> {
        leaf * leafBytes..<min((leaf + 1) * leafBytes, length)
    }

    /// How many leaves there are.
    public var leafCount: Int { levels[0].count }

    /// The root, once the tree is whole.
    public var root: Digest { Self.root(leafCount, length, levels.last?.first ?? SHA256.hash([])) }

    /// The neighbours on the way from a leaf to the top, lowest first.
    public func path(_ leaf: Int) -> [Digest] {
        var path: [Digest] = []
        var index = leaf
        for level in levels.dropLast() {
            if index ^ 1 < level.count { path.append(level[index ^ 1]) }
            index >>= 1
        }
        return path
    }

    private static let leafStart = Self.start(0), nodeStart = Self.start(1)

    private static func start(_ byte: UInt8) -> SHA256Hasher {
        var hasher = SHA256Hasher()
        hasher.update([byte])
        return hasher
    }

    private static func leaf(_ bytes: UnsafeRawBufferPointer) -> Digest {
        var hasher = leafStart
        hasher.update(bytes)
        return hasher.finish()
    }

    /// Whether a leaf with its neighbours on the way up, lowest first, is what the root of a value of that length says (RFC 9162, 2.1.3.2).
    public static func accepts(
        root: Digest, length: Int, leaf index: Int, bytes: UnsafeRawBufferPointer, path: [Digest]
    ) -> Bool {
        let count = leafCount(length)
        guard index >= 0, index < count, bytes.count == range(index, length).count else { return false }
        var hash = leaf(bytes)
        var at = index, last = count - 1
        for neighbour in path {
            if last == 0 { return false }
            if at & 1 == 1 || at == last {
                hash = node(neighbour, hash)
                while at & 1 == 0, at != 0 {
                    at >>= 1
                    last >>= 1
                }
            } else {
                hash = node(hash, neighbour)
            }
            at >>= 1
            last >>= 1
        }
        return last == 0 && root == self.root(count, length, hash)
    }

    private static func root(_ leaves: Int, _ length: Int, _ top: Digest) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update([2])
        for number in [leaves, length] {
            hasher.update((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
        }
        hasher.update(top)
        return hasher.finish()
    }

    private static func node(_ left: Digest, _ right: Digest) -> Digest {
        var hasher = nodeStart
        hasher.update(left)
        hasher.update(right)
        return hasher.finish()
    }
}
