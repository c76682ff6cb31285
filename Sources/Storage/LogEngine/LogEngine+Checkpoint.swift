import Simulation

/// What a checkpoint says of one segment: enough to know that it is still the same.
struct KnownSegment {
    static let words = 7

    var number: UInt64
    var kind: UInt32
    var first: UInt64
    /// 0 for the last one.
    var last: UInt64
    var length: UInt64
    var created: UInt64
    /// CRC-32C of its last bytes.
    var tail: UInt32

    var encoded: [UInt64] { [number, UInt64(kind), first, last, length, created, UInt64(tail)] }

    init(number: UInt64, kind: UInt32, first: UInt64, last: UInt64, length: UInt64, created: UInt64, tail: UInt32) {
        (self.number, self.kind, self.first, self.last) = (number, kind, first, last)
        (self.length, self.created, self.tail) = (length, created, tail)
    }

    init(_ words: ArraySlice<UInt64>) {
        let at = words.startIndex
        self.init(
            number: words[at], kind: UInt32(truncatingIfNeeded: words[at + 1]), first: words[at + 2],
            last: words[at + 3], length: words[at + 4], created: words[at + 5],
            tail: UInt32(truncatingIfNeeded: words[at + 6]))
    }
}

/// The part of the log that a checkpoint knows.
struct KnownLog {
    /// Every record up to here is in the index already; 0: there is no checkpoint.
    var sequence: UInt64 = 0
    /// The last one is the one that was written to, and may have gone on.
    var segments: [KnownSegment] = []
    /// Who used how much of each of them.
    var uses: [SegmentUse] = []
    /// There is a file of that name, whether it can be used or not.
    var hasFile = false
}

extension LogEngine {
    /// Bytes at a segment's end by which a checkpoint knows it again.
    private static let tailBytes: UInt64 = 4096
    /// Numbers before the list of segments.
    private static let logWords = 5

    // MARK: Writing

    /// Writes the index as it is, so that the next start need not make it anew; returns the file's bytes, 0 if there is
    /// none now. Only behind `close`, whose work it adds nothing to: it may fail or be cut short at any point.
    @discardableResult
    public mutating func writeCheckpoint() -> UInt64 {
        guard canWriteCheckpoint, !isCheckpointCurrent else { return 0 }
        // A replica's index that is not that of any moment, or is being changed, is made anew.
        if isIncomplete || replacements.phase != .idle { return 0 }
        settleAllUsage()
        while drainEnded(1 << 20) {}
        do throws(DiskError) {
            let file = try checkpointFile()
            defer { disk.close(file) }
            let bytes = checkpointBytes
            try disk.reserve(file, length: bytes)
            let header = CheckpointHeader(self.header, sequence: nextSequence - 1)
            var writer = try CheckpointWriter(disk, file, header)
            let places = SlotPlaces(order, count: segments.count)
            try writeLog(to: &writer)
            try writeNamespaces(to: &writer)
            try writeIndexes(to: &writer, places)
            try writeSpace(to: &writer)
            let written = try writer.finish()
            assert(written == bytes)
            known.hasFile = true
            return written
        } catch {
            if error != .crashed { try? disk.remove(CheckpointHeader.name) }
            known.hasFile = false
            return 0
        }
    }

    /// Nothing is under way, nothing is doubtful, and no damage is known, which only reading the log tells.
    private var canWriteCheckpoint: Bool {
        guard readOnlyReason == nil, !turnHasWrites, pendingCount == 0, !isOpened, batchLeft == 0, openBatch == nil,
            durableSequence + 1 == nextSequence, report.damageCount == 0, inDoubt.isEmpty, !hasDamagedHeader,
            // What compaction has not yet moved, and bytes that are to be overwritten, are the next start's to see.
            !compaction.isPublished, compaction.phase != .publishing, compaction.wiped.isEmpty,
            !discarded.contains(where: \.overwrites),
            !segments.isEmpty, segments[active].length > UInt64(Format.headerBlockBytes), order.last == active
        else { return false }
        for case let state? in namespaces {
            // Of a namespace that is not served for want of its table the next start says itself what it is.
            let settings = state.pointee.settings
            guard settings.isSupported == NamespaceSettings(decoding: settings.encoded).isSupported else {
                return false
            }
            if let table = state.pointee.table, table.isInDoubt || table.lastChange > table.checkpoint.sequence {
                return false
            }
        }
        return true
    }

    /// The file of the last stop still says everything.
    private var isCheckpointCurrent: Bool {
        known.hasFile && known.sequence == nextSequence - 1
            && known.segments.map(\.number) == order.map { segments[$0].number }
    }

