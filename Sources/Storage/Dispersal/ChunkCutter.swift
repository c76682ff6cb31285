internal import Crypto

/// Cuts a stream into chunks where its content says so (a gear hash with two masks), or every so many bytes.
///
/// From the `least`-th byte on, `h = 2h + G[byte]` modulo 2^64. Before `usual` bytes a chunk ends where the highest bits of `h`, two more than
/// `usual` has, are zero, after that where two fewer are, and at the latest after `most`. `G[i]` is the first eight bytes of
/// SHA-256 of the secret and the byte `i`, so that who does not have the secret learns nothing from where cuts are.
public struct ChunkCutter: Sendable {
    private let gear: [UInt64]
    private let least: Int, usual: Int, most: Int
    private let strict: UInt64, easy: UInt64
    /// How far the chunk that begins the next buffer was looked at, and the hash there.
    private var scanned = 0
    private var hash: UInt64 = 0

    /// Cuts by content.
    public init(secret: [UInt8], least: Int, usual: Int, most: Int) {
        precondition(0 < least && least <= usual && usual <= most)
        (self.least, self.usual, self.most) = (least, usual, most)
        let bits = max(3, Int.bitWidth - usual.leadingZeroBitCount - 1)
        (strict, easy) = (1 << UInt64(64 - bits - 2), 1 << UInt64(64 - bits + 2))
        gear = (0..<256).map { byte in
            SHA256.hash(secret + [UInt8(byte)]).bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }
        }
    }

    /// Cuts every so many bytes.
    public init(fixed: Int) {
        precondition(fixed > 0)
        (least, usual, most, gear) = (fixed, fixed, fixed, [])
        (strict, easy) = (0, 0)
    }

    /// The length of the chunk at the start of `bytes`; nil where it does not end in them. At the end all that is left is one; nil for nothing.
    /// Between calls with nil, bytes may only be added behind.
    public mutating func next(_ bytes: UnsafeRawBufferPointer, isEnd: Bool) -> Int? {
        let end = min(bytes.count, most)
        if let cut = find(bytes, end) { return finish(cut) }
        if bytes.count >= most { return finish(most) }
        guard isEnd, !bytes.isEmpty else { return nil }
        return finish(bytes.count)
    }

    private mutating func finish(_ length: Int) -> Int {
        (scanned, hash) = (0, 0)
        return length
    }

    private mutating func find(_ bytes: UnsafeRawBufferPointer, _ end: Int) -> Int? {
        guard !gear.isEmpty, let base = bytes.baseAddress else { return nil }
        var at = max(scanned, least)
        guard at < end else { return nil }
        var hash = hash
        let found = gear.withUnsafeBufferPointer { gear -> Int? in
            guard let gear = gear.baseAddress else { return nil }
            for (limit, mark) in [(min(end, usual), strict), (end, easy)] {
                while at < limit {
                    hash = hash &<< 1 &+ gear[Int(base.load(fromByteOffset: at, as: UInt8.self))]
                    at += 1
                    if hash < mark { return at }
                }
            }
            return nil
        }
        if found == nil { (scanned, self.hash) = (at, hash) }
        return found
    }
}
