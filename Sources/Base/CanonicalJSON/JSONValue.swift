/// A document of the restricted JSON that Zero Grid signs and hashes: objects, arrays, strings, booleans and
/// integers within ±2^53. No null, no fraction, no exponent, no duplicate key; keys are printable ASCII.
public enum JSONValue: Hashable, Sendable {
    /// Named members; order carries no meaning and is fixed when encoded.
    case object([String: JSONValue])
    /// Ordered values.
    case array([JSONValue])
    /// Unicode text, kept byte for byte.
    case string(String)
    /// A whole number within ±(2^53 - 1).
    case integer(Int64)
    /// True or false.
    case bool(Bool)

    /// The largest magnitude of an integer: what every JSON reader represents exactly (RFC 8785, RFC 7493).
    public static let integerLimit: Int64 = 9_007_199_254_740_991

    /// The text, where this is a string.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The number, where this is an integer.
    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
    /// The truth value, where this is one.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The elements, where this is an array.
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    /// The members, where this is an object.
    public var object: [String: JSONValue]? { if case .object(let value) = self { value } else { nil } }

    /// A member of an object; nil for anything else. Setting nil removes the member.
    public subscript(key: String) -> JSONValue? {
        get { object?[key] }
        set {
            guard case .object(var members) = self else { return }
            members[key] = newValue
            self = .object(members)
        }
    }

    /// What kind of value this is, for error messages.
    public var kind: String {
        switch self {
        case .object: "an object"
        case .array: "an array"
        case .string: "a string"
        case .integer: "an integer"
        case .bool: "a boolean"
        }
    }
}

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral, ExpressibleByStringLiteral,
    ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral
{
    /// An object from a literal; the last of two equal keys wins.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
    }
    /// An array from a literal.
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    /// A string from a literal.
    public init(stringLiteral value: String) { self = .string(value) }
    /// An integer from a literal.
    public init(integerLiteral value: Int64) { self = .integer(value) }
    /// A boolean from a literal.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
}
