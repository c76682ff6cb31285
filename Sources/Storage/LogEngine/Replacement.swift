import Simulation

/// Segments that take the place of others in a replica's log, as its master's compaction made them.
struct Replacement: Hashable {
    /// What is left out was decided on records up to this one.
    var decided: UInt64
    /// Neighbours in the order of the log.
    var removed: [UInt64]
    var added: [Manifest.Entry]
}

extension Replacement {
    /// decided u64, removed u32, added u32; a u64 for each removed; for each added number, first, last, length, kind
    /// u32, checksum u32, and whether the checksum is known u64.
    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        func put(_ value: UInt64, _ count: Int) {
            for shift in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
        }
        put(decided, 8)
        put(UInt64(removed.count), 4)
        put(UInt64(added.count), 4)
        for number in removed { put(number, 8) }
        for entry in added {
            for word in [entry.number, entry.first, entry.last, entry.length] { put(word, 8) }
            put(UInt64(entry.kind), 4)
            put(UInt64(entry.checksum ?? 0), 4)
            put(entry.checksum == nil ? 0 : 1, 8)
        }
        return bytes
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        let header = ReplicationFrame.replaceHeaderBytes
        let size = ReplicationFrame.replaceEntryBytes
        guard bytes.count >= header else { return nil }
        let counts = (Int(word(8) & 0xffff_ffff), Int(word(8) >> 32))
        guard bytes.count == header + 8 * counts.0 + size * counts.1, counts.0 + counts.1 > 0 else { return nil }
        decided = word(0)
        removed = (0..<counts.0).map { word(header + 8 * $0) }
        added = (0..<counts.1).map { index in
            let at = header + 8 * counts.0 + size * index
            var entry = Manifest.Entry(
                number: word(at), kind: UInt32(truncatingIfNeeded: word(at + 32)), first: word(at + 8),
                last: word(at + 16), length: word(at + 24))
            if word(at + 40) == 1 { entry.checksum = UInt32(truncatingIfNeeded: word(at + 32) >> 32) }
            return entry
        }
    }
}

/// A segment that a replica receives as a whole; it counts only when a replacement says so.
struct StagedSegment {
    var header: SegmentHeader
    var file: DiskFile
    var length: UInt64
    var syncedLength: UInt64 = 0
    var checksum: UInt32
    /// All of it is here, and on stable storage.
    var isWhole = false
}

/// What a replica does about its master's compactions.
///
/// Until the change of the manifest nothing has happened. Behind it slots are led to the new places in slices, and only
/// then the former segments go.
struct Replacements {
    enum Phase { case idle, verifying, publishing, moving, purging }

    var staged: [StagedSegment] = []
    var queue: [Replacement] = []
    var phase = Phase.idle
    /// Which of the added, or removed, segments is read.
    var index = 0
    var walker: CompactionWalker?
    /// Bytes by namespace of each added segment.
    var usage: [[UInt32: UInt64]] = []
    var removed: [Int] = []
    var added: [Int] = []
    var movesTables = false
    /// Why the connection to the master has to end.
    var failure: String?
    var done: UInt64 = 0
}
