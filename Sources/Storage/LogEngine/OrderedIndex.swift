/// The keys of an ordered namespace, in order, each with its slot: a B+tree of 4 KiB nodes in raw memory.
///
/// A leaf keeps 21 bytes beside each key's own, and the bytes with which all its keys begin only once. A full leaf
/// first gives to a neighbour and is split when neither has room, so leaves are about five sixths full; keys that come
/// in ascending order fill them.
struct OrderedIndex: ~Copyable {
    /// Higher than any tree that fits in memory.
    private static let heightMax = 24
    /// A neighbour that holds less than this takes entries of a full leaf.
    private static let roomyBytes = 3650
    /// Two neighbours that together hold less than this are joined when one of them is sparse.
    private static let joinedBytes = 3000
    /// A leaf that holds less than this is joined with a neighbour.
    private static let sparseBytes = 1200

    private struct Step {
        var node: OrderedNode
        var index: Int
    }

    private(set) var root: OrderedNode
    private let path: UnsafeMutablePointer<Step>
    private var depth = 0
    private let spare: OrderedNode
    private let other: OrderedNode
    private let key: UnsafeMutableRawPointer
    private let second: UnsafeMutableRawPointer
    /// Entries, tombstones included.
    private(set) var count = 0
    private(set) var nodeCount = 1

    init() {
        root = .make(level: 0)
        path = .allocate(capacity: Self.heightMax)
        (spare, other) = (.make(level: 0), .make(level: 0))
        (key, second) = (.allocate(byteCount: 256, alignment: 16), .allocate(byteCount: 256, alignment: 16))
    }

    deinit {
        Self.free(root)
        path.deallocate()
        spare.base.deallocate()
        other.base.deallocate()
        key.deallocate()
        second.deallocate()
    }

    static func free(_ node: OrderedNode) {
        if !node.isLeaf { for index in 0..<node.count { free(node.child(index)) } }
        node.base.deallocate()
    }

    /// Puts nodes that were made elsewhere in the place of an empty index.
    mutating func replace(root new: OrderedNode, nodes: Int, entries: Int) {
        precondition(count == 0)
        Self.free(root)
        (root, nodeCount, count) = (new, nodes, entries)
    }

    /// Bytes of memory.
    var memoryBytes: Int { (nodeCount + 2) * (OrderedNode.bytes + 16) }

    // MARK: One key

    /// The slot of a key; nil if there is none.
    mutating func find(_ key: UnsafeRawBufferPointer) -> Slot? {
        descend(key)
        let (index, isEqual) = leaf.lowerBound(key)
        return isEqual ? Slot(ordered: leaf.payload(index), keyLength: key.count) : nil
    }

    /// Puts a slot in the place of the key's former one, which is returned, or in a new place. With `unlessNewer` a
    /// former one of a higher sequence number stays; then nil.
    @discardableResult
    mutating func put(_ key: UnsafeRawBufferPointer, _ slot: Slot, unlessNewer: Bool = false) -> Slot? {
        var payload: (UInt64, UInt64, UInt64) = (0, 0, 0)
        withUnsafeMutableBytes(of: &payload) { bytes in
            if let base = bytes.baseAddress { slot.storeOrdered(base) }
        }
        while true {
            descend(key)
            let (index, isEqual) = leaf.lowerBound(key)
            if isEqual {
                let before = Slot(ordered: leaf.payload(index), keyLength: key.count)
                if unlessNewer, before.sequence > slot.sequence { return nil }
                slot.storeOrdered(leaf.payload(index))
                return before
            }
            path[depth - 1].index = index
            let leaf = leaf
            let spare = spare
            let isIn = withUnsafeBytes(of: &payload) { bytes in
                bytes.baseAddress.map { leaf.insert(at: index, key, $0, spare: spare) } ?? true
            }
            if isIn {
                count += 1
                return Slot()
            }
            makeRoom(key)
        }
    }

    /// Takes a key out.
    mutating func remove(_ key: UnsafeRawBufferPointer) {
        descend(key)
        let (index, isEqual) = leaf.lowerBound(key)
        guard isEqual else { return }
        leaf.remove(at: index)
        count -= 1
        if leaf.count == 0 { dropNode() } else if leaf.used < Self.sparseBytes { join() }
    }

    // MARK: In order. Every change of the index ends a walk.

