import Simulation

// Indexes of ordered and sequential namespaces over the life of a process: how they begin, how they are made anew from
// the log, how tables follow it.
extension LogEngine {
    /// Pages of a table that are written before they are synced: a few milliseconds of the disk.
    private static let pagesPerSync = 256

    /// Gives a namespace the index that its mode wants.
    mutating func attachIndex(_ state: UnsafeMutablePointer<NamespaceState>) throws(LogError) {
        let mode = state.pointee.settings.isSupported ? state.pointee.settings.mode : NamespaceMode.user
        let isRight =
            switch mode {
            case NamespaceMode.ordered: state.pointee.ordered != nil
            case NamespaceMode.sequential: state.pointee.table != nil
            default: state.pointee.isHashed
            }
        if isRight { return }
        // Records that were read before the definition was are in the wrong index.
        if state.pointee.slots > 0 {
            inDoubt.insert(state.pointee.id)
            isOutOfOrder = true
            setAside(state)
        }
        state.pointee.table?.close()
        switch mode {
        case NamespaceMode.ordered: state.pointee.use(ordered: OrderedKeys(), table: nil)
        case NamespaceMode.sequential:
            do throws(LogError) {
                let table = try SequentialTable(state.pointee.id, device: header.device, cache: tables)
                state.pointee.use(ordered: nil, table: table)
            } catch {
                // Without its table the namespace cannot be served; everything else can.
                state.pointee.settings.refuse()
                if error == .disk(.crashed) || !isRecovering { throw error }
            }
        default: state.pointee.use(ordered: nil, table: nil)
        }
    }

    /// Behind recovery: looks at every table, makes anew what is in doubt, removes what belongs to nobody.
    mutating func finishIndexes() throws(LogError) {
        // What ended meanwhile must not come back by its old records.
        inDoubt = inDoubt.filter { hasNamespace($0) }
        for case let state? in namespaces { try judge(state) }
        let hasRebuilt = !inDoubt.isEmpty
        if hasRebuilt {
            space.isRebuilding = true
            try rebuildIndexes()
            space.isRebuilding = false
        }
        isRecovering = false
        countLive(all: hasRebuilt || isOutOfOrder)
        isOutOfOrder = false
        do throws(DiskError) {
            for name in try disk.list() {
                guard let id = SequentialTable.namespace(name), !isSequential(id), readOnlyReason == nil else {
                    continue
                }
                try disk.remove(name)
            }
        } catch { throw .disk(error) }
    }

    private mutating func judge(_ state: UnsafeMutablePointer<NamespaceState>) throws(LogError) {
        guard let table = state.pointee.table, !inDoubt.contains(state.pointee.id) else { return }
        if try count(state, table) { return }
        // On a medium that cannot be written a table cannot be made; the other namespaces are served.
        if readOnlyReason != nil { state.pointee.settings.refuse() } else { inDoubt.insert(state.pointee.id) }
    }

    /// Reads all of a table and sets the namespace's counters; false if something in it cannot be right.
    private func count(
        _ state: UnsafeMutablePointer<NamespaceState>, _ table: SequentialTable
    ) throws(LogError) -> Bool {
        let last = nextSequence - 1
        if table.isInDoubt || table.checkpoint.sequence > last { return false }
        let page = UnsafeMutableRawPointer.allocate(byteCount: SequentialTable.pageBytes, alignment: 64)
        defer { page.deallocate() }
        var (entries, bytes, end): (UInt64, UInt64, UInt64) = (0, 0, 0)
        var (filled, filledBefore): (UInt64, UInt64) = (0, 0)
        var known = UInt64.max
        var at = 0
        var live: [Int: UInt64] = [:]
        var (records, tombstones): (UInt64, UInt64) = (0, 0)
        for number in 0..<table.roomPages {
            let memory: UnsafeMutableRawPointer
            if table.frames[number] >= 0 {
                memory = tables.memory(Int(table.frames[number]))
            } else {
                if try !table.read(number, into: page) { return false }
                memory = page
            }
            if SequentialTable.isZero(memory) { continue }
            filled += 1
            // A page that was zeros when it was read has lost what it had, whatever was put in it since.
            if UInt64(number) < table.checkpoint.pages, !tables.isNew(table, number) { filledBefore += 1 }
            for index in 0..<SequentialTable.entriesPerPage {
                let place = memory + SequentialTable.pageHeaderBytes + index * TableEntry.bytes
                if place.load(as: UInt64.self) == 0 { continue }
                let entry = TableEntry(place)
                if entry.sequence > last { return false }
                if entry.segment != known {
                    guard let found = positions[entry.segment] else { return false }
                    (known, at) = (entry.segment, found)
                }
                if entry.offset + UInt64(Format.recordHeaderBytes) > segments[at].length { return false }
                live[at, default: 0] += entry.recordBytes
                if entry.isTombstone { tombstones += entry.recordBytes } else { records += entry.recordBytes }
                if !entry.isTombstone || !plants(.reuseId) {
                    end = UInt64(number * SequentialTable.entriesPerPage + index) + 1
                }
                if !entry.isTombstone { (entries, bytes) = (entries + 1, bytes + entry.payloadBytes) }
            }
        }
        if filledBefore < table.checkpoint.filled { return false }
        (state.pointee.entries, state.pointee.liveBytes) = (entries, bytes)
        (state.pointee.liveRecordBytes, state.pointee.tombstoneBytes) = (records, tombstones)
        table.live = live
        table.nextId = max(plants(.reuseId) ? 0 : table.checkpoint.nextId, end)
        table.filled = filled
        return true
    }

