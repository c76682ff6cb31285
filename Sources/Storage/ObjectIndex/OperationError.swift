public import Bytes

/// Why bytes are not an entry of a store's log, or operations cannot become one.
public enum OperationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Cut off, longer than its fields, or a length beyond its limit.
    case bytes(ByteError)
    /// An entry of another version of the format.
    case unknownVersion(UInt8)
    /// An operation that this version does not know.
    case unknownTag(UInt8, offset: Int)
    /// A text that is not UTF-8.
    case badText(offset: Int)
    /// A field with a value that it cannot have.
    case outOfRange(String, offset: Int)
    /// Names, or ids, that are not in the one order that the format has.
    case outOfOrder(String, offset: Int)
    /// To be written: more than a reader takes.
    case tooMuch(String, count: Int, limit: Int)
    /// To be written: a value that a reader refuses.
    case unfit(String)

    /// A sentence for people.
    public var description: String {
        switch self {
        case .bytes(let error): "the entry \(error)"
        case .unknownVersion(let version): "the entry has version \(version) of the format; a newer program reads it"
        case .unknownTag(let tag, let offset):
            "operation \(tag) at byte \(offset) is not known; a newer program reads it"
        case .badText(let offset): "the text at byte \(offset) is not UTF-8"
        case .outOfRange(let what, let offset): "\(what) at byte \(offset) has a value that it cannot have"
        case .outOfOrder(let what, let offset): "\(what) at byte \(offset) is not where its order has it"
        case .tooMuch(let what, let count, let limit): "\(what): \(count), at most \(limit) can be written"
        case .unfit(let what): "\(what) has a value that cannot be written"
        }
    }
}
