/// Where the current version of one key lies: 32 bytes, four words. A slot whose sequence is 0 is empty, and is all zeros.
struct Slot {
    static let tombstone: UInt8 = 1
    static let damaged: UInt8 = 2
    /// The record has extensions: how long its head is stands in the record only.
    static let extended: UInt8 = 4

    /// The complement of the hash's high half: an empty slot then sorts behind every key.
    fileprivate(set) var inverse: UInt64 = 0
    /// 40 bits of the hash's low half, 24 bits of the segment's position.
    private var place: UInt64 = 0
    /// 56 bits of sequence number, 8 bits of key length.
    private var version: UInt64 = 0
    /// 32 bits of the offset in units of 8 bytes, 27 bits of value length, 5 bits of flags.
    private var sizes: UInt64 = 0

    init() {}

    init(
        hash: KeyHash, sequence: UInt64, segment: Int, offset: UInt64, valueLength: UInt32, keyLength: UInt8,
        flags: UInt8
    ) {
        inverse = ~hash.high
        place = hash.low << 24 | UInt64(truncatingIfNeeded: segment)
        version = sequence << 8 | UInt64(keyLength)
        sizes = offset << 29 | UInt64(valueLength) << 5 | UInt64(flags)
    }

    @inline(__always)
    var isEmpty: Bool { version == 0 }
    @inline(__always)
    var high: UInt64 { ~inverse }
    @inline(__always)
    var low: UInt64 { place >> 24 }
    var hash: KeyHash { KeyHash(high: high, low: low) }
    @inline(__always)
    var sequence: UInt64 {
        get { version >> 8 }
        set { version = newValue << 8 | version & 0xff }
    }
    @inline(__always)
    var keyLength: UInt8 { UInt8(truncatingIfNeeded: version) }
    /// Position in the engine's table of segments.
    @inline(__always)
    var segment: Int {
        get { Int(place & 0xff_ffff) }
        set { place = place & ~0xff_ffff | UInt64(truncatingIfNeeded: newValue) & 0xff_ffff }
    }
    /// Where the record begins in the segment.
    @inline(__always)
    var offset: UInt64 {
        get { (sizes >> 32) << 3 }
        set { sizes = sizes & 0xffff_ffff | newValue << 29 }
    }
    @inline(__always)
    var valueLength: UInt32 { UInt32(truncatingIfNeeded: sizes) >> 5 }
    @inline(__always)
    var flags: UInt8 {
        get { UInt8(truncatingIfNeeded: sizes) & 0x1f }
        set { sizes = sizes & ~0x1f | UInt64(newValue & 0x1f) }
    }
    @inline(__always)
    var isTombstone: Bool { flags & Slot.tombstone != 0 }
    @inline(__always)
    var isDamaged: Bool { flags & Slot.damaged != 0 }
    /// Whether the head's length is known only to the record itself.
    @inline(__always)
    var isExtended: Bool { flags & Slot.extended != 0 }
    /// Bytes before the value, of a record without extensions.
    @inline(__always)
    var headBytes: Int { Format.recordHeaderBytes + Int(keyLength) }
    /// What the key counts towards a quota.
    @inline(__always)
    var payloadBytes: UInt64 { isTombstone ? 0 : UInt64(valueLength) + UInt64(keyLength) }

    /// Whether the slot is this key's.
    @inline(__always)
    func holds(_ inverse: UInt64, _ low: UInt64) -> Bool { self.inverse == inverse && self.low == low && !isEmpty }
}
