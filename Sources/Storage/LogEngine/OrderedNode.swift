#if canImport(Glibc)
import Glibc
#endif

/// One node of an `OrderedIndex`: raw memory that holds keys in order, each with a few bytes of payload.
///
/// Layout: a header of 8 bytes (count u16, start of the heap u16, dead bytes of the heap u16, length of the prefix u8,
/// level u8), one place for each entry (its offset u16, its head u16), free space, the heap of entries, and at the very
/// end the bytes with which all keys begin. What follows these in a key is its rest: the first two bytes of it are the
/// head, a number in the order of keys, so that a search seldom leaves the places; an entry is the length of the
/// rest (u8), the payload, and the rest behind the head. In a node above the leaves the first key is not looked at: it
/// stands for everything below the second.
struct OrderedNode {
    /// With the allocator's own bytes a page.
    static let bytes = 4080
    static let headerBytes = 8
    private static let placeBytes = 4
    private static let headLength = 2
    static let leafPayload = 18
    static let childPayload = 8

    let base: UnsafeMutableRawPointer

    /// Memory for a node, empty.
    static func make(level: Int) -> OrderedNode {
        let node = OrderedNode(base: .allocate(byteCount: bytes, alignment: 16))
        node.clear(level: level)
        return node
    }

    func clear(level: Int) {
        (count, heapStart, dead, prefixLength) = (0, Self.bytes, 0, 0)
        base.storeBytes(of: UInt8(truncatingIfNeeded: level), toByteOffset: 7, as: UInt8.self)
    }

    // MARK: Header

    var count: Int {
        get { Int(base.load(as: UInt16.self)) }
        nonmutating set { base.storeBytes(of: UInt16(truncatingIfNeeded: newValue), as: UInt16.self) }
    }
    private var heapStart: Int {
        get { Int(base.load(fromByteOffset: 2, as: UInt16.self)) }
        nonmutating set {
            base.storeBytes(of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 2, as: UInt16.self)
        }
    }
    private var dead: Int {
        get { Int(base.load(fromByteOffset: 4, as: UInt16.self)) }
        nonmutating set {
            base.storeBytes(of: UInt16(truncatingIfNeeded: newValue), toByteOffset: 4, as: UInt16.self)
        }
    }
    var prefixLength: Int {
        get { Int(base.load(fromByteOffset: 6, as: UInt8.self)) }
        nonmutating set { base.storeBytes(of: UInt8(truncatingIfNeeded: newValue), toByteOffset: 6, as: UInt8.self) }
    }
    var level: Int { Int(base.load(fromByteOffset: 7, as: UInt8.self)) }
    var isLeaf: Bool { level == 0 }
    private var payloadBytes: Int { isLeaf ? Self.leafPayload : Self.childPayload }
    private var prefix: UnsafeMutableRawPointer { base + (Self.bytes - prefixLength) }

    /// Bytes in use.
    var used: Int { Self.headerBytes + Self.placeBytes * count + (Self.bytes - heapStart) - dead }

    /// Whether all that it says of itself lies within it: nothing else is read or written, whatever it holds.
    var isPlausible: Bool {
        let places = Self.headerBytes + Self.placeBytes * count
        guard places <= heapStart, heapStart <= Self.bytes - prefixLength, dead <= Self.bytes, level < 24 else {
            return false
        }
        for index in 0..<count {
            let at = Int(place(index).load(as: UInt16.self))
            guard at >= heapStart, at < Self.bytes - prefixLength,
                at + entryBytes(index) <= Self.bytes - prefixLength
            else { return false }
        }
        return true
    }

    // MARK: Entries

    @inline(__always)
    private func place(_ index: Int) -> UnsafeMutableRawPointer { base + Self.headerBytes + Self.placeBytes * index }
    @inline(__always)
    private func entry(_ index: Int) -> UnsafeMutableRawPointer { base + Int(place(index).load(as: UInt16.self)) }
    @inline(__always)
    private func head(_ index: Int) -> UInt16 { place(index).load(fromByteOffset: 2, as: UInt16.self) }
    @inline(__always)
    private func restLength(_ index: Int) -> Int { Int(entry(index).load(as: UInt8.self)) }
    /// The rest behind the head.
    @inline(__always)
    private func tail(_ index: Int) -> UnsafeMutableRawPointer { entry(index) + 1 + payloadBytes }
    @inline(__always)
    private static func tailLength(_ rest: Int) -> Int { max(0, rest - headLength) }
    private func entryBytes(_ index: Int) -> Int { 1 + payloadBytes + Self.tailLength(restLength(index)) }

