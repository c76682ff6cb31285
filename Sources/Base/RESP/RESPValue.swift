/// One value of the Redis protocol, as received or to be sent.
public enum RESPValue: Sendable {
    /// A short line of text, such as `OK`.
    case simple(String)
    /// An error: a code in capitals, a space and a message.
    case error(String)
    /// A signed 64-bit number.
    case integer(Int64)
    /// Any bytes.
    case bulk([UInt8])
    /// Nothing: the null of RESP3 and both nulls of RESP2.
    case null
    /// A list; a RESP3 set arrives as one too.
    case array([RESPValue])
    /// Pairs in the order in which they were sent.
    case map([(RESPValue, RESPValue)])
    /// A message that no request asked for.
    case push([RESPValue])
    /// True or false.
    case bool(Bool)
    /// A floating-point number.
    case double(Double)
}

extension RESPValue: Equatable {
    /// Compares kind and content; maps compare in order.
    public static func == (left: RESPValue, right: RESPValue) -> Bool {
        switch (left, right) {
        case (.simple(let a), .simple(let b)), (.error(let a), .error(let b)): a == b
        case (.integer(let a), .integer(let b)): a == b
        case (.bulk(let a), .bulk(let b)): a == b
        case (.null, .null): true
        case (.array(let a), .array(let b)), (.push(let a), .push(let b)): a == b
        case (.map(let a), .map(let b)):
            a.count == b.count && zip(a, b).allSatisfy { $0.0 == $1.0 && $0.1 == $1.1 }
        case (.bool(let a), .bool(let b)): a == b
        case (.double(let a), .double(let b)): a == b || (a.isNaN && b.isNaN)
        default: false
        }
    }
}

extension RESPValue {
    /// A bulk string that holds the UTF-8 of `text`.
    public static func text(_ text: String) -> RESPValue { .bulk(Array(text.utf8)) }

    /// The bytes of a bulk or simple string.
    public var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes): bytes
        case .simple(let text): Array(text.utf8)
        default: nil
        }
    }

    /// The text of a bulk string of valid UTF-8, of a simple string or of an error.
    public var text: String? {
        switch self {
        case .bulk(let bytes): String(validating: bytes, as: UTF8.self)
        case .simple(let text), .error(let text): text
        default: nil
        }
    }

    /// The number of an integer, or of a string that spells one.
    public var integer: Int64? {
        switch self {
        case .integer(let number): number
        case .bulk, .simple: text.flatMap { Int64($0) }
        case .bool(let flag): flag ? 1 : 0
        default: nil
        }
    }

    /// The items of an array or push.
    public var items: [RESPValue]? {
        switch self {
        case .array(let items), .push(let items): items
        default: nil
        }
    }

    /// True for `null`.
    public var isNull: Bool { if case .null = self { true } else { false } }

    /// The code and message of an error value.
    public var failure: (code: String, message: String)? {
        guard case .error(let line) = self else { return nil }
        guard let space = line.firstIndex(of: " ") else { return (line, "") }
        return (String(line[..<space]), String(line[line.index(after: space)...]))
    }
}
