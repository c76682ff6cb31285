/// A hash table that never moves more than 4096 entries at once: many small open-addressing tables under a directory
/// by the hash's high bits. A full table grows by an eighth, and at its largest splits in two.
///
/// Within a table slots stand in the order of their hashes, each at its home or as near behind it as the others let it:
/// a search ends at the first larger hash, so a table may be nine tenths full, and a scan needs no sorting.
struct KeyIndex: ~Copyable {
    static let firstCapacity = 16
    static let capacityMax = 4096
    /// The largest table whose memory is the heap's; namespaces of few keys then take few bytes.
    private static let smallCapacityMax = 1024

    struct Table {
        var slots: UnsafeMutablePointer<Slot>
        var capacity: UInt32
        private var entries: UInt16 = 0
        /// How many high bits all keys of this table share.
        private var shared: UInt16

        init(slots: UnsafeMutablePointer<Slot>, capacity: UInt32, depth: Int) {
            (self.slots, self.capacity, shared) = (slots, capacity, UInt16(truncatingIfNeeded: depth))
        }

        @inline(__always)
        var count: Int {
            get { Int(entries) }
            set { entries = UInt16(truncatingIfNeeded: newValue) }
        }
        @inline(__always)
        var depth: Int {
            get { Int(shared) }
            set { shared = UInt16(truncatingIfNeeded: newValue) }
        }
        @inline(__always)
        var extent: Int { KeyIndex.extent(Int(capacity)) }

        /// Where a hash belongs: its bits behind the shared ones, as a fraction of the capacity.
        @inline(__always)
        func home(_ high: UInt64) -> Int {
            Int(truncatingIfNeeded: (((high &<< UInt64(depth)) >> 32) &* UInt64(capacity)) >> 32)
        }
    }

    /// Tables by the high bits of hashes. `KeyIndex+Checkpoint.swift` reads and fills it too.
    private(set) var directory: UnsafeMutablePointer<Table>
    private(set) var depth = 0
    private var arena = SlotArena()
    /// The slots of the table that stands for those that `addTable` has still to put in.
    private var placeholder: UnsafeMutablePointer<Slot>?
    /// Entries, tombstones included.
    private(set) var count = 0

    init() {
        directory = .allocate(capacity: 1)
        directory.initialize(to: Self.small(Self.firstCapacity))
    }

    deinit {
        var position = 0
        while position < 1 << depth {
            let table = directory[position]
            position += 1 << (depth - table.depth)
            if Int(table.capacity) <= Self.smallCapacityMax { table.slots.deallocate() }
        }
        directory.deallocate()
    }

    /// Slots of a table with those behind its capacity, where the last runs end.
    private static func extent(_ capacity: Int) -> Int {
        capacity + (capacity <= smallCapacityMax ? 4 + capacity / 4 : 64)
    }

    /// A capacity that so many entries fill to three quarters.
    private static func capacity(for count: Int) -> Int {
        let wanted = count * 4 / 3 + 1
        let step = wanted <= smallCapacityMax ? 8 : 128
        return max(firstCapacity, (wanted + step - 1) / step * step)
    }

    private static func small(_ capacity: Int) -> Table {
        let memory = UnsafeMutablePointer<Slot>.allocate(capacity: extent(capacity))
        memory.initialize(repeating: Slot(), count: extent(capacity))
        return Table(slots: memory, capacity: UInt32(capacity), depth: 0)
    }

    private mutating func large(_ capacity: Int, depth: Int) -> Table {
        let memory = arena.block().bindMemory(to: Slot.self, capacity: SlotArena.blockBytes / MemoryLayout<Slot>.stride)
        return Table(slots: memory, capacity: UInt32(capacity), depth: depth)
    }

    @inline(__always)
    private func position(_ high: UInt64) -> Int {
        depth == 0 ? 0 : Int(truncatingIfNeeded: high &>> UInt64(64 - depth))
    }

