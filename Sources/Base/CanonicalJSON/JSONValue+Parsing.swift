extension JSONValue {
    /// Reads bytes that must already be canonical: what is signed or hashed has one form.
    public init(canonical bytes: [UInt8]) throws(JSONError) {
        self = try JSONValue(parsing: bytes)
        let canonical = canonicalBytes
        guard canonical == bytes else {
            let same = zip(canonical, bytes).prefix { $0 == $1 }.count
            throw .notCanonical(offset: same)
        }
    }

    /// Reads any spelling of the restricted model: white space, key order and escapes are free.
    public init(parsing bytes: [UInt8]) throws(JSONError) {
        var parser = JSONParser(bytes)
        self = try parser.document()
    }

    /// `init(parsing:)` of text.
    public init(parsing text: String) throws(JSONError) { try self.init(parsing: Array(text.utf8)) }
}

/// A recursive descent over bytes; depth is bounded so that input cannot exhaust the stack.
private struct JSONParser {
    private let bytes: [UInt8]
    private var at = 0
    /// Deeper documents than any of ours; keeps the recursion within a small thread's stack.
    private static let depthLimit = 64

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(JSONError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard at == bytes.count else { throw fault("unexpected text after the document") }
        return value
    }

    private func fault(_ what: String, at position: Int? = nil) -> JSONError {
        let position = min(position ?? at, bytes.count)
        let before = bytes[..<position]
        let line = before.count { $0 == 0x0a } + 1
        let column = position - (before.lastIndex(of: 0x0a).map { $0 + 1 } ?? 0) + 1
        return .syntax(what, line: line, column: column)
    }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { at += 1 }
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth < JSONParser.depthLimit else { throw fault("nested deeper than \(JSONParser.depthLimit) levels") }
        skipSpace()
        switch next {
        case 0x7b: return try object(depth: depth)
        case 0x5b: return try array(depth: depth)
        case 0x22: return .string(try string())
        case 0x2d, .some(0x30...0x39): return try integer()
        case 0x74: return try literal("true", .bool(true))
        case 0x66: return try literal("false", .bool(false))
        case 0x6e: throw fault("null is not allowed; leave the field out")
        case nil: throw fault("the document ends early")
        default: throw fault("a value was expected")
        }
    }

    private mutating func literal(_ word: String, _ value: JSONValue) throws(JSONError) -> JSONValue {
        guard bytes[at...].starts(with: word.utf8) else { throw fault("a value was expected") }
        at += word.utf8.count
        return value
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        at += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if next == 0x7d {
            at += 1
            return .object(members)
        }
        while true {
            skipSpace()
            let start = at
            guard next == 0x22 else { throw fault("a key in quotes was expected") }
            let key = try string()
            guard key.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) else {
                throw fault("keys are printable ASCII", at: start)
            }
            guard members[key] == nil else { throw fault("the key “\(key)” stands twice", at: start) }
            skipSpace()
            guard next == 0x3a else { throw fault("“:” was expected") }
            at += 1
            members[key] = try value(depth: depth + 1)
            skipSpace()
            switch next {
            case 0x2c: at += 1
            case 0x7d:
                at += 1
                return .object(members)
            default: throw fault("“,” or “}” was expected")
            }
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        at += 1
        var elements: [JSONValue] = []
        skipSpace()
        if next == 0x5d {
            at += 1
            return .array(elements)
        }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            switch next {
            case 0x2c: at += 1
            case 0x5d:
                at += 1
                return .array(elements)
            default: throw fault("“,” or “]” was expected")
            }
        }
    }

    private mutating func integer() throws(JSONError) -> JSONValue {
        let start = at
        if next == 0x2d { at += 1 }
        while let byte = next, (0x30...0x39).contains(byte) { at += 1 }
        if let byte = next, byte == 0x2e || byte == 0x65 || byte == 0x45 {
            throw fault("numbers are whole; write amounts as decimal strings", at: start)
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        guard !digits.isEmpty, digits == "0" || !digits.hasPrefix("0"), text != "-0" else {
            throw fault("malformed number", at: start)
        }
        guard let value = Int64(text), abs(value) <= JSONValue.integerLimit else {
            throw fault("numbers stay within ±(2^53 - 1)", at: start)
        }
        return .integer(value)
    }

    private mutating func string() throws(JSONError) -> String {
        let start = at
        at += 1
        var text: [UInt8] = []
        while let byte = next {
            switch byte {
            case 0x22:
                at += 1
                guard let valid = String(validating: text, as: UTF8.self) else {
                    throw fault("the string is not UTF-8", at: start)
                }
                return valid
            case 0x5c: try escape(into: &text)
            case 0..<0x20: throw fault("control characters in strings are escaped")
            default:
                text.append(byte)
                at += 1
            }
        }
        throw fault("the string does not end", at: start)
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        let start = at
        at += 1
        guard let letter = next else { throw fault("the string does not end", at: start) }
        at += 1
        switch letter {
        case 0x22, 0x5c, 0x2f: text.append(letter)
        case 0x62: text.append(0x08)
        case 0x66: text.append(0x0c)
        case 0x6e: text.append(0x0a)
        case 0x72: text.append(0x0d)
        case 0x74: text.append(0x09)
        case 0x75:
            var unit = try fourDigits(start)
            if (0xd800..<0xdc00).contains(unit) {
                guard next == 0x5c, at + 1 < bytes.count, bytes[at + 1] == 0x75 else {
                    throw fault("half of a surrogate pair", at: start)
                }
                at += 2
                let low = try fourDigits(start)
                guard (0xdc00..<0xe000).contains(low) else { throw fault("half of a surrogate pair", at: start) }
                unit = 0x10000 + (unit - 0xd800) << 10 + (low - 0xdc00)
            }
            guard let scalar = Unicode.Scalar(unit) else { throw fault("half of a surrogate pair", at: start) }
            text += Array(String(Character(scalar)).utf8)
        default: throw fault("unknown escape", at: start)
        }
    }

    private mutating func fourDigits(_ start: Int) throws(JSONError) -> UInt32 {
        guard at + 4 <= bytes.count else { throw fault("\\u needs four digits", at: start) }
        var value: UInt32 = 0
        for byte in bytes[at..<at + 4] {
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt32(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt32(byte - 0x61 + 10)
            case 0x41...0x46: value = value << 4 | UInt32(byte - 0x41 + 10)
            default: throw fault("\\u needs four digits", at: start)
            }
        }
        at += 4
        return value
    }
}
