public import Simulation

/// The log of one device: records in segments, an index in memory that is derived from them, recovery.
///
/// A turn is any number of writes followed by `commit`; the writes of a turn exist for readers of this engine at once,
/// but whoever serves others answers them only after `commit` returned. If it throws, none of the turn happened.
public struct LogEngine: ~Copyable {
    struct Segment {
        var number: UInt64
        var file: DiskFile
        var firstSequence: UInt64
        /// Bytes that hold records; of the active segment only what has been written to the disk.
        var length: UInt64
        /// It was removed: its file is closed and nothing may name its position any more.
        var isRemoved = false
        var kind = SegmentHeader.kindLog
        /// The last sequence number that it stands for; 0 while it is written to.
        var last: UInt64 = 0
        var created: UInt64 = 0
        var index = IndexState.missing
        var use = SegmentUse()

        /// Sequence numbers have gaps: it was compacted.
        var allowsGaps: Bool { kind == SegmentHeader.kindCompacted }
    }

    /// How the keys of a turn were before it.
    struct Undo {
        var namespace: UInt32
        var hash: KeyHash
        var before: Slot
    }

    let disk: any Disk
    let options: LogOptions
    var header: SegmentHeader
    var seed: UInt32
    var hasher: KeyHasher

    /// Segments by position. A position is never moved or used again while the process lives, because slots name it.
    var segments: [Segment] = []
    /// Positions of the segments that exist, in the order of the log.
    var order: [Int] = []
    /// Changes of the order other than segments behind the others.
    var orderGeneration: UInt64 = 0
    /// Segments that replicas are being sent; compaction waits a while before it removes one of them.
    public var segmentsBeingSent: [UInt64] = []
    /// The position of the segment that is written to.
    var active = 0
    /// The index file of the active segment.
    var indexWriter: IndexWriter
    var places = PlaceCache()
    /// The highest number that any segment's file had.
    var highestNumber: UInt64 = 0
    /// Which segments count; nil before the first compaction: then the directory says it.
    var manifest: Manifest?
    var space = SpaceAccount()
    var compaction = Compaction()
    /// Nanoseconds after which `maintain` is worth calling again, if it returned true.
    public internal(set) var workDelay: UInt64 = 0
    /// Files that do not count any more, and are still to be removed.
    var discarded: [DiscardedFile] = []
    /// Ended namespaces and flushed indexes whose slots still are to be taken from the segments' counters.
    var ended: [EndedNamespace] = []
    /// What the checkpoint told at the start.
    var known = KnownLog()
    var namespaces: [UnsafeMutablePointer<NamespaceState>?] = [nil]
    var names: [[UInt8]: UInt32] = [:]

    /// Records that are not yet handed to the disk; they follow the active segment's `length`.
    var pending: UnsafeMutableRawPointer
    var pendingCount = 0
    var pendingCapacity: Int
    /// Bytes that this process has written to segments.
    public internal(set) var writtenBytes: UInt64 = 0
    /// Bytes of the active segment that cannot lack space.
    var reserved: UInt64 = 0
    /// The next record's sequence number.
    public internal(set) var nextSequence: UInt64 = 1
    /// Everything up to this sequence number is on stable storage.
    public internal(set) var durableSequence: UInt64 = 0 { didSet { tables.durable = durableSequence } }
    /// The last watermark that stands in the log.
    var markedSequence: UInt64 = 0
    /// Time of the last record; records' times never go back.
    var lastTime: UInt64 = 0
    var turnFirst: UInt64 = 1
    var turnLength: UInt64 = 0
    /// Writes of this turn are gone already, because a part of it could not be written: its commit fails with this.
    var turnFailure: LogError?
    var undo: [Undo] = []
    var modeUndo = ModeUndo()
    /// Indexes of ordered namespaces with keys that recovery collected and may still take back.
    var unsettledRuns: [(namespace: UInt32, keys: OrderedKeys)] = []
    let tables: TableCache
    /// Positions of the segments that exist, by their numbers.
    var positions: [UInt64: Int] = [:]
    /// Records are put that are in the log already.
    var isRecovering = false
    /// Namespaces whose index has to be made anew from the whole log.
    var inDoubt: Set<UInt32> = []
    /// Records were met before the definition that says how they are indexed, so that counters are not right.
    var isOutOfOrder = false
    /// What a batch that is open began with.
    var openBatch: BatchStart?
    /// Records of a batch that are still to come; 0 outside of batches.
    var batchLeft: UInt32 = 0
    /// Whether this process has put its `open` record.
    var isOpened = false
    /// Where this process' sequence numbers begin if earlier ones may have been seen and lost.
    var firstOfSession: UInt64 = 1
    /// The last sequence number of earlier processes.
    var endOfEarlier: UInt64 = 0
    /// What this process says about syncs in its `open` record.
    var policy: SyncPolicy
    /// The policy of the last process that wrote.
    var lastPolicy: SyncPolicy = .always
    var endedWithClose = true
    /// Bytes of the last segment behind its last record cannot be read.
    var hasUnreadableEnd = false
    /// Where in the last segment the first record stands that may not be on the medium.
    var unsettled: UInt64?
    /// The last segment's header is damaged, so that the next record begins another.
    var hasDamagedHeader = false

