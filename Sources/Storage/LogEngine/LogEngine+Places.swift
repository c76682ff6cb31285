import Simulation

extension LogEngine {
    /// The version of a key that stands at a place of the log, and the checksum of its value. Nil if no record of the
    /// namespace's keys begins there; what this turn wrote is not met.
    public mutating func version(
        _ namespace: UInt32, segment: UInt64, offset: UInt64
    ) throws(LogError) -> (key: [UInt8], version: Version, checksum: UInt32)? {
        _ = try readable(namespace)
        guard let position = positions[segment], offset < readableLength(position), offset & 7 == 0,
            let header = try header(at: (position, offset)), header.namespace == namespace,
            header.type == RecordType.value || header.type == RecordType.tombstone
        else { return nil }
        let key = [UInt8](
            UnsafeRawBufferPointer(start: scratch + Format.recordHeaderBytes, count: Int(header.keyLength)))
        let version = Version(
            sequence: header.sequence, time: header.time, isTombstone: header.type == RecordType.tombstone,
            valueLength: Int(header.valueLength), previous: header.previous, position: position, offset: offset)
        return (key, version, header.valueChecksum)
    }

    /// Where the record behind a place stands, whosever it is; the first one for segment 0. Nil at the end of the log.
    public mutating func place(
        after segment: UInt64, _ offset: UInt64
    ) throws(LogError) -> (segment: UInt64, offset: UInt64)? {
        var index = 0
        if segment != 0 {
            guard let position = positions[segment], let known = order.firstIndex(of: position),
                offset & 7 == 0, let header = try header(at: (position, offset))
            else { throw .absent }
            let next = offset + UInt64(header.totalBytes)
            if next < readableLength(position) { return (segment, next) }
            index = known + 1
        }
        while index < order.count {
            let start = UInt64(Format.headerBlockBytes)
            if readableLength(order[index]) > start { return (segments[order[index]].number, start) }
            index += 1
        }
        return nil
    }

    /// Whether a place lies behind everything that the log has.
    public func isBehindTheLog(_ segment: UInt64, _ offset: UInt64) -> Bool {
        guard let position = positions[segment] else { return segment > activeSegment }
        return offset >= readableLength(position)
    }
}
