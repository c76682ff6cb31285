#if canImport(Glibc)
import Glibc
#endif

/// Versions of an ordered namespace's keys that recovery found and that are not in the index yet.
///
/// Put into the index one by one in the order of the log, each key waits for memory at another place. A run of many is
/// sorted first: then neighbours follow each other and most of what they need is near. Versions of one key keep their
/// order.
final class OrderedRun {
    /// A run of so many bytes goes into the index; as much is needed again while it is sorted.
    static let bytesMax = 64 << 20

    private struct Item {
        /// Bytes of the key behind what all keys begin with, as a number in the order of keys.
        var word: UInt64
        var at: Int
    }

    private static let payloadBytes = OrderedNode.leafPayload
    private var memory: UnsafeMutableRawPointer
    private var capacity = 1 << 12
    private var end = 0
    private(set) var count = 0
    private var settled = (end: 0, count: 0)

    init() { memory = .allocate(byteCount: capacity, alignment: 16) }

    deinit { memory.deallocate() }

    var bytes: Int { end }
    /// Whether some of it can still be taken back.
    var isUnsettled: Bool { count != settled.count }

    func add(_ key: UnsafeRawBufferPointer, _ slot: Slot) {
        guard let start = key.baseAddress else { return }
        let size = Self.payloadBytes + 1 + key.count
        if end + size > capacity { grow(size) }
        let at = memory + end
        slot.storeOrdered(at)
        at.storeBytes(of: UInt8(truncatingIfNeeded: key.count), toByteOffset: Self.payloadBytes, as: UInt8.self)
        (at + Self.payloadBytes + 1).copyMemory(from: start, byteCount: key.count)
        end += size
        count += 1
    }

    private func grow(_ size: Int) {
        while end + size > capacity { capacity *= 2 }
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        larger.copyMemory(from: memory, byteCount: end)
        memory.deallocate()
        memory = larger
    }

    /// What was added stays.
    func settle() { settled = (end, count) }

    /// What was added since `settle` never happened, and is given for that.
    func revert(_ body: (Slot) -> Void) {
        var at = settled.end
        while at < end {
            let key = Self.key(memory + at)
            body(Slot(ordered: memory + at, keyLength: key.count))
            at += Self.payloadBytes + 1 + key.count
        }
        (end, count) = settled
    }

    /// Gives everything in the order of keys, and is empty then.
    func drain(_ body: (_ key: UnsafeRawBufferPointer, _ slot: Slot) -> Void) {
        var items = UnsafeMutableBufferPointer<Item>.allocate(capacity: count)
        defer { items.deallocate() }
        collect(items)
        items.sort { one, other in
            if one.word != other.word { return one.word < other.word }
            let order = Self.compare(memory + one.at, memory + other.at)
            return order == 0 ? one.at < other.at : order < 0
        }
        for item in items {
            let key = Self.key(memory + item.at)
            body(key, Slot(ordered: memory + item.at, keyLength: key.count))
        }
        memory.deallocate()
        capacity = 1 << 12
        memory = .allocate(byteCount: capacity, alignment: 16)
        (end, count, settled) = (0, 0, (0, 0))
    }

    private func collect(_ items: UnsafeMutableBufferPointer<Item>) {
        var at = 0
        var shared = count > 0 ? Self.key(memory).count : 0
        for index in 0..<count {
            let key = Self.key(memory + at)
            shared = min(shared, key.count)
            var same = 0
            while same < shared, key[same] == Self.key(memory)[same] { same += 1 }
            shared = same
            items.initializeElement(at: index, to: Item(word: 0, at: at))
            at += Self.payloadBytes + 1 + key.count
        }
        for index in 0..<count {
            let key = Self.key(memory + items[index].at)
            var word: UInt64 = 0
            for place in shared..<shared + 8 { word = word << 8 | UInt64(place < key.count ? key[place] : 0) }
            items[index].word = word
        }
    }

    @inline(__always)
    private static func key(_ at: UnsafeMutableRawPointer) -> UnsafeRawBufferPointer {
        let count = at.load(fromByteOffset: payloadBytes, as: UInt8.self)
        return UnsafeRawBufferPointer(start: at + payloadBytes + 1, count: Int(count))
    }

    private static func compare(_ one: UnsafeMutableRawPointer, _ other: UnsafeMutableRawPointer) -> Int {
        let (a, b) = (key(one), key(other))
        guard let first = a.baseAddress, let second = b.baseAddress else { return 0 }
        let order = memcmp(first, second, min(a.count, b.count))
        return order == 0 ? a.count - b.count : Int(order)
    }
}

extension LogEngine {
    /// Keeps a key of an ordered namespace for the index.
    mutating func collect(
        _ state: UnsafeMutablePointer<NamespaceState>, _ ordered: OrderedKeys, _ key: UnsafeRawBufferPointer,
        _ slot: Slot
    ) {
        let run = ordered.run ?? OrderedRun()
        ordered.run = run
        if !run.isUnsettled { unsettledRuns.append((state.pointee.id, ordered)) }
        run.add(key, slot)
    }

    /// What was collected stays; a run that is long enough goes into the index.
    mutating func settleRuns() {
        for (id, ordered) in unsettledRuns {
            ordered.run?.settle()
            if let run = ordered.run, run.bytes >= OrderedRun.bytesMax { drain(id, ordered) }
        }
        unsettledRuns.removeAll(keepingCapacity: true)
    }

    /// What was collected since then never happened.
    mutating func revertRuns() {
        for (id, ordered) in unsettledRuns {
            guard hasNamespace(id), let state = namespaces[Int(id)] else { continue }
            ordered.run?.revert { uncharge(state, $0.recordBytes) }
        }
        unsettledRuns.removeAll(keepingCapacity: true)
    }

    /// Puts all that was collected into the indexes.
    mutating func drainRuns() {
        settleRuns()
        for case let state? in namespaces {
            if let ordered = state.pointee.ordered { drain(state.pointee.id, ordered) }
        }
    }

    private mutating func drain(_ id: UInt32, _ ordered: OrderedKeys) {
        // The namespace may have been flushed or ended since.
        guard let run = ordered.run, hasNamespace(id), let state = namespaces[Int(id)],
            state.pointee.ordered === ordered
        else { return }
        run.drain { key, slot in
            guard let before = ordered.index.put(key, slot, unlessNewer: true) else { return }
            account(state, before, slot)
        }
        ordered.run = nil
    }
}
