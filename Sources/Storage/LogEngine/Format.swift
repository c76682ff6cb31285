import CISAL

/// Numbers of the log's format, version 1. `Documentation/formats/zero-db-log.md` is their meaning.
enum Format {
    /// "ZERODBLG", read as a little-endian number.
    static let segmentMagic: UInt64 = 0x474c_4244_4f52_455a
    static let version: UInt32 = 1
    /// Required features that this version knows.
    static let requiredFeaturesKnown: UInt64 = 0
    /// The first block of a segment: two copies of the header, the rest zero.
    static let headerBlockBytes = 4096
    static let headerCopyOffset = 2048
    static let headerBytes = 128
    /// "ZR", read as a little-endian number.
    static let recordMagic: UInt16 = 0x525a
    static let recordHeaderBytes = 64
    /// The most that a header, a key and extensions take.
    static let headBytesMax = 64 + 255 + 65535

    static func aligned(_ count: Int) -> Int { (count + 7) & ~7 }

    /// CRC-32C, as a running state that is not yet inverted.
    @inline(__always)
    static func checksum(_ state: UInt32, _ bytes: UnsafeRawPointer, _ count: Int) -> UInt32 {
        if count == 0 { return state }
        return crc32_iscsi(
            UnsafeMutablePointer(mutating: bytes.assumingMemoryBound(to: UInt8.self)), Int32(count), state)
    }

    /// CRC-32C of some bytes.
    @inline(__always)
    static func checksum(_ bytes: UnsafeRawPointer, _ count: Int) -> UInt32 { ~checksum(~0, bytes, count) }

    /// The name of a segment's file.
    static func name(segment number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits + ".segment"
    }

    /// The name of a segment's index.
    static func name(index number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits + ".index"
    }

    /// The number in an index's file name.
    static func number(index name: String) -> UInt64? {
        guard name.hasSuffix(".index") else { return nil }
        return number(segment: name.dropLast(6) + ".segment")
    }

    /// The number in a segment's file name.
    static func number(segment name: String) -> UInt64? {
        guard name.hasSuffix(".segment"), name.utf8.count == 24 else { return nil }
        let digits = name.prefix(16)
        guard digits.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else { return nil }
        return UInt64(digits, radix: 16)
    }
}

/// What a record is.
public enum RecordType {
    /// A key's new value.
    public static let value: UInt8 = 1
    /// A key's end; a member of its history.
    public static let tombstone: UInt8 = 2
    /// A namespace's name and all its settings.
    public static let namespace: UInt8 = 3
    /// A namespace's end, with everything in it.
    public static let namespaceEnd: UInt8 = 4
    /// Everything that a namespace held ended.
    public static let flush: UInt8 = 5
    /// Writers of a namespace below an epoch are refused from here on.
    public static let fence: UInt8 = 6
    /// Nothing but the watermark in its header.
    public static let mark: UInt8 = 7
    /// A process began to write; its sequence number may leave a gap.
    public static let open: UInt8 = 8
    /// A process stopped in order; nothing of it is missing.
    public static let close: UInt8 = 9
    /// Types from here on may be skipped by who does not know them.
    public static let firstOptional: UInt8 = 128
}

/// The first bytes of a segment.
struct SegmentHeader {
    static let kindLog: UInt32 = 1
    static let kindCompacted: UInt32 = 2

    var version = Format.version
    var requiredFeatures: UInt64 = 0
    var optionalFeatures: UInt64 = 0
    var device: (UInt64, UInt64) = (0, 0)
    var salt: UInt64 = 0
    var epoch: UInt64 = 1
    var number: UInt64 = 1
    var firstSequence: UInt64 = 1
    var created: UInt64 = 0
    var kind = kindLog
    /// The last sequence number before this segment; what is between it and `firstSequence` was never given.
    var previousSequence: UInt64 = 0

    /// The state of a record's checksum before its header: the device's salt is part of every record's checksum, so
    /// that no value can pretend to be a record.
    var checksumSeed: UInt32 {
        withUnsafeBytes(of: salt.littleEndian) { bytes in
            guard let base = bytes.baseAddress else { return ~0 }
            return Format.checksum(~0, base, 8)
        }
    }

    /// The whole block with both copies.
    func block() -> [UInt8] {
        var block = [UInt8](repeating: 0, count: Format.headerBlockBytes)
        block.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            store(base)
            store(base + Format.headerCopyOffset)
        }
        return block
    }

    private func store(_ to: UnsafeMutableRawPointer) {
        to.storeBytes(of: Format.segmentMagic.littleEndian, as: UInt64.self)
        to.storeBytes(of: version.littleEndian, toByteOffset: 8, as: UInt32.self)
        let words = [
            requiredFeatures, optionalFeatures, device.0, device.1, salt, epoch, number, firstSequence, created,
        ]
        for (index, word) in words.enumerated() {
            to.storeBytes(of: word.littleEndian, toByteOffset: 16 + 8 * index, as: UInt64.self)
        }
        to.storeBytes(of: kind.littleEndian, toByteOffset: 88, as: UInt32.self)
        to.storeBytes(of: UInt32(Format.headerBlockBytes).littleEndian, toByteOffset: 92, as: UInt32.self)
        to.storeBytes(of: previousSequence.littleEndian, toByteOffset: 96, as: UInt64.self)
        to.storeBytes(of: Self.checksum(to).littleEndian, toByteOffset: 12, as: UInt32.self)
    }

    static func checksum(_ at: UnsafeRawPointer) -> UInt32 {
        ~Format.checksum(Format.checksum(~0, at, 12), at + 16, Format.headerBytes - 16)
    }

    /// The first valid copy in a block.
    init?(block: [UInt8]) {
        self.init()
        let found = block.withUnsafeBytes { bytes -> SegmentHeader? in
            guard let base = bytes.baseAddress, bytes.count >= Format.headerBlockBytes else { return nil }
            return SegmentHeader(copy: base) ?? SegmentHeader(copy: base + Format.headerCopyOffset)
        }
        guard let found else { return nil }
        self = found
    }

    init() {}

    init?(copy at: UnsafeRawPointer, magic: UInt64 = Format.segmentMagic) {
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        func half(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        guard word(0) == magic, half(12) == Self.checksum(at) else { return nil }
        version = half(8)
        (requiredFeatures, optionalFeatures) = (word(16), word(24))
        device = (word(32), word(40))
        (salt, epoch, number, firstSequence, created) = (word(48), word(56), word(64), word(72), word(80))
        kind = half(88)
        previousSequence = word(96)
    }
}

