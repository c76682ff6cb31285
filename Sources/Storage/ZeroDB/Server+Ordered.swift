import LogEngine

/// Where SCAN stands in an ordered namespace: its cursor is a number, the place a key.
struct ScanCursors {
    /// So many are remembered, over all connections.
    private static let countMax = 16_384

    private var places: [UInt64: (namespace: UInt32, key: [UInt8])] = [:]
    private var newest: UInt64 = 0

    /// A number for a place.
    mutating func add(_ namespace: UInt32, _ key: [UInt8]) -> UInt64 {
        newest += 1
        places[newest] = (namespace, key)
        if newest > UInt64(Self.countMax) { places[newest - UInt64(Self.countMax)] = nil }
        return newest
    }

    /// The place of a number; nil if it was forgotten.
    func place(_ cursor: UInt64, _ namespace: UInt32) -> [UInt8]? {
        guard let place = places[cursor], place.namespace == namespace else { return nil }
        return place.key
    }
}

extension Server {
    /// A namespace's mode by name.
    static func mode(_ word: Argument) -> UInt8? {
        if word.isWord("USER") { return NamespaceMode.user }
        if word.isWord("SEQ") || word.isWord("SEQUENTIAL") { return NamespaceMode.sequential }
        return word.isWord("ORDERED") ? NamespaceMode.ordered : nil
    }

    private struct RangeOptions {
        var limit = Limits.rangeCount
        var wantsValues = false
    }

    /// `RANGE from to [LIMIT n] [REVERSE] [AFTER key] [VALUES]`: keys from `from` (`-`: the first) up to `to`, which is
    /// not among them (`+`: the last is).
    mutating func range(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        var range = KeyRange()
        if !arguments[1].isWord("-") { range.from = arguments[1].array }
        if !arguments[2].isWord("+") { range.to = arguments[2].array }
        guard let options = options(&range, from: 3, count) else {
            fail(connection, "ERR syntax: RANGE from to [LIMIT n] [REVERSE] [AFTER key] [VALUES]")
            return
        }
        reply(connection, range, options)
    }

    /// `PREFIX prefix [LIMIT n] [REVERSE] [AFTER key] [VALUES]`
    mutating func prefix(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        var range = KeyRange(prefix: arguments[1].array)
        guard let options = options(&range, from: 2, count) else {
            fail(connection, "ERR syntax: PREFIX prefix [LIMIT n] [REVERSE] [AFTER key] [VALUES]")
            return
        }
        reply(connection, range, options)
    }

    private func options(_ range: inout KeyRange, from first: Int, _ count: Int) -> RangeOptions? {
        var options = RangeOptions()
        var index = first
        while index < count {
            let value = index + 1 < count ? arguments[index + 1] : nil
            if arguments[index].isWord("REVERSE") {
                range.isReverse = true
                index += 1
            } else if arguments[index].isWord("VALUES") {
                options.wantsValues = true
                index += 1
            } else if arguments[index].isWord("LIMIT"), let number = value?.number, number > 0 {
                options.limit = Int(min(number, UInt64(Limits.scanCountMax)))
                index += 2
            } else if arguments[index].isWord("AFTER"), let value {
                range.after = value.array
                index += 2
            } else {
                return nil
            }
        }
        return options
    }

