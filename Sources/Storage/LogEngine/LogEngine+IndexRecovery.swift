import Simulation

extension LogEngine {
    /// Applies a segment's records as its `.index` names them; false if there is none that can be relied on, and then
    /// nothing was applied. Records that are neither values nor tombstones are read from the segment.
    mutating func replayIndex(_ position: Int, _ header: SegmentHeader, isLast: Bool) throws(LogError) -> Bool {
        let segment = segments[position]
        if isLast, segment.length <= UInt64(options.scannedBytes) { return false }
        let file: DiskFile
        do throws(DiskError) { file = try disk.open(Format.name(index: segment.number), create: false) } catch {
            if error == .crashed { throw .disk(error) }
            return false
        }
        var isKept = false
        defer { if !isKept { disk.close(file) } }
        guard let (index, last, others, state) = try checkedIndex(file, segment, header),
            // Only behind `close` is everything in the log's end for certain on stable storage.
            !isLast || last.type == RecordType.close,
            try applyWhole(file, index, position, last, others)
        else { return false }
        if isLast {
            isKept = true
            unsettled = segment.length - UInt64(last.totalBytes)
            indexWriter = IndexWriter(
                disk: disk, header: header, file: file, count: Int(index.count), checksum: state)
        }
        segments[position].index = .verified
        return true
    }

    /// All of an index that fits the segment and is whole.
    private mutating func checkedIndex(
        _ file: DiskFile, _ segment: Segment, _ header: SegmentHeader
    ) throws(LogError) -> (index: IndexHeader, last: RecordHeader, others: [[UInt8]], state: UInt32)? {
        do throws(DiskError) {
            guard let index = try readIndexHeader(file), index.fits(header, length: segment.length),
                index.flags & IndexHeader.damaged == 0, try disk.length(file) == index.fileBytes,
                let last = try lastRecord(index, segment, file), let checked = try checkIndex(file, index, segment)
            else { return nil }
            return (index, last, checked.others, checked.state)
        } catch {
            if error == .crashed { throw .disk(error) }
            return nil
        }
    }

    private func readIndexHeader(_ file: DiskFile) throws(DiskError) -> IndexHeader? {
        let block = UnsafeMutableRawPointer.allocate(byteCount: Format.headerBytes, alignment: 16)
        defer { block.deallocate() }
        try disk.read(file, at: 0, block, Format.headerBytes)
        return IndexHeader(block)
    }

    /// The segment's last record, if it is the one that the index ended with.
    private mutating func lastRecord(
        _ index: IndexHeader, _ segment: Segment, _ file: DiskFile
    ) throws(DiskError) -> RecordHeader? {
        let entry = try disk.entry(file, Int(index.count) - 1)
        guard let header = try readHead(segment, entry.offset), header.sequence == entry.sequence,
            header.headerChecksum == index.lastChecksum,
            entry.offset + UInt64(header.totalBytes) == segment.length
        else { return nil }
        return header
    }

    /// A record's header, with all of its head in `scratch`; nil if it is not good.
    mutating func readHead(_ segment: Segment, _ offset: UInt64) throws(DiskError) -> RecordHeader? {
        guard offset >= UInt64(Format.headerBlockBytes),
            offset + UInt64(Format.recordHeaderBytes) <= segment.length
        else { return nil }
        try disk.read(segment.file, at: offset, scratch, Format.recordHeaderBytes)
        guard let header = RecordHeader(scratch), offset + UInt64(header.totalBytes) <= segment.length else {
            return nil
        }
        if header.headBytes > Format.recordHeaderBytes {
            try disk.read(segment.file, at: offset, scratch, header.headBytes)
        }
        return header.isValid(scratch, seed: seed) ? header : nil
    }