    /// The first bytes of a rest as a number; those that it does not have are zero.
    @inline(__always)
    private static func head(_ rest: UnsafeRawPointer, _ count: Int) -> UInt16 {
        if count >= 2 { return UInt16(bigEndian: rest.loadUnaligned(as: UInt16.self)) }
        return count == 1 ? UInt16(rest.load(as: UInt8.self)) << 8 : 0
    }

    /// The payload of an entry, to be read and written in place.
    @inline(__always)
    func payload(_ index: Int) -> UnsafeMutableRawPointer { entry(index) + 1 }
    /// The child of an entry.
    func child(_ index: Int) -> OrderedNode {
        let address = payload(index).loadUnaligned(as: UInt.self)
        return OrderedNode(base: UnsafeMutableRawPointer(bitPattern: address) ?? base)
    }

    func keyLength(_ index: Int) -> Int { prefixLength + restLength(index) }

    /// Copies an entry's key to where 256 bytes of room are; returns its length.
    @discardableResult
    func copyKey(_ index: Int, into target: UnsafeMutableRawPointer) -> Int {
        let shared = prefixLength
        target.copyMemory(from: prefix, byteCount: shared)
        let count = restLength(index)
        let first = head(index)
        if count > 0 { target.storeBytes(of: UInt8(first >> 8), toByteOffset: shared, as: UInt8.self) }
        if count > 1 { target.storeBytes(of: UInt8(first & 0xff), toByteOffset: shared + 1, as: UInt8.self) }
        (target + shared + Self.headLength).copyMemory(from: tail(index), byteCount: Self.tailLength(count))
        return shared + count
    }

