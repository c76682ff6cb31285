import Simulation

/// Why a namespace's connection to its source ends; it is made again, from where the namespace is.
public enum FollowFailure: Error, Hashable, Sendable {
    /// Bytes that are no frame, or not one that was expected.
    case protocolError
    /// A value does not match its checksum.
    case corrupt(sequence: UInt64)
    /// A batch of the source is larger than what is kept until its end has come.
    case batchTooLarge
    /// The own log.
    case log(LogError)
}

/// Takes the frames of one connection to a source, and writes what they carry into a namespace.
public struct NamespaceReceiver: ~Copyable {
    /// Bytes that are kept until the end of a batch has come: more than any command of a source has.
    private static let heldBytesMax = 160 << 20
    /// Bytes of one batch here, unless one of the source is larger; less where segments are small.
    private static let batchBytes = 2 << 20
    /// The position is written without records when the source has gone on by so many numbers.
    private static let quietRecords: UInt64 = 1 << 20

    private let namespace: UInt32
    /// What was missing before this connection.
    private var missingBefore: UInt64 = 0
    private var held: UnsafeMutableRawPointer
    private var heldCount = 0
    private var heldCapacity = 64 << 10

    /// The source's last sequence number, as far as it was told.
    public private(set) var sourceSequence: UInt64 = 0
    /// Bytes of the source's log that it had not looked at when it spoke last.
    public private(set) var bytesLeft: UInt64 = 0
    /// What the source said last of itself; nil: nothing yet.
    public private(set) var position: SourcePosition?
    /// Records that were taken on this connection.
    public private(set) var records: UInt64 = 0

    /// A receiver at the start of a connection.
    public init(_ namespace: UInt32) {
        self.namespace = namespace
        held = .allocate(byteCount: heldCapacity, alignment: 16)
    }

    deinit { held.deallocate() }

    /// Takes the whole frames at the start of what came; returns how many bytes they had. What they carry is written, in
    /// turns of the engine's own, and durable with `sync`.
    public mutating func consume(
        _ engine: inout LogEngine, _ bytes: UnsafeRawPointer, _ count: Int, sync: Bool, time: UInt64
    ) throws(FollowFailure) -> Int {
        if position == nil, let following = engine.following(namespace), heldCount == 0, records == 0 {
            missingBefore = following.missing
        }
        var used = 0
        while count - used >= ReplicationFrame.headerBytes {
            guard let frame = ReplicationFrame(bytes + used) else { throw .protocolError }
            let total = ReplicationFrame.headerBytes + frame.payloadLength
            guard count - used >= total else { break }
            let payload = bytes + used + ReplicationFrame.headerBytes
            guard frame.isIntact(payload) else { throw .protocolError }
            (sourceSequence, bytesLeft) = (max(sourceSequence, frame.sequence), frame.offset)
            try take(frame, payload, &engine, sync, time)
            used += total
        }
        try write(&engine, isWhole: false, sync, time)
        return used
    }

    private mutating func take(
        _ frame: ReplicationFrame, _ payload: UnsafeRawPointer, _ engine: inout LogEngine, _ sync: Bool, _ time: UInt64
    ) throws(FollowFailure) {
        switch frame.kind {
        case NamespaceFrame.settings:
            let bytes = UnsafeRawBufferPointer(start: payload, count: frame.payloadLength)
            try write(&engine, isWhole: false, sync, time)
            do throws(LogError) { try engine.adopt(namespace, NamespaceSettings(bytes), time: time) } catch {
                throw .log(error)
            }
        case NamespaceFrame.items:
            guard heldCount + frame.payloadLength <= Self.heldBytesMax else { throw .batchTooLarge }
            keep(payload, frame.payloadLength)
        case NamespaceFrame.position:
            guard frame.payloadLength >= NamespaceFrame.positionBytes else { throw .protocolError }
            func word(_ offset: Int) -> UInt64 {
                UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            }
            let said = SourcePosition(
                time: word(0), sequence: word(8), fence: word(16), flags: word(24), missing: word(32))
            try write(&engine, isWhole: said.isComplete, sync, time)
            if said.isComplete, heldCount > 0 { throw .protocolError }
            position = said
            try noteQuiet(&engine, time)
        default:
            guard frame.kind >= 128 else { throw .protocolError }
        }
    }

    private mutating func keep(_ bytes: UnsafeRawPointer, _ count: Int) {
        if heldCount + count > heldCapacity {
            while heldCount + count > heldCapacity { heldCapacity *= 2 }
            let larger = UnsafeMutableRawPointer.allocate(byteCount: heldCapacity, alignment: 16)
            larger.copyMemory(from: held, byteCount: heldCount)
            held.deallocate()
            held = larger
        }
        (held + heldCount).copyMemory(from: bytes, byteCount: count)
        heldCount += count
    }

    // MARK: Writing

