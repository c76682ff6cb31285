import LogEngine

/// Cursors in the order of last writes, as the original scans: `SCANX`, `RSCAN`, `KEYCUR`, and `SCAN` without a number.
/// A cursor is `S` and 16 hexadecimal digits, so that it is never taken for one of Redis' numbers.
extension Server {
    /// `KEYCUR key`: the cursor from which `SCANX` goes on behind the key.
    mutating func keyCursor(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            guard let entry = try engine.find(connection.pointee.namespace, arguments[1].bytes) else {
                answerMissing(connection, "ERR Key not found")
                return
            }
            if entry.sequence >= firstUncertain { markUncertain(connection) }
            connection.pointee.bulk(Self.writeCursor(entry.sequence))
        } catch { fail(connection, error) }
    }

    /// Whether `SCAN` was asked as the original is: without a cursor, or with one that it gave.
    func isWriteScan(_ count: Int) -> Bool {
        count == 1 || (count == 2 && Self.writeCursor(arguments[1]) != nil)
    }

    static func writeCursor(_ sequence: UInt64) -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        return [UInt8(ascii: "S")] + (0..<16).map { digits[Int(sequence >> UInt64(60 - 4 * $0) & 15)] }
    }

    static func writeCursor(_ text: Argument) -> UInt64? {
        guard text.count == 17, text.bytes[0] == UInt8(ascii: "S") else { return nil }
        return UInt64(String(decoding: text.bytes.dropFirst(), as: UTF8.self), radix: 16)
    }
}
