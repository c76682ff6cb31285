import Simulation

/// A file that does not count any more and is removed in slices.
struct DiscardedFile {
    let name: String
    let number: UInt64
    let file: DiskFile
    let position: Int?
    /// Bytes that it still has.
    var length: UInt64
    /// Its bytes are overwritten before its name goes.
    var overwrites: Bool
    var overwrittenUpTo: UInt64 = 0
    var isSyncing = false
    var failures = 0
}

/// A namespace, or the index of one that was flushed, whose slots still count in the segments.
struct EndedNamespace {
    let state: UnsafeMutablePointer<NamespaceState>
    var cursor: UInt64 = 0
    /// The key behind which an ordered index is read on.
    var last: [UInt8] = []

    func free() {
        state.deinitialize(count: 1)
        state.deallocate()
    }
}

extension LogEngine {
    /// Bytes that a file is shortened by at a time: a large file that goes at once would keep all others waiting.
    private static var shrinkBytes: UInt64 { 32 << 20 }

    // MARK: Files

    /// One slice of removing files; true if there is more.
    mutating func discardSlice(_ budget: Int, _ now: UInt64) -> Bool {
        guard !discarded.isEmpty else { return false }
        // A run that was given up may have left a sync of its output under way.
        if compaction.phase == .idle, (try? endBackgroundSync()) != true { return readOnlyReason == nil }
        do throws(DiskError) {
            if discarded[0].overwrites {
                try overwriteSlice(budget)
            } else if discarded[0].length > Self.shrinkBytes {
                let shorter = discarded[0].length - Self.shrinkBytes
                try disk.truncate(discarded[0].file, length: shorter)
                shrink(to: shorter)
            } else {
                try disk.remove(discarded[0].name)
                endDiscarding()
            }
        } catch {
            discarded[0].failures += 1
            compaction.lastFailure = "\(discarded[0].name) could not be removed: \(error)"
            // What cannot be removed now is removed at the next start.
            if error == .missing || discarded[0].failures > 3 { endDiscarding() }
        }
        return !discarded.isEmpty
    }

    private mutating func shrink(to length: UInt64) {
        space.uncounted -= min(space.uncounted, discarded[0].length - length)
        discarded[0].length = length
    }

    private mutating func endDiscarding() {
        let item = discarded.removeFirst()
        space.uncounted -= min(space.uncounted, item.length)
        disk.close(item.file)
        if item.failures <= 3 { manifest?.noteOverwritten(item.number) }
        space.spare = 0
    }

    private mutating func overwriteSlice(_ budget: Int) throws(DiskError) {
        if discarded[0].isSyncing {
            guard try disk.endSync() else {
                workDelay = 1_000_000
                return
            }
            (discarded[0].isSyncing, discarded[0].overwrites) = (false, false)
            return
        }
        let at = discarded[0].overwrittenUpTo
        let count = Int(min(UInt64(max(budget, 4096)), discarded[0].length - at))
        if count == 0 {
            // The run's sync has the only place.
            guard !compaction.isSyncing else { return }
            try disk.beginSync(discarded[0].file)
            discarded[0].isSyncing = true
            return
        }
        let zeros = [UInt8](repeating: 0, count: count)
        try disk.write(discarded[0].file, at: at, zeros.span.bytes)
        discarded[0].overwrittenUpTo += UInt64(count)
        compaction.statistics.overwrittenBytes += UInt64(count)
    }

    /// Files that do not count, found at the start: outputs that were not finished, inputs that were not yet removed.
    mutating func discardStrangers(_ numbers: [UInt64]) throws(LogError) {
        for number in numbers {
            let name = Format.name(segment: number)
            let isWiped = manifest?.overwritten.contains(number) ?? false
            do throws(DiskError) {
                if isWiped || !compaction.wiped.isEmpty {
                    let file = try disk.open(name, create: false)
                    let length = try disk.length(file)
                    space.uncounted += length
                    discarded.append(
                        DiscardedFile(
                            name: name, number: number, file: file, position: nil, length: length, overwrites: true))
                } else {
                    try disk.remove(name)
                }
            } catch {
                if error == .crashed { throw .disk(error) }
            }
        }
        for number in manifest?.overwritten ?? [] where !numbers.contains(number) { manifest?.noteOverwritten(number) }
    }

    // MARK: Ended namespaces