/// The 64 bytes before a record's key.
struct RecordHeader {
    var headerChecksum: UInt32 = 0
    var valueChecksum: UInt32 = 0
    var type: UInt8 = 0
    var keyLength: UInt8 = 0
    var flags: UInt16 = 0
    var extraLength: UInt16 = 0
    var sequence: UInt64 = 0
    var previous: UInt64 = 0
    var time: UInt64 = 0
    var synced: UInt64 = 0
    var namespace: UInt32 = 0
    var batchRemaining: UInt32 = 0
    var valueLength: UInt32 = 0

    /// The flag of a namespace's end that wants its bytes overwritten. Readers may ignore it.
    static let wipes: UInt16 = 1 << 8
    /// The flag of a version that was written elsewhere first: its time is that one's. Readers may ignore it.
    static let isOriginalTime: UInt16 = 1 << 9

    init() {}

    /// Bytes before the value.
    var headBytes: Int { Format.recordHeaderBytes + Int(keyLength) + Int(extraLength) }
    /// Bytes in the log, padding included.
    var totalBytes: Int { Format.aligned(headBytes + Int(valueLength)) }

    /// Reads a header whose magic and sizes are possible; the checksum is not looked at.
    @inline(__always)
    init?(_ at: UnsafeRawPointer) {
        guard UInt16(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt16.self)) == Format.recordMagic else {
            return nil
        }
        headerChecksum = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
        valueChecksum = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        type = at.load(fromByteOffset: 10, as: UInt8.self)
        keyLength = at.load(fromByteOffset: 11, as: UInt8.self)
        flags = UInt16(littleEndian: at.loadUnaligned(fromByteOffset: 12, as: UInt16.self))
        extraLength = UInt16(littleEndian: at.loadUnaligned(fromByteOffset: 14, as: UInt16.self))
        sequence = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        previous = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
        time = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
        synced = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 40, as: UInt64.self))
        namespace = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 48, as: UInt32.self))
        batchRemaining = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 52, as: UInt32.self))
        valueLength = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 56, as: UInt32.self))
        guard type != 0, sequence != 0, Int(valueLength) <= LogLimits.formatValueBytesMax else { return nil }
    }

    /// Writes the header; key, extensions must already stand behind it, because its checksum covers them.
    @inline(__always)
    mutating func seal(_ to: UnsafeMutableRawPointer, seed: UInt32) {
        to.storeBytes(of: valueChecksum.littleEndian, toByteOffset: 4, as: UInt32.self)
        to.storeBytes(of: Format.recordMagic.littleEndian, toByteOffset: 8, as: UInt16.self)
        to.storeBytes(of: type, toByteOffset: 10, as: UInt8.self)
        to.storeBytes(of: keyLength, toByteOffset: 11, as: UInt8.self)
        to.storeBytes(of: flags.littleEndian, toByteOffset: 12, as: UInt16.self)
        to.storeBytes(of: extraLength.littleEndian, toByteOffset: 14, as: UInt16.self)
        to.storeBytes(of: sequence.littleEndian, toByteOffset: 16, as: UInt64.self)
        to.storeBytes(of: previous.littleEndian, toByteOffset: 24, as: UInt64.self)
        to.storeBytes(of: time.littleEndian, toByteOffset: 32, as: UInt64.self)
        to.storeBytes(of: synced.littleEndian, toByteOffset: 40, as: UInt64.self)
        to.storeBytes(of: namespace.littleEndian, toByteOffset: 48, as: UInt32.self)
        to.storeBytes(of: batchRemaining.littleEndian, toByteOffset: 52, as: UInt32.self)
        to.storeBytes(of: valueLength.littleEndian, toByteOffset: 56, as: UInt32.self)
        to.storeBytes(of: 0, toByteOffset: 60, as: UInt32.self)
        headerChecksum = Self.checksum(to, headBytes, seed)
        to.storeBytes(of: headerChecksum.littleEndian, as: UInt32.self)
    }

    /// The checksum over header, key and extensions.
    @inline(__always)
    static func checksum(_ at: UnsafeRawPointer, _ headBytes: Int, _ seed: UInt32) -> UInt32 {
        ~Format.checksum(seed, at + 4, headBytes - 4)
    }

    /// Whether header, key and extensions are what was written.
    @inline(__always)
    func isValid(_ at: UnsafeRawPointer, seed: UInt32) -> Bool { Self.checksum(at, headBytes, seed) == headerChecksum }
}
