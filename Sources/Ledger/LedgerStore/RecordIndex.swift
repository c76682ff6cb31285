import CSQLite
import CanonicalJSON
import Crypto
import LedgerClient
import LedgerState
import Linux
import Records
import Service

/// Where records are, by what they are about: a SQLite file that can be thrown away at any time.
///
/// One task at a time uses the database, in the order in which they came, on a thread of its own: who asks after a
/// block was added finds it.
final class RecordIndex: Sendable {
    private let path: String
    private let log: Log
    private let turnstile = Turnstile()
    private let database: SQLiteBox

    init(path: String, log: Log) {
        (self.path, self.log) = (path, log)
        database = SQLiteBox()
    }

    /// A record that a query found.
    struct Row: Sendable {
        var position: Int64
        var height: Int64
        var index: Int64
        var time: Int64
        var record: [UInt8]
    }

    /// Opens the index of `ledger` and adds what it lacks; one that does not fit is made anew.
    func catchUp(ledger: Digest, height: Int64, _ block: @escaping @Sendable (Int64) throws -> Block?) async {
        await inTurn { [self] in
            do {
                try open(ledger, height)
                try fill(height, block)
            } catch {
                log.warn("index rebuilt", ["reason": "\(error)"])
                database.close()
                for suffix in ["", "-wal", "-shm"] { try? File.remove(path + suffix) }
                do {
                    try open(ledger, height)
                    try fill(height, block)
                } catch { log.error("no index", ["reason": "\(error)"]) }
            }
        }
    }

    private func open(_ ledger: Digest, _ height: Int64) throws {
        try database.open(path)
        try database.execute(
            """
            PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
            CREATE TABLE IF NOT EXISTS records(position INTEGER PRIMARY KEY, height INTEGER, place INTEGER,
              time INTEGER, id TEXT, kind TEXT, author TEXT, contract TEXT, name TEXT, bytes BLOB);
            CREATE INDEX IF NOT EXISTS by_id ON records(id);
            CREATE INDEX IF NOT EXISTS by_author ON records(author, position);
            CREATE INDEX IF NOT EXISTS by_contract ON records(contract, position);
            CREATE INDEX IF NOT EXISTS by_name ON records(name, position);
            CREATE INDEX IF NOT EXISTS by_kind ON records(kind, position);
            CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT);
            """)
        let known = try database.text("SELECT value FROM meta WHERE key='ledger'")
        if let known, known != ledger.hex { throw SQLiteError(message: "the index is of ledger \(known)") }
        try database.execute("INSERT OR IGNORE INTO meta VALUES('ledger','\(ledger.hex)'), ('height','0')")
        let indexed = try database.integer("SELECT value FROM meta WHERE key='height'") ?? 0
        guard indexed <= height else { throw SQLiteError(message: "the index is ahead of the ledger") }
    }

    private func fill(_ height: Int64, _ block: (Int64) throws -> Block?) throws {
        var indexed = try database.integer("SELECT value FROM meta WHERE key='height'") ?? 0
        var position = (try database.integer("SELECT max(position) FROM records")).map { $0 + 1 } ?? 0
        while indexed < height {
            try database.execute("BEGIN")
            for next in (indexed + 1)...min(indexed + 200, height) {
                guard let found = try block(next) else { throw SQLiteError(message: "block \(next) is missing") }
                try insert(found, at: position)
                position += Int64(found.records.count)
                indexed = next
            }
            try database.execute("COMMIT")
        }
    }

    /// Adds the next block; `before` is how many records there were before it.
    func add(_ block: Block, before: Int64) async {
        await inTurn { [self] in
            guard database.isOpen else { return }
            do {
                try database.execute("BEGIN")
                try insert(block, at: before)
                try database.execute("COMMIT")
            } catch { log.warn("index behind", ["height": block.height, "reason": "\(error)"]) }
        }
    }

    private func insert(_ block: Block, at first: Int64) throws {
        for (place, record) in block.records.enumerated() {
            let (contract, name) = RecordIndex.about(record)
            try database.run(
                "INSERT OR REPLACE INTO records VALUES(?,?,?,?,?,?,?,?,?,?)",
                [
                    .integer(first + Int64(place)), .integer(block.height), .integer(Int64(place)),
                    .integer(block.time),
                    .text(record.id.hex), .text(record.kind.rawValue), .text(record.author.address),
                    contract.map { .text($0.hex) } ?? .null, name.map { .text($0) } ?? .null,
                    .blob(record.canonicalBytes),
                ])
        }
        try database.execute("UPDATE meta SET value='\(block.height)' WHERE key='height'")
    }

    private static func about(_ record: Record) -> (contract: Digest?, name: String?) {
        switch record.body {
        case .contract(let body):
            let id = body["id"]?.string.flatMap { Digest(hex: $0) }
            return (id ?? record.id, body["name"]?.string)
        case .approval(let body): return (body.contract, nil)
        case .cancel(let body): return (body.contract, nil)
        case .placement(let body): return (body.contract, nil)
        case .result(let body): return (body.contract, nil)
        case .image(let body): return (nil, body.name)
        case .name(.reveal(let name, _, _)), .name(.renew(let name, _)), .name(.transfer(let name, _)):
            return (nil, name)
        case .name(.commit), .identity, .farm, .node, .liveness: return (nil, nil)
        }
    }

    /// Where a record stands in the log; nil where it is not there.
    func position(of id: Digest) async throws -> Row? {
        try await query(LedgerClient.Query(id: id, limit: 1)).first
    }

    /// Records that fit, oldest first.
    func query(_ query: LedgerClient.Query) async throws -> [Row] {
        var conditions = ["position > ?"]
        var values: [SQLiteValue] = [.integer(query.after ?? -1)]
        func add(_ column: String, _ value: String?) {
            guard let value else { return }
            conditions.append("\(column) = ?")
            values.append(.text(value))
        }
        add("id", query.id?.hex)
        add("kind", query.kind?.rawValue)
        add("author", query.author?.address)
        add("contract", query.contract?.hex)
        add("name", query.name)
        let limit = min(max(query.limit ?? StoreLimits.queryDefault, 1), StoreLimits.queryLimit)
        let text =
            "SELECT position, height, place, time, bytes FROM records WHERE \(conditions.joined(separator: " AND ")) "
            + "ORDER BY position LIMIT \(limit)"
        let bound = values
        return try await turn { [self] in
            guard database.isOpen else { throw SQLiteError(message: "the index is not open") }
            return try database.rows(text, bound)
        }
    }

    private func inTurn(_ body: @escaping @Sendable () -> Void) async {
        await turnstile.enter()
        await runBlocking(body)
        turnstile.leave()
    }

    private func turn<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        await turnstile.enter()
        defer { turnstile.leave() }
        return try await runBlocking(body)
    }
}
