public import Simulation

/// What must hold for a write to happen.
public enum WriteCondition: Sendable {
    /// Nothing.
    case none
    /// The key does not exist (or what it held is damaged).
    case absent
    /// The key exists.
    case present
    /// The key's version has this sequence number; 0 means that it does not exist.
    case sequence(UInt64)
}

extension LogEngine {
    // MARK: Writes of a turn

    /// Sets a key; returns the sequence number of its new version.
    @discardableResult
    public mutating func set(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
        condition: WriteCondition = .none, epoch: UInt64 = 0, time: UInt64
    ) throws(LogError) -> UInt64 {
        let state = try writable(namespace, epoch)
        guard !key.isEmpty, key.count <= LogLimits.keyBytesMax, value.count <= LogLimits.valueBytesMax else {
            throw .tooLarge
        }
        let hash = hasher.hash(key)
        let slot = try current(state, key, hash)
        try check(condition, slot)
        if state.pointee.table != nil, slot?.isTombstone ?? true { throw .unknownId }
        if state.pointee.settings.isWorm, let slot, !slot.isTombstone, !slot.isDamaged { throw .worm }
        if state.pointee.settings.maxSize != 0 {
            let after = state.pointee.liveBytes - (slot?.payloadBytes ?? 0) + UInt64(key.count + value.count)
            if after > state.pointee.settings.maxSize, !plants(.ignoreQuota) { throw .quota }
        }
        if batchLeft == 0 { try admit(state, Format.recordHeaderBytes + 8 + key.count + value.count) }
        var record = RecordHeader()
        record.type = RecordType.value
        record.namespace = namespace
        record.previous = plants(.wrongPrevious) ? 0 : slot?.sequence ?? 0
        let offset = try append(&record, key, value, hash: hash, time: time, usesSlack: false)
        try put(record, key, hash, active, offset, damaged: false)
        return record.sequence
    }

    /// Ends a key by a tombstone; returns the tombstone's sequence number.
    @discardableResult
    public mutating func delete(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, condition: WriteCondition = .none, epoch: UInt64 = 0,
        time: UInt64
    ) throws(LogError) -> UInt64 {
        let state = try writable(namespace, epoch)
        guard !key.isEmpty, key.count <= LogLimits.keyBytesMax else { throw .absent }
        let hash = hasher.hash(key)
        guard let slot = try current(state, key, hash), !slot.isTombstone else { throw .absent }
        try check(condition, slot)
        if state.pointee.settings.isWorm { throw .worm }
        var record = RecordHeader()
        record.type = RecordType.tombstone
        record.namespace = namespace
        record.previous = slot.sequence
        let offset = try append(
            &record, key, .init(start: nil, count: 0), hash: hash, time: time, usesSlack: true)
        try put(record, key, hash, active, offset, damaged: false)
        return record.sequence
    }

    /// Begins a batch: the next `count` writes, all of one namespace, happen together or not at all. They may not
    /// fail any more, so what they need is checked here: `bytes` are those of all keys and values.
    public mutating func beginBatch(
        _ namespace: UInt32, count: Int, bytes: Int, epoch: UInt64 = 0, time: UInt64
    ) throws(LogError) {
        precondition(batchLeft == 0)
        let state = try writable(namespace, epoch)
        if state.pointee.settings.isWorm { throw .worm }
        let limit = state.pointee.settings.maxSize
        if limit != 0, state.pointee.liveBytes + UInt64(bytes) > limit { throw .quota }
        let space = bytes + count * (Format.recordHeaderBytes + 8)
        guard count > 0, space <= options.segmentBytes - Format.headerBlockBytes - 256 else { throw .tooLarge }
        try admit(state, space)
        try ensureOpened(time)
        try ensureRoom(space, usesSlack: false)
        batchLeft = UInt32(count)
    }

    // MARK: The end of a turn

