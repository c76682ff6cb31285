import Simulation

/// Which segments of the directory count: a file of checksummed transactions of edits, each at two places.
///
/// A transaction is written at both places and synced before anything follows from it, so at a start one of them is
/// enough, and only the last can be unfinished. A file that is full is replaced by one of the next generation, whose
/// first transaction is everything that counts. `Documentation/formats/zero-db-log.md` has the bytes.
struct Manifest {
    /// A segment that counts.
    struct Entry: Hashable {
        var number: UInt64
        var kind: UInt32
        /// The sequence numbers that it stands for; `last` is 0 while it is written to.
        var first: UInt64
        var last: UInt64 = 0
        /// Bytes of the file; 0 while it is written to.
        var length: UInt64 = 0
        /// CRC-32C of the whole file, where it is known.
        var checksum: UInt32?
    }

    /// One change of what counts.
    enum Edit: Hashable {
        case add(Entry)
        /// The segment takes no more records.
        case seal(Entry)
        /// It does not count any more; with `overwrites` its bytes have to be overwritten before its name goes.
        case remove(UInt64, overwrites: Bool)
    }

    static let magic: UInt64 = 0x464d_4244_4f52_455a
    static let transactionHeaderBytes = 32
    static let editBytes = 80
    static let regionBytesMin = 64 << 10
    /// More than any device needs; what claims more is damaged.
    static let regionBytesMax = 64 << 20

    let disk: any Disk
    /// The device, and the salt of every checksum.
    let header: SegmentHeader
    private(set) var generation: UInt64
    private(set) var entries: [Entry] = []
    /// Segments that were removed and whose bytes are to be overwritten, if they still are there.
    private(set) var overwritten: Set<UInt64> = []
    private var file: DiskFile
    private var region: Int
    /// Where the next transaction stands in a region.
    private var offset = 0
    private var nextNumber: UInt64 = 1
    /// A copy is damaged, so the next change is written into a new file.
    private(set) var isHalf = false
    /// A change failed in a way that leaves open whether it happened.
    private(set) var isUncertain = false
    /// Transactions as they were read, until they are written again.
    private var good: [UInt8] = []
    /// Why what was read may not be on the medium.
    private(set) var failure: DiskError?
    /// Files of other generations, removed before the next change.
    private var stale: [String] = []

    private init(_ disk: any Disk, _ header: SegmentHeader, _ file: DiskFile, generation: UInt64, region: Int) {
        (self.disk, self.header, self.file) = (disk, header, file)
        (self.generation, self.region) = (generation, region)
    }

    func entry(_ number: UInt64) -> Entry? { entries.first { $0.number == number } }

    // MARK: Making and changing

    /// A new manifest, whose first transaction is everything that counts.
    static func create(
        _ disk: any Disk, _ header: SegmentHeader, _ edits: [Edit], generation: UInt64 = 1, time: UInt64
    ) throws(DiskError) -> Manifest {
        let size = transactionHeaderBytes + edits.count * editBytes
        var region = regionBytesMin
        while region < size * 4 { region *= 2 }
        let name = Self.name(generation)
        let file = try disk.open(name, create: true)
        var manifest = Manifest(disk, header, file, generation: generation, region: region)
        for edit in edits { manifest.apply(edit) }
        do throws(DiskError) {
            // Zeros are written, not only reserved, so that no later change can lack space.
            let total = Format.headerBlockBytes + 2 * region
            try disk.reserve(file, length: UInt64(total))
            let zeros = [UInt8](repeating: 0, count: 64 << 10)
            var at = 0
            while at < total {
                let count = min(zeros.count, total - at)
                try disk.write(file, at: UInt64(at), zeros.span.bytes.extracting(first: count))
                at += count
            }
            try disk.write(file, at: 0, manifest.headerBlock().span.bytes)
            try manifest.put(edits, time)
        } catch {
            if error != .crashed {
                disk.close(file)
                try? disk.remove(name)
            }
            throw error
        }
        return manifest
    }

    /// Makes a change durable; then it has happened, else it has not, unless `isUncertain`.
    mutating func append(_ edits: [Edit], time: UInt64) throws(DiskError) {
        try removeStale()
        let size = Self.transactionHeaderBytes + edits.count * Self.editBytes
        if isHalf || offset + size > region {
            try replace(edits, time)
            return
        }
        isUncertain = true
        try put(edits, time)
        isUncertain = false
        for edit in edits { apply(edit) }
    }

