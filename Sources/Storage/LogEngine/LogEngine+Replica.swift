import Simulation

extension Format {
    /// Whether a file is derived from records of a segment, or of a later one: an index, a table or the checkpoint.
    fileprivate static func isDerived(_ name: String, from number: UInt64) -> Bool {
        if SequentialTable.namespace(name) != nil || name == CheckpointHeader.name { return true }
        guard let segment = Format.number(index: name) else { return false }
        return segment >= number
    }
}

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
        seed = sent.checksumSeed
        hasher = KeyHasher(of: sent)
        nextSequence = sent.firstSequence
    }

    /// Takes its log from a master from now on, durably.
    public mutating func follow() throws(LogError) {
        if turnHasWrites || isDirty, readOnlyReason == nil { try commit(sync: true) }
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
        try commit(sync: true)
        try sealActive()
        leaveGap()
        let former = header.epoch
        if !plants(.promoteWithoutEpoch) { header.epoch = epoch }
        lastTime = max(lastTime, time)
        do throws(LogError) { try startSegment(number: highestNumber + 1) } catch {
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

    /// Begins a segment as the master did.
    mutating func beginReplicated(_ number: UInt64, _ block: [UInt8]) throws(ReplicaFailure) {
        guard let sent = SegmentHeader(block: block), sent.number == number else {
            throw .corrupt(LogPosition(segment: number, offset: 0))
        }
        guard sent.version == Format.version, sent.requiredFeatures & ~Format.requiredFeaturesKnown == 0 else {
            throw .log(
                .unsupported(segment: number, version: sent.version, features: sent.requiredFeatures))
        }
        guard role == .replica else { throw .protocolError }
        guard sent.epoch >= header.epoch || segments.isEmpty else { throw .outdated(epoch: sent.epoch) }
        if segments.isEmpty {
            guard sent.kind == SegmentHeader.kindLog else { throw .protocolError }
            adopt(sent)
        } else {
            guard sent.device == header.device, sent.salt == header.salt else { throw .foreign }
            guard number > segments[active].number, sent.firstSequence >= nextSequence else { throw .protocolError }
        }
        do throws(LogError) {
            if !segments.isEmpty {
                try commit(sync: true)
                try sealActive()
            }
            try makeReplicated(sent, block)
        } catch { throw .log(error) }
        header = sent
        nextSequence = max(nextSequence, sent.firstSequence)
        durableSequence = nextSequence - 1
        beginTurn()
    }

    private mutating func makeReplicated(_ sent: SegmentHeader, _ block: [UInt8]) throws(LogError) {
        let name = Format.name(segment: sent.number)
        var made = false
        do throws(DiskError) {
            let file = try disk.open(name, create: true)
            made = true
            try disk.write(file, at: 0, block.span.bytes)
            try disk.sync(file)
            beginSegment(
                Segment(
                    number: sent.number, file: file, firstSequence: sent.firstSequence, length: UInt64(block.count)),
                sent)
            reserved = UInt64(block.count)
            hasDamagedHeader = false
        } catch {
            if made, error != .crashed { try? disk.remove(name) }
            if error == .full { throw .full }
            if error != .crashed, readOnlyReason == nil { readOnlyReason = .writeFailed(error) }
            throw error == .crashed ? .disk(error) : .readOnly
        }
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
        while at + Format.recordHeaderBytes <= count {
            let head = bytes + at
            let place = LogPosition(
                segment: segments[active].number, offset: replicatedEnd.offset + UInt64(at - start))
            guard let record = RecordHeader(head) else { throw .corrupt(place) }
            guard at + record.totalBytes <= count else { return nil }
            guard record.isValid(head, seed: seed),
                Format.checksum(head + record.headBytes, Int(record.valueLength)) == record.valueChecksum
            else { throw .corrupt(place) }
            let isNext = record.sequence == expected || (record.type == RecordType.open && record.sequence > expected)
            guard isNext, record.sequence < .max else { throw .corrupt(place) }
            expected = record.sequence + 1
            at += record.totalBytes
            records += 1
            if record.batchRemaining == 0 { return (at, records) }
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
            if record.type == RecordType.open {
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

    /// The master's segment takes no more records, so neither does this one.
    mutating func sealReplicated() throws(ReplicaFailure) {
        do throws(LogError) {
            try commit(sync: true)
            try sealActive()
        } catch { throw .log(error) }
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

    // MARK: A tail that the master does not have

    /// Whether nothing but notes of processes (open, mark, close) stands behind a place.
    public func isWithoutChanges(behind position: LogPosition) throws(LogError) -> Bool {
        for index in order where segments[index].number >= position.segment {
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
        do throws(DiskError) {
            // What is derived may know records that go.
            for name in try disk.list() where Format.isDerived(name, from: position.segment) { try disk.remove(name) }
            for index in order.reversed() where segments[index].number >= position.segment {
                let segment = segments[index]
                if segment.number > position.segment || position.offset <= UInt64(Format.headerBlockBytes) {
                    try disk.remove(Format.name(segment: segment.number))
                } else {
                    try? disk.remove(Format.name(index: segment.number))
                    if !plants(.keepTail) { try disk.truncate(segment.file, length: position.offset) }
                    try disk.sync(segment.file)
                }
            }
        } catch { throw .disk(error) }
        readOnlyReason = .writeFailed(.failed(0))
    }

    /// Ends the use of the files, before the engine is opened again.
    public mutating func closeFiles() {
        closeIndex()
        for index in order { disk.close(segments[index].file) }
        for case let state? in namespaces { state.pointee.table?.close() }
        order = []
    }
}