    /// Hands the turn's records to the disk, and with `sync` waits until they are on stable storage.
    public mutating func commit(sync: Bool) throws(LogError) {
        do throws(LogError) { try commitPart(sync: sync) } catch {
            turnFailure = nil
            throw error
        }
    }

    /// Commits in the middle of a turn. If it fails, so will the turn's end, because its first writes are gone.
    mutating func commitPart(sync: Bool) throws(LogError) {
        precondition(batchLeft == 0 && openBatch == nil)
        let sync = sync || tables.needsSync
        if readOnlyReason != nil, turnHasWrites || (sync && isDirty) {
            // A failed sync is never tried again: the system may have dropped what it could not write.
            let failure = turnFailure ?? .readOnly
            revertTurn()
            throw failure
        }
        try writePending()
        if sync, isDirty { try syncSegment() }
        beginTurn()
    }

    /// What a background sync has to make durable: a file of the disk, and up to which sequence number.
    public var backgroundSync: (file: DiskFile, sequence: UInt64)? {
        guard isDirty, readOnlyReason == nil, !segments.isEmpty else { return nil }
        return (segments[active].file, turnFirst - 1)
    }

    /// A background sync ended well.
    public mutating func noteSynced(_ sequence: UInt64) {
        precondition(sequence < nextSequence)
        durableSequence = max(durableSequence, plants(.overstateBackgroundSync) ? turnFirst - 1 : sequence)
    }

    /// A background sync failed: no more writes.
    public mutating func noteSyncFailed(_ error: DiskError) {
        if readOnlyReason == nil { readOnlyReason = .syncFailed(error) }
    }

    /// Whether the log's end does not yet say that it is on stable storage.
    public var needsMark: Bool {
        readOnlyReason == nil && markedSequence + 1 < nextSequence && !turnHasWrites && role == .master
    }

    /// Writes down that everything before is on stable storage, so that damage to it is known to be damage.
    public mutating func mark(time: UInt64) throws(LogError) {
        guard needsMark else { return }
        if isDirty { try commitPart(sync: true) }
        var record = RecordHeader()
        record.type = RecordType.mark
        do throws(LogError) {
            _ = try append(
                &record, .init(start: nil, count: 0), .init(start: nil, count: 0), time: time, usesSlack: true)
            try commitPart(sync: true)
        } catch {
            turnFailure = nil
            throw error
        }
        markedSequence = nextSequence - 1
        chargeControl(0, Format.recordHeaderBytes, active)
    }

    /// Stops in order: everything is durable and says so.
    public mutating func close(time: UInt64) throws(LogError) {
        guard readOnlyReason == nil else { return }
        if role != .master {
            try closeReplica()
            return
        }
        guard isOpened else { return }
        try commitPart(sync: true)
        try checkpointTables()
        var record = RecordHeader()
        record.type = RecordType.close
        _ = try append(&record, .init(start: nil, count: 0), .init(start: nil, count: 0), time: time, usesSlack: true)
        try writePending()
        let last = segments[active]
        do throws(DiskError) { try disk.truncate(last.file, length: last.length) } catch { throw .disk(error) }
        reserved = last.length
        try syncSegment()
        chargeControl(0, Format.recordHeaderBytes, active)
        beginTurn()
        _ = indexWriter.end(last.file, length: last.length)
        isOpened = false
        firstOfSession = nextSequence
        endOfEarlier = nextSequence - 1
    }

    // MARK: Inside

    @inline(__always)
    func writable(
        _ id: UInt32, _ epoch: UInt64
    ) throws(LogError) -> UnsafeMutablePointer<NamespaceState> {
        let state = try readable(id)
        if readOnlyReason != nil { throw .readOnly }
        if let writeRefusal { throw .refused(writeRefusal) }
        if state.pointee.settings.following != nil { throw .refused(.following) }
        if state.pointee.settings.isLocked { throw .locked }
        if epoch < state.pointee.fence, !plants(.ignoreFence) { throw .fenced(epoch: state.pointee.fence) }
        return state
    }

