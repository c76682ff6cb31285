import Simulation

/// What is known of a sealed segment's `.index` file.
enum IndexState {
    /// There is none, or none yet.
    case missing
    /// It was written by this process and not read back.
    case written
    /// Its checksum was right when this process read it.
    case verified
    /// It could not be made or was damaged; the segment itself is searched.
    case refused
}

/// Files and lists that lookups by sequence number keep at hand.
struct PlaceCache {
    /// The `.index` file that was used last, open.
    var open: (position: Int, file: DiskFile, count: Int)?
    /// Where the records of one segment without an index stand, in units of 8 bytes.
    var units: (position: Int, length: UInt64, list: [UInt32])?
    /// The position that `maintain` looks at next.
    var cursor = 0
    /// What `KeyIndex.touch` read.
    var warmth: UInt64 = 0
    /// The index that is being built.
    var build: IndexBuild?
}

extension LogEngine {
    // MARK: Sequence number to place

    /// Where the record with a sequence number stands: the segment's position and the offset. Nil if there is no such
    /// record any more. Who reads there has to check that it is the record.
    public mutating func place(of sequence: UInt64) -> (position: Int, offset: UInt64)? {
        do throws(LogError) { return try locate(sequence) } catch { return nil }
    }

    mutating func locate(_ sequence: UInt64) throws(LogError) -> (position: Int, offset: UInt64)? {
        for position in order.reversed() where segments[position].firstSequence <= sequence {
            guard position == active || sequence <= segments[position].last else { continue }
            do throws(DiskError) {
                if let offset = try find(sequence, in: position) { return (position, offset) }
            } catch {
                throw .disk(error)
            }
        }
        return nil
    }

    private mutating func find(_ sequence: UInt64, in position: Int) throws(DiskError) -> UInt64? {
        if position == active {
            if !indexWriter.hasFailed { return try indexWriter.find(sequence) }
        } else if segments[position].index == .written || segments[position].index == .verified {
            if segments[position].index == .written { try verifyIndex(position) }
            if segments[position].index == .verified { return try findInFile(sequence, position) }
        }
        return try findInSegment(sequence, position)
    }

    private mutating func findInFile(_ sequence: UInt64, _ position: Int) throws(DiskError) -> UInt64? {
        guard let (file, count) = try openIndex(position) else { return try findInSegment(sequence, position) }
        var (low, high) = (0, count)
        // Without gaps the first guess is right.
        var guess = Int(min(sequence - segments[position].firstSequence, UInt64(count - 1)))
        while low < high {
            let entry = try disk.entry(file, guess)
            if entry.sequence == sequence { return entry.offset }
            if entry.sequence < sequence { low = guess + 1 } else { high = guess }
            guess = (low + high) / 2
        }
        return nil
    }

    /// The file and how many entries it has.
    private mutating func openIndex(_ position: Int) throws(DiskError) -> (DiskFile, Int)? {
        if let open = places.open, open.position == position { return (open.file, open.count) }
        closeIndex()
        do throws(DiskError) {
            let file = try disk.open(Format.name(index: segments[position].number), create: false)
            let count = (Int(try disk.length(file)) - IndexHeader.blockBytes - 4) / IndexEntry.bytes
            guard count > 0 else {
                disk.close(file)
                segments[position].index = .refused
                return nil
            }
            places.open = (position, file, count)
            return (file, count)
        } catch {
            if error == .crashed { throw error }
            segments[position].index = .refused
            return nil
        }
    }

    mutating func closeIndex() {
        if let open = places.open { disk.close(open.file) }
        places.open = nil
    }

    /// An index that this process wrote is read back once before anything is looked up in it.
    private mutating func verifyIndex(_ position: Int) throws(DiskError) {
        segments[position].index = .verified
        guard let (file, count) = try openIndex(position) else { return }
        do throws(DiskError) {
            if try indexChecksum(file, count) { return }
        } catch {
            if error == .crashed { throw error }
        }
        closeIndex()
        segments[position].index = .refused
    }

    /// Whether the entries of an index are what was written.
    func indexChecksum(_ file: DiskFile, _ count: Int) throws(DiskError) -> Bool {
        let capacity = min(count * IndexEntry.bytes, 1 << 20)
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        defer { buffer.deallocate() }
        var state: UInt32 = ~0
        var at = IndexHeader.blockBytes
        let end = at + count * IndexEntry.bytes
        while at < end {
            let bytes = min(capacity, end - at)
            try disk.read(file, at: UInt64(at), buffer, bytes)
            state = Format.checksum(state, buffer, bytes)
            at += bytes
        }
        var wanted: UInt32 = 0
        try disk.read(file, at: UInt64(end), &wanted, 4)
        return ~state == UInt32(littleEndian: wanted)
    }

    // MARK: Segments without an index

