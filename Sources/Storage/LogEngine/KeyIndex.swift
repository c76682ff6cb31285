/// Where the current version of one key lies: 40 bytes. A slot whose sequence is 0 is empty.
struct Slot {
    static let tombstone: UInt8 = 1
    static let damaged: UInt8 = 2

    var high: UInt64 = 0
    var low: UInt64 = 0
    var sequence: UInt64 = 0
    /// Position in the engine's list of segments.
    var segment: UInt32 = 0
    /// Offset in the segment, in units of 8 bytes.
    var unit: UInt32 = 0
    var valueLength: UInt32 = 0
    var extraLength: UInt16 = 0
    var keyLength: UInt8 = 0
    var flags: UInt8 = 0

    var isTombstone: Bool { flags & Slot.tombstone != 0 }
    var isDamaged: Bool { flags & Slot.damaged != 0 }
    var offset: UInt64 { UInt64(unit) * 8 }
    var headBytes: Int { Format.recordHeaderBytes + Int(keyLength) + Int(extraLength) }
    /// What the key counts towards a quota.
    var payloadBytes: UInt64 { isTombstone ? 0 : UInt64(valueLength) + UInt64(keyLength) }
}

/// A hash table that never moves more than 4096 entries at once: many small open-addressing tables under a directory
/// by the hash's high bits. A full table doubles, and at its largest splits in two.
struct KeyIndex: ~Copyable {
    static let firstCapacity = 16
    static let capacityMax = 4096

    struct Shard {
        var slots: UnsafeMutablePointer<Slot>
        var capacity: Int
        var count: Int
        /// How many high bits all keys of this table share.
        var depth: Int
    }

    private var directory: UnsafeMutablePointer<UnsafeMutablePointer<Shard>>
    private var depth = 0
    /// Entries, tombstones included.
    private(set) var count = 0

    init() {
        directory = .allocate(capacity: 1)
        directory.initialize(to: Self.makeShard(capacity: Self.firstCapacity, depth: 0))
    }

    deinit {
        var position = 0
        while position < 1 << depth {
            let shard = directory[position]
            position += 1 << (depth - shard.pointee.depth)
            shard.pointee.slots.deallocate()
            shard.deallocate()
        }
        directory.deallocate()
    }