    @inline(__always)
    func check(_ condition: WriteCondition, _ slot: Slot?) throws(LogError) {
        switch condition {
        case .none: return
        case .absent: if let slot, !slot.isTombstone, !slot.isDamaged, !plants(.ignoreCondition) { throw .exists }
        case .present: if slot == nil || slot?.isTombstone == true { throw .absent }
        case .sequence(let wanted):
            let live = slot.map { $0.isTombstone ? 0 : $0.sequence } ?? 0
            if wanted != live && wanted != (slot?.sequence ?? 0) { throw .conflict(sequence: live) }
        }
    }

    /// Puts a record behind the others; returns its offset in the active segment. Who knows the key's hash says it.
    mutating func append(
        _ record: inout RecordHeader, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
        hash: KeyHash? = nil, time: UInt64, usesSlack: Bool
    ) throws(LogError) -> UInt64 {
        if readOnlyReason != nil { throw .readOnly }
        if role != .master { throw .refused(writeRefusal ?? .replica) }
        record.keyLength = UInt8(key.count)
        record.valueLength = UInt32(value.count)
        let total = record.totalBytes
        if batchLeft == 0, openBatch == nil {
            if !isOpened, record.type != RecordType.open { try ensureOpened(time) }
            try ensureRoom(total, usesSlack: usesSlack)
            if pendingCount > LogLimits.pendingBytes { try writePending() }
        }
        growPending(total)
        lastTime = max(lastTime, time)
        record.sequence = nextSequence
        record.time = plants(.timeGoesBack) ? time : lastTime
        record.synced = plants(.markBeforeSync) ? nextSequence - 1 : durableSequence
        let at = pending + pendingCount
        if let from = key.baseAddress { (at + Format.recordHeaderBytes).copyMemory(from: from, byteCount: key.count) }
        let head = record.headBytes
        if let from = value.baseAddress {
            (at + head).copyMemory(from: from, byteCount: value.count)
            record.valueChecksum = Format.checksum(from, value.count)
        }
        let end = head + value.count
        if end < total { (at + end).initializeMemory(as: UInt8.self, repeating: 0, count: total - end) }
        if batchLeft > 0 {
            batchLeft -= 1
            record.batchRemaining = plants(.batchWithoutEnd) ? 0 : batchLeft
        }
        record.seal(at, seed: seed)
        let offset = segments[active].length + UInt64(pendingCount)
        indexWriter.add(IndexEntry(record, hash ?? hasher.hash(key), offset, damaged: false))
        pendingCount += total
        nextSequence += 1
        return offset
    }

    /// The first record of a process says who writes; behind a stop without order its number leaves a gap, so that no
    /// number that somebody may have seen is given twice.
    mutating func ensureOpened(_ time: UInt64) throws(LogError) {
        guard !isOpened else { return }
        if readOnlyReason != nil { throw .readOnly }
        precondition(!turnHasWrites && pendingCount == 0)
        let before = nextSequence
        nextSequence = max(nextSequence, firstOfSession)
        turnFirst = nextSequence
        if durableSequence + 1 == before { durableSequence = nextSequence - 1 }
        do throws(LogError) {
            var record = RecordHeader()
            record.type = RecordType.open
            try appendOpen(&record, policy, time: time)
            isOpened = true
            chargeControl(0, Format.recordHeaderBytes + 8, active)
            compaction.openRecord = nextSequence - 1
            try commitPart(sync: policy != .always)
        } catch {
            (isOpened, turnFailure) = (false, nil)
            throw error
        }
    }

    /// Space for so many more bytes: in this segment, or in a new one. What is derived makes room for it.
    @inline(__always)
    mutating func ensureRoom(_ bytes: Int, usesSlack: Bool) throws(LogError) {
        do throws(LogError) { try takeRoom(bytes, usesSlack: usesSlack) } catch {
            guard error == .full, giveBackCheckpoint() else { throw error }
            try takeRoom(bytes, usesSlack: usesSlack)
        }
    }

