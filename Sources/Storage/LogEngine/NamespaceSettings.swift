/// How a namespace keeps its keys.
public enum NamespaceMode {
    /// Keys are the user's.
    public static let user: UInt8 = 1
    /// Keys are given by the log: 8 bytes, little-endian, counted from 0.
    public static let sequential: UInt8 = 2
    /// Like `user`, and can be read in the order of keys.
    public static let ordered: UInt8 = 3
}

/// When a namespace's writes are on stable storage.
public enum Durability: Hashable, Sendable {
    /// Before they are answered.
    case always
    /// So many milliseconds later at most.
    case interval(UInt32)
    /// When the kernel likes.
    case none

    /// The policy of a process that serves it.
    public var policy: SyncPolicy {
        switch self {
        case .always: .always
        case .interval: .interval
        case .none: .none
        }
    }
}

/// A namespace's settings, as the value of its definition: a list of tag (u16), length (u16), bytes.
///
/// A tag below 0x8000 must be understood, else the namespace is not served; others are kept and written again.
public struct NamespaceSettings: Hashable, Sendable {
    enum Tag {
        static let mode: UInt16 = 1
        static let maxSize: UInt16 = 2
        static let passwordVerifier: UInt16 = 3
        static let isPublic: UInt16 = 4
        static let isWorm: UInt16 = 5
        static let isLocked: UInt16 = 6
        static let isFrozen: UInt16 = 7
        static let durability: UInt16 = 8
        static let history: UInt16 = 9
        static let reservation: UInt16 = 10
        static let ids: UInt16 = 11
        static let following: UInt16 = 12
        static let created: UInt16 = 0x8001
        static let operationsMax: UInt16 = 0x8002
        static let bandwidthMax: UInt16 = 0x8003
        static let connectionsMax: UInt16 = 0x8004
    }

    /// One of `NamespaceMode`.
    public var mode = NamespaceMode.user
    /// Bytes of keys and values that may be live; 0 is no limit.
    public var maxSize: UInt64 = 0
    /// What recognises the password: a scheme and its bytes, which the server understands; empty: there is none.
    public var passwordVerifier: [UInt8] = []
    /// Whether it may be read without the password.
    public var isPublic = false
    /// Written once: no key changes or ends.
    public var isWorm = false
    /// Reading only.
    public var isLocked = false
    /// Neither reading nor writing.
    public var isFrozen = false
    /// Which former versions compaction keeps.
    public var history = HistoryPolicy.all
    /// Bytes of the device that are its own; 0 is none.
    public var reservation: UInt64 = 0
    /// When it was made, nanoseconds since 1970.
    public var created: UInt64 = 0
    /// When its writes are on stable storage; nil: as the server says.
    public var durability: Durability?
    /// Commands a second; 0 is no limit.
    public var operationsMax: UInt64 = 0
    /// Bytes a second, in and out; 0 is no limit.
    public var bandwidthMax: UInt64 = 0
    /// Connections at once; 0 is the server's limit.
    public var connectionsMax: UInt64 = 0
    /// From where it takes its records; nil: it is written to here.
    public var following: Following?
    /// Settings that must be understood and are not, or not yet served by this version.
    public private(set) var isSupported = true
    /// How a sequential namespace gives ids: 1 is counted from 0. Another way is not served.
    private var ids: UInt8 = 0
    /// What this version does not act on, as it was read.
    private var others: [UInt16: [UInt8]] = [:]

    private static let idsFromZero: UInt8 = 1

    /// The defaults.
    public init() {}

    /// From the bytes of a definition, or of an export.
    public init(decoding bytes: [UInt8]) { self = bytes.withUnsafeBytes { NamespaceSettings($0) } }

    /// The bytes of a definition.
    public var encoding: [UInt8] { encoded }

