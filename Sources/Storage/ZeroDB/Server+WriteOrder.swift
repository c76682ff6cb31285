import LogEngine

/// Keys in the order of their last writes, as the original scans: `SCANX`, `RSCAN`, `KEYCUR`, and `SCAN` without a
/// number. A cursor is `S` and 16 hexadecimal digits, so that it is never taken for one of Redis' numbers.
extension Server {
    /// `SCANX [cursor]`, `RSCAN [cursor]`: next cursor, and key, length and time of each key.
    mutating func scanWrites(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int, isReverse: Bool
    ) {
        guard count <= 2 else {
            fail(connection, "ERR syntax: SCANX [cursor], RSCAN [cursor]")
            return
        }
        var from: UInt64 = isReverse ? .max : 0
        if count == 2, arguments[1].count > 0 {
            guard let cursor = Self.writeCursor(arguments[1]) else {
                fail(connection, "ERR Invalid key format: SCANX, RSCAN and KEYCUR give cursors")
                return
            }
            from = cursor
        }
        do throws(LogError) {
            let next = try engine.written(
                connection.pointee.namespace, from: from, isReverse: isReverse, limit: Limits.writeOrderKeys,
                visits: Limits.writeOrderVisits, into: &writtenKeys)
            extraCost += Limits.writeOrderVisits * 100
            guard let next, next != from else {
                fail(connection, "ERR No more data")
                return
            }
            connection.pointee.array(2)
            connection.pointee.bulk(Self.writeCursor(next))
            connection.pointee.array(writtenKeys.count)
            for key in writtenKeys {
                connection.pointee.array(3)
                connection.pointee.bulk(key.key)
                connection.pointee.integer(UInt64(key.valueLength))
                connection.pointee.integer(key.time / 1_000_000_000)
            }
        } catch { fail(connection, error) }
    }

    /// `KEYCUR key`: the cursor from which `SCANX` goes on behind the key.
    mutating func keyCursor(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            guard let entry = try engine.find(connection.pointee.namespace, arguments[1].bytes) else {
                answerMissing(connection, "ERR Key not found")
                return
            }
            if entry.sequence >= engine.turnFirstSequence { markUncertain(connection) }
            connection.pointee.bulk(Self.writeCursor(entry.sequence))
        } catch { fail(connection, error) }
    }

    /// Whether `SCAN` was asked as the original is: without a cursor, or with one that it gave.
    func isWriteScan(_ count: Int) -> Bool {
        count == 1 || (count == 2 && Self.writeCursor(arguments[1]) != nil)
    }

    private static func writeCursor(_ sequence: UInt64) -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        return [UInt8(ascii: "S")] + (0..<16).map { digits[Int(sequence >> UInt64(60 - 4 * $0) & 15)] }
    }

    private static func writeCursor(_ text: Argument) -> UInt64? {
        guard text.count == 17, text.bytes[0] == UInt8(ascii: "S") else { return nil }
        return UInt64(String(decoding: text.bytes.dropFirst(), as: UTF8.self), radix: 16)
    }
}
