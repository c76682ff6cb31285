import LogEngine

/// Commands of the original by which its tools copy a server: `MASTER`, `DATA`, `STOP`.
extension Server {
    /// `MASTER`: the connection passes on what another server's `MIRROR` told it. From here on each of its commands ends
    /// with one argument more, the number of who gave it first; mirrors are told that number, so that who mirrors both
    /// ways knows its own commands again.
    func becomeMaster(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.isMaster = true
        connection.pointee.isQueueing = true
        connection.pointee.put("+Hello, master\r\n")
    }

    /// A command of such a connection.
    mutating func performOwned(
        _ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int
    ) {
        guard count > 1, arguments[count - 1].number != nil else {
            fail(connection, "ERR behind MASTER a command ends with the number of its owner")
            return
        }
        switch command {
        case .multi, .exec, .discard, .watch, .unwatch:
            fail(connection, "ERR transactions are not passed on: BATCH is")
        default: performOther(connection, command, count - 1)
        }
    }

    /// `DATA RAW segment offset`: the version that stands at a place, in the original's shape: key, number of the version
    /// before it, checksum, flags (1: deleted), time, value. `DATA NEXT segment offset`: the place of the record behind
    /// it, whosever it is; `0 0` for the first.
    mutating func data(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count == 4, let segment = arguments[2].number, let offset = arguments[3].number else {
            fail(connection, "ERR Invalid Request: DATA RAW segment offset, DATA NEXT segment offset")
            return
        }
        do throws(LogError) {
            if arguments[1].isWord("RAW") {
                try record(connection, segment, offset)
            } else if arguments[1].isWord("NEXT") {
                guard let next = try engine.place(after: segment, offset) else {
                    fail(connection, "ERR EOF")
                    return
                }
                connection.pointee.array(2)
                connection.pointee.integer(next.segment)
                connection.pointee.integer(next.offset)
            } else {
                fail(connection, "ERR Invalid Request: DATA knows RAW and NEXT")
            }
        } catch .absent {
            fail(connection, "ERR Invalid Request: no record begins there")
        } catch { fail(connection, error) }
    }

    private mutating func record(
        _ connection: UnsafeMutablePointer<Connection>, _ segment: UInt64, _ offset: UInt64
    ) throws(LogError) {
        let namespace = connection.pointee.namespace
        guard let found = try engine.version(namespace, segment: segment, offset: offset) else {
            let isEnd = engine.isBehindTheLog(segment, offset)
            fail(
                connection,
                isEnd ? "ERR EOF" : "ERR Invalid Request: no version of a key of the namespace begins there")
            return
        }
        let start = connection.pointee.outputEnd
        connection.pointee.array(6)
        connection.pointee.bulk(found.key)
        connection.pointee.integer(found.version.previous)
        let digits = String(found.checksum, radix: 16)
        connection.pointee.bulk("0x" + String(repeating: "0", count: 8 - digits.utf8.count) + digits)
        connection.pointee.integer(found.version.isTombstone ? 1 : 0)
        connection.pointee.integer(found.version.time / 1_000_000_000)
        connection.pointee.put(UInt8(ascii: "$"), UInt64(found.version.valueLength))
        connection.pointee.reserveOutput(found.version.valueLength + 2)
        let target = connection.pointee.output + connection.pointee.outputEnd
        var failure: LogError?
        found.key.withUnsafeBytes { key in
            do throws(LogError) { try engine.readVersion(found.version, namespace, key, into: target) } catch {
                failure = error
            }
        }
        if let failure {
            connection.pointee.outputEnd = start
            throw failure
        }
        connection.pointee.outputEnd += found.version.valueLength
        connection.pointee.put("\r\n")
    }

    /// `STOP`: as SIGTERM.
    mutating func stopInOrder(_ connection: UnsafeMutablePointer<Connection>) {
        EventLog.info("stop_asked", "client=\(connection.pointee.id)")
        connection.pointee.put("+Stopping\r\n")
        isStopping = true
    }
}
