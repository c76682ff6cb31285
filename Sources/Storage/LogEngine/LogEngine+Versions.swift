import Simulation

/// One version of a key: a value, or its deletion.
public struct Version: Hashable, Sendable {
    /// Its sequence number.
    public let sequence: UInt64
    /// When it was written, nanoseconds since 1970.
    public let time: UInt64
    /// Whether the key was deleted here.
    public let isTombstone: Bool
    /// Bytes of the value.
    public let valueLength: Int
    /// The sequence number of the version before it; 0 if there was none.
    public let previous: UInt64
    let position: Int
    let offset: UInt64
}

extension LogEngine {
    /// A key's newest version, or the newest of those before a sequence number. Nil where the history ends, which may
    /// be because older versions were let go. Fastest if `before` is the number of one of the key's own versions.
    public mutating func version(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, before: UInt64?
    ) throws(LogError) -> Version? {
        let state = try readable(namespace)
        guard let slot = try current(state, key, hasher.hash(key)) else { return nil }
        guard let before, before <= slot.sequence else {
            guard let newest = try version(at: slot.segment, slot.offset, namespace, key, slot.sequence) else {
                throw corrupt(slot.segment, slot.offset)
            }
            return newest
        }
        if let same = try version(namespace, key, numbered: before) { return try older(same, namespace, key) }
        var next = try version(at: slot.segment, slot.offset, namespace, key, slot.sequence)
        while let found = next, found.sequence >= before { next = try older(found, namespace, key) }
        return next
    }

    /// A key's version as it was at a time, nanoseconds since 1970; a tombstone if it was deleted then.
    public mutating func version(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, at time: UInt64
    ) throws(LogError) -> Version? {
        var next = try version(namespace, key, before: nil)
        let time = plants(.exclusiveTime) ? time &- 1 : time
        while let found = next, found.time > time { next = try older(found, namespace, key) }
        return next
    }

    /// The version before another one of the same key.
    public mutating func older(
        _ version: Version, _ namespace: UInt32, _ key: UnsafeRawBufferPointer
    ) throws(LogError) -> Version? {
        // Numbers fall along a chain, so that it ends whatever the bytes say.
        guard version.previous != 0, version.previous < version.sequence else { return nil }
        return try self.version(namespace, key, numbered: version.previous)
    }

    /// Copies the value of a version to where `valueLength` bytes of room are; a tombstone has none.
    public mutating func readVersion(
        _ version: Version, _ namespace: UInt32, _ key: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer
    ) throws(LogError) {
        if version.isTombstone { return }
        var (position, offset) = (version.position, version.offset)
        if segments[position].isRemoved {
            guard let place = try locate(version.sequence) else { throw .absent }
            (position, offset) = place
        }
        guard let header = try head(position, offset), header.sequence == version.sequence,
            header.namespace == namespace, Int(header.valueLength) == version.valueLength, hasKey(header, key)
        else { throw corrupt(position, offset) }
        let start = offset + UInt64(header.headBytes)
        if position == active, offset >= segments[active].length {
            let from = pending + Int(start - segments[active].length)
            target.copyMemory(from: from, byteCount: version.valueLength)
        } else {
            do throws(DiskError) {
                try disk.read(segments[position].file, at: start, target, version.valueLength)
            } catch {
                if error == .crashed { throw .disk(error) }
                throw corrupt(position, offset)
            }
        }
        guard Format.checksum(target, version.valueLength) == header.valueChecksum else {
            throw corrupt(position, offset)
        }
    }

    /// A key's version by its number; nil if that number is not there any more, or another key's.
    public mutating func version(
        _ namespace: UInt32, _ key: UnsafeRawBufferPointer, numbered sequence: UInt64
    ) throws(LogError) -> Version? {
        _ = try readable(namespace)
        guard let (position, offset) = try locate(sequence) else { return nil }
        guard let header = try head(position, offset), header.sequence == sequence else {
            throw corrupt(position, offset)
        }
        return made(header, namespace, key, position, offset)
    }

    // MARK: Inside

    /// A version by its place; nil if something else stands there.
    private mutating func version(
        at position: Int, _ offset: UInt64, _ namespace: UInt32, _ key: UnsafeRawBufferPointer, _ sequence: UInt64
    ) throws(LogError) -> Version? {
        guard let header = try head(position, offset), header.sequence == sequence else { return nil }
        return made(header, namespace, key, position, offset)
    }

    private func made(
        _ header: RecordHeader, _ namespace: UInt32, _ key: UnsafeRawBufferPointer, _ position: Int, _ offset: UInt64
    ) -> Version? {
        guard header.namespace == namespace, hasKey(header, key),
            header.type == RecordType.value || header.type == RecordType.tombstone
        else { return nil }
        return Version(
            sequence: header.sequence, time: header.time, isTombstone: header.type == RecordType.tombstone,
            valueLength: Int(header.valueLength), previous: header.previous, position: position, offset: offset)
    }

    /// Whether the record whose head is in `scratch` is of this key.
    private func hasKey(_ header: RecordHeader, _ key: UnsafeRawBufferPointer) -> Bool {
        let found = UnsafeRawBufferPointer(start: scratch + Format.recordHeaderBytes, count: Int(header.keyLength))
        return found.elementsEqual(key)
    }

    /// A record's header, with all of its head in `scratch`; nil if it is not good.
    private mutating func head(_ position: Int, _ offset: UInt64) throws(LogError) -> RecordHeader? {
        let segment = segments[position]
        if position == active, offset >= segment.length {
            let at = Int(offset - segment.length)
            guard at + Format.recordHeaderBytes <= pendingCount, let header = RecordHeader(pending + at),
                at + header.totalBytes <= pendingCount
            else { return nil }
            scratch.copyMemory(from: pending + at, byteCount: header.headBytes)
            return header
        }
        do throws(DiskError) { return try readHead(segment, offset) } catch {
            if error == .crashed { throw .disk(error) }
            return nil
        }
    }

    private func corrupt(_ position: Int, _ offset: UInt64) -> LogError {
        .corrupt(segment: segments[position].number, offset: offset)
    }
}