    /// Reads all entries before one is believed: the checksum, their order, and the records that the index does not
    /// describe. Returns those, and the state of the checksum.
    private mutating func checkIndex(
        _ file: DiskFile, _ index: IndexHeader, _ segment: Segment
    ) throws(DiskError) -> (others: [[UInt8]], state: UInt32)? {
        guard try indexChecksum(file, Int(index.count)) else { return nil }
        var end: UInt32 = 0
        try disk.read(file, at: index.fileBytes - 4, &end, 4)
        var others: [[UInt8]] = []
        var reader = IndexReader(disk: disk, file: file, count: Int(index.count))
        var expected = nextSequence
        var offset = UInt64(Format.headerBlockBytes)
        while let entry = try reader.next() {
            let isGap = entry.isOther || segment.allowsGaps
            guard entry.sequence == expected || (isGap && entry.sequence > expected), entry.offset == offset,
                entry.sequence <= LogLimits.sequenceMax, entry.namespace <= UInt32(LogLimits.namespacesMax)
            else { return nil }
            var total = entry.record.totalBytes
            if entry.isOther || entry.flags & Slot.extended != 0 {
                guard let record = try readWhole(segment, entry) else { return nil }
                total = record.count
                if entry.isOther { others.append(record) }
            }
            expected = entry.sequence + 1
            offset += UInt64(total)
        }
        return offset == segment.length ? (others, ~UInt32(littleEndian: end)) : nil
    }

    /// A whole record; nil if it is not good.
    private mutating func readWhole(_ segment: Segment, _ entry: IndexEntry) throws(DiskError) -> [UInt8]? {
        guard let header = try readHead(segment, entry.offset), header.sequence == entry.sequence,
            header.namespace == entry.namespace
        else { return nil }
        var record = [UInt8](repeating: 0, count: header.totalBytes)
        var failure: DiskError?
        let isGood = record.withUnsafeMutableBytes { bytes -> Bool in
            guard let base = bytes.baseAddress else { return false }
            do throws(DiskError) { try disk.read(segment.file, at: entry.offset, base, bytes.count) } catch {
                failure = error
                return false
            }
            let value = base + header.headBytes
            return header.isValid(base, seed: seed)
                && (!entry.isOther || Format.checksum(value, Int(header.valueLength)) == header.valueChecksum)
        }
        if let failure { throw failure }
        return isGood ? record : nil
    }

    /// Applies all entries; false if one of them could not be followed, and then the segment is to be read.
    private mutating func applyWhole(
        _ file: DiskFile, _ index: IndexHeader, _ position: Int, _ last: RecordHeader, _ others: [[UInt8]]
    ) throws(LogError) -> Bool {
        let before = (nextSequence, report.records)
        do throws(LogError) { try applyIndex(file, index, position, others) } catch {
            clearUndo()
            (nextSequence, report.records) = before
            switch error {
            case .disk(.crashed): throw error
            case .disk, .corrupt: return false
            default: throw error
            }
        }
        lastTime = max(lastTime, last.time)
        endedWithClose = last.type == RecordType.close
        clearUndo()
        turnFirst = nextSequence
        return true
    }

    private mutating func applyIndex(
        _ file: DiskFile, _ index: IndexHeader, _ position: Int, _ others: [[UInt8]]
    ) throws(LogError) {
        var reader = IndexReader(disk: disk, file: file, count: Int(index.count))
        var window = SegmentWalker(
            disk: disk, file: segments[position].file, length: segments[position].length, seed: seed,
            expected: nextSequence, allowsGaps: true)
        var other = 0
        while let (entries, count) = try reader.block() {
            places.warmth &+= warm(entries, count)
            for number in 0..<count {
                let entry = IndexEntry(entries + number * IndexEntry.bytes)
                if entry.isOther {
                    try apply(record: others[other], position, entry.offset)
                    other += 1
                } else {
                    try apply(entry, position, &window)
                }
                nextSequence = entry.sequence + 1
                report.records += 1
            }
            clearUndo()
        }
    }

    @inline(__always)
    private mutating func apply(
        _ entry: IndexEntry, _ position: Int, _ window: inout SegmentWalker
    ) throws(LogError) {
        // A checkpoint knew it, its bytes too.
        if isKnown(entry.sequence) { return }
        // The table of a sequential namespace was on stable storage behind this record; only its bytes count.
        if isKnown(entry) {
            if let state = namespaces[Int(entry.namespace)] { charge(state, entry.record.totalBytes, position) }
            return
        }
        if needsKey(entry) {
            guard let (header, bytes) = head(entry, &window) else {
                throw .corrupt(segment: segments[position].number, offset: entry.offset)
            }
            try apply(header, bytes, nil, position, entry.offset)
        } else {
            try put(entry.record, .init(start: nil, count: 0), entry.hash, position, entry.offset, damaged: false)
        }
    }

