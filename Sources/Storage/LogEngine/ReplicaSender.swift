import Simulation

/// Why a master does not send its log to a replica.
public enum ReplicaRefusal: Error, Hashable, Sendable {
    /// The replica is of another device.
    case foreign
    /// The replica knows a higher epoch: this one is the master no longer.
    case superseded(epoch: UInt64)
    /// The replica holds what this log does not: it has to be cut at a place before it can go on.
    case diverged(LogPosition)
    /// What the replica has behind a place was compacted here meanwhile. Nothing in it is unknown here, so it can be
    /// given up without a loss.
    case compacted(LogPosition)
    /// A segment that was being sent was compacted: the replica has to ask again.
    case moved(segment: UInt64)
    /// This device is a copy that is not complete itself.
    case incomplete
    /// The disk failed, with what was found.
    case failed(LogError)
}

/// What one replica was sent: a place in the log, and which segments it has. It reads from the segments' files, which
/// the system has in memory, so a replica costs the master little memory however far behind it is.
///
/// Bytes of the log come first. What compaction put in the place of segments that the replica has is sent as whole
/// segments beside the log, and takes effect by one frame behind all that compaction had looked at.
public struct ReplicaSender: Sendable {
    /// Segments that the replica has to replace.
    private struct Plan {
        var removed: [UInt64]
        var added: [UInt64]
        /// How far the log has to be sent before.
        var barrier: LogPosition
        var decided: UInt64
    }

    private enum Part { case begin, bytes }

    /// The segment that is being sent; 0 before the first.
    public private(set) var segment: UInt64 = 0
    /// The next byte of it.
    public private(set) var offset: UInt64 = 0
    /// CRC-32C of what was sent of the segment since `from`, not yet inverted.
    private var checksum: UInt32 = ~0
    private var from: UInt64 = 0
    private var isBegun = false
    private var isSealed = false
    /// The replica's segments, in the order of its log, once it has taken all that was sent.
    private var view: [UInt64] = []
    /// The change of the log's order that `view` was compared with.
    private var generation: UInt64?
    private var plan: Plan?
    /// Whole segments that were sent for the plan, and the one that is being sent.
    private var staged: Set<UInt64> = []
    private var staging: UInt64 = 0
    private var stagedOffset: UInt64 = 0
    private var stagedChecksum: UInt32 = ~0

    init(having view: [UInt64], at position: LogPosition?) {
        self.view = view
        guard let position else { return }
        (segment, offset, from, isBegun) = (position.segment, position.offset, position.offset, true)
    }

    /// Bytes that a call of `fill` may need at least.
    public static let roomMin = 2 * (ReplicationFrame.headerBytes + Format.headerBlockBytes)

    /// Writes frames for what the replica lacks, as many as there is room for; returns how many bytes.
    public mutating func fill(
        _ engine: borrowing LogEngine, _ to: UnsafeMutableRawPointer, room: Int
    ) throws(ReplicaRefusal) -> Int {
        if generation != engine.orderGeneration { try align(engine) }
        var used = 0
        // The log does not take everything for itself.
        let logRoom = plan == nil ? room : max(Self.roomMin, room - room / 8)
        do throws(LogError) {
            while logRoom - used >= Self.roomMin, let count = try log(engine, to + used, logRoom - used) {
                used += count
            }
        } catch { throw .failed(error) }
        while room - used >= Self.roomMin, let count = try replacement(engine, to + used, room - used) { used += count }
        return used
    }

    /// Whether there is something that was not sent.
    public func isBehind(_ engine: borrowing LogEngine) -> Bool {
        let end = engine.sendableEnd
        return segment != end.segment || offset < end.offset || plan != nil || generation != engine.orderGeneration
    }

    /// A frame that says where the master is; behind everything that was sent before. The token comes back.
    public func position(
        _ engine: borrowing LogEngine, time: UInt64, token: UInt64, _ to: UnsafeMutableRawPointer
    ) -> Int {
        var frame = frame(engine, ReplicationFrame.Kind.position)
        frame.payloadLength = ReplicationFrame.positionBytes
        let payload = to + ReplicationFrame.headerBytes
        let flags: UInt64 = isBehind(engine) || engine.isIncomplete ? 0 : 1
        for (index, word) in [time, token, engine.logBytes, engine.epoch, flags].enumerated() {
            payload.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
        }
        frame.store(to)
        return ReplicationFrame.headerBytes + frame.payloadLength
    }

    private func frame(_ engine: borrowing LogEngine, _ kind: UInt8) -> ReplicationFrame {
        var frame = ReplicationFrame()
        (frame.kind, frame.segment, frame.offset) = (kind, segment, offset)
        frame.sequence = engine.decidedSequence
        return frame
    }

    // MARK: The log

