import Bytes
package import CanonicalJSON
package import Crypto

/// Text forms of names, checked byte by byte: they are ASCII, so that equal means equal bytes.
package enum NameForm {
    /// A workload, contract, secret or volume: `[a-z0-9-]{1,24}`.
    case label
    /// A name of the grid that gateways route: a DNS label of up to 63 letters, no hyphen at either end.
    case domain
    /// An image: parts of `[a-z0-9._-]` separated by single slashes, up to 128 letters.
    case image

    /// What people are told.
    package var expectation: String {
        switch self {
        case .label: "1 to 24 of a-z, 0-9 and “-”"
        case .domain: "1 to 63 of a-z, 0-9 and, not at an end, “-”"
        case .image: "parts of a-z, 0-9, “.”, “_” and “-” separated by “/”, up to 128 letters"
        }
    }

    /// Whether `text` has this form.
    package func accepts(_ text: String) -> Bool {
        let letters = Array(text.utf8)
        func plain(_ letter: UInt8) -> Bool { (97...122).contains(letter) || (48...57).contains(letter) }
        switch self {
        case .label:
            return (1...24).contains(letters.count) && letters.allSatisfy { plain($0) || $0 == 45 }
        case .domain:
            guard (1...63).contains(letters.count), letters.first != 45, letters.last != 45 else { return false }
            return letters.allSatisfy { plain($0) || $0 == 45 }
        case .image:
            guard (1...128).contains(letters.count) else { return false }
            return letters.split(separator: 47, omittingEmptySubsequences: false).allSatisfy { part in
                guard let first = part.first, plain(first) else { return false }
                return part.allSatisfy { plain($0) || $0 == 45 || $0 == 46 || $0 == 95 }
            }
        }
    }
}

extension ObjectReader {
    /// An optional public key as a strkey address.
    package mutating func optionalPublicKey(_ key: String) throws(JSONError) -> PublicKey? {
        guard let text = try optionalString(key) else { return nil }
        return try publicKey(text, of: key)
    }

    /// A public key as a strkey address.
    package mutating func publicKey(_ key: String) throws(JSONError) -> PublicKey {
        try publicKey(string(key), of: key)
    }

    /// Public keys as strkey addresses, each once, at most `limit`.
    package mutating func publicKeys(_ key: String, limit: Int) throws(JSONError) -> [PublicKey] {
        let texts = try strings(key)
        var keys: [PublicKey] = []
        for text in texts { keys.append(try publicKey(text, of: key)) }
        guard keys.count <= limit, Set(keys).count == keys.count else {
            throw refuse(key, "at most \(limit) different addresses", found: .array(texts.map { .string($0) }))
        }
        return keys
    }

    package func publicKey(_ text: String, of key: String) throws(JSONError) -> PublicKey {
        guard let found = try? PublicKey(address: text) else {
            throw refuse(key, "the address of a key (G…)", found: .string(text))
        }
        return found
    }

    /// A SHA-256 digest in hexadecimal.
    package mutating func digest(_ key: String) throws(JSONError) -> Digest {
        let text = try string(key)
        guard let digest = Digest(hex: text) else {
            throw refuse(key, "64 lower-case hexadecimal digits", found: .string(text))
        }
        return digest
    }

    /// Bytes in Base64, at most `limit`.
    package mutating func optionalBase64(_ key: String, limit: Int) throws(JSONError) -> [UInt8]? {
        guard let value = optionalValue(key) else { return nil }
        return try base64(value, of: key, limit: limit)
    }

    package func base64(_ value: JSONValue, of key: String, limit: Int) throws(JSONError) -> [UInt8] {
        guard let text = value.string, let bytes = Base64.decode(text), bytes.count <= limit else {
            throw refuse(key, "Base64 of at most \(limit) bytes", found: value)
        }
        return bytes
    }

    /// An integer from `range`.
    package mutating func integer(_ key: String, in range: ClosedRange<Int64>) throws(JSONError) -> Int64 {
        try check(integer(key), of: key, in: range)
    }

    /// An optional integer from `range`.
    package mutating func optionalInteger(_ key: String, in range: ClosedRange<Int64>) throws(JSONError) -> Int64? {
        guard let value = try optionalInteger(key) else { return nil }
        return try check(value, of: key, in: range)
    }

    /// A name of `form`.
    package mutating func name(_ key: String, _ form: NameForm) throws(JSONError) -> String {
        let text = try string(key)
        guard form.accepts(text) else { throw refuse(key, form.expectation, found: .string(text)) }
        return text
    }

    /// Text that people read: 1 to `limit` bytes, no control characters.
    package mutating func optionalText(_ key: String, limit: Int) throws(JSONError) -> String? {
        guard let text = try optionalString(key) else { return nil }
        guard (1...limit).contains(text.utf8.count),
            text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
        else { throw refuse(key, "1 to \(limit) bytes of text without control characters", found: .string(text)) }
        return text
    }

    /// Text that people read: 1 to `limit` bytes, no control characters.
    package mutating func text(_ key: String, limit: Int) throws(JSONError) -> String {
        guard let text = try optionalText(key, limit: limit) else { throw .missing(key: key, subject: subject) }
        return text
    }

    /// An ISO 3166 country code.
    package mutating func optionalCountry(_ key: String) throws(JSONError) -> String? {
        guard let text = try optionalString(key) else { return nil }
        guard text.utf8.count == 2, text.utf8.allSatisfy({ (65...90).contains($0) }) else {
            throw refuse(key, "two capital letters", found: .string(text))
        }
        return text
    }

    /// One of the words of an enumeration.
    package mutating func word<Word>(_ key: String, _ type: Word.Type) throws(JSONError) -> Word
    where Word: RawRepresentable<String> & CaseIterable {
        let text = try string(key)
        guard let word = Word(rawValue: text) else {
            let words = Word.allCases.map(\.rawValue).joined(separator: ", ")
            throw refuse(key, "one of \(words)", found: .string(text))
        }
        return word
    }

    private func check(_ value: Int64, of key: String, in range: ClosedRange<Int64>) throws(JSONError) -> Int64 {
        guard range.contains(value) else {
            let expected =
                range.upperBound == JSONValue.integerLimit
                ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
            throw refuse(key, expected, found: .integer(value))
        }
        return value
    }
}

/// Ranges that several bodies use.
package enum Bounds {
    /// Counters that start at 1.
    package static let positive: ClosedRange<Int64> = 1...JSONValue.integerLimit
    /// Sizes and amounts.
    package static let amount: ClosedRange<Int64> = 0...JSONValue.integerLimit
    /// TCP and UDP ports.
    package static let port: ClosedRange<Int64> = 1...65_535
}

extension JSONValue {
    /// An object of the members that are there.
    package static func members(_ members: [String: JSONValue?]) -> JSONValue {
        .object(members.compactMapValues { $0 })
    }
    /// A key's address.
    package static func key(_ key: PublicKey) -> JSONValue { .string(key.address) }
    /// A digest's hexadecimal form.
    package static func digest(_ digest: Digest) -> JSONValue { .string(digest.hex) }
    /// Bytes in Base64.
    package static func base64(_ bytes: [UInt8]) -> JSONValue { .string(Base64.encode(bytes)) }
}
