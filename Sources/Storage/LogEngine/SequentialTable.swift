import Simulation

/// What a table knows of one id: 24 bytes. An entry whose sequence is 0 is empty.
struct TableEntry {
    static let bytes = 24

    var sequence: UInt64 = 0
    /// As in a slot: 32 bits of the offset in units of 8 bytes, 27 bits of value length, 5 bits of flags.
    var sizes: UInt64 = 0
    /// The segment's number, which unlike its position is the same after a restart.
    var segment: UInt64 = 0

    init() {}

    init(_ at: UnsafeRawPointer) {
        sequence = UInt64(littleEndian: at.loadUnaligned(as: UInt64.self))
        sizes = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        segment = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
    }

    func store(_ at: UnsafeMutableRawPointer) {
        at.storeBytes(of: sequence.littleEndian, as: UInt64.self)
        at.storeBytes(of: sizes.littleEndian, toByteOffset: 8, as: UInt64.self)
        at.storeBytes(of: segment.littleEndian, toByteOffset: 16, as: UInt64.self)
    }

    var isEmpty: Bool { sequence == 0 }
    var isTombstone: Bool { UInt8(truncatingIfNeeded: sizes) & Slot.tombstone != 0 }
    /// Where the record stands in its segment.
    var offset: UInt64 { (sizes >> 32) << 3 }
    /// What the id counts towards a quota.
    var payloadBytes: UInt64 { isTombstone ? 0 : UInt64(UInt32(truncatingIfNeeded: sizes) >> 5) + 8 }
}

/// From the ids of one sequential namespace to the places of their records: a file beside the log, written in place.
///
/// The file is derived. It says up to which sequence number it is whole; at a start the records behind that are put
/// again, every page is checked, and where anything is in doubt the file is made anew from the log.
final class SequentialTable {
    static let pageBytes = 4096
    static let pageHeaderBytes = 16
    static let entriesPerPage = (pageBytes - pageHeaderBytes) / TableEntry.bytes
    /// Space is reserved for so many pages at a time.
    private static let reservedPages = 64
    private static let magic: UInt64 = 0x4449_4244_4f52_455a
    private static let headerBytes = 96

    /// What a checkpoint says.
    struct Checkpoint {
        var generation: UInt64 = 0
        /// Every record up to here is in the pages.
        var sequence: UInt64 = 0
        var nextId: UInt64 = 0
        var pages: UInt64 = 0
        /// Pages that are not all zeros.
        var filled: UInt64 = 0
    }

    let namespace: UInt32
    let device: (UInt64, UInt64)
    private let cache: TableCache
    private(set) var file: DiskFile
    private(set) var checkpoint = Checkpoint()
    /// The id that the next new value gets.
    var nextId: UInt64 = 0
    /// Pages that the file has room for.
    private(set) var roomPages = 0
    /// Pages that are not all zeros.
    var filled: UInt64 = 0
    /// Pages written since the last sync.
    private(set) var unsynced = 0
    /// Bytes of records that entries name, by segment's position. Sums only, so its order does not matter.
    var live: [Int: UInt64] = [:]
    /// The newest record that an entry was changed for.
    private(set) var lastChange: UInt64 = 0
    /// Frame of each page that is in memory, or -1.
    var frames: [Int32] = []
    /// Something about it cannot be right; it has to be made anew.
    var isInDoubt = false

