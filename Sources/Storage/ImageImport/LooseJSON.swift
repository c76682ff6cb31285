import CanonicalJSON

/// Reads JSON as other tools write it: null members vanish, fractions become text.
///
/// Documents of OCI layouts are not ours and not canonical; what we keep of them is.
enum LooseJSON {
    static func parse(_ bytes: [UInt8], _ subject: String) throws(ImportError) -> JSONValue {
        var parser = Parser(bytes: bytes, subject: subject)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.offset == bytes.count else { throw parser.refusal("goes on after its end") }
        guard let value else { throw parser.refusal("is null") }
        return value
    }

    private struct Parser {
        let bytes: [UInt8]
        let subject: String
        var offset = 0

        func refusal(_ reason: String) -> ImportError {
            .badDocument(subject: subject, reason: "not JSON at byte \(offset): \(reason)")
        }

        mutating func skipSpace() {
            while offset < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[offset]) { offset += 1 }
        }

        func peek() throws(ImportError) -> UInt8 {
            guard offset < bytes.count else { throw refusal("ends too early") }
            return bytes[offset]
        }

        mutating func expect(_ text: StaticString) throws(ImportError) {
            let count = text.utf8CodeUnitCount
            let wanted = text.withUTF8Buffer { Array($0) }
            guard bytes.count - offset >= count, Array(bytes[offset..<offset + count]) == wanted else {
                throw refusal("expected \(text)")
            }
            offset += count
        }

        mutating func value(depth: Int) throws(ImportError) -> JSONValue? {
            guard depth < 64 else { throw refusal("is nested too deeply") }
            skipSpace()
            switch try peek() {
            case UInt8(ascii: "{"): return .object(try object(depth))
            case UInt8(ascii: "["): return .array(try array(depth))
            case UInt8(ascii: "\""): return .string(try string())
            case UInt8(ascii: "t"):
                try expect("true")
                return .bool(true)
            case UInt8(ascii: "f"):
                try expect("false")
                return .bool(false)
            case UInt8(ascii: "n"):
                try expect("null")
                return nil
            default: return try number()
            }
        }

        private mutating func object(_ depth: Int) throws(ImportError) -> [String: JSONValue] {
            var members: [String: JSONValue] = [:]
            offset += 1
            skipSpace()
            if try peek() == UInt8(ascii: "}") {
                offset += 1
                return members
            }
            while true {
                skipSpace()
                guard try peek() == UInt8(ascii: "\"") else { throw refusal("expected a key") }
                let key = try string()
                skipSpace()
                try expect(":")
                let value = try value(depth: depth + 1)
                guard members[key] == nil else { throw refusal("key \(key) is there twice") }
                members[key] = value
                if try isLast(UInt8(ascii: "}")) { return members }
            }
        }

        private mutating func array(_ depth: Int) throws(ImportError) -> [JSONValue] {
            var items: [JSONValue] = []
            offset += 1
            skipSpace()
            if try peek() == UInt8(ascii: "]") {
                offset += 1
                return items
            }
            while true {
                if let item = try value(depth: depth + 1) { items.append(item) }
                if try isLast(UInt8(ascii: "]")) { return items }
            }
        }

        private mutating func isLast(_ closing: UInt8) throws(ImportError) -> Bool {
            skipSpace()
            let byte = try peek()
            guard byte == closing || byte == UInt8(ascii: ",") else { throw refusal("expected a comma") }
            offset += 1
            return byte == closing
        }

        private mutating func string() throws(ImportError) -> String {
            offset += 1
            var text: [UInt8] = []
            while true {
                let byte = try peek()
                offset += 1
                if byte == UInt8(ascii: "\"") { break }
                if byte == UInt8(ascii: "\\") {
                    try escape(into: &text)
                } else {
                    guard byte >= 0x20 else { throw refusal("control character in a string") }
                    text.append(byte)
                }
            }
            guard let string = String(validating: text, as: UTF8.self) else { throw refusal("string is not UTF-8") }
            return string
        }

        private mutating func escape(into text: inout [UInt8]) throws(ImportError) {
            let byte = try peek()
            offset += 1
            switch byte {
            case UInt8(ascii: "n"): text.append(10)
            case UInt8(ascii: "t"): text.append(9)
            case UInt8(ascii: "r"): text.append(13)
            case UInt8(ascii: "b"): text.append(8)
            case UInt8(ascii: "f"): text.append(12)
            case UInt8(ascii: "/"), UInt8(ascii: "\\"), UInt8(ascii: "\""): text.append(byte)
            case UInt8(ascii: "u"):
                var code = try hex4()
                if code >= 0xd800, code < 0xdc00 {
                    try expect("\\u")
                    let low = try hex4()
                    guard low >= 0xdc00, low < 0xe000 else { throw refusal("half a surrogate pair") }
                    code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
                }
                guard let scalar = Unicode.Scalar(code) else { throw refusal("half a surrogate pair") }
                text.append(contentsOf: Array(String(Character(scalar)).utf8))
            default: throw refusal("unknown escape")
            }
        }

        private mutating func hex4() throws(ImportError) -> UInt32 {
            guard bytes.count - offset >= 4,
                let value = UInt32(String(decoding: bytes[offset..<offset + 4], as: UTF8.self), radix: 16)
            else { throw refusal("expected four hexadecimal digits") }
            offset += 4
            return value
        }

        private mutating func number() throws(ImportError) -> JSONValue {
            let start = offset
            while offset < bytes.count, "+-.eE0123456789".utf8.contains(bytes[offset]) { offset += 1 }
            let text = String(decoding: bytes[start..<offset], as: UTF8.self)
            guard Double(text) != nil else { throw refusal("unknown value") }
            if let integer = Int64(text), integer.magnitude <= UInt64(JSONValue.integerLimit) {
                return .integer(integer)
            }
            return .string(text)
        }
    }
}
