import Simulation

/// What a compaction does with a record.
enum Survival {
    case keep
    /// It is kept, and a slot points to it.
    case current
    case drop
    /// It is dropped, and so is the slot that points to it.
    case purge
    /// The key's other versions have to be looked at first.
    case undecided
}

extension LogEngine {
    /// What becomes of a record of an input. Every doubt keeps it.
    mutating func survival(_ header: RecordHeader, _ head: UnsafeRawPointer) throws(DiskError) -> Survival {
        let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
        switch header.type {
        case RecordType.value, RecordType.tombstone: return try survivalOfVersion(header, key)
        case RecordType.mark, RecordType.close: return .drop
        case RecordType.open: return header.sequence == compaction.openRecord ? .keep : .drop
        case RecordType.namespaceEnd: return .keep
        default: break
        }
        guard header.type < RecordType.firstOptional else { return .keep }
        guard hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)] else { return .drop }
        switch header.type {
        case RecordType.namespace:
            guard header.sequence < state.pointee.definition else { return .keep }
            // The first one that says the mode stays, before all that was written in it.
            let body = UnsafeRawBufferPointer(start: head + header.headBytes, count: Int(header.valueLength))
            guard NamespaceSettings(decoding: [UInt8](body)).mode == state.pointee.settings.mode else { return .drop }
            return compaction.defined.insert(header.namespace).inserted ? .keep : .drop
        case RecordType.flush: return header.sequence < state.pointee.flushed ? .drop : .keep
        case RecordType.fence:
            guard header.valueLength >= 8 else { return .keep }
            return header.sequence < state.pointee.fenced ? .drop : .keep
        default: return .keep
        }
    }

    private func survivalOfVersion(
        _ header: RecordHeader, _ key: UnsafeRawBufferPointer
    ) throws(DiskError) -> Survival {
        guard hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)] else { return .drop }
        if header.sequence < state.pointee.flushed { return .drop }
        let hash = hasher.hash(key)
        let found: Slot?
        // What cannot be looked up ends the run: a deletion must not go while something older stays.
        do throws(LogError) { found = try current(state, key, hash) } catch { throw .failed(5) }
        guard let slot = found else { return .keep }
        let policy = state.pointee.settings.history
        if slot.sequence == header.sequence {
            guard header.type == RecordType.tombstone, state.pointee.isReclaimed,
                mayPurge(policy), !isLastId(header.namespace, key)
            else { return .current }
            if policy.keepsNothing { return .purge }
            guard let from = compaction.keptFrom[HistoryKey(namespace: header.namespace, hash: hash)] else {
                return .undecided
            }
            // It ended before the time that is kept began, and so did all that is older.
            guard case .duration = policy, from == header.sequence,
                header.time < compaction.decidedAt - min(compaction.decidedAt, policy.nanoseconds)
            else { return .current }
            return .purge
        }
        if plants(.compactWorm), state.pointee.settings.isWorm, state.pointee.settings.history != .all { return .drop }
        if plants(.ignorePolicy), slot.sequence > header.sequence { return .drop }
        guard slot.sequence > header.sequence, state.pointee.isReclaimed else { return .keep }
        if policy.keepsNothing { return .drop }
        guard let from = compaction.keptFrom[HistoryKey(namespace: header.namespace, hash: hash)] else {
            return .undecided
        }
        return header.sequence >= from ? .keep : .drop
    }

    /// Whether a deletion may leave the log at all. All that is older has to be among the inputs, and go with it.
    private func mayPurge(_ policy: HistoryPolicy) -> Bool {
        switch policy {
        case .last(1), .duration:
            (compaction.startsTheLog || plants(.purgeEarly)) && compaction.purged.count < Self.purgedMax
        case .all, .last: false
        }
    }

    /// Deletions of one run; more are left for the next.
    static var purgedMax: Int { 1 << 18 }
}
