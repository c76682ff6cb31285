import Simulation

/// 104 bits of SipHash-2-4 with 128 bits of output: what the index knows of a key. It is keyed by the device, so that
/// nobody who writes keys can make two of them meet; a read compares the key itself all the same.
struct KeyHash: Hashable {
    let high: UInt64
    /// The low half's highest 40 bits, as a number.
    let low: UInt64
}

/// The key of the hash.
struct KeyHasher {
    let k0: UInt64
    let k1: UInt64

    init(_ k0: UInt64, _ k1: UInt64) { (self.k0, self.k1) = (k0, k1) }

    /// The hash of a device's keys.
    init(of header: SegmentHeader) {
        var derive = SplitMix64(seed: header.salt)
        self.init(derive.next() ^ header.device.0, derive.next() ^ header.device.1)
    }

    @inline(__always)
    private static func round(_ v0: inout UInt64, _ v1: inout UInt64, _ v2: inout UInt64, _ v3: inout UInt64) {
        v0 &+= v1
        v1 = (v1 << 13) | (v1 >> 51)
        v1 ^= v0
        v0 = (v0 << 32) | (v0 >> 32)
        v2 &+= v3
        v3 = (v3 << 16) | (v3 >> 48)
        v3 ^= v2
        v0 &+= v3
        v3 = (v3 << 21) | (v3 >> 43)
        v3 ^= v0
        v2 &+= v1
        v1 = (v1 << 17) | (v1 >> 47)
        v1 ^= v2
        v2 = (v2 << 32) | (v2 >> 32)
    }

    func hash(_ key: UnsafeRawBufferPointer) -> KeyHash {
        let whole = output(key)
        return KeyHash(high: whole.0, low: whole.1 >> 24)
    }

    /// All 128 bits.
    @inline(__always)
    func output(_ key: UnsafeRawBufferPointer) -> (UInt64, UInt64) {
        var v0 = k0 ^ 0x736f_6d65_7073_6575
        var v1 = k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee
        var v2 = k0 ^ 0x6c79_6765_6e65_7261
        var v3 = k1 ^ 0x7465_6462_7974_6573
        let count = key.count
        var offset = 0
        while offset + 8 <= count {
            let word = UInt64(littleEndian: key.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            v3 ^= word
            Self.round(&v0, &v1, &v2, &v3)
            Self.round(&v0, &v1, &v2, &v3)
            v0 ^= word
            offset += 8
        }
        var last = UInt64(UInt8(truncatingIfNeeded: count)) << 56
        var shift: UInt64 = 0
        while offset < count {
            last |= UInt64(key[offset]) << shift
            shift += 8
            offset += 1
        }
        v3 ^= last
        Self.round(&v0, &v1, &v2, &v3)
        Self.round(&v0, &v1, &v2, &v3)
        v0 ^= last
        v2 ^= 0xee
        for _ in 0..<4 { Self.round(&v0, &v1, &v2, &v3) }
        let first = v0 ^ v1 ^ v2 ^ v3
        v1 ^= 0xdd
        for _ in 0..<4 { Self.round(&v0, &v1, &v2, &v3) }
        return (first, v0 ^ v1 ^ v2 ^ v3)
    }
}
