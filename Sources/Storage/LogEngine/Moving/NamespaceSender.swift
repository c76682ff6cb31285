import Simulation

/// Why a namespace's records are not sent to who asks for them.
public enum FollowRefusal: Error, Hashable, Sendable {
    /// There is no such namespace.
    case noNamespace
    /// Who asks followed another device's namespace, or one that was ended since.
    case foreign
}

/// What one follower was sent of a namespace. It reads the segments in the order of the log, a bounded part in each turn,
/// and remembers no more than a sequence number: segments may be compacted or removed in between.
public final class NamespaceSender {
    /// The namespace's number.
    public let namespace: UInt32
    /// Everything up to this sequence number was sent, as far as it is the namespace's.
    public private(set) var sequence: UInt64
    /// Records that were sent.
    public private(set) var records: UInt64 = 0
    /// Places of the log that were damaged, and so left out.
    public private(set) var missing: UInt64 = 0
    private var settingsSent: UInt64 = 0
    private var reader: SegmentReader?
    private var value: Value?

    /// The rest of a value that is on its way.
    private struct Value {
        var sequence: UInt64
        var start: UInt64
        var sent = 0
        var length: Int
    }

    /// A walker that a class can hold.
    private final class SegmentReader {
        let position: Int
        var walker: SegmentWalker

        init(_ engine: borrowing LogEngine, _ position: Int) {
            let segment = engine.segments[position]
            self.position = position
            walker = SegmentWalker(
                disk: engine.disk, file: segment.file, length: engine.readableLength(position), seed: engine.seed,
                expected: segment.firstSequence, allowsGaps: segment.allowsGaps)
        }
    }

    /// Bytes that a call of `fill` needs at least.
    public static let roomMin = 4096
    /// What a value is copied by.
    private static let pieceBytes = 32 << 10

    init(_ namespace: UInt32, after sequence: UInt64) { (self.namespace, self.sequence) = (namespace, sequence) }

    /// Whether there is something of the log that was not looked at.
    public func isBehind(_ engine: borrowing LogEngine) -> Bool {
        sequence + 1 < engine.turnFirst || value != nil || settingsSent != definition(engine)
    }

    private func definition(_ engine: borrowing LogEngine) -> UInt64 {
        guard engine.hasNamespace(namespace) else { return settingsSent }
        return engine.namespaces[Int(namespace)]?.pointee.definition ?? settingsSent
    }

    /// Writes frames for what the follower lacks, as many as there is room for, and reads about `budget` bytes of the
    /// log for that; returns how many bytes it wrote.
    public func fill(
        _ engine: inout LogEngine, _ to: UnsafeMutableRawPointer, room: Int, budget: inout Int
    ) throws(LogError) -> Int {
        guard engine.hasNamespace(namespace) else { return 0 }
        var used = 0
        if settingsSent != definition(engine), room >= Self.roomMin { used = sendSettings(engine, to) }
        while room - used >= Self.roomMin, budget > 0, sequence + 1 < engine.turnFirst || value != nil {
            let header = ReplicationFrame.headerBytes
            let limit = min(room - used - header, ReplicationFrame.payloadBytesMax)
            let before = budget
            let count = try fillItems(&engine, to + used + header, limit, &budget)
            if count > 0 {
                var frame = frame(engine, NamespaceFrame.items)
                frame.payloadLength = count
                frame.store(to + used)
                used += header + count
            } else if before == budget {
                break
            }
        }
        return used
    }

    /// A frame that says where the source is.
    public func position(
        _ engine: borrowing LogEngine, time: UInt64, _ to: UnsafeMutableRawPointer
    ) -> Int {
        var frame = frame(engine, NamespaceFrame.position)
        frame.payloadLength = NamespaceFrame.positionBytes
        var (flags, fence): (UInt64, UInt64) = (0, 0)
        if engine.hasNamespace(namespace), let state = engine.namespaces[Int(namespace)] {
            if state.pointee.settings.isLocked || state.pointee.settings.isFrozen { flags |= NamespaceFrame.isClosed }
            fence = state.pointee.fence
        } else {
            flags |= NamespaceFrame.isEnded
        }
        if !isBehind(engine) { flags |= NamespaceFrame.isComplete }
        let payload = to + ReplicationFrame.headerBytes
        for (index, word) in [time, sequence, fence, flags, missing, 0].enumerated() {
            payload.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
        }
        frame.store(to)
        return ReplicationFrame.headerBytes + frame.payloadLength
    }

    // MARK: Inside

    private func frame(_ engine: borrowing LogEngine, _ kind: UInt8) -> ReplicationFrame {
        var frame = ReplicationFrame()
        (frame.kind, frame.offset) = (kind, bytesLeft(engine))
        frame.sequence = engine.turnFirst &- 1
        return frame
    }

    /// Bytes of the log that were not looked at yet.
    private func bytesLeft(_ engine: borrowing LogEngine) -> UInt64 {
        guard sequence + 1 < engine.turnFirst || value != nil else { return 0 }
        var left: UInt64 = 0
        for position in engine.order.reversed() {
            left += engine.readableLength(position)
            if position == reader?.position { return left - min(left, reader?.walker.offset ?? 0) }
            if engine.segments[position].firstSequence <= sequence { break }
        }
        return left
    }

    private func sendSettings(_ engine: borrowing LogEngine, _ to: UnsafeMutableRawPointer) -> Int {
        guard let state = engine.namespaces[Int(namespace)] else { return 0 }
        settingsSent = state.pointee.definition
        var settings = state.pointee.settings
        settings.following = nil
        let bytes = settings.encoding
        var frame = frame(engine, NamespaceFrame.settings)
        frame.payloadLength = bytes.count
        let payload = UnsafeMutableRawBufferPointer(start: to + ReplicationFrame.headerBytes, count: bytes.count)
        payload.copyBytes(from: bytes)
        frame.store(to)
        return ReplicationFrame.headerBytes + bytes.count
    }

