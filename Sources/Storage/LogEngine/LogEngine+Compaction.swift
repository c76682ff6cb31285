import Simulation

// The steps of a compaction. Each slice does a bounded amount of work between two turns; a slice never waits for the
// disk to sync if the disk can do that beside it.

extension LogEngine {
    /// Bytes that are collected before they are written.
    private static var outputBufferBytes: Int { 256 << 10 }
    /// Bytes written between two syncs, so that none has much to do: others wait for the same disk.
    private static var syncEveryBytes: UInt64 { 8 << 20 }
    /// Time after which a run that lacked space is tried again.
    private static var retryNanoseconds: UInt64 { 5_000_000_000 }
    /// Time between looks for something to do while nothing was found.
    private static var lookNanoseconds: UInt64 { 1_000_000_000 }

    /// One slice; true if there is more to do, after `workDelay`.
    mutating func compact(now: UInt64, budget: Int) -> Bool {
        switch compaction.phase {
        case .idle: return begin(now)
        case .copying:
            let allowed = allowance(now, budget)
            if allowed > 0 { copySlice(allowed, now) }
        case .finishing: finishOutput(now)
        case .verifying: verifySlice(budget, now)
        case .publishing: publish(now)
        case .moving: moveSlice(budget)
        case .purging: purgeSlice(budget, now)
        }
        return true
    }

    // MARK: Pace

    /// Bytes that may be read and written now.
    private mutating func allowance(_ now: UInt64, _ budget: Int) -> Int {
        let rate = options.compactionRate == 0 ? LogOptions().compactionRate : options.compactionRate
        if rate >= 1 << 40 || isShortOfSpace { return budget }
        let elapsed = now > compaction.countedAt ? min(now - compaction.countedAt, 1_000_000_000) : 0
        compaction.countedAt = now
        let earned = UInt64(Double(rate) * Double(elapsed) / 1e9)
        compaction.tokens = min(compaction.tokens + earned, max(rate / 20, UInt64(2 * budget)))
        let least = UInt64(min(budget, 128 << 10))
        if compaction.tokens < least {
            workDelay = UInt64(Double(least - compaction.tokens) / Double(rate) * 1e9) + 1
            return 0
        }
        return Int(min(UInt64(budget), compaction.tokens))
    }

    /// Whether compaction has to hurry, because writes will soon lack space.
    public var isShortOfSpace: Bool {
        compaction.phase != .idle && space.total > 0 && space.free < 2 * compactionRoom(space.total)
    }

    private mutating func spend(_ bytes: Int) {
        compaction.tokens -= min(compaction.tokens, UInt64(bytes))
    }

    // MARK: Beginning

    private mutating func begin(_ now: UInt64) -> Bool {
        let hasChanged = compaction.lookedAt != nextSequence
        do throws(DiskError) { guard try endBackgroundSync() else { return true } } catch { return false }
        let wait = max(compaction.nextLook, compaction.blockedUntil)
        if now < wait, wait - now <= max(Self.lookNanoseconds, Self.retryNanoseconds) {
            workDelay = wait - now
            return hasChanged || compaction.isRequested
        }
        compaction.lookedAt = nextSequence
        let range = chooseInputs(now: now)
        guard !range.isEmpty else {
            settleWipes()
            compaction.isRequested = false
            compaction.nextLook = now + Self.lookNanoseconds
            return false
        }
        do throws(DiskError) { try ensureManifest(now) } catch {
            failCompaction("the manifest could not be made: \(error)", now)
            if error != .full { stopWriting(error) }
            return readOnlyReason == nil
        }
        compaction.inputs = range.map { order[$0] }
        compaction.startsTheLog = range.lowerBound == 0
        compaction.copiedLive = range.map { _ in 0 }
        compaction.input = 0
        (compaction.decidedAt, compaction.begunUpTo) = (now, nextSequence - 1)
        compaction.output = CompactionOutput()
        compaction.output.first = segments[compaction.inputs[0]].firstSequence
        compaction.output.last = segments[compaction.inputs[compaction.inputs.count - 1]].last
        compaction.phase = .copying
        openInput()
        return true
    }

