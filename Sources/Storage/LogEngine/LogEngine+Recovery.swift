public import Simulation

extension LogEngine {
    /// Opens a device and rebuilds its index; an empty disk becomes a new device with the namespace `default`.
    public static func open(disk: any Disk, options: LogOptions, time: UInt64) throws(LogError) -> LogEngine {
        let all = try directory(disk)
        let manifest = try Manifest.load(disk, all)
        let present = all.compactMap { Format.number(segment: $0) }.sorted()
        var found = inOrder(present, manifest)
        if manifest == nil, found.count == 1, try isUnborn(disk, found[0]) {
            try disk.removing(Format.name(segment: found[0]))
            found = []
        }
        var role = try RoleFile.load(disk)
        if options.follows, role.role != .replica {
            role.role = .replica
            try role.store(disk)
        }
        if found.isEmpty, manifest != nil { throw .manifestDamaged }
        if found.isEmpty { return try role.role == .master ? create(disk, options, time) : wait(disk, options, role) }
        var headers: [SegmentHeader?] = []
        var files: [DiskFile] = []
        for number in found {
            let file = try disk.opening(Format.name(segment: number), create: false)
            files.append(file)
            headers.append(try readHeader(disk, file, number))
        }
        guard let known = headers.lazy.compactMap({ $0 }).last else { throw .headerDamaged(segment: found[0]) }
        for (number, header) in zip(found, headers) {
            guard let header else { continue }
            guard header.device == known.device, header.salt == known.salt, header.number == number else {
                throw .foreign(segment: number)
            }
        }
        if let manifest, manifest.header.device != known.device || manifest.header.salt != known.salt {
            throw .foreign(segment: known.number)
        }
        // A checkpoint that turns out to be of no use is done without.
        for usesCheckpoint in [true, false] {
            var engine = LogEngine(disk: disk, options: options, header: known)
            engine.take(engine.plants(.forgetRole) ? RoleFile() : role)
            engine.manifest = manifest
            engine.highestNumber = present.last ?? 0
            engine.measureSpace()
            if let failure = manifest?.failure {
                engine.readOnlyReason = failure == .readOnly ? .medium : .syncFailed(failure)
            }
            do throws(LogError) {
                if usesCheckpoint {
                    try engine.adoptCheckpoint(found, files, headers)
                } else {
                    engine.known.hasFile = true
                }
                try engine.recover(found, files, headers, time)
                if manifest != nil, engine.readOnlyReason == nil {
                    try engine.discardStrangers(present.filter { !found.contains($0) })
                }
                return engine
            } catch {
                guard usesCheckpoint, engine.known.sequence > 0, error != .disk(.crashed) else { throw error }
                engine.closeTables()
            }
        }
        throw .indexDamaged
    }

    /// Names of all files.
    private static func directory(_ disk: any Disk) throws(LogError) -> [String] {
        do throws(DiskError) { return try disk.list() } catch { throw .disk(error) }
    }

    /// Whether a segment was being made when its maker died, so that it cannot hold anything.
    private static func isUnborn(_ disk: any Disk, _ number: UInt64) throws(LogError) -> Bool {
        let file = try disk.opening(Format.name(segment: number), create: false)
        let length = try disk.measuring(file)
        guard try readHeader(disk, file, number) == nil else { return false }
        guard length > UInt64(Format.headerBlockBytes) else { return true }
        var walker = SegmentWalker(
            disk: disk, file: file, length: length, seed: 0, expected: .max, allowsGaps: false)
        if case .end(_, garbage: false) = walker.next() { return true }
        return false
    }

