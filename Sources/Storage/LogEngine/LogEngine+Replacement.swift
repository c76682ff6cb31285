import Simulation

/// A replica follows its master's compactions.
extension LogEngine {
    /// Bytes of a staged segment between two syncs, so that none has much to do.
    private static var syncEveryBytes: UInt64 { 4 << 20 }

    // MARK: What can be told

    /// Whether what this copy would answer may be what never was: its compacted segments left out what records that it
    /// does not have superseded. It is not to be read, and not to be promoted.
    public var isIncomplete: Bool {
        role != .master
            && (roleFile.isIncomplete || roleFile.decided >= nextSequence || needsReopening || isOutOfOrder)
            && !isRecovering
    }

    /// The number of the record up to which an incomplete copy has to come; it also may have segments to replace.
    public var completeFrom: UInt64 { roleFile.decided }

    /// Replacements that were made since the start, and those that are under way.
    public var replacementCounts: (done: UInt64, pending: Int) {
        (replacements.done, replacements.queue.count + (replacements.staged.isEmpty ? 0 : 1))
    }

    /// Why a replacement failed, once: the connection to the master is to be made again.
    public mutating func takeReplacementFailure() -> String? {
        defer { replacements.failure = nil }
        return replacements.failure
    }

    /// Notes durably what is decided on before a segment counts that leaves something out.
    mutating func note(decided: UInt64) throws(LogError) {
        guard decided > roleFile.decided else { return }
        var file = roleFile
        file.decided = decided
        try file.store(disk)
        roleFile = file
    }

    /// The master says that this copy has all of its segments and nothing else.
    mutating func noteAligned() throws(LogError) {
        guard role == .replica, replacements.phase == .idle, replacements.queue.isEmpty,
            roleFile.decided < nextSequence, roleFile.isIncomplete || isOutOfOrder
        else { return }
        try commit(sync: true)
        // Definitions may have come behind what they define: all is read again.
        giveBackCheckpoint()
        needsReopening = true
        guard roleFile.isIncomplete else { return }
        var file = roleFile
        file.isIncomplete = false
        try file.store(disk)
        roleFile = file
    }

    // MARK: Staging

    mutating func beginStaged(_ number: UInt64, _ block: [UInt8]) throws(ReplicaFailure) {
        guard role == .replica, !segments.isEmpty, readOnlyReason == nil else { throw .protocolError }
        let sent = try checkHeader(number, block)
        guard positions[number] == nil else { throw .protocolError }
        // One that was not ended is not wanted any more.
        discardStaged { !$0.isWhole || $0.header.number == number }
        try checkFree(number)
        do throws(LogError) {
            do throws(DiskError) { try ensureManifest(lastTime) } catch { throw failed(error) }
            let file = try disk.opening(Format.name(segment: number), create: true)
            highestNumber = max(highestNumber, number)
            replacements.staged.append(
                StagedSegment(
                    header: sent, file: file, length: UInt64(block.count),
                    checksum: Format.checksum(~0, block)))
            space.uncounted += UInt64(block.count)
            do throws(DiskError) { try disk.write(file, at: 0, block.span.bytes) } catch { throw Self.space(error) }
        } catch { throw .log(error) }
    }

    /// The first block of a segment that the master sent.
    func checkHeader(_ number: UInt64, _ block: [UInt8]) throws(ReplicaFailure) -> SegmentHeader {
        guard let sent = SegmentHeader(block: block), sent.number == number else {
            throw .corrupt(LogPosition(segment: number, offset: 0))
        }
        guard sent.version == Format.version, sent.requiredFeatures & ~Format.requiredFeaturesKnown == 0 else {
            throw .log(
                .unsupported(segment: number, version: sent.version, features: sent.requiredFeatures))
        }
        if !segments.isEmpty, sent.device != header.device || sent.salt != header.salt { throw .foreign }
        return sent
    }

    /// A file of this number may still be there, to be overwritten or removed.
    func checkFree(_ number: UInt64) throws(ReplicaFailure) {
        if discarded.contains(where: { $0.number == number }) { throw .busy(segment: number) }
    }

    private static func space(_ error: DiskError) -> LogError { error == .full ? .full : .disk(error) }