    /// Brings the slots of some entries near, all at once.
    private func warm(_ entries: UnsafeRawPointer, _ count: Int) -> UInt64 {
        var sum: UInt64 = 0
        for number in 0..<count {
            let entry = IndexEntry(entries + number * IndexEntry.bytes)
            guard !entry.isOther, hasNamespace(entry.namespace), let state = namespaces[Int(entry.namespace)],
                state.pointee.isHashed
            else { continue }
            sum &+= state.pointee.index.touch(entry.hash)
        }
        return sum
    }

    private mutating func apply(record: [UInt8], _ position: Int, _ offset: UInt64) throws(LogError) {
        var failure: LogError?
        record.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let header = RecordHeader(base) else { return }
            do throws(LogError) { try apply(header, base, base + header.headBytes, position, offset) } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// The head of an entry's record, read together with those of its neighbours; nil if it is not good.
    private func head(
        _ entry: IndexEntry, _ window: inout SegmentWalker
    ) -> (header: RecordHeader, bytes: UnsafeRawPointer)? {
        guard let start = window.bytes(at: entry.offset, Format.recordHeaderBytes),
            let header = RecordHeader(start), header.sequence == entry.sequence,
            header.namespace == entry.namespace,
            let bytes = window.bytes(at: entry.offset, header.headBytes), header.isValid(bytes, seed: seed)
        else { return nil }
        return (header, UnsafeRawPointer(bytes))
    }

    /// Whether the record itself has to be read: its head has more than the index says, or the namespace keeps keys.
    @inline(__always)
    private func needsKey(_ entry: IndexEntry) -> Bool {
        if entry.flags & Slot.extended != 0 { return true }
        guard hasNamespace(entry.namespace), let state = namespaces[Int(entry.namespace)] else { return false }
        return !state.pointee.isHashed
    }

    @inline(__always)
    private func isKnown(_ entry: IndexEntry) -> Bool {
        guard hasNamespace(entry.namespace), let table = namespaces[Int(entry.namespace)]?.pointee.table else {
            return false
        }
        return entry.sequence <= table.checkpoint.sequence
    }

    /// The segment before one that was being made is written to again: its index is not the one that grows, and where
    /// the manifest says that it has ended the next record begins another.
    mutating func resumeSealed() {
        guard !segments.isEmpty else { return }
        indexWriter = IndexWriter(disk: disk, header: header, isUseful: false)
        if let entry = manifest?.entry(segments[active].number), entry.last != 0 { hasDamagedHeader = true }
    }

    /// Removes indexes whose segments are not there.
    mutating func removeStrayIndexes() {
        guard let names = try? disk.list() else { return }
        for name in names {
            guard let number = Format.number(index: name), !names.contains(Format.name(segment: number)) else {
                continue
            }
            try? disk.remove(name)
        }
    }
}

/// Reads the entries of an `.index` file one after the other.
struct IndexReader: ~Copyable {
    private static let windowBytes = 1 << 20
    private static let blockEntries = 64
    let disk: any Disk
    let file: DiskFile
    let count: Int
    private var position = 0
    private var windowEnd = 0
    private var windowStart = 0
    private let window: UnsafeMutableRawPointer

    init(disk: any Disk, file: DiskFile, count: Int) {
        (self.disk, self.file, self.count) = (disk, file, count)
        window = .allocate(byteCount: min(Self.windowBytes, count * IndexEntry.bytes), alignment: 16)
    }

    deinit { window.deallocate() }

    @inline(__always)
    mutating func next() throws(DiskError) -> IndexEntry? {
        guard position < count else { return nil }
        if position >= windowEnd { try fill() }
        let entry = IndexEntry(window + (position - windowStart) * IndexEntry.bytes)
        position += 1
        return entry
    }

    /// The next entries, a few at a time; valid until the next call.
    mutating func block() throws(LogError) -> (entries: UnsafeRawPointer, count: Int)? {
        guard position < count else { return nil }
        do throws(DiskError) { if position >= windowEnd { try fill() } } catch { throw .disk(error) }
        let entries = UnsafeRawPointer(window + (position - windowStart) * IndexEntry.bytes)
        let found = min(Self.blockEntries, windowEnd - position)
        position += found
        return (entries, found)
    }

    private mutating func fill() throws(DiskError) {
        windowStart = position
        windowEnd = min(count, position + Self.windowBytes / IndexEntry.bytes)
        let start = UInt64(IndexHeader.blockBytes + windowStart * IndexEntry.bytes)
        try disk.read(file, at: start, window, (windowEnd - windowStart) * IndexEntry.bytes)
    }
}
