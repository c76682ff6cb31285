import Simulation

// The end of a compaction: the change of the manifest, and what follows from it.

extension LogEngine {
    /// What the manifest says of a segment.
    func manifestEntry(_ position: Int) -> Manifest.Entry {
        let segment = segments[position]
        let isSealed = position != active && segment.last != 0
        return Manifest.Entry(
            number: segment.number, kind: segment.kind, first: segment.firstSequence,
            last: isSealed ? segment.last : 0, length: isSealed ? segment.length : 0)
    }

    /// From the first compaction on a manifest says which segments count.
    mutating func ensureManifest(_ now: UInt64) throws(DiskError) {
        guard manifest == nil else { return }
        manifest = try Manifest.create(disk, header, order.map { .add(manifestEntry($0)) }, time: now)
    }

    /// Makes a change of what counts; a change that may or may not have happened ends all writing.
    mutating func editManifest(_ edits: [Manifest.Edit], _ now: UInt64) throws(DiskError) {
        guard var changed = manifest else { return }
        manifest = nil
        defer { manifest = changed }
        do throws(DiskError) { try changed.append(edits, time: now) } catch {
            if error != .full || changed.isUncertain { stopWriting(error) }
            throw error
        }
    }

    /// Puts the output in the place of the inputs.
    mutating func publish(_ now: UInt64) {
        if isHeldBySenders(now) { return }
        // Nothing that a slot points to may be missing in the output.
        for (index, position) in compaction.inputs.enumerated()
        where segments[position].use.live > compaction.copiedLive[index] {
            segments[position].use.isPinned = true
            failCompaction("segment \(segments[position].number) holds more than was found in it", now)
            return
        }
        guard let first = order.firstIndex(of: compaction.inputs[0]) else {
            failCompaction("the inputs are not there any more", now)
            return
        }
        var edits = compaction.inputs.map { Manifest.Edit.remove(segments[$0].number, overwrites: isToWipe($0)) }
        var output: Segment?
        if let file = compaction.output.file {
            var made = Segment(
                number: compaction.output.number, file: file, firstSequence: compaction.output.first,
                length: compaction.output.length)
            made.kind = SegmentHeader.kindCompacted
            made.last = compaction.output.last
            made.created = segments[compaction.inputs[0]].created
            made.index = compaction.output.index
            made.use.usage = compaction.output.usage
            output = made
            edits.insert(
                .add(
                    Manifest.Entry(
                        number: made.number, kind: made.kind, first: made.firstSequence, last: made.last,
                        length: made.length, checksum: ~compaction.output.checksum)), at: 0)
        }
        if plants(.removeInputFirst) { try? disk.remove(Format.name(segment: segments[compaction.inputs[0]].number)) }
        do throws(DiskError) { try editManifest(edits, now) } catch {
            if readOnlyReason == nil {
                failCompaction("the manifest could not be changed: \(error)", now)
            } else {
                // Whether it happened is not known: both sides stay for the next start to see.
                compaction.output.file = nil
                failCompaction("the manifest could not be changed: \(error)", now)
            }
            return
        }
        orderGeneration += 1
        order.removeSubrange(first..<first + compaction.inputs.count)
        if let output {
            compaction.output.position = segments.count
            order.insert(segments.count, at: first)
            positions[output.number] = segments.count
            segments.append(output)
            space.uncounted -= min(space.uncounted, output.length)
        }
        moveUsage()
        compaction.walker = nil
        compaction.phase = .moving
    }

    /// What the namespaces use: the output's bytes instead of the inputs'.
    private mutating func moveUsage() {
        settleAllUsage()
        for (id, bytes) in compaction.output.usage { changeDiskBytes(id, adding: bytes) }
        for position in compaction.inputs {
            for (id, bytes) in segments[position].use.usage { changeDiskBytes(id, removing: bytes) }
            space.uncounted += segments[position].length
        }
    }

    func changeDiskBytes(_ id: UInt32, adding: UInt64 = 0, removing: UInt64 = 0) {
        guard hasNamespace(id), let state = namespaces[Int(id)] else { return }
        state.pointee.diskBytes += adding
        state.pointee.diskBytes -= min(state.pointee.diskBytes, removing)
    }

    // MARK: Slots

