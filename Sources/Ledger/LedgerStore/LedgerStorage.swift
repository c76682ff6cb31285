import Records

/// Why stored bytes could not be read or written.
public enum StorageError: Error, Hashable, Sendable {
    /// The store does not answer at the moment.
    case away(String)
    /// Another ledger has taken over the namespace.
    case fenced(String)
    /// There is something else at this key already.
    case exists(key: String)
    /// The store reports that the bytes at this key are damaged.
    case damaged(key: String, reason: String)
    /// The store refuses, and will again.
    case refused(String)
}

extension StorageError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .away(let reason): "Zero-DB is away: \(reason)"
        case .fenced(let reason): "another ledger has taken over: \(reason)"
        case .exists(let key): "another ledger wrote \(key)"
        case .damaged(let key, let reason): "\(key) is damaged: \(reason)"
        case .refused(let reason): "Zero-DB refuses: \(reason)"
        }
    }
}

/// Where a ledger keeps its bytes: keys and values, written once. Calls block.
public protocol LedgerStorage: Sendable {
    /// Takes the namespace for this writer; any earlier one is refused from now on.
    func open(epoch: UInt64) throws(StorageError)
    /// The value of a key.
    func get(_ key: String) throws(StorageError) -> [UInt8]?
    /// Writes a key that is not there yet; durable when it returns. The same bytes again are fine.
    func create(_ key: String, _ value: [UInt8]) throws(StorageError)
    /// Writes a key, whatever was there; durable when it returns.
    func replace(_ key: String, _ value: [UInt8]) throws(StorageError)
    /// Forgets a key.
    func remove(_ key: String) throws(StorageError)
}

/// Keys in the ledger's namespace (Documentation/formats/ledger.md).
enum StorageKey {
    static let genesis = "genesis"
    static let snapshots = "snapshots"

    static func block(_ height: Int64) -> String { "b/" + padded(height) }
    static func checkpoint(_ height: Int64) -> String { "c/" + padded(height) }
    static func tile(_ number: Int) -> String { "t/" + padded(Int64(number)) }
    static func piece(_ height: Int64, _ number: Int) -> String { "s/" + padded(height) + "/" + padded(Int64(number)) }

    private static func padded(_ number: Int64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: max(0, 16 - digits.count)) + digits
    }
}
