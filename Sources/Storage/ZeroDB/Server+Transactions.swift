import LogEngine

/// Commands between MULTI and EXEC, copied out of the input.
struct Transaction {
    /// All arguments, one behind the other; each command is where its arguments end.
    private(set) var bytes: [UInt8] = []
    private(set) var commands: [(command: Command, ends: [Int])] = []
    /// How many arguments they have together.
    private(set) var arguments = 0
    /// Keys that must not have changed, and the versions that they had.
    var watched: [(namespace: UInt32, key: [UInt8], version: UInt64)] = []
    /// MULTI was said.
    var isOpen = false
    /// A command was refused, so that EXEC will be.
    var isSpoiled = false

    mutating func add(_ command: Command, _ arguments: UnsafeMutablePointer<Argument>, _ count: Int) {
        var ends: [Int] = []
        ends.reserveCapacity(count)
        for index in 0..<count {
            bytes.append(contentsOf: arguments[index].bytes)
            ends.append(bytes.count)
        }
        commands.append((command, ends))
        self.arguments += count
    }

    /// Bytes of memory that it takes, about.
    var memory: Int { bytes.capacity + arguments * MemoryLayout<Int>.size + commands.count * 64 + watched.count * 300 }
}

extension Server {
    private static let transactionRule =
        "is too much for one transaction: that has at most \(Limits.commandBytesMax) bytes and "
        + "\(Limits.transactionArgumentsMax) arguments"

    /// What may stand between MULTI and EXEC.
    private static func isQueued(_ command: Command) -> Bool {
        switch command {
        case .get, .set, .mget, .mset, .del, .exists, .length, .keyseq, .getseq, .ping, .echo: true
        default: false
        }
    }

    /// `MULTI`: what follows is kept until `EXEC`, and then happens as a whole or not at all.
    mutating func multi(_ connection: UnsafeMutablePointer<Connection>) {
        transactions[connection.pointee.descriptor, default: Transaction()].isOpen = true
        connection.pointee.isQueueing = true
        connection.pointee.ok()
    }

    /// `DISCARD`
    mutating func discard(_ connection: UnsafeMutablePointer<Connection>) {
        guard connection.pointee.isQueueing else {
            fail(connection, "ERR DISCARD without MULTI")
            return
        }
        endTransaction(connection)
        connection.pointee.ok()
    }

    mutating func endTransaction(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.isQueueing = false
        transactions[connection.pointee.descriptor] = nil
    }

    /// `WATCH key…`: `EXEC` answers null if one of them changed since.
    mutating func watch(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let namespace = connection.pointee.namespace
        var transaction = transactions[connection.pointee.descriptor] ?? Transaction()
        guard transaction.watched.count + count <= 1024 else {
            fail(connection, "ERR at most 1024 keys are watched")
            return
        }
        do throws(LogError) {
            for index in 1..<count {
                guard arguments[index].count <= LogLimits.keyBytesMax else { throw .tooLarge }
                let version = try engine.version(namespace, arguments[index].bytes)
                transaction.watched.append((namespace, arguments[index].array, version))
            }
            transactions[connection.pointee.descriptor] = transaction
            connection.pointee.ok()
        } catch { fail(connection, error) }
    }

    /// Takes a command between MULTI and EXEC.
    @inline(never)
    mutating func queue(
        _ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int
    ) {
        let descriptor = connection.pointee.descriptor
        if connection.pointee.isMaster {
            performOwned(connection, command, count)
            return
        }
        switch command {
        case .exec: executeTransaction(connection)
        case .discard: discard(connection)
        case .quit, .reset:
            endTransaction(connection)
            performOther(connection, command, count)
        case .multi: fail(connection, "ERR MULTI calls can not be nested")
        case .watch: fail(connection, "ERR WATCH inside MULTI is not allowed")
        default:
            let isRight = command.arity >= 0 ? count == command.arity : count >= -command.arity
            let kept = transactions[descriptor]
            let bytes = (0..<count).reduce(kept?.bytes.count ?? 0) { $0 + arguments[$1].count }
            let isSmall =
                bytes <= Limits.commandBytesMax
                && (kept?.arguments ?? 0) + count <= Limits.transactionArgumentsMax
            guard Self.isQueued(command), isRight, isSmall, connection.pointee.role >= command.role else {
                transactions[descriptor]?.isSpoiled = true
                let why =
                    isSmall ? "cannot stand between MULTI and EXEC like this" : Self.transactionRule
                fail(connection, "ERR \(command.name) \(why)")
                return
            }
            transactions[descriptor]?.add(command, arguments, count)
            connection.pointee.put("+QUEUED\r\n")
        }
    }

