/// Sizes and times of a ledger's store, each with the reason of its value.
enum StoreLimits {
    /// Records that wait to get into a block; more are answered “unavailable”.
    static let queuedRecordsMax = 4096
    /// How long a block is left open after its first record, so that others can join it.
    static let batchWindow = Duration.milliseconds(2)
    /// Blocks between two stored snapshots: a restart replays fewer than that.
    static let snapshotInterval: Int64 = 256
    /// Stored snapshots that are kept, so that a damaged one leaves another.
    static let snapshotsKept = 2
    /// Bytes of one stored piece of a snapshot; a Zero-DB value holds far more.
    static let snapshotPieceBytes = 256 << 10
    /// Record ids of one stored tile of the log: 32 KiB.
    static let tileEntries = 1024
    /// Blocks of one answer, and bytes after which no further one is added.
    static let answerBlocks: Int64 = 256
    static let answerBytes = 4 << 20
    /// The last blocks are served from memory.
    static let recentBlocks: Int64 = 128
    /// The longest that a long poll waits.
    static let pollMilliseconds: Int64 = 60_000
    /// How long a call of Zero-DB may take; a disk that is slower counts as away for now.
    static let storageDeadline = Duration.seconds(5)
    /// The pauses between tries while Zero-DB or the identity service is away.
    static let retryFirst = Duration.milliseconds(50)
    static let retryMax = Duration.seconds(1)
    /// Records of one answer to a query.
    static let queryLimit: Int64 = 1000
    static let queryDefault: Int64 = 100
}