    /// Lets slots that name records of the inputs point to the output.
    mutating func moveSlice(_ budget: Int) {
        let position = compaction.output.position
        guard position >= 0 else {
            compaction.phase = .purging
            return
        }
        if compaction.walker == nil {
            let segment = segments[position]
            compaction.walker = CompactionWalker(
                SegmentWalker(
                    disk: disk, file: segment.file, length: segment.length, seed: seed,
                    expected: segment.firstSequence, allowsGaps: true))
        }
        guard let walker = compaction.walker else { return }
        var left = budget
        while left > 0 {
            switch walker.walker.next() {
            case .record(let header, let offset):
                left -= 256 + min(Int(header.valueLength), 4096)
                guard header.type == RecordType.value || header.type == RecordType.tombstone,
                    let head = walker.walker.bytes(at: offset, header.headBytes)
                else { continue }
                let key = UnsafeRawBufferPointer(
                    start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
                do throws(LogError) { try move(header, key, to: position, offset, from: compaction.inputs) } catch {
                    continue
                }
            case .damage: continue
            case .end:
                compaction.phase = .purging
                return
            }
        }
    }

    /// Only if the slot still names this record: a newer version may have come.
    @discardableResult
    mutating func move(
        _ header: RecordHeader, _ key: UnsafeRawBufferPointer, to position: Int, _ offset: UInt64, from inputs: [Int]
    ) throws(LogError) -> Bool {
        guard hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)] else { return false }
        let hash = hasher.hash(key)
        guard let slot = try current(state, key, hash), slot.sequence == header.sequence,
            inputs.contains(slot.segment)
        else { return false }
        if state.pointee.isHashed {
            state.pointee.index.find(hash)?.pointee.move(to: position, offset)
        } else {
            try relocate(header.namespace, key, sequence: header.sequence, to: position, offset: offset)
            if let table = state.pointee.table {
                compaction.movesTables = true
                table.live[slot.segment, default: 0] -= slot.recordBytes
                if table.live[slot.segment] == 0 { table.live[slot.segment] = nil }
                table.live[position, default: 0] += slot.recordBytes
            }
        }
        segments[slot.segment].use.live -= slot.recordBytes
        segments[position].use.live += slot.recordBytes
        return true
    }

    // MARK: The end

    /// A replica that is being sent an input gets the rest of it first, but is not waited for long.
    private mutating func isHeldBySenders(_ now: UInt64) -> Bool {
        guard compaction.inputs.contains(where: { segmentsBeingSent.contains(segments[$0].number) }) else {
            compaction.heldSince = nil
            return false
        }
        let since = compaction.heldSince ?? now
        compaction.heldSince = since
        guard now >= since, now - since < LogLimits.sendersWait else {
            compaction.heldSince = nil
            return false
        }
        workDelay = 1_000_000
        return true
    }

    /// Forgets keys whose deletions were left out, some at a time, and ends the run.
    mutating func purgeSlice(_ budget: Int, _ now: UInt64) {
        for _ in 0..<max(64, budget / 1024) {
            guard let item = compaction.purged.popLast() else {
                endRun(now)
                return
            }
            do throws(LogError) { try purge(item.namespace, item.key, item.sequence) } catch { continue }
        }
    }

    private mutating func endRun(_ now: UInt64) {
        // Tables have to know the new places before the old ones go, else the next start makes them anew.
        if compaction.movesTables {
            compaction.movesTables = false
            do throws(LogError) { try checkpointTables() } catch { compaction.lastFailure = "\(error)" }
        }
        let position = compaction.output.position
        if position >= 0 {
            let body = segments[position].length - UInt64(Format.headerBlockBytes)
            // What was superseded since its input was copied.
            let dead = compaction.inputs.reduce(UInt64(0)) { $0 + segments[$1].use.dead }
            let superseded = min(
                dead - min(dead, compaction.deadWhenCopied), body - min(body, segments[position].use.live))
            segments[position].use.dead = superseded
            segments[position].use.retained = body - min(body, segments[position].use.live + superseded)
            segments[position].use.decidedUpTo = compaction.begunUpTo
            segments[position].use.patience = patience(forOutput: segments[position].length)
            segments[position].use.retainedUntil =
                now &+ retentionLooked(position) &* segments[position].use.patience
            compaction.statistics.freedBytes -= min(compaction.statistics.freedBytes, segments[position].length)
        }
        for input in compaction.inputs {
            compaction.statistics.removedSegments += 1
            compaction.statistics.freedBytes += segments[input].length
            discardSegment(input)
        }
        compaction.statistics.runs += 1
        compaction.lastFailure = nil
        compaction.forgetRun()
        (compaction.nextLook, compaction.lookedAt) = (0, 0)
        space.spare = 0
        settleWipes()
    }

    /// Forgets a key whose deletion was left out.
    mutating func purge(
        _ namespace: UInt32, _ key: [UInt8], _ sequence: UInt64, in position: Int? = nil
    ) throws(LogError) {
        guard hasNamespace(namespace), let state = namespaces[Int(namespace)] else { return }
        var failure: LogError?
        key.withUnsafeBytes { key in
            do throws(LogError) {
                let hash = hasher.hash(key)
                guard let slot = try current(state, key, hash), slot.sequence == sequence,
                    position == nil || slot.segment == position
                else { return }
                if state.pointee.isHashed {
                    state.pointee.index.remove(hash)
                } else {
                    try drop(namespace, key, sequence: sequence)
                    state.pointee.table?.live[slot.segment, default: 0] -= slot.recordBytes
                }
                segments[slot.segment].use.live -= slot.recordBytes
                state.pointee.tombstoneBytes -= min(state.pointee.tombstoneBytes, slot.recordBytes)
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Segments from which nothing could be taken are looked at less and less often.
    private func patience(forOutput length: UInt64) -> UInt64 {
        let before = compaction.inputs.reduce(UInt64(0)) { $0 + segments[$1].length }
        guard before - min(before, length) < before / 8 else { return 1 }
        return min(64, 2 * (compaction.inputs.map { segments[$0].use.patience }.max() ?? 1))
    }

    /// How long what was kept without a slot is taken to stay: policies of time and number let more of it go later.
    private func retentionLooked(_ position: Int) -> UInt64 {
        var soonest = UInt64(3600) * 1_000_000_000
        for id in segments[position].use.usage.keys {
            guard hasNamespace(id), let state = namespaces[Int(id)], state.pointee.isReclaimed else { continue }
            if case .duration(let span) = state.pointee.settings.history {
                soonest = min(soonest, max(span / 4, 10_000_000_000))
            }
        }
        return soonest
    }

    /// A segment that does not count any more: its file goes in slices.
    mutating func discardSegment(_ position: Int) {
        let segment = segments[position]
        guard segment.use.live == 0 else {
            // A slot still points to it: it stays readable, and on the disk, until the process ends.
            compaction.lastFailure =
                "segment \(segment.number) is still named by \(segment.use.live) bytes of the index"
            compaction.statistics.failures += 1
            return
        }
        segments[position].isRemoved = true
        positions[segment.number] = nil
        // What is to be wiped may have been asked for since the manifest was changed.
        let overwrites = (manifest?.overwritten.contains(segment.number) ?? false) || isToWipe(position)
        discarded.append(
            DiscardedFile(
                name: Format.name(segment: segment.number), number: segment.number, file: segment.file,
                position: position, length: segment.length, overwrites: overwrites))
        segments[position].use = SegmentUse()
    }

    /// Namespaces of which no segment holds anything any more need no more attention.
    mutating func settleWipes() {
        guard !compaction.wiped.isEmpty else { return }
        settleAllUsage()
        var left: Set<UInt32> = []
        for position in order {
            for id in segments[position].use.usage.keys where compaction.wiped.contains(id) { left.insert(id) }
        }
        compaction.wiped = left
    }
}

extension TableEntry {
    /// Bytes of the record in the log.
    var recordBytes: UInt64 {
        UInt64(Format.aligned(Format.recordHeaderBytes + 8 + Int(UInt32(truncatingIfNeeded: sizes) >> 5)))
    }
}

extension Slot {
    /// Bytes of the record in the log, extensions left out.
    @inline(__always)
    var recordBytes: UInt64 { UInt64(Format.aligned(headBytes + Int(valueLength))) }

    mutating func move(to position: Int, _ offset: UInt64) {
        segment = position
        self.offset = offset
    }
}