    private func checkpointFile() throws(DiskError) -> DiskFile {
        do throws(DiskError) { return try disk.open(CheckpointHeader.name, create: false) } catch {
            guard error == .missing else { throw error }
            return try disk.open(CheckpointHeader.name, create: true)
        }
    }

    private var checkpointBytes: UInt64 {
        var bytes = UInt64(CheckpointHeader.blockBytes)
        bytes += 8 * UInt64(Self.logWords + order.count * (KnownSegment.words + SegmentUse.words))
        for position in order { bytes += 16 * UInt64(segments[position].use.usage.count) }
        for case let state? in namespaces {
            bytes += UInt64(8 * Self.namespaceWords + state.pointee.name.count + state.pointee.settings.encoded.count)
            if let ordered = state.pointee.ordered {
                bytes += 8 + ordered.index.checkpointBytes
            } else if state.pointee.isHashed, state.pointee.index.count > 0 {
                bytes += 8 + state.pointee.index.checkpointBytes
            }
        }
        return bytes
    }

    /// Time of the last record, policy, numbers of namespaces used, segments, the last `open`; then the segments.
    private func writeLog(to writer: inout CheckpointWriter) throws(DiskError) {
        try writer.add([
            lastTime, UInt64(lastPolicy.rawValue), UInt64(namespaces.count), UInt64(order.count), compaction.openRecord,
        ])
        for position in order {
            let segment = segments[position]
            guard let header = Self.headerOf(disk, segment) else { throw .short }
            let known = KnownSegment(
                number: segment.number, kind: segment.kind, first: segment.firstSequence,
                last: position == active ? 0 : segment.last, length: segment.length, created: header.created,
                tail: try tail(segment.file, segment.length))
            try writer.add(known.encoded)
        }
        try writer.end(.log)
    }

    private static func headerOf(_ disk: any Disk, _ segment: Segment) -> SegmentHeader? {
        do throws(LogError) { return try readHeader(disk, segment.file, segment.number) } catch { return nil }
    }

    /// CRC-32C of the last bytes of a segment of this length.
    private func tail(_ file: DiskFile, _ length: UInt64) throws(DiskError) -> UInt32 {
        let count = Int(min(length, Self.tailBytes))
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
        defer { buffer.deallocate() }
        try disk.read(file, at: length - UInt64(count), buffer, count)
        return Format.checksum(buffer, count)
    }

    private static let namespaceWords = 13

    /// Of each namespace: number, lengths of name and settings, definition, fence, keys, their bytes, what its table has
    /// to know, records of fence and last flush, bytes of its records; then name and settings.
    private func writeNamespaces(to writer: inout CheckpointWriter) throws(DiskError) {
        for case let state? in namespaces {
            let (name, settings) = (state.pointee.name, state.pointee.settings.encoded)
            try writer.add([
                UInt64(state.pointee.id), UInt64(name.count) | UInt64(settings.count) << 32, state.pointee.definition,
                state.pointee.fence, state.pointee.entries, state.pointee.liveBytes,
                state.pointee.table?.checkpoint.sequence ?? 0, state.pointee.fenced, state.pointee.flushed,
                state.pointee.diskBytes, state.pointee.liveRecordBytes, state.pointee.tombstoneBytes,
                state.pointee.controlBytes,
            ])
            try writer.add(name)
            try writer.add(settings)
        }
        try writer.end(.namespaces)
    }

    private func writeIndexes(to writer: inout CheckpointWriter, _ places: SlotPlaces) throws(DiskError) {
        for case let state? in namespaces where state.pointee.isHashed && state.pointee.index.count > 0 {
            try writer.add([UInt64(state.pointee.id)])
            try state.pointee.index.write(to: &writer, places)
        }
        try writer.end(.hashed)
        for case let state? in namespaces {
            guard let ordered = state.pointee.ordered else { continue }
            try writer.add([UInt64(state.pointee.id)])
            try ordered.index.write(to: &writer, places)
        }
        try writer.end(.ordered)
    }

    /// What slots name of each segment, without those of tables, which are counted at every start; then who uses it.
    private func writeSpace(to writer: inout CheckpointWriter) throws(DiskError) {
        for position in order {
            var use = segments[position].use
            for case let state? in namespaces {
                if let table = state.pointee.table { use.live -= min(use.live, table.live[position] ?? 0) }
            }
            try writer.add(use.encoded)
        }
        try writer.end(.space)
    }

    // MARK: Reading