    /// What this device is among its copies.
    var roleFile = RoleFile()
    /// A replica's part of its master's compactions.
    var replacements = Replacements()
    /// The device has to be opened again, because its index was made in another order than the log's.
    public internal(set) var needsReopening = false
    /// Why others do not let this device write; nil while they do.
    public internal(set) var writeRefusal: WriteRefusal?
    /// Everything up to this sequence number is where it has to be before it is told; replicas may hold it back.
    var confirmedSequence: UInt64 = .max
    /// Why there are no more writes; nil while there are.
    public internal(set) var readOnlyReason: ReadOnlyReason?
    /// What recovery found.
    public internal(set) var report = RecoveryReport()
    let scratch: UnsafeMutableRawPointer

    deinit {
        for case let namespace? in namespaces {
            namespace.deinitialize(count: 1)
            namespace.deallocate()
        }
        for item in ended { item.free() }
        pending.deallocate()
        scratch.deallocate()
    }

    init(disk: any Disk, options: LogOptions, header: SegmentHeader) {
        precondition(options.segmentBytes >= 16384 && options.segmentBytes <= LogLimits.segmentBytesMax)
        (self.disk, self.options, self.header) = (disk, options, header)
        tables = TableCache(disk: disk, pages: options.tablePages)
        seed = header.checksumSeed
        hasher = KeyHasher(of: header)
        indexWriter = IndexWriter(disk: disk, header: header)
        policy = options.policy
        pendingCapacity = 1 << 16
        pending = .allocate(byteCount: pendingCapacity, alignment: 4096)
        scratch = .allocate(byteCount: Format.headBytesMax + 8, alignment: 16)
        undo.reserveCapacity(4096)
        tables.trustsPages = plants(.trustTable)
    }

    // MARK: What can be told

    /// The device's identity, 16 bytes.
    public var device: [UInt8] {
        [header.device.0, header.device.1].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
        }
    }

    /// Bytes that clients cannot know and that stay the same; not for encryption.
    public var secret: [UInt8] { device + (0..<8).map { UInt8(truncatingIfNeeded: header.salt >> (8 * $0)) } }

    /// The device's epoch.
    public var epoch: UInt64 { header.epoch }

    /// The number of the segment that is written to.
    public var activeSegment: UInt64 { segments.isEmpty ? 0 : segments[active].number }

    /// The name of a segment's file.
    public static func fileName(segment number: UInt64) -> String { Format.name(segment: number) }

    /// Segments on the disk.
    public var segmentCount: Int { order.count }

    /// Bytes of records, headers of segments included.
    public var logBytes: UInt64 { order.reduce(UInt64(pendingCount)) { $0 + segments[$1].length } }

    /// Where the next record will stand.
    public var endOfLog: (segment: UInt64, offset: UInt64) {
        if segments.isEmpty { return (0, 0) }
        return (segments[active].number, segments[active].length + UInt64(pendingCount))
    }

    /// Bytes that still fit in the active segment.
    public var roomInSegment: UInt64 {
        let end = segments.isEmpty ? 0 : segments[active].length
        return UInt64(options.segmentBytes) - min(end, UInt64(options.segmentBytes))
    }

    /// Whether something was written that is not yet on stable storage.
    public var isDirty: Bool { durableSequence + 1 < nextSequence }

    /// Whether this turn wrote something.
    public var turnHasWrites: Bool { nextSequence != turnFirst || turnFailure != nil }

    /// Bytes of this turn's records.
    public var turnBytes: UInt64 {
        let written = segments.isEmpty ? 0 : segments[active].length
        return UInt64(pendingCount) + (written > turnLength ? written - turnLength : 0)
    }

    /// The first sequence number that a reader may not be told of yet: of this turn, or what replicas lack.
    public var turnFirstSequence: UInt64 { confirmedSequence < turnFirst ? confirmedSequence + 1 : turnFirst }

    /// The history policy of new namespaces.
    public var newHistory: HistoryPolicy { options.history }

    /// Names of all namespaces, sorted.
    public var namespaceNames: [[UInt8]] { names.keys.sorted { $0.lexicographicallyPrecedes($1) } }

    /// The number of a namespace by name.
    public func namespace(named name: [UInt8]) -> UInt32? { names[name] }

    /// Whether a namespace of this number still exists.
    @inline(__always)
    public func hasNamespace(_ id: UInt32) -> Bool { Int(id) < namespaces.count && namespaces[Int(id)] != nil }

    /// What can be told of a namespace.
    public func information(_ id: UInt32) -> NamespaceInformation? {
        guard hasNamespace(id), let state = namespaces[Int(id)] else { return nil }
        return NamespaceInformation(
            id: id, name: state.pointee.name, settings: state.pointee.settings, fence: state.pointee.fence,
            entries: state.pointee.entries, liveBytes: state.pointee.liveBytes, slots: state.pointee.slots,
            space: state.pointee.spaceInformation)
    }

    /// Keys of a namespace.
    public func entryCount(_ id: UInt32) throws(LogError) -> UInt64 { try state(id).pointee.entries }

    @inline(__always)
    func state(_ id: UInt32) throws(LogError) -> UnsafeMutablePointer<NamespaceState> {
        guard Int(id) < namespaces.count, let state = namespaces[Int(id)] else { throw .noNamespace }
        return state
    }

    /// A namespace that may be read.
    @inline(__always)
    func readable(_ id: UInt32) throws(LogError) -> UnsafeMutablePointer<NamespaceState> {
        if roleFile.role != .master, isIncomplete { throw .incomplete }
        let found = try state(id)
        if !found.pointee.settings.isSupported { throw .namespaceUnsupported }
        if found.pointee.settings.isFrozen { throw .frozen }
        return found
    }
}

