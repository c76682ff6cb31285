import Simulation

/// A tail of a replica's log that its master does not have, or not any more.
extension LogEngine {
    /// Whether nothing but notes of processes (open, mark, close) stands behind a place.
    public func isWithoutChanges(behind position: LogPosition) throws(LogError) -> Bool {
        guard let first = order.firstIndex(where: { segments[$0].number == position.segment }) else { return false }
        for index in order[first...] {
            let segment = segments[index]
            let start = segment.number == position.segment ? position.offset : 0
            var walker = SegmentWalker(
                disk: disk, file: segment.file, length: segment.length, seed: seed, expected: segment.firstSequence,
                allowsGaps: true)
            walk: while true {
                switch walker.next() {
                case .record(let record, let offset):
                    if offset < start { continue walk }
                    guard [RecordType.open, RecordType.mark, RecordType.close].contains(record.type) else {
                        return false
                    }
                case .damage: return false
                case .end: break walk
                }
            }
        }
        return true
    }

    /// Cuts the log at a place; the engine must be opened again, because its index knows what is gone. A segment of
    /// which nothing but the first block is left goes as a whole.
    public mutating func discard(behind position: LogPosition) throws(LogError) {
        guard let place = order.firstIndex(where: { segments[$0].number == position.segment }) else { throw .absent }
        abandonReplacements()
        if manifest != nil {
            // What compaction left out may have been superseded by what goes now: the master says when all is right.
            var file = roleFile
            file.isIncomplete = true
            try file.store(disk)
            roleFile = file
        }
        let keepsPart = position.offset > UInt64(Format.headerBlockBytes)
        let end = keepsPart ? place + 1 : place
        do throws(DiskError) {
            try removeDerived(place)
            try forgetSegments(behind: end)
            if keepsPart {
                if !plants(.keepTail) { try disk.truncate(segments[order[place]].file, length: position.offset) }
                try disk.sync(segments[order[place]].file)
            }
        } catch { throw .disk(error) }
        readOnlyReason = .writeFailed(.failed(0))
    }

    /// What is derived may know records that go.
    private mutating func removeDerived(_ place: Int) throws(DiskError) {
        let names = Set(order[place...].map { Format.name(index: segments[$0].number) })
        for name in try disk.list()
        where SequentialTable.namespace(name) != nil || name == CheckpointHeader.name || names.contains(name) {
            try disk.remove(name)
        }
    }

    /// The manifest says first that segments do not count any more.
    private mutating func forgetSegments(behind end: Int) throws(DiskError) {
        var gone = Array(order[end...])
        if manifest != nil {
            settleAllUsage()
            for position in gone where isToWipe(position) { try overwrite(position) }
            // It never is without any segment: the last one goes after it.
            let kept = max(end - 1, 0)
            var entry = manifestEntry(order[kept])
            (entry.last, entry.length) = (0, 0)
            let edits = order[(kept + 1)...].map { Manifest.Edit.remove(segments[$0].number, overwrites: false) }
            try editManifest(edits + [.seal(entry)], lastTime)
            if end == 0 {
                for position in gone.dropFirst().reversed() {
                    try disk.remove(Format.name(segment: segments[position].number))
                }
                try manifest?.removeFile()
                manifest = nil
                gone = [order[0]]
            }
        }
        for position in gone.reversed() { try disk.remove(Format.name(segment: segments[position].number)) }
    }

    /// Bytes of a namespace that ended with `WIPE` do not stay on the disk.
    private mutating func overwrite(_ position: Int) throws(DiskError) {
        let zeros = [UInt8](repeating: 0, count: 256 << 10)
        var at = UInt64(Format.headerBlockBytes)
        while at < segments[position].length {
            let count = Int(min(UInt64(zeros.count), segments[position].length - at))
            try disk.write(segments[position].file, at: at, zeros.span.bytes.extracting(first: count))
            at += UInt64(count)
        }
        try disk.sync(segments[position].file)
    }

    /// Ends the use of the files, before the engine is opened again.
    public mutating func closeFiles() {
        closeIndex()
        abandonReplacements()
        for index in order { disk.close(segments[index].file) }
        for position in replacements.removed { disk.close(segments[position].file) }
        for item in discarded { disk.close(item.file) }
        for case let state? in namespaces { state.pointee.table?.close() }
        manifest?.closeFile()
        (order, discarded, manifest) = ([], [], nil)
    }
}
