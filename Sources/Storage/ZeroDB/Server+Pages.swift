import LogEngine

/// A page of keys, as one of the commands that scan wants it.
private struct PageRequest {
    enum Source {
        /// In the order of the index.
        case table(from: UInt64)
        /// In the order of keys.
        case order(KeyRange)
        /// In the order of last writes.
        case writes(from: UInt64, isReverse: Bool)
    }

    var source: Source
    /// Entries to look at.
    var wanted: Int
    var pattern: Argument?
    var prefix: Argument?
    var wantsValues = false
    /// How the key to go on from is said.
    var cursor = CursorKind.number
}

private enum CursorKind {
    case number, remembered, marked, key, write
}

/// Commands that answer a page of keys: `SCAN`, `KSCAN`, `RANGE`, `PREFIX`, `SCANX`, `RSCAN`.
///
/// The elements are gathered in steps, beside the output, because how many there are and where the next page begins
/// stands before them.
extension Server {
    /// The first part of such a command.
    mutating func beginPage(_ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int) {
        var long = LongCommand(command)
        long.body = spareBody
        spareBody = ReplyBody()
        beginSlice(connection)
        if page(connection, count, &long) {
            extraCost += Int(elapsed(slice.begun))
            long.body.clear()
            spareBody = long.body
        } else {
            suspend(connection, long, from: 1, count)
        }
    }

    /// A part of the command; whether it is done.
    mutating func page(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int, _ long: inout LongCommand
    ) -> Bool {
        let found: PageRequest? =
            switch long.command {
            case .range: rangeRequest(connection, count)
            case .prefix: prefixRequest(connection, count)
            case .kscan: prefixScanRequest(connection, count, long)
            case .scanx: writesRequest(connection, count, isReverse: false)
            case .rscan: writesRequest(connection, count, isReverse: true)
            default: scanRequest(connection, count, long)
            }
        // What was wrong is answered.
        guard let request = found else { return true }
        let isCertain = connection.pointee.uncertain < 0
        long.body.exchange(connection)
        var outcome: Result<Bool, LogError> = .success(false)
        do throws(LogError) { outcome = .success(try gather(connection, request, &long)) } catch {
            outcome = .failure(error)
        }
        long.body.exchange(connection)
        // A place in the body is none in the output.
        if isCertain, connection.pointee.uncertain >= 0 || hasUncertain {
            connection.pointee.uncertain = -1
            markUncertain(connection)
        }
        switch outcome {
        case .success(false): return false
        case .success(true): finish(connection, request, long)
        case .failure(let error): fail(connection, error)
        }
        return true
    }

    private mutating func gather(
        _ connection: UnsafeMutablePointer<Connection>, _ request: PageRequest, _ long: inout LongCommand
    ) throws(LogError) -> Bool {
        switch request.source {
        case .table(let from): try gatherTable(connection, request, from, &long)
        case .order(let range): try gatherOrder(connection, request, range, &long)
        case .writes(let from, let isReverse): try gatherWrites(connection, request, from, isReverse, &long)
        }
    }

    /// Next cursor, number of elements, elements.
    private mutating func finish(
        _ connection: UnsafeMutablePointer<Connection>, _ request: PageRequest, _ long: borrowing LongCommand
    ) {
        if request.cursor == .write, long.looked == 0 {
            fail(connection, "ERR No more data")
            return
        }
        connection.pointee.array(2)
        switch request.cursor {
        case .number: connection.pointee.bulk(String(long.cursor))
        case .write: connection.pointee.bulk(Self.writeCursor(long.cursor))
        case .remembered:
            let next = long.key.map { scanCursors.add(connection.pointee.namespace, $0) } ?? 0
            connection.pointee.bulk(String(next))
        case .marked: connection.pointee.bulk(long.key.map { [61] + $0 } ?? [48])
        case .key: if let key = long.key { connection.pointee.bulk(key) } else { connection.pointee.null() }
        }
        connection.pointee.array(long.count)
        connection.pointee.put(bytes: long.body.bytes)
    }

    // MARK: In the order of the index