    /// One frame of the log; nil if there is nothing to send.
    private mutating func log(
        _ engine: borrowing LogEngine, _ to: UnsafeMutableRawPointer, _ room: Int
    ) throws(LogError) -> Int? {
        if !isBegun || isSealed {
            guard let next = engine.segment(after: segment) else { return nil }
            segment = next
            view.append(next)
            (offset, from, checksum, isBegun, isSealed) = (0, 0, ~0, true, false)
        }
        guard let position = engine.position(ofSegment: segment) else { throw .foreign(segment: segment) }
        let isActive = position == engine.active
        let end = engine.sendableEnd
        let limit =
            !isActive
            ? engine.segments[position].length
            : end.segment == segment ? end.offset : UInt64(Format.headerBlockBytes)
        if offset == 0 { return try send(engine, position, .begin, Format.headerBlockBytes, to) }
        if offset < limit {
            let count = min(limit - offset, UInt64(room - ReplicationFrame.headerBytes))
            return try send(engine, position, .bytes, min(Int(count), ReplicationFrame.payloadBytesMax), to)
        }
        return isActive ? nil : seal(engine, position, to)
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

    private mutating func seal(
        _ engine: borrowing LogEngine, _ position: Int, _ to: UnsafeMutableRawPointer
    ) -> Int {
        var frame = frame(engine, ReplicationFrame.Kind.seal)
        frame.payloadLength = ReplicationFrame.sealBytes
        let payload = to + ReplicationFrame.headerBytes
        for (index, word) in [from, UInt64(~checksum), engine.segments[position].last].enumerated() {
            payload.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
        }
        frame.store(to)
        isSealed = true
        return ReplicationFrame.headerBytes + frame.payloadLength
    }

    // MARK: What compaction changed

    /// Compares what the replica has with the log: the first segments that have to be replaced become the plan.
    private mutating func align(_ engine: borrowing LogEngine) throws(ReplicaRefusal) {
        let order = engine.order.map { engine.segments[$0].number }
        let here = Set(order)
        if let last = view.last, !here.contains(last) { throw .moved(segment: last) }
        (generation, plan) = (engine.orderGeneration, nil)
        var (own, theirs) = (0, 0)
        while theirs < view.count {
            var (removed, added): ([UInt64], [UInt64]) = ([], [])
            while theirs < view.count, !here.contains(view[theirs]) {
                removed.append(view[theirs])
                theirs += 1
            }
            while own < order.count, order[own] != view[theirs] {
                added.append(order[own])
                own += 1
            }
            if own == order.count { throw .moved(segment: view[theirs]) }
            if !removed.isEmpty || !added.isEmpty {
                plan = Plan(
                    removed: removed, added: added, barrier: engine.sendableEnd, decided: engine.decidedSequence)
                break
            }
            (own, theirs) = (own + 1, theirs + 1)
        }
        let wanted = Set(plan?.added ?? [])
        staged.formIntersection(wanted)
        if !wanted.contains(staging) { staging = 0 }
    }

    /// One frame of a whole segment, or the one by which they count; nil if there is nothing to send now.
    private mutating func replacement(
        _ engine: borrowing LogEngine, _ to: UnsafeMutableRawPointer, _ room: Int
    ) throws(ReplicaRefusal) -> Int? {
        guard let plan else { return nil }
        if staging == 0 {
            guard let next = plan.added.first(where: { !staged.contains($0) }) else {
                return hasPassed(plan.barrier, engine) ? try replace(engine, plan, to, room) : nil
            }
            (staging, stagedOffset, stagedChecksum) = (next, 0, ~0)
        }
        guard let position = engine.position(ofSegment: staging) else { throw .moved(segment: staging) }
        let length = engine.segments[position].length
        var frame = frame(engine, ReplicationFrame.Kind.stageBytes)
        (frame.segment, frame.offset) = (staging, stagedOffset)
        let payload = to + ReplicationFrame.headerBytes
        if stagedOffset == length {
            frame.kind = ReplicationFrame.Kind.stageEnd
            frame.payloadLength = 8
            payload.storeBytes(of: UInt64(~stagedChecksum).littleEndian, as: UInt64.self)
            staged.insert(staging)
            staging = 0
        } else {
            let count = min(Int(length - stagedOffset), ReplicationFrame.payloadBytesMax)
            frame.payloadLength = min(count, room - ReplicationFrame.headerBytes)
            if stagedOffset == 0 {
                frame.kind = ReplicationFrame.Kind.stageBegin
                frame.payloadLength = Format.headerBlockBytes
            }
            do throws(DiskError) {
                try engine.disk.read(
                    engine.segments[position].file, at: stagedOffset, payload, frame.payloadLength)
            } catch { throw .failed(.disk(error)) }
            stagedChecksum = Format.checksum(stagedChecksum, payload, frame.payloadLength)
            stagedOffset += UInt64(frame.payloadLength)
        }
        frame.store(to)
        return ReplicationFrame.headerBytes + frame.payloadLength
    }

    private func hasPassed(_ barrier: LogPosition, _ engine: borrowing LogEngine) -> Bool {
        if segment == barrier.segment { return offset >= barrier.offset }
        for position in engine.order.reversed() {
            if engine.segments[position].number == segment { return true }
            if engine.segments[position].number == barrier.segment { return false }
        }
        return false
    }

    private mutating func replace(
        _ engine: borrowing LogEngine, _ plan: Plan, _ to: UnsafeMutableRawPointer, _ room: Int
    ) throws(ReplicaRefusal) -> Int? {
        var change = Replacement(decided: plan.decided, removed: plan.removed, added: [])
        for number in plan.added {
            guard let position = engine.position(ofSegment: number) else { throw .moved(segment: number) }
            change.added.append(engine.manifestEntry(position))
        }
        let payload = change.encoded()
        guard payload.count <= ReplicationFrame.payloadBytesMax else { throw .failed(.tooLarge) }
        guard ReplicationFrame.headerBytes + payload.count <= room else { return nil }
        var frame = frame(engine, ReplicationFrame.Kind.replace)
        frame.payloadLength = payload.count
        payload.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            (to + ReplicationFrame.headerBytes).copyMemory(from: base, byteCount: bytes.count)
        }
        frame.store(to)
        let isRemoved = Set(plan.removed)
        if let first = plan.removed.first.flatMap({ view.firstIndex(of: $0) }) {
            view.removeAll { isRemoved.contains($0) }
            view.insert(contentsOf: plan.added, at: first)
        } else if let last = plan.added.last, let next = engine.segment(after: last),
            let index = view.firstIndex(of: next)
        {
            view.insert(contentsOf: plan.added, at: index)
        }
        staged = []
        try align(engine)
        return ReplicationFrame.headerBytes + frame.payloadLength
    }
}
