public import Simulation

/// Where a record's bytes lie on the disk.
public struct Extent: Sendable {
    /// The segment's file.
    public let file: DiskFile
    /// The segment's number; with the offset it is the order of the disk, as far as a log knows it.
    public let segment: UInt64
    /// The first byte.
    public let offset: UInt64
    /// How many: head and value.
    public let length: Int
}

extension LogEngine {
    /// The bytes that reading an entry takes; nil if they are in memory.
    public func extent(of entry: Entry) -> Extent? {
        let slot = entry.slot
        let segment = segments[slot.segment]
        if slot.segment == active, slot.offset >= segment.length { return nil }
        let length = slot.headBytes + Int(slot.valueLength)
        return Extent(file: segment.file, segment: segment.number, offset: slot.offset, length: length)
    }
}
