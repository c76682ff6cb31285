/// From where a namespace takes its records, and how far it has come. It is a setting of the namespace that follows, so
/// that the position stands in the log with what it tells of.
public struct Following: Hashable, Sendable {
    private static let fixedBytes = 44
    static let addressBytesMax = 512

    /// The identity of the source's device, 16 bytes; zeros until the source was met.
    public var device = [UInt8](repeating: 0, count: 16)
    /// The namespace's number at the source; 0 until it was met.
    public var namespace: UInt32 = 0
    /// Everything up to this sequence number of the source is here.
    public var sequence: UInt64 = 0
    /// Places of the source's log that were damaged: what stood there is missing here.
    public var missing: UInt64 = 0
    /// Where the source is, as the server understands it.
    public var address: [UInt8]
    /// The namespace's name at the source.
    public var name: [UInt8]

    /// A namespace that begins to follow.
    public init(address: [UInt8], name: [UInt8]) { (self.address, self.name) = (address, name) }

    /// Whether the source was met once, so that no other one can go on.
    public var hasMet: Bool { namespace != 0 }

    init?(_ data: [UInt8]) {
        guard data.count >= Self.fixedBytes else { return nil }
        func word(_ at: Int, _ count: Int) -> UInt64 {
            data[at..<at + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        let (addressBytes, nameBytes) = (Int(word(40, 2)), Int(word(42, 2)))
        guard data.count == Self.fixedBytes + addressBytes + nameBytes else { return nil }
        device = Array(data[..<16])
        (namespace, sequence, missing) = (UInt32(word(16, 4)), word(24, 8), word(32, 8))
        address = Array(data[Self.fixedBytes..<Self.fixedBytes + addressBytes])
        name = Array(data[(Self.fixedBytes + addressBytes)...])
    }

    var encoded: [UInt8] {
        func word(_ value: UInt64, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
        }
        var data = device + word(UInt64(namespace), 4) + word(0, 4) + word(sequence, 8) + word(missing, 8)
        data += word(UInt64(address.count), 2) + word(UInt64(name.count), 2)
        return data + address + name
    }
}

/// One record on its way to a namespace that follows: 32 bytes, key and value.
struct NamespaceItem {
    static let headerBytes = 32

    var type: UInt8 = 0
    var keyLength: UInt8 = 0
    var batchRemaining: UInt32 = 0
    /// The source's sequence number.
    var sequence: UInt64 = 0
    var time: UInt64 = 0
    var valueLength = 0
    var valueChecksum: UInt32 = 0

    var totalBytes: Int { Self.headerBytes + Int(keyLength) + valueLength }

    init(_ record: RecordHeader, keepsBatch: Bool) {
        (type, keyLength, sequence, time) = (record.type, record.keyLength, record.sequence, record.time)
        batchRemaining = keepsBatch ? record.batchRemaining : 0
        (valueLength, valueChecksum) = (Int(record.valueLength), record.valueChecksum)
    }

    init(_ at: UnsafeRawPointer) {
        type = at.load(as: UInt8.self)
        keyLength = at.load(fromByteOffset: 1, as: UInt8.self)
        batchRemaining = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        sequence = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        time = UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        valueLength = Int(UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 24, as: UInt32.self)))
        valueChecksum = UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 28, as: UInt32.self))
    }

    func store(_ to: UnsafeMutableRawPointer) {
        to.storeBytes(of: UInt64(type) | UInt64(keyLength) << 8 | UInt64(batchRemaining) << 32, as: UInt64.self)
        to.storeBytes(of: sequence.littleEndian, toByteOffset: 8, as: UInt64.self)
        to.storeBytes(of: time.littleEndian, toByteOffset: 16, as: UInt64.self)
        to.storeBytes(of: UInt32(valueLength).littleEndian, toByteOffset: 24, as: UInt32.self)
        to.storeBytes(of: valueChecksum.littleEndian, toByteOffset: 28, as: UInt32.self)
    }

    /// Whether a namespace's record of this kind is sent at all.
    static func isSent(_ type: UInt8) -> Bool {
        type == RecordType.value || type == RecordType.tombstone || type == RecordType.flush
            || type == RecordType.fence
    }

    /// Whether a record of this kind has a key, and can so stand in a batch.
    var isKey: Bool { type == RecordType.value || type == RecordType.tombstone }
}

/// What frames to a namespace that follows are; their header is that of device replication.
enum NamespaceFrame {
    /// Payload: the settings, as in a definition.
    static let settings: UInt8 = 16
    /// Payload: items, which may be cut anywhere.
    static let items: UInt8 = 17
    /// Payload: where the source is, and whether everything was sent.
    static let position: UInt8 = 18
    static let positionBytes = 48

    /// Everything that the source's log had was sent.
    static let isComplete: UInt64 = 1
    /// The namespace takes no writes there: it is locked or frozen.
    static let isClosed: UInt64 = 2
    /// The namespace was ended there.
    static let isEnded: UInt64 = 4
}