    /// Takes a namespace's slots out of the segments' counters, some at a time; true if there is more.
    mutating func drainEnded(_ budget: Int) -> Bool {
        guard !ended.isEmpty else { return false }
        if let ordered = ended[0].state.pointee.ordered {
            drainOrdered(ordered, budget)
            return !ended.isEmpty
        }
        var slots: [Slot] = []
        let item = ended[0]
        let next = item.state.pointee.index.scan(from: item.cursor, count: max(64, budget / 256), into: &slots)
        for slot in slots {
            let position = slot.segment
            segments[position].use.live -= min(segments[position].use.live, slot.recordBytes)
        }
        ended[0].cursor = next
        if next == 0 {
            ended.removeFirst()
            item.free()
        }
        return !ended.isEmpty
    }

    private mutating func drainOrdered(_ ordered: OrderedKeys, _ budget: Int) {
        var left = max(64, budget / 256)
        let last = ended[0].last
        var isThere = last.withUnsafeBytes { ordered.index.seek($0, after: !last.isEmpty) }
        while isThere {
            let slot = ordered.index.slot
            segments[slot.segment].use.live -= min(segments[slot.segment].use.live, slot.recordBytes)
            left -= 1
            if left == 0 {
                let count = ordered.index.copyKey(into: scratch)
                ended[0].last = [UInt8](UnsafeRawBufferPointer(start: scratch, count: count))
                return
            }
            isThere = ordered.index.next()
        }
        ended.removeFirst().free()
    }

    /// Takes a namespace's index away; its slots are taken out of the segments' counters later.
    mutating func setAside(_ state: UnsafeMutablePointer<NamespaceState>) {
        let old = UnsafeMutablePointer<NamespaceState>.allocate(capacity: 1)
        old.initialize(
            to: NamespaceState(id: state.pointee.id, name: [], settings: NamespaceSettings(), definition: 0))
        if let ordered = state.pointee.ordered {
            old.pointee.use(ordered: ordered, table: nil)
        } else {
            swap(&old.pointee.index, &state.pointee.index)
        }
        ended.append(EndedNamespace(state: old))
        (state.pointee.liveRecordBytes, state.pointee.tombstoneBytes) = (0, 0)
    }

    /// Makes a namespace hold nothing.
    mutating func empty(_ state: UnsafeMutablePointer<NamespaceState>, _ sequence: UInt64) throws(LogError) {
        setAside(state)
        state.pointee.flushed = sequence
        // A table that knows what came later has forgotten already.
        if isRecovering, let table = state.pointee.table, sequence <= table.checkpoint.sequence { return }
        if let table = state.pointee.table { forgetLive(table) }
        try state.pointee.clear()
    }

    /// A table's entries are not there any more.
    mutating func forgetLive(_ table: SequentialTable) {
        for (position, bytes) in table.live {
            segments[position].use.live -= min(segments[position].use.live, bytes)
        }
        table.live = [:]
    }

    /// Counts what tables name, whose entries are not read one by one at a start; with `all` what slots name too.
    mutating func countLive(all: Bool) {
        if all { for position in segments.indices { segments[position].use.live = 0 } }
        for case let state? in namespaces {
            if let table = state.pointee.table {
                for (position, bytes) in table.live { segments[position].use.live += bytes }
            } else if all {
                (state.pointee.liveRecordBytes, state.pointee.tombstoneBytes) = (0, 0)
                countSlots(state)
            }
        }
    }

    private mutating func countSlots(_ state: UnsafeMutablePointer<NamespaceState>) {
        func count(_ slot: Slot) {
            segments[slot.segment].use.live += slot.recordBytes
            if slot.isTombstone {
                state.pointee.tombstoneBytes += slot.recordBytes
            } else {
                state.pointee.liveRecordBytes += slot.recordBytes
            }
        }
        if let ordered = state.pointee.ordered {
            var isThere = [].withUnsafeBytes { ordered.index.seek($0, after: false) }
            while isThere {
                count(ordered.index.slot)
                isThere = ordered.index.next()
            }
            return
        }
        var slots: [Slot] = []
        var cursor: UInt64 = 0
        repeat {
            cursor = state.pointee.index.scan(from: cursor, count: 4096, into: &slots)
            for slot in slots { count(slot) }
        } while cursor != 0
    }

    /// Marks segments that hold bytes of a namespace whose policy changed or that ended.
    mutating func noteUncertain(_ id: UInt32) {
        if hasNamespace(id), let state = namespaces[Int(id)] { settleUsage(state, state.pointee.usagePosition) }
        for position in order where segments[position].use.usage[id] != nil {
            segments[position].use.isUncertain = true
            segments[position].use.retained = 0
        }
        (compaction.nextLook, compaction.lookedAt) = (0, 0)
    }
}
