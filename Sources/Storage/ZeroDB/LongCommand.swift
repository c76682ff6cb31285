import Linux
import LogEngine

/// A command that is not done: it goes on when it is its connection's turn again, so that nobody waits for all of it.
///
/// What it still needs of its arguments stays at the start of the connection's input; the commands behind it wait there.
struct LongCommand {
    let command: Command
    /// Arguments that are left in the input, and their bytes.
    var arguments = 0
    var bytes = 0
    /// Its arguments are words of a typed line.
    var isInline = false
    /// What was counted so far: keys that were there, or elements of the reply.
    var count = 0
    /// How many entries were looked at, whether they are in the reply or not, and how many places of the index or the log.
    var looked = 0
    var visits = 0
    /// Where a scan stands, or the sequence number to which a walk through a history has come.
    var cursor: UInt64 = 0
    /// The last key that was looked at, where keys are in order.
    var key: [UInt8]?
    /// The elements of a reply whose head is only known at its end.
    var body = ReplyBody()
    var proof: ProofWork?

    init(_ command: Command) { self.command = command }

    /// Memory that it holds.
    var memory: Int { body.capacity + (proof?.value.count ?? 0) }
}

/// Bytes of a reply that are not put into the output yet.
struct ReplyBody {
    fileprivate(set) var base: UnsafeMutableRawPointer?
    fileprivate(set) var capacity = 0
    private(set) var start = 0
    fileprivate(set) var end = 0

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: end) }

    mutating func free() {
        base?.deallocate()
        self = ReplyBody()
    }

    /// Empty, for the next one; what is large is given back.
    mutating func clear() {
        if capacity > Limits.bufferKeptBytes { free() }
        end = 0
    }

    /// Changes places with a connection's output: what is put between two calls goes into the body.
    mutating func exchange(_ connection: UnsafeMutablePointer<Connection>) {
        if base == nil {
            base = .allocate(byteCount: Limits.bufferBytes, alignment: 16)
            capacity = Limits.bufferBytes
        }
        guard let own = base else { return }
        (base, connection.pointee.output) = (connection.pointee.output, own)
        swap(&capacity, &connection.pointee.outputCapacity)
        swap(&start, &connection.pointee.outputStart)
        swap(&end, &connection.pointee.outputEnd)
    }
}

/// How long a command has been at work since it was its turn.
struct Slice {
    fileprivate(set) var begun: Int64 = 0
    fileprivate var steps = 0
    fileprivate var output = 0
}

extension Server {
    // MARK: Slices

    /// A command begins, or goes on.
    mutating func beginSlice(_ connection: UnsafeMutablePointer<Connection>) {
        slice = Slice(begun: Clock.monotonicNanoseconds(), output: connection.pointee.outputEnd)
    }

    /// Whether others have to be looked at before a command goes on; asked after each step of it.
    @inline(__always)
    mutating func isSliceOver(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
        slice.steps += 1
        if slice.steps % Limits.sliceSteps != 0, connection.pointee.outputEnd - slice.output < Limits.sliceBytes {
            return false
        }
        slice.output = connection.pointee.outputEnd
        guard maySuspend, elapsed(slice.begun) > Limits.sliceNanoseconds else { return false }
        // What others do is told in between replies, not inside of one.
        return !observers.mirrors.contains(connection.pointee.descriptor)
    }

    /// Keeps a command for its connection's next turn; its arguments from `first` on are still needed.
    mutating func suspend(
        _ connection: UnsafeMutablePointer<Connection>, _ long: consuming LongCommand, from first: Int, _ count: Int
    ) {
        precondition(maySuspend && first > 0 && !connection.pointee.isLong)
        long.arguments = count - first
        long.bytes = 0
        if first < count {
            let start = UnsafeRawPointer(connection.pointee.input) + connection.pointee.inputStart - commandBytes
            long.isInline = start.load(as: UInt8.self) != UInt8(ascii: "*")
            if long.isInline {
                // Words of a typed line stand elsewhere without their quotes, so the line is read again.
                var at = 0
                for _ in 0..<first { _ = parser.next(start, &at, commandBytes, isInline: true) }
                long.bytes = commandBytes - at
            } else {
                // Behind the argument before and the end of its line.
                let next = arguments[first - 1].base + arguments[first - 1].count + 2
                long.bytes = UnsafeRawPointer(connection.pointee.input) + connection.pointee.inputStart - next
            }
        }
        // The command was taken out of the input as a whole.
        connection.pointee.inputStart -= long.bytes
        let spent = elapsed(slice.begun)
        extraCost += Int(spent)
        keep(connection, long, spent)
    }

    private mutating func keep(
        _ connection: UnsafeMutablePointer<Connection>, _ long: LongCommand, _ spent: UInt64
    ) {
        counters.yields += 1
        longSpent += Int(spent)
        connection.pointee.isLong = true
        connection.pointee.longMemory = long.memory
        longCommands[connection.pointee.descriptor] = long
    }

