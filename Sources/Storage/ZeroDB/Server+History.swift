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
        var long = LongCommand(.history)
        beginSlice(connection)
        if !walk(connection, &long, count) { suspend(connection, long, from: 1, count) }
    }

    /// `GET key AT time`: the value as it was at a time: seconds since 1970, or with more than 11 digits milliseconds,
    /// more than 14 microseconds, more than 17 nanoseconds.
    mutating func getAt(_ connection: UnsafeMutablePointer<Connection>, _ text: Argument) {
        var long = LongCommand(.get)
        beginSlice(connection)
        if !walk(connection, at: text, &long) { suspend(connection, long, from: 1, 4) }
    }

    /// Goes down a key's history to the version that `HISTORY` is to answer; whether it is answered.
    mutating func walk(
        _ connection: UnsafeMutablePointer<Connection>, _ long: inout LongCommand, _ count: Int
    ) -> Bool {
        var cursor: UInt64?
        if count == 3 {
            cursor = Self.sequence(historyCursor: arguments[2])
            guard cursor != nil, cursor != .max else {
                fail(connection, "ERR invalid cursor: HISTORY gives them")
                return true
            }
        }
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            let key = arguments[1]
            var next: Version?
            if let cursor, long.cursor == 0 {
                next = try engine.version(connection.pointee.namespace, key.bytes, numbered: cursor)
            }
            if next == nil {
                next = try step(connection, key, &long) { version in cursor.map { version.sequence > $0 } ?? false }
            }
            if long.cursor != 0 { return false }
            try answer(connection, history: next, of: key, isNewest: count == 2)
        } catch {
            connection.pointee.outputEnd = start
            fail(connection, error)
        }
        return true
    }

    /// Goes down a key's history to how it was at a time; whether it is answered.
    mutating func walk(
        _ connection: UnsafeMutablePointer<Connection>, at text: Argument, _ long: inout LongCommand
    ) -> Bool {
        guard let time = Self.nanoseconds(text) else {
            fail(connection, "ERR a time is a number of seconds, milliseconds, microseconds or nanoseconds since 1970")
            return true
        }
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            let next = try step(connection, arguments[1], &long) { $0.time > time }
            if long.cursor != 0 { return false }
            if let next {
                noteVersion(connection, next)
                try put(connection, version: next, of: arguments[1])
            } else {
                if hasUncertain { markUncertain(connection) }
                counters.misses += 1
                connection.pointee.null()
            }
        } catch {
            connection.pointee.outputEnd = start
            fail(connection, error)
        }
        return true
    }

    /// Goes on down a key's history while the versions are newer than what is looked for. Where it has to stop before
    /// it is there, the command's cursor has the number to which it came, otherwise 0.
    private mutating func step(
        _ connection: UnsafeMutablePointer<Connection>, _ key: Argument, _ long: inout LongCommand,
        while isNewer: (Version) -> Bool
    ) throws(LogError) -> Version? {
        let namespace = connection.pointee.namespace
        var next = try engine.version(namespace, key.bytes, before: long.cursor == 0 ? nil : long.cursor)
        long.cursor = 0
        while let found = next, isNewer(found) {
            if isSliceOver(connection) {
                long.cursor = found.sequence
                return nil
            }
            next = try engine.older(found, namespace, key.bytes)
        }
        return next
    }

    private mutating func answer(
        _ connection: UnsafeMutablePointer<Connection>, history found: Version?, of key: Argument, isNewest: Bool
    ) throws(LogError) {
        guard let version = found else {
            answerMissing(connection, isNewest ? "ERR Key not found" : "ERR No more history")
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
    }

    /// `KEYTIME key`: when its version was written, seconds since 1970; null if there is none.
    mutating func keyTime(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            let version = try engine.version(connection.pointee.namespace, arguments[1].bytes, before: nil)
            guard let version, !version.isTombstone else {
                if hasUncertain { markUncertain(connection) }
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
                if hasUncertain { markUncertain(connection) }
                connection.pointee.null()
                return
            }
            if entry.sequence >= firstUncertain { markUncertain(connection) }
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
        if version.sequence >= firstUncertain { markUncertain(connection) }
    }

    mutating func answerMissing(_ connection: UnsafeMutablePointer<Connection>, _ text: String) {
        if hasUncertain { markUncertain(connection) }
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
