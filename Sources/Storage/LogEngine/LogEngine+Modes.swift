// What differs between namespaces whose keys are hashed, sorted or counted. Writes, conditions, quotas, undo and
// recovery have one path for all; only finding and replacing a key's slot asks the namespace for its index.
extension LogEngine {
    // MARK: One key

    /// A key's slot, whatever its namespace's mode.
    @inline(__always)
    func current(
        _ state: UnsafeMutablePointer<NamespaceState>, _ key: UnsafeRawBufferPointer, _ hash: KeyHash
    ) throws(LogError) -> Slot? {
        if state.pointee.isHashed { return state.pointee.index.find(hash)?.pointee }
        return try modeSlot(state, key)
    }

    /// A key's slot in an ordered or sequential namespace.
    @inline(never)
    func modeSlot(
        _ state: UnsafeMutablePointer<NamespaceState>, _ key: UnsafeRawBufferPointer
    ) throws(LogError) -> Slot? {
        if let ordered = state.pointee.ordered { return key.isEmpty ? nil : ordered.index.find(key) }
        guard let table = state.pointee.table, let id = Self.id(key) else { return nil }
        return try slot(table.entry(id))
    }

    /// Puts a slot in the place of a key's former one, remembering that.
    @inline(never)
    mutating func modeReplace(
        _ state: UnsafeMutablePointer<NamespaceState>, _ key: UnsafeRawBufferPointer, _ slot: Slot
    ) throws(LogError) {
        if let ordered = state.pointee.ordered {
            if isRecovering { return collect(state, ordered, key, slot) }
            guard let before = ordered.index.put(key, slot) else { return }
            modeUndo.note(state.pointee.id, key, before)
            account(state, before, slot)
            return
        }
        guard let table = state.pointee.table, let id = Self.id(key) else { return }
        let after = entry(slot)
        if isRecovering {
            try restore(table, id, after)
            return
        }
        let before = try table.entry(id)
        modeUndo.note(state.pointee.id, id: id, before, nextId: table.nextId)
        account(state, try self.slot(before) ?? Slot(), slot)
        try table.put(id, after, sequence: slot.sequence, durable: slot.sequence)
    }

    /// Puts again what the log says, unless the table knows it or something newer. Counters are set when all is read.
    private mutating func restore(_ table: SequentialTable, _ id: UInt64, _ after: TableEntry) throws(LogError) {
        guard after.sequence > table.checkpoint.sequence, !table.isInDoubt, id < LogLimits.idsMax else { return }
        do throws(LogError) {
            let before = try table.entry(id)
            if before.sequence >= after.sequence { return }
            modeUndo.note(table.namespace, id: id, before, nextId: table.nextId)
            try table.put(id, after, sequence: after.sequence, durable: 0)
        } catch {
            if error != .indexDamaged { throw error }
        }
    }

    /// Makes a key known to be damaged.
    func markModeDamaged(
        _ state: UnsafeMutablePointer<NamespaceState>, _ slot: Slot, _ key: UnsafeRawBufferPointer
    ) {
        guard var found = try? modeSlot(state, key), found.sequence == slot.sequence else { return }
        found.flags |= Slot.damaged
        if let ordered = state.pointee.ordered { ordered.index.put(key, found) }
        if let table = state.pointee.table, let id = Self.id(key) {
            try? table.put(id, entry(found), sequence: found.sequence, durable: found.sequence)
        }
    }

    /// Lets a key point to another place of the same version, because its record was copied there.
    mutating func relocate(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, sequence: UInt64, to position: Int, offset: UInt64
    ) throws(LogError) {
        let state = try state(namespace)
        guard !state.pointee.isHashed, var found = try modeSlot(state, key), found.sequence == sequence else { return }
        (found.segment, found.offset) = (position, offset)
        if let ordered = state.pointee.ordered { ordered.index.put(key, found) }
        if let table = state.pointee.table, let id = Self.id(key) {
            try table.put(id, entry(found), sequence: sequence, durable: sequence)
        }
    }

    /// Forgets a key whose tombstone leaves the log.
    mutating func drop(_ namespace: UInt32, _ key: UnsafeRawBufferPointer, sequence: UInt64) throws(LogError) {
        let state = try state(namespace)
        guard let found = try modeSlot(state, key), found.sequence == sequence, found.isTombstone else { return }
        state.pointee.ordered?.index.remove(key)
        if let table = state.pointee.table, let id = Self.id(key) {
            try table.put(id, TableEntry(), sequence: sequence, durable: sequence)
        }
    }

    /// Whether a record has to stay in the log whatever its history is worth: the newest of the highest id says which
    /// ids were given.
    func isLastId(_ namespace: UInt32, _ key: UnsafeRawBufferPointer) -> Bool {
        guard hasNamespace(namespace), let table = namespaces[Int(namespace)]?.pointee.table, let id = Self.id(key)
        else { return false }
        return id + 1 == table.nextId
    }

    // MARK: New ids

    /// Sets a new key of a sequential namespace; returns its id and the version's sequence number.
    public mutating func add(
        _ namespace: UInt32, _ value: UnsafeRawBufferPointer, epoch: UInt64 = 0, time: UInt64
    ) throws(LogError) -> (id: UInt64, sequence: UInt64) {
        let state = try writable(namespace, epoch)
        guard let table = state.pointee.table else { throw .tooLarge }
        let id = table.nextId
        return (id, try add(state, table, id, value, previous: 0, time: time))
    }