    mutating func ingestStaged(
        _ at: LogPosition, _ bytes: UnsafeRawPointer, _ count: Int
    ) throws(ReplicaFailure) {
        guard let index = replacements.staged.indices.last, !replacements.staged[index].isWhole,
            replacements.staged[index].header.number == at.segment, replacements.staged[index].length == at.offset
        else { throw .protocolError }
        do throws(DiskError) {
            try disk.write(
                replacements.staged[index].file, at: at.offset, RawSpan(_unsafeStart: bytes, byteCount: count))
        } catch { throw .log(Self.space(error)) }
        replacements.staged[index].length += UInt64(count)
        replacements.staged[index].checksum = Format.checksum(replacements.staged[index].checksum, bytes, count)
        space.uncounted += UInt64(count)
        let unsynced = replacements.staged[index].length - replacements.staged[index].syncedLength
        if unsynced >= Self.syncEveryBytes { try syncStaged(index) }
    }

    mutating func endStaged(_ at: LogPosition, checksum: UInt64) throws(ReplicaFailure) {
        guard let index = replacements.staged.indices.last, !replacements.staged[index].isWhole,
            replacements.staged[index].header.number == at.segment, replacements.staged[index].length == at.offset
        else { throw .protocolError }
        guard UInt64(~replacements.staged[index].checksum) == checksum else { throw .corrupt(at) }
        try syncStaged(index)
        replacements.staged[index].isWhole = true
    }

    private mutating func syncStaged(_ index: Int) throws(ReplicaFailure) {
        do throws(DiskError) { try disk.sync(replacements.staged[index].file) } catch {
            if error != .crashed { noteSyncFailed(error) }
            throw .log(.disk(error))
        }
        replacements.staged[index].syncedLength = replacements.staged[index].length
    }

    /// Takes a replacement; it is made in slices.
    mutating func take(_ replacement: Replacement) throws(ReplicaFailure) {
        guard role == .replica else { throw .protocolError }
        for entry in replacement.added {
            guard let staged = replacements.staged.first(where: { $0.header.number == entry.number }), staged.isWhole,
                staged.length == entry.length, staged.header.firstSequence == entry.first,
                staged.header.kind == entry.kind, entry.last >= entry.first
            else { throw .protocolError }
            guard entry.checksum == nil || entry.checksum == ~staged.checksum else {
                throw .corrupt(LogPosition(segment: entry.number, offset: 0))
            }
        }
        replacements.queue.append(replacement)
        // Whole segments that no replacement names are not wanted any more: what the master sends later comes again.
        let wanted = Set(replacements.queue.flatMap { $0.added.map(\.number) })
        discardStaged { $0.isWhole && !wanted.contains($0.header.number) }
    }

    // MARK: Giving up

    private mutating func discardStaged(where isUnwanted: (StagedSegment) -> Bool) {
        for staged in replacements.staged where isUnwanted(staged) {
            discarded.append(
                DiscardedFile(
                    name: Format.name(segment: staged.header.number), number: staged.header.number, file: staged.file,
                    position: nil, length: staged.length, overwrites: !compaction.wiped.isEmpty))
        }
        replacements.staged.removeAll(where: isUnwanted)
    }

    /// Gives up what has not happened yet: staged segments, and replacements that are not in the manifest.
    mutating func abandonReplacements() {
        if replacements.phase == .moving || replacements.phase == .purging {
            replacements.queue.removeLast(replacements.queue.count - 1)
        } else {
            replacements.queue = []
            replacements.phase = .idle
            replacements.walker = nil
        }
        discardStaged { _ in true }
    }

    private mutating func failReplacement(_ reason: String) {
        abandonReplacements()
        replacements.failure = reason
    }

    // MARK: Slices

    /// One slice of what has to be replaced; true if there is more.
    mutating func replaceSlice(_ budget: Int, _ now: UInt64) -> Bool {
        guard let change = replacements.queue.first else { return false }
        switch replacements.phase {
        case .idle: beginReplacement(change)
        case .verifying: verifyReplacement(change, budget)
        case .publishing: publish(change)
        case .moving: moveReplaced(budget)
        case .purging: purgeReplaced(budget, now)
        }
        return true
    }

    /// All that was looked at when something was left out has to be here, durably.
    private mutating func beginReplacement(_ change: Replacement) {
        do throws(LogError) {
            if durableSequence < change.decided { try commit(sync: true) }
            guard durableSequence >= change.decided else {
                failReplacement("segments were replaced before the log that they follow from was here")
                return
            }
        } catch {
            failReplacement("\(error)")
            return
        }
        replacements.usage = []
        replacements.index = 0
        replacements.walker = nil
        replacements.phase = .verifying
    }