    /// Where the search for a key begins. Only an address: what is there is not looked at.
    @inline(__always)
    func home(_ hash: KeyHash) -> UnsafeRawPointer {
        let table = directory[position(hash.high)]
        return UnsafeRawPointer(table.slots + table.home(hash.high))
    }

    /// The slot of a key, if it has one; valid until the next insertion or removal.
    @inline(__always)
    func find(_ hash: KeyHash) -> UnsafeMutablePointer<Slot>? {
        let table = directory[position(hash.high)]
        let wanted = ~hash.high
        var slot = table.slots + table.home(hash.high)
        while slot.pointee.inverse > wanted { slot += 1 }
        while slot.pointee.inverse == wanted && !slot.pointee.isEmpty {
            if slot.pointee.low == hash.low { return slot }
            slot += 1
        }
        return nil
    }

    /// Reads what a search for a key will read. Many of these in a row overlap, while searches wait for memory one
    /// after the other; the sum has no meaning, but has to be used.
    @inline(__always)
    func touch(_ hash: KeyHash) -> UInt64 {
        let table = directory[position(hash.high)]
        let slot = table.slots + table.home(hash.high)
        return slot.pointee.inverse &+ (slot + 2).pointee.inverse
    }

    /// Puts a slot whose key is not there yet.
    mutating func insert(_ slot: Slot) {
        precondition(!slot.isEmpty)
        while true {
            let at = position(slot.high)
            var table = directory[at]
            if (table.count + 1) * 20 <= Int(table.capacity) * 17, Self.place(slot, table) {
                table.count += 1
                point(at, to: table)
                break
            }
            grow(at)
        }
        count += 1
    }

    /// Puts a slot among the others in order; false if there is no room behind the table.
    private static func place(_ slot: Slot, _ table: Table) -> Bool {
        let slots = table.slots
        let end = table.extent - 1
        var index = table.home(slot.high)
        while slots[index].inverse > slot.inverse { index += 1 }
        var free = index
        while !slots[free].isEmpty { free += 1 }
        // The last slot of a table stays empty, so that every search ends.
        guard free < end else { return false }
        if free > index { (slots + index + 1).update(from: slots + index, count: free - index) }
        slots[index] = slot
        return true
    }

    /// Takes a key out; the slots behind it close the gap.
    mutating func remove(_ hash: KeyHash) {
        guard let found = find(hash) else { return }
        let at = position(hash.high)
        var table = directory[at]
        let slots = table.slots
        let hole = found - slots
        var end = hole + 1
        while !slots[end].isEmpty, table.home(slots[end].high) < end { end += 1 }
        (slots + hole).update(from: slots + hole + 1, count: end - hole - 1)
        slots[end - 1] = Slot()
        table.count -= 1
        point(at, to: table)
        count -= 1
        if table.capacity > Self.smallCapacityMax, table.count * 5 < Int(table.capacity) * 2 { shrink(at) }
    }

    /// How far slots stand behind their homes on average: what a search walks.
    var displacement: Double {
        var total = 0
        var position = 0
        while position < 1 << depth {
            let table = directory[position]
            position += 1 << (depth - table.depth)
            for index in 0..<table.extent where !table.slots[index].isEmpty {
                total += index - table.home(table.slots[index].high)
            }
        }
        return Double(total) / Double(max(1, count))
    }

    // MARK: Growth

    private mutating func grow(_ at: Int) {
        let old = directory[at]
        var capacity = max(Self.capacity(for: old.count), Int(old.capacity) + 8)
        if capacity > Self.capacityMax, old.capacity < Self.capacityMax { capacity = Self.capacityMax }
        while capacity <= Self.capacityMax {
            if capacity > Self.smallCapacityMax { capacity = (capacity + 127) / 128 * 128 }
            if Self.fits(old, old.depth, UInt32(capacity), 0..<old.extent) {
                resize(at, capacity)
                return
            }
            capacity += 128
        }
        split(at)
    }

