import CanonicalJSON
import Crypto

/// Reads one object of a body field by field and refuses fields that nobody asked for.
struct BodyReader {
    let path: String
    private let fields: [String: JSONValue]
    private var known: [String] = []

    init(_ value: JSONValue, at path: String) throws(ContractError) {
        guard case .object(let fields) = value else {
            throw ContractError(.malformed, path, "not an object", why: "an object with named fields belongs here")
        }
        (self.fields, self.path) = (fields, path)
    }

    func place(_ key: String) -> String { path.isEmpty ? key : path + "." + key }

    func error(_ code: ContractError.Code, _ key: String, _ what: String, why: String, hint: String? = nil)
        -> ContractError
    {
        ContractError(code, place(key), what, why: why, hint: hint)
    }

    mutating func optional(_ key: String) -> JSONValue? {
        known.append(key)
        return fields[key]
    }

    mutating func required(_ key: String) throws(ContractError) -> JSONValue {
        guard let value = optional(key) else {
            throw ContractError(.missingField, path, "`\(key)` is missing", why: "it must be written out here")
        }
        return value
    }

    mutating func string(_ key: String) throws(ContractError) -> String {
        try string(of: try required(key), key)
    }

    mutating func optionalString(_ key: String) throws(ContractError) -> String? {
        guard let value = optional(key) else { return nil }
        return try string(of: value, key)
    }

    private func string(of value: JSONValue, _ key: String) throws(ContractError) -> String {
        guard case .string(let text) = value else {
            throw error(.malformed, key, "not a string", why: "text belongs here")
        }
        return text
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int64>, _ text: (Int64) -> String = { String($0) })
        throws(ContractError) -> Int64
    {
        guard case .integer(let number) = try required(key) else {
            throw error(.malformed, key, "not an integer", why: "a whole number belongs here")
        }
        guard range.contains(number) else {
            let size = number < range.lowerBound ? "too small" : "too large"
            let limits = "\(text(range.lowerBound)) to \(text(range.upperBound)) is allowed"
            throw error(.outOfRange, key, "\(text(number)) is \(size)", why: limits)
        }
        return number
    }

    mutating func bool(_ key: String) throws(ContractError) -> Bool {
        guard case .bool(let value) = try required(key) else {
            throw error(.malformed, key, "not true or false", why: "a boolean belongs here")
        }
        return value
    }

    mutating func list(_ key: String, limit: Int) throws(ContractError) -> [JSONValue] {
        guard case .array(let values) = try required(key) else {
            throw error(.malformed, key, "not a list", why: "a list belongs here")
        }
        guard values.count <= limit else {
            throw error(.outOfRange, key, "\(values.count) entries", why: "at most \(limit) are allowed")
        }
        return values
    }

    mutating func map(_ key: String, limit: Int) throws(ContractError) -> [(key: String, value: JSONValue)] {
        try entries(of: try required(key), key, limit: limit)
    }

    func entries(of value: JSONValue, _ key: String, limit: Int) throws(ContractError) -> [(
        key: String, value: JSONValue
    )] {
        guard case .object(let fields) = value else {
            throw error(.malformed, key, "not an object", why: "names and values belong here")
        }
        guard fields.count <= limit else {
            throw error(.outOfRange, key, "\(fields.count) entries", why: "at most \(limit) are allowed")
        }
        return fields.sorted { $0.key < $1.key }
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(_ key: String, _ type: Value.Type)
        throws(ContractError) -> Value where Value.RawValue == String
    {
        let text = try string(key)
        guard let value = Value(rawValue: text) else {
            let known = Value.allCases.map(\.rawValue)
            throw error(
                .badValue, key, "`\(text)` is not allowed", why: "it is one of \(known.joined(separator: ", "))",
                hint: Nearest.match(text, among: known))
        }
        return value
    }

    func identity(_ text: String, _ key: String) throws(ContractError) -> PublicKey {
        do { return try PublicKey(address: text) } catch {
            throw self.error(.badValue, key, "`\(text)` is not an identity", why: "identities are addresses `G…`")
        }
    }

    mutating func optionalIdentity(_ key: String) throws(ContractError) -> PublicKey? {
        guard let text = try optionalString(key) else { return nil }
        return try identity(text, key)
    }

    mutating func digest(_ key: String) throws(ContractError) -> Digest {
        let text = try string(key)
        guard let digest = Digest(hex: text), digest.hex == text else {
            throw error(.badValue, key, "not a hash", why: "64 lower-case hexadecimal digits belong here")
        }
        return digest
    }

    func finish() throws(ContractError) {
        for key in fields.keys.sorted() where !known.contains(key) {
            throw error(
                .unknownField, key, "unknown field `\(key)`", why: "nothing here has that name",
                hint: Nearest.hint(key, among: known))
        }
    }
}
