import LogEngine

extension Server {
    /// One write of a batch; numbers are places of its arguments.
    private struct BatchWrite {
        var isSet: Bool
        var key: Int
        var condition = WriteCondition.none
    }

    /// `BATCH count (SET key value [IFABSENT | IFSEQ n] | DEL key [IFSEQ n])…`: all of it or nothing. Conditions are
    /// about what was there before the batch. One reply for each write: its sequence number, 0 for a key that was not
    /// there to be ended, the new id for an empty key of a sequential namespace.
    mutating func batch(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard let writes = batchWrites(count), UInt64(writes.count) == arguments[1].number else {
            fail(connection, "ERR syntax: BATCH count (SET key value [IFABSENT | IFSEQ n] | DEL key [IFSEQ n])…")
            return
        }
        let namespace = connection.pointee.namespace
        let start = connection.pointee.outputEnd
        var number = 0
        markWrite(connection)
        do throws(LogError) {
            for (index, write) in writes.enumerated() {
                number = index + 1
                try engine.check(namespace, arguments[write.key].bytes, write.condition)
            }
            number = 0
            try openBatch(connection, writes)
            connection.pointee.array(writes.count)
            for (index, write) in writes.enumerated() {
                number = index + 1
                try perform(connection, write)
            }
            engine.closeBatch()
        } catch {
            engine.abortBatch()
            connection.pointee.outputEnd = start
            refuse(connection, error, number)
        }
    }

    private func batchWrites(_ count: Int) -> [BatchWrite]? {
        var writes: [BatchWrite] = []
        var index = 2
        while index < count {
            let isSet = arguments[index].isWord("SET")
            guard isSet || arguments[index].isWord("DEL"), index + (isSet ? 2 : 1) < count else { return nil }
            var write = BatchWrite(isSet: isSet, key: index + 1)
            index += isSet ? 3 : 2
            if index < count, isSet, arguments[index].isWord("IFABSENT") || arguments[index].isWord("NX") {
                write.condition = .absent
                index += 1
            } else if index + 1 < count, arguments[index].isWord("IFSEQ"), let number = arguments[index + 1].number {
                write.condition = .sequence(number)
                index += 2
            }
            writes.append(write)
        }
        return writes.isEmpty ? nil : writes
    }

    private mutating func openBatch(
        _ connection: UnsafeMutablePointer<Connection>, _ writes: [BatchWrite]
    ) throws(LogError) {
        let bytes = writes.reduce(0) { sum, write in
            sum + max(8, arguments[write.key].count) + (write.isSet ? arguments[write.key + 1].count : 0)
        }
        try engine.openBatch(
            connection.pointee.namespace, count: writes.count, bytes: bytes, epoch: connection.pointee.epoch, time: now)
    }

    private mutating func perform(
        _ connection: UnsafeMutablePointer<Connection>, _ write: BatchWrite
    ) throws(LogError) {
        let (namespace, epoch) = (connection.pointee.namespace, connection.pointee.epoch)
        let key = arguments[write.key]
        if !write.isSet {
            do throws(LogError) {
                connection.pointee.integer(try engine.delete(namespace, key.bytes, epoch: epoch, time: now))
            } catch .absent { connection.pointee.integer(0) }
        } else if key.count == 0, engine.isSequential(namespace) {
            let new = try engine.add(namespace, arguments[write.key + 1].bytes, epoch: epoch, time: now)
            withUnsafeBytes(of: new.id.littleEndian) { connection.pointee.bulk($0) }
        } else {
            let value = arguments[write.key + 1]
            connection.pointee.integer(
                try engine.set(namespace, key.bytes, value.bytes, epoch: epoch, time: now))
        }
    }

    /// The error of a batch, with the number of the write that is to blame.
    private mutating func refuse(_ connection: UnsafeMutablePointer<Connection>, _ error: LogError, _ number: Int) {
        guard number > 0 else {
            fail(connection, error)
            return
        }
        let message = Self.message(error)
        let code = message.prefix { $0 != " " }
        fail(connection, "\(code) write \(number) of the batch:\(message.dropFirst(code.count))")
    }

    /// `SET "" value` in a sequential namespace: the new id.
    @inline(never)
    mutating func add(_ connection: UnsafeMutablePointer<Connection>, _ epoch: UInt64, wantsSequence: Bool) {
        do throws(LogError) {
            let new = try engine.add(connection.pointee.namespace, arguments[2].bytes, epoch: epoch, time: now)
            if wantsSequence { connection.pointee.array(2) }
            withUnsafeBytes(of: new.id.littleEndian) { connection.pointee.bulk($0) }
            if wantsSequence { connection.pointee.integer(new.sequence) }
        } catch { fail(connection, error) }
    }
}