    /// Goes to the first key that is not below a key (with `after`: that is above it); false if there is none.
    mutating func seek(_ key: UnsafeRawBufferPointer, after: Bool) -> Bool {
        descend(key)
        let (index, isEqual) = leaf.lowerBound(key)
        path[depth - 1].index = isEqual && after ? index + 1 : index
        return settleForward()
    }

    /// Goes to the last key that is below a key (with `including`: or is it); false if there is none.
    mutating func seekBack(_ key: UnsafeRawBufferPointer, including: Bool) -> Bool {
        descend(key)
        let (index, isEqual) = leaf.lowerBound(key)
        path[depth - 1].index = isEqual && including ? index : index - 1
        return settleBack()
    }

    /// Goes to the last key of all.
    mutating func seekEnd() -> Bool {
        depth = 0
        descendLast(root)
        return settleBack()
    }

    mutating func next() -> Bool {
        path[depth - 1].index += 1
        return settleForward()
    }

    mutating func previous() -> Bool {
        path[depth - 1].index -= 1
        return settleBack()
    }

    /// The slot at which the walk stands.
    var slot: Slot {
        let step = path[depth - 1]
        return Slot(ordered: step.node.payload(step.index), keyLength: step.node.keyLength(step.index))
    }

    /// Copies the key at which the walk stands to where 255 bytes of room are; returns its length.
    func copyKey(into target: UnsafeMutableRawPointer) -> Int {
        path[depth - 1].node.copyKey(path[depth - 1].index, into: target)
    }

    private mutating func settleForward() -> Bool {
        while path[depth - 1].index >= path[depth - 1].node.count {
            depth -= 1
            if depth == 0 { return false }
            path[depth - 1].index += 1
            if path[depth - 1].index < path[depth - 1].node.count {
                var node = path[depth - 1].node.child(path[depth - 1].index)
                while true {
                    push(node, 0)
                    if node.isLeaf { break }
                    node = node.child(0)
                }
            }
        }
        return true
    }

    private mutating func settleBack() -> Bool {
        while path[depth - 1].index < 0 {
            depth -= 1
            if depth == 0 { return false }
            path[depth - 1].index -= 1
            if path[depth - 1].index >= 0 { descendLast(path[depth - 1].node.child(path[depth - 1].index)) }
        }
        return path[depth - 1].node.count > 0
    }

    private mutating func descendLast(_ start: OrderedNode) {
        var node = start
        while true {
            push(node, node.count - 1)
            if node.isLeaf { return }
            node = node.child(node.count - 1)
        }
    }

    // MARK: The way down

    private var leaf: OrderedNode { path[depth - 1].node }

    @inline(__always)
    private mutating func push(_ node: OrderedNode, _ index: Int) {
        precondition(depth < Self.heightMax)
        (path + depth).initialize(to: Step(node: node, index: index))
        depth += 1
    }

    private mutating func descend(_ key: UnsafeRawBufferPointer) {
        depth = 0
        var node = root
        while !node.isLeaf {
            let index = node.childIndex(key)
            push(node, index)
            node = node.child(index)
        }
        push(node, 0)
    }

    // MARK: Room

    /// Makes room on the way to a key that did not fit in its leaf; the caller then looks for its place again.
    private mutating func makeRoom(_ key: UnsafeRawBufferPointer) {
        let at = depth - 1
        let isLast = (0..<at).allSatisfy { path[$0].index == path[$0].node.count - 1 }
        if isLast, path[at].index == path[at].node.count {
            // Behind the last key of all: the next ones will be too. What all its keys share is known only now.
            if tighten(path[at].node) { return }
            let right = makeNode(level: 0)
            let last = path[at].node.copyKey(path[at].node.count - 1, into: self.key)
            let border = Self.border(UnsafeRawBufferPointer(start: self.key, count: last), key)
            insertChild(at, UnsafeRawBufferPointer(rebasing: key.prefix(border)), right)
            return
        }
        if at > 0, share(at, with: path[at - 1].index + 1) || share(at, with: path[at - 1].index - 1) { return }
        split(at)
    }

    /// Keeps what all keys of a leaf begin with only once; false if that frees next to nothing.
    private func tighten(_ node: OrderedNode) -> Bool {
        let gain = (node.longestPrefix(0..<node.count) - node.prefixLength) * node.count
        guard gain >= 256 else { return false }
        spare.take(from: node, 0..<node.count)
        node.copy(spare)
        return true
    }

