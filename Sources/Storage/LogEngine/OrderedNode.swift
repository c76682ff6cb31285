#if canImport(Glibc)
import Glibc
#endif

/// One node of an `OrderedIndex`: raw memory that holds keys in order, each with a few bytes of payload.
///
/// Layout: a header of 8 bytes (count u16, start of the heap u16, dead bytes of the heap u16, length of the prefix u8,
/// level u8), the offsets of the entries (u16 each), free space, the heap of entries, and at the very end the bytes
/// with which all keys begin. An entry is the length of the key's rest (u8), the payload, the rest. In a node above
/// the leaves the first key is not looked at: it stands for everything below the second.
struct OrderedNode {
    /// With the allocator's own bytes a page.
    static let bytes = 4080
    static let headerBytes = 8
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
    var used: Int { Self.headerBytes + 2 * count + (Self.bytes - heapStart) - dead }

    // MARK: Entries

    @inline(__always)
    private func entry(_ index: Int) -> UnsafeMutableRawPointer {
        base + Int(base.load(fromByteOffset: Self.headerBytes + 2 * index, as: UInt16.self))
    }
    @inline(__always)
    private func restLength(_ index: Int) -> Int { Int(entry(index).load(as: UInt8.self)) }
    @inline(__always)
    private func rest(_ index: Int) -> UnsafeMutableRawPointer { entry(index) + 1 + payloadBytes }
    /// The payload of an entry, to be read and written in place.
    @inline(__always)
    func payload(_ index: Int) -> UnsafeMutableRawPointer { entry(index) + 1 }
    /// The child of an entry.
    func child(_ index: Int) -> OrderedNode {
        let address = payload(index).loadUnaligned(as: UInt.self)
        return OrderedNode(base: UnsafeMutableRawPointer(bitPattern: address) ?? base)
    }

    func keyLength(_ index: Int) -> Int { prefixLength + restLength(index) }

    /// Copies an entry's key to where 255 bytes of room are; returns its length.
    @discardableResult
    func copyKey(_ index: Int, into target: UnsafeMutableRawPointer) -> Int {
        target.copyMemory(from: prefix, byteCount: prefixLength)
        let count = restLength(index)
        (target + prefixLength).copyMemory(from: rest(index), byteCount: count)
        return prefixLength + count
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
        var (low, high) = (from, count)
        while low < high {
            let middle = (low + high) >> 1
            let length = restLength(middle)
            var order = memcmp(rest(middle), wanted, min(length, wantedCount))
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
            guard grown + 3 + payloadBytes + key.count - shared <= Self.bytes else { return false }
            spare.take(from: self, 0..<count, prefix: shared)
            copy(spare)
        }
        let restCount = isUnread ? 0 : key.count - prefixLength
        let size = 1 + payloadBytes + restCount
        if heapStart - Self.headerBytes - 2 * count < size + 2 {
            guard used + size + 2 <= Self.bytes else { return false }
            spare.take(from: self, 0..<count, prefix: prefixLength)
            copy(spare)
        }
        let at = heapStart - size
        heapStart = at
        (base + at).storeBytes(of: UInt8(truncatingIfNeeded: restCount), as: UInt8.self)
        (base + at + 1).copyMemory(from: payload, byteCount: payloadBytes)
        if restCount > 0, let bytes = key.baseAddress {
            (base + at + 1 + payloadBytes).copyMemory(from: bytes + prefixLength, byteCount: restCount)
        }
        let slot = base + Self.headerBytes + 2 * index
        memmove(slot + 2, slot, 2 * (count - index))
        slot.storeBytes(of: UInt16(truncatingIfNeeded: at), as: UInt16.self)
        count += 1
        return true
    }

    func remove(at index: Int) {
        dead += 1 + payloadBytes + restLength(index)
        let slot = base + Self.headerBytes + 2 * index
        memmove(slot, slot + 2, 2 * (count - index - 1))
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
            sum += 3 + payloadBytes + restLength(index)
            if sum * 2 >= used { return max(1, min(index + 1, count - 1)) }
        }
        return max(1, count - 1)
    }

    private func take(from other: OrderedNode, _ range: Range<Int>, prefix length: Int) {
        clear(level: other.level)
        prefixLength = length
        var at = Self.bytes - length
        let source = other.prefixLength
        if length > 0, let first = range.first(where: { other.isLeaf || $0 > range.lowerBound }) {
            // The other's prefix, and as much of a key's rest as all keys share beyond it.
            (base + at).copyMemory(from: other.prefix, byteCount: min(length, source))
            if length > source { (base + at + source).copyMemory(from: other.rest(first), byteCount: length - source) }
        }
        var index = 0
        for from in range {
            let isUnread = !other.isLeaf && from == range.lowerBound
            let restCount = isUnread ? 0 : other.restLength(from) + source - length
            at -= 1 + payloadBytes + restCount
            (base + at).storeBytes(of: UInt8(truncatingIfNeeded: restCount), as: UInt8.self)
            (base + at + 1).copyMemory(from: other.payload(from), byteCount: payloadBytes)
            if !isUnread {
                let target = base + at + 1 + payloadBytes
                if length < source { target.copyMemory(from: other.prefix + length, byteCount: source - length) }
                let skipped = max(0, length - source)
                (target + max(0, source - length)).copyMemory(
                    from: other.rest(from) + skipped, byteCount: other.restLength(from) - skipped)
            }
            let slot = base + Self.headerBytes + 2 * index
            slot.storeBytes(of: UInt16(truncatingIfNeeded: at), as: UInt16.self)
            index += 1
        }
        count = index
        heapStart = at
    }

    /// The bytes that all keys of a range begin with.
    private func longestPrefix(_ range: Range<Int>) -> Int {
        let first = isLeaf ? range.lowerBound : range.lowerBound + 1
        guard first < range.upperBound else { return isLeaf || range.isEmpty ? 0 : prefixLength }
        let last = range.upperBound - 1
        // One key alone would be all prefix, and the next one would have to take that back.
        if first == last { return prefixLength }
        let limit = min(restLength(first), restLength(last))
        let (one, two) = (rest(first), rest(last))
        var same = 0
        while same < limit,
            one.load(fromByteOffset: same, as: UInt8.self) == two.load(fromByteOffset: same, as: UInt8.self)
        {
            same += 1
        }
        return prefixLength + same
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
