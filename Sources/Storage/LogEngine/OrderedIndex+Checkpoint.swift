import Simulation

// An index of sorted keys in a checkpoint: its nodes as they are in memory, each behind its children, which it names by
// their numbers in the file.
extension OrderedIndex {
    /// Bytes that it takes in a checkpoint.
    var checkpointBytes: UInt64 { 16 + UInt64(nodeCount * OrderedNode.bytes) }

    /// How many nodes and entries, then the nodes.
    func write(to writer: inout CheckpointWriter, _ places: SlotPlaces) throws(DiskError) {
        try writer.add([UInt64(nodeCount), UInt64(count)])
        var written: UInt64 = 0
        try write(root, to: &writer, places, &written)
    }

    private func write(
        _ node: OrderedNode, to writer: inout CheckpointWriter, _ places: SlotPlaces, _ written: inout UInt64
    ) throws(DiskError) {
        var numbers: [UInt64] = []
        if !node.isLeaf {
            for index in 0..<node.count {
                try write(node.child(index), to: &writer, places, &written)
                numbers.append(written - 1)
            }
        }
        let copy = OrderedNode(base: try writer.room(OrderedNode.bytes))
        copy.copy(node)
        for index in 0..<node.count {
            let payload = copy.payload(index)
            if node.isLeaf {
                var slot = Slot(ordered: payload, keyLength: 0)
                guard places.place(&slot) else { throw .short }
                slot.storeOrdered(payload)
            } else {
                payload.storeBytes(of: numbers[index].littleEndian, as: UInt64.self)
            }
        }
        written += 1
    }

    /// Reads what `write` wrote.
    init(from reader: inout CheckpointReader, _ bounds: SlotBounds) throws(DiskError) {
        self.init()
        let head = try reader.words(2)
        guard head[0] > 0, head[0] <= reader.left / UInt64(OrderedNode.bytes) else { throw .short }
        var nodes = NodeList()
        let pieceNodes = CheckpointWriter.pieceBytesMax / OrderedNode.bytes
        let piece = UnsafeMutableRawPointer.allocate(byteCount: pieceNodes * OrderedNode.bytes, alignment: 16)
        defer { piece.deallocate() }
        var entries = 0
        while nodes.count < Int(head[0]) {
            let count = min(pieceNodes, Int(head[0]) - nodes.count)
            try reader.read(piece, count * OrderedNode.bytes)
            for index in 0..<count {
                let node = OrderedNode.make(level: 0)
                node.copy(OrderedNode(base: piece + index * OrderedNode.bytes))
                entries += try nodes.adopt(node, bounds)
            }
        }
        guard let root = nodes.takeRoot(), UInt64(entries) == head[1] else { throw .short }
        replace(root: root, nodes: Int(head[0]), entries: entries)
    }
}

/// Nodes that were read and have no parent yet; what is left of them is freed.
private struct NodeList: ~Copyable {
    private var nodes: [OrderedNode?] = []

    deinit { for case let node? in nodes { OrderedIndex.free(node) } }

    var count: Int { nodes.count }

    /// Takes a node in and gives it its children; returns how many entries it has if it is a leaf.
    mutating func adopt(_ node: OrderedNode, _ bounds: SlotBounds) throws(DiskError) -> Int {
        guard node.isPlausible, node.isLeaf || node.count > 0 else {
            node.base.deallocate()
            throw .short
        }
        if node.isLeaf {
            nodes.append(node)
            for index in 0..<node.count where !bounds.contain(Slot(ordered: node.payload(index), keyLength: 0)) {
                throw .short
            }
            return node.count
        }
        for index in 0..<node.count {
            let payload = node.payload(index)
            let number = UInt64(littleEndian: payload.loadUnaligned(as: UInt64.self))
            guard number < UInt64(nodes.count), let child = nodes[Int(number)], child.level == node.level - 1 else {
                // Children that it has already are lost with it, which a damaged file may cost.
                node.base.deallocate()
                throw .short
            }
            payload.storeBytes(of: UInt(bitPattern: child.base), as: UInt.self)
            nodes[Int(number)] = nil
        }
        nodes.append(node)
        return 0
    }

    /// The node above all others, if there is just one.
    mutating func takeRoot() -> OrderedNode? {
        guard let root = nodes.last ?? nil, nodes.dropLast().allSatisfy({ $0 == nil }) else { return nil }
        nodes = []
        return root
    }
}