    /// Reads the segment once and remembers where its records stand.
    private mutating func findInSegment(_ sequence: UInt64, _ position: Int) throws(DiskError) -> UInt64? {
        let segment = segments[position]
        if position == active, let offset = findPending(sequence) { return offset }
        if places.units?.position != position || places.units?.length != segment.length {
            var walker = SegmentWalker(
                disk: disk, file: segment.file, length: segment.length, seed: seed, expected: segment.firstSequence,
                allowsGaps: segment.allowsGaps)
            var list: [UInt32] = []
            walk: while true {
                switch walker.next() {
                case .record(_, let offset): list.append(UInt32(truncatingIfNeeded: offset / 8))
                case .damage(let range, _, let repaired):
                    if repaired != nil { list.append(UInt32(truncatingIfNeeded: range.lowerBound / 8)) }
                case .end: break walk
                }
            }
            places.units = (position, segment.length, list)
        }
        guard let list = places.units?.list else { return nil }
        var (low, high) = (0, list.count)
        while low < high {
            let middle = (low + high) / 2
            let offset = UInt64(list[middle]) * 8
            var found: UInt64 = 0
            try disk.read(segment.file, at: offset + 16, &found, 8)
            found = UInt64(littleEndian: found)
            if found == sequence { return offset }
            if found < sequence { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    private func findPending(_ sequence: UInt64) -> UInt64? {
        var at = 0
        while at < pendingCount, let header = RecordHeader(pending + at) {
            if header.sequence == sequence { return segments[active].length + UInt64(at) }
            at += header.totalBytes
        }
        return nil
    }

    // MARK: The end of a segment

    /// The active segment was sealed: its index is ended.
    mutating func endIndex(_ writer: inout IndexWriter, at position: Int) {
        let hasIndex = writer.end(segments[position].file, length: segments[position].length)
        segments[position].index = hasIndex ? .written : writer.count == 0 ? .missing : .refused
    }

    /// Removes the index of a segment that is not there any more.
    private mutating func removeIndex(_ position: Int) {
        if places.open?.position == position { closeIndex() }
        if places.units?.position == position { places.units = nil }
        if places.build?.position == position { places.build = nil }
        segments[position].index = .refused
        try? disk.remove(Format.name(index: segments[position].number))
    }

    // MARK: In slices

    /// Builds what is missing and removes what is left over; true if there is more.
    mutating func maintainIndexes(_ budget: Int) -> Bool {
        if let build = places.build {
            if segments[build.position].isRemoved {
                removeIndex(build.position)
            } else if build.step(budget, hasher) {
                return true
            } else {
                let segment = segments[build.position]
                segments[build.position].index =
                    build.writer.end(segment.file, length: segment.length) ? .written : .refused
            }
            places.build = nil
            return true
        }
        for _ in 0..<min(64, segments.count) {
            places.cursor = places.cursor + 1 < segments.count ? places.cursor + 1 : 0
            let position = places.cursor
            if position == active { continue }
            if segments[position].isRemoved {
                if segments[position].index != .refused { removeIndex(position) }
            } else if segments[position].index == .missing {
                beginIndex(position)
                return true
            }
        }
        return false
    }

    private mutating func beginIndex(_ position: Int) {
        let segment = segments[position]
        segments[position].index = .refused
        guard segment.length > UInt64(Format.headerBlockBytes), segment.last != 0 || segment.allowsGaps,
            let header = try? Self.readHeader(disk, segment.file, segment.number)
        else { return }
        places.build = IndexBuild(
            position,
            SegmentWalker(
                disk: disk, file: segment.file, length: segment.length, seed: seed, expected: segment.firstSequence,
                allowsGaps: header.kind == SegmentHeader.kindCompacted),
            IndexWriter(disk: disk, header: header))
    }
}

/// An index that is built from its segment in slices.
final class IndexBuild {
    let position: Int
    var walker: SegmentWalker
    var writer: IndexWriter

    init(_ position: Int, _ walker: consuming SegmentWalker, _ writer: consuming IndexWriter) {
        self.position = position
        self.walker = walker
        self.writer = writer
    }

    /// About `budget` bytes more; false at the end.
    func step(_ budget: Int, _ hasher: KeyHasher) -> Bool {
        var left = budget
        while left > 0 {
            switch walker.next() {
            case .record(let header, let offset):
                left -= min(header.totalBytes, 4096)
                guard let head = walker.bytes(at: offset, header.headBytes) else { continue }
                let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
                writer.add(IndexEntry(header, hasher.hash(key), offset, damaged: false))
            case .damage(let range, _, let repaired):
                writer.isDamaged = true
                left -= 65536
                guard let repaired else { continue }
                let hash = walker.repairedHead.withUnsafeBytes { bytes in
                    hasher.hash(.init(rebasing: bytes[Format.recordHeaderBytes...].prefix(Int(repaired.keyLength))))
                }
                writer.add(IndexEntry(repaired, hash, range.lowerBound, damaged: true))
            case .end(_, let garbage):
                if garbage { writer.isDamaged = true }
                return false
            }
            writer.settle()
        }
        return true
    }
}
