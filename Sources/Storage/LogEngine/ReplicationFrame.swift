/// What a master sends to a replica: 40 bytes, then the payload. `Documentation/formats/zero-db-replication.md` has
/// the bytes.
struct ReplicationFrame {
    enum Kind {
        /// A segment begins: the payload is its first block.
        static let begin: UInt8 = 1
        /// Bytes of the segment that was begun, at its end.
        static let bytes: UInt8 = 2
        /// The segment takes no more bytes; `offset` is its length.
        static let seal: UInt8 = 3
        /// Where the master is, and when; sent behind everything that it tells of.
        static let position: UInt8 = 4
        /// A whole segment that counts for nothing yet: its first block, its bytes, its end.
        static let stageBegin: UInt8 = 5
        static let stageBytes: UInt8 = 6
        static let stageEnd: UInt8 = 7
        /// Segments that were staged take the place of others.
        static let replace: UInt8 = 8
    }

    static let headerBytes = 40
    /// Bytes of a segment in one frame: large enough that frames cost nothing, small enough that a replica's buffer
    /// holds some.
    static let payloadBytesMax = 256 << 10
    static let positionBytes = 40
    static let sealBytes = 24
    static let replaceHeaderBytes = 16
    static let replaceEntryBytes = 48

    var kind: UInt8 = 0
    var payloadLength = 0
    var payloadChecksum: UInt32 = 0
    var segment: UInt64 = 0
    var offset: UInt64 = 0
    /// The master's last sequence number when the frame was made.
    var sequence: UInt64 = 0

    init() {}

    /// Reads 40 bytes; nil if they are no frame.
    init?(_ at: UnsafeRawPointer) {
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        func half(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        guard half(0) == Format.checksum(at + 4, Self.headerBytes - 4) else { return nil }
        payloadChecksum = half(4)
        kind = at.load(fromByteOffset: 8, as: UInt8.self)
        payloadLength = Int(half(12))
        (segment, offset, sequence) = (word(16), word(24), word(32))
        guard payloadLength <= Self.payloadBytesMax else { return nil }
    }

    /// Writes the header before a payload that already stands behind it.
    mutating func store(_ to: UnsafeMutableRawPointer) {
        payloadChecksum = Format.checksum(to + Self.headerBytes, payloadLength)
        to.storeBytes(of: payloadChecksum.littleEndian, toByteOffset: 4, as: UInt32.self)
        to.storeBytes(of: UInt32(kind).littleEndian, toByteOffset: 8, as: UInt32.self)
        to.storeBytes(of: UInt32(payloadLength).littleEndian, toByteOffset: 12, as: UInt32.self)
        to.storeBytes(of: segment.littleEndian, toByteOffset: 16, as: UInt64.self)
        to.storeBytes(of: offset.littleEndian, toByteOffset: 24, as: UInt64.self)
        to.storeBytes(of: sequence.littleEndian, toByteOffset: 32, as: UInt64.self)
        to.storeBytes(of: Format.checksum(to + 4, Self.headerBytes - 4).littleEndian, as: UInt32.self)
    }

    func isIntact(_ payload: UnsafeRawPointer) -> Bool {
        Format.checksum(payload, payloadLength) == payloadChecksum
    }
}

/// A place in the log.
public struct LogPosition: Hashable, Comparable, Sendable {
    /// The segment's number.
    public var segment: UInt64
    /// An offset in it.
    public var offset: UInt64

    /// A place.
    public init(segment: UInt64, offset: UInt64) { (self.segment, self.offset) = (segment, offset) }

    /// Earlier in the log.
    public static func < (a: LogPosition, b: LogPosition) -> Bool { (a.segment, a.offset) < (b.segment, b.offset) }
}

/// What a replica says of one of its segments when it asks for what it lacks; 48 bytes on the wire.
public struct SegmentSummary: Hashable, Sendable {
    static let encodedBytes = 48

    var number: UInt64 = 0
    /// Bytes up to the end of its last record.
    var length: UInt64 = 0
    var epoch: UInt64 = 0
    /// The checksum in its header, which covers device, number, epoch and when it was made.
    var headerChecksum: UInt32 = 0
    /// CRC-32C of up to 64 KiB before `length`; only of the last two segments, 0 of others.
    var fingerprint: UInt32 = 0
    var kind: UInt32 = 0
    /// The last sequence number that it stands for; of the last segment the last that it holds.
    var last: UInt64 = 0

    /// Summaries as they are sent.
    public static func encode(_ summaries: [SegmentSummary]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(summaries.count * encodedBytes)
        func put(_ value: UInt64, _ count: Int) {
            for shift in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
        }
        for summary in summaries {
            put(summary.number, 8)
            put(summary.length, 8)
            put(summary.epoch, 8)
            put(UInt64(summary.headerChecksum), 4)
            put(UInt64(summary.fingerprint), 4)
            put(UInt64(summary.kind), 8)
            put(summary.last, 8)
        }
        return bytes
    }

    /// Summaries as they were received; nil if the bytes are none.
    public static func decode(_ bytes: UnsafeRawBufferPointer) -> [SegmentSummary]? {
        guard bytes.count % encodedBytes == 0 else { return nil }
        return stride(from: 0, to: bytes.count, by: encodedBytes).map { at in
            func word(_ offset: Int) -> UInt64 {
                UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at + offset, as: UInt64.self))
            }
            var summary = SegmentSummary()
            (summary.number, summary.length, summary.epoch) = (word(0), word(8), word(16))
            summary.headerChecksum = UInt32(truncatingIfNeeded: word(24))
            summary.fingerprint = UInt32(truncatingIfNeeded: word(24) >> 32)
            (summary.kind, summary.last) = (UInt32(truncatingIfNeeded: word(32)), word(40))
            return summary
        }
    }
}
