import Simulation

/// The current version of a key, as the index knows it.
public struct Entry: Sendable {
    let slot: Slot

    /// Bytes of the value.
    public var valueLength: Int { Int(slot.valueLength) }
    /// Bytes of the key.
    public var keyLength: Int { Int(slot.keyLength) }
    /// The sequence number of this version.
    public var sequence: UInt64 { slot.sequence }
    /// Whether reading it is known to fail.
    public var isDamaged: Bool { slot.isDamaged }
}

extension LogEngine {
    /// A key's current version; nil if there is none.
    @inline(__always)
    public func find(_ namespace: UInt32, _ key: UnsafeRawBufferPointer) throws(LogError) -> Entry? {
        let state = try readable(namespace)
        if state.pointee.isHashed {
            guard let slot = state.pointee.index.find(hasher.hash(key))?.pointee, !slot.isTombstone else { return nil }
            return Entry(slot: slot)
        }
        guard let slot = try modeSlot(state, key), !slot.isTombstone else { return nil }
        return Entry(slot: slot)
    }

    /// The sequence number of a key's version or, when it was ended, of its tombstone; 0 if it never was.
    public func version(_ namespace: UInt32, _ key: UnsafeRawBufferPointer) throws(LogError) -> UInt64 {
        try current(readable(namespace), key, hasher.hash(key))?.sequence ?? 0
    }

    /// Copies a value to where `valueLength` bytes of room are. What does not match its checksums is never copied to
    /// the end without an error, and the place of it is named.
    public mutating func read(
        _ entry: Entry, _ namespace: UInt32, _ key: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer
    ) throws(LogError) {
        let slot = entry.slot
        if slot.isDamaged { throw corrupt(slot) }
        if let record = inMemory(slot) {
            let head = slot.isExtended ? RecordHeader(record)?.headBytes ?? 0 : slot.headBytes
            target.copyMemory(from: record + head, byteCount: Int(slot.valueLength))
            return
        }
        let head = try headBytes(slot)
        let isGood = try fetch(slot, head, target, Int(slot.valueLength))
        if let header = RecordHeader(scratch), isGood, header.sequence == slot.sequence,
            header.namespace == namespace, header.headBytes == head, header.valueLength == slot.valueLength,
            header.isValid(scratch, seed: seed),
            Format.checksum(target, Int(slot.valueLength)) == header.valueChecksum || plants(.trustValue),
            Self.equal(key, scratch + Format.recordHeaderBytes, Int(slot.keyLength))
        {
            return
        }
        markDamaged(slot, namespace, key)
        throw corrupt(slot)
    }

    /// Copies an entry's key to where 255 bytes of room are.
    public mutating func readKey(
        _ entry: Entry, _ namespace: UInt32, into target: UnsafeMutableRawPointer
    ) throws(LogError) {
        let slot = entry.slot
        if let record = inMemory(slot) {
            target.copyMemory(from: record + Format.recordHeaderBytes, byteCount: Int(slot.keyLength))
            return
        }
        let head = try headBytes(slot)
        let isGood = try fetch(slot, head, scratch, 0)
        guard let header = RecordHeader(scratch), isGood, header.sequence == slot.sequence,
            header.namespace == namespace, header.headBytes == head, header.isValid(scratch, seed: seed)
        else { throw corrupt(slot) }
        target.copyMemory(from: scratch + Format.recordHeaderBytes, byteCount: Int(slot.keyLength))
    }

    /// Keys from a cursor on, in an order of the index; returns the next cursor, 0 at the end. A key that exists all
    /// the while is found once.
    public mutating func scan(
        _ namespace: UInt32, from cursor: UInt64, count: Int, into found: inout [Entry]
    ) throws(LogError) -> UInt64 {
        let state = try readable(namespace)
        if state.pointee.table != nil {
            return try ids(namespace, from: cursor, isReverse: false, count: count, into: &found) ?? 0
        }
        if !state.pointee.isHashed { throw .notOrdered }
        var slots: [Slot] = []
        let next = state.pointee.index.scan(from: cursor, count: count, into: &slots)
        found.removeAll(keepingCapacity: true)
        for slot in slots where !slot.isTombstone { found.append(Entry(slot: slot)) }
        return next
    }

    /// Where an entry's bytes lie.
    public func place(of entry: Entry) -> (segment: UInt64, offset: UInt64) {
        (segments[entry.slot.segment].number, entry.slot.offset)
    }

    @inline(__always)
    private func inMemory(_ slot: Slot) -> UnsafeMutableRawPointer? {
        guard slot.segment == active, slot.offset >= segments[active].length else { return nil }
        return pending + Int(slot.offset - segments[active].length)
    }

    /// Bytes before a value that is not in memory; of a record with extensions only its header knows.
    @inline(__always)
    private func headBytes(_ slot: Slot) throws(LogError) -> Int {
        if !slot.isExtended { return slot.headBytes }
        guard try fetch(slot, Format.recordHeaderBytes, scratch, 0), let header = RecordHeader(scratch) else {
            return slot.headBytes
        }
        return header.headBytes
    }

    /// Reads head and value; false if the disk failed or the bytes are not there.
    @inline(__always)
    private func fetch(
        _ slot: Slot, _ headBytes: Int, _ target: UnsafeMutableRawPointer, _ count: Int
    ) throws(LogError) -> Bool {
        do throws(DiskError) {
            try disk.read(segments[slot.segment].file, at: slot.offset, scratch, headBytes, target, count)
            return true
        } catch {
            if error == .crashed { throw .disk(error) }
            return false
        }
    }

    func corrupt(_ slot: Slot) -> LogError {
        .corrupt(segment: segments[slot.segment].number, offset: slot.offset)
    }

    private func markDamaged(_ slot: Slot, _ namespace: UInt32, _ key: UnsafeRawBufferPointer) {
        guard hasNamespace(namespace), let state = namespaces[Int(namespace)] else { return }
        if !state.pointee.isHashed {
            markModeDamaged(state, slot, key)
            return
        }
        guard
            let found = state.pointee.index.find(slot.hash),
            found.pointee.sequence == slot.sequence
        else { return }
        found.pointee.flags |= Slot.damaged
    }

    private static func equal(_ key: UnsafeRawBufferPointer, _ other: UnsafeRawPointer, _ count: Int) -> Bool {
        guard key.count == count, let base = key.baseAddress else { return false }
        var index = 0
        while index + 8 <= count {
            if base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                != other.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            {
                return false
            }
            index += 8
        }
        while index < count {
            if base.load(fromByteOffset: index, as: UInt8.self) != other.load(fromByteOffset: index, as: UInt8.self) {
                return false
            }
            index += 1
        }
        return true
    }
}