    init(_ bytes: UnsafeRawBufferPointer) {
        var offset = 0
        func word(_ data: [UInt8]) -> UInt64 { data.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) } }
        while offset + 4 <= bytes.count {
            let tag = UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8
            let length = Int(bytes[offset + 2]) | Int(bytes[offset + 3]) << 8
            guard offset + 4 + length <= bytes.count else { break }
            let data = [UInt8](bytes[offset + 4..<offset + 4 + length])
            offset += 4 + length
            switch tag {
            case Tag.mode: mode = UInt8(truncatingIfNeeded: word(data))
            case Tag.maxSize: maxSize = word(data)
            case Tag.passwordVerifier: passwordVerifier = data
            case Tag.isPublic: isPublic = word(data) != 0
            case Tag.isWorm: isWorm = word(data) != 0
            case Tag.isLocked: isLocked = word(data) != 0
            case Tag.isFrozen: isFrozen = word(data) != 0
            case Tag.history:
                if let policy = HistoryPolicy(data) {
                    history = policy
                } else {
                    others[tag] = data
                    isSupported = false
                }
            case Tag.reservation: reservation = word(data)
            case Tag.created: created = word(data)
            case Tag.ids: ids = UInt8(truncatingIfNeeded: word(data))
            case Tag.operationsMax: operationsMax = word(data)
            case Tag.bandwidthMax: bandwidthMax = word(data)
            case Tag.connectionsMax: connectionsMax = word(data)
            case Tag.following:
                following = Following(data)
                if following == nil {
                    others[tag] = data
                    isSupported = false
                }
            case Tag.durability:
                guard let known = Self.durability(data) else { fallthrough }
                durability = known
            default:
                others[tag] = data
                if tag < 0x8000 { isSupported = false }
            }
        }
        let isKnown = (NamespaceMode.user...NamespaceMode.ordered).contains(mode)
        if mode == NamespaceMode.sequential, ids != Self.idsFromZero { isSupported = false }
        if offset != bytes.count || !isKnown { isSupported = false }
    }

    /// The namespace cannot be served.
    mutating func refuse() { isSupported = false }

    /// Policy (as in `open`) u8, milliseconds u32.
    private static func durability(_ data: [UInt8]) -> Durability? {
        guard data.count == 5 else { return nil }
        switch data[0] {
        case SyncPolicy.always.rawValue: return .always
        case SyncPolicy.interval.rawValue: return .interval(data[1...].reversed().reduce(0) { $0 << 8 | UInt32($1) })
        case SyncPolicy.none.rawValue: return Durability.none
        default: return nil
        }
    }

    /// The fields that this version added to the first one's, where they differ from their defaults.
    private func addFields(to fields: inout [UInt16: [UInt8]]) {
        func bytes(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        if let durability {
            var milliseconds: UInt32 = 0
            if case .interval(let number) = durability { milliseconds = number }
            fields[Tag.durability] = [durability.policy.rawValue] + bytes(UInt64(milliseconds)).prefix(4)
        }
        if operationsMax != 0 { fields[Tag.operationsMax] = bytes(operationsMax) }
        if bandwidthMax != 0 { fields[Tag.bandwidthMax] = bytes(bandwidthMax) }
        if connectionsMax != 0 { fields[Tag.connectionsMax] = bytes(connectionsMax) }
        if let following { fields[Tag.following] = following.encoded }
    }

    /// Whether compaction may let former versions go.
    var isReclaimed: Bool { history != .all && !isWorm && !isLocked && !isFrozen && isSupported }

    /// The value of a definition record.
    var encoded: [UInt8] {
        var fields = others
        func bytes(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        fields[Tag.mode] = [mode]
        if mode == NamespaceMode.sequential { fields[Tag.ids] = [Self.idsFromZero] }
        if maxSize != 0 { fields[Tag.maxSize] = bytes(maxSize) }
        if !passwordVerifier.isEmpty { fields[Tag.passwordVerifier] = passwordVerifier }
        if isPublic { fields[Tag.isPublic] = [1] }
        if isWorm { fields[Tag.isWorm] = [1] }
        if isLocked { fields[Tag.isLocked] = [1] }
        if isFrozen { fields[Tag.isFrozen] = [1] }
        if history != .all { fields[Tag.history] = history.encoded }
        if reservation != 0 { fields[Tag.reservation] = bytes(reservation) }
        fields[Tag.created] = bytes(created)
        addFields(to: &fields)
        var result: [UInt8] = []
        for (tag, data) in fields.sorted(by: { $0.key < $1.key }) {
            result += [UInt8(truncatingIfNeeded: tag), UInt8(tag >> 8)]
            result += [UInt8(truncatingIfNeeded: data.count), UInt8(data.count >> 8)]
            result += data
        }
        return result
    }
}

/// A namespace in memory.
struct NamespaceState: ~Copyable {
    let id: UInt32
    private(set) var name: [UInt8]
    var settings: NamespaceSettings { didSet { isReclaimed = settings.isReclaimed } }
    /// Whether compaction may let former versions go.
    private(set) var isReclaimed: Bool
    /// The sequence number of the definition in force.
    var definition: UInt64
    var fence: UInt64 = 0
    /// The sequence number of the record that set the fence.
    var fenced: UInt64 = 0
    /// The sequence number of the last flush: what is older is dead.
    var flushed: UInt64 = 0
    var entries: UInt64 = 0
    var liveBytes: UInt64 = 0
    /// Bytes of its records in all segments that count: all, current values, deletions, records without a key.
    var diskBytes: UInt64 = 0
    var liveRecordBytes: UInt64 = 0
    var tombstoneBytes: UInt64 = 0
    var controlBytes: UInt64 = 0
    /// Bytes in the segment it wrote to last that are not yet in that segment's table.
    var usagePosition = 0
    var usageBytes: UInt64 = 0
    var index = KeyIndex()
    /// Whether `index` is in use; in other modes one of the next two is.
    private(set) var isHashed = true
    private(set) var ordered: OrderedKeys?
    private(set) var table: SequentialTable?

    init(id: UInt32, name: [UInt8], settings: NamespaceSettings, definition: UInt64) {
        (self.id, self.name, self.settings, self.definition) = (id, name, settings, definition)
        isReclaimed = settings.isReclaimed
    }

    /// Keys that are known, ended ones included.
    var slots: Int { isHashed ? index.count : ordered?.count ?? Int(table?.nextId ?? 0) }

    /// Keeps keys as a mode wants it, from nothing; where the keys were is forgotten.
    mutating func use(ordered: OrderedKeys?, table: SequentialTable?) {
        (self.ordered, self.table, isHashed) = (ordered, table, ordered == nil && table == nil)
        index = KeyIndex()
        (entries, liveBytes) = (0, 0)
    }

    /// Forgets all keys.
    mutating func clear() throws(LogError) {
        index = KeyIndex()
        if ordered != nil { ordered = OrderedKeys() }
        (entries, liveBytes) = (0, 0)
        try table?.clear()
    }

    mutating func rename(_ name: [UInt8]) { self.name = name }
}

/// What can be told of a namespace.
public struct NamespaceInformation: Sendable {
    /// Its number in the log.
    public let id: UInt32
    /// Its name.
    public let name: [UInt8]
    /// Its settings.
    public let settings: NamespaceSettings
    /// Writers below this epoch are refused.
    public let fence: UInt64
    /// Keys that exist.
    public let entries: UInt64
    /// Bytes of their keys and values.
    public let liveBytes: UInt64
    /// Memory slots, those of ended keys included.
    public let slots: Int
    /// What it takes on the disk.
    public let space: NamespaceSpace
}
