internal import CSQLite

/// A value to bind.
enum Value {
    case int(Int64)
    case blob([UInt8])
    case text(String)
    case null

    static func int(_ value: Int) -> Value { .int(Int64(value)) }
    /// Numbers of operations; `Limits.number` keeps them within 63 bits.
    static func number(_ value: UInt64) -> Value { .int(Int64(truncatingIfNeeded: value)) }
    static func id(_ id: some StoreID) -> Value { .blob(id.bytes) }
}

/// A row that a statement stands at; gone with its next step.
struct Row {
    fileprivate let statement: OpaquePointer

    func int(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }
    func number(_ column: Int32) -> UInt64 { UInt64(bitPattern: int(column)) }
    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }
    func isBlob(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_BLOB }

    func bytes(_ column: Int32) -> [UInt8] {
        guard let start = sqlite3_column_blob(statement, column) else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column))))
    }

    func text(_ column: Int32) -> String {
        guard let start = sqlite3_column_blob(statement, column) else { return "" }
        let count = Int(sqlite3_column_bytes(statement, column))
        return String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    }

    func id<ID: StoreID>(_ column: Int32) throws(IndexError) -> ID {
        guard let id = ID(bytes(column)) else { throw .damaged("an id does not have 16 bytes") }
        return id
    }
}

/// A connection to SQLite with its prepared statements. One thread at a time uses it.
final class Connection {
    private let handle: OpaquePointer
    /// By the address of the literal they were prepared from.
    private var statements: [UnsafePointer<UInt8>: OpaquePointer] = [:]
    /// Keeps a temporary file until nobody has it open.
    private let file: IndexFile
    /// SQLITE_TRANSIENT: SQLite copies what is bound.
    private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    init(_ file: IndexFile, write: Bool) throws(IndexError) {
        self.file = file
        var opened: OpaquePointer?
        let flags = (write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(file.path, &opened, flags, nil)
        guard code == SQLITE_OK, let opened else {
            let message = opened.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) } ?? "cannot open"
            if let opened { sqlite3_close_v2(opened) }
            throw .database("\(message): \(file.path)", code: code)
        }
        handle = opened
        sqlite3_busy_timeout(handle, 10_000)
        sqlite3_extended_result_codes(handle, 1)
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Statements without values or results, one after the other.
    func execute(_ text: String) throws(IndexError) {
        guard sqlite3_exec(handle, text, nil, nil, nil) == SQLITE_OK else { throw failure() }
    }

    /// Runs one statement; how many rows it changed.
    @discardableResult
    func run(_ text: StaticString, _ values: Value...) throws(IndexError) -> Int {
        try steps(text, values) { (_) throws(IndexError) in true }
        return Int(sqlite3_changes(handle))
    }

    /// The first row, read.
    func first<Result>(
        _ text: StaticString, _ values: Value..., read: (Row) throws(IndexError) -> Result
    ) throws(IndexError) -> Result? {
        var result: Result?
        // To the end: what a statement with RETURNING changes is complete only then.
        try steps(text, values) { (row) throws(IndexError) in
            if result == nil { result = try read(row) }
            return true
        }
        return result
    }

    /// All rows, read.
    func all<Result>(
        _ text: StaticString, _ values: Value..., read: (Row) throws(IndexError) -> Result
    ) throws(IndexError) -> [Result] {
        var results: [Result] = []
        try steps(text, values) { (row) throws(IndexError) in
            results.append(try read(row))
            return true
        }
        return results
    }

    /// Row after row, until `read` says false.
    func each(
        _ text: StaticString, _ values: Value..., read: (Row) throws(IndexError) -> Bool
    ) throws(IndexError) { try steps(text, values, read) }

    private func steps(
        _ text: StaticString, _ values: [Value], _ read: (Row) throws(IndexError) -> Bool
    ) throws(IndexError) {
        let statement = try prepared(text)
        defer { sqlite3_reset(statement) }
        for (index, value) in values.enumerated() { try bind(statement, Int32(index + 1), value) }
        while true {
            let code = sqlite3_step(statement)
            if code == SQLITE_DONE { return }
            guard code == SQLITE_ROW else { throw failure() }
            if !(try read(Row(statement: statement))) { return }
        }
    }

    private func prepared(_ text: StaticString) throws(IndexError) -> OpaquePointer {
        if let known = statements[text.utf8Start] {
            // The same statement inside itself would lose its place.
            guard sqlite3_stmt_busy(known) == 0 else { throw .misuse("a statement is used within itself: \(text)") }
            return known
        }
        var made: OpaquePointer?
        let code = text.withUTF8Buffer { buffer in
            buffer.withMemoryRebound(to: CChar.self) {
                sqlite3_prepare_v3(
                    handle, $0.baseAddress, Int32($0.count), UInt32(SQLITE_PREPARE_PERSISTENT), &made, nil)
            }
        }
        guard code == SQLITE_OK, let made else { throw failure() }
        statements[text.utf8Start] = made
        return made
    }

    private func bind(_ statement: OpaquePointer, _ column: Int32, _ value: Value) throws(IndexError) {
        let code: Int32
        switch value {
        case .int(let value): code = sqlite3_bind_int64(statement, column, value)
        case .null: code = sqlite3_bind_null(statement, column)
        // An empty array may have no address, which SQLite would take for null.
        case .blob(let value) where value.isEmpty: code = sqlite3_bind_zeroblob(statement, column, 0)
        case .blob(let value):
            code = sqlite3_bind_blob64(statement, column, value, UInt64(value.count), Connection.copied)
        case .text(var value):
            code = value.withUTF8 { buffer in
                buffer.withMemoryRebound(to: CChar.self) { bytes in
                    bytes.isEmpty
                        ? sqlite3_bind_text(statement, column, "", 0, Connection.copied)
                        : sqlite3_bind_text(
                            statement, column, bytes.baseAddress, Int32(bytes.count), Connection.copied)
                }
            }
        }
        guard code == SQLITE_OK else { throw failure() }
    }

    private func failure() -> IndexError {
        .database(String(cString: sqlite3_errmsg(handle)), code: sqlite3_extended_errcode(handle))
    }

    /// Copies the database of this connection over that of another one, as it is at one moment.
    func copy(to target: Connection) throws(IndexError) {
        guard let backup = sqlite3_backup_init(target.handle, "main", handle, "main") else { throw target.failure() }
        var code: Int32
        repeat { code = sqlite3_backup_step(backup, -1) } while code == SQLITE_BUSY || code == SQLITE_LOCKED
        sqlite3_backup_finish(backup)
        guard code == SQLITE_DONE else { throw target.failure() }
    }
}
