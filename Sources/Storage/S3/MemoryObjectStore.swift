public import Linux
public import Objects
import Synchronization

/// A store that keeps everything in memory: for trying, and for tests of clients. Nothing outlives it.
public final class MemoryObjectStore: ObjectStore {
    struct Version {
        var value: ObjectVersion
        var data: [MemoryBlock] = []
        var customerKey: [UInt8]?
    }
    struct Pending {
        var upload: Upload
        var parts: [Int: (part: ObjectPart, data: [MemoryBlock])] = [:]
        var customerKey: [UInt8]?
    }
    struct Contents {
        var bucket: Bucket
        /// In order.
        var keys: [ObjectKey] = []
        /// Newest first.
        var versions: [ObjectKey: [Version]] = [:]
        var uploads: [String: Pending] = [:]
    }
    struct State {
        var buckets: [String: Contents] = [:]
        var accessKeys: [String: AccessKey] = [:]
        var sequence: UInt64 = 0
        mutating func next() -> UInt64 {
            sequence += 1
            return sequence
        }
    }
    let state = Mutex(State())
    private let clock: @Sendable () -> Int64

    /// An empty store.
    public init(clock: @escaping @Sendable () -> Int64 = { Clock.wallMilliseconds() }) { self.clock = clock }

    /// This one.
    public var writer: StoreWriter { .here }

    /// Runs with the bucket's contents; the store is locked meanwhile.
    func with<T>(_ bucket: String, _ body: (inout Contents, inout State) throws(ObjectError) -> T) throws(ObjectError)
        -> T
    {
        try state.withLock { state throws(ObjectError) in
            guard var contents = state.buckets.removeValue(forKey: bucket) else { throw .noSuchBucket(bucket) }
            defer { state.buckets[bucket] = contents }
            return try body(&contents, &state)
        }
    }
    var now: Int64 { clock() }

    // Buckets

    /// Makes a bucket.
    public func createBucket(_ bucket: Bucket) throws(ObjectError) {
        try state.withLock { state throws(ObjectError) in
            if let found = state.buckets[bucket.name] { throw .bucketExists(bucket.name, owner: found.bucket.owner) }
            state.buckets[bucket.name] = Contents(bucket: bucket)
        }
    }
    /// Removes an empty bucket.
    public func deleteBucket(_ name: String) throws(ObjectError) {
        try state.withLock { state throws(ObjectError) in
            guard let found = state.buckets[name] else { throw .noSuchBucket(name) }
            if !found.keys.isEmpty { throw .bucketNotEmpty(name) }
            state.buckets[name] = nil
        }
    }
    /// The bucket.
    public func bucket(_ name: String) throws(ObjectError) -> Bucket {
        try with(name) { contents, _ throws(ObjectError) in contents.bucket }
    }
    /// All buckets, by name.
    public func buckets() throws(ObjectError) -> [Bucket] {
        state.withLock { $0.buckets.values.map(\.bucket) }.sorted { $0.name < $1.name }
    }
    /// Sets whether former versions are kept.
    public func setVersioning(_ bucket: String, _ versioning: Versioning) throws(ObjectError) {
        try with(bucket) { contents, _ throws(ObjectError) in contents.bucket.versioning = versioning }
    }
    /// Sets or removes a setting.
    public func setSetting(_ bucket: String, _ name: String, _ value: [UInt8]?) throws(ObjectError) {
        try with(bucket) { contents, _ throws(ObjectError) in contents.bucket.settings[name] = value }
    }

    // Keys of users

    /// The key of that id.
    public func accessKey(_ id: String) throws(ObjectError) -> AccessKey? { state.withLock { $0.accessKeys[id] } }
    /// All keys, by id.
    public func accessKeys() throws(ObjectError) -> [AccessKey] {
        state.withLock { Array($0.accessKeys.values) }.sorted { $0.id < $1.id }
    }
    /// Adds or replaces a key.
    public func setAccessKey(_ key: AccessKey) throws(ObjectError) { state.withLock { $0.accessKeys[key.id] = key } }
    /// Revokes a key.
    public func removeAccessKey(_ id: String) throws(ObjectError) { state.withLock { $0.accessKeys[id] = nil } }
}

/// A piece of memory with data.
final class MemoryBlock: @unchecked Sendable {  // written before it is shared, never after
    static let size = 1 << 20
    let bytes: UnsafeMutableRawBufferPointer
    var count = 0
    init(_ size: Int) { bytes = .allocate(byteCount: size, alignment: 64) }
    deinit { bytes.deallocate() }
}

final class MemoryData: StoredData {
    let blocks: [MemoryBlock]
    let size: Int64
    let customerKey: [UInt8]?
    init(_ blocks: [MemoryBlock], customerKey: [UInt8]?) {
        (self.blocks, self.customerKey) = (blocks, customerKey)
        size = blocks.reduce(0) { $0 + Int64($1.count) }
    }
}

final class MemoryWriter: ObjectWriter {
    private var blocks: [MemoryBlock] = []
    private let customerKey: [UInt8]?
    init(_ customerKey: [UInt8]?) { self.customerKey = customerKey }
    func write(_ bytes: UnsafeRawBufferPointer) throws(ObjectError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if blocks.last.map({ $0.count == $0.bytes.count }) ?? true {
                // The first is small: most objects are.
                blocks.append(
                    MemoryBlock(blocks.isEmpty ? max(4096, min(rest.count, MemoryBlock.size)) : MemoryBlock.size))
            }
            guard let block = blocks.last else { return }
            let count = min(rest.count, block.bytes.count - block.count)
            UnsafeMutableRawBufferPointer(rebasing: block.bytes[block.count...]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: rest.prefix(count)))
            block.count += count
            rest = rest.dropFirst(count)
        }
    }
    func finish() throws(ObjectError) -> any StoredData { MemoryData(blocks, customerKey: customerKey) }
    func abandon() { blocks = [] }
}

final class MemoryReader: ObjectReader {
    let version: ObjectVersion
    private let blocks: [MemoryBlock]
    private var index = 0
    private var start: Int64 = 0
    init(_ version: ObjectVersion, _ blocks: [MemoryBlock]) { (self.version, self.blocks) = (version, blocks) }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectError) -> Int {
        if offset < start { (index, start) = (0, 0) }
        var filled = 0
        while filled < buffer.count, index < blocks.count {
            let block = blocks[index]
            let within = offset + Int64(filled) - start
            if within >= Int64(block.count) {
                start += Int64(block.count)
                index += 1
                continue
            }
            let count = min(buffer.count - filled, block.count - Int(within))
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + count]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: block.bytes[Int(within)..<Int(within) + count]))
            filled += count
        }
        return filled
    }
}
