import Simulation

/// One record in an `.index` file: 32 bytes. `Documentation/formats/zero-db-log.md` is their meaning.
struct IndexEntry {
    static let bytes = 32
    /// Neither value nor tombstone: what it says stands in the record only.
    static let other: UInt8 = 8

    /// Sequence number and key length, as in a slot.
    var version: UInt64 = 0
    /// Offset, value length and flags, as in a slot.
    var sizes: UInt64 = 0
    var high: UInt64 = 0
    /// 40 bits of the hash, 24 bits of the namespace.
    var low: UInt64 = 0

    var sequence: UInt64 { version >> 8 }
    var offset: UInt64 { (sizes >> 32) << 3 }
    var flags: UInt8 { UInt8(truncatingIfNeeded: sizes) & 0x1f }
    var namespace: UInt32 { UInt32(truncatingIfNeeded: low >> 40) }
    var hash: KeyHash { KeyHash(high: high, low: low & 0xff_ffff_ffff) }
    var isOther: Bool { flags & IndexEntry.other != 0 }

    init() {}

    @inline(__always)
    init(_ record: RecordHeader, _ hash: KeyHash, _ offset: UInt64, damaged: Bool) {
        let isKey = record.type == RecordType.value || record.type == RecordType.tombstone
        let flags =
            (isKey ? 0 : IndexEntry.other) | (record.type == RecordType.tombstone ? Slot.tombstone : 0)
            | (damaged ? Slot.damaged : 0) | (record.extraLength == 0 ? 0 : Slot.extended)
        version = record.sequence << 8 | UInt64(record.keyLength)
        sizes = offset << 29 | UInt64(record.valueLength) << 5 | UInt64(flags)
        high = isKey ? hash.high : 0
        low = (isKey ? hash.low : 0) | UInt64(record.namespace) << 40
    }

    @inline(__always)
    init(_ at: UnsafeRawPointer) {
        version = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        sizes = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        high = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        low = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
    }

    @inline(__always)
    func store(_ to: UnsafeMutableRawPointer) {
        to.storeBytes(of: version.littleEndian, toByteOffset: 0, as: UInt64.self)
        to.storeBytes(of: sizes.littleEndian, toByteOffset: 8, as: UInt64.self)
        to.storeBytes(of: high.littleEndian, toByteOffset: 16, as: UInt64.self)
        to.storeBytes(of: low.littleEndian, toByteOffset: 24, as: UInt64.self)
    }

    /// The record's header as far as the index knows it.
    @inline(__always)
    var record: RecordHeader {
        var record = RecordHeader()
        record.type = flags & Slot.tombstone == 0 ? RecordType.value : RecordType.tombstone
        record.sequence = sequence
        record.keyLength = UInt8(truncatingIfNeeded: version)
        record.valueLength = UInt32(truncatingIfNeeded: sizes) >> 5
        record.namespace = namespace
        return record
    }
}

/// The first bytes of an `.index` file: the segment's header with another magic, and what was written of the segment.
struct IndexHeader {
    /// "ZERODBIX", read as a little-endian number.
    static let magic: UInt64 = 0x5849_4244_4f52_455a
    /// Where the first entry stands.
    static let blockBytes = 4096
    /// The segment has damaged places, which only the segment itself can tell.
    static let damaged: UInt32 = 1

    var segment: SegmentHeader
    var count: UInt64
    /// The segment's length when the index was ended; an index of another length says nothing.
    var length: UInt64
    /// The head checksum of the last record.
    var lastChecksum: UInt32
    var flags: UInt32

    /// Bytes of the whole file.
    var fileBytes: UInt64 { UInt64(Self.blockBytes) + count * UInt64(IndexEntry.bytes) + 4 }

    /// The 128 bytes.
    var bytes: [UInt8] {
        var block = Array(segment.block().prefix(Format.headerBytes))
        block.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            base.storeBytes(of: Self.magic.littleEndian, as: UInt64.self)
            base.storeBytes(of: count.littleEndian, toByteOffset: 104, as: UInt64.self)
            base.storeBytes(of: length.littleEndian, toByteOffset: 112, as: UInt64.self)
            base.storeBytes(of: lastChecksum.littleEndian, toByteOffset: 120, as: UInt32.self)
            base.storeBytes(of: flags.littleEndian, toByteOffset: 124, as: UInt32.self)
            base.storeBytes(of: SegmentHeader.checksum(base).littleEndian, toByteOffset: 12, as: UInt32.self)
        }
        return block
    }

    init(segment: SegmentHeader, count: UInt64, length: UInt64, lastChecksum: UInt32, flags: UInt32) {
        (self.segment, self.count, self.length) = (segment, count, length)
        (self.lastChecksum, self.flags) = (lastChecksum, flags)
    }

    /// Of 128 bytes; nil if they are not the header of an index, or of one of another version.
    init?(_ at: UnsafeRawPointer) {
        guard let segment = SegmentHeader(copy: at, magic: Self.magic), segment.version == Format.version,
            segment.requiredFeatures & ~Format.requiredFeaturesKnown == 0
        else { return nil }
        self.segment = segment
        count = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 104, as: UInt64.self))
        length = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 112, as: UInt64.self))
        lastChecksum = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 120, as: UInt32.self))
        flags = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 124, as: UInt32.self))
        guard count > 0, count <= 1 << 32 else { return nil }
    }

    /// Whether it is the index of this segment as it is now.
    func fits(_ header: SegmentHeader, length: UInt64) -> Bool {
        segment.device == header.device && segment.salt == header.salt && segment.number == header.number
            && segment.firstSequence == header.firstSequence && segment.created == header.created
            && segment.kind == header.kind && self.length == length
    }
}