    /// Ends the use of the file.
    func closeFile() { disk.close(file) }

    /// From now on the directory says which segments count.
    mutating func removeFile() throws(DiskError) {
        try removeStale()
        disk.close(file)
        try disk.remove(Self.name(generation))
    }

    /// The bytes of a removed segment are gone.
    mutating func noteOverwritten(_ number: UInt64) { overwritten.remove(number) }

    /// A new file that holds what counts after the change.
    private mutating func replace(_ edits: [Edit], _ time: UInt64) throws(DiskError) {
        var next = self
        for edit in edits { next.apply(edit) }
        // What is still to be overwritten has to be known to the next start as well.
        let all = next.entries.map { Edit.add($0) } + next.overwritten.sorted().map { .remove($0, overwrites: true) }
        let made = try Self.create(disk, header, all, generation: generation + 1, time: time)
        isUncertain = true
        disk.close(file)
        try disk.remove(Self.name(generation))
        self = made
    }

    private mutating func removeStale() throws(DiskError) {
        while let name = stale.last {
            do throws(DiskError) { try disk.remove(name) } catch { if error != .missing { throw error } }
            stale.removeLast()
        }
    }

    private mutating func put(_ edits: [Edit], _ time: UInt64) throws(DiskError) {
        let bytes = encode(edits, time)
        for copy in 0..<2 {
            let at = Format.headerBlockBytes + copy * region + offset
            try disk.write(file, at: UInt64(at), bytes.span.bytes)
        }
        try disk.sync(file)
        offset += bytes.count
        nextNumber += 1
    }

    private mutating func apply(_ edit: Edit) {
        switch edit {
        case .add(let entry):
            entries.removeAll { $0.number == entry.number }
            entries.append(entry)
        case .seal(let entry):
            if let index = entries.firstIndex(where: { $0.number == entry.number }) { entries[index] = entry }
        case .remove(let number, let overwrites):
            entries.removeAll { $0.number == number }
            if overwrites { overwritten.insert(number) }
        }
    }

    // MARK: Reading

    static func name(_ generation: UInt64) -> String {
        let digits = String(generation, radix: 16)
        return "manifest-" + String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    /// The generation in a manifest's file name.
    static func generation(_ name: String) -> UInt64? {
        guard name.hasPrefix("manifest-"), name.utf8.count == 25 else { return nil }
        let digits = name.dropFirst(9)
        guard digits.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else { return nil }
        return UInt64(digits, radix: 16)
    }

    /// The manifest of a directory; nil if it has none.
    static func load(_ disk: any Disk, _ names: [String]) throws(LogError) -> Manifest? {
        let generations = try generations(names)
        if let found = try find(disk, generations) { return found }
        for generation in generations {
            do throws(DiskError) { try disk.remove(name(generation)) } catch {
                if error == .crashed { throw .disk(error) }
            }
        }
        return nil
    }

    /// As `load`, but nothing is changed: also beside a server that runs.
    static func find(_ disk: any Disk, _ names: [String]) throws(LogError) -> Manifest? {
        try find(disk, generations(names))
    }

    private static func find(_ disk: any Disk, _ generations: [UInt64]) throws(LogError) -> Manifest? {
        for generation in generations {
            guard var found = try read(disk, generation) else { continue }
            found.stale = generations.filter { $0 != generation }.map { name($0) }
            try found.settle()
            return found
        }
        // The first one was being made. A later one is only made while the one before is there.
        guard generations.allSatisfy({ $0 == 1 }) else { throw .manifestDamaged }
        return nil
    }

    /// The generations that there are files of, newest first.
    private static func generations(_ names: [String]) throws(LogError) -> [UInt64] {
        var generations: [UInt64] = []
        for name in names where name.hasPrefix("manifest") {
            guard let generation = generation(name) else { throw .unknownFile }
            generations.append(generation)
        }
        return generations.sorted(by: >)
    }

    /// One file; nil if it was being made and is not complete.
    private static func read(_ disk: any Disk, _ generation: UInt64) throws(LogError) -> Manifest? {
        let file = try disk.opening(name(generation), create: false)
        let length = Int(clamping: try disk.measuring(file))
        guard length >= Format.headerBlockBytes, length <= Format.headerBlockBytes + 2 * regionBytesMax else {
            disk.close(file)
            return nil
        }
        let bytes = try contents(disk, file, length)
        guard let (header, region) = try parseHeader(bytes, generation) else {
            disk.close(file)
            return nil
        }
        var manifest = Manifest(disk, header, file, generation: generation, region: region)
        try manifest.replay(bytes)
        if manifest.nextNumber > 1 { return manifest }
        disk.close(file)
        return nil
    }

    /// The whole file; what cannot be read is zeros, and so damage.
    private static func contents(_ disk: any Disk, _ file: DiskFile, _ length: Int) throws(LogError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: length)
        var isCrashed = false
        bytes.withUnsafeMutableBytes { target in
            guard let base = target.baseAddress else { return }
            var at = 0
            while at < length {
                let count = min(4096, length - at)
                do throws(DiskError) { try disk.read(file, at: UInt64(at), base + at, count) } catch {
                    if error == .crashed { isCrashed = true }
                    (base + at).initializeMemory(as: UInt8.self, repeating: 0, count: count)
                }
                at += count
            }
        }
        if isCrashed { throw .disk(.crashed) }
        return bytes
    }

