import Simulation

/// The file `checkpoint`: the index as it is in memory, and of which log it is the index. Derived and never synced; what
/// a crash leaves of it fails its checksums. `Documentation/formats/zero-db-log.md` is its meaning.
struct CheckpointHeader {
    static let name = "checkpoint"
    /// "ZERODBCP", read as a little-endian number.
    static let magic: UInt64 = 0x5043_4244_4f52_455a
    static let version: UInt32 = 1
    /// Where the first section stands.
    static let blockBytes = 4096
    private static let sectionsOffset = 128
    private static let sectionBytes = 24
    private static let sectionsMax = (blockBytes - sectionsOffset) / sectionBytes

    /// What a section holds. Who meets another tag does not use the file.
    enum Tag: UInt32, CaseIterable {
        /// The device's state and its segments.
        case log = 1
        case namespaces = 2
        /// Tables of namespaces whose keys are hashed.
        case hashed = 3
        /// Nodes of ordered namespaces.
        case ordered = 4
        /// Who uses how much of each segment.
        case space = 5
    }

    struct Section {
        var tag: UInt32
        var checksum: UInt32
        var offset: UInt64
        var length: UInt64
    }

    var device: (UInt64, UInt64)
    var salt: UInt64
    /// Everything up to this sequence number is in the index.
    var sequence: UInt64
    var sections: [Section] = []

    /// Bytes of the whole file.
    var fileBytes: UInt64 { sections.last.map { $0.offset + $0.length } ?? UInt64(Self.blockBytes) }

    init(_ segment: SegmentHeader, sequence: UInt64) {
        (device, salt, self.sequence) = (segment.device, segment.salt, sequence)
    }

    /// The first block of the file.
    var block: [UInt8] {
        var block = [UInt8](repeating: 0, count: Self.blockBytes)
        block.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            let words = [
                Self.magic, UInt64(Self.version), 0, device.0, device.1, salt, sequence, UInt64(sections.count),
            ]
            for (index, word) in words.enumerated() {
                base.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
            }
            for (index, section) in sections.enumerated() {
                let at = base + Self.sectionsOffset + index * Self.sectionBytes
                at.storeBytes(of: section.tag.littleEndian, as: UInt32.self)
                at.storeBytes(of: section.checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
                at.storeBytes(of: section.offset.littleEndian, toByteOffset: 8, as: UInt64.self)
                at.storeBytes(of: section.length.littleEndian, toByteOffset: 16, as: UInt64.self)
            }
            base.storeBytes(of: Self.checksum(base).littleEndian, toByteOffset: 12, as: UInt32.self)
        }
        return block
    }

    /// Of the first block; nil if it is not one that this version can use, with all sections one behind the other.
    init?(_ at: UnsafeRawPointer) {
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        guard word(0) == Self.magic, UInt32(truncatingIfNeeded: word(8)) == Self.version, word(16) == 0,
            UInt32(truncatingIfNeeded: word(8) >> 32) == Self.checksum(at), word(56) <= UInt64(Self.sectionsMax)
        else { return nil }
        (device, salt, sequence) = ((word(24), word(32)), word(40), word(48))
        var end = UInt64(Self.blockBytes)
        for index in 0..<Int(word(56)) {
            let start = Self.sectionsOffset + index * Self.sectionBytes
            let first = word(start)
            let section = Section(
                tag: UInt32(truncatingIfNeeded: first), checksum: UInt32(truncatingIfNeeded: first >> 32),
                offset: word(start + 8), length: word(start + 16))
            guard Tag(rawValue: section.tag) != nil, section.offset == end, section.length < 1 << 56 else { return nil }
            end += section.length
            sections.append(section)
        }
        // Each of them, once.
        guard sections.map(\.tag) == Tag.allCases.map(\.rawValue) else { return nil }
    }

    private static func checksum(_ at: UnsafeRawPointer) -> UInt32 {
        ~Format.checksum(Format.checksum(~0, at, 12), at + 16, blockBytes - 16)
    }
}

/// Writes a checkpoint's sections in large pieces, and the header when all of them are there.
struct CheckpointWriter: ~Copyable {
    /// More than any table of an index has.
    static let pieceBytesMax = 256 << 10
    private static let bufferBytes = 1 << 20

    private let disk: any Disk
    private let file: DiskFile
    private let buffer: UnsafeMutableRawPointer
    private var waiting = 0
    private var checksum: UInt32 = ~0
    /// Where what waits belongs.
    private var position = UInt64(CheckpointHeader.blockBytes)
    private var sectionStart = UInt64(CheckpointHeader.blockBytes)
    private var header: CheckpointHeader

    init(_ disk: any Disk, _ file: DiskFile, _ header: CheckpointHeader) throws(DiskError) {
        (self.disk, self.file, self.header) = (disk, file, header)
        buffer = .allocate(byteCount: Self.bufferBytes, alignment: 4096)
        // What stood there is not a checkpoint any more.
        try disk.write(file, at: 0, [UInt8](repeating: 0, count: CheckpointHeader.blockBytes).span.bytes)
    }

