/// A disk in memory that tears writes, loses what was not synced, flips bits, runs full and fails to sync, as its
/// seed decides.
public final class SimulatedDisk: Disk {
    /// What goes wrong with a write that seems to have gone well.
    public enum WriteFault: Sendable {
        /// It never reaches the medium.
        case lost
        /// It reaches another place of the file, at this offset.
        case misdirected(Int)
    }

    /// What happened to a file since its last sync.
    private struct Change {
        enum Kind {
            case write(offset: Int, bytes: [UInt8])
            case resize(Int)
        }

        enum Fate {
            /// The next sync makes it durable.
            case kept
            /// A sync of it failed: the system took it for written, so no later sync writes it; a crash may find it.
            case doubtful
            /// A sync made it durable; it stands here only because something doubtful was before it.
            case durable
        }

        var kind: Kind
        var fate = Fate.kept
        var fault: WriteFault?
    }

    private struct Contents {
        var name: String
        /// What is on the medium for certain; nil when not even the name is.
        var durable: [UInt8]?
        /// What a running machine sees.
        var current: [UInt8] = []
        var changes: [Change] = []
        var isRemoved = false
        /// What the medium held when the file was removed: its blocks are not overwritten by that.
        var lastDurable: [UInt8] = []
        var isOpen = true
        /// The medium does not hold what a running machine sees, and will not after a sync either.
        var isDiverged = false
    }

    /// Bytes that the disk holds in all.
    public var capacity = Int.max
    /// Every sync fails with an I/O error while this is set.
    public var failsSync = false
    /// Every sync seems to go well and makes nothing durable while this is set.
    public var liesAboutSync = false
    /// What goes wrong with the next write.
    public var nextWriteFault: WriteFault?
    /// Every write fails with an I/O error while this is set.
    public var failsWrites = false
    /// Reserving is accepted but promises nothing, as on some file systems.
    public var liesAboutReserve = false
    /// The machine loses power at this operation from now (writes, syncs and the like); nil is never.
    public var operationsBeforeCrash: Int?
    /// True from the loss of power until `restart`.
    public private(set) var isCrashed = false
    /// Operations done so far, so that a test can crash at each of them.
    public private(set) var operations = 0
    /// Bytes that the medium writes as one; a torn write is torn between two of them.
    public let sectorBytes: Int

    private var files: [Contents] = []
    private var unreadable: [Int: [Range<Int>]] = [:]

    /// An empty disk.
    public init(sectorBytes: Int = 512) { self.sectorBytes = sectorBytes }

    // MARK: Disk

    /// Names of all files, sorted.
    public func list() throws(DiskError) -> [String] {
        try alive()
        return files.filter { !$0.isRemoved }.map(\.name).sorted()
    }

    /// Opens or makes a file; a name is durable only after a sync.
    public func open(_ name: String, create: Bool) throws(DiskError) -> DiskFile {
        try alive()
        if let index = files.firstIndex(where: { $0.name == name && !$0.isRemoved }) {
            guard !create else { throw .failed(17) }
            files[index].isOpen = true
            return DiskFile(number: index)
        }
        guard create else { throw .missing }
        try step()
        files.append(Contents(name: name))
        return DiskFile(number: files.count - 1)
    }

    /// Removes a file; that is durable at once.
    public func remove(_ name: String) throws(DiskError) {
        try alive()
        guard let index = files.firstIndex(where: { $0.name == name && !$0.isRemoved }) else { throw .missing }
        try step()
        files[index].isRemoved = true
        files[index].lastDurable = files[index].durable ?? []
        files[index].durable = nil
    }

    /// Makes every further use of the file fail.
    public func close(_ file: DiskFile) {
        files[file.number].isOpen = false
        if files[file.number].isRemoved { (files[file.number].current, files[file.number].changes) = ([], []) }
    }

    /// The length as a running machine sees it.
    public func length(_ file: DiskFile) throws(DiskError) -> UInt64 {
        try alive(file)
        return UInt64(files[file.number].current.count)
    }

    /// Counts against the capacity, unless `liesAboutReserve`.
    public func reserve(_ file: DiskFile, length: UInt64) throws(DiskError) {
        try alive(file)
        let wanted = Int(length)
        let have = files[file.number].current.count
        guard wanted > have else { return }
        if liesAboutReserve { return }
        guard used + (wanted - have) <= capacity else { throw .full }
        try step()
        files[file.number].changes.append(Change(kind: .resize(wanted)))
        files[file.number].current += [UInt8](repeating: 0, count: wanted - have)
    }