    /// Writes again what was read, and syncs it: the process before this one may have died before its last change was
    /// on the medium, and what follows from a change, like removing segments, may only follow when it is there.
    private mutating func settle() throws(LogError) {
        do throws(DiskError) {
            try disk.write(file, at: 0, headerBlock().span.bytes)
            for copy in 0..<2 {
                try disk.write(file, at: UInt64(Format.headerBlockBytes + copy * region), good.span.bytes)
            }
            try disk.sync(file)
            isHalf = false
        } catch {
            if error == .crashed { throw .disk(error) }
            failure = error
        }
        good = []
    }

    private mutating func replay(_ bytes: [UInt8]) throws(LogError) {
        var failure: LogError?
        bytes.withUnsafeBytes { bytes in
            while true {
                let copies = (0..<2).map { transaction(bytes, copy: $0, at: offset, number: nextNumber) }
                guard let edits = copies[0] ?? copies[1] else { break }
                if copies.contains(where: { $0 == nil }) { isHalf = true }
                for edit in edits { apply(edit) }
                let size = Self.transactionHeaderBytes + edits.count * Self.editBytes
                let start = Format.headerBlockBytes + (copies[0] == nil ? region : 0) + offset
                good += bytes[start..<start + size]
                offset += size
                nextNumber += 1
            }
            // Only the last transaction can be unfinished: if a later one is there, this one is damaged.
            var at = offset + 16
            while at + Self.transactionHeaderBytes <= region {
                for copy in 0..<2 where transaction(bytes, copy: copy, at: at, number: nil) != nil {
                    failure = .manifestDamaged
                }
                at += 16
            }
        }
        if let failure { throw failure }
    }
}

// MARK: Bytes

