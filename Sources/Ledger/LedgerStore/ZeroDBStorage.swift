import RESP
import Synchronization

/// A ledger's bytes in a namespace of a Zero-DB. Each value is durable when its command is answered.
final class ZeroDBStorage: LedgerStorage {
    private let path: String
    private let namespace: String
    /// Reading never waits for a write.
    private let reader: RESPClient
    private let writer: Mutex<RESPClient?>

    init(path: String, namespace: String = "ledger") {
        (self.path, self.namespace) = (path, namespace)
        reader = RESPClient(unix: path, setup: [ZeroDBStorage.command("SELECT", namespace)])
        writer = Mutex(nil)
    }

    func open(epoch: UInt64) throws(StorageError) {
        let admin = RESPClient(unix: path)
        let made = try ZeroDBStorage.call(admin, ZeroDBStorage.command("NSNEW", namespace), namespace)
        // That it is there already is what we want; who may not make it may still use it.
        if case .error(let text) = made, ZeroDBStorage.isAway(text), !text.hasPrefix("DENIED") { throw .away(text) }
        let fenced = try ZeroDBStorage.call(
            RESPClient(unix: path, setup: [ZeroDBStorage.command("SELECT", namespace)]),
            ZeroDBStorage.command("NSFENCE", namespace, "\(epoch)"), namespace)
        try ZeroDBStorage.check(fenced, namespace)
        let setup = [ZeroDBStorage.command("SELECT", namespace), ZeroDBStorage.command("EPOCH", "\(epoch)")]
        let client = RESPClient(unix: path, setup: setup)
        writer.withLock { $0 = client }
    }

    func get(_ key: String) throws(StorageError) -> [UInt8]? {
        let reply = try ZeroDBStorage.call(reader, [Array("GET".utf8), Array(key.utf8)], key)
        switch reply {
        case .bulk(let bytes): return bytes
        case .null: return nil
        default:
            try ZeroDBStorage.check(reply, key)
            throw .refused("GET answered \(reply)")
        }
    }

    func create(_ key: String, _ value: [UInt8]) throws(StorageError) {
        let reply = try write([Array("SET".utf8), Array(key.utf8), value, Array("IFABSENT".utf8)], key)
        var isThere = false
        switch reply {
        case .null: isThere = true
        case .error(let text): isThere = text.hasPrefix("EXISTS")
        default: break
        }
        guard isThere else { return try ZeroDBStorage.check(reply, key) }
        // An answer that was lost, or another writer: the bytes tell.
        guard try get(key) == value else { throw .exists(key: key) }
    }

    func replace(_ key: String, _ value: [UInt8]) throws(StorageError) {
        try ZeroDBStorage.check(write([Array("SET".utf8), Array(key.utf8), value], key), key)
    }

    func remove(_ key: String) throws(StorageError) {
        try ZeroDBStorage.check(write(ZeroDBStorage.command("DEL", key), key), key)
    }

    private func write(_ command: [[UInt8]], _ key: String) throws(StorageError) -> RESPValue {
        guard let client = writer.withLock({ $0 }) else { throw .away("the namespace is not opened yet") }
        return try ZeroDBStorage.call(client, command, key)
    }

    private static func command(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

    private static func call(
        _ client: RESPClient, _ command: [[UInt8]], _ key: String
    ) throws(StorageError) -> RESPValue {
        do { return try client.call(command, deadline: StoreLimits.storageDeadline) } catch {
            if case .refused(_, let text) = error, !isAway(text) { throw failure(text, key) }
            throw .away(error.description)
        }
    }

    private static func check(_ reply: RESPValue, _ key: String) throws(StorageError) {
        guard case .error(let text) = reply else { return }
        throw isAway(text) ? .away(text) : failure(text, key)
    }

    /// Errors that may pass: no space, a device that failed a sync, a namespace that is not made yet.
    private static func isAway(_ text: String) -> Bool {
        ["NOSPACE", "QUOTA", "READONLY", "DENIED", "FROZEN", "LOCKED", "LOADING"].contains { text.hasPrefix($0) }
    }

    private static func failure(_ text: String, _ key: String) -> StorageError {
        if text.hasPrefix("FENCED") { return .fenced(text) }
        if text.hasPrefix("CORRUPT") { return .damaged(key: key, reason: text) }
        return .refused("\(key): \(text)")
    }
}
