import LogEngine

extension Server {
    // MARK: One key

    /// `GET key`
    @inline(__always)
    mutating func get(_ connection: UnsafeMutablePointer<Connection>) {
        put(connection, value: arguments[1])
    }

    /// A value or null.
    @inline(__always)
    mutating func put(_ connection: UnsafeMutablePointer<Connection>, value key: Argument) {
        do throws(LogError) {
            guard let entry = try engine.find(connection.pointee.namespace, key.bytes) else {
                counters.misses += 1
                missed(connection)
                connection.pointee.null()
                return
            }
            counters.hits += 1
            if entry.sequence >= firstUncertain { markUncertain(connection) }
            let before = connection.pointee.outputEnd
            connection.pointee.put(UInt8(ascii: "$"), UInt64(entry.valueLength))
            connection.pointee.reserveOutput(entry.valueLength + 2)
            do throws(LogError) {
                let target = connection.pointee.output + connection.pointee.outputEnd
                try engine.read(entry, connection.pointee.namespace, key.bytes, into: target)
            } catch {
                connection.pointee.outputEnd = before
                throw error
            }
            connection.pointee.outputEnd += entry.valueLength
            connection.pointee.put("\r\n")
        } catch { fail(connection, error) }
    }

    /// That a key is not there may be because of a write that can still fail.
    @inline(__always)
    private func missed(_ connection: UnsafeMutablePointer<Connection>) {
        if hasUncertain { markUncertain(connection) }
    }

    /// `SET key value [IFABSENT | NX | XX | IFSEQ n] [EPOCH e] [RETURN SEQ]`
    @inline(__always)
    mutating func set(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        var condition = WriteCondition.none
        var epoch = connection.pointee.epoch
        var wantsSequence = false
        if count > 3, !options(connection, count, &condition, &epoch, &wantsSequence) { return }
        do throws(LogError) {
            markWrite(connection)
            if arguments[1].count == 0, engine.isSequential(connection.pointee.namespace) {
                add(connection, epoch, wantsSequence: wantsSequence)
                return
            }
            let sequence = try engine.set(
                connection.pointee.namespace, arguments[1].bytes, arguments[2].bytes, condition: condition,
                epoch: epoch,
                time: now)
            if wantsSequence { connection.pointee.integer(sequence) } else { connection.pointee.ok() }
        } catch {
            switch (error, condition) {
            case (.exists, _), (.absent, .present): connection.pointee.null()
            default: fail(connection, error)
            }
        }
    }

    @inline(never)
    private mutating func options(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int, _ condition: inout WriteCondition,
        _ epoch: inout UInt64, _ wantsSequence: inout Bool
    ) -> Bool {
        var index = 3
        var conditions = 0
        while index < count {
            let word = arguments[index]
            let value = index + 1 < count ? arguments[index + 1] : nil
            if word.isWord("IFABSENT") || word.isWord("NX") {
                condition = .absent
                conditions += 1
                index += 1
            } else if word.isWord("XX") {
                condition = .present
                conditions += 1
                index += 1
            } else if word.isWord("IFSEQ"), let number = value?.number {
                condition = .sequence(number)
                conditions += 1
                index += 2
            } else if word.isWord("EPOCH"), let number = value?.number {
                epoch = number
                index += 2
            } else if word.isWord("RETURN"), value?.isWord("SEQ") == true {
                wantsSequence = true
                index += 2
            } else {
                fail(connection, "ERR syntax: SET key value [IFABSENT | IFSEQ n] [EPOCH e] [RETURN SEQ]")
                return false
            }
        }
        if conditions > 1 { fail(connection, "ERR syntax: one condition only") }
        return conditions <= 1
    }

