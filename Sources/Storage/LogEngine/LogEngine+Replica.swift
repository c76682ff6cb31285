import Simulation

/// A device that takes its log from a master, and how it becomes one.
extension LogEngine {
    // MARK: Roles

    /// What this device is.
    public var role: DeviceRole { roleFile.role }
    /// Whether it became the master by a command.
    public var isPromoted: Bool { roleFile.isPromoted }
    /// The highest epoch that this device has met, its own included.
    public var knownEpoch: UInt64 { max(header.epoch, roleFile.epoch) }
    /// Why it does not write, from what it is.
    mutating func take(_ role: RoleFile) {
        roleFile = role
        switch role.role {
        case .master: writeRefusal = nil
        case .replica: writeRefusal = .replica
        case .superseded: writeRefusal = .superseded(epoch: role.epoch)
        }
    }

    /// An empty device that is to become the copy of another.
    static func wait(_ disk: any Disk, _ options: LogOptions, _ role: RoleFile) -> LogEngine {
        var header = SegmentHeader()
        header.epoch = 0
        var engine = LogEngine(disk: disk, options: options, header: header)
        engine.take(role)
        return engine
    }

    /// An empty device becomes the copy of the one that this header is of.
    private mutating func adopt(_ sent: SegmentHeader) {
        header = sent
        header.epoch = 0
        seed = sent.checksumSeed
        hasher = KeyHasher(of: sent)
        nextSequence = sent.firstSequence
    }

    /// Takes its log from a master from now on, durably.
    public mutating func follow() throws(LogError) {
        if turnHasWrites || isDirty, readOnlyReason == nil { try commit(sync: true) }
        // A replica's compactions are its master's.
        if compaction.phase != .idle, !compaction.isPublished { abandonRun() }
        if roleFile.role != .replica {
            var file = roleFile
            (file.role, file.epoch) = (.replica, knownEpoch)
            try file.store(disk)
            roleFile = file
        }
        isOpened = false
        writeRefusal = .replica
    }

    /// Becomes the master again that it was promoted to be, because nobody was promoted since. False if that is not so.
    public mutating func resume() throws(LogError) -> Bool {
        guard role == .replica, roleFile.isPromoted, roleFile.epoch == header.epoch, readOnlyReason == nil else {
            return false
        }
        try commit(sync: true)
        var file = roleFile
        file.role = .master
        try file.store(disk)
        leaveGap()
        take(file)
        return true
    }

    /// Numbers behind the last one here may have been given, and seen: the next one is far behind them.
    private mutating func leaveGap() {
        endOfEarlier = nextSequence - 1
        firstOfSession = endedWithClose ? nextSequence : (nextSequence | 0xffff_ffff) &+ 1
        isOpened = false
    }

    /// Another master of a higher epoch was met: no more writes, durably. False if the epoch is not higher.
    public mutating func supersede(by epoch: UInt64) throws(LogError) -> Bool {
        guard epoch > knownEpoch else { return false }
        var file = roleFile
        file.epoch = epoch
        if file.role == .master { file.role = .superseded }
        // Refusing comes first: a write must not slip in when the note of it cannot be kept.
        if file.role == .superseded { writeRefusal = .superseded(epoch: epoch) }
        roleFile = file
        try roleFile.store(disk)
        return true
    }

    /// Becomes the master of a higher epoch than any that was met: ends the segment and begins one of that epoch.
    /// Returns the epoch.
    public mutating func promote(epoch wanted: UInt64? = nil, time: UInt64) throws(LogError) -> UInt64 {
        guard !segments.isEmpty else { throw .absent }
        if readOnlyReason != nil { throw .readOnly }
        let next = knownEpoch < .max ? knownEpoch + 1 : .max
        let epoch = wanted ?? next
        guard epoch >= next else { throw .fenced(epoch: knownEpoch) }
        if isIncomplete { throw .incomplete }
        try commit(sync: true)
        abandonReplacements()
        try sealActive()
        leaveGap()
        let former = header.epoch
        if !plants(.promoteWithoutEpoch) { header.epoch = epoch }
        lastTime = max(lastTime, time)
        // Numbers that the former master may have given are not given to other segments.
        let number = (highestNumber | 0xffff_ffff) &+ 1
        do throws(LogError) { try startSegment(number: number) } catch {
            header.epoch = former
            throw error
        }
        var file = roleFile
        (file.role, file.epoch, file.isPromoted) = (.master, epoch, true)
        try file.store(disk)
        roleFile = file
        writeRefusal = nil
        return epoch
    }

