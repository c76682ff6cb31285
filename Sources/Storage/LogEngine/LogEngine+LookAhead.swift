internal import CPrefetch
public import Simulation

/// Where on the disk a record lies that is going to be read.
public struct RecordPlace: Sendable {
    /// Its segment's file.
    public let file: DiskFile
    /// Its first byte in there.
    public let offset: UInt64
    /// Its bytes.
    public let length: Int
}

/// The keys of commands that were sent but not executed yet.
///
/// A search in a large index waits for memory, some 100 ns a key, because every key is somewhere else. When several commands
/// are known their keys' memory is asked for at once and comes at once, instead of one after the other.
public struct LookAhead: ~Copyable {
    /// Keys at once: about as many lines as a core fetches side by side.
    public static let keysMax = 16

    private let keys: UnsafeMutablePointer<UnsafeRawBufferPointer>
    private let isRead: UnsafeMutablePointer<Bool>
    fileprivate let hashes: UnsafeMutablePointer<KeyHash>
    /// How many keys there are.
    public private(set) var count = 0

    /// None.
    public init() {
        keys = .allocate(capacity: Self.keysMax)
        isRead = .allocate(capacity: Self.keysMax)
        hashes = .allocate(capacity: Self.keysMax)
    }

    deinit {
        keys.deallocate()
        isRead.deallocate()
        hashes.deallocate()
    }

    /// Forgets all of them.
    @inline(__always)
    public mutating func clear() { count = 0 }

    /// Adds a key, and whether its value will be read. Its bytes have to stay until `LogEngine.lookAhead`.
    @inline(__always)
    public mutating func add(_ key: UnsafeRawBufferPointer, isRead reads: Bool) {
        guard count < Self.keysMax else { return }
        keys[count] = key
        isRead[count] = reads
        count += 1
    }

    fileprivate func key(_ index: Int) -> UnsafeRawBufferPointer { keys[index] }
    fileprivate func isRead(_ index: Int) -> Bool { isRead[index] }
}

extension LogEngine {
    /// Asks for the memory of the keys' places in the index, then says where the records of those lie that are read; returns
    /// how many. Changes nothing and promises nothing: a place may be another one when its command is executed.
    public func lookAhead(
        _ namespace: UInt32, _ ahead: borrowing LookAhead, into places: UnsafeMutablePointer<RecordPlace>
    ) -> Int {
        guard hasNamespace(namespace), let state = namespaces[Int(namespace)], state.pointee.isHashed else { return 0 }
        for index in 0..<ahead.count {
            let hash = hasher.hash(ahead.key(index))
            ahead.hashes[index] = hash
            let home = state.pointee.index.home(hash)
            zg_prefetch(home)
            zg_prefetch(home + 64)
        }
        var found = 0
        for index in 0..<ahead.count where ahead.isRead(index) {
            guard let slot = state.pointee.index.find(ahead.hashes[index])?.pointee, !slot.isTombstone,
                slot.segment != active || slot.offset < segments[active].length
            else { continue }
            places[found] = RecordPlace(
                file: segments[slot.segment].file, offset: slot.offset, length: slot.headBytes + Int(slot.valueLength))
            found += 1
        }
        return found
    }
}
