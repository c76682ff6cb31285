import CSQLite

/// What SQLite had to say.
struct SQLiteError: Error, CustomStringConvertible {
    let message: String
    var description: String { message }
}

/// A value to bind.
enum SQLiteValue: Sendable {
    case integer(Int64)
    case text(String)
    case blob([UInt8])
    case null
}

/// A connection to a SQLite file.
///
/// `@unchecked Sendable`: `RecordIndex` lets one task at a time use it, so that the connection may move between threads.
final class SQLiteBox: @unchecked Sendable {
    private var connection: OpaquePointer?
    private var statements: [String: OpaquePointer] = [:]
    /// SQLITE_TRANSIENT: SQLite copies what is bound.
    private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    deinit { close() }

    var isOpen: Bool { connection != nil }

    func open(_ path: String) throws {
        close()
        guard sqlite3_open(path, &connection) == SQLITE_OK else { throw failure() }
    }

    func close() {
        for statement in statements.values { sqlite3_finalize(statement) }
        statements = [:]
        if let connection { sqlite3_close_v2(connection) }
        connection = nil
    }

    /// Runs statements without results.
    func execute(_ text: String) throws {
        guard sqlite3_exec(connection, text, nil, nil, nil) == SQLITE_OK else { throw failure() }
    }

    /// Runs one statement with values.
    func run(_ text: String, _ values: [SQLiteValue]) throws {
        let statement = try prepared(text, values)
        defer { sqlite3_reset(statement) }
        guard sqlite3_step(statement) == SQLITE_DONE else { throw failure() }
    }

    /// The first column of the first row; nil where there is none or it is null.
    func text(_ text: String) throws -> String? {
        let statement = try prepared(text, [])
        defer { sqlite3_reset(statement) }
        guard sqlite3_step(statement) == SQLITE_ROW else { return nil }
        return sqlite3_column_text(statement, 0).map { String(cString: $0) }
    }

    func integer(_ text: String) throws -> Int64? { try self.text(text).flatMap { Int64($0) } }

    /// Rows of position, height, place, time, bytes.
    func rows(_ text: String, _ values: [SQLiteValue]) throws -> [RecordIndex.Row] {
        let statement = try prepared(text, values)
        defer { sqlite3_reset(statement) }
        var rows: [RecordIndex.Row] = []
        while true {
            let code = sqlite3_step(statement)
            guard code == SQLITE_ROW else {
                if code != SQLITE_DONE { throw failure() }
                return rows
            }
            let count = Int(sqlite3_column_bytes(statement, 4))
            let bytes = sqlite3_column_blob(statement, 4).map {
                [UInt8](UnsafeRawBufferPointer(start: $0, count: count))
            }
            rows.append(
                RecordIndex.Row(
                    position: sqlite3_column_int64(statement, 0), height: sqlite3_column_int64(statement, 1),
                    index: sqlite3_column_int64(statement, 2), time: sqlite3_column_int64(statement, 3),
                    record: bytes ?? []))
        }
    }

    private func prepared(_ text: String, _ values: [SQLiteValue]) throws -> OpaquePointer {
        let statement: OpaquePointer
        if let known = statements[text] {
            statement = known
        } else {
            var made: OpaquePointer?
            guard sqlite3_prepare_v2(connection, text, -1, &made, nil) == SQLITE_OK, let made else { throw failure() }
            statements[text] = made
            statement = made
        }
        sqlite3_reset(statement)
        for (number, value) in values.enumerated() {
            let column = Int32(number + 1)
            switch value {
            case .integer(let value): sqlite3_bind_int64(statement, column, value)
            case .text(let value): sqlite3_bind_text(statement, column, value, -1, SQLiteBox.copied)
            case .blob(let value): sqlite3_bind_blob(statement, column, value, Int32(value.count), SQLiteBox.copied)
            case .null: sqlite3_bind_null(statement, column)
            }
        }
        return statement
    }

    private func failure() -> SQLiteError {
        SQLiteError(message: sqlite3_errmsg(connection).map { String(cString: $0) } ?? "SQLite failed")
    }
}
