public import Simulation

/// A record as a scan meets it.
public struct ScannedRecord: Sendable {
    /// One of `RecordType`.
    public let type: UInt8
    /// Its namespace; 0 is the device.
    public let namespace: UInt32
    /// Its sequence number.
    public let sequence: UInt64
    /// The sequence number of the key's version before.
    public let previous: UInt64
    /// Nanoseconds since 1970.
    public let time: UInt64
    /// The number of its segment.
    public let segment: UInt64
    /// Where in the segment it stands.
    public let offset: UInt64
    /// Bytes of the value.
    public let valueLength: Int
    /// Bytes in the log.
    public let totalBytes: UInt64
    /// Whether the value is what was written.
    public let isValueGood: Bool
    /// The key.
    public let key: [UInt8]
}

/// Bytes of the log that are not what was written.
public struct LogProblem: Hashable, Sendable {
    /// What is wrong.
    public enum Kind: String, Sendable {
        /// One of a segment's two headers does not match its checksum; the other serves.
        case headerCopy = "header copy"
        /// Neither of a segment's headers matches.
        case header = "header"
        /// Header or key of a record; which record it was is known.
        case head = "record head"
        /// Bytes that are no record.
        case bytes = "no record"
        /// A record's value.
        case value = "value"
        /// Records that the log must have had and has not.
        case missing = "missing records"
        /// Bytes behind a sealed segment's last record.
        case garbage = "bytes behind the last record"
        /// A file that cannot be read.
        case file = "unreadable file"
        /// A segment's `.index` file; it is derived and can be deleted.
        case index = "index file"
        /// One of the two copies of a change of the manifest; the other serves.
        case manifestCopy = "manifest copy"
    }

    /// What is wrong.
    public let kind: Kind
    /// The number of the segment.
    public let segment: UInt64
    /// The first bad byte.
    public let offset: UInt64
    /// How many; 0 if nothing is there that should be.
    public let length: UInt64
    /// Sequence numbers of the records that are concerned.
    public let sequences: Range<UInt64>
    /// The namespace, where it is known.
    public let namespace: UInt32?
    /// The key, where it is known.
    public let key: [UInt8]?
}

/// Takes what a scan meets.
public protocol LogVisitor {
    /// A record, in the order of the log.
    mutating func visit(_ record: ScannedRecord, in scanner: borrowing LogScanner)
    /// Damage.
    mutating func visit(_ problem: LogProblem)
}

/// Reads all segments of a device without opening it and without writing: for checking and for export.
public struct LogScanner: ~Copyable {
    struct Found {
        var number: UInt64
        var file: DiskFile
        var header: SegmentHeader?
        var length: UInt64
        var hasBothHeaders: Bool
    }

    let disk: any Disk
    private(set) var found: [Found] = []
    /// What says which segments count, where the device was compacted.
    private(set) var manifest: Manifest?
    private var seed: UInt32 = 0
    /// Bytes at the end of the log that were never fully written; the next start cuts them.
    public private(set) var unfinishedBytes: UInt64 = 0
    /// Segments that were read.
    public var segmentCount: Int { found.count }
    /// Bytes of all segments.
    public var bytes: UInt64 { found.reduce(0) { $0 + $1.length } }
    /// The device's identity, 16 bytes.
    public private(set) var device: [UInt8] = []