    /// Gives back memory of a table that lost most of its keys.
    private mutating func shrink(_ at: Int) {
        let old = directory[at]
        let capacity = max(Self.capacity(for: old.count), Self.smallCapacityMax + 128)
        guard capacity < Int(old.capacity), Self.fits(old, old.depth, UInt32(capacity), 0..<old.extent) else { return }
        resize(at, capacity)
    }

    private mutating func resize(_ at: Int, _ capacity: Int) {
        var table = directory[at]
        if capacity <= Self.smallCapacityMax || table.capacity <= Self.smallCapacityMax {
            let old = table
            table = capacity <= Self.smallCapacityMax ? Self.small(capacity) : large(capacity, depth: old.depth)
            table.depth = old.depth
            table.count = Self.copy(old, 0..<old.extent, to: table)
            old.slots.deallocate()
        } else {
            Self.spread(table.slots, from: table.extent, to: capacity, depth: table.depth)
            let isSmaller = capacity < Int(table.capacity)
            table.capacity = UInt32(capacity)
            if isSmaller { Self.release(table) }
        }
        point(at, to: table)
    }

    private static func release(_ table: Table) {
        SlotArena.release(table.slots, from: table.extent * MemoryLayout<Slot>.stride)
    }

    /// Makes all entries of the directory that shared a table name its successor.
    @inline(__always)
    private func point(_ at: Int, to table: Table) {
        if table.depth == depth {
            directory[at] = table
            return
        }
        let span = 1 << (depth - table.depth)
        let start = at & ~(span - 1)
        for index in start..<start + span { directory[index] = table }
    }

    private mutating func split(_ at: Int) {
        var at = at
        if directory[at].depth == depth {
            widen()
            at *= 2
        }
        let old = directory[at]
        precondition(old.depth < 48, "keys that share 48 bits cannot be made without the device's secret")
        let bit = UInt64(1) << UInt64(63 - old.depth)
        var middle = 0
        var lower = 0
        for index in 0..<old.extent where !old.slots[index].isEmpty {
            if old.slots[index].high & bit != 0 { break }
            lower += 1
            middle = index + 1
        }
        let upper = old.count - lower
        let depth = old.depth + 1
        let capacities = (
            Self.half(old, depth, 0..<middle, lower), Self.half(old, depth, middle..<old.extent, upper)
        )
        var right = large(capacities.1, depth: depth)
        right.count = Self.copy(old, middle..<old.extent, to: right)
        (old.slots + middle).update(repeating: Slot(), count: old.extent - middle)
        Self.spread(old.slots, from: old.extent, to: capacities.0, depth: depth)
        var left = Table(slots: old.slots, capacity: UInt32(capacities.0), depth: depth)
        left.count = lower
        Self.release(left)
        let span = 1 << (self.depth - old.depth)
        let start = at & ~(span - 1)
        point(start, to: left)
        point(start + span / 2, to: right)
    }

    /// The capacity for one half of a table that is split.
    private static func half(_ table: Table, _ depth: Int, _ range: Range<Int>, _ count: Int) -> Int {
        var capacity = max(Self.capacity(for: count), smallCapacityMax + 128)
        while capacity < capacityMax, !fits(table, depth, UInt32(capacity), range) { capacity += 128 }
        return min(capacity, capacityMax)
    }

    private mutating func widen() {
        let wider = UnsafeMutablePointer<Table>.allocate(capacity: 2 << depth)
        for index in 0..<(1 << depth) {
            (wider + 2 * index).initialize(to: directory[index])
            (wider + 2 * index + 1).initialize(to: directory[index])
        }
        directory.deallocate()
        directory = wider
        depth += 1
    }