    /// Writes what fits; the rest is `full`.
    public func write(_ file: DiskFile, at offset: UInt64, _ bytes: borrowing RawSpan) throws(DiskError) {
        try alive(file)
        if failsWrites { throw .failed(5) }
        var copy = unsafe bytes.withUnsafeBytes { unsafe [UInt8]($0) }
        let start = Int(offset)
        let growth = max(0, start + copy.count - files[file.number].current.count)
        let room = capacity - used
        let isShort = growth > room
        if isShort { copy.removeLast(min(copy.count, growth - max(0, room))) }
        if copy.isEmpty { throw .full }
        var change = Change(kind: .write(offset: start, bytes: copy))
        if let fault = nextWriteFault {
            change.fault = fault
            files[file.number].isDiverged = true
            nextWriteFault = nil
        }
        files[file.number].changes.append(change)
        try step()
        Self.apply(copy[...], at: start, to: &files[file.number].current)
        heal(file.number, start..<start + copy.count)
        if isShort { throw .full }
    }

    /// Reads what a running machine sees.
    public func read(
        _ file: DiskFile, at offset: UInt64, _ first: inout MutableRawSpan, _ second: inout MutableRawSpan
    ) throws(DiskError) {
        try alive(file)
        let start = Int(offset)
        let (one, two) = (first.byteCount, second.byteCount)
        if let ranges = unreadable[file.number], ranges.contains(where: { $0.overlaps(start..<start + one + two) }) {
            throw .failed(5)
        }
        guard start + one + two <= files[file.number].current.count else { throw .short }
        unsafe files[file.number].current.withUnsafeBytes { source in
            unsafe first.withUnsafeMutableBytes {
                unsafe $0.copyMemory(from: .init(rebasing: source[start..<start + one]))
            }
            unsafe second.withUnsafeMutableBytes {
                unsafe $0.copyMemory(from: .init(rebasing: source[start + one..<start + one + two]))
            }
        }
    }

    /// Cuts a file; durable only after a sync.
    public func truncate(_ file: DiskFile, length: UInt64) throws(DiskError) {
        try alive(file)
        guard Int(length) < files[file.number].current.count else { return }
        files[file.number].changes.append(Change(kind: .resize(Int(length))))
        try step()
        files[file.number].current.removeLast(files[file.number].current.count - Int(length))
    }

    /// Makes a file durable, unless `failsSync` or `liesAboutSync`.
    public func sync(_ file: DiskFile) throws(DiskError) {
        try alive(file)
        try step()
        if failsSync {
            files[file.number].isDiverged = true
            for index in files[file.number].changes.indices {
                if files[file.number].changes[index].fate == .kept {
                    files[file.number].changes[index].fate = .doubtful
                }
            }
            throw .failed(5)
        }
        if liesAboutSync { return }
        if files[file.number].isDiverged {
            settle(file.number)
        } else {
            files[file.number].durable = files[file.number].current
            files[file.number].changes = []
        }
    }

    /// A sync of a file whose medium holds something else than it seems.
    private func settle(_ number: Int) {
        if files[number].changes.contains(where: { $0.fate == .doubtful }) {
            for index in files[number].changes.indices where files[number].changes[index].fate == .kept {
                files[number].changes[index].fate = .durable
            }
            if files[number].durable == nil { files[number].durable = [] }
            return
        }
        var bytes = files[number].durable ?? []
        for change in files[number].changes { Self.apply(change, to: &bytes) }
        files[number].durable = bytes
        files[number].changes = []
    }

    /// Of the capacity.
    public func space() throws(DiskError) -> (free: UInt64, total: UInt64) {
        try alive()
        return (UInt64(max(0, capacity - used)), UInt64(capacity))
    }

    // MARK: Faults

    /// Power is lost now: of what was not synced, any part reaches the medium, sector by sector, in any order.
    public func crash(_ random: inout SeededRandom) {
        isCrashed = true
        for index in files.indices {
            guard !files[index].isRemoved else { continue }
            var image = files[index].durable
            if image == nil, random.chance(50) { image = [] }
            guard var bytes = image else {
                // Neither its name nor its bytes reached the medium.
                (files[index].isRemoved, files[index].current, files[index].changes) = (true, [], [])
                continue
            }
            let keepsOrder = random.chance(40)
            let upTo = keepsOrder ? random.below(files[index].changes.count + 1) : files[index].changes.count
            for (position, change) in files[index].changes.enumerated() {
                if position >= upTo, change.fate != .durable { continue }
                tear(change, &bytes, keepsOrder, &random)
            }
            files[index].durable = bytes
            files[index].current = bytes
            files[index].changes = []
            files[index].isDiverged = false
        }
    }

    /// The process is killed but the machine is not: everything written stays, in the system's memory or on the medium.
    public func kill() {
        isCrashed = true
    }

    /// Power is back.
    public func restart() {
        isCrashed = false
        operationsBeforeCrash = nil
        failsSync = false
        failsWrites = false
        liesAboutSync = false
        nextWriteFault = nil
    }