    /// Sets a key as it was elsewhere; in a sequential namespace that may be an id that was not given here yet.
    @discardableResult
    public mutating func restore(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, time: UInt64
    ) throws(LogError) -> UInt64 {
        let state = try writable(namespace, .max)
        guard let table = state.pointee.table else { return try set(namespace, key, value, time: time) }
        guard let id = Self.id(key), id < table.nextId &+ LogLimits.idsSkippedMax else { throw .unknownId }
        let slot = try modeSlot(state, key)
        if let slot, !slot.isTombstone { return try set(namespace, key, value, time: time) }
        return try add(state, table, id, value, previous: slot?.sequence ?? 0, time: time)
    }

    private mutating func add(
        _ state: UnsafeMutablePointer<NamespaceState>, _ table: SequentialTable, _ id: UInt64,
        _ value: UnsafeRawBufferPointer, previous: UInt64, time: UInt64
    ) throws(LogError) -> UInt64 {
        guard value.count <= LogLimits.valueBytesMax, id < LogLimits.idsMax else { throw .tooLarge }
        let limit = state.pointee.settings.maxSize
        if limit != 0, state.pointee.liveBytes + UInt64(8 + value.count) > limit { throw .quota }
        try table.prepare(id)
        var record = RecordHeader()
        (record.type, record.namespace, record.previous) = (RecordType.value, state.pointee.id, previous)
        var failure: LogError?
        withUnsafeBytes(of: id.littleEndian) { key in
            do throws(LogError) {
                let offset = try append(&record, key, value, time: time, usesSlack: false)
                try put(record, key, KeyHash(high: 0, low: 0), active, offset, damaged: false)
            } catch { failure = error }
        }
        if let failure { throw failure }
        return record.sequence
    }

    /// Whether a namespace gives its keys itself.
    @inline(__always)
    public func isSequential(_ namespace: UInt32) -> Bool {
        hasNamespace(namespace) && namespaces[Int(namespace)]?.pointee.table != nil
    }

    /// Whether a namespace can be read in the order of its keys.
    public func isOrdered(_ namespace: UInt32) -> Bool {
        hasNamespace(namespace) && namespaces[Int(namespace)]?.pointee.ordered != nil
    }

    /// An id, as keys of sequential namespaces are written: 8 bytes, little-endian.
    static func id(_ key: UnsafeRawBufferPointer) -> UInt64? {
        key.count == 8 ? UInt64(littleEndian: key.loadUnaligned(as: UInt64.self)) : nil
    }

    // MARK: Undo

    /// Takes back changes of ordered and sequential indexes behind so many of this turn.
    mutating func revertModes(after count: Int) {
        guard modeUndo.count > count else { return }
        for change in modeUndo.changes[count...].reversed() {
            guard hasNamespace(change.namespace), let state = namespaces[Int(change.namespace)] else { continue }
            if let ordered = state.pointee.ordered { revert(change, state, ordered) }
            if let table = state.pointee.table { revert(change, state, table) }
        }
        modeUndo.cut(to: count)
    }

    private mutating func revert(
        _ change: ModeUndo.Change, _ state: UnsafeMutablePointer<NamespaceState>, _ ordered: OrderedKeys
    ) {
        modeUndo.key(change).withUnsafeBytes { key in
            unaccount(state, ordered.index.find(key) ?? Slot(), change.slot)
            if change.slot.isEmpty { ordered.index.remove(key) } else { ordered.index.put(key, change.slot) }
        }
    }

    private mutating func revert(
        _ change: ModeUndo.Change, _ state: UnsafeMutablePointer<NamespaceState>, _ table: SequentialTable
    ) {
        do throws(LogError) {
            if !isRecovering {
                unaccount(state, try slot(table.entry(change.id)) ?? Slot(), try slot(change.entry) ?? Slot())
            } else if let read = try slot(table.entry(change.id)) {
                uncharge(state, read.recordBytes)
            }
            try table.put(change.id, change.entry, sequence: max(1, change.entry.sequence), durable: 0)
            if change.entry.isEmpty, table.nextId == change.id + 1 { table.nextId = change.nextId }
        } catch { table.isInDoubt = true }
    }

    // MARK: Entries of tables and slots

    func slot(_ entry: TableEntry) throws(LogError) -> Slot? {
        if entry.isEmpty { return nil }
        guard let position = positions[entry.segment] else { throw .indexDamaged }
        return Slot(
            hash: KeyHash(high: 0, low: 0), sequence: entry.sequence, segment: position,
            offset: entry.offset, valueLength: UInt32(truncatingIfNeeded: entry.sizes) >> 5, keyLength: 8,
            flags: UInt8(truncatingIfNeeded: entry.sizes) & 0x1f)
    }

    private func entry(_ slot: Slot) -> TableEntry {
        var entry = TableEntry()
        if slot.isEmpty { return entry }
        entry.sequence = slot.sequence
        entry.sizes = slot.offset << 29 | UInt64(slot.valueLength) << 5 | UInt64(slot.flags)
        entry.segment = segments[slot.segment].number
        return entry
    }
}
