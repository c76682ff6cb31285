import LogEngine

/// The past of keys: every version that is still kept, across deletes.
extension Server {
    /// `HISTORY key [cursor]`: one version, the newest or the one that the cursor names: cursor of the version before it
    /// or null, its time in seconds since 1970, its value. A deletion is a version whose value is null.
    mutating func history(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count <= 3 else {
            fail(connection, "ERR syntax: HISTORY key [cursor]")
            return
        }
        let key = arguments[1]
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            var before: UInt64?
            if count == 3 {
                guard let sequence = Self.sequence(historyCursor: arguments[2]), sequence < .max else {
                    fail(connection, "ERR invalid cursor: HISTORY gives them")
                    return
                }
                before = sequence + 1
            }
            guard let version = try engine.version(connection.pointee.namespace, key.bytes, before: before) else {
                answerMissing(connection, count == 3 ? "ERR No more history" : "ERR Key not found")
                return
            }
            noteVersion(connection, version)
            connection.pointee.array(3)
            if version.previous == 0 {
                connection.pointee.null()
            } else {
                connection.pointee.bulk(Self.historyCursor(version.previous))
            }
            connection.pointee.bulk(String(version.time / 1_000_000_000))
            try put(connection, version: version, of: key)
        } catch {
            connection.pointee.outputEnd = start
            fail(connection, error)
        }
    }

    /// `GET key AT time`: the value as it was at a time: seconds since 1970, or with more than 11 digits milliseconds,
    /// more than 14 microseconds, more than 17 nanoseconds.
    mutating func getAt(_ connection: UnsafeMutablePointer<Connection>, _ text: Argument) {
        guard let time = Self.nanoseconds(text) else {
            fail(connection, "ERR a time is a number of seconds, milliseconds, microseconds or nanoseconds since 1970")
            return
        }
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            guard let version = try engine.version(connection.pointee.namespace, arguments[1].bytes, at: time) else {
                if engine.turnHasWrites { markUncertain(connection) }
                counters.misses += 1
                connection.pointee.null()
                return
            }
            noteVersion(connection, version)
            try put(connection, version: version, of: arguments[1])
        } catch {
            connection.pointee.outputEnd = start
            fail(connection, error)
        }
    }

    /// `KEYTIME key`: when its version was written, seconds since 1970; null if there is none.
    mutating func keyTime(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            let version = try engine.version(connection.pointee.namespace, arguments[1].bytes, before: nil)
            guard let version, !version.isTombstone else {
                if engine.turnHasWrites { markUncertain(connection) }
                connection.pointee.null()
                return
            }
            noteVersion(connection, version)
            connection.pointee.integer(version.time / 1_000_000_000)
        } catch { fail(connection, error) }
    }

    /// `CHECK key`: 1 if its bytes match their checksums, 0 if not, -1 if the disk failed, null if there is no such key.
    mutating func check(_ connection: UnsafeMutablePointer<Connection>) {
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            guard let entry = try engine.find(connection.pointee.namespace, arguments[1].bytes) else {
                if engine.turnHasWrites { markUncertain(connection) }
                connection.pointee.null()
                return
            }
            if entry.sequence >= engine.turnFirstSequence { markUncertain(connection) }
            // The value is read to behind the replies, and left there.
            connection.pointee.reserveOutput(entry.valueLength + 16)
            try engine.read(
                entry, connection.pointee.namespace, arguments[1].bytes,
                into: connection.pointee.output + connection.pointee.outputEnd)
            connection.pointee.put(":1\r\n")
        } catch {
            connection.pointee.outputEnd = start
            switch error {
            case .corrupt:
                counters.corruptReads += 1
                connection.pointee.put(":0\r\n")
            case .disk: connection.pointee.put(":-1\r\n")
            default: fail(connection, error)
            }
        }
    }

    // MARK: Inside

    /// A version's value, null for a deletion.
    private mutating func put(
        _ connection: UnsafeMutablePointer<Connection>, version: Version, of key: Argument
    ) throws(LogError) {
        if version.isTombstone {
            connection.pointee.null()
            return
        }
        connection.pointee.put(UInt8(ascii: "$"), UInt64(version.valueLength))
        connection.pointee.reserveOutput(version.valueLength + 2)
        try engine.readVersion(
            version, connection.pointee.namespace, key.bytes,
            into: connection.pointee.output + connection.pointee.outputEnd)
        connection.pointee.outputEnd += version.valueLength
        connection.pointee.put("\r\n")
    }

    private func noteVersion(_ connection: UnsafeMutablePointer<Connection>, _ version: Version) {
        if version.sequence >= engine.turnFirstSequence { markUncertain(connection) }
    }

    mutating func answerMissing(_ connection: UnsafeMutablePointer<Connection>, _ text: String) {
        if engine.turnHasWrites { markUncertain(connection) }
        fail(connection, text)
    }

    /// Eight bytes, as the original's: the sequence number, little-endian.
    private static func historyCursor(_ sequence: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: sequence >> (8 * $0)) }
    }

    private static func sequence(historyCursor text: Argument) -> UInt64? {
        guard text.count == 8 else { return nil }
        return UInt64(littleEndian: text.base.loadUnaligned(as: UInt64.self))
    }

    private static func nanoseconds(_ text: Argument) -> UInt64? {
        guard let number = text.number else { return nil }
        let scale: UInt64 =
            switch text.count {
            case ...11: 1_000_000_000
            case ...14: 1_000_000
            case ...17: 1000
            default: 1
            }
        // A second's number means all of it: what was written within it counts.
        let (product, over) = number.multipliedReportingOverflow(by: scale)
        let (end, carry) = product.addingReportingOverflow(scale - 1)
        return over || carry ? .max : end
    }
}