    /// `EXEC`: one reply for each command, or an error and nothing happened.
    private mutating func executeTransaction(_ connection: UnsafeMutablePointer<Connection>) {
        let transaction = transactions[connection.pointee.descriptor] ?? Transaction()
        endTransaction(connection)
        if transaction.isSpoiled {
            fail(connection, "EXECABORT a command of the transaction was refused; nothing happened")
            return
        }
        markWrite(connection)
        let start = connection.pointee.outputEnd
        do throws(LogError) {
            for key in transaction.watched {
                var version: Result<UInt64, LogError> = .success(0)
                key.key.withUnsafeBytes { bytes in
                    do throws(LogError) { version = .success(try engine.version(key.namespace, bytes)) } catch {
                        version = .failure(error)
                    }
                }
                if try version.get() != key.version {
                    connection.pointee.put(connection.pointee.isResp3 ? "_\r\n" : "*-1\r\n")
                    return
                }
            }
            try openBatch(connection, transaction)
        } catch {
            fail(connection, error)
            return
        }
        connection.pointee.array(transaction.commands.count)
        maySuspend = false
        defer { maySuspend = true }
        if let why = run(connection, transaction) {
            engine.abortBatch()
            connection.pointee.outputEnd = start
            fail(connection, "EXECABORT nothing happened, because: \(why)")
        } else {
            engine.closeBatch()
        }
    }

    private mutating func openBatch(
        _ connection: UnsafeMutablePointer<Connection>, _ transaction: Transaction
    ) throws(LogError) {
        let writes = transaction.commands.reduce(0) { sum, command in
            command.command.role == Role.readOnly ? sum : sum + command.ends.count
        }
        guard writes > 0 else { return }
        try engine.openBatch(
            connection.pointee.namespace, count: writes, bytes: transaction.bytes.count + 8 * writes,
            epoch: connection.pointee.epoch, time: now)
    }

    /// Executes the commands; why not, if one of them was refused.
    private mutating func run(
        _ connection: UnsafeMutablePointer<Connection>, _ transaction: Transaction
    ) -> String? {
        transaction.bytes.withUnsafeBytes { bytes in
            let empty = UnsafeRawPointer(keyBuffer)
            let start = connection.pointee.outputEnd
            var at = 0
            for (command, ends) in transaction.commands {
                for (index, end) in ends.enumerated() {
                    (arguments + index).initialize(
                        to: Argument(base: (bytes.baseAddress ?? empty) + at, count: end - at))
                    at = end
                }
                let errors = counters.errors
                let reply = connection.pointee.outputEnd
                counters.commands[Int(command.rawValue)] += 1
                performOther(connection, command, ends.count)
                if connection.pointee.outputEnd - start > Limits.replyBytesMax {
                    return "the reply would be larger than \(Limits.replyBytesMax) bytes"
                }
                if counters.errors != errors { return Self.line(connection, reply) }
                if command == .set, Self.isNull(connection, reply) { return "the condition of a SET does not hold" }
            }
            return nil
        }
    }

    /// The text of an error reply.
    private static func line(_ connection: UnsafeMutablePointer<Connection>, _ start: Int) -> String {
        let bytes = UnsafeRawBufferPointer(
            start: connection.pointee.output + start, count: connection.pointee.outputEnd - start)
        guard let sign = bytes.firstIndex(of: UInt8(ascii: "-")) else { return "" }
        return String(decoding: bytes[(sign + 1)...].prefix { $0 != 13 }, as: UTF8.self)
    }

    private static func isNull(_ connection: UnsafeMutablePointer<Connection>, _ start: Int) -> Bool {
        let bytes = UnsafeRawBufferPointer(
            start: connection.pointee.output + start, count: connection.pointee.outputEnd - start)
        return bytes.elementsEqual("$-1\r\n".utf8) || bytes.elementsEqual("_\r\n".utf8)
    }
}