/// The `.index` file of a segment while it grows. It is derived, so nothing waits for it and nothing syncs it: what a
/// crash leaves of it fails its checksum.
struct IndexWriter: ~Copyable {
    /// Entries that wait in memory.
    static let bufferEntries = 8192

    let disk: any Disk
    let header: SegmentHeader
    private var file: DiskFile?
    private var buffer: UnsafeMutableRawPointer
    private var capacity = 256
    /// Entries in the buffer.
    private var waiting = 0
    /// Entries in the file.
    private var stored = 0
    /// Entries that cannot be taken back any more.
    private var settled = 0
    /// Running CRC-32C of what is in the file.
    private var checksum: UInt32 = ~0
    /// Damage was found in the segment.
    var isDamaged = false
    /// There is no index of this segment: its header is damaged, or the disk refused.
    private(set) var hasFailed: Bool

    /// Of a segment that has no records yet, or whose records will all be added.
    init(disk: any Disk, header: SegmentHeader, isUseful: Bool = true) {
        (self.disk, self.header) = (disk, header)
        hasFailed = !isUseful
        buffer = .allocate(byteCount: capacity * IndexEntry.bytes, alignment: 16)
    }

    /// Of a segment whose ended index is continued.
    init(disk: any Disk, header: SegmentHeader, file: DiskFile, count: Int, checksum: UInt32) {
        self.init(disk: disk, header: header)
        (self.file, stored, settled, self.checksum) = (file, count, count, checksum)
    }

    deinit {
        if let file { disk.close(file) }
        buffer.deallocate()
    }

    /// Entries in all.
    var count: Int { stored + waiting }

    @inline(__always)
    mutating func add(_ entry: IndexEntry) {
        if hasFailed { return }
        if waiting == capacity { grow() }
        entry.store(buffer + waiting * IndexEntry.bytes)
        waiting += 1
    }

    private mutating func grow() {
        let larger = UnsafeMutableRawPointer.allocate(byteCount: 2 * capacity * IndexEntry.bytes, alignment: 16)
        larger.copyMemory(from: buffer, byteCount: waiting * IndexEntry.bytes)
        buffer.deallocate()
        buffer = larger
        capacity *= 2
    }

    /// What was added stays.
    @inline(__always)
    mutating func settle() {
        settled = count
        if waiting >= Self.bufferEntries { flush() }
    }

    /// What was added since the last `settle` never happened.
    mutating func revert() {
        waiting = max(0, settled - stored)
    }

    /// The last so many that were added since `settle` never happened.
    mutating func drop(_ count: Int) {
        waiting -= min(waiting, count)
    }

    private mutating func flush() {
        guard waiting > 0, !hasFailed else { return }
        do throws(DiskError) {
            let file = try opened()
            let start = UInt64(IndexHeader.blockBytes + stored * IndexEntry.bytes)
            let bytes = waiting * IndexEntry.bytes
            try disk.write(file, at: start, RawSpan(_unsafeStart: buffer, byteCount: bytes))
            checksum = Format.checksum(checksum, buffer, bytes)
            stored += waiting
            waiting = 0
        } catch {
            fail()
        }
    }

    private mutating func opened() throws(DiskError) -> DiskFile {
        if let file { return file }
        let name = Format.name(index: header.number)
        let made: DiskFile
        do throws(DiskError) { made = try disk.open(name, create: true) } catch .failed {
            made = try disk.open(name, create: false)
            try disk.truncate(made, length: 0)
        }
        file = made
        return made
    }

    /// Lack of space or a failing disk costs the index, never the log.
    private mutating func fail() {
        hasFailed = true
        if let file {
            disk.close(file)
            try? disk.remove(Format.name(index: header.number))
        }
        (file, stored, waiting, settled) = (nil, 0, 0, 0)
    }

    /// Ends the index of a segment of this length; more entries may still follow. False if there is none.
    mutating func end(_ segment: DiskFile, length: UInt64) -> Bool {
        guard count > 0 else { return false }
        flush()
        guard !hasFailed, let file else { return false }
        do throws(DiskError) {
            var sum: UInt32 = 0
            if let entry = try read(stored - 1) { try disk.read(segment, at: entry.offset, &sum, 4) }
            let header = IndexHeader(
                segment: header, count: UInt64(stored), length: length, lastChecksum: UInt32(littleEndian: sum),
                flags: isDamaged ? IndexHeader.damaged : 0)
            var end = (~checksum).littleEndian
            try disk.write(file, at: header.fileBytes - 4, RawSpan(_unsafeStart: &end, byteCount: 4))
            try disk.truncate(file, length: header.fileBytes)
            try disk.write(file, at: 0, header.bytes.span.bytes)
            return true
        } catch {
            fail()
            return false
        }
    }

    /// Where a record stands, by its sequence number.
    func find(_ sequence: UInt64) throws(DiskError) -> UInt64? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            guard let entry = try read(middle) else { return nil }
            if entry.sequence == sequence { return entry.offset }
            if entry.sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    private func read(_ index: Int) throws(DiskError) -> IndexEntry? {
        if index >= stored { return IndexEntry(buffer + (index - stored) * IndexEntry.bytes) }
        guard let file else { return nil }
        return try disk.entry(file, index)
    }
}

extension Disk {
    /// One entry of an `.index` file.
    func entry(_ file: DiskFile, _ index: Int) throws(DiskError) -> IndexEntry {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let offset = UInt64(IndexHeader.blockBytes + index * IndexEntry.bytes)
        try read(file, at: offset, &words, IndexEntry.bytes)
        return withUnsafeBytes(of: &words) { bytes in
            guard let base = bytes.baseAddress else { return IndexEntry() }
            return IndexEntry(base)
        }
    }
}