    /// Makes the indexes in doubt anew by reading the whole log once more.
    private mutating func rebuildIndexes() throws(LogError) {
        for id in inDoubt.sorted() {
            guard hasNamespace(id) else { continue }
            try namespaces[Int(id)]?.pointee.clear()
        }
        for position in order { try rebuild(from: segments[position], position) }
        drainRuns()
        for id in inDoubt.sorted() {
            guard hasNamespace(id), let state = namespaces[Int(id)], let table = state.pointee.table else { continue }
            report.rebuiltTables += 1
            if try !count(state, table) { throw .indexDamaged }
        }
        inDoubt = []
    }

    private mutating func rebuild(from segment: Segment, _ position: Int) throws(LogError) {
        var walker = SegmentWalker(
            disk: disk, file: segment.file, length: segment.length, seed: seed, expected: segment.firstSequence,
            allowsGaps: segment.kind == SegmentHeader.kindCompacted)
        while true {
            switch walker.next() {
            case .record(let header, let offset):
                guard inDoubt.contains(header.namespace), let head = walker.bytes(at: offset, header.headBytes) else {
                    continue
                }
                try again(header, head, position, offset)
            case .damage(let range, _, let repaired?):
                guard inDoubt.contains(repaired.namespace) else { continue }
                try repairedHead(repaired, walker.repairedHead, position, range.lowerBound)
            case .damage(let range, let lost, _):
                // Its keys were known from its index; now they are not.
                let isKnown = report.damages.contains {
                    $0.segment == segment.number && $0.offset == range.lowerBound
                }
                if !isKnown { note(segment.number, range, lost, false) }
            case .end:
                clearUndo()
                return
            }
        }
    }

    private mutating func again(
        _ header: RecordHeader, _ head: UnsafeRawPointer, _ position: Int, _ offset: UInt64
    ) throws(LogError) {
        let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
        switch header.type {
        case RecordType.value, RecordType.tombstone:
            try put(header, key, KeyHash(high: 0, low: 0), position, offset, damaged: false)
        case RecordType.flush: try namespaces[Int(header.namespace)]?.pointee.clear()
        default: break
        }
        if modeUndo.count > 4096 { clearUndo() }
    }

    private mutating func repairedHead(
        _ header: RecordHeader, _ head: [UInt8], _ position: Int, _ offset: UInt64
    ) throws(LogError) {
        guard header.type == RecordType.value || header.type == RecordType.tombstone else { return }
        var failure: LogError?
        head.withUnsafeBytes { bytes in
            let key = UnsafeRawBufferPointer(
                rebasing: bytes[Format.recordHeaderBytes...].prefix(Int(header.keyLength)))
            do throws(LogError) {
                try put(header, key, KeyHash(high: 0, low: 0), position, offset, damaged: true)
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    // MARK: While the process lives

    /// A slice of the tables' work: changed pages to the disk, and now and then a checkpoint. True if there is more.
    mutating func maintainTables(budget: Int) -> Bool {
        tables.trim()
        if let failure = tables.failure, readOnlyReason == nil { readOnlyReason = .writeFailed(failure) }
        for table in tables.open {
            do throws(LogError) {
                // Often, so that no sync has much to do.
                if table.unsynced >= Self.pagesPerSync {
                    try sync(table)
                    return true
                }
                guard isBehind(table) else { continue }
                let pages = plants(.overstateCheckpoint) ? 0 : max(1, budget / SequentialTable.pageBytes)
                if try tables.writeSome(pages, of: table) > 0 { return true }
                try checkpoint(table)
            } catch { return false }
        }
        return false
    }

    private func isBehind(_ table: SequentialTable) -> Bool {
        table.lastChange > table.checkpoint.sequence
            && durableSequence >= table.checkpoint.sequence + options.tableRecords
    }

    /// Writes all tables, so that the next start has nothing to put again, and segments that were copied may go.
    mutating func checkpointTables() throws(LogError) {
        for table in tables.open where table.lastChange > table.checkpoint.sequence {
            while try tables.writeSome(.max, of: table) > 0 {}
            try checkpoint(table)
        }
    }

    private mutating func sync(_ table: SequentialTable) throws(LogError) {
        do throws(DiskError) { try table.sync() } catch {
            if error == .crashed { throw .disk(error) }
            if readOnlyReason == nil { readOnlyReason = .syncFailed(error) }
            throw .readOnly
        }
    }

    private mutating func checkpoint(_ table: SequentialTable) throws(LogError) {
        guard tables.failure == nil else { return }
        var checkpoint = table.checkpoint
        checkpoint.sequence = tables.firstUnwritten(table).map { $0 - 1 } ?? durableSequence
        if plants(.overstateCheckpoint) { checkpoint.sequence = durableSequence }
        guard checkpoint.sequence >= table.checkpoint.sequence else { return }
        (checkpoint.nextId, checkpoint.pages) = (table.nextId, UInt64(table.roomPages))
        checkpoint.filled = table.filled - min(table.filled, tables.newPages(table))
        do throws(DiskError) { try table.write(checkpoint) } catch {
            if error == .crashed { throw .disk(error) }
            // A table that cannot be written is made anew at the next start; the log is not concerned.
            if error != .full, readOnlyReason == nil { readOnlyReason = .writeFailed(error) }
        }
    }
}