    /// `SCAN cursor [MATCH pattern] [COUNT n]`; nil if it was answered.
    private mutating func scanRequest(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int, _ long: LongCommand
    ) -> PageRequest? {
        if isWriteScan(count) { return writesRequest(connection, count, isReverse: false) }
        guard let cursor = arguments[1].number else {
            fail(connection, "ERR invalid cursor")
            return nil
        }
        var request = PageRequest(source: .table(from: cursor), wanted: 10)
        var index = 2
        while index + 1 < count {
            if arguments[index].isWord("COUNT"), let number = arguments[index + 1].number, number > 0 {
                request.wanted = Int(min(number, UInt64(Limits.scanCountMax)))
            } else if arguments[index].isWord("MATCH") {
                request.pattern = arguments[index + 1]
            } else {
                break
            }
            index += 2
        }
        guard index == count else {
            fail(connection, "ERR syntax: SCAN cursor [MATCH pattern] [COUNT n]")
            return nil
        }
        guard engine.isOrdered(connection.pointee.namespace) else { return request }
        var range = KeyRange()
        if cursor != 0, long.key == nil {
            guard let place = scanCursors.place(cursor, connection.pointee.namespace) else {
                fail(connection, "ERR the cursor is too old, begin again: RANGE and PREFIX have cursors that stay")
                return nil
            }
            range.after = place
        }
        (request.source, request.cursor) = (.order(range), .remembered)
        return request
    }

    /// `KSCAN prefix [COUNT n] [cursor]`: keys that begin with a prefix. The cursor is opaque; `0` is the start and
    /// the end. In an ordered namespace only such keys are looked at, in others all are.
    private mutating func prefixScanRequest(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int, _ long: LongCommand
    ) -> PageRequest? {
        var (wanted, cursor): (Int, Argument?) = (10, nil)
        var index = 2
        while index < count {
            if arguments[index].isWord("COUNT"), index + 1 < count, let number = arguments[index + 1].number, number > 0
            {
                wanted = Int(min(number, UInt64(Limits.scanCountMax)))
                index += 2
            } else if cursor == nil {
                cursor = arguments[index]
                index += 1
            } else {
                fail(connection, "ERR syntax: KSCAN prefix [COUNT n] [cursor]")
                return nil
            }
        }
        if let given = cursor, given.isWord("0") || given.count == 0 { cursor = nil }
        if engine.isOrdered(connection.pointee.namespace) {
            var range = KeyRange(prefix: arguments[1].array)
            // A mark before the key keeps a key "0" from being taken for the end.
            if let cursor { range.after = Array(cursor.bytes.dropFirst()) }
            return PageRequest(source: .order(range), wanted: wanted, cursor: .marked)
        }
        guard let from = cursor == nil ? 0 : cursor?.number else {
            fail(connection, "ERR invalid cursor")
            return nil
        }
        return PageRequest(source: .table(from: from), wanted: wanted, prefix: arguments[1])
    }

    private mutating func gatherTable(
        _ connection: UnsafeMutablePointer<Connection>, _ request: PageRequest, _ from: UInt64,
        _ long: inout LongCommand
    ) throws(LogError) -> Bool {
        let namespace = connection.pointee.namespace
        if long.looked == 0 { long.cursor = from }
        while true {
            let step = min(request.wanted - long.looked, Limits.scanStep)
            long.cursor = try engine.scan(namespace, from: long.cursor, count: step, into: &found)
            long.looked += step
            for entry in found {
                // What cannot be read is left out and counted.
                do throws(LogError) { try engine.readKey(entry, namespace, into: keyBuffer) } catch {
                    counters.corruptReads += 1
                    continue
                }
                let key = UnsafeRawBufferPointer(start: keyBuffer, count: entry.keyLength)
                if Self.isWanted(key, request) {
                    connection.pointee.bulk(key)
                    long.count += 1
                }
            }
            if long.cursor == 0 || long.looked >= request.wanted { return true }
            if isSliceOver(connection) { return false }
        }
    }

    private static func isWanted(_ key: UnsafeRawBufferPointer, _ request: PageRequest) -> Bool {
        if let pattern = request.pattern, !Pattern.matches(pattern.bytes, key) { return false }
        return request.prefix.map { key.starts(with: $0.bytes) } ?? true
    }

    // MARK: In the order of keys

    /// `RANGE from to [LIMIT n] [REVERSE] [AFTER key] [VALUES]`: keys from `from` (`-`: the first) up to `to`, which is
    /// not among them (`+`: the last is).
    private mutating func rangeRequest(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int
    ) -> PageRequest? {
        var range = KeyRange()
        if !arguments[1].isWord("-") { range.from = arguments[1].array }
        if !arguments[2].isWord("+") { range.to = arguments[2].array }
        if let request = options(range, from: 3, count) { return request }
        fail(connection, "ERR syntax: RANGE from to [LIMIT n] [REVERSE] [AFTER key] [VALUES]")
        return nil
    }

    /// `PREFIX prefix [LIMIT n] [REVERSE] [AFTER key] [VALUES]`
    private mutating func prefixRequest(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int
    ) -> PageRequest? {
        if let request = options(KeyRange(prefix: arguments[1].array), from: 2, count) { return request }
        fail(connection, "ERR syntax: PREFIX prefix [LIMIT n] [REVERSE] [AFTER key] [VALUES]")
        return nil
    }

