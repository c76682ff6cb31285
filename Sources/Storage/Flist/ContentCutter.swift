import Crypto

/// Cuts a stream of bytes where its content says so (FastCDC with a gear hash), so that a change moves only near cuts.
///
/// From the 65,536th byte of a chunk on, `h = 2h + G[byte]` modulo 2^64. Before 262,144 bytes the chunk ends after a byte
/// where the 20 highest bits of `h` are zero, after that where the 16 highest are, and at the latest after 1,048,576. `G[i]`
/// is the first eight bytes, least significant first, of SHA-256 of `zero/flist/gear/1` and the byte `i`.
public struct ContentCutter: Sendable {
    /// The least size of a chunk that is not the last.
    public static let least = 65_536
    /// Where cuts become likelier.
    public static let usual = 262_144
    /// The greatest size of a chunk.
    public static let most = FlistLimits.chunkBytes

    private static let gear: [UInt64] = (0..<256).map { index in
        let seed = Array("zero/flist/gear/1".utf8) + [UInt8(index)]
        return SHA256.hash(seed).bytes[..<8].enumerated().reduce(0) { $0 | UInt64($1.element) << UInt64(8 * $1.offset) }
    }
    /// Below these limits the 20 and the 16 highest bits are zero.
    private static let strict: UInt64 = 1 << 44
    private static let easy: UInt64 = 1 << 48

    private var held: [UInt8] = []

    /// A cutter at the start of a file.
    public init() {}

    /// Adds bytes and hands out each chunk that is complete.
    public mutating func add<Failure: Error>(
        _ bytes: UnsafeRawBufferPointer, _ emit: ([UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        held.append(contentsOf: bytes)
        guard held.count >= 2 * Self.most else { return }
        try cut(keeping: Self.most, emit)
    }

    /// Hands out the rest; the cutter is then at the start of another file.
    public mutating func finish<Failure: Error>(_ emit: ([UInt8]) throws(Failure) -> Void) throws(Failure) {
        try cut(keeping: 0, emit)
        held.removeAll(keepingCapacity: true)
    }

    private mutating func cut<Failure: Error>(
        keeping: Int, _ emit: ([UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        var start = 0
        while held.count - start > keeping {
            let length = held.withUnsafeBufferPointer { Self.length($0, from: start) }
            // A copy of just these bytes: an array of all of `held` would share its memory, with all its room.
            try emit(held.withUnsafeBufferPointer { Array(UnsafeBufferPointer(rebasing: $0[start..<start + length])) })
            start += length
        }
        held.removeSubrange(..<start)
    }

    /// The length of the chunk that starts at `start`; what follows must be at least `most` bytes or all that there is.
    static func length(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        let available = min(bytes.count - start, most)
        guard available > least else { return available }
        return gear.withUnsafeBufferPointer { gear in
            var hash: UInt64 = 0
            var index = start + least
            if find(bytes, &index, until: start + min(available, usual), gear, &hash, below: strict)
                || find(bytes, &index, until: start + available, gear, &hash, below: easy)
            {
                return index - start
            }
            return available
        }
    }

    /// Moves `index` behind the first byte after which `hash` is below a limit; false when none is before `end`. Four bytes
    /// a turn: this loop sees most bytes of an import.
    @inline(__always)
    private static func find(
        _ bytes: UnsafeBufferPointer<UInt8>, _ index: inout Int, until end: Int, _ gear: UnsafeBufferPointer<UInt64>,
        _ hash: inout UInt64, below limit: UInt64
    ) -> Bool {
        while index &+ 4 <= end {
            let first = hash &+ hash &+ gear[Int(bytes[index])]
            if first < limit { return found(&index, 1) }
            let second = first &+ first &+ gear[Int(bytes[index &+ 1])]
            if second < limit { return found(&index, 2) }
            let third = second &+ second &+ gear[Int(bytes[index &+ 2])]
            if third < limit { return found(&index, 3) }
            hash = third &+ third &+ gear[Int(bytes[index &+ 3])]
            if hash < limit { return found(&index, 4) }
            index &+= 4
        }
        while index < end {
            hash = hash &+ hash &+ gear[Int(bytes[index])]
            index &+= 1
            if hash < limit { return true }
        }
        return false
    }

    @inline(__always)
    private static func found(_ index: inout Int, _ count: Int) -> Bool {
        index &+= count
        return true
    }
}