/// When writes reach stable storage.
public enum SyncPolicy: UInt8, Sendable {
    /// Before they are answered.
    case always = 1
    /// At most a short time later.
    case interval = 2
    /// When the kernel likes.
    case none = 3
}

/// Why a device takes no writes.
public enum ReadOnlyReason: Hashable, Sendable {
    /// A sync failed: what the disk holds is not known any more.
    case syncFailed(DiskError)
    /// A write failed for another reason than space.
    case writeFailed(DiskError)
    /// The medium was read-only when the device was opened.
    case medium
}

/// How an engine is to work.
public struct LogOptions: Sendable {
    /// The size at which a segment ends.
    public var segmentBytes = 256 << 20
    /// Space that is reserved at a time.
    public var reserveBytes = 8 << 20
    /// Space that only tombstones, marks and fences may use.
    public var slackBytes = 64 << 10
    /// Pages of 4 KiB of sequential namespaces' tables that are kept in memory.
    public var tablePages = 1024
    /// A table gets a checkpoint when it is so many records behind.
    public var tableRecords: UInt64 = 1 << 20
    /// Behind a clean stop a last segment up to this size is read all the same, so that damage in it is found.
    public var scannedBytes = 64 << 20
    /// Bytes that the device may use; 0: all of the disk.
    public var capacityBytes: UInt64 = 0
    /// Bytes a second that compaction reads and writes; 0: it only runs when it is asked for.
    public var compactionRate: UInt64 = 64 << 20
    /// The history policy of new namespaces.
    public var history = HistoryPolicy.all
    /// What this process will do about syncs; written in its `open` record.
    public var policy = SyncPolicy.always
    /// Whether the device takes its log from a master; an empty one then waits for the master's first segment.
    public var follows = false
    /// The device's identity and salt if it is new: three random words.
    public var fresh: (UInt64, UInt64, UInt64) = (0, 0, 0)

    #if DEBUG
    var planted: PlantedBug?
    #endif

    /// The defaults.
    public init() {}
}

/// One damaged place in the log.
public struct Damage: Hashable, Sendable {
    /// The segment's number.
    public let segment: UInt64
    /// The first damaged byte of the segment.
    public let offset: UInt64
    /// How many bytes.
    public let length: UInt64
    /// Sequence numbers of the records that stood there.
    public let lost: Range<UInt64>
    /// Whether the keys that are concerned are known; their reads fail. Else an older version may be seen.
    public let isAttributed: Bool
}

/// What recovery found.
public struct RecoveryReport: Hashable, Sendable {
    /// Records read.
    public var records: UInt64 = 0
    /// Bytes at the end of the log that were never fully written, and were cut.
    public var cutBytes: UInt64 = 0
    /// Whether the last process stopped in order.
    public var wasClosed = true
    /// Damaged places, at most `LogLimits.damagesMax`.
    public var damages: [Damage] = []
    /// Tables of sequential namespaces that were made anew.
    public var rebuiltTables: UInt64 = 0
    /// Records up to this sequence number came from the checkpoint; 0: there was none that could be used.
    public var checkpointSequence: UInt64 = 0
    /// All damaged places.
    public var damageCount: UInt64 = 0
}