    private mutating func openInput() {
        let segment = segments[compaction.inputs[compaction.input]]
        compaction.copyLeft = 0
        compaction.walker = CompactionWalker(
            SegmentWalker(
                disk: disk, file: segment.file, length: segment.length, seed: seed, expected: segment.firstSequence,
                allowsGaps: segment.kind == SegmentHeader.kindCompacted))
    }

    // MARK: Copying

    private mutating func copySlice(_ allowed: Int, _ now: UInt64) {
        var left = allowed
        do throws(DiskError) {
            while left > 0, compaction.phase == .copying, let walker = compaction.walker {
                if compaction.copyLeft > 0 {
                    left -= try copyBytes(walker)
                    continue
                }
                if compaction.walk != nil {
                    left -= try walkHistory(walker)
                    continue
                }
                switch walker.walker.next() {
                case .record(let header, let offset):
                    // Of a namespace's definition all of it is looked at.
                    let count = header.type == RecordType.namespace ? header.totalBytes : header.headBytes
                    guard let head = walker.walker.bytes(at: offset, count) else { throw .failed(5) }
                    try decide(header, head, offset)
                    left -= min(header.headBytes + (compaction.copyLeft == 0 ? Int(header.valueLength) : 0), 1 << 20)
                case .damage(let range, _, _):
                    pin("segment \(segments[compaction.inputs[compaction.input]].number) is damaged at \(range)", now)
                    return
                case .end(let offset, let garbage):
                    if garbage {
                        let number = segments[compaction.inputs[compaction.input]].number
                        pin("segment \(number) is damaged at \(offset)", now)
                        return
                    }
                    try endInput()
                }
            }
        } catch { failRun(error, now) }
        spend(allowed - max(left, 0))
    }

    /// A damaged input is kept as it is: what stood there is not known, so nobody may say that it is dead.
    private mutating func pin(_ reason: String, _ now: UInt64) {
        segments[compaction.inputs[compaction.input]].use.isPinned = true
        failCompaction(reason, now)
        compaction.blockedUntil = 0
    }

    mutating func decide(_ header: RecordHeader, _ head: UnsafeRawPointer, _ offset: UInt64) throws(DiskError) {
        let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
        switch try survival(header, head) {
        case .drop: return
        case .undecided:
            let name = HistoryKey(namespace: header.namespace, hash: hasher.hash(key))
            compaction.walk = HistoryWalk(key: name, bytes: [UInt8](key), header: header, offset: offset)
            return
        case .purge:
            compaction.purged.append((header.namespace, [UInt8](key), header.sequence))
            compaction.copiedLive[compaction.input] += UInt64(header.totalBytes)
            return
        case .current:
            compaction.copiedLive[compaction.input] += UInt64(header.totalBytes)
            if plants(.dropLive), header.sequence & 7 == 0 { return }
        case .keep: break
        }
        compaction.entry = (header, hasher.hash(key))
        compaction.copyAt = offset
        compaction.copyLeft = header.totalBytes
        compaction.copyValueFrom = offset + UInt64(header.headBytes)
        compaction.copyValueEnd = compaction.copyValueFrom + UInt64(header.valueLength)
        compaction.copyChecksum = ~0
        compaction.copyWanted = header.valueChecksum
        let owner = header.type == RecordType.namespaceEnd ? 0 : header.namespace
        compaction.output.usage[owner, default: 0] += UInt64(header.totalBytes)
    }

