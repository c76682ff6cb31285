import Simulation

/// Reads a segment from its first record on and says what it meets; never stops at damage, because only its caller
/// knows whether bytes were lost or never fully written.
struct SegmentWalker: ~Copyable {
    enum Event {
        /// A record whose header and key are good; the value has not been looked at.
        case record(RecordHeader, offset: UInt64)
        /// Bytes that are no record. `lost` are the sequence numbers that stood there, `repaired` what the damaged
        /// header said, where one byte of it can be restored.
        case damage(Range<UInt64>, lost: Range<UInt64>, repaired: RecordHeader?)
        /// No record follows. `garbage` is true if bytes other than zero do.
        case end(offset: UInt64, garbage: Bool)
    }

    private static let windowBytes = 1 << 20

    let disk: any Disk
    let file: DiskFile
    private(set) var length: UInt64
    let seed: UInt32
    let allowsGaps: Bool
    /// Where the next record is looked for.
    private(set) var offset = UInt64(Format.headerBlockBytes)
    /// The sequence number that the next record should have.
    private(set) var expected: UInt64
    private let window: UnsafeMutableRawPointer
    private let windowCapacity: Int
    private var windowStart: UInt64 = 0
    private var windowCount = 0
    /// Where the segment could not be read, if anywhere: the last such page.
    private(set) var unreadable: Range<UInt64>?
    /// Header, key and extensions of the last damage that was repaired.
    private(set) var repairedHead: [UInt8] = []

    init(disk: any Disk, file: DiskFile, length: UInt64, seed: UInt32, expected: UInt64, allowsGaps: Bool) {
        (self.disk, self.file, self.length, self.seed) = (disk, file, length, seed)
        (self.expected, self.allowsGaps) = (expected, allowsGaps)
        windowCapacity = max(Int(min(UInt64(Self.windowBytes), length)), Format.headBytesMax + 8)
        window = .allocate(byteCount: windowCapacity, alignment: 16)
    }

    deinit { window.deallocate() }

    /// The segment has grown.
    mutating func extend(to length: UInt64) { self.length = max(self.length, length) }

    /// Bytes of the segment; nil where the segment is shorter.
    mutating func bytes(at start: UInt64, _ count: Int) -> UnsafeMutableRawPointer? {
        guard start + UInt64(count) <= length, count <= windowCapacity else { return nil }
        if start < windowStart || start + UInt64(count) > windowStart + UInt64(windowCount) {
            windowStart = start
            windowCount = Int(min(UInt64(windowCapacity), length - start))
            fill()
        }
        return window + Int(start - windowStart)
    }

    /// Reads the window; pages that the disk cannot read become zeros, and so damage.
    private mutating func fill() {
        if (try? disk.read(file, at: windowStart, window, windowCount)) != nil { return }
        var at = 0
        while at < windowCount {
            let count = min(4096, windowCount - at)
            if (try? disk.read(file, at: windowStart + UInt64(at), window + at, count)) == nil {
                (window + at).initializeMemory(as: UInt8.self, repeating: 0, count: count)
                unreadable = windowStart + UInt64(at)..<windowStart + UInt64(at + count)
            }
            at += count
        }
    }

    /// Whether the value of a record is what was written.
    mutating func isValueValid(_ header: RecordHeader, at offset: UInt64) -> Bool {
        var state: UInt32 = ~0
        var left = Int(header.valueLength)
        var at = offset + UInt64(header.headBytes)
        while left > 0 {
            let count = min(left, min(windowCapacity, 1 << 18))
            guard let bytes = bytes(at: at, count) else { return false }
            state = Format.checksum(state, bytes, count)
            left -= count
            at += UInt64(count)
        }
        return ~state == header.valueChecksum
    }

    /// The next thing in the segment.
    mutating func next() -> Event {
        if let header = record(at: offset) {
            let isGap = header.type == RecordType.open || allowsGaps
            if header.sequence == expected || (isGap && header.sequence > expected) {
                return accept(header)
            }
            if header.sequence > expected {
                let lost = expected..<header.sequence
                expected = header.sequence
                return .damage(offset..<offset, lost: lost, repaired: nil)
            }
        }
        if let header = repair(at: offset) {
            let end = min(length, offset + UInt64(header.totalBytes))
            let range = offset..<end
            offset = end
            expected = header.sequence + 1
            return .damage(range, lost: header.sequence..<header.sequence + 1, repaired: header)
        }
        return resynchronize()
    }

