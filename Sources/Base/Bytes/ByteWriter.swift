/// Builds a binary encoding: fixed-width integers are little-endian, lengths are LEB128 varints.
public struct ByteWriter: Sendable {
    /// What was written so far.
    public private(set) var bytes: [UInt8]

    /// An empty writer with room for `capacity` bytes.
    public init(capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    /// Appends one byte.
    public mutating func u8(_ value: UInt8) { bytes.append(value) }
    /// Appends two bytes, least significant first.
    public mutating func u16(_ value: UInt16) { fixed(value) }
    /// Appends four bytes, least significant first.
    public mutating func u32(_ value: UInt32) { fixed(value) }
    /// Appends eight bytes, least significant first.
    public mutating func u64(_ value: UInt64) { fixed(value) }

    /// Appends an unsigned LEB128 integer of one to ten bytes, in its shortest form.
    public mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// Appends bytes as they are.
    public mutating func append(_ raw: [UInt8]) { bytes.append(contentsOf: raw) }
    /// Appends bytes as they are.
    public mutating func append(_ raw: ArraySlice<UInt8>) { bytes.append(contentsOf: raw) }

    /// Appends the length as a varint and then the bytes.
    public mutating func lengthPrefixed(_ raw: [UInt8]) {
        varint(UInt64(raw.count))
        bytes.append(contentsOf: raw)
    }

    private mutating func fixed<Value: FixedWidthInteger>(_ value: Value) {
        var rest = value
        for _ in 0..<(Value.bitWidth / 8) {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest = Value.bitWidth == 8 ? 0 : rest >> 8
        }
    }
}
