import Simulation

/// Why a master does not send its log to a replica.
public enum ReplicaRefusal: Error, Hashable, Sendable {
    /// The replica is of another device.
    case foreign
    /// The replica knows a higher epoch: this one is the master no longer.
    case superseded(epoch: UInt64)
    /// The replica holds what this log does not: it has to be cut at a place before it can go on.
    case diverged(LogPosition)
    /// A segment was compacted; such ones are not sent yet.
    case compacted(segment: UInt64)
    /// The disk failed, with what was found.
    case failed(LogError)
}

/// What one replica was sent: a place in the log. It reads from the segments' files, which the system has in memory,
/// so a replica costs the master no memory however far behind it is.
public struct ReplicaSender: Sendable {
    /// The segment that is being sent; 0 before the first.
    public private(set) var segment: UInt64 = 0
    /// The next byte of it.
    public private(set) var offset: UInt64 = 0
    /// CRC-32C of what was sent of the segment since `from`, not yet inverted.
    private var checksum: UInt32 = ~0
    private var from: UInt64 = 0
    private var isBegun = false
    private var isSealed = false

    init(at position: LogPosition?) {
        guard let position else { return }
        (segment, offset, from, isBegun) = (position.segment, position.offset, position.offset, true)
    }

    /// Bytes that a call of `fill` may need at least.
    public static let roomMin = 2 * (ReplicationFrame.headerBytes + Format.headerBlockBytes)

    /// Writes frames for what the replica lacks, as many as there is room for; returns how many bytes.
    public mutating func fill(
        _ engine: borrowing LogEngine, _ to: UnsafeMutableRawPointer, room: Int
    ) throws(LogError) -> Int {
        var used = 0
        while room - used >= Self.roomMin {
            if !isBegun || isSealed {
                guard let next = engine.segment(after: segment) else { break }
                segment = next
                (offset, from, checksum, isBegun, isSealed) = (0, 0, ~0, true, false)
            }
            guard let position = engine.position(ofSegment: segment) else { throw .foreign(segment: segment) }
            let isActive = position == engine.active
            let end = engine.sendableEnd
            let limit =
                !isActive
                ? engine.segments[position].length
                : end.segment == segment ? end.offset : UInt64(Format.headerBlockBytes)
            let target = to + used
            if offset == 0 {
                used += try send(engine, position, .begin, Format.headerBlockBytes, target)
            } else if offset < limit {
                let count = min(limit - offset, UInt64(room - used - ReplicationFrame.headerBytes))
                used += try send(
                    engine, position, .bytes, min(Int(count), ReplicationFrame.payloadBytesMax), target)
            } else if !isActive {
                used += seal(engine, target)
            } else {
                break
            }
        }
        return used
    }

    /// Whether there is something that was not sent.
    public func isBehind(_ engine: borrowing LogEngine) -> Bool {
        let end = engine.sendableEnd
        return segment != end.segment || offset < end.offset
    }

    /// A frame that says where the master is; behind everything that was sent before. The token comes back.
    public func position(
        _ engine: borrowing LogEngine, time: UInt64, token: UInt64, _ to: UnsafeMutableRawPointer
    ) -> Int {
        var frame = frame(engine, ReplicationFrame.Kind.position)
        frame.payloadLength = ReplicationFrame.positionBytes
        let payload = to + ReplicationFrame.headerBytes
        for (index, word) in [time, token, engine.logBytes, engine.epoch].enumerated() {
            payload.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
        }
        frame.store(to)
        return ReplicationFrame.headerBytes + frame.payloadLength
    }

    private enum Part { case begin, bytes }

    private func frame(_ engine: borrowing LogEngine, _ kind: UInt8) -> ReplicationFrame {
        var frame = ReplicationFrame()
        (frame.kind, frame.segment, frame.offset) = (kind, segment, offset)
        frame.sequence = engine.turnFirst &- 1
        return frame
    }

    private mutating func send(
        _ engine: borrowing LogEngine, _ position: Int, _ part: Part, _ count: Int, _ to: UnsafeMutableRawPointer
    ) throws(LogError) -> Int {
        var frame = frame(engine, part == .begin ? ReplicationFrame.Kind.begin : ReplicationFrame.Kind.bytes)
        frame.payloadLength = count
        let payload = to + ReplicationFrame.headerBytes
        do throws(DiskError) {
            try engine.disk.read(engine.segments[position].file, at: offset, payload, count)
        } catch { throw .disk(error) }
        frame.store(to)
        checksum = Format.checksum(checksum, payload, count)
        offset += UInt64(count)
        return ReplicationFrame.headerBytes + count
    }