    private static func makeShard(capacity: Int, depth: Int) -> UnsafeMutablePointer<Shard> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: capacity)
        slots.initialize(repeating: Slot(), count: capacity)
        let shard = UnsafeMutablePointer<Shard>.allocate(capacity: 1)
        shard.initialize(to: Shard(slots: slots, capacity: capacity, count: 0, depth: depth))
        return shard
    }

    @inline(__always)
    private func position(_ high: UInt64) -> Int { depth == 0 ? 0 : Int(high >> UInt64(64 - depth)) }

    /// The slot of a key, if it has one.
    @inline(__always)
    func find(_ hash: KeyHash) -> UnsafeMutablePointer<Slot>? {
        let shard = directory[position(hash.high)]
        let mask = shard.pointee.capacity - 1
        let slots = shard.pointee.slots
        var index = Int(truncatingIfNeeded: hash.low) & mask
        while slots[index].sequence != 0 {
            if slots[index].low == hash.low && slots[index].high == hash.high { return slots + index }
            index = (index + 1) & mask
        }
        return nil
    }

    /// Puts a slot whose key is not there yet.
    mutating func insert(_ slot: Slot) {
        precondition(slot.sequence != 0)
        var shard = directory[position(slot.high)]
        while (shard.pointee.count + 1) * 4 > shard.pointee.capacity * 3 {
            grow(shard, position(slot.high))
            shard = directory[position(slot.high)]
        }
        Self.place(slot, shard)
        count += 1
    }

    /// Takes a key out; the slots behind it close the gap.
    mutating func remove(_ hash: KeyHash) {
        guard let found = find(hash) else { return }
        let shard = directory[position(hash.high)]
        let mask = shard.pointee.capacity - 1
        let slots = shard.pointee.slots
        var hole = found - slots
        var index = (hole + 1) & mask
        while slots[index].sequence != 0 {
            let home = Int(truncatingIfNeeded: slots[index].low) & mask
            if (index - home) & mask >= (index - hole) & mask {
                slots[hole] = slots[index]
                hole = index
            }
            index = (index + 1) & mask
        }
        slots[hole] = Slot()
        shard.pointee.count -= 1
        count -= 1
    }

    private static func place(_ slot: Slot, _ shard: UnsafeMutablePointer<Shard>) {
        let mask = shard.pointee.capacity - 1
        let slots = shard.pointee.slots
        var index = Int(truncatingIfNeeded: slot.low) & mask
        while slots[index].sequence != 0 { index = (index + 1) & mask }
        slots[index] = slot
        shard.pointee.count += 1
        precondition(shard.pointee.count < shard.pointee.capacity)
    }

    private mutating func grow(_ shard: UnsafeMutablePointer<Shard>, _ position: Int) {
        // 48 shared bits mean that splitting does not separate; such keys cannot be made without the device's secret.
        if shard.pointee.capacity < Self.capacityMax || shard.pointee.depth >= 48 {
            let old = shard.pointee
            let larger = Self.makeShard(capacity: old.capacity * 2, depth: old.depth)
            for index in 0..<old.capacity where old.slots[index].sequence != 0 { Self.place(old.slots[index], larger) }
            old.slots.deallocate()
            shard.pointee = larger.pointee
            larger.deallocate()
        } else {
            split(shard, position)
        }
    }

    private mutating func split(_ shard: UnsafeMutablePointer<Shard>, _ position: Int) {
        var position = position
        if shard.pointee.depth == depth {
            let wider = UnsafeMutablePointer<UnsafeMutablePointer<Shard>>.allocate(capacity: 2 << depth)
            for index in 0..<(1 << depth) {
                (wider + 2 * index).initialize(to: directory[index])
                (wider + 2 * index + 1).initialize(to: directory[index])
            }
            directory.deallocate()
            directory = wider
            depth += 1
            position *= 2
        }
        let old = shard.pointee
        let halves = (
            Self.makeShard(capacity: Self.capacityMax, depth: old.depth + 1),
            Self.makeShard(capacity: Self.capacityMax, depth: old.depth + 1)
        )
        let bit = UInt64(1) << UInt64(63 - old.depth)
        for index in 0..<old.capacity where old.slots[index].sequence != 0 {
            Self.place(old.slots[index], old.slots[index].high & bit == 0 ? halves.0 : halves.1)
        }
        let span = 1 << (depth - old.depth)
        let start = position & ~(span - 1)
        for index in 0..<span / 2 {
            directory[start + index] = halves.0
            directory[start + span / 2 + index] = halves.1
        }
        old.slots.deallocate()
        shard.deallocate()
    }

    /// Slots in the order of their hashes from `cursor` on: at least `count` of them unless the end comes first, and
    /// all that share a high half. Returns the cursor to go on from, 0 at the end. A key that stays is seen exactly
    /// once, whatever the table does between calls.
    func scan(from cursor: UInt64, count: Int, into found: inout [Slot]) -> UInt64 {
        found.removeAll(keepingCapacity: true)
        var cursor = cursor
        while true {
            let place = position(cursor)
            let shard = directory[place].pointee
            let before = found.count
            for index in 0..<shard.capacity where shard.slots[index].sequence != 0 && shard.slots[index].high >= cursor
            {
                found.append(shard.slots[index])
            }
            found[before...].sort { $0.high < $1.high }
            if found.count > count {
                var end = max(count, 1)
                while end < found.count && found[end].high == found[end - 1].high { end += 1 }
                if end < found.count {
                    let next = found[end].high
                    found.removeLast(found.count - end)
                    return next
                }
            }
            let shift = UInt64(64 - shard.depth)
            guard shard.depth > 0, (cursor >> shift) + 1 < (UInt64(1) << UInt64(shard.depth)) else { return 0 }
            cursor = ((cursor >> shift) + 1) << shift
            if found.count >= count && !found.isEmpty { return cursor }
        }
    }
}