    /// Finds a device's segments.
    public init(disk: any Disk) throws(LogError) {
        self.disk = disk
        manifest = try Self.attempt(disk, into: &found)
        guard let known = found.lazy.compactMap({ $0.header }).last else {
            if let first = found.first { throw .headerDamaged(segment: first.number) }
            return
        }
        seed = known.checksumSeed
        device = [known.device.0, known.device.1].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
        }
        for segment in found {
            guard let header = segment.header else { continue }
            guard header.device == known.device, header.number == segment.number else {
                throw .foreign(segment: segment.number)
            }
        }
    }

    /// The segments that count, in the order of the log, and the manifest if there is one. A server that runs may compact
    /// meanwhile: then its segments are looked for again.
    private static func attempt(_ disk: any Disk, into found: inout [Found]) throws(LogError) -> Manifest? {
        for attempt in 0..<5 {
            for segment in found { disk.close(segment.file) }
            found = []
            let names: [String]
            do throws(DiskError) { names = try disk.list() } catch { throw .disk(error) }
            let manifest = try Manifest.find(disk, names)
            let numbers = LogEngine.inOrder(names.compactMap { Format.number(segment: $0) }.sorted(), manifest)
            do throws(DiskError) {
                for number in numbers {
                    if let segment = try find(disk, number) { found.append(segment) }
                }
            } catch { throw .disk(error) }
            let isWhole = manifest.map { $0.entries.count == found.count } ?? (numbers.count == found.count)
            if isWhole || attempt == 4 { return manifest }
        }
        return nil
    }

    /// A segment's file; nil if it is not there.
    private static func find(_ disk: any Disk, _ number: UInt64) throws(DiskError) -> Found? {
        let file: DiskFile
        do throws(DiskError) { file = try disk.open(Format.name(segment: number), create: false) } catch {
            if error == .missing { return nil }
            throw error
        }
        let length = try disk.length(file)
        var block = [UInt8](repeating: 0, count: Format.headerBlockBytes)
        if length >= UInt64(Format.headerBlockBytes) {
            block.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                for start in [0, Format.headerCopyOffset] {
                    try? disk.read(file, at: UInt64(start), base + start, Format.headerCopyOffset)
                }
            }
        }
        let second = Array(block[Format.headerCopyOffset...]) + [UInt8](repeating: 0, count: Format.headerCopyOffset)
        let first = Array(block[..<Format.headerCopyOffset]) + [UInt8](repeating: 0, count: Format.headerCopyOffset)
        return Found(
            number: number, file: file, header: SegmentHeader(block: block), length: length,
            hasBothHeaders: SegmentHeader(block: first) != nil && SegmentHeader(block: second) != nil)
    }

    /// Reads everything and tells the visitor.
    public mutating func run(_ visitor: inout some LogVisitor) {
        var next: UInt64 = 1
        unfinishedBytes = 0
        if let problem = manifestProblem() { visitor.visit(problem) }
        for index in found.indices {
            visitMissing(before: found[index].number, &next, &visitor)
            scan(index, &next, &visitor)
            visitEnd(of: found[index], &next, &visitor)
            if let problem = indexProblem(found[index]) { visitor.visit(problem) }
        }
        visitMissing(before: nil, &next, &visitor)
    }

    /// A record's value; nil if it cannot be read or is not what was written.
    public func value(of record: ScannedRecord) -> [UInt8]? {
        guard record.isValueGood, let segment = found.first(where: { $0.number == record.segment }) else { return nil }
        var head = [UInt8](repeating: 0, count: Format.recordHeaderBytes)
        guard read(segment.file, record.offset, &head) else { return nil }
        let header = head.withUnsafeBytes { bytes in bytes.baseAddress.flatMap { RecordHeader($0) } }
        guard let header, header.sequence == record.sequence else { return nil }
        var value = [UInt8](repeating: 0, count: Int(header.valueLength))
        guard read(segment.file, record.offset + UInt64(header.headBytes), &value) else { return nil }
        let checksum = value.withUnsafeBytes { bytes in bytes.baseAddress.map { Format.checksum($0, bytes.count) } ?? 0
        }
        return value.isEmpty || checksum == header.valueChecksum ? value : nil
    }

    func read(_ file: DiskFile, _ offset: UInt64, _ bytes: inout [UInt8]) -> Bool {
        bytes.withUnsafeMutableBytes { target in
            guard let base = target.baseAddress, !target.isEmpty else { return true }
            return (try? disk.read(file, at: offset, base, target.count)) != nil
        }
    }

    // MARK: One segment

    private mutating func scan(_ index: Int, _ next: inout UInt64, _ visitor: inout some LogVisitor) {
        let segment = found[index]
        let isLast = index == found.count - 1
        let isCompacted = segment.header?.kind == SegmentHeader.kindCompacted
        if let header = segment.header {
            if !segment.hasBothHeaders {
                visitor.visit(Self.problem(.headerCopy, segment, 0, UInt64(Format.headerBlockBytes)))
            }
            if header.firstSequence > next || isCompacted {
                if manifest == nil, !isCompacted, header.previousSequence >= next {
                    visitor.visit(
                        Self.problem(.missing, segment, 0, 0, sequences: next..<header.previousSequence + 1))
                }
                next = header.firstSequence
            }
        } else if isLast, isUnborn(segment, next) {
            unfinishedBytes += segment.length
            return
        } else {
            visitor.visit(Self.problem(.header, segment, 0, min(segment.length, UInt64(Format.headerBlockBytes))))
        }
        let watermark = isLast && !isCompacted ? highestWatermark(segment, next) : UInt64.max
        var walker = SegmentWalker(
            disk: disk, file: segment.file, length: segment.length, seed: seed, expected: next,
            allowsGaps: isCompacted)
        while step(&walker, segment, isLast, watermark, &visitor) {}
        next = walker.expected
    }

    /// The next thing of a segment; false at its end.
    private mutating func step(
        _ walker: inout SegmentWalker, _ segment: Found, _ isLast: Bool, _ watermark: UInt64,
        _ visitor: inout some LogVisitor
    ) -> Bool {
        switch walker.next() {
        case .record(let header, let offset):
            let isGood = header.valueLength == 0 || walker.isValueValid(header, at: offset)
            if !isGood, header.sequence > watermark {
                unfinishedBytes += segment.length - offset
                return false
            }
            let key = walker.bytes(at: offset + UInt64(Format.recordHeaderBytes), Int(header.keyLength)).map {
                [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(header.keyLength)))
            }
            let record = ScannedRecord(
                type: header.type, namespace: header.namespace, sequence: header.sequence, previous: header.previous,
                time: header.time, segment: segment.number, offset: offset, valueLength: Int(header.valueLength),
                totalBytes: UInt64(header.totalBytes), isValueGood: isGood, key: key ?? [])
            visitor.visit(record, in: self)
            if !isGood {
                visitor.visit(
                    Self.problem(
                        .value, segment, offset + UInt64(header.headBytes), UInt64(header.valueLength),
                        sequences: header.sequence..<header.sequence + 1, header.namespace, key))
            }
            return true
        case .damage(let range, let lost, let repaired):
            if lost.lowerBound > watermark {
                unfinishedBytes += segment.length - range.lowerBound
                return false
            }
            let key = repaired.map { header in
                Array(walker.repairedHead.dropFirst(Format.recordHeaderBytes).prefix(Int(header.keyLength)))
            }
            let kind: LogProblem.Kind = repaired != nil ? .head : range.isEmpty ? .missing : .bytes
            visitor.visit(
                Self.problem(
                    kind, segment, range.lowerBound, repaired.map { UInt64($0.headBytes) } ?? UInt64(range.count),
                    sequences: lost, repaired?.namespace, key))
            return true
        case .end(let offset, let garbage):
            if garbage, isLast, walker.expected > watermark {
                unfinishedBytes += segment.length - offset
            } else if garbage {
                visitor.visit(Self.problem(.garbage, segment, offset, segment.length - offset))
            }
            return false
        }
    }

    static func problem(
        _ kind: LogProblem.Kind, _ segment: Found, _ offset: UInt64, _ length: UInt64,
        sequences: Range<UInt64> = 0..<0, _ namespace: UInt32? = nil, _ key: [UInt8]? = nil
    ) -> LogProblem {
        LogProblem(
            kind: kind, segment: segment.number, offset: offset, length: length, sequences: sequences,
            namespace: namespace, key: key)
    }

    private func isUnborn(_ segment: Found, _ next: UInt64) -> Bool {
        var walker = SegmentWalker(
            disk: disk, file: segment.file, length: segment.length, seed: seed, expected: next, allowsGaps: false)
        if case .end(_, garbage: false) = walker.next() { return true }
        return false
    }

    /// As recovery sees it: everything up to here was promised.
    private func highestWatermark(_ segment: Found, _ next: UInt64) -> UInt64 {
        var walker = SegmentWalker(
            disk: disk, file: segment.file, length: segment.length, seed: seed, expected: next, allowsGaps: false)
        var watermark = next - 1
        while true {
            switch walker.next() {
            case .record(let header, _): watermark = max(watermark, header.synced)
            case .damage: continue
            case .end: return watermark
            }
        }
    }
}