    /// Flips bits of one byte, now and on the medium.
    public func flip(_ name: String, at offset: Int, mask: UInt8) {
        guard let index = files.firstIndex(where: { $0.name == name && !$0.isRemoved }) else { return }
        guard offset < files[index].current.count else { return }
        files[index].current[offset] ^= mask
        if let durable = files[index].durable, offset < durable.count { files[index].durable?[offset] ^= mask }
    }

    /// Overwrites a range with zeros, now and on the medium, as a lost sector reads.
    public func wipe(_ name: String, _ range: Range<Int>) {
        for offset in range { flip(name, at: offset, mask: byte(name, offset)) }
    }

    /// Reading this file fails from now on.
    public func failReads(of name: String, _ isFailing: Bool) {
        guard let index = files.firstIndex(where: { $0.name == name && !$0.isRemoved }) else { return }
        unreadable[index] = isFailing ? [0..<Int.max] : nil
    }

    /// Reading any of these bytes fails from now on.
    public func failReads(of name: String, in range: Range<Int>) {
        guard let index = files.firstIndex(where: { $0.name == name && !$0.isRemoved }) else { return }
        unreadable[index, default: []].append(range)
    }

    /// The bytes of a file as a running machine sees them.
    public func bytes(of name: String) -> [UInt8] {
        files.first { $0.name == name && !$0.isRemoved }?.current ?? []
    }

    /// Whether some bytes stand anywhere on the medium, files that were removed without being overwritten included.
    public func holdsAnywhere(_ wanted: [UInt8]) -> Bool { holder(of: wanted) != nil }

    /// The name of a file, which may have been removed, that holds some bytes anywhere on the medium; with `onlyRemoved`
    /// one that was.
    public func holder(of wanted: [UInt8], onlyRemoved: Bool = false) -> String? {
        guard let first = wanted.first else { return "" }
        let found = files.first { file in
            if onlyRemoved, !file.isRemoved { return false }
            for image in [file.durable ?? file.lastDurable, file.current] where image.count >= wanted.count {
                for at in 0...(image.count - wanted.count) where image[at] == first {
                    if image[at..<at + wanted.count].elementsEqual(wanted) { return true }
                }
            }
            return false
        }
        return found.map { $0.name + ($0.isRemoved ? " (removed)" : "") }
    }

    /// Bytes of all files.
    public var used: Int { files.reduce(0) { $0 + ($1.isRemoved ? 0 : $1.current.count) } }

    /// A medium puts what is written to a bad sector elsewhere.
    private func heal(_ number: Int, _ written: Range<Int>) {
        guard let ranges = unreadable[number] else { return }
        unreadable[number] = ranges.filter { $0.upperBound == .max || !$0.overlaps(written) }
    }

    private func byte(_ name: String, _ offset: Int) -> UInt8 {
        guard let file = files.first(where: { $0.name == name && !$0.isRemoved }), offset < file.current.count else {
            return 0
        }
        return file.current[offset]
    }

    private func tear(_ change: Change, _ bytes: inout [UInt8], _ keepsOrder: Bool, _ random: inout SeededRandom) {
        if change.fate == .durable || change.fault != nil { return Self.apply(change, to: &bytes) }
        switch change.kind {
        case .resize:
            if keepsOrder || random.chance(80) { Self.apply(change, to: &bytes) }
        case .write(let offset, let data):
            let isWhole = keepsOrder || random.chance(60)
            var at = 0
            while at < data.count {
                let end = min(data.count, (offset + at) / sectorBytes * sectorBytes + sectorBytes - offset)
                if isWhole || random.chance(50) { Self.apply(data[at..<end], at: offset + at, to: &bytes) }
                at = end
            }
        }
    }

    /// What a change does to the medium.
    private static func apply(_ change: Change, to bytes: inout [UInt8]) {
        switch change.kind {
        case .resize(let length):
            if length < bytes.count {
                bytes.removeLast(bytes.count - length)
            } else {
                bytes += [UInt8](repeating: 0, count: length - bytes.count)
            }
        case .write(var offset, let data):
            if let fault = change.fault {
                guard case .misdirected(let place) = fault else { return }
                offset = place
            }
            apply(data[...], at: offset, to: &bytes)
        }
    }

    private static func apply(_ data: ArraySlice<UInt8>, at offset: Int, to bytes: inout [UInt8]) {
        if bytes.count < offset + data.count {
            bytes += [UInt8](repeating: 0, count: offset + data.count - bytes.count)
        }
        bytes.replaceSubrange(offset..<offset + data.count, with: data)
    }

    private func alive() throws(DiskError) { if isCrashed { throw .crashed } }

    private func alive(_ file: DiskFile) throws(DiskError) {
        try alive()
        if !files[file.number].isOpen { throw .failed(9) }
    }

    private func step() throws(DiskError) {
        operations += 1
        guard let left = operationsBeforeCrash else { return }
        operationsBeforeCrash = left - 1
        if left <= 0 {
            isCrashed = true
            throw .crashed
        }
    }
}