    /// Everything up to this number is on as many replicas as the settings require; all of it if they require none.
    public mutating func note(confirmed: UInt64) { confirmedSequence = confirmed }

    /// Refuses writes while too few replicas are connected.
    public mutating func requireReplicas(isMissing: Bool) {
        guard role == .master else { return }
        writeRefusal = isMissing ? .tooFewReplicas : nil
    }

    // MARK: What a master sends

    /// Where the next byte of the log belongs.
    public var replicatedEnd: LogPosition {
        guard !segments.isEmpty else { return LogPosition(segment: 0, offset: 0) }
        let last = segments[active]
        return LogPosition(segment: last.number, offset: last.length + UInt64(pendingCount))
    }

    /// Begins a segment as the master did; `decided`: what a compacted one leaves out was decided on records up to it.
    mutating func beginReplicated(_ number: UInt64, _ block: [UInt8], decided: UInt64) throws(ReplicaFailure) {
        guard role == .replica else { throw .protocolError }
        let sent = try checkHeader(number, block)
        guard sent.kind == SegmentHeader.kindLog || sent.kind == SegmentHeader.kindCompacted else {
            throw .protocolError
        }
        try checkFree(number)
        if segments.isEmpty {
            adopt(sent)
        } else {
            guard positions[number] == nil, sent.firstSequence >= nextSequence else { throw .protocolError }
        }
        do throws(LogError) {
            if !segments.isEmpty {
                try commit(sync: true)
                try sealActive()
            }
            if sent.kind == SegmentHeader.kindCompacted { try note(decided: decided) }
            try makeReplicated(sent, block)
        } catch { throw .log(error) }
        // A compacted segment has the epoch of its compaction, which may be higher than that of what follows.
        let epoch = max(header.epoch, sent.epoch)
        header = sent
        (header.epoch, header.kind) = (epoch, SegmentHeader.kindLog)
        nextSequence = max(nextSequence, sent.firstSequence)
        durableSequence = nextSequence - 1
        beginTurn()
    }

    private mutating func makeReplicated(_ sent: SegmentHeader, _ block: [UInt8]) throws(LogError) {
        let name = Format.name(segment: sent.number)
        let isIrregular = sent.kind != SegmentHeader.kindLog || sent.number < highestNumber
        var made = false
        do throws(DiskError) {
            if isIrregular, !segments.isEmpty { try ensureManifest(lastTime) }
            let file = try disk.open(name, create: true)
            made = true
            try disk.write(file, at: 0, block.span.bytes)
            try disk.sync(file)
            try noteReplicated(sent, isIrregular: isIrregular)
            var segment = Segment(
                number: sent.number, file: file, firstSequence: sent.firstSequence, length: UInt64(block.count))
            (segment.kind, segment.created) = (sent.kind, sent.created)
            beginSegment(segment, sent)
            reserved = UInt64(block.count)
            hasDamagedHeader = false
        } catch {
            // What the manifest may name already has to stay.
            if made, error != .crashed, readOnlyReason == nil { try? disk.remove(name) }
            throw failed(error)
        }
    }

    /// The manifest names a segment before it has records, and from the first on of which the directory says too little.
    private mutating func noteReplicated(_ sent: SegmentHeader, isIrregular: Bool) throws(DiskError) {
        let added = Manifest.Entry(number: sent.number, kind: sent.kind, first: sent.firstSequence)
        guard !segments.isEmpty else {
            if isIrregular { manifest = try Manifest.create(disk, sent, [.add(added)], time: lastTime) }
            return
        }
        if segments[active].last == 0 { segments[active].last = sent.previousSequence }
        guard manifest != nil else { return }
        var sealed = manifestEntry(active)
        (sealed.last, sealed.length) = (segments[active].last, segments[active].length)
        try editManifest([.seal(sealed), .add(added)], lastTime)
    }

    /// Takes the whole records, and whole batches, at the start of some bytes of the active segment; returns how many
    /// bytes they had. They are a part of this turn.
    mutating func ingest(_ bytes: UnsafeRawPointer, _ count: Int) throws(ReplicaFailure) -> Int {
        guard !segments.isEmpty, role == .replica else { throw .protocolError }
        if readOnlyReason != nil { throw .log(.readOnly) }
        var start = 0
        while start < count {
            guard let (end, records) = try group(bytes, start, count) else { break }
            do throws(LogError) { try ensureReplicaRoom(end - start) } catch { throw .log(error) }
            var at = start
            for _ in 0..<records { at += try ingestOne(bytes + at) }
            start = end
        }
        return start
    }