    private mutating func takeRoom(_ bytes: Int, usesSlack: Bool) throws(LogError) {
        var end = segments[active].length + UInt64(pendingCount + bytes)
        let isEmpty = end - UInt64(bytes) <= UInt64(Format.headerBlockBytes)
        if hasDamagedHeader || (end > UInt64(segmentBytes) && !isEmpty) {
            try roll()
            end = segments[active].length + UInt64(bytes)
        }
        let need = end + UInt64(usesSlack ? 0 : options.slackBytes)
        if need <= reserved { return }
        let step = UInt64(options.reserveBytes)
        let wanted = max(need, min((need + step - 1) / step * step, UInt64(segmentBytes)))
        let file = segments[active].file
        for length in [wanted, need, usesSlack ? end : need] {
            do throws(DiskError) {
                try disk.reserve(file, length: length)
                reserved = length
                return
            } catch {
                if error == .full { continue }
                if error == .crashed { throw .disk(error) }
                readOnlyReason = .writeFailed(error)
                throw .readOnly
            }
        }
        throw .full
    }

    /// Ends the active segment and begins the next. The old one is durable before the new one exists.
    mutating func roll() throws(LogError) {
        try writePending()
        let last = segments[active]
        // One sync for what is written and for the length.
        do throws(DiskError) { try disk.truncate(last.file, length: last.length) } catch { throw failed(error) }
        reserved = last.length
        if !plants(.rollWithoutSync) { try syncSegment() }
        beginTurn()
        try startSegment(number: highestNumber + 1)
    }

    /// Ends the active segment, if something stands in it, so that it can be compacted.
    public mutating func rollActive() throws(LogError) {
        try commitPart(sync: true)
        guard segments[active].length > UInt64(Format.headerBlockBytes) else { return }
        try roll()
    }

    /// Makes a segment's file with its header, durably.
    mutating func startSegment(number: UInt64) throws(LogError) {
        header.number = number
        header.firstSequence = nextSequence
        header.previousSequence = isOpened ? nextSequence - 1 : endOfEarlier
        header.created = lastTime
        let name = Format.name(segment: number)
        var made = false
        do throws(DiskError) {
            let file = try disk.open(name, create: true)
            made = true
            let length = UInt64(Format.headerBlockBytes)
            try disk.reserve(file, length: length + UInt64(options.slackBytes))
            try disk.write(file, at: 0, header.block().span.bytes)
            if !plants(.segmentWithoutSync) { try disk.sync(file) }
            try noteRoll(number)
            var segment = Segment(number: number, file: file, firstSequence: nextSequence, length: length)
            segment.created = lastTime
            beginSegment(segment, header)
            reserved = length + UInt64(options.slackBytes)
            hasDamagedHeader = false
        } catch {
            // What the manifest may name already has to stay.
            if made, error != .crashed, readOnlyReason == nil { try? disk.remove(name) }
            throw failed(error)
        }
        beginTurn()
    }

    /// A failure of the disk that is not lack of space ends all writing.
    mutating func failed(_ error: DiskError) -> LogError {
        if error == .full { return .full }
        if error == .crashed { return .disk(error) }
        if readOnlyReason == nil { readOnlyReason = .writeFailed(error) }
        return .readOnly
    }