    private mutating func makeNode(level: Int) -> OrderedNode {
        nodeCount += 1
        return .make(level: level)
    }

    /// How many bytes of `high` tell it from everything up to `low`.
    private static func border(_ low: UnsafeRawBufferPointer, _ high: UnsafeRawBufferPointer) -> Int {
        var same = 0
        while same < low.count, same < high.count, low[same] == high[same] { same += 1 }
        return min(same + 1, high.count)
    }

    /// Cuts the node at a place of the way in two. The way is not valid afterwards.
    private mutating func split(_ at: Int) {
        let node = path[at].node
        let isLast = (0..<at).allSatisfy { path[$0].index == path[$0].node.count - 1 }
        let cut = isLast && !node.isLeaf ? max(1, node.count - 2) : node.middle()
        let right = makeNode(level: node.level)
        let length = borderKey(node, cut)
        right.take(from: node, cut..<node.count)
        spare.take(from: node, 0..<cut)
        node.copy(spare)
        insertChild(at, UnsafeRawBufferPointer(start: second, count: length), right)
    }

    /// Puts into `second` what stands above the border before an entry; returns its length.
    private func borderKey(_ node: OrderedNode, _ cut: Int) -> Int {
        let length = node.copyKey(cut, into: second)
        guard node.isLeaf else { return length }
        let low = node.copyKey(cut - 1, into: key)
        return Self.border(
            UnsafeRawBufferPointer(start: key, count: low), UnsafeRawBufferPointer(start: second, count: length))
    }

    /// Puts a new node to the right of the one at a place of the way.
    private mutating func insertChild(_ at: Int, _ border: UnsafeRawBufferPointer, _ right: OrderedNode) {
        if at == 0 {
            let left = root
            root = makeNode(level: left.level + 1)
            insert(root, 0, UnsafeRawBufferPointer(start: nil, count: 0), left)
            insert(root, 1, border, right)
            return
        }
        let parent = path[at - 1].node
        let index = path[at - 1].index + 1
        if insert(parent, index, border, right) { return }
        // The border may stand in memory that a split above works in.
        var copy = [UInt8](border)
        split(at - 1)
        copy.withUnsafeMutableBytes { bytes in
            let name = UnsafeRawBufferPointer(bytes)
            while true {
                descendTo(level: right.level + 1, name)
                let step = path[depth - 1]
                if insert(step.node, step.index + 1, name, right) { return }
                split(depth - 1)
            }
        }
    }

    /// The way to the node of a level in which a border belongs.
    private mutating func descendTo(level: Int, _ border: UnsafeRawBufferPointer) {
        depth = 0
        var node = root
        while true {
            let index = node.childIndex(border)
            push(node, index)
            if node.level == level { return }
            node = node.child(index)
        }
    }

    @discardableResult
    private func insert(
        _ parent: OrderedNode, _ index: Int, _ border: UnsafeRawBufferPointer, _ child: OrderedNode
    ) -> Bool {
        var address = UInt(bitPattern: child.base)
        return withUnsafeBytes(of: &address) { bytes in
            bytes.baseAddress.map { parent.insert(at: index, border, $0, spare: spare) } ?? false
        }
    }

    /// Levels a full leaf with a neighbour that has room; false if it has none. The way is not valid afterwards.
    private mutating func share(_ at: Int, with neighbour: Int) -> Bool {
        let parent = path[at - 1].node
        guard neighbour >= 0, neighbour < parent.count, parent.child(neighbour).used < Self.roomyBytes else {
            return false
        }
        let here = path[at - 1].index
        let (low, high) = (min(here, neighbour), max(here, neighbour))
        let (left, right) = (parent.child(low), parent.child(high))
        // Half of the difference moves over the border.
        let goesRight = left.used > right.used
        let giver = goesRight ? left : right
        var excess = (giver.used - (goesRight ? right.used : left.used)) / 2
        var moved = 0
        while moved < giver.count - 1, excess > 0 {
            excess -= giver.keyLength(goesRight ? giver.count - 1 - moved : moved) - giver.prefixLength + 21
            moved += 1
        }
        guard moved > 0 else { return false }
        let cut = goesRight ? left.count - moved : moved
        let length = borderKey(giver, cut)
        // `other` becomes the right node and `spare` is for work; the left one is made last.
        let work = OrderedNode.make(level: 0)
        defer { work.base.deallocate() }
        let name = second + 0
        let border = [UInt8](UnsafeRawBufferPointer(start: name, count: length))
        if goesRight {
            other.take(from: left, cut..<left.count)
            guard other.append(from: right, 0..<right.count, key: key, spare: spare) else { return false }
            work.take(from: left, 0..<cut)
        } else {
            work.take(from: left, 0..<left.count)
            guard work.append(from: right, 0..<cut, key: key, spare: spare) else { return false }
            other.take(from: right, cut..<right.count)
        }
        guard replaceBorder(parent, high, border, right) else { return false }
        left.copy(work)
        right.copy(other)
        return true
    }