    /// The end of the record, or batch, that begins at a place, and how many records it has; nil if more bytes are
    /// needed. Everything in it has been checked.
    private func group(
        _ bytes: UnsafeRawPointer, _ start: Int, _ count: Int
    ) throws(ReplicaFailure) -> (end: Int, records: Int)? {
        var at = start
        var expected = nextSequence
        var records = 0
        let isCompacted = segments[active].allowsGaps
        while at + Format.recordHeaderBytes <= count {
            let head = bytes + at
            let place = LogPosition(
                segment: segments[active].number, offset: replicatedEnd.offset + UInt64(at - start))
            guard let record = RecordHeader(head) else { throw .corrupt(place) }
            guard at + record.totalBytes <= count else { return nil }
            guard record.isValid(head, seed: seed),
                Format.checksum(head + record.headBytes, Int(record.valueLength)) == record.valueChecksum
            else { throw .corrupt(place) }
            let isGap = isCompacted || record.type == RecordType.open
            let isNext = record.sequence == expected || (isGap && record.sequence > expected)
            guard isNext, record.sequence < .max else { throw .corrupt(place) }
            expected = record.sequence + 1
            at += record.totalBytes
            records += 1
            if record.batchRemaining == 0 || isCompacted { return (at, records) }
        }
        return nil
    }

    /// One record that was checked: into the turn, and into the index.
    private mutating func ingestOne(_ head: UnsafeRawPointer) throws(ReplicaFailure) -> Int {
        guard let record = RecordHeader(head) else { throw .protocolError }
        let isKey = record.type == RecordType.value || record.type == RecordType.tombstone
        let total = record.totalBytes
        do throws(LogError) {
            // What cannot be taken back stands alone in a turn, written before it is in force.
            if !isKey { try commit(sync: false) }
            growPending(total)
            (pending + pendingCount).copyMemory(from: head, byteCount: total)
            let offset = segments[active].length + UInt64(pendingCount)
            pendingCount += total
            let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(record.keyLength))
            indexWriter.add(IndexEntry(record, hasher.hash(key), offset, damaged: false))
            if record.type == RecordType.open || segments[active].allowsGaps {
                // Numbers that were left out are as good as durable.
                if durableSequence + 1 == nextSequence { durableSequence = record.sequence - 1 }
            }
            nextSequence = record.sequence + 1
            if !isKey { try commit(sync: false) }
            try apply(record, head, head + record.headBytes, active, offset)
            if pendingCount > LogLimits.pendingBytes { try commit(sync: false) }
        } catch { throw .log(error) }
        return total
    }

    /// Space for so many bytes more, so that a lack of it is found before anything is written.
    private mutating func ensureReplicaRoom(_ bytes: Int) throws(LogError) {
        let end = segments[active].length + UInt64(pendingCount + bytes)
        if end <= reserved { return }
        let wanted = (end / UInt64(options.reserveBytes) + 1) * UInt64(options.reserveBytes)
        for length in [wanted, end] {
            do throws(DiskError) {
                try disk.reserve(segments[active].file, length: length)
                reserved = length
                return
            } catch {
                if error == .full { continue }
                if error != .crashed, readOnlyReason == nil { readOnlyReason = .writeFailed(error) }
                throw error == .crashed ? .disk(error) : .readOnly
            }
        }
        throw .full
    }

    /// The master's segment takes no more records, so neither does this one; it stands for numbers up to `last`.
    mutating func sealReplicated(last: UInt64) throws(ReplicaFailure) {
        guard !segments.isEmpty, role == .replica else { throw .protocolError }
        do throws(LogError) {
            try commit(sync: true)
            try sealActive()
        } catch { throw .log(error) }
        segments[active].last = last
    }

    /// Cuts the active segment to its last record, durably.
    mutating func sealActive() throws(LogError) {
        let last = segments[active]
        do throws(DiskError) {
            try disk.truncate(last.file, length: last.length)
            reserved = last.length
            try disk.sync(last.file)
        } catch {
            if error != .crashed, readOnlyReason == nil { readOnlyReason = .writeFailed(error) }
            throw error == .crashed ? .disk(error) : .readOnly
        }
    }

    /// Stops in order: what was received is durable, and the file ends with it.
    mutating func closeReplica() throws(LogError) {
        guard !segments.isEmpty else { return }
        try commit(sync: true)
        try checkpointTables()
        try sealActive()
    }
}