    /// Copies some bytes of the record as they are. A value that does not match stays one that does not match.
    private mutating func copyBytes(_ walker: CompactionWalker) throws(DiskError) -> Int {
        let count = min(compaction.copyLeft, 64 << 10)
        guard let bytes = walker.walker.bytes(at: compaction.copyAt, count) else { throw .failed(5) }
        let from = max(compaction.copyAt, compaction.copyValueFrom)
        let end = min(compaction.copyAt + UInt64(count), compaction.copyValueEnd)
        if from < end {
            compaction.copyChecksum = Format.checksum(
                compaction.copyChecksum, bytes + Int(from - compaction.copyAt), Int(end - from))
        }
        if compaction.output.file == nil { try makeOutput() }
        if let entry = compaction.entry {
            let at = compaction.output.length + UInt64(compaction.output.buffer.count)
            compaction.index?.writer.add(IndexEntry(entry.header, entry.hash, at, damaged: false))
            compaction.index?.writer.settle()
            compaction.entry = nil
        }
        compaction.output.buffer.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
        compaction.copyAt += UInt64(count)
        compaction.copyLeft -= count
        compaction.statistics.copiedBytes += UInt64(count)
        if compaction.copyLeft == 0, compaction.copyValueEnd > compaction.copyValueFrom,
            ~compaction.copyChecksum != compaction.copyWanted
        {
            compaction.statistics.damagedCopied += 1
        }
        if compaction.output.buffer.count >= Self.outputBufferBytes { try writeOutput() }
        return 2 * count
    }

    private mutating func makeOutput() throws(DiskError) {
        let oldest = segments[compaction.inputs[0]]
        var head = header
        head.kind = SegmentHeader.kindCompacted
        head.number = highestNumber + 1
        head.firstSequence = compaction.output.first
        head.previousSequence = compaction.output.first - min(compaction.output.first, 1)
        head.created = oldest.created
        compaction.output.number = head.number
        highestNumber = head.number
        compaction.output.file = try disk.open(Format.name(segment: head.number), create: true)
        compaction.index = OutputIndex(IndexWriter(disk: disk, header: head))
        compaction.output.buffer = head.block()
        compaction.output.buffer.reserveCapacity(Self.outputBufferBytes + (128 << 10))
    }

