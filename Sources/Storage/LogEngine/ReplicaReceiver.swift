import Simulation

/// Why a replica ends its connection to the master; it asks again from where it is.
public enum ReplicaFailure: Error, Hashable, Sendable {
    /// Bytes that are no frame, or not the next one.
    case protocolError
    /// A record, or the whole of a segment, does not match its checksum.
    case corrupt(LogPosition)
    /// The master is of another device.
    case foreign
    /// The master's epoch is lower than one that is known here.
    case outdated(epoch: UInt64)
    /// The segment's former file is still being removed.
    case busy(segment: UInt64)
    /// The own disk.
    case log(LogError)
}

/// Takes a master's frames and makes the log of this device the same, byte by byte.
public struct ReplicaReceiver: ~Copyable {
    /// The master's last sequence number, as far as it was told.
    public private(set) var masterSequence: UInt64 = 0
    /// The master's time when everything up to `masterSequence` had been sent.
    public private(set) var masterTime: UInt64 = 0
    /// What the master wants to hear back with the next acknowledgement.
    public private(set) var token: UInt64 = 0
    /// Bytes of the master's log.
    public private(set) var masterBytes: UInt64 = 0
    /// Frames taken.
    public private(set) var frames: UInt64 = 0

    /// Bytes of a record, or of a batch, whose end has not come yet.
    private var partial: UnsafeMutableRawPointer
    private var partialCount = 0
    private var partialCapacity = 64 << 10
    private var checksum: UInt32 = ~0
    private var from: UInt64?
    /// Where the next byte of the log belongs: behind the partial ones.
    private var next: LogPosition?

    /// A receiver at the start of a connection.
    public init() { partial = .allocate(byteCount: partialCapacity, alignment: 16) }

    deinit { partial.deallocate() }

    /// Takes the whole frames at the start of what came; returns how many bytes they had. What they wrote is a turn
    /// of the engine: it ends with `commit`.
    public mutating func consume(
        _ engine: inout LogEngine, _ bytes: UnsafeRawPointer, _ count: Int
    ) throws(ReplicaFailure) -> Int {
        var used = 0
        while count - used >= ReplicationFrame.headerBytes {
            guard let frame = ReplicationFrame(bytes + used) else { throw .protocolError }
            let total = ReplicationFrame.headerBytes + frame.payloadLength
            guard count - used >= total else { break }
            let payload = bytes + used + ReplicationFrame.headerBytes
            guard frame.isIntact(payload) else { throw .protocolError }
            try take(frame, payload, &engine)
            frames += 1
            used += total
        }
        return used
    }

    private mutating func take(
        _ frame: ReplicationFrame, _ payload: UnsafeRawPointer, _ engine: inout LogEngine
    ) throws(ReplicaFailure) {
        masterSequence = max(masterSequence, frame.sequence)
        switch frame.kind {
        case ReplicationFrame.Kind.begin:
            guard frame.payloadLength == Format.headerBlockBytes, partialCount == 0 else { throw .protocolError }
            try engine.beginReplicated(
                frame.segment, [UInt8](UnsafeRawBufferPointer(start: payload, count: 4096)), decided: frame.sequence)
            checksum = Format.checksum(~0, payload, frame.payloadLength)
            from = 0
            next = LogPosition(segment: frame.segment, offset: UInt64(frame.payloadLength))
        case ReplicationFrame.Kind.bytes:
            try takeBytes(frame, payload, &engine)
        case ReplicationFrame.Kind.seal:
            try seal(frame, payload, &engine)
        case ReplicationFrame.Kind.position:
            guard frame.payloadLength >= ReplicationFrame.positionBytes else { throw .protocolError }
            func word(_ offset: Int) -> UInt64 {
                UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            }
            (masterTime, token, masterBytes) = (word(0), word(8), word(16))
            if word(24) < engine.knownEpoch { throw .outdated(epoch: word(24)) }
            if word(32) & 1 != 0 {
                do throws(LogError) { try engine.noteAligned() } catch { throw .log(error) }
            }
        case ReplicationFrame.Kind.stageBegin, ReplicationFrame.Kind.stageBytes, ReplicationFrame.Kind.stageEnd,
            ReplicationFrame.Kind.replace:
            try takeStaged(frame, payload, &engine)
        default:
            // A newer master may tell more; what has to be understood raises the protocol's number.
            guard frame.kind >= 128 else { throw .protocolError }
        }
    }