    /// Items for one frame; returns how many bytes.
    private func fillItems(
        _ engine: inout LogEngine, _ to: UnsafeMutableRawPointer, _ room: Int, _ budget: inout Int
    ) throws(LogError) -> Int {
        var used = 0
        while budget > 0 {
            if value != nil {
                let count = try copyValue(&engine, to + used, room - used)
                used += count
                budget -= count
                if value != nil { break }
                continue
            }
            guard room - used >= NamespaceItem.headerBytes + LogLimits.keyBytesMax, sequence + 1 < engine.turnFirst
            else { break }
            guard let reader = openReader(engine) else { break }
            switch reader.walker.next() {
            case .record(let record, let offset):
                budget -= min(record.totalBytes, 1 << 20)
                guard record.sequence > sequence else { continue }
                if record.namespace == namespace, NamespaceItem.isSent(record.type) {
                    used += begin(record, offset, reader, to + used, keepsBatch: !engine.allowsGaps(reader.position))
                }
                if value == nil { sequence = record.sequence }
            case .damage(_, let lost, let repaired):
                budget -= 64 << 10
                guard lost.upperBound > sequence + 1 else { continue }
                sequence = lost.upperBound - 1
                if repaired.map({ $0.namespace == namespace }) ?? true { missing += 1 }
            case .end(let offset, let garbage):
                if garbage || offset < engine.readableLength(reader.position) { missing += 1 }
                leave(engine, reader)
            }
        }
        return used
    }

    /// Behind a segment's last record: the next one, or nothing more for now.
    private func leave(_ engine: borrowing LogEngine, _ reader: SegmentReader) {
        if reader.position == engine.active {
            sequence = engine.turnFirst - 1
            return
        }
        sequence = max(sequence, engine.segments[reader.position].last)
        self.reader = nil
    }

    /// The segment in which the next record stands.
    private func openReader(_ engine: borrowing LogEngine) -> SegmentReader? {
        if let reader, !engine.segments[reader.position].isRemoved {
            reader.walker.extend(to: engine.readableLength(reader.position))
            return reader
        }
        reader = nil
        guard
            let position = engine.order.first(where: { [sequence] in
                $0 == engine.active || engine.segments[$0].last > sequence
            })
        else { return nil }
        let made = SegmentReader(engine, position)
        reader = made
        return made
    }

    /// Puts a record's item with its key; its value follows. A value that does not match its checksum is left out.
    private func begin(
        _ record: RecordHeader, _ offset: UInt64, _ reader: SegmentReader, _ to: UnsafeMutableRawPointer,
        keepsBatch: Bool
    ) -> Int {
        guard reader.walker.isValueValid(record, at: offset),
            let head = reader.walker.bytes(at: offset, record.headBytes)
        else {
            missing += 1
            return 0
        }
        NamespaceItem(record, keepsBatch: keepsBatch).store(to)
        let key = to + NamespaceItem.headerBytes
        key.copyMemory(from: head + Format.recordHeaderBytes, byteCount: Int(record.keyLength))
        records += 1
        if record.valueLength > 0 {
            value = Value(
                sequence: record.sequence, start: offset + UInt64(record.headBytes), length: Int(record.valueLength))
        }
        return NamespaceItem.headerBytes + Int(record.keyLength)
    }

    /// Some bytes of the value that is on its way. Where its segment was compacted since, the same bytes stand elsewhere.
    private func copyValue(
        _ engine: inout LogEngine, _ to: UnsafeMutableRawPointer, _ room: Int
    ) throws(LogError) -> Int {
        guard var value else { return 0 }
        if reader.map({ engine.segments[$0.position].isRemoved }) ?? true {
            guard let place = try engine.locate(value.sequence), let header = try engine.header(at: place),
                header.sequence == value.sequence, Int(header.valueLength) == value.length
            else { throw .absent }
            reader = SegmentReader(engine, place.position)
            value.start = place.offset + UInt64(header.headBytes)
        }
        var used = 0
        while used < room, value.sent < value.length {
            let count = min(room - used, value.length - value.sent, Self.pieceBytes)
            guard let bytes = reader?.walker.bytes(at: value.start + UInt64(value.sent), count) else { throw .absent }
            (to + used).copyMemory(from: bytes, byteCount: count)
            value.sent += count
            used += count
        }
        if value.sent == value.length {
            sequence = value.sequence
            self.value = nil
        } else {
            self.value = value
        }
        return used
    }
}

extension LogEngine {
    /// Begins to send a namespace to who has everything of it up to a sequence number, of this device and namespace.
    public func beginSending(
        namespace name: [UInt8], to following: Following
    ) throws(FollowRefusal) -> NamespaceSender {
        guard let id = namespace(named: name) else { throw .noNamespace }
        if following.hasMet, following.device != device || following.namespace != id { throw .foreign }
        return NamespaceSender(id, after: following.hasMet ? following.sequence : 0)
    }

    /// Bytes of a segment that may be sent: of the active one those of ended turns.
    func readableLength(_ position: Int) -> UInt64 { position == active ? turnLength : segments[position].length }

    func allowsGaps(_ position: Int) -> Bool { segments[position].allowsGaps }

    /// A record's header by its place; nil if it is not good.
    mutating func header(at place: (position: Int, offset: UInt64)) throws(LogError) -> RecordHeader? {
        do throws(DiskError) { return try readHead(segments[place.position], place.offset) } catch {
            if error == .crashed { throw .disk(error) }
            return nil
        }
    }
}