    private mutating func writePending() throws(LogError) {
        if let turnFailure {
            revertTurn()
            throw turnFailure
        }
        guard pendingCount > 0 else { return }
        if readOnlyReason != nil {
            revertTurn()
            throw .readOnly
        }
        let last = active
        do throws(DiskError) {
            try disk.write(
                segments[last].file, at: segments[last].length,
                RawSpan(_unsafeStart: pending, byteCount: pendingCount))
        } catch {
            if error == .full { giveBackCheckpoint() }
            if !plants(.forgetTurnFailure) {
                turnFailure = error == .full ? .full : error == .crashed ? .disk(error) : .readOnly
            }
            revertTurn()
            do throws(DiskError) {
                if plants(.keepRefused) { throw .full }
                try disk.truncate(segments[last].file, length: segments[last].length)
                // Durably, so that no crash brings back what is refused now.
                if error == .full { try disk.sync(segments[last].file) }
            } catch let second {
                if second == .crashed { throw .disk(.crashed) }
                if !plants(.keepRefused) {
                    // Whether it is gone is not known now.
                    if readOnlyReason == nil { readOnlyReason = .syncFailed(second) }
                    turnFailure = .readOnly
                    throw .readOnly
                }
            }
            reserved = min(reserved, segments[last].length)
            throw failed(error)
        }
        segments[last].length += UInt64(pendingCount)
        writtenBytes &+= UInt64(pendingCount)
        pendingCount = 0
    }

    private mutating func syncSegment() throws(LogError) {
        do throws(DiskError) { if !plants(.skipSync) { try disk.sync(segments[active].file) } } catch {
            if plants(.acknowledgeFailedSync), error != .crashed { return }
            if turnHasWrites { turnFailure = error == .crashed ? .disk(error) : .readOnly }
            revertTurn()
            if error == .crashed { throw .disk(error) }
            if !plants(.goOnAfterFailedSync) { readOnlyReason = .syncFailed(error) }
            throw .readOnly
        }
        durableSequence = nextSequence - 1
    }

    mutating func growPending(_ bytes: Int) {
        guard pendingCount + bytes > pendingCapacity else { return }
        while pendingCount + bytes > pendingCapacity { pendingCapacity *= 2 }
        let larger = UnsafeMutableRawPointer.allocate(byteCount: pendingCapacity, alignment: 4096)
        larger.copyMemory(from: pending, byteCount: pendingCount)
        pending.deallocate()
        pending = larger
    }

    mutating func beginTurn() {
        clearUndo()
        indexWriter.settle()
        turnFirst = nextSequence
        turnLength = segments.isEmpty ? 0 : segments[active].length
    }

    /// Takes back every write of this turn, as if it had not been asked for.
    mutating func revertTurn() {
        openBatch = nil
        if !plants(.forgetUndo) {
            revertWrites(after: 0, 0)
            revertRuns()
        }
        clearUndo()
        pendingCount = 0
        indexWriter.revert()
        batchLeft = 0
        if nextSequence > turnFirst { nextSequence = turnFirst }
        if !segments.isEmpty, turnLength >= UInt64(Format.headerBlockBytes) {
            segments[active].length = min(segments[active].length, turnLength)
        }
    }

    mutating func clearUndo() {
        undo.removeAll(keepingCapacity: true)
        if !modeUndo.isEmpty { modeUndo.clear() }
        if !unsettledRuns.isEmpty { settleRuns() }
    }

    /// Takes back the index's changes behind so many of this turn.
    mutating func revertWrites(after hashed: Int, _ others: Int) {
        revertModes(after: others)
        for change in undo[hashed...].reversed() {
            guard hasNamespace(change.namespace), let state = namespaces[Int(change.namespace)] else { continue }
            guard let slot = state.pointee.index.find(change.hash) else { continue }
            unaccount(state, slot.pointee, change.before)
            if change.before.isEmpty {
                state.pointee.index.remove(change.hash)
            } else {
                slot.pointee = change.before
            }
        }
        undo.removeLast(undo.count - hashed)
    }

    /// Puts a slot in the place of the key's former one, remembering that.
    @inline(__always)
    mutating func replace(_ state: UnsafeMutablePointer<NamespaceState>, _ hash: KeyHash, _ slot: Slot) {
        if let found = state.pointee.index.find(hash) {
            undo.append(Undo(namespace: state.pointee.id, hash: hash, before: found.pointee))
            account(state, found.pointee, slot)
            found.pointee = slot
        } else {
            undo.append(Undo(namespace: state.pointee.id, hash: hash, before: Slot()))
            account(state, Slot(), slot)
            state.pointee.index.insert(slot)
        }
    }
}