    /// Changes what stands before a child; false, and nothing changed, if it does not fit.
    private func replaceBorder(
        _ parent: OrderedNode, _ index: Int, _ border: [UInt8], _ child: OrderedNode
    ) -> Bool {
        let length = parent.copyKey(index, into: second)
        parent.remove(at: index)
        if border.withUnsafeBytes({ insert(parent, index, $0, child) }) { return true }
        insert(parent, index, UnsafeRawBufferPointer(start: second, count: length), child)
        return false
    }

    // MARK: Less

    /// Takes the empty leaf at the end of the way out of the tree.
    private mutating func dropNode() {
        var at = depth - 1
        while at > 0, path[at].node.count == 0 {
            path[at].node.base.deallocate()
            nodeCount -= 1
            path[at - 1].node.remove(at: path[at - 1].index)
            at -= 1
        }
        if at == 0, root.count == 0 { root.clear(level: 0) }
        shrinkRoot()
    }

    private mutating func shrinkRoot() {
        while !root.isLeaf, root.count == 1 {
            let child = root.child(0)
            root.base.deallocate()
            nodeCount -= 1
            root = child
        }
    }

    /// Joins the sparse leaf at the end of the way with a neighbour, if both fit in one with room to spare.
    private mutating func join() {
        let at = depth - 1
        guard at > 0 else { return }
        let parent = path[at - 1].node
        let here = path[at - 1].index
        let low = here + 1 < parent.count ? here : here - 1
        guard low >= 0, low + 1 < parent.count else { return }
        let (left, right) = (parent.child(low), parent.child(low + 1))
        guard left.used + right.used < Self.joinedBytes else { return }
        other.take(from: left, 0..<left.count)
        guard other.append(from: right, 0..<right.count, key: key, spare: spare) else { return }
        left.copy(other)
        right.base.deallocate()
        nodeCount -= 1
        parent.remove(at: low + 1)
        shrinkRoot()
    }
}

extension Slot {
    /// Reads what `storeOrdered` wrote.
    @inline(__always)
    init(ordered at: UnsafeRawPointer, keyLength: Int) {
        let version = at.loadUnaligned(as: UInt64.self)
        let sizes = at.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let segment = at.loadUnaligned(fromByteOffset: 16, as: UInt16.self)
        self.init(
            hash: KeyHash(high: 0, low: 0), sequence: version >> 8, segment: Int(segment) << 8 | Int(version & 0xff),
            offset: (sizes >> 32) << 3, valueLength: UInt32(truncatingIfNeeded: sizes) >> 5,
            keyLength: UInt8(truncatingIfNeeded: keyLength), flags: UInt8(truncatingIfNeeded: sizes) & 0x1f)
    }

    /// 18 bytes: sequence (56 bits), position of the segment (its low 8 bits here, its high 16 at the end), offset in
    /// units of 8 bytes (32 bits), length of the value (27 bits), flags (5 bits).
    @inline(__always)
    func storeOrdered(_ at: UnsafeMutableRawPointer) {
        at.storeBytes(of: sequence << 8 | UInt64(segment & 0xff), as: UInt64.self)
        let sizes = offset << 29 | UInt64(valueLength) << 5 | UInt64(flags)
        at.storeBytes(of: sizes, toByteOffset: 8, as: UInt64.self)
        at.storeBytes(of: UInt16(truncatingIfNeeded: segment >> 8), toByteOffset: 16, as: UInt16.self)
    }
}
