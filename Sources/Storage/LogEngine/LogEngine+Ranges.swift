/// Which keys of an ordered namespace are wanted, and from which end.
public struct KeyRange: Sendable {
    /// Keys below it are not wanted; nil is no bound.
    public var from: [UInt8]?
    /// It and keys above it are not wanted; nil is no bound.
    public var to: [UInt8]?
    /// The key behind which to go on, in the direction of reading. It need not exist any more.
    public var after: [UInt8]?
    /// From the highest key down.
    public var isReverse = false

    /// All keys, ascending.
    public init() {}

    /// The keys that begin with some bytes.
    public init(prefix: [UInt8]) {
        from = prefix
        if let last = prefix.lastIndex(where: { $0 != 0xff }) {
            var end = Array(prefix[...last])
            end[last] += 1
            to = end
        }
    }
}

/// Some keys of a range, in order.
public struct KeyPage {
    /// The keys' current versions.
    public private(set) var entries: [Entry] = []
    private var bytes: [UInt8] = []
    private var ends: [Int] = []
    /// The last key that was looked at, which may be an ended one.
    public fileprivate(set) var last: [UInt8] = []
    /// Whether nothing of the range is left.
    public fileprivate(set) var isEnd = false

    /// An empty page; its memory is used again.
    public init() {}

    /// The key of an entry.
    public func key(_ index: Int) -> ArraySlice<UInt8> { bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }

    fileprivate mutating func clear() {
        entries.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        (last, isEnd) = ([], false)
    }

    fileprivate mutating func add(_ slot: Slot, _ key: UnsafeRawBufferPointer) {
        entries.append(Entry(slot: slot))
        bytes.append(contentsOf: key)
        ends.append(bytes.count)
    }
}

extension LogEngine {
    /// Keys of an ordered namespace, at most `limit`, looking at `visits` at most: ended keys stand among the others
    /// until compaction, so a page may be short and not the last. Who goes on behind `page.last` sees every key that
    /// stays exactly once, whatever is written in between.
    public mutating func keys(
        _ namespace: UInt32, in range: KeyRange, limit: Int, visits: Int, into page: inout KeyPage
    ) throws(LogError) {
        page.clear()
        guard let ordered = try readable(namespace).pointee.ordered else { throw .notOrdered }
        var left = visits
        var isThere =
            range.isReverse
            ? Self.seekBack(ordered, range) : Self.seek(ordered, range, repeats: plants(.repeatCursor))
        let bound = range.isReverse ? range.from : range.to
        while isThere {
            let count = ordered.index.copyKey(into: scratch)
            let key = UnsafeRawBufferPointer(start: scratch, count: count)
            if let bound, range.isReverse ? Self.isBelow(key, bound) : !Self.isBelow(key, bound) {
                if !plants(.includeBound) || !key.elementsEqual(bound) { break }
            }
            if page.entries.count >= limit || left == 0 { return }
            left -= 1
            let slot = ordered.index.slot
            if !slot.isTombstone { page.add(slot, key) }
            page.last.replaceSubrange(0..., with: key)
            isThere = range.isReverse ? ordered.index.previous() : ordered.index.next()
        }
        page.isEnd = true
    }

    /// Entries of a sequential namespace from an id on (or, in reverse, from an id down), with the id to go on with;
    /// nil at the end.
    public mutating func ids(
        _ namespace: UInt32, from start: UInt64, isReverse: Bool, count: Int, into found: inout [Entry]
    ) throws(LogError) -> UInt64? {
        found.removeAll(keepingCapacity: true)
        guard let table = try readable(namespace).pointee.table else { throw .notOrdered }
        guard table.nextId > 0 else { return nil }
        var id = isReverse ? min(start, table.nextId - 1) : start
        // Ended ids are looked at as well; their number is bounded for the sake of others.
        var left = max(count, 1) * 4 + 4096
        while id < table.nextId {
            if found.count >= count || left == 0 { return id }
            left -= 1
            if let slot = try slot(table.entry(id)), !slot.isTombstone { found.append(Entry(slot: slot)) }
            if isReverse {
                if id == 0 { return nil }
                id -= 1
            } else {
                id += 1
            }
        }
        return nil
    }

    private static func seek(_ ordered: OrderedKeys, _ range: KeyRange, repeats: Bool) -> Bool {
        let from = range.from ?? []
        if let after = range.after, !after.lexicographicallyPrecedes(from) {
            return after.withUnsafeBytes { ordered.index.seek($0, after: !repeats) }
        }
        return from.withUnsafeBytes { ordered.index.seek($0, after: false) }
    }

    private static func seekBack(_ ordered: OrderedKeys, _ range: KeyRange) -> Bool {
        guard let end = [range.to, range.after].compactMap({ $0 }).min(by: { $0.lexicographicallyPrecedes($1) }) else {
            return ordered.index.seekEnd()
        }
        return end.withUnsafeBytes { ordered.index.seekBack($0, including: false) }
    }

    private static func isBelow(_ key: UnsafeRawBufferPointer, _ bound: [UInt8]) -> Bool {
        key.lexicographicallyPrecedes(bound)
    }
}