    /// Takes in the checkpoint, if there is one of these segments as they are, or as they were when less was written.
    /// Throws where it turns out to be damaged; the engine is of no use then, and another one has to do without.
    mutating func adoptCheckpoint(
        _ numbers: [UInt64], _ files: [DiskFile], _ headers: [SegmentHeader?]
    ) throws(LogError) {
        let file: DiskFile
        do throws(DiskError) { file = try disk.open(CheckpointHeader.name, create: false) } catch {
            if error == .crashed { throw .disk(error) }
            return
        }
        defer { disk.close(file) }
        known.hasFile = true
        do throws(DiskError) {
            guard let found = try checkpointHeader(file) else { return }
            var reader = CheckpointReader(disk, file, found.sections[0])
            let words = try reader.words(Int(reader.left / 8))
            try reader.end()
            guard let segments = try knownSegments(words, numbers, files, headers),
                let policy = SyncPolicy(rawValue: UInt8(truncatingIfNeeded: words[1]))
            else { return }
            (known.sequence, known.segments) = (found.sequence, segments)
            (lastTime, lastPolicy) = (words[0], policy)
            compaction.openRecord = words[4]
            isRecovering = true
            try adopt(found, file, namespaces: Int(words[2]))
        } catch {
            if error == .crashed { throw .disk(error) }
            if known.sequence > 0 { throw .indexDamaged }
        }
    }

    private func checkpointHeader(_ file: DiskFile) throws(DiskError) -> CheckpointHeader? {
        let block = UnsafeMutableRawPointer.allocate(byteCount: CheckpointHeader.blockBytes, alignment: 16)
        defer { block.deallocate() }
        try disk.read(file, at: 0, block, CheckpointHeader.blockBytes)
        guard let found = CheckpointHeader(block), found.device == header.device, found.salt == header.salt,
            found.sequence > 0, try disk.length(file) == found.fileBytes
        else { return nil }
        return found
    }

    /// The segments of a checkpoint, if the log begins with just these.
    private func knownSegments(
        _ words: [UInt64], _ numbers: [UInt64], _ files: [DiskFile], _ headers: [SegmentHeader?]
    ) throws(DiskError) -> [KnownSegment]? {
        guard words.count >= Self.logWords, words[3] > 0, words[3] <= UInt64(numbers.count),
            words.count == Self.logWords + Int(words[3]) * KnownSegment.words,
            words[2] <= UInt64(LogLimits.namespacesMax) + 1
        else { return nil }
        var found: [KnownSegment] = []
        for index in 0..<Int(words[3]) {
            let start = Self.logWords + index * KnownSegment.words
            let one = KnownSegment(words[start..<start + KnownSegment.words])
            let isLast = index == Int(words[3]) - 1
            let length = try disk.length(files[index])
            guard one.number == numbers[index], let header = headers[index], header.kind == one.kind,
                header.created == one.created, length == one.length || (isLast && length > one.length),
                try tail(files[index], one.length) == one.tail
            else { return nil }
            found.append(one)
        }
        return found
    }

    private mutating func adopt(
        _ found: CheckpointHeader, _ file: DiskFile, namespaces count: Int
    ) throws(DiskError) {
        var list = CheckpointReader(disk, file, found.sections[1])
        while list.left > 0 { try adoptNamespace(&list) }
        try list.end()
        while namespaces.count < count { namespaces.append(nil) }
        let bounds = SlotBounds(segments: known.segments.count, sequence: known.sequence)
        var hashed = CheckpointReader(disk, file, found.sections[2])
        while hashed.left > 0 {
            let state = try adopted(hashed.words(1)[0])
            guard state.pointee.isHashed, state.pointee.index.count == 0 else { throw .short }
            state.pointee.index = try KeyIndex(from: &hashed, bounds)
        }
        try hashed.end()
        var ordered = CheckpointReader(disk, file, found.sections[3])
        while ordered.left > 0 {
            guard let keys = try adopted(ordered.words(1)[0]).pointee.ordered, keys.index.count == 0 else {
                throw .short
            }
            keys.index = try OrderedIndex(from: &ordered, bounds)
        }
        try ordered.end()
        var space = CheckpointReader(disk, file, found.sections[4])
        for _ in known.segments { known.uses.append(try SegmentUse(from: &space)) }
        try space.end()
    }

    private func adopted(_ id: UInt64) throws(DiskError) -> UnsafeMutablePointer<NamespaceState> {
        guard id < UInt64(namespaces.count), let state = namespaces[Int(id)] else { throw .short }
        return state
    }

