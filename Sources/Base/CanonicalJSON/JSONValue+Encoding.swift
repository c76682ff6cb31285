extension JSONValue {
    /// The one encoding of this value: RFC 8785, so that equal documents have equal bytes and equal hashes.
    public var canonicalBytes: [UInt8] {
        var bytes: [UInt8] = []
        encode(into: &bytes)
        return bytes
    }

    /// `canonicalBytes` as text.
    public var canonicalText: String { String(decoding: canonicalBytes, as: UTF8.self) }

    private func encode(into bytes: inout [UInt8]) {
        switch self {
        case .bool(let value): bytes += Array((value ? "true" : "false").utf8)
        case .integer(let value): bytes += Array(String(value).utf8)
        case .string(let value): JSONValue.encode(value, into: &bytes)
        case .array(let elements):
            bytes.append(0x5b)
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(0x2c) }
                element.encode(into: &bytes)
            }
            bytes.append(0x5d)
        case .object(let members):
            bytes.append(0x7b)
            // Keys are ASCII, so byte order is RFC 8785's UTF-16 order.
            let ordered = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            for (index, member) in ordered.enumerated() {
                if index > 0 { bytes.append(0x2c) }
                JSONValue.encode(member.key, into: &bytes)
                bytes.append(0x3a)
                member.value.encode(into: &bytes)
            }
            bytes.append(0x7d)
        }
    }

    private static let hex = Array("0123456789abcdef".utf8)

    private static func encode(_ text: String, into bytes: inout [UInt8]) {
        bytes.append(0x22)
        for byte in text.utf8 {
            switch byte {
            case 0x22: bytes += [0x5c, 0x22]
            case 0x5c: bytes += [0x5c, 0x5c]
            case 0x08: bytes += [0x5c, 0x62]
            case 0x09: bytes += [0x5c, 0x74]
            case 0x0a: bytes += [0x5c, 0x6e]
            case 0x0c: bytes += [0x5c, 0x66]
            case 0x0d: bytes += [0x5c, 0x72]
            case 0..<0x20: bytes += [0x5c, 0x75, 0x30, 0x30, hex[Int(byte >> 4)], hex[Int(byte & 15)]]
            default: bytes.append(byte)
            }
        }
        bytes.append(0x22)
    }
}
