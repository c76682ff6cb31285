/// Reads an object of known shape: every member is asked for by name, and `finish` refuses those nobody asked for.
public struct ObjectReader: Sendable {
    /// What the object is, for error messages.
    public let subject: String
    private let members: [String: JSONValue]
    private var asked: Set<String> = []

    /// Starts reading `value`, which must be an object.
    public init(_ value: JSONValue, _ subject: String) throws(JSONError) {
        guard case .object(let members) = value else {
            throw .unexpected(key: "", subject: subject, expected: "an object", found: value.kind)
        }
        (self.members, self.subject) = (members, subject)
    }

    /// Every key that is there, in byte order.
    public var keys: [String] { members.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }

    /// A member of any kind, nil where it is absent.
    public mutating func optionalValue(_ key: String) -> JSONValue? {
        asked.insert(key)
        return members[key]
    }

    /// A member of any kind.
    public mutating func value(_ key: String) throws(JSONError) -> JSONValue {
        guard let value = optionalValue(key) else { throw .missing(key: key, subject: subject) }
        return value
    }

    /// An optional string.
    public mutating func optionalString(_ key: String) throws(JSONError) -> String? {
        try optional(key, "a string") { $0.string }
    }
    /// An optional integer.
    public mutating func optionalInteger(_ key: String) throws(JSONError) -> Int64? {
        try optional(key, "an integer") { $0.integer }
    }
    /// An optional boolean.
    public mutating func optionalBool(_ key: String) throws(JSONError) -> Bool? {
        try optional(key, "true or false") { $0.bool }
    }
    /// An optional array.
    public mutating func optionalArray(_ key: String) throws(JSONError) -> [JSONValue]? {
        try optional(key, "an array") { $0.array }
    }
    /// An optional object.
    public mutating func optionalObject(_ key: String) throws(JSONError) -> [String: JSONValue]? {
        try optional(key, "an object") { $0.object }
    }

    /// A string.
    public mutating func string(_ key: String) throws(JSONError) -> String {
        try required(key, optionalString(key))
    }
    /// An integer.
    public mutating func integer(_ key: String) throws(JSONError) -> Int64 {
        try required(key, optionalInteger(key))
    }
    /// A boolean.
    public mutating func bool(_ key: String) throws(JSONError) -> Bool {
        try required(key, optionalBool(key))
    }
    /// An array.
    public mutating func array(_ key: String) throws(JSONError) -> [JSONValue] {
        try required(key, optionalArray(key))
    }
    /// An object.
    public mutating func object(_ key: String) throws(JSONError) -> [String: JSONValue] {
        try required(key, optionalObject(key))
    }

    /// An array of strings, nil where it is absent.
    public mutating func optionalStrings(_ key: String) throws(JSONError) -> [String]? {
        guard let elements = try optionalArray(key) else { return nil }
        var strings: [String] = []
        for element in elements {
            guard let string = element.string else { throw refuse(key, "an array of strings", found: element) }
            strings.append(string)
        }
        return strings
    }

    /// An array of strings.
    public mutating func strings(_ key: String) throws(JSONError) -> [String] {
        try required(key, optionalStrings(key))
    }

    /// The error for a member whose value is not acceptable.
    public func refuse(_ key: String, _ expected: String, found: JSONValue) -> JSONError {
        var text = found.canonicalText
        if text.utf8.count > 60 { text = found.kind }
        return .unexpected(key: key, subject: subject, expected: expected, found: text)
    }

    /// Refuses members that nobody asked for.
    public func finish() throws(JSONError) {
        if let stranger = keys.first(where: { !asked.contains($0) }) {
            throw .unknown(key: stranger, subject: subject, nearest: nearest(to: stranger, among: asked))
        }
    }

    private mutating func optional<Value>(
        _ key: String, _ expected: String, _ read: (JSONValue) -> Value?
    ) throws(JSONError) -> Value? {
        guard let value = optionalValue(key) else { return nil }
        guard let found = read(value) else { throw refuse(key, expected, found: value) }
        return found
    }

    private func required<Value>(_ key: String, _ value: Value?) throws(JSONError) -> Value {
        guard let value else { throw .missing(key: key, subject: subject) }
        return value
    }
}