    /// The first entry whose key is not below a key, and whether it is that key. Entries before `from` are not looked
    /// at.
    func lowerBound(_ key: UnsafeRawBufferPointer, from: Int = 0) -> (index: Int, isEqual: Bool) {
        guard let bytes = key.baseAddress else { return (from, false) }
        let shared = prefixLength
        if shared > 0 {
            let order = memcmp(bytes, prefix, min(shared, key.count))
            if order > 0 { return (count, false) }
            if order < 0 || key.count < shared { return (from, false) }
        }
        let (wanted, wantedCount) = (bytes + shared, key.count - shared)
        let wantedHead = Self.head(wanted, wantedCount)
        let wantedTail = Self.tailLength(wantedCount)
        var (low, high) = (from, count)
        while low < high {
            let middle = (low + high) >> 1
            let first = head(middle)
            if first != wantedHead {
                if first < wantedHead { low = middle + 1 } else { high = middle }
                continue
            }
            let length = restLength(middle)
            let both = min(Self.tailLength(length), wantedTail)
            var order = both == 0 ? 0 : memcmp(tail(middle), wanted + Self.headLength, both)
            if order == 0 { order = length < wantedCount ? -1 : (length > wantedCount ? 1 : 0) }
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    /// The child in which a key belongs.
    func childIndex(_ key: UnsafeRawBufferPointer) -> Int {
        let (index, isEqual) = lowerBound(key, from: 1)
        return isEqual ? index : index - 1
    }

    // MARK: Changes

    /// Puts an entry; false if there is no room for it, and then nothing has changed. `spare` is a node to work in.
    func insert(
        at index: Int, _ key: UnsafeRawBufferPointer, _ payload: UnsafeRawPointer, spare: OrderedNode
    ) -> Bool {
        let isUnread = !isLeaf && index == 0
        let shared = isUnread ? prefixLength : sharedPrefix(key)
        if shared < prefixLength {
            let grown = used + (prefixLength - shared) * (count - 1)
            guard grown + 5 + payloadBytes + key.count - shared <= Self.bytes else { return false }
            spare.take(from: self, 0..<count, prefix: shared)
            copy(spare)
        }
        let restCount = isUnread ? 0 : key.count - prefixLength
        let size = 1 + payloadBytes + Self.tailLength(restCount)
        if heapStart - Self.headerBytes - Self.placeBytes * count < size + Self.placeBytes {
            guard used + size + Self.placeBytes <= Self.bytes else { return false }
            spare.take(from: self, 0..<count, prefix: prefixLength)
            copy(spare)
        }
        let at = heapStart - size
        heapStart = at
        let slot = place(index)
        memmove(slot + Self.placeBytes, slot, Self.placeBytes * (count - index))
        count += 1
        write(
            index, at, payload, (key.baseAddress ?? UnsafeRawPointer(base)) + (isUnread ? 0 : prefixLength), restCount)
        return true
    }

    /// Writes an entry and its place.
    private func write(
        _ index: Int, _ at: Int, _ payload: UnsafeRawPointer, _ rest: UnsafeRawPointer, _ restCount: Int
    ) {
        (base + at).storeBytes(of: UInt8(truncatingIfNeeded: restCount), as: UInt8.self)
        (base + at + 1).copyMemory(from: payload, byteCount: payloadBytes)
        if restCount > Self.headLength {
            (base + at + 1 + payloadBytes).copyMemory(
                from: rest + Self.headLength, byteCount: restCount - Self.headLength)
        }
        place(index).storeBytes(of: UInt16(truncatingIfNeeded: at), as: UInt16.self)
        place(index).storeBytes(of: Self.head(rest, restCount), toByteOffset: 2, as: UInt16.self)
    }

    func remove(at index: Int) {
        dead += entryBytes(index)
        let slot = place(index)
        memmove(slot, slot + Self.placeBytes, Self.placeBytes * (count - index - 1))
        count -= 1
    }

    /// Makes this node hold some entries of another, with the longest prefix that all of them have.
    func take(from other: OrderedNode, _ range: Range<Int>) {
        take(from: other, range, prefix: other.longestPrefix(range))
    }

    /// Adds entries of another node behind those that are here; there must be room.
    func append(from other: OrderedNode, _ range: Range<Int>, key: UnsafeMutableRawPointer, spare: OrderedNode) -> Bool
    {
        for index in range {
            let length = other.copyKey(index, into: key)
            let name = UnsafeRawBufferPointer(start: key, count: length)
            if !insert(at: count, name, other.payload(index), spare: spare) { return false }
        }
        return true
    }

    func copy(_ other: OrderedNode) { base.copyMemory(from: other.base, byteCount: Self.bytes) }

    /// Where to cut so that both halves have about the same bytes.
    func middle() -> Int {
        var sum = 0
        for index in 0..<count {
            sum += Self.placeBytes + entryBytes(index)
            if sum * 2 >= used { return max(1, min(index + 1, count - 1)) }
        }
        return max(1, count - 1)
    }

    private func take(from other: OrderedNode, _ range: Range<Int>, prefix length: Int) {
        clear(level: other.level)
        prefixLength = length
        withUnsafeTemporaryAllocation(byteCount: 256, alignment: 16) { buffer in
            guard let key = buffer.baseAddress else { return }
            if length > 0, let last = range.last {
                other.copyKey(last, into: key)
                prefix.copyMemory(from: last == range.lowerBound ? other.prefix : key, byteCount: length)
            }
            var at = Self.bytes - length
            count = range.count
            for (index, from) in range.enumerated() {
                let isUnread = !other.isLeaf && from == range.lowerBound
                let restCount = isUnread ? 0 : other.copyKey(from, into: key) - length
                at -= 1 + payloadBytes + Self.tailLength(restCount)
                write(index, at, other.payload(from), key + (isUnread ? 0 : length), restCount)
            }
            heapStart = at
        }
    }

    /// The bytes that all keys of a range begin with.
    func longestPrefix(_ range: Range<Int>) -> Int {
        let first = isLeaf ? range.lowerBound : range.lowerBound + 1
        guard first < range.upperBound else { return isLeaf || range.isEmpty ? 0 : prefixLength }
        // One key alone would be all prefix, and the next one would have to take that back.
        if first == range.upperBound - 1 { return prefixLength }
        return withUnsafeTemporaryAllocation(byteCount: 512, alignment: 16) { buffer in
            guard let one = buffer.baseAddress else { return prefixLength }
            let limit = min(copyKey(first, into: one), copyKey(range.upperBound - 1, into: one + 256))
            var same = prefixLength
            while same < limit, buffer[same] == buffer[256 + same] { same += 1 }
            return same
        }
    }

    /// How much of the prefix a key begins with.
    private func sharedPrefix(_ key: UnsafeRawBufferPointer) -> Int {
        let limit = min(prefixLength, key.count)
        var same = 0
        let prefix = prefix
        while same < limit, prefix.load(fromByteOffset: same, as: UInt8.self) == key[same] { same += 1 }
        return same
    }
}