    private func walker(_ file: DiskFile, _ length: UInt64, _ kind: UInt32, _ first: UInt64) -> CompactionWalker {
        CompactionWalker(
            SegmentWalker(
                disk: disk, file: file, length: length, seed: seed, expected: first,
                allowsGaps: kind == SegmentHeader.kindCompacted))
    }

    /// Reads every head of the new segments once before the former ones are given up.
    private mutating func verifyReplacement(_ change: Replacement, _ budget: Int) {
        guard replacements.index < change.added.count else {
            replacements.phase = .publishing
            return
        }
        let entry = change.added[replacements.index]
        guard let staged = replacements.staged.first(where: { $0.header.number == entry.number }) else {
            failReplacement("segment \(entry.number) is not here")
            return
        }
        if replacements.walker == nil {
            replacements.walker = walker(staged.file, staged.length, entry.kind, entry.first)
            replacements.usage.append([:])
        }
        guard let walker = replacements.walker else { return }
        var left = budget
        while left > 0 {
            switch walker.walker.next() {
            case .record(let header, _):
                left -= 256 + min(Int(header.valueLength), 4096)
                let owner = header.type == RecordType.namespaceEnd ? 0 : header.namespace
                replacements.usage[replacements.index][owner, default: 0] += UInt64(header.totalBytes)
            case .damage(let range, _, _):
                failReplacement("segment \(entry.number) is damaged at \(range)")
                return
            case .end(let offset, _):
                guard offset == staged.length else {
                    failReplacement("segment \(entry.number) is damaged at \(offset)")
                    return
                }
                replacements.walker = nil
                replacements.index += 1
                return
            }
        }
    }

    /// Where in the order of the log the removed segments stand, or the added ones belong.
    private func place(of change: Replacement) -> Range<Int>? {
        let numbers = order.map { segments[$0].number }
        guard let first = change.removed.first else {
            guard let entry = change.added.first,
                let index = order.firstIndex(where: { segments[$0].firstSequence >= entry.first })
            else { return nil }
            return index..<index
        }
        guard let start = numbers.firstIndex(of: first), start + change.removed.count < numbers.count,
            Array(numbers[start..<start + change.removed.count]) == change.removed
        else { return nil }
        return start..<start + change.removed.count
    }

    /// Puts the new segments in the place of the former ones.
    private mutating func publish(_ change: Replacement) {
        guard let place = place(of: change) else {
            failReplacement("the segments to replace are not those that are here")
            return
        }
        settleAllUsage()
        let removed = Array(order[place])
        var edits = change.added.map { Manifest.Edit.add($0) }
        edits += removed.map { .remove(segments[$0].number, overwrites: isToWipe($0)) }
        do throws(LogError) {
            try note(decided: change.decided)
            do throws(DiskError) {
                try ensureManifest(lastTime)
                try editManifest(edits, lastTime)
            } catch { throw Self.space(error) }
        } catch {
            failReplacement("the change could not be noted: \(error)")
            return
        }
        var added: [Int] = []
        for (index, entry) in change.added.enumerated() {
            guard let at = replacements.staged.firstIndex(where: { $0.header.number == entry.number }) else { continue }
            let staged = replacements.staged.remove(at: at)
            var made = Segment(
                number: entry.number, file: staged.file, firstSequence: entry.first, length: entry.length)
            (made.kind, made.last, made.created) = (entry.kind, entry.last, staged.header.created)
            made.use.usage = replacements.usage[index]
            for (id, bytes) in made.use.usage { changeDiskBytes(id, adding: bytes) }
            space.uncounted -= min(space.uncounted, made.length)
            positions[made.number] = segments.count
            added.append(segments.count)
            segments.append(made)
        }
        order.replaceSubrange(place, with: added)
        orderGeneration += 1
        for position in removed {
            for (id, bytes) in segments[position].use.usage { changeDiskBytes(id, removing: bytes) }
            space.uncounted += segments[position].length
        }
        (replacements.removed, replacements.added, replacements.index) = (removed, added, 0)
        replacements.walker = nil
        replacements.phase = .moving
    }