    private mutating func writeOutput() throws(DiskError) {
        guard let file = compaction.output.file, !compaction.output.buffer.isEmpty else { return }
        let end = compaction.output.length + UInt64(compaction.output.buffer.count)
        if end > compaction.output.reserved {
            compaction.output.reserved = end + UInt64(min(4 << 20, segmentBytes / 8))
            do throws(DiskError) { try disk.reserve(file, length: compaction.output.reserved) } catch {
                if error != .full { throw error }
                compaction.output.reserved = end
                try disk.reserve(file, length: end)
            }
        }
        try disk.write(file, at: compaction.output.length, compaction.output.buffer.span.bytes)
        compaction.output.buffer.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            compaction.output.checksum = Format.checksum(compaction.output.checksum, base, bytes.count)
        }
        space.uncounted += UInt64(compaction.output.buffer.count)
        compaction.output.length = end
        compaction.output.buffer.removeAll(keepingCapacity: true)
        if end - compaction.output.syncedLength >= Self.syncEveryBytes, try endBackgroundSync() {
            compaction.output.syncedLength = end
            try beginSync(file)
        }
    }

    private mutating func endInput() throws(DiskError) {
        compaction.deadWhenCopied += segments[compaction.inputs[compaction.input]].use.dead
        compaction.input += 1
        if compaction.input < compaction.inputs.count {
            openInput()
            return
        }
        compaction.walker = nil
        compaction.decidedUpTo = nextSequence - 1
        if let file = compaction.output.file {
            try writeOutput()
            try disk.truncate(file, length: compaction.output.length)
            compaction.output.syncedLength = 0
            if compaction.index?.writer.end(file, length: compaction.output.length) == true {
                compaction.output.index = .written
            }
            compaction.index = nil
        }
        compaction.phase = .finishing
    }

    // MARK: Making it durable

    /// A sync that failed ends all writing: what the disk holds is not known any more.
    private mutating func beginSync(_ file: DiskFile) throws(DiskError) {
        do throws(DiskError) { try disk.beginSync(file) } catch {
            if error != .crashed { noteSyncFailed(error) }
            throw error
        }
        compaction.isSyncing = true
    }

    /// Whether no sync is under way; takes the result of one that has ended.
    mutating func endBackgroundSync() throws(DiskError) -> Bool {
        guard compaction.isSyncing else { return true }
        let hasEnded: Bool
        do throws(DiskError) { hasEnded = try disk.endSync() } catch {
            compaction.isSyncing = false
            noteSyncFailed(error)
            throw error
        }
        guard hasEnded else {
            workDelay = 1_000_000
            return false
        }
        compaction.isSyncing = false
        if let sequence = compaction.syncingActive { noteSynced(min(sequence, nextSequence - 1)) }
        compaction.syncingActive = nil
        return true
    }

    /// The output, and all records that made others dead, have to be durable before anything is taken away.
    private mutating func finishOutput(_ now: UInt64) {
        do throws(DiskError) {
            guard try endBackgroundSync() else { return }
            if let file = compaction.output.file, compaction.output.syncedLength < compaction.output.length,
                !plants(.publishBeforeSync)
            {
                compaction.output.syncedLength = compaction.output.length
                try beginSync(file)
            } else if durableSequence < compaction.decidedUpTo, !plants(.decideBeforeDurable) {
                compaction.syncingActive = turnFirst - 1
                try beginSync(segments[active].file)
            } else {
                compaction.verifiedAt = 0
                compaction.verifiedChecksum = ~0
                compaction.phase = compaction.output.file == nil ? .publishing : .verifying
            }
        } catch { failRun(error, now) }
    }

    /// Reads the output again: nothing is given up for bytes that cannot be read.
    private mutating func verifySlice(_ budget: Int, _ now: UInt64) {
        guard let file = compaction.output.file else { return }
        var left = budget
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 128 << 10, alignment: 16)
        defer { buffer.deallocate() }
        do throws(DiskError) {
            while left > 0, compaction.verifiedAt < compaction.output.length {
                let count = Int(min(128 << 10, compaction.output.length - compaction.verifiedAt))
                try disk.read(file, at: compaction.verifiedAt, buffer, count)
                compaction.verifiedChecksum = Format.checksum(compaction.verifiedChecksum, buffer, count)
                compaction.verifiedAt += UInt64(count)
                left -= count
            }
        } catch {
            failRun(error, now)
            return
        }
        guard compaction.verifiedAt == compaction.output.length else { return }
        if compaction.verifiedChecksum == compaction.output.checksum {
            compaction.phase = .publishing
        } else {
            failCompaction("segment \(compaction.output.number) does not hold what was written to it", now)
        }
    }

    // MARK: Giving up

    /// An error of the disk in a run.
    private mutating func failRun(_ error: DiskError, _ now: UInt64) {
        failCompaction(error == .full ? "no space" : "\(error)", now)
    }

    /// Ends the run as if it had not been begun.
    mutating func failCompaction(_ reason: String, _ now: UInt64) {
        compaction.lastFailure = reason
        compaction.statistics.failures += 1
        compaction.blockedUntil = now + Self.retryNanoseconds
        abandonRun()
    }

    /// Takes the run back; its output is discarded.
    mutating func abandonRun(overwrites: Bool = false) {
        if let file = compaction.output.file {
            let name = Format.name(segment: compaction.output.number)
            discarded.append(
                DiscardedFile(
                    name: name, number: compaction.output.number, file: file, position: nil,
                    length: compaction.output.length, overwrites: overwrites || !compaction.wiped.isEmpty))
            compaction.index = nil
            try? disk.remove(Format.name(index: compaction.output.number))
        }
        compaction.forgetRun()
    }

    /// What the disk holds is not known any more.
    mutating func stopWriting(_ error: DiskError) {
        if readOnlyReason == nil { readOnlyReason = .writeFailed(error) }
    }
}