    /// What compaction changed; it stands beside the log, so that it does not matter where that is.
    private mutating func takeStaged(
        _ frame: ReplicationFrame, _ payload: UnsafeRawPointer, _ engine: inout LogEngine
    ) throws(ReplicaFailure) {
        let bytes = UnsafeRawBufferPointer(start: payload, count: frame.payloadLength)
        let at = LogPosition(segment: frame.segment, offset: frame.offset)
        switch frame.kind {
        case ReplicationFrame.Kind.stageBegin:
            guard bytes.count == Format.headerBlockBytes else { throw .protocolError }
            try engine.beginStaged(frame.segment, [UInt8](bytes))
        case ReplicationFrame.Kind.stageBytes:
            try engine.ingestStaged(at, payload, bytes.count)
        case ReplicationFrame.Kind.stageEnd:
            guard bytes.count == 8 else { throw .protocolError }
            try engine.endStaged(at, checksum: UInt64(littleEndian: payload.loadUnaligned(as: UInt64.self)))
        default:
            guard let change = Replacement(bytes) else { throw .protocolError }
            try engine.take(change)
        }
    }

    private mutating func takeBytes(
        _ frame: ReplicationFrame, _ payload: UnsafeRawPointer, _ engine: inout LogEngine
    ) throws(ReplicaFailure) {
        let at = LogPosition(segment: frame.segment, offset: frame.offset)
        guard at == next ?? engine.replicatedEnd else { throw .protocolError }
        if from == nil { (from, checksum) = (frame.offset, ~0) }
        checksum = Format.checksum(checksum, payload, frame.payloadLength)
        next = LogPosition(segment: frame.segment, offset: frame.offset + UInt64(frame.payloadLength))
        if partialCount == 0 {
            let used = try engine.ingest(payload, frame.payloadLength)
            try keep(payload + used, frame.payloadLength - used)
        } else {
            try keep(payload, frame.payloadLength)
            let used = try engine.ingest(partial, partialCount)
            if used > 0 {
                partial.copyMemory(from: partial + used, byteCount: partialCount - used)
                partialCount -= used
            }
        }
    }

    private mutating func keep(_ bytes: UnsafeRawPointer, _ count: Int) throws(ReplicaFailure) {
        guard count > 0 else { return }
        guard partialCount + count <= LogLimits.segmentBytesMax else { throw .protocolError }
        if partialCount + count > partialCapacity {
            while partialCount + count > partialCapacity { partialCapacity *= 2 }
            let larger = UnsafeMutableRawPointer.allocate(byteCount: partialCapacity, alignment: 16)
            larger.copyMemory(from: partial, byteCount: partialCount)
            partial.deallocate()
            partial = larger
        }
        (partial + partialCount).copyMemory(from: bytes, byteCount: count)
        partialCount += count
    }

    private mutating func seal(
        _ frame: ReplicationFrame, _ payload: UnsafeRawPointer, _ engine: inout LogEngine
    ) throws(ReplicaFailure) {
        let at = LogPosition(segment: frame.segment, offset: frame.offset)
        guard frame.payloadLength == ReplicationFrame.sealBytes, partialCount == 0, at == next ?? engine.replicatedEnd
        else {
            throw .protocolError
        }
        let start = UInt64(littleEndian: payload.loadUnaligned(as: UInt64.self))
        let sum = UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        if start != frame.offset {
            guard from == start, UInt64(~checksum) == sum else { throw .corrupt(at) }
        }
        let last = UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        try engine.sealReplicated(last: last)
        next = at
        from = frame.offset
        checksum = ~0
    }
}
