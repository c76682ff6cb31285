import Simulation

/// What a compaction does with a record.
enum Survival {
    case keep
    /// It is kept, and a slot points to it.
    case current
    case drop
    /// It is dropped, and so is the slot that points to it.
    case purge
}

extension LogEngine {
    /// What becomes of a record of an input. Every doubt keeps it.
    func survival(_ header: RecordHeader, _ head: UnsafeRawPointer, now: UInt64) -> Survival {
        let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
        switch header.type {
        case RecordType.value, RecordType.tombstone: return survivalOfVersion(header, key, now)
        case RecordType.mark, RecordType.close: return .drop
        case RecordType.open: return header.sequence == compaction.openRecord ? .keep : .drop
        case RecordType.namespaceEnd: return .keep
        default: break
        }
        guard header.type < RecordType.firstOptional else { return .keep }
        guard hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)] else { return .drop }
        switch header.type {
        case RecordType.namespace: return header.sequence < state.pointee.definition ? .drop : .keep
        case RecordType.flush: return header.sequence < state.pointee.flushed ? .drop : .keep
        case RecordType.fence:
            guard header.valueLength >= 8 else { return .keep }
            return header.sequence < state.pointee.fenced ? .drop : .keep
        default: return .keep
        }
    }

    private func survivalOfVersion(
        _ header: RecordHeader, _ key: UnsafeRawBufferPointer, _ now: UInt64
    ) -> Survival {
        guard hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)] else { return .drop }
        if header.sequence < state.pointee.flushed { return .drop }
        let hash = hasher.hash(key)
        let found: Slot?
        // A place that cannot be looked up keeps everything; a current version is missed then, which ends the run.
        do throws(LogError) { found = try current(state, key, hash) } catch { return .keep }
        guard let slot = found else { return .keep }
        if slot.sequence == header.sequence {
            if header.type == RecordType.tombstone, state.pointee.isReclaimed,
                isPurged(header, state.pointee.settings.history, now), !isLastId(header.namespace, key)
            {
                return .purge
            }
            return .current
        }
        if plants(.compactWorm), state.pointee.settings.isWorm, state.pointee.settings.history != .all { return .drop }
        if plants(.ignorePolicy), slot.sequence > header.sequence { return .drop }
        guard slot.sequence > header.sequence, state.pointee.isReclaimed else { return .keep }
        return isKept(header, slot, state.pointee.settings.history, now) ? .keep : .drop
    }

    /// Whether a former version is one of those that the policy keeps.
    private func isKept(_ header: RecordHeader, _ slot: Slot, _ policy: HistoryPolicy, _ now: UInt64) -> Bool {
        switch policy {
        case .all: return true
        case .last(1), .duration(0): return false
        case .last, .duration: return true
        }
    }

    /// Whether a deletion has nothing left to hide: no older version of its key is anywhere, and none is kept.
    private func isPurged(_ header: RecordHeader, _ policy: HistoryPolicy, _ now: UInt64) -> Bool {
        switch policy {
        case .last(1), .duration(0): break
        case .duration(let span): if header.time >= now - min(now, span) { return false }
        case .all, .last: return false
        }
        // All that is older is among the inputs, and goes with it.
        return (compaction.startsTheLog || plants(.purgeEarly)) && compaction.purged.count < Self.purgedMax
    }

    /// Deletions of one run; more are left for the next.
    static var purgedMax: Int { 1 << 20 }
}