    private mutating func adoptNamespace(_ reader: inout CheckpointReader) throws(DiskError) {
        let words = try reader.words(Self.namespaceWords)
        let name = try reader.bytes(Int(words[1] & 0xffff_ffff))
        let settings = try reader.bytes(Int(words[1] >> 32))
        guard words[0] > 0, words[0] <= UInt64(LogLimits.namespacesMax), names[name] == nil,
            words[0] >= UInt64(namespaces.count) || namespaces[Int(words[0])] == nil
        else { throw .short }
        let state = define(UInt32(words[0]), name, NamespaceSettings(decoding: settings), words[2])
        (state.pointee.fence, state.pointee.fenced, state.pointee.flushed) = (words[3], words[7], words[8])
        do throws(LogError) { try attachIndex(state) } catch {
            if case .disk(let failure) = error { throw failure }
            throw .short
        }
        (state.pointee.entries, state.pointee.liveBytes) = (words[4], words[5])
        (state.pointee.diskBytes, state.pointee.liveRecordBytes) = (words[9], words[10])
        (state.pointee.tombstoneBytes, state.pointee.controlBytes) = (words[11], words[12])
        // A table that does not know what it knew then is made anew from the whole log.
        if let table = state.pointee.table, table.checkpoint.sequence < words[6] { inDoubt.insert(state.pointee.id) }
    }

    // MARK: In recovery

    /// Puts a segment into the log whose records the checkpoint knows all.
    mutating func addKnown(_ index: Int, _ file: DiskFile, _ header: SegmentHeader?) {
        let one = known.segments[index]
        var segment = Segment(number: one.number, file: file, firstSequence: one.first, length: one.length)
        (segment.kind, segment.last, segment.created) = (one.kind, one.last, one.created)
        segment.use = known.uses[index]
        segment.index = hasIndex(one, header) ? .written : .missing
        addSegment(segment)
        active = segments.count - 1
        nextSequence = max(nextSequence, one.last + 1)
        turnFirst = nextSequence
    }

    /// Whether a segment has an index that is its own; what is in it is looked at when it is used.
    private func hasIndex(_ segment: KnownSegment, _ header: SegmentHeader?) -> Bool {
        guard let header, let file = try? disk.open(Format.name(index: segment.number), create: false) else {
            return false
        }
        defer { disk.close(file) }
        let block = UnsafeMutableRawPointer.allocate(byteCount: Format.headerBytes, alignment: 16)
        defer { block.deallocate() }
        guard (try? disk.read(file, at: 0, block, Format.headerBytes)) != nil, let index = IndexHeader(block) else {
            return false
        }
        return index.fits(header, length: segment.length) && index.flags & IndexHeader.damaged == 0
            && (try? disk.length(file)) == index.fileBytes
    }

    /// Whether a record is in the index already, because the checkpoint had it.
    @inline(__always)
    func isKnown(_ sequence: UInt64) -> Bool {
        sequence <= known.sequence || plants(.ignoreTail) && known.sequence > 0 && isRecovering
    }

    /// Behind the last segment: what the checkpoint knows must all be there.
    func confirmCheckpoint() throws(LogError) {
        if nextSequence <= known.sequence { throw .indexDamaged }
    }

    /// Removes a checkpoint that cannot be used, or whose space something else needs. False if there is none.
    @discardableResult
    mutating func giveBackCheckpoint() -> Bool {
        guard known.hasFile, readOnlyReason == nil else { return false }
        known.hasFile = false
        return (try? disk.remove(CheckpointHeader.name)) != nil
    }

    /// Ends the use of tables, before another engine opens them.
    func closeTables() {
        for case let state? in namespaces { state.pointee.table?.close() }
    }
}

extension SegmentUse {
    /// Numbers before the list of namespaces.
    static let words = 6

    /// As a checkpoint has it: flags are 1 for uncertain and 2 for pinned.
    var encoded: [UInt64] {
        let flags: UInt64 = (isUncertain ? 1 : 0) | (isPinned ? 2 : 0)
        var words: [UInt64] = [live, dead, retained, retainedUntil, flags, UInt64(usage.count)]
        for (id, bytes) in usage.sorted(by: { $0.key < $1.key }) { words += [UInt64(id), bytes] }
        return words
    }

    init(from reader: inout CheckpointReader) throws(DiskError) {
        let head = try reader.words(Self.words)
        guard head[5] <= reader.left / 16 else { throw .short }
        (live, dead, retained, retainedUntil) = (head[0], head[1], head[2], head[3])
        (isUncertain, isPinned) = (head[4] & 1 != 0, head[4] & 2 != 0)
        let list = try reader.words(2 * Int(head[5]))
        for index in 0..<Int(head[5]) { usage[UInt32(truncatingIfNeeded: list[2 * index])] = list[2 * index + 1] }
    }
}
