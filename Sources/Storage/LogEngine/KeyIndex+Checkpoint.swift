import Simulation

// An index of hashed keys in a checkpoint: its tables as they are in memory, so that reading it takes as long as reading
// so many bytes.
extension KeyIndex {
    /// Bytes that it takes in a checkpoint.
    var checkpointBytes: UInt64 {
        var bytes: UInt64 = 24
        forEachTable { bytes += 8 + UInt64($0.extent * MemoryLayout<Slot>.stride) }
        return bytes
    }

    private func forEachTable<Failure: Error>(
        _ body: (borrowing Table) throws(Failure) -> Void
    ) throws(Failure) {
        var position = 0
        while position < 1 << depth {
            let table = directory[position]
            position += 1 << (depth - table.depth)
            try body(table)
        }
    }

    /// How many tables, the directory's depth, entries; of each table its capacity, entries and depth; then all slots.
    func write(to writer: inout CheckpointWriter, _ places: SlotPlaces) throws(DiskError) {
        var heads: [UInt64] = []
        forEachTable { heads.append(UInt64($0.capacity) | UInt64($0.count) << 32 | UInt64($0.depth) << 48) }
        try writer.add([UInt64(heads.count), UInt64(depth), UInt64(count)])
        try writer.add(heads)
        var position = 0
        while position < 1 << depth {
            let table = directory[position]
            position += 1 << (depth - table.depth)
            let extent = table.extent
            let memory = try writer.room(extent * MemoryLayout<Slot>.stride)
            let slots = memory.bindMemory(to: Slot.self, capacity: extent)
            slots.initialize(from: table.slots, count: extent)
            for index in 0..<extent where !slots[index].isEmpty && !places.place(&slots[index]) { throw .short }
        }
    }

    /// Reads what `write` wrote.
    init(from reader: inout CheckpointReader, _ bounds: SlotBounds) throws(DiskError) {
        self.init()
        let head = try reader.words(3)
        guard head[0] > 0, head[1] < 48, head[0] <= 1 << head[1], head[0] <= reader.left / 8 else { throw .short }
        let heads = try reader.words(Int(head[0]))
        beginTables(depth: Int(head[1]))
        var position = 0
        for word in heads {
            let (capacity, entries) = (Int(word & 0xffff_ffff), Int(word >> 32 & 0xffff))
            let shared = Int(word >> 48)
            guard capacity >= Self.firstCapacity, capacity <= Self.capacityMax, shared <= depth else { throw .short }
            let span = 1 << (depth - shared)
            guard position & (span - 1) == 0, position + span <= 1 << depth else { throw .short }
            let table = addTable(at: position, capacity: capacity, depth: shared)
            try reader.read(table.slots, table.extent * MemoryLayout<Slot>.stride)
            try setEntries(Self.verified(table, entries, bounds), at: position)
            position += span
        }
        guard position == 1 << depth, UInt64(count) == head[2] else { throw .short }
    }

    /// The entries of a table that was read, if it is one.
    private static func verified(_ table: Table, _ wanted: Int, _ bounds: SlotBounds) throws(DiskError) -> Int {
        var found = 0
        for index in 0..<table.extent where !table.slots[index].isEmpty {
            guard bounds.contain(table.slots[index]) else { throw .short }
            found += 1
        }
        guard found == wanted, table.slots[table.extent - 1].isEmpty else { throw .short }
        return found
    }
}
