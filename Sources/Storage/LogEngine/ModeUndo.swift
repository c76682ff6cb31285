/// The index of an ordered namespace, shared by reference so that a namespace of another mode does not carry it.
final class OrderedKeys {
    var index = OrderedIndex()
    /// What recovery has still to put into the index.
    var run: OrderedRun?

    /// Keys that are known.
    var count: Int { index.count + (run?.count ?? 0) }
}

/// How keys of ordered and sequential namespaces were before a turn.
struct ModeUndo {
    struct Change {
        var namespace: UInt32
        /// Ordered: the key's place in `keys`, and its slot.
        var start = 0
        var count = 0
        var slot = Slot()
        /// Sequential: the id and its entry.
        var id: UInt64 = 0
        var entry = TableEntry()
        /// The id that was to be given next.
        var nextId: UInt64 = 0
    }

    private(set) var changes: [Change] = []
    private var keys: [UInt8] = []

    var isEmpty: Bool { changes.isEmpty }
    var count: Int { changes.count }

    mutating func note(_ namespace: UInt32, _ key: UnsafeRawBufferPointer, _ before: Slot) {
        changes.append(Change(namespace: namespace, start: keys.count, count: key.count, slot: before))
        keys.append(contentsOf: key)
    }

    mutating func note(_ namespace: UInt32, id: UInt64, _ before: TableEntry, nextId: UInt64) {
        changes.append(Change(namespace: namespace, id: id, entry: before, nextId: nextId))
    }

    func key(_ change: Change) -> [UInt8] { Array(keys[change.start..<change.start + change.count]) }

    mutating func cut(to count: Int) {
        if let first = changes.dropFirst(count).first(where: { $0.count > 0 }) {
            keys.removeLast(keys.count - first.start)
        }
        changes.removeLast(changes.count - count)
    }

    mutating func clear() {
        changes.removeAll(keepingCapacity: true)
        keys.removeAll(keepingCapacity: true)
    }
}