    /// Whether some slots of a table would find room in one of another capacity or depth.
    private static func fits(_ table: Table, _ depth: Int, _ capacity: UInt32, _ range: Range<Int>) -> Bool {
        let wanted = Table(slots: table.slots, capacity: capacity, depth: depth)
        var next = 0
        for index in range where !table.slots[index].isEmpty {
            next = max(next, wanted.home(table.slots[index].high)) + 1
        }
        return next < wanted.extent - 1
    }

    /// Copies some slots of a table to an empty one; returns how many.
    private static func copy(_ table: Table, _ range: Range<Int>, to target: Table) -> Int {
        var next = 0
        var count = 0
        for index in range where !table.slots[index].isEmpty {
            let place = max(next, target.home(table.slots[index].high))
            target.slots[place] = table.slots[index]
            next = place + 1
            count += 1
        }
        precondition(next < target.extent)
        return count
    }

    /// Moves slots within their memory to where another capacity wants them: first all to the end, then each to its
    /// place, which never lies behind where it waits.
    private static func spread(_ slots: UnsafeMutablePointer<Slot>, from extent: Int, to capacity: Int, depth: Int) {
        let wanted = Table(slots: slots, capacity: UInt32(capacity), depth: depth)
        let end = max(extent, wanted.extent)
        var write = end
        var read = extent
        while read > 0 {
            read -= 1
            if slots[read].isEmpty { continue }
            write -= 1
            slots[write] = slots[read]
        }
        var next = 0
        while write < end {
            let slot = slots[write]
            let place = max(next, wanted.home(slot.high))
            precondition(place <= write)
            while next < place {
                slots[next] = Slot()
                next += 1
            }
            slots[place] = slot
            next = place + 1
            write += 1
        }
        (slots + next).update(repeating: Slot(), count: end - next)
    }

    // MARK: As a whole

    /// Makes an empty index one of many tables, which `addTable` puts in one after the other; the first table stands
    /// for those that are still to come.
    mutating func beginTables(depth wanted: Int) {
        precondition(count == 0 && depth == 0)
        let first = directory[0]
        directory.deallocate()
        directory = .allocate(capacity: 1 << wanted)
        directory.initialize(repeating: first, count: 1 << wanted)
        depth = wanted
    }

    /// Puts an empty table into the directory behind those before it.
    mutating func addTable(at position: Int, capacity: Int, depth shared: Int) -> Table {
        var table = capacity <= Self.smallCapacityMax ? Self.small(capacity) : large(capacity, depth: shared)
        table.depth = shared
        if position == 0 { placeholder = directory[0].slots }
        (directory + position).update(repeating: table, count: 1 << (depth - shared))
        if position + 1 << (depth - shared) == 1 << depth {
            placeholder?.deallocate()
            placeholder = nil
        }
        return table
    }

    /// Says how many entries were put into the table at a position.
    mutating func setEntries(_ entries: Int, at position: Int) {
        var table = directory[position]
        table.count = entries
        point(position, to: table)
        count += entries
    }

    // MARK: Scan

    /// Slots in the order of their hashes from `cursor` on: at least `count` of them unless the end comes first, and
    /// all that share a high half. Returns the cursor to go on from, 0 at the end. A key that stays is seen exactly
    /// once, whatever the table does between calls.
    func scan(from cursor: UInt64, count: Int, into found: inout [Slot]) -> UInt64 {
        found.removeAll(keepingCapacity: true)
        var cursor = cursor
        while true {
            let table = directory[position(cursor)]
            for index in table.home(cursor)..<table.extent {
                let slot = table.slots[index]
                if slot.isEmpty || slot.high < cursor { continue }
                if found.count >= max(count, 1), let last = found.last, last.high != slot.high { return slot.high }
                found.append(slot)
            }
            let shift = UInt64(64 - table.depth)
            guard table.depth > 0, (cursor >> shift) + 1 < (UInt64(1) << UInt64(table.depth)) else { return 0 }
            cursor = ((cursor >> shift) + 1) << shift
            if found.count >= count && !found.isEmpty { return cursor }
        }
    }
}