    /// `LENGTH key`
    mutating func length(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            guard let entry = try engine.find(connection.pointee.namespace, arguments[1].bytes) else {
                missed(connection)
                connection.pointee.null()
                return
            }
            if entry.sequence >= firstUncertain { markUncertain(connection) }
            connection.pointee.integer(UInt64(entry.valueLength))
        } catch { fail(connection, error) }
    }

    /// `KEYSEQ key`: the sequence number of its version, of its tombstone, or 0.
    mutating func keySequence(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            let sequence = try engine.version(connection.pointee.namespace, arguments[1].bytes)
            if sequence >= firstUncertain { markUncertain(connection) }
            connection.pointee.integer(sequence)
        } catch { fail(connection, error) }
    }

    /// `GETSEQ key`: sequence number and value, or null.
    mutating func getWithSequence(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            guard let entry = try engine.find(connection.pointee.namespace, arguments[1].bytes) else {
                missed(connection)
                connection.pointee.null()
                return
            }
            if entry.sequence >= firstUncertain { markUncertain(connection) }
            let before = connection.pointee.outputEnd
            connection.pointee.array(2)
            connection.pointee.integer(entry.sequence)
            let errors = counters.errors
            let value = connection.pointee.outputEnd
            put(connection, value: arguments[1])
            if counters.errors != errors {
                // An error is the whole reply, not an element of one.
                let count = connection.pointee.outputEnd - value
                let output = connection.pointee.output
                (output + before).copyMemory(from: output + value, byteCount: count)
                connection.pointee.outputEnd = before + count
            }
        } catch { fail(connection, error) }
    }

    // MARK: Many keys

    /// `MSET key value…`: all or nothing.
    mutating func mset(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard count % 2 == 1 else {
            fail(connection, "ERR wrong number of arguments for 'MSET' command")
            return
        }
        var bytes = 0
        for index in stride(from: 1, to: count, by: 2) {
            let (key, value) = (arguments[index].count, arguments[index + 1].count)
            guard key > 0, key <= LogLimits.keyBytesMax, value <= LogLimits.valueBytesMax else {
                fail(connection, LogError.tooLarge)
                return
            }
            bytes += key + value
        }
        // In a transaction it is a part of that.
        let isWhole = !engine.isBatchOpen
        do throws(LogError) {
            markWrite(connection)
            let namespace = connection.pointee.namespace
            let epoch = connection.pointee.epoch
            if isWhole {
                try engine.openBatch(namespace, count: (count - 1) / 2, bytes: bytes, epoch: epoch, time: now)
            }
            for index in stride(from: 1, to: count, by: 2) {
                try engine.set(namespace, arguments[index].bytes, arguments[index + 1].bytes, epoch: epoch, time: now)
            }
            if isWhole { engine.closeBatch() }
            connection.pointee.ok()
        } catch {
            if isWhole { engine.abortBatch() }
            fail(connection, error)
        }
    }

    /// Ends a key for `DEL`; whether there was one.
    mutating func remove(
        _ connection: UnsafeMutablePointer<Connection>, _ key: Argument
    ) throws(LogError) -> Bool {
        markWrite(connection)
        do throws(LogError) {
            try engine.delete(
                connection.pointee.namespace, key.bytes, epoch: connection.pointee.epoch, time: now)
            return true
        } catch .absent { return false }
    }

    /// Whether there is a key, for `EXISTS`.
    func isThere(_ connection: UnsafeMutablePointer<Connection>, _ key: Argument) throws(LogError) -> Bool {
        // Who asks wants to know whether it can be had: as for IFABSENT, what is known to be damaged is not there.
        guard let entry = try engine.find(connection.pointee.namespace, key.bytes), !entry.isDamaged else {
            missed(connection)
            return false
        }
        if entry.sequence >= firstUncertain { markUncertain(connection) }
        return true
    }

    /// `DBSIZE`
    mutating func databaseSize(_ connection: UnsafeMutablePointer<Connection>) {
        do throws(LogError) {
            markUncertain(connection)
            connection.pointee.integer(try engine.entryCount(connection.pointee.namespace))
        } catch { fail(connection, error) }
    }
}

/// Patterns of SCAN: `*`, `?`, `[a-z]`, `[^a]`, `\` before a character that means itself.
enum Pattern {
    static func matches(_ pattern: UnsafeRawBufferPointer, _ text: UnsafeRawBufferPointer) -> Bool {
        var (p, t) = (0, 0)
        var retry: (p: Int, t: Int)?
        while t < text.count || p < pattern.count {
            if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
                retry = (p, t)
                p += 1
                continue
            }
            var next = p
            if t < text.count, p < pattern.count, one(pattern, &next, text[t]) {
                (p, t) = (next, t + 1)
                continue
            }
            // The last star takes one byte more; none before it has to change.
            guard let last = retry, last.t < text.count else { return false }
            retry = (last.p, last.t + 1)
            (p, t) = (last.p + 1, last.t + 1)
        }
        return true
    }

    /// Whether the element at `p` is the byte; moves behind it.
    private static func one(_ pattern: UnsafeRawBufferPointer, _ p: inout Int, _ byte: UInt8) -> Bool {
        let first = pattern[p]
        p += 1
        switch first {
        case UInt8(ascii: "?"): return true
        case UInt8(ascii: "\\") where p < pattern.count:
            p += 1
            return pattern[p - 1] == byte
        case UInt8(ascii: "["):
            var isNegated = false
            var isIn = false
            if p < pattern.count, pattern[p] == UInt8(ascii: "^") {
                isNegated = true
                p += 1
            }
            while p < pattern.count, pattern[p] != UInt8(ascii: "]") {
                if p + 2 < pattern.count, pattern[p + 1] == UInt8(ascii: "-"), pattern[p + 2] != UInt8(ascii: "]") {
                    if (min(pattern[p], pattern[p + 2])...max(pattern[p], pattern[p + 2])).contains(byte) {
                        isIn = true
                    }
                    p += 3
                } else {
                    if pattern[p] == byte { isIn = true }
                    p += 1
                }
            }
            if p < pattern.count { p += 1 }
            return isIn != isNegated
        default: return first == byte
        }
    }
}
