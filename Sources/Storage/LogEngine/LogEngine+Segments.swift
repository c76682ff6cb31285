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