    static func name(_ namespace: UInt32) -> String {
        let digits = String(namespace, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits + ".ids"
    }

    static func namespace(_ name: String) -> UInt32? {
        guard name.hasSuffix(".ids"), name.utf8.count == 12 else { return nil }
        return UInt32(name.prefix(8), radix: 16)
    }

    /// Opens the namespace's table; without a valid checkpoint it begins empty.
    init(_ namespace: UInt32, device: (UInt64, UInt64), cache: TableCache) throws(LogError) {
        (self.namespace, self.device, self.cache) = (namespace, device, cache)
        let name = Self.name(namespace)
        do throws(DiskError) { file = try cache.disk.open(name, create: false) } catch {
            guard error == .missing else { throw .disk(error) }
            file = try cache.disk.opening(name, create: true)
            cache.add(self)
            return
        }
        cache.add(self)
        if let found = try readCheckpoint() {
            checkpoint = found
            nextId = found.nextId
            roomPages = max(0, Int(try cache.disk.measuring(file) / UInt64(Self.pageBytes)) - 1)
            frames = [Int32](repeating: -1, count: roomPages)
        } else {
            try clear()
        }
    }

    /// Begins anew, empty.
    func clear() throws(LogError) {
        cache.drop(self)
        cache.disk.close(file)
        let name = Self.name(namespace)
        do throws(DiskError) { try cache.disk.remove(name) } catch { if error != .missing { throw .disk(error) } }
        file = try cache.disk.opening(name, create: true)
        (checkpoint, nextId, roomPages, isInDoubt) = (Checkpoint(), 0, 0, false)
        (filled, lastChange) = (0, 0)
        frames = []
    }

    /// Ends the use of the table and removes its file.
    func remove() throws(LogError) {
        cache.remove(self)
        cache.disk.close(file)
        do throws(DiskError) { try cache.disk.remove(Self.name(namespace)) } catch {
            if error != .missing { throw .disk(error) }
        }
    }

    /// Ends the use of the table.
    func close() {
        cache.remove(self)
        cache.disk.close(file)
    }

    // MARK: Ids

    static func page(_ id: UInt64) -> Int { Int(id / UInt64(entriesPerPage)) }
    static func offset(_ id: UInt64) -> Int { pageHeaderBytes + Int(id % UInt64(entriesPerPage)) * TableEntry.bytes }
    static func position(_ page: Int) -> UInt64 { UInt64(page + 1) * UInt64(pageBytes) }

    /// What the table knows of an id.
    func entry(_ id: UInt64) throws(LogError) -> TableEntry {
        if id >= nextId || Self.page(id) >= roomPages { return TableEntry() }
        let frame = try cache.frame(self, Self.page(id))
        return TableEntry(cache.memory(frame) + Self.offset(id))
    }

    /// Changes what the table knows of an id. `sequence` is the record that the change is about, which until the page
    /// is written is not in the file; the page is not written before `durable` is on stable storage.
    func put(_ id: UInt64, _ entry: TableEntry, sequence: UInt64, durable: UInt64) throws(LogError) {
        if Self.page(id) >= roomPages {
            do throws(LogError) { try reserve(id) } catch {
                guard error == .full else { throw error }
                // The record is in the log, so its page stays in memory until there is space for it.
                addRoom(Self.page(id) + 1)
            }
        }
        let frame = try cache.frame(self, Self.page(id))
        if cache.takeBlank(frame) { filled += 1 }
        entry.store(cache.memory(frame) + Self.offset(id))
        cache.noteChange(frame, sequence, durable)
        lastChange = max(lastChange, entry.sequence)
        if !entry.isEmpty, id >= nextId { nextId = id + 1 }
    }

    /// Makes sure that a new id can be put without a failure.
    func prepare(_ id: UInt64) throws(LogError) {
        try reserve(id)
        _ = try cache.frame(self, Self.page(id))
    }

    /// Makes sure that the page of an id cannot lack space.
    func reserve(_ id: UInt64) throws(LogError) {
        let page = Self.page(id)
        guard page >= roomPages else { return }
        let wanted = page + 1 + Self.reservedPages
        for count in [wanted, page + 1] {
            do throws(DiskError) {
                try cache.disk.reserve(file, length: Self.position(count))
                addRoom(count)
                return
            } catch {
                if error == .crashed { throw .disk(error) }
                if error != .full { throw .readOnly }
            }
        }
        throw .full
    }

    private func addRoom(_ pages: Int) {
        frames += [Int32](repeating: -1, count: pages - roomPages)
        roomPages = pages
    }

    // MARK: Pages and checkpoints on the disk

    /// Reads a page into memory; false if it is damaged.
    func read(_ page: Int, into memory: UnsafeMutableRawPointer) throws(LogError) -> Bool {
        do throws(DiskError) { try cache.disk.read(file, at: Self.position(page), memory, Self.pageBytes) } catch {
            if error == .crashed { throw .disk(error) }
            // Behind the end nothing was written yet, whatever was reserved.
            guard error == .short else { return false }
            memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.pageBytes)
            return true
        }
        return isValid(page, memory)
    }