    /// The key to go on behind (null at the end), then keys, or keys and values in turn.
    private mutating func reply(
        _ connection: UnsafeMutablePointer<Connection>, _ range: KeyRange, _ options: RangeOptions
    ) {
        let namespace = connection.pointee.namespace
        do throws(LogError) {
            try engine.keys(namespace, in: range, limit: options.limit, visits: Limits.rangeVisits, into: &page)
        } catch {
            fail(connection, error)
            return
        }
        if engine.turnHasWrites { markUncertain(connection) }
        // Small values share a reply; the first is always in it.
        var fit = page.entries.count
        if options.wantsValues {
            var bytes = 0
            for (index, entry) in page.entries.enumerated() {
                bytes += entry.valueLength + entry.keyLength + 32
                if index > 0, bytes > Limits.rangeBytes {
                    fit = index
                    break
                }
            }
        }
        connection.pointee.array(2)
        if fit < page.entries.count {
            connection.pointee.bulk(Array(page.key(fit - 1)))
        } else if page.isEnd {
            connection.pointee.null()
        } else {
            connection.pointee.bulk(page.last)
        }
        connection.pointee.array(options.wantsValues ? fit * 2 : fit)
        for index in 0..<fit {
            let key = Array(page.key(index))
            connection.pointee.bulk(key)
            guard options.wantsValues else { continue }
            key.withUnsafeBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                put(connection, value: Argument(base: base, count: bytes.count))
            }
        }
    }

    /// `SCAN` in an ordered namespace, in the order of keys.
    mutating func scanOrdered(
        _ connection: UnsafeMutablePointer<Connection>, _ cursor: UInt64, _ wanted: Int, _ pattern: Argument?
    ) {
        let namespace = connection.pointee.namespace
        var range = KeyRange()
        if cursor != 0 {
            guard let place = scanCursors.place(cursor, namespace) else {
                fail(connection, "ERR the cursor is too old, begin again: RANGE and PREFIX have cursors that stay")
                return
            }
            range.after = place
        }
        do throws(LogError) {
            try engine.keys(namespace, in: range, limit: wanted, visits: Limits.rangeVisits, into: &page)
        } catch {
            fail(connection, error)
            return
        }
        if engine.turnHasWrites { markUncertain(connection) }
        var keys: [[UInt8]] = []
        for index in page.entries.indices {
            let key = Array(page.key(index))
            if let pattern, !key.withUnsafeBytes({ Pattern.matches(pattern.bytes, $0) }) { continue }
            keys.append(key)
        }
        connection.pointee.array(2)
        connection.pointee.bulk(String(page.isEnd ? 0 : scanCursors.add(namespace, page.last)))
        connection.pointee.array(keys.count)
        for key in keys { connection.pointee.bulk(key) }
    }

    /// `KSCAN prefix [COUNT n] [cursor]`: keys that begin with a prefix. The cursor is opaque; `0` is the start and
    /// the end. In an ordered namespace only such keys are looked at, in others all are.
    mutating func scanPrefix(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
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
                return
            }
        }
        if let cursor, cursor.isWord("0") || cursor.count == 0 {
            scanPrefix(connection, after: nil, wanted)
        } else {
            scanPrefix(connection, after: cursor, wanted)
        }
    }

    private mutating func scanPrefix(
        _ connection: UnsafeMutablePointer<Connection>, after cursor: Argument?, _ wanted: Int
    ) {
        let namespace = connection.pointee.namespace
        do throws(LogError) {
            guard engine.isOrdered(namespace) else {
                try scanAll(connection, cursor, wanted)
                return
            }
            var range = KeyRange(prefix: arguments[1].array)
            // A mark before the key keeps a key "0" from being taken for the end.
            if let cursor { range.after = Array(cursor.bytes.dropFirst()) }
            try engine.keys(namespace, in: range, limit: wanted, visits: Limits.rangeVisits, into: &page)
            if engine.turnHasWrites { markUncertain(connection) }
            connection.pointee.array(2)
            connection.pointee.bulk(page.isEnd ? [48] : [61] + page.last)
            connection.pointee.array(page.entries.count)
            for index in page.entries.indices { connection.pointee.bulk(Array(page.key(index))) }
        } catch { fail(connection, error) }
    }

    /// Keys of a namespace without order, those with the prefix.
    private mutating func scanAll(
        _ connection: UnsafeMutablePointer<Connection>, _ cursor: Argument?, _ wanted: Int
    ) throws(LogError) {
        let namespace = connection.pointee.namespace
        guard let start = cursor == nil ? 0 : cursor?.number else {
            fail(connection, "ERR invalid cursor")
            return
        }
        let next = try engine.scan(namespace, from: start, count: wanted, into: &found)
        if engine.turnHasWrites { markUncertain(connection) }
        let prefix = arguments[1].array
        let matching = keys(namespace, nil).filter { $0.starts(with: prefix) }
        connection.pointee.array(2)
        connection.pointee.bulk(String(next))
        connection.pointee.array(matching.count)
        for key in matching { connection.pointee.bulk(key) }
    }
}