    /// Writes the whole batches of the source that are here; with `isWhole` all whole items are.
    private mutating func write(
        _ engine: inout LogEngine, isWhole: Bool, _ sync: Bool, _ time: UInt64
    ) throws(FollowFailure) {
        guard heldCount > 0, var following = engine.following(namespace) else { return }
        // `written` is where the next batch here begins, `end` where the last batch of the source ended.
        var (at, written, end) = (0, 0, 0)
        var sequence = following.sequence
        while heldCount - at >= NamespaceItem.headerBytes {
            let item = NamespaceItem(held + at)
            guard item.valueLength <= LogLimits.formatValueBytesMax, NamespaceItem.isSent(item.type),
                item.sequence > sequence
            else { throw .protocolError }
            guard heldCount - at >= item.totalBytes else { break }
            try verify(item, held + at)
            let before = sequence
            sequence = item.sequence
            if !item.isKey {
                // It stands in no batch, so what came before it is whole, whatever was damaged of it.
                if at > end { following.sequence = before }
                try flush(&engine, &following, &written, at, sync, time)
                try takeOther(item, held + at, &engine, sync, time)
                at += item.totalBytes
                (written, end) = (at, at)
                following.sequence = sequence
                continue
            }
            at += item.totalBytes
            if item.batchRemaining == 0 {
                end = at
                following.sequence = sequence
                if end - written >= min(Self.batchBytes, engine.segmentBytes / 8) {
                    try flush(&engine, &following, &written, end, sync, time)
                }
            }
        }
        if isWhole, at > end {
            end = at
            following.sequence = sequence
        }
        try flush(&engine, &following, &written, end, sync, time)
        held.copyMemory(from: held + written, byteCount: heldCount - written)
        heldCount -= written
        if heldCount == 0, heldCapacity > 4 << 20 { shrink() }
    }

    private mutating func shrink() {
        held.deallocate()
        heldCapacity = 64 << 10
        held = .allocate(byteCount: heldCapacity, alignment: 16)
    }

    private func verify(_ item: NamespaceItem, _ at: UnsafeRawPointer) throws(FollowFailure) {
        let value = at + NamespaceItem.headerBytes + Int(item.keyLength)
        let checksum = item.valueLength == 0 ? 0 : Format.checksum(value, item.valueLength)
        guard checksum == item.valueChecksum else { throw .corrupt(sequence: item.sequence) }
    }

    private mutating func flush(
        _ engine: inout LogEngine, _ following: inout Following, _ written: inout Int, _ end: Int, _ sync: Bool,
        _ time: UInt64
    ) throws(FollowFailure) {
        guard end > written else { return }
        let items = UnsafeRawBufferPointer(start: held + written, count: end - written)
        following.missing = missingBefore + (position?.missing ?? 0)
        do throws(LogError) { try engine.take(namespace, items, following, sync: sync, time: time) } catch {
            throw .log(error)
        }
        records += 1
        written = end
    }

    /// A fence or a flush: if its source sends it again, nothing changes.
    private func takeOther(
        _ item: NamespaceItem, _ at: UnsafeRawPointer, _ engine: inout LogEngine, _ sync: Bool, _ time: UInt64
    ) throws(FollowFailure) {
        do throws(LogError) {
            if item.type == RecordType.flush {
                try engine.takeFlush(namespace, time: time)
            } else {
                guard item.valueLength >= 8 else { return }
                let value = at + NamespaceItem.headerBytes + Int(item.keyLength)
                let epoch = UInt64(littleEndian: value.loadUnaligned(as: UInt64.self))
                do throws(LogError) { try engine.fence(namespace, epoch: epoch, time: time) } catch {
                    guard case .fenced = error else { throw error }
                }
            }
        } catch { throw .log(error) }
    }

    /// Where nothing of the namespace comes for long, the position would fall far behind.
    private func noteQuiet(_ engine: inout LogEngine, _ time: UInt64) throws(FollowFailure) {
        guard let position, position.isComplete, var following = engine.following(namespace) else { return }
        let missing = missingBefore + position.missing
        let isFar = position.sequence > following.sequence + Self.quietRecords
        guard isFar || missing != following.missing else { return }
        (following.sequence, following.missing) = (max(following.sequence, position.sequence), missing)
        do throws(LogError) { try engine.note(namespace, following, time: time) } catch { throw .log(error) }
    }
}

/// What a source says of itself.
public struct SourcePosition: Sendable {
    /// The source's time, nanoseconds since 1970.
    public let time: UInt64
    /// Everything up to this sequence number was sent, if `isComplete`.
    public let sequence: UInt64
    /// Writers below this epoch are refused there.
    public let fence: UInt64
    let flags: UInt64
    /// Places of the source's log that were damaged, on this connection.
    public let missing: UInt64

    /// Everything that the source had was sent.
    public var isComplete: Bool { flags & NamespaceFrame.isComplete != 0 }
    /// The source takes no writes: it is locked or frozen.
    public var isClosed: Bool { flags & NamespaceFrame.isClosed != 0 }
    /// The namespace was ended at the source.
    public var isEnded: Bool { flags & NamespaceFrame.isEnded != 0 }
}

extension LogEngine {
    /// From where a namespace takes its records; nil: it is written to here.
    public func following(_ id: UInt32) -> Following? {
        guard hasNamespace(id) else { return nil }
        return namespaces[Int(id)]?.pointee.settings.following
    }
}