    private func options(_ range: KeyRange, from first: Int, _ count: Int) -> PageRequest? {
        var range = range
        var request = PageRequest(source: .order(range), wanted: Limits.rangeCount, cursor: .key)
        var index = first
        while index < count {
            let value = index + 1 < count ? arguments[index + 1] : nil
            if arguments[index].isWord("REVERSE") {
                range.isReverse = true
                index += 1
            } else if arguments[index].isWord("VALUES") {
                request.wantsValues = true
                index += 1
            } else if arguments[index].isWord("LIMIT"), let number = value?.number, number > 0 {
                request.wanted = Int(min(number, UInt64(Limits.scanCountMax)))
                index += 2
            } else if arguments[index].isWord("AFTER"), let value {
                range.after = value.array
                index += 2
            } else {
                return nil
            }
        }
        request.source = .order(range)
        return request
    }

    /// The key to go on behind is the last one that was looked at; none at the end of the range.
    private mutating func gatherOrder(
        _ connection: UnsafeMutablePointer<Connection>, _ request: PageRequest, _ range: KeyRange,
        _ long: inout LongCommand
    ) throws(LogError) -> Bool {
        var range = range
        while true {
            if let key = long.key { range.after = key }
            let step = min(request.wanted - long.looked, Limits.scanStep)
            try engine.keys(
                connection.pointee.namespace, in: range, limit: step, visits: Limits.scanStepVisits, into: &page)
            long.visits += Limits.scanStepVisits
            for index in page.entries.indices {
                let next = page.key(index)
                if request.wantsValues {
                    let bytes = page.entries[index].valueLength + page.entries[index].keyLength + 32
                    // Small values share a reply; the first is always in it.
                    if long.count > 0, connection.pointee.outputEnd + bytes > Limits.rangeBytes { return true }
                }
                next.withUnsafeBytes { put(connection, $0, request, &long) }
                long.looked += 1
                if request.wantsValues {
                    long.key = Array(next)
                    if isSliceOver(connection) { return false }
                }
            }
            long.key = page.isEnd ? nil : page.last
            if page.isEnd || long.looked >= request.wanted || long.visits >= Limits.rangeVisits { return true }
            if isSliceOver(connection) { return false }
        }
    }

    private mutating func put(
        _ connection: UnsafeMutablePointer<Connection>, _ key: UnsafeRawBufferPointer, _ request: PageRequest,
        _ long: inout LongCommand
    ) {
        if let pattern = request.pattern, !Pattern.matches(pattern.bytes, key) { return }
        guard let base = key.baseAddress else { return }
        connection.pointee.bulk(key)
        long.count += 1
        if request.wantsValues {
            put(connection, value: Argument(base: base, count: key.count))
            long.count += 1
        }
    }

    // MARK: In the order of last writes

    /// `SCANX [cursor]`, `RSCAN [cursor]`: next cursor, and key, length and time of each key.
    private mutating func writesRequest(
        _ connection: UnsafeMutablePointer<Connection>, _ count: Int, isReverse: Bool
    ) -> PageRequest? {
        guard count <= 2 else {
            fail(connection, "ERR syntax: SCANX [cursor], RSCAN [cursor]")
            return nil
        }
        var from: UInt64 = isReverse ? .max : 0
        if count == 2, arguments[1].count > 0 {
            guard let cursor = Self.writeCursor(arguments[1]) else {
                fail(connection, "ERR Invalid key format: SCANX, RSCAN and KEYCUR give cursors")
                return nil
            }
            from = cursor
        }
        return PageRequest(
            source: .writes(from: from, isReverse: isReverse), wanted: Limits.writeOrderKeys, cursor: .write)
    }

    private mutating func gatherWrites(
        _ connection: UnsafeMutablePointer<Connection>, _ request: PageRequest, _ from: UInt64, _ isReverse: Bool,
        _ long: inout LongCommand
    ) throws(LogError) -> Bool {
        while true {
            let at = long.looked == 0 ? from : long.cursor
            let next = try engine.written(
                connection.pointee.namespace, from: at, isReverse: isReverse, limit: request.wanted - long.count,
                visits: Limits.scanStepVisits, into: &writtenKeys)
            guard let next, next != at else { return true }
            long.cursor = next
            long.looked += Limits.scanStepVisits
            for key in writtenKeys {
                connection.pointee.array(3)
                connection.pointee.bulk(key.key)
                connection.pointee.integer(UInt64(key.valueLength))
                connection.pointee.integer(key.time / 1_000_000_000)
            }
            long.count += writtenKeys.count
            if long.count >= request.wanted || long.looked >= Limits.writeOrderVisits { return true }
            if isSliceOver(connection) { return false }
        }
    }
}