    /// A part of a connection's long command; what it cost.
    mutating func goOn(_ connection: UnsafeMutablePointer<Connection>) -> Int {
        let descriptor = connection.pointee.descriptor
        guard var long = longCommands.removeValue(forKey: descriptor) else { return 0 }
        connection.pointee.isLong = false
        connection.pointee.longMemory = 0
        beginSlice(connection)
        let before = connection.pointee.outputEnd
        let isDone = step(connection, &long)
        let spent = elapsed(slice.begun)
        if isDone {
            long.body.free()
        } else {
            keep(connection, long, spent)
        }
        let written = max(0, connection.pointee.outputEnd - before)
        if tenants[Int(connection.pointee.namespace)].isLimited {
            tenants[Int(connection.pointee.namespace)].bytes.take(written)
        }
        return Int(spent)
    }

    /// Goes on with a command; whether it is done.
    private mutating func step(
        _ connection: UnsafeMutablePointer<Connection>, _ long: inout LongCommand
    ) -> Bool {
        switch long.command {
        case .mget, .exists, .del: return eachKeyLeft(connection, &long)
        case .proof: return proveLeft(connection, &long)
        default: break
        }
        // All that is left are few, and are looked at anew each time.
        let end = connection.pointee.inputStart + long.bytes
        let start = UnsafeRawPointer(connection.pointee.input) + connection.pointee.inputStart
        var at = 0
        for index in 0..<long.arguments {
            (arguments + index + 1).initialize(to: parser.next(start, &at, long.bytes, isInline: long.isInline))
        }
        let count = long.arguments + 1
        let isDone =
            switch long.command {
            case .get: walk(connection, at: arguments[3], &long)
            case .history: walk(connection, &long, count)
            default: page(connection, count, &long)
            }
        if isDone { connection.pointee.inputStart = end }
        return isDone
    }

    /// The connection's next argument, taken out of its input.
    mutating func takeArgument(
        _ connection: UnsafeMutablePointer<Connection>, _ long: inout LongCommand
    ) -> Argument {
        let start = UnsafeRawPointer(connection.pointee.input) + connection.pointee.inputStart
        var at = 0
        let argument = parser.next(start, &at, long.bytes, isInline: long.isInline)
        long.arguments -= 1
        // Behind the last one a typed line has its end.
        let used = long.arguments == 0 ? long.bytes : at
        connection.pointee.inputStart += used
        long.bytes -= used
        return argument
    }

    /// The connection ends, and its command with it.
    mutating func dropLongCommand(_ connection: UnsafeMutablePointer<Connection>) {
        guard connection.pointee.isLong else { return }
        connection.pointee.isLong = false
        if var long = longCommands.removeValue(forKey: connection.pointee.descriptor) { long.body.free() }
    }

    // MARK: Many keys

    /// `MGET key…`, `EXISTS key…`, `DEL key…`: each key by itself, as it is when it is its turn.
    mutating func eachKey(_ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int) {
        if command == .mget {
            if let refusal = refusal(connection) {
                // It refuses all keys: one error, not one for each.
                fail(connection, refusal)
                return
            }
            if !maySuspend, !fits(connection, count) { return }
            connection.pointee.array(count - 1)
        }
        var long = LongCommand(command)
        beginSlice(connection)
        var index = 1
        while index < count {
            guard take(connection, arguments[index], &long) else { return }
            index += 1
            if index < count, isSliceOver(connection) {
                suspend(connection, long, from: index, count)
                return
            }
        }
        if command != .mget { connection.pointee.integer(UInt64(long.count)) }
    }

    /// Why a connection's namespace lets nobody read; nil if it does.
    private mutating func refusal(_ connection: UnsafeMutablePointer<Connection>) -> LogError? {
        do throws(LogError) { _ = try engine.find(connection.pointee.namespace, arguments[1].bytes) } catch {
            switch error {
            case .noNamespace, .frozen, .namespaceUnsupported: return error
            default: return nil
            }
        }
        return nil
    }

    private mutating func eachKeyLeft(
        _ connection: UnsafeMutablePointer<Connection>, _ long: inout LongCommand
    ) -> Bool {
        while long.arguments > 0 {
            let key = takeArgument(connection, &long)
            guard take(connection, key, &long) else {
                connection.pointee.inputStart += long.bytes
                return true
            }
            if long.arguments > 0, isSliceOver(connection) { return false }
        }
        if long.command != .mget { connection.pointee.integer(UInt64(long.count)) }
        return true
    }

    /// One key; false if an error was the whole reply.
    @inline(__always)
    private mutating func take(
        _ connection: UnsafeMutablePointer<Connection>, _ key: Argument, _ long: inout LongCommand
    ) -> Bool {
        do throws(LogError) {
            switch long.command {
            case .mget: put(connection, value: key)
            case .exists: if try isThere(connection, key) { long.count += 1 }
            default: if try remove(connection, key) { long.count += 1 }
            }
            return true
        } catch {
            fail(connection, error)
            return false
        }
    }

    /// A transaction's reply is kept as a whole, so it has a bound.
    private mutating func fits(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) -> Bool {
        var total = 0
        for index in 1..<count {
            let entry = try? engine.find(connection.pointee.namespace, arguments[index].bytes)
            total += (entry?.valueLength ?? 0) + 16
        }
        if total <= Limits.replyBytesMax { return true }
        fail(connection, "ERR the reply would have \(total) bytes, the limit is \(Limits.replyBytesMax)")
        return false
    }
}