    static func readHeader(
        _ disk: any Disk, _ file: DiskFile, _ number: UInt64
    ) throws(LogError) -> SegmentHeader? {
        guard try disk.measuring(file) >= UInt64(Format.headerBlockBytes) else { return nil }
        var block = [UInt8](repeating: 0, count: Format.headerBlockBytes)
        for start in [0, Format.headerCopyOffset] {
            block.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                try? disk.read(file, at: UInt64(start), base + start, Format.headerCopyOffset)
            }
        }
        guard let header = SegmentHeader(block: block) else { return nil }
        let unknown = header.requiredFeatures & ~Format.requiredFeaturesKnown
        guard header.version == Format.version, unknown == 0 else {
            throw .unsupported(segment: number, version: header.version, features: unknown)
        }
        return header
    }

    private static func create(_ disk: any Disk, _ options: LogOptions, _ time: UInt64) throws(LogError) -> LogEngine {
        var header = SegmentHeader()
        header.device = (options.fresh.0, options.fresh.1)
        header.salt = options.fresh.2
        var engine = LogEngine(disk: disk, options: options, header: header)
        engine.lastTime = time
        try engine.startSegment(number: 1)
        var settings = NamespaceSettings()
        settings.history = options.history
        _ = try engine.createNamespace(Array("default".utf8), settings, time: time)
        engine.measureSpace()
        return engine
    }

    private mutating func recover(
        _ numbers: [UInt64], _ files: [DiskFile], _ headers: [SegmentHeader?], _ time: UInt64
    ) throws(LogError) {
        report.wasClosed = false
        report.checkpointSequence = known.sequence
        isRecovering = true
        removeStrayIndexes()
        for index in numbers.indices {
            if index + 1 < known.segments.count {
                addKnown(index, files[index], headers[index])
                continue
            }
            let length = try disk.measuring(files[index])
            let isLast = index == numbers.count - 1
            if isLast, headers[index] == nil, try dropUnborn(numbers[index], files[index], length) {
                resumeSealed()
                break
            }
            if headers[index] == nil {
                note(numbers[index], 0..<UInt64(Format.headerBlockBytes), nextSequence..<nextSequence, false)
                hasDamagedHeader = isLast
            }
            if manifest != nil {
                expectSegment(numbers[index])
            } else if let header = headers[index], header.firstSequence > nextSequence {
                if header.kind == SegmentHeader.kindLog, header.previousSequence >= nextSequence {
                    note(numbers[index], 0..<0, nextSequence..<header.previousSequence + 1, false)
                }
                nextSequence = header.firstSequence
            }
            var segment = Segment(
                number: numbers[index], file: files[index], firstSequence: nextSequence, length: length)
            segment.kind = headers[index]?.kind ?? manifest?.entry(numbers[index])?.kind ?? SegmentHeader.kindLog
            segment.created = headers[index]?.created ?? 0
            if index < known.uses.count { segment.use = known.uses[index] }
            addSegment(segment)
            active = segments.count - 1
            try replay(active, headers[index], isLast: isLast)
            endSegment(active, isLast: isLast)
        }
        noteMissing(before: .max)
        drainRuns()
        while drainEnded(1 << 20) {}
        guard !segments.isEmpty else { throw .headerDamaged(segment: numbers[0]) }
        try confirmCheckpoint()
        try settle()
        if known.sequence == 0 { giveBackCheckpoint() }
        for state in namespaces { if let state { noteSettings(state.pointee.id) } }
        try finishIndexes()
        if names[Array("default".utf8)] == nil, readOnlyReason == nil, role == .master {
            _ = try createNamespace(Array("default".utf8), NamespaceSettings(), time: time)
        }
    }

    /// A last segment without a header is one that was being made, unless records stand in it.
    private mutating func dropUnborn(_ number: UInt64, _ file: DiskFile, _ length: UInt64) throws(LogError) -> Bool {
        var walker = SegmentWalker(
            disk: disk, file: file, length: length, seed: seed, expected: nextSequence, allowsGaps: false)
        guard case .end(_, garbage: false) = walker.next() else { return false }
        report.cutBytes += length
        try disk.removing(Format.name(segment: number))
        return true
    }

    /// Applies one segment's records: as its index names them, or else from the segment, and then an index is made.
    private mutating func replay(_ position: Int, _ header: SegmentHeader?, isLast: Bool) throws(LogError) {
        if let header, try replayIndex(position, header, isLast: isLast) {
            if !isLast { segments[position].last = nextSequence - 1 }
            return
        }
        indexWriter = IndexWriter(disk: disk, header: header ?? self.header, isUseful: header != nil)
        let damages = report.damageCount
        try replay(index: position, isLast: isLast, kind: header?.kind)
        if report.damageCount != damages { indexWriter.isDamaged = true }
        if isLast { return }
        segments[position].last = nextSequence - 1
        var writer = IndexWriter(disk: disk, header: self.header, isUseful: false)
        swap(&writer, &indexWriter)
        endIndex(&writer, at: position)
    }

    /// Applies one segment's records.
    private mutating func replay(index: Int, isLast: Bool, kind: UInt32?) throws(LogError) {
        let segment = segments[index]
        let allowsGaps = kind == SegmentHeader.kindCompacted
        let (watermark, unreadable) = isLast ? promise(of: segment, allowsGaps) : (.max, nil)
        var walker = SegmentWalker(
            disk: disk, file: segment.file, length: segment.length, seed: seed, expected: nextSequence,
            allowsGaps: allowsGaps)
        var batchStart: UInt64?
        var end = segment.length
        if isLast { unsettled = nil }
        walk: while true {
            let before = walker.expected
            switch walker.next() {
            case .record(let header, let offset):
                let isKey = header.type == RecordType.value || header.type >= RecordType.firstOptional
                let isTrusted = isKey && header.sequence <= watermark || plants(.trustTail)
                let isGood = isTrusted || walker.isValueValid(header, at: offset)
                if !isGood, header.sequence > watermark {
                    end = offset
                    nextSequence = before
                    break walk
                }
                if isLast, unsettled == nil, header.sequence > watermark { unsettled = offset }
                if batchStart == nil { batchStart = offset }
                guard let head = walker.bytes(at: offset, isKey ? header.headBytes : header.totalBytes) else {
                    break walk
                }
                let value = isKey ? nil : UnsafeRawPointer(head + header.headBytes)
                if !isGood {
                    let lost = header.sequence..<header.sequence + 1
                    note(segment.number, offset..<offset + UInt64(header.totalBytes), lost, false)
                    nextSequence = header.sequence + 1
                    continue walk
                }
                try apply(header, head, value, index, offset)
                let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
                indexWriter.add(IndexEntry(header, hasher.hash(key), offset, damaged: false))
                nextSequence = header.sequence + 1
                report.records += 1
                if header.batchRemaining == 0 || allowsGaps {
                    batchStart = nil
                    clearUndo()
                    indexWriter.settle()
                    turnFirst = nextSequence
                }
            case .damage(let range, let lost, let repaired):
                if lost.lowerBound > watermark {
                    end = range.lowerBound
                    nextSequence = before
                    break walk
                }
                try applyDamage(segment.number, index, range, lost, repaired, walker.repairedHead)
                nextSequence = walker.expected
            case .end(let offset, let garbage):
                // What follows the last record of an earlier segment was there when the next one was begun.
                if garbage, !isLast { note(segment.number, offset..<segment.length, before..<before, false) }
                end = offset
                break walk
            }
        }
        if let start = batchStart, isLast, !plants(.acceptTornBatch) {
            revertTurn()
            end = min(end, start)
        }
        if let unreadable, unreadable.lowerBound >= end { noteUnreadableEnd(segment.number, unreadable) }
        clearUndo()
        turnFirst = nextSequence
        segments[index].length = end
    }

    /// The highest sequence number that the last segment says is on stable storage. Damage below it destroyed what
    /// was there; damage above it may be a write that never ended. And where the segment could not be read.
    private func promise(
        of segment: Segment, _ allowsGaps: Bool
    ) -> (watermark: UInt64, unreadable: Range<UInt64>?) {
        // What a replica's records say of syncs is true of its master; what it lacks is sent again.
        if role == .replica { return (nextSequence - 1, nil) }
        var walker = SegmentWalker(
            disk: disk, file: segment.file, length: segment.length, seed: seed, expected: nextSequence,
            allowsGaps: allowsGaps)
        var watermark = nextSequence - 1
        while true {
            switch walker.next() {
            case .record(let header, _): watermark = max(watermark, header.synced)
            case .damage: continue
            case .end: return (watermark, walker.unreadable)
            }
        }
    }

    /// The log ends before a place that cannot be read. What stood there, if anything did, is cut, and nobody can say
    /// whether it was promised; but it is said that something may be missing, and its numbers are not given again.
    private mutating func noteUnreadableEnd(_ number: UInt64, _ range: Range<UInt64>) {
        note(number, range, nextSequence..<nextSequence, false)
        (endedWithClose, hasUnreadableEnd) = (false, true)
    }

    /// Cuts what was never fully written and makes durable what is kept.
    private mutating func settle() throws(LogError) {
        let last = active
        let length = try disk.measuring(segments[last].file)
        do throws(DiskError) {
            if length > segments[last].length {
                report.cutBytes += try nonZeroBytes(from: segments[last].length, to: length)
                if !plants(.keepTornEnd) {
                    try disk.truncate(segments[last].file, length: segments[last].length)
                }
            }
            try repairHeader(segments[last])
            if !plants(.trustMemory) { try rewrite(segments[last]) }
            try disk.sync(segments[last].file)
        } catch {
            switch error {
            case .readOnly: readOnlyReason = .medium
            case .crashed: throw .disk(.crashed)
            default: readOnlyReason = .syncFailed(error)
            }
        }
        durableSequence = nextSequence - 1
        if endedWithClose { markedSequence = durableSequence }
        report.wasClosed = endedWithClose
        endOfEarlier = nextSequence - 1
        firstOfSession = nextSequence
        // Promoted, and nothing was written since: what the former master gave is not known.
        let isUnused =
            role == .master && roleFile.isPromoted && segments[last].length <= UInt64(Format.headerBlockBytes)
        if isUnused || (!endedWithClose && (lastPolicy != .always || hasUnreadableEnd)), !plants(.reuseSequence) {
            firstOfSession = (nextSequence | 0xffff_ffff) + 1
        }
        reserved = segments[last].length
        beginTurn()
    }

    /// Writes again what nobody promised to be on the medium. After a sync that failed the system may hold bytes that
    /// it takes for written, which the next sync would not write; the process before this one may have died of that.
    /// Behind a stop in order that is the record `close` alone.
    private func rewrite(_ segment: Segment) throws(DiskError) {
        guard var at = unsettled else { return }
        if at == UInt64(Format.headerBlockBytes) { at = 0 }
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        while at < segment.length {
            let count = Int(min(4096 - at % 4096, segment.length - at))
            // What cannot be read is damage already.
            if (try? disk.read(segment.file, at: at, buffer, count)) != nil {
                try disk.write(segment.file, at: at, RawSpan(_unsafeStart: buffer, byteCount: count))
            }
            at += UInt64(count)
        }
    }

    /// Bytes up to the last one that is not zero.
    private func nonZeroBytes(from start: UInt64, to end: UInt64) throws(DiskError) -> UInt64 {
        var last: UInt64 = 0
        var at = start
        var buffer = [UInt8](repeating: 0, count: Int(min(end - start, 1 << 20)))
        while at < end {
            let count = Int(min(UInt64(buffer.count), end - at))
            var failure: DiskError?
            buffer.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                do throws(DiskError) { try disk.read(segments[active].file, at: at, base, count) } catch {
                    failure = error
                }
            }
            if failure != nil { return end - start }
            if let index = buffer.prefix(count).lastIndex(where: { $0 != 0 }) { last = at - start + UInt64(index) + 1 }
            at += UInt64(count)
        }
        return last
    }

    /// Applies a record to the index.
    mutating func apply(
        _ header: RecordHeader, _ head: UnsafeRawPointer, _ value: UnsafeRawPointer?, _ segment: Int, _ offset: UInt64
    ) throws(LogError) {
        if header.flags & RecordHeader.isOriginalTime == 0 { lastTime = max(lastTime, header.time) }
        endedWithClose = header.type == RecordType.close
        guard header.flags & 0xff == 0, Self.isUnderstood(extensions: head, header) else {
            throw .unknownRecord(segment: segments[segment].number, offset: offset, type: header.type)
        }
        let key = UnsafeRawBufferPointer(start: head + Format.recordHeaderBytes, count: Int(header.keyLength))
        let body = UnsafeRawBufferPointer(start: value, count: value == nil ? 0 : Int(header.valueLength))
        guard header.namespace <= UInt32(LogLimits.namespacesMax), header.sequence <= LogLimits.sequenceMax else {
            throw .corrupt(segment: segments[segment].number, offset: offset)
        }
        if isKnown(header.sequence) || forgets(header, key) { return }
        switch header.type {
        case RecordType.value, RecordType.tombstone:
            try put(header, key, hasher.hash(key), segment, offset, damaged: false)
            return
        case RecordType.namespace:
            let settings = NamespaceSettings(body)
            if hasNamespace(header.namespace), let state = namespaces[Int(header.namespace)],
                state.pointee.isReclaimed != settings.isReclaimed || state.pointee.settings.history != settings.history
            {
                noteUncertain(header.namespace)
            }
            try attachIndex(define(header.namespace, [UInt8](key), settings, header.sequence))
        case RecordType.namespaceEnd:
            // Its number is not used again, even where damage hides that it ever was.
            while namespaces.count <= Int(header.namespace) { namespaces.append(nil) }
            if hasNamespace(header.namespace) {
                namespaces[Int(header.namespace)]?.pointee.table?.close()
                forget(header.namespace)
            }
            // The number is not used again, even if nothing else of the namespace is left.
            while namespaces.count <= Int(header.namespace) { namespaces.append(nil) }
            if header.flags & RecordHeader.wipes != 0 { compaction.wiped.insert(header.namespace) }
        case RecordType.flush:
            try empty(placeholder(header.namespace), header.sequence)
            noteUncertain(header.namespace)
        case RecordType.fence:
            guard body.count >= 8 else { return }
            let state = placeholder(header.namespace)
            state.pointee.fence = max(state.pointee.fence, UInt64(littleEndian: body.loadUnaligned(as: UInt64.self)))
            state.pointee.fenced = header.sequence
        case RecordType.open:
            compaction.openRecord = header.sequence
            if body.count >= 1 { lastPolicy = SyncPolicy(rawValue: body[0]) ?? .none }
        case RecordType.mark, RecordType.close:
            break
        default:
            guard header.type >= RecordType.firstOptional else {
                throw .unknownRecord(segment: segments[segment].number, offset: offset, type: header.type)
            }
        }
        chargeControl(
            header.type == RecordType.namespaceEnd ? 0 : header.namespace, header.totalBytes, segment)
    }

    /// Whether a planted bug loses a record.
    @inline(__always)
    private func forgets(_ header: RecordHeader, _ key: UnsafeRawBufferPointer) -> Bool {
        switch header.type {
        case RecordType.value:
            guard plants(.pointToOlderVersion), hasNamespace(header.namespace) else { return false }
            return namespaces[Int(header.namespace)]?.pointee.index.find(hasher.hash(key)) != nil
        case RecordType.tombstone: return plants(.dropTombstone)
        case RecordType.namespace: return plants(.forgetSettings) && hasNamespace(header.namespace)
        case RecordType.namespaceEnd: return plants(.loseNamespaceEnd)
        case RecordType.fence: return plants(.forgetFence)
        default: return false
        }
    }

    /// Extensions are tags (u16), lengths (u16) and bytes; tags below 0x8000 must be understood, and none is yet.
    private static func isUnderstood(extensions head: UnsafeRawPointer, _ header: RecordHeader) -> Bool {
        var at = Format.recordHeaderBytes + Int(header.keyLength)
        while at < header.headBytes {
            guard at + 4 <= header.headBytes else { return false }
            let tag = UInt16(littleEndian: head.loadUnaligned(fromByteOffset: at, as: UInt16.self))
            if tag < 0x8000 { return false }
            at += 4 + Int(UInt16(littleEndian: head.loadUnaligned(fromByteOffset: at + 2, as: UInt16.self)))
        }
        return true
    }

    /// Makes a key point to a record.
    @inline(__always)
    mutating func put(
        _ header: RecordHeader, _ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ segment: Int, _ offset: UInt64,
        damaged: Bool
    ) throws(LogError) {
        let state = placeholder(header.namespace)
        let flags =
            (header.type == RecordType.tombstone ? Slot.tombstone : 0) | (damaged ? Slot.damaged : 0)
            | (header.extraLength == 0 ? 0 : Slot.extended)
        let slot = Slot(
            hash: hash, sequence: header.sequence, segment: segment, offset: offset, valueLength: header.valueLength,
            keyLength: header.keyLength, flags: flags)
        if state.pointee.isHashed { replace(state, hash, slot) } else { try modeReplace(state, key, slot) }
        if !space.isRebuilding { charge(state, header.totalBytes, segment) }
    }

    mutating func applyDamage(
        _ number: UInt64, _ segment: Int, _ range: Range<UInt64>, _ lost: Range<UInt64>, _ repaired: RecordHeader?,
        _ head: [UInt8]
    ) throws(LogError) {
        endedWithClose = false
        let isKey = repaired.map { $0.type == RecordType.value || $0.type == RecordType.tombstone } ?? false
        note(number, range, lost, isKey || repaired?.type == RecordType.mark)
        guard isKey, let repaired else { return }
        var failure: LogError?
        head.withUnsafeBytes { bytes in
            let key = UnsafeRawBufferPointer(
                rebasing: bytes[Format.recordHeaderBytes...].prefix(Int(repaired.keyLength)))
            let hash = hasher.hash(key)
            indexWriter.add(IndexEntry(repaired, hash, range.lowerBound, damaged: true))
            guard repaired.namespace <= UInt32(LogLimits.namespacesMax), !isKnown(repaired.sequence) else { return }
            do throws(LogError) {
                try put(repaired, key, hash, segment, range.lowerBound, damaged: true)
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    mutating func note(
        _ number: UInt64, _ range: Range<UInt64>, _ lost: Range<UInt64>, _ isAttributed: Bool
    ) {
        report.damageCount += 1
        guard report.damages.count < LogLimits.damagesMax else { return }
        report.damages.append(
            Damage(
                segment: number, offset: range.lowerBound, length: range.upperBound - range.lowerBound, lost: lost,
                isAttributed: isAttributed))
    }

    /// The namespace of a record; if its definition was lost, one that an administrator can find.
    private mutating func placeholder(_ id: UInt32) -> UnsafeMutablePointer<NamespaceState> {
        if Int(id) < namespaces.count, let state = namespaces[Int(id)] { return state }
        return define(id, Array("recovered-\(id)".utf8), NamespaceSettings(), 0)
    }
}

extension Disk {
    func opening(_ name: String, create: Bool) throws(LogError) -> DiskFile {
        do throws(DiskError) { return try open(name, create: create) } catch { throw .disk(error) }
    }

    func measuring(_ file: DiskFile) throws(LogError) -> UInt64 {
        do throws(DiskError) { return try length(file) } catch { throw .disk(error) }
    }

    func removing(_ name: String) throws(LogError) {
        do throws(DiskError) { try remove(name) } catch { throw .disk(error) }
    }
}
