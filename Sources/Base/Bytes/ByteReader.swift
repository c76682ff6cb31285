/// Why a binary encoding could not be read. Offsets count from the start of the input.
public enum ByteError: Error, Equatable, Sendable {
    /// `wanted` more bytes were needed at `offset`, fewer were there.
    case truncated(offset: Int, wanted: Int)
    /// A varint at `offset` was longer than needed or did not fit in 64 bits.
    case badVarint(offset: Int)
    /// A length at `offset` exceeds what the format allows.
    case tooLong(offset: Int, length: UInt64, limit: Int)
    /// Bytes were left over after the last field.
    case trailing(offset: Int, count: Int)
}

extension ByteError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .truncated(let offset, let wanted): "ends at byte \(offset) where \(wanted) more bytes were needed"
        case .badVarint(let offset): "has a malformed varint at byte \(offset)"
        case .tooLong(let offset, let length, let limit):
            "has length \(length) at byte \(offset), the limit is \(limit)"
        case .trailing(let offset, let count): "has \(count) bytes too many after byte \(offset)"
        }
    }
}

/// Reads what `ByteWriter` writes. Never reads past its input; every failure names its offset.
public struct ByteReader: Sendable {
    private let bytes: [UInt8]
    private let end: Int
    /// Where the next read starts.
    public private(set) var offset: Int

    /// Reads all of `bytes`.
    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
        (offset, end) = (0, bytes.count)
    }

    /// How many bytes are left.
    public var remaining: Int { end - offset }
    /// Whether everything was read.
    public var isAtEnd: Bool { offset == end }

    /// One byte.
    public mutating func u8() throws(ByteError) -> UInt8 { try fixed(UInt8.self) }
    /// Two bytes, least significant first.
    public mutating func u16() throws(ByteError) -> UInt16 { try fixed(UInt16.self) }
    /// Four bytes, least significant first.
    public mutating func u32() throws(ByteError) -> UInt32 { try fixed(UInt32.self) }
    /// Eight bytes, least significant first.
    public mutating func u64() throws(ByteError) -> UInt64 { try fixed(UInt64.self) }

    /// An unsigned LEB128 integer; longer forms than needed are refused.
    public mutating func varint() throws(ByteError) -> UInt64 {
        let start = offset
        var value: UInt64 = 0
        for index in 0..<10 {
            let byte = try u8()
            let part = UInt64(byte & 0x7f)
            if index == 9, byte > 1 { throw .badVarint(offset: start) }
            value |= part << UInt64(7 * index)
            if byte & 0x80 == 0 {
                if byte == 0, index > 0 { throw .badVarint(offset: start) }
                return value
            }
        }
        throw .badVarint(offset: start)
    }

    /// The next `count` bytes.
    public mutating func take(_ count: Int) throws(ByteError) -> [UInt8] {
        guard count >= 0, count <= remaining else { throw .truncated(offset: offset, wanted: count) }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    /// A varint length of at most `limit` and that many bytes.
    public mutating func lengthPrefixed(limit: Int) throws(ByteError) -> [UInt8] {
        let start = offset
        let length = try varint()
        guard length <= UInt64(limit) else { throw .tooLong(offset: start, length: length, limit: limit) }
        return try take(Int(length))
    }

    /// Refuses input that goes on after the last field.
    public func finish() throws(ByteError) {
        guard isAtEnd else { throw .trailing(offset: offset, count: remaining) }
    }

    private mutating func fixed<Value: FixedWidthInteger>(_: Value.Type) throws(ByteError) -> Value {
        let width = Value.bitWidth / 8
        guard width <= remaining else { throw .truncated(offset: offset, wanted: width) }
        var value: Value = 0
        for index in 0..<width { value |= Value(truncatingIfNeeded: bytes[offset + index]) << Value(8 * index) }
        offset += width
        return value
    }
}