    /// Leads slots to the records' new places.
    private mutating func moveReplaced(_ budget: Int) {
        guard replacements.index < replacements.added.count else {
            (replacements.index, replacements.walker, replacements.phase) = (0, nil, .purging)
            return
        }
        let position = replacements.added[replacements.index]
        let segment = segments[position]
        if replacements.walker == nil {
            replacements.walker = walker(segment.file, segment.length, segment.kind, segment.firstSequence)
        }
        guard let walker = replacements.walker else { return }
        var left = budget
        space.isRebuilding = true
        defer {
            space.isRebuilding = false
            clearUndo()
        }
        while left > 0 {
            switch walker.walker.next() {
            case .record(let header, let offset):
                left -= 256 + min(Int(header.valueLength), 4096)
                guard header.type == RecordType.value || header.type == RecordType.tombstone,
                    let head = walker.walker.bytes(at: offset, header.headBytes)
                else { continue }
                let key = UnsafeRawBufferPointer(
                    start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
                do throws(LogError) { try follow(header, key, to: position, offset) } catch {
                    // The slot stays where it is, and with it the segment that it points to.
                    replacements.failure = "segment \(segment.number): \(error)"
                }
            case .damage(let range, _, _):
                replacements.failure = "segment \(segment.number) is damaged at \(range)"
            case .end:
                replacements.walker = nil
                replacements.index += 1
                return
            }
        }
    }

    private mutating func follow(
        _ header: RecordHeader, _ key: UnsafeRawBufferPointer, to position: Int, _ offset: UInt64
    ) throws(LogError) {
        guard hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)],
            header.sequence >= state.pointee.flushed
        else { return }
        let hash = hasher.hash(key)
        let slot = try current(state, key, hash)
        if let slot, slot.sequence >= header.sequence {
            if try move(header, key, to: position, offset, from: replacements.removed), state.pointee.table != nil {
                replacements.movesTables = true
            }
            return
        }
        // Something was left out here that the master has.
        try put(header, key, hash, position, offset, damaged: false)
        if state.pointee.table != nil { replacements.movesTables = true }
    }

    /// Deletions that the master left out: their slots go. Then nothing may point to the former segments any more.
    private mutating func purgeReplaced(_ budget: Int, _ now: UInt64) {
        while replacements.index < replacements.removed.count {
            let position = replacements.removed[replacements.index]
            let segment = segments[position]
            if segment.use.live == 0 {
                (replacements.index, replacements.walker) = (replacements.index + 1, nil)
                continue
            }
            if replacements.walker == nil {
                replacements.walker = walker(segment.file, segment.length, segment.kind, segment.firstSequence)
            }
            guard let walker = replacements.walker else { return }
            if purgeSlice(walker, position, budget) { return }
            (replacements.index, replacements.walker) = (replacements.index + 1, nil)
        }
        endReplacement(now)
    }

    /// True if there is more of the segment.
    private mutating func purgeSlice(_ walker: CompactionWalker, _ position: Int, _ budget: Int) -> Bool {
        var left = budget
        while left > 0 {
            switch walker.walker.next() {
            case .record(let header, let offset):
                left -= 256 + min(Int(header.valueLength), 4096)
                guard header.type == RecordType.tombstone, let head = walker.walker.bytes(at: offset, header.headBytes)
                else { continue }
                let key = [UInt8](
                    UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength)))
                do throws(LogError) {
                    try purge(header.namespace, key, header.sequence, in: position)
                    if isSequential(header.namespace) { replacements.movesTables = true }
                } catch { replacements.failure = "segment \(segments[position].number): \(error)" }
            case .damage: continue
            case .end: return false
            }
        }
        return true
    }

    private mutating func endReplacement(_ now: UInt64) {
        // Tables have to know the new places before the former ones go, else the next start makes them anew.
        if replacements.movesTables {
            replacements.movesTables = false
            do throws(LogError) { try checkpointTables() } catch { replacements.failure = "\(error)" }
        }
        for position in replacements.removed {
            if segments[position].use.live > 0 {
                // Where the counters are not right the next opening counts again, and removes what does not count.
                if isOutOfOrder {
                    giveBackCheckpoint()
                    needsReopening = true
                    continue
                }
                replacements.failure =
                    "segment \(segments[position].number), which was replaced, is still named by "
                    + "\(segments[position].use.live) bytes of the index"
            }
            discardSegment(position)
        }
        (replacements.removed, replacements.added, replacements.phase) = ([], [], .idle)
        replacements.queue.removeFirst()
        replacements.done += 1
        settleWipes()
    }
}

extension Format {
    static func checksum(_ state: UInt32, _ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return state }
            return checksum(state, base, bytes.count)
        }
    }
}