    deinit { buffer.deallocate() }

    /// Where so many more bytes are to be put, which have to be there before the next call.
    mutating func room(_ count: Int) throws(DiskError) -> UnsafeMutableRawPointer {
        precondition(count <= Self.pieceBytesMax)
        if waiting + count > Self.bufferBytes { try flush() }
        defer { waiting += count }
        return buffer + waiting
    }

    mutating func add(_ words: [UInt64]) throws(DiskError) {
        for word in words {
            try room(8).storeBytes(of: word.littleEndian, as: UInt64.self)
        }
    }

    mutating func add(_ bytes: [UInt8]) throws(DiskError) {
        for byte in bytes { try room(1).storeBytes(of: byte, as: UInt8.self) }
    }

    private mutating func flush() throws(DiskError) {
        guard waiting > 0 else { return }
        checksum = Format.checksum(checksum, buffer, waiting)
        try disk.write(file, at: position, RawSpan(_unsafeStart: buffer, byteCount: waiting))
        position += UInt64(waiting)
        waiting = 0
    }

    /// Ends a section; the next one begins.
    mutating func end(_ tag: CheckpointHeader.Tag) throws(DiskError) {
        try flush()
        header.sections.append(
            .init(tag: tag.rawValue, checksum: ~checksum, offset: sectionStart, length: position - sectionStart))
        (sectionStart, checksum) = (position, ~0)
    }

    /// Ends the file; returns its length.
    mutating func finish() throws(DiskError) -> UInt64 {
        try disk.truncate(file, length: header.fileBytes)
        try disk.write(file, at: 0, header.block.span.bytes)
        return header.fileBytes
    }
}

/// Reads one section of a checkpoint from its beginning to its end. What was read may be believed only when `end` said
/// so; anything that cannot be right is thrown as a file that is too short.
struct CheckpointReader: ~Copyable {
    private let disk: any Disk
    private let file: DiskFile
    private let section: CheckpointHeader.Section
    private var position: UInt64
    private var checksum: UInt32 = ~0

    init(_ disk: any Disk, _ file: DiskFile, _ section: CheckpointHeader.Section) {
        (self.disk, self.file, self.section) = (disk, file, section)
        position = section.offset
    }

    /// Bytes that are left.
    var left: UInt64 { section.offset + section.length - position }

    mutating func read(_ to: UnsafeMutableRawPointer, _ count: Int) throws(DiskError) {
        guard UInt64(count) <= left else { throw .short }
        if count == 0 { return }
        try disk.read(file, at: position, to, count)
        checksum = Format.checksum(checksum, to, count)
        position += UInt64(count)
    }

    /// Numbers, as many as are wanted.
    mutating func words(_ count: Int) throws(DiskError) -> [UInt64] {
        guard count >= 0, UInt64(count) <= left / 8 else { throw .short }
        var failure: DiskError?
        var words = [UInt64](repeating: 0, count: count)
        words.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(DiskError) { try read(base, bytes.count) } catch { failure = error }
        }
        if let failure { throw failure }
        for index in words.indices { words[index] = UInt64(littleEndian: words[index]) }
        return words
    }

    mutating func bytes(_ count: Int) throws(DiskError) -> [UInt8] {
        guard count >= 0, UInt64(count) <= left else { throw .short }
        var failure: DiskError?
        var found = [UInt8](repeating: 0, count: count)
        found.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(DiskError) { try read(base, bytes.count) } catch { failure = error }
        }
        if let failure { throw failure }
        return found
    }

    /// The end of the section: all of it was read, and it is what was written.
    func end() throws(DiskError) {
        guard left == 0, ~checksum == section.checksum else { throw .short }
    }
}

/// How slots are written: their segments by the order of the log, which is how the next process numbers them, and
/// without what reads found out, which the next process finds out itself.
struct SlotPlaces {
    /// The next process' position of each position of this one, -1 where there is none; nil where they are the same.
    private let map: [Int]?

    init(_ order: [Int], count: Int) {
        if order.count == count, order.indices.allSatisfy({ order[$0] == $0 }) {
            map = nil
            return
        }
        var map = [Int](repeating: -1, count: count)
        for (index, position) in order.enumerated() { map[position] = index }
        self.map = map
    }

    /// False if the slot names a segment that does not count any more.
    @inline(__always)
    func place(_ slot: inout Slot) -> Bool {
        slot.flags &= ~Slot.damaged
        guard let map else { return true }
        let position = map[slot.segment]
        slot.segment = max(0, position)
        return position >= 0
    }
}

/// What slots of a checkpoint may say.
struct SlotBounds {
    let segments: Int
    let sequence: UInt64

    @inline(__always)
    func contain(_ slot: Slot) -> Bool { slot.segment < segments && slot.sequence <= sequence }
}