extension Manifest {
    private func encode(_ edits: [Edit], _ time: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.transactionHeaderBytes + edits.count * Self.editBytes)
        bytes.withUnsafeMutableBytes { target in
            guard let base = target.baseAddress else { return }
            base.storeBytes(of: UInt32(edits.count).littleEndian, toByteOffset: 4, as: UInt32.self)
            base.storeBytes(of: nextNumber.littleEndian, toByteOffset: 8, as: UInt64.self)
            base.storeBytes(of: time.littleEndian, toByteOffset: 16, as: UInt64.self)
            for (index, edit) in edits.enumerated() {
                Self.store(edit, base + Self.transactionHeaderBytes + index * Self.editBytes)
            }
            let checksum = Format.checksum(header.checksumSeed, base + 4, target.count - 4)
            base.storeBytes(of: (~checksum).littleEndian, as: UInt32.self)
        }
        return bytes
    }

    private static func store(_ edit: Edit, _ to: UnsafeMutableRawPointer) {
        func put(_ operation: UInt8, _ flags: UInt16, _ entry: Entry) {
            to.storeBytes(of: operation, as: UInt8.self)
            to.storeBytes(of: UInt8(truncatingIfNeeded: entry.kind), toByteOffset: 1, as: UInt8.self)
            to.storeBytes(of: flags.littleEndian, toByteOffset: 2, as: UInt16.self)
            to.storeBytes(of: entry.checksum == nil ? 0 : 1, toByteOffset: 4, as: UInt8.self)
            for (index, word) in [entry.number, entry.first, entry.last, entry.length].enumerated() {
                to.storeBytes(of: word.littleEndian, toByteOffset: 8 + 8 * index, as: UInt64.self)
            }
            to.storeBytes(of: (entry.checksum ?? 0).littleEndian, toByteOffset: 40, as: UInt32.self)
        }
        switch edit {
        case .add(let entry): put(1, 0, entry)
        case .remove(let number, let overwrites):
            put(2, overwrites ? 1 : 0, Entry(number: number, kind: 0, first: 0))
        case .seal(let entry): put(3, 0, entry)
        }
    }

    /// A good transaction at a place of a region; `number` nil takes any that is higher than the next.
    private func transaction(
        _ bytes: UnsafeRawBufferPointer, copy: Int, at offset: Int, number: UInt64?
    ) -> [Edit]? {
        let start = Format.headerBlockBytes + copy * region + offset
        guard offset + Self.transactionHeaderBytes <= region, start + Self.transactionHeaderBytes <= bytes.count,
            let base = bytes.baseAddress.map({ $0 + start })
        else { return nil }
        let count = Int(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
        let found = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        guard found != 0, found == number ?? max(found, nextNumber + 1), count <= region / Self.editBytes else {
            return nil
        }
        let size = Self.transactionHeaderBytes + count * Self.editBytes
        guard offset + size <= region, start + size <= bytes.count else { return nil }
        let checksum = ~Format.checksum(header.checksumSeed, base + 4, size - 4)
        guard checksum == UInt32(littleEndian: base.loadUnaligned(as: UInt32.self)) else { return nil }
        var edits: [Edit] = []
        for index in 0..<count {
            guard let edit = Self.edit(base + Self.transactionHeaderBytes + index * Self.editBytes) else { return nil }
            edits.append(edit)
        }
        return edits
    }

    private static func edit(_ at: UnsafeRawPointer) -> Edit? {
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        var entry = Entry(
            number: word(8), kind: UInt32(at.load(fromByteOffset: 1, as: UInt8.self)), first: word(16), last: word(24),
            length: word(32))
        if at.load(fromByteOffset: 4, as: UInt8.self) == 1 {
            entry.checksum = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 40, as: UInt32.self))
        }
        switch at.load(as: UInt8.self) {
        case 1: return .add(entry)
        case 2:
            let flags = UInt16(littleEndian: at.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
            return .remove(entry.number, overwrites: flags & 1 != 0)
        case 3: return .seal(entry)
        default: return nil
        }
    }

    /// The first block: two copies of the header.
    private func headerBlock() -> [UInt8] {
        var block = [UInt8](repeating: 0, count: Format.headerBlockBytes)
        block.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            for at in [base, base + Format.headerCopyOffset] {
                at.storeBytes(of: Self.magic.littleEndian, as: UInt64.self)
                at.storeBytes(of: Format.version.littleEndian, toByteOffset: 8, as: UInt32.self)
                let words = [0, 0, header.device.0, header.device.1, header.salt, generation, UInt64(region)]
                for (index, word) in words.enumerated() {
                    at.storeBytes(of: word.littleEndian, toByteOffset: 16 + 8 * index, as: UInt64.self)
                }
                at.storeBytes(of: SegmentHeader.checksum(at).littleEndian, toByteOffset: 12, as: UInt32.self)
            }
        }
        return block
    }

    private static func parseHeader(
        _ bytes: [UInt8], _ generation: UInt64
    ) throws(LogError) -> (header: SegmentHeader, region: Int)? {
        var result: Result<(header: SegmentHeader, region: Int)?, LogError> = .success(nil)
        bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            for at in [base, base + Format.headerCopyOffset] {
                func word(_ offset: Int) -> UInt64 {
                    UInt64(littleEndian: at.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                }
                let checksum = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
                guard word(0) == magic, checksum == SegmentHeader.checksum(at), word(56) == generation else { continue }
                let version = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
                guard version == Format.version, word(16) == 0 else {
                    result = .failure(.unsupported(segment: 0, version: version, features: word(16)))
                    return
                }
                guard word(64) <= UInt64(regionBytesMax), word(64) >= 4096 else { continue }
                var header = SegmentHeader()
                (header.device, header.salt) = ((word(32), word(40)), word(48))
                result = .success((header, Int(word(64))))
                return
            }
        }
        return try result.get()
    }
}
