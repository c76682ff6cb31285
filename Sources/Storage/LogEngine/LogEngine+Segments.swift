import Simulation

extension LogEngine {
    /// Puts a segment behind the others of the log.
    mutating func addSegment(_ segment: Segment) {
        order.append(segments.count)
        positions[segment.number] = segments.count
        segments.append(segment)
        highestNumber = max(highestNumber, segment.number)
    }

    /// Makes a segment the one that is written to; the one before it is sealed, and its index ended.
    mutating func beginSegment(_ segment: Segment, _ header: SegmentHeader) {
        var writer = IndexWriter(disk: disk, header: header)
        swap(&writer, &indexWriter)
        if !segments.isEmpty {
            // A replica was told it when the segment was sealed.
            if segments[active].last == 0 { segments[active].last = header.previousSequence }
            endIndex(&writer, at: active)
        }
        addSegment(segment)
        active = segments.count - 1
    }

    /// Makes both copies of a segment's header what the good one is: power may have failed while they were written, and
    /// copies of a device are the same byte for byte.
    func repairHeader(_ segment: Segment) throws(DiskError) {
        var block = [UInt8](repeating: 0, count: Format.headerBlockBytes)
        var isRead = false
        block.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            isRead = (try? disk.read(segment.file, at: 0, base, bytes.count)) != nil
        }
        guard isRead else { return }
        let halves = [block.prefix(Format.headerCopyOffset), block.suffix(Format.headerCopyOffset)]
        let good = halves.first { half in
            half.withUnsafeBytes { bytes in bytes.baseAddress.flatMap { SegmentHeader(copy: $0) } != nil }
        }
        guard let good, halves.contains(where: { $0 != good }) else { return }
        try disk.write(segment.file, at: 0, (Array(good) + Array(good)).span.bytes)
    }

    /// Removes a sealed segment's file; no slot may point to it any more. Its position stays, dead.
    mutating func removeSegment(at position: Int) throws(LogError) {
        precondition(position != active && !segments[position].isRemoved)
        segments[position].isRemoved = true
        order.removeAll { $0 == position }
        let (number, file) = (segments[position].number, segments[position].file)
        positions[number] = nil
        defer { disk.close(file) }
        try disk.removing(Format.name(segment: number))
    }

    /// One slice of work that nobody waits for; about `budget` bytes are read and written. True if there is more.
    public mutating func maintain(now: UInt64, budget: Int) -> Bool {
        workDelay = 0
        // Slots of a turn that can still be taken back may point to where nothing is any more after this.
        guard readOnlyReason == nil, !turnHasWrites, undo.isEmpty, modeUndo.isEmpty else { return false }
        if maintainTables(budget: budget) || maintainIndexes(budget) { return true }
        if drainEnded(budget) { return true }
        let discards = discardSlice(budget, now)
        if workDelay > 0 { return true }
        // What was begun as a replica, or as a master, is ended as what the device is now.
        if replaceSlice(budget, now) { return true }
        if role != .master, !compaction.isPublished { return discards }
        return compact(now: now, budget: budget) || discards
    }
}