    private mutating func accept(_ header: RecordHeader) -> Event {
        let at = offset
        offset += UInt64(header.totalBytes)
        expected = header.sequence + 1
        return .record(header, offset: at)
    }

    /// A record whose head is good and that ends inside the segment.
    private mutating func record(at start: UInt64) -> RecordHeader? {
        guard let head = bytes(at: start, Format.recordHeaderBytes), let header = RecordHeader(head),
            start + UInt64(header.totalBytes) <= length, let whole = bytes(at: start, header.headBytes),
            header.isValid(whole, seed: seed)
        else { return nil }
        return header
    }

    /// Looks for the next record behind damage.
    private mutating func resynchronize() -> Event {
        let start = offset
        var at = start
        var garbage = false
        while let head = bytes(at: at, 8) {
            let isZero = head.loadUnaligned(as: UInt64.self) == 0
            if !isZero { garbage = true }
            // The checksum of a record is not zero but once in 2^32, and then its value's checksum is not.
            if !isZero, at > start, let header = record(at: at), header.sequence >= expected,
                allowsGaps || header.sequence - expected <= (at - start) / UInt64(Format.recordHeaderBytes)
                    || header.type == RecordType.open
            {
                let lost = expected..<header.sequence
                offset = at
                expected = header.sequence
                return .damage(start..<at, lost: lost, repaired: nil)
            }
            at += 8
        }
        offset = length
        return .end(offset: start, garbage: garbage)
    }

    /// The head at an offset with one byte changed so that its checksum and sequence number are right.
    private mutating func repair(at start: UInt64) -> RecordHeader? {
        let available = Int(min(UInt64(Format.headBytesMax), length > start ? length - start : 0))
        guard available >= Format.recordHeaderBytes, !allowsGaps,
            let head = bytes(at: start, Format.recordHeaderBytes)
        else { return nil }
        if (0..<8).allSatisfy({ head.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self) == 0 }) { return nil }
        guard let bytes = bytes(at: start, available) else { return nil }
        var copy = [UInt8](UnsafeRawBufferPointer(start: bytes, count: min(available, Format.recordHeaderBytes + 255)))
        // Only one byte may be wrong, so if one of two fields is, the other is right.
        let hasMagic = head.loadUnaligned(fromByteOffset: 8, as: UInt16.self) == Format.recordMagic.littleEndian
        let hasSequence = head.loadUnaligned(fromByteOffset: 16, as: UInt64.self) == expected.littleEndian
        guard hasMagic || hasSequence else { return nil }
        let positions = hasMagic ? (hasSequence ? 0..<copy.count : 16..<24) : 8..<10
        for position in positions {
            let original = copy[position]
            for value in UInt8.min...UInt8.max where value != original {
                copy[position] = value
                if let header = plausible(copy) {
                    repairedHead = Array(copy.prefix(header.headBytes))
                    return header
                }
            }
            copy[position] = original
        }
        return nil
    }

    private func plausible(_ head: [UInt8]) -> RecordHeader? {
        head.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let header = RecordHeader(base), header.sequence == expected,
                header.headBytes <= bytes.count, header.isValid(base, seed: seed)
            else { return nil }
            return header
        }
    }
}

extension Disk {
    /// Fills one buffer from an offset.
    func read(
        _ file: DiskFile, at offset: UInt64, _ bytes: UnsafeMutableRawPointer, _ count: Int
    ) throws(DiskError) {
        var first = MutableRawSpan(_unsafeStart: bytes, byteCount: count)
        var second = MutableRawSpan()
        try read(file, at: offset, &first, &second)
    }

    /// Fills two buffers, one after the other, from an offset.
    @inline(__always)
    func read(
        _ file: DiskFile, at offset: UInt64, _ bytes: UnsafeMutableRawPointer, _ count: Int,
        _ more: UnsafeMutableRawPointer, _ moreCount: Int
    ) throws(DiskError) {
        var first = MutableRawSpan(_unsafeStart: bytes, byteCount: count)
        var second = MutableRawSpan(_unsafeStart: more, byteCount: moreCount)
        try read(file, at: offset, &first, &second)
    }
}