    /// Whether a page is what was written, or was never written.
    func isValid(_ page: Int, _ memory: UnsafeRawPointer) -> Bool {
        let checksum = UInt32(littleEndian: memory.load(as: UInt32.self))
        if checksum == 0, Self.isZero(memory) { return true }
        if cache.trustsPages { return true }
        return checksum == Format.checksum(memory + 4, Self.pageBytes - 4)
            && UInt32(littleEndian: memory.load(fromByteOffset: 4, as: UInt32.self)) == namespace
            && UInt64(littleEndian: memory.load(fromByteOffset: 8, as: UInt64.self)) == UInt64(page)
    }

    static func isZero(_ memory: UnsafeRawPointer) -> Bool {
        for offset in stride(from: 0, to: pageBytes, by: 8)
        where memory.load(fromByteOffset: offset, as: UInt64.self) != 0 {
            return false
        }
        return true
    }

    /// Writes a page of memory to its place.
    func write(_ page: Int, _ memory: UnsafeMutableRawPointer) throws(DiskError) {
        memory.storeBytes(of: namespace.littleEndian, toByteOffset: 4, as: UInt32.self)
        memory.storeBytes(of: UInt64(page).littleEndian, toByteOffset: 8, as: UInt64.self)
        let checksum = Format.checksum(memory + 4, Self.pageBytes - 4)
        memory.storeBytes(of: checksum.littleEndian, as: UInt32.self)
        try cache.disk.write(
            file, at: Self.position(page), RawSpan(_unsafeStart: memory, byteCount: Self.pageBytes))
        unsynced += 1
    }

    /// Makes the pages that were written durable.
    func sync() throws(DiskError) {
        try cache.disk.sync(file)
        unsynced = 0
    }

    /// Says that every record up to a sequence number is in the pages. They must have been written.
    func write(_ new: Checkpoint) throws(DiskError) {
        try sync()
        var checkpoint = new
        checkpoint.generation = self.checkpoint.generation + 1
        let block = encode(checkpoint)
        // The other copy stays until this one is on stable storage: the next checkpoint begins with a sync.
        let at = checkpoint.generation & 1 == 0 ? 0 : UInt64(Format.headerCopyOffset)
        try cache.disk.write(file, at: at, block.span.bytes)
        self.checkpoint = checkpoint
    }

    private func encode(_ checkpoint: Checkpoint) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: Self.headerBytes)
        block.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            let words: [(Int, UInt64)] = [
                (0, Self.magic), (8, 1), (16, device.0), (24, device.1),
                (32, UInt64(namespace) | UInt64(TableEntry.bytes) << 32), (40, checkpoint.generation),
                (48, checkpoint.sequence), (56, checkpoint.nextId), (64, checkpoint.pages), (72, checkpoint.filled),
            ]
            for (offset, word) in words {
                base.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt64.self)
            }
            base.storeBytes(of: Self.checksum(base).littleEndian, toByteOffset: 12, as: UInt32.self)
        }
        return block
    }

    private static func checksum(_ at: UnsafeRawPointer) -> UInt32 {
        ~Format.checksum(Format.checksum(~0, at, 12), at + 16, headerBytes - 16)
    }

    /// The newest valid copy of the checkpoint.
    private func readCheckpoint() throws(LogError) -> Checkpoint? {
        var newest: Checkpoint?
        for start in [0, Format.headerCopyOffset] {
            var block = [UInt8](repeating: 0, count: Self.headerBytes)
            var failure: DiskError?
            block.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                do throws(DiskError) { try cache.disk.read(file, at: UInt64(start), base, Self.headerBytes) } catch {
                    failure = error
                }
            }
            if failure == .crashed { throw .disk(.crashed) }
            if failure != nil { continue }
            if let found = block.withUnsafeBytes({ decode($0) }), found.generation >= newest?.generation ?? 0 {
                newest = found
            }
        }
        return newest
    }

    private func decode(_ bytes: UnsafeRawBufferPointer) -> Checkpoint? {
        guard let base = bytes.baseAddress else { return nil }
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        let checksum = UInt32(truncatingIfNeeded: word(8) >> 32)
        guard word(0) == Self.magic, UInt32(truncatingIfNeeded: word(8)) == 1, checksum == Self.checksum(base),
            (word(16), word(24)) == device, word(32) == UInt64(namespace) | UInt64(TableEntry.bytes) << 32
        else { return nil }
        return Checkpoint(
            generation: word(40), sequence: word(48), nextId: word(56), pages: word(64), filled: word(72))
    }
}
