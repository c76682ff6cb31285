public import Objects

/// Where an index stands in its log.
public struct IndexPosition: Sendable, Equatable {
    /// The height of the last entry that was committed; 0: none.
    public let height: UInt64
    /// The number of the next operation.
    public let nextSequence: UInt64
    /// What the log's chain came to with that entry.
    public let chain: [UInt8]
}

/// Queries of the index, all at one moment. Valid within `withReader`, or of the writer; one thread at a time.
public final class IndexView {
    let connection: Connection
    /// The writer's, with what is not committed.
    var uncommitted: (accounts: Accounts, next: UInt64)?

    init(_ connection: Connection) { self.connection = connection }

    /// Where the index stands. The writer sees operations that it has not committed in `nextSequence`.
    public func position() throws(IndexError) -> IndexPosition {
        let uncommitted = uncommitted
        let found = try connection.first("SELECT height, next, chain FROM state") { row in
            IndexPosition(
                height: row.number(0), nextSequence: uncommitted?.next ?? row.number(1), chain: row.bytes(2))
        }
        guard let found else { throw .damaged("it does not say where it stands") }
        return found
    }

    /// What is in the store.
    public func accounts() throws(IndexError) -> Accounts {
        if let uncommitted { return uncommitted.accounts }
        let bytes = try connection.first("SELECT accounts FROM state") { $0.bytes(0) }
        guard let bytes else { throw .damaged("it has no accounts") }
        return try decoded("accounts") { () throws(OperationError) in try Accounts(bytes) }
    }

    // Buckets

    struct BucketRow {
        let number: Int64
        let versioning: Versioning
    }

    func bucketRow(_ name: String) throws(IndexError) -> BucketRow? {
        try connection.first("SELECT number, versioning FROM buckets WHERE name = ?", .text(name)) { row in
            BucketRow(number: row.int(0), versioning: Versioning(code: row.int(1)))
        }
    }

    /// The bucket of that name.
    public func bucket(_ name: String) throws(IndexError) -> Bucket? {
        let found = try connection.first(
            "SELECT number, name, owner, created, versioning FROM buckets WHERE name = ?", .text(name)
        ) { ($0.int(0), IndexView.bucket($0)) }
        guard let found else { return nil }
        return try withSettings(found)
    }

    /// All buckets, by name.
    public func buckets() throws(IndexError) -> [Bucket] {
        let found = try connection.all(
            "SELECT number, name, owner, created, versioning FROM buckets ORDER BY name"
        ) { ($0.int(0), IndexView.bucket($0)) }
        var buckets: [Bucket] = []
        for pair in found { buckets.append(try withSettings(pair)) }
        return buckets
    }

    private static func bucket(_ row: Row) -> Bucket {
        Bucket(
            name: row.text(1), owner: row.text(2), created: row.int(3), versioning: Versioning(code: row.int(4)))
    }

    private func withSettings(_ found: (number: Int64, bucket: Bucket)) throws(IndexError) -> Bucket {
        var bucket = found.bucket
        let settings = try connection.all("SELECT name, value FROM settings WHERE bucket = ?", .int(found.number)) {
            ($0.text(0), $0.bytes(1))
        }
        for (name, value) in settings { bucket.settings[name] = value }
        return bucket
    }

    // Keys of users, and what there is one of

    /// The access key of that id.
    public func accessKey(_ id: String) throws(IndexError) -> AccessKey? {
        let bytes = try connection.first("SELECT value FROM access_keys WHERE id = ?", .text(id)) { $0.bytes(0) }
        guard let bytes else { return nil }
        return try value(bytes, "access key") { (reader) throws(OperationError) in try reader.accessKey() }
    }

    /// All access keys, by id.
    public func accessKeys() throws(IndexError) -> [AccessKey] {
        var keys: [AccessKey] = []
        for bytes in try connection.all("SELECT value FROM access_keys ORDER BY id", read: { $0.bytes(0) }) {
            keys.append(
                try value(bytes, "access key") { (reader) throws(OperationError) in try reader.accessKey() })
        }
        return keys
    }

    /// How new data is kept, once the log says so.
    public func policy() throws(IndexError) -> Policy? {
        guard let bytes = try single("policy") else { return nil }
        return try value(bytes, "policy") { (reader) throws(OperationError) in try reader.policy() }
    }

    /// Who writes, once the log says so.
    public func writer() throws(IndexError) -> WriterClaim? {
        guard let bytes = try single("writer") else { return nil }
        return try value(bytes, "writer") { (reader) throws(OperationError) in try reader.claim() }
    }

    /// The number of the operation that said who writes: what is unused and older is of a writer that is gone.
    public func writerSequence() throws(IndexError) -> UInt64? {
        guard let bytes = try single("writer sequence") else { return nil }
        return try value(bytes, "writer sequence") { (reader) throws(OperationError) in
            try reader.number("sequence")
        }
    }

    /// The last copy of an index that is kept in the store.
    public func snapshot() throws(IndexError) -> IndexSnapshot? {
        guard let bytes = try single("snapshot") else { return nil }
        return try value(bytes, "snapshot") { (reader) throws(OperationError) in try reader.snapshot() }
    }

    /// The owner's keys, wrapped, oldest first.
    public func keyGenerations() throws(IndexError) -> [(generation: UInt32, wrapped: [UInt8])] {
        try connection.all("SELECT number, wrapped FROM generations ORDER BY number") {
            (UInt32(truncatingIfNeeded: $0.int(0)), $0.bytes(1))
        }
    }

    private func single(_ name: String) throws(IndexError) -> [UInt8]? {
        try connection.first("SELECT value FROM singles WHERE name = ?", .text(name)) { $0.bytes(0) }
    }

    // Rows that hold encoded values

    func decoded<Result>(
        _ what: String, _ body: () throws(OperationError) -> Result
    ) throws(IndexError) -> Result {
        do { return try body() } catch { throw .damaged("\(what): \(error)") }
    }

    /// A value that takes all of the bytes.
    func value<Result>(
        _ bytes: [UInt8], _ what: String, _ body: (inout FieldReader) throws(OperationError) -> Result
    ) throws(IndexError) -> Result {
        try decoded(what) { () throws(OperationError) in
            var reader = FieldReader(bytes)
            let result = try body(&reader)
            try reader.finish()
            return result
        }
    }

    /// The same where no bytes stand for an empty value.
    func attributes(_ row: Row, _ column: Int32) throws(IndexError) -> [String: String] {
        if row.isNull(column) { return [:] }
        return try value(row.bytes(column), "attributes") { (reader) throws(OperationError) in
            try reader.attributes()
        }
    }

    func segments(_ row: Row, _ column: Int32) throws(IndexError) -> [Segment] {
        if row.isNull(column) { return [] }
        return try value(row.bytes(column), "segments") { (reader) throws(OperationError) in
            try reader.segments()
        }
    }

    func parts(_ row: Row, _ column: Int32) throws(IndexError) -> [ObjectPart] {
        if row.isNull(column) { return [] }
        return try value(row.bytes(column), "parts") { (reader) throws(OperationError) in try reader.parts() }
    }
}

extension Versioning {
    /// As the index and the log have it.
    var code: Int64 {
        switch self {
        case .off: 0
        case .enabled: 1
        case .suspended: 2
        }
    }

    init(code: Int64) {
        switch code {
        case 1: self = .enabled
        case 2: self = .suspended
        default: self = .off
        }
    }
}