    private mutating func seal(_ engine: borrowing LogEngine, _ to: UnsafeMutableRawPointer) -> Int {
        var frame = frame(engine, ReplicationFrame.Kind.seal)
        frame.payloadLength = 16
        let payload = to + ReplicationFrame.headerBytes
        payload.storeBytes(of: from.littleEndian, as: UInt64.self)
        payload.storeBytes(of: UInt64(~checksum).littleEndian, toByteOffset: 8, as: UInt64.self)
        frame.store(to)
        isSealed = true
        return ReplicationFrame.headerBytes + frame.payloadLength
    }
}

extension LogEngine {
    /// The end of what may be sent to replicas: what clients may have been told of. Under `always` that is durable.
    public var sendableEnd: LogPosition {
        guard !segments.isEmpty else { return LogPosition(segment: 0, offset: 0) }
        return LogPosition(segment: segments[active].number, offset: turnLength)
    }

    func position(ofSegment number: UInt64) -> Int? {
        for index in order.reversed() where segments[index].number == number { return index }
        return nil
    }

    /// The number of the next segment of the log.
    func segment(after number: UInt64) -> UInt64? {
        for index in order where segments[index].number > number { return segments[index].number }
        return nil
    }

    /// Compares what a replica has with this log: from where on it has to be sent.
    public func beginSending(
        device: [UInt8]?, epoch: UInt64, inventory: [SegmentSummary]
    ) throws(ReplicaRefusal) -> ReplicaSender {
        if epoch > header.epoch { throw .superseded(epoch: epoch) }
        // Frames say segments in the order of their numbers, which is the log's only until one was compacted.
        if manifest != nil { throw .failed(.unknownFile) }
        if let device, device != self.device { throw .foreign }
        for position in order {
            let kind: UInt32
            do throws(LogError) { kind = try summarize(position, length: 0, withFingerprint: false).kind } catch {
                throw .failed(error)
            }
            if kind == SegmentHeader.kindCompacted { throw .compacted(segment: segments[position].number) }
        }
        var sender = ReplicaSender(at: nil)
        var expected = order.isEmpty ? 0 : segments[order[0]].number
        for (index, summary) in inventory.enumerated() {
            let start = LogPosition(segment: summary.number, offset: 0)
            guard summary.number == expected, let position = position(ofSegment: summary.number) else {
                throw .diverged(LogPosition(segment: min(summary.number, expected), offset: 0))
            }
            let own: SegmentSummary
            let length = position == active ? turnLength : segments[position].length
            do throws(LogError) {
                own = try summarize(
                    position, length: min(summary.length, length), withFingerprint: summary.fingerprint != 0)
            } catch { throw .failed(error) }
            guard own.headerChecksum == summary.headerChecksum else { throw .diverged(start) }
            let isLast = index == inventory.count - 1
            if summary.length > length || (!isLast && summary.length != length) {
                throw .diverged(LogPosition(segment: summary.number, offset: min(summary.length, length)))
            }
            guard own.fingerprint == summary.fingerprint else { throw .diverged(start) }
            let next = summary.length + (plants(.resumeLate) ? 64 : 0)
            sender = ReplicaSender(at: LogPosition(segment: summary.number, offset: next))
            expected = segment(after: summary.number) ?? .max
        }
        return sender
    }

    /// What this device has, as it is told to a master.
    public func inventory() throws(LogError) -> [SegmentSummary] {
        var result: [SegmentSummary] = []
        for (index, position) in order.enumerated() {
            let length = position == active ? turnLength : segments[position].length
            result.append(try summarize(position, length: length, withFingerprint: index + 2 >= order.count))
        }
        return result
    }

    private func summarize(
        _ position: Int, length: UInt64, withFingerprint: Bool
    ) throws(LogError) -> SegmentSummary {
        var summary = SegmentSummary()
        (summary.number, summary.length) = (segments[position].number, length)
        let start = max(UInt64(Format.headerBlockBytes), length > 65536 ? length - 65536 : 0)
        let count = withFingerprint && length > start ? Int(length - start) : 0
        var bytes = [UInt8](repeating: 0, count: max(Format.headerBytes, count))
        var failure: DiskError?
        let file = segments[position].file
        bytes.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(DiskError) {
                try disk.read(file, at: 0, base, Format.headerBytes)
                summary.headerChecksum = base.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
                summary.epoch = base.loadUnaligned(fromByteOffset: 56, as: UInt64.self)
                summary.kind = base.loadUnaligned(fromByteOffset: 88, as: UInt32.self)
                if count > 0 { try disk.read(file, at: start, base, count) }
                // 0 says that there is none.
                if count > 0 { summary.fingerprint = max(1, Format.checksum(base, count)) }
            } catch { failure = error }
        }
        if let failure { throw .disk(failure) }
        return summary
    }
}
