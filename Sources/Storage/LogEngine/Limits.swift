/// Bounds of the log, each with the reason of its value.
public enum LogLimits {
    /// A key's length has one byte in a record.
    public static let keyBytesMax = 255
    /// A namespace's name is a key of a record and part of paths and URLs of others.
    public static let nameBytesMax = 128
    /// What one command may store; four images' chunks fit, and a reply still fits in a socket's patience.
    public static let valueBytesMax = 8 << 20
    /// What a reader of the format must accept.
    public static let formatValueBytesMax = 64 << 20
    /// Offsets are kept in units of 8 bytes in 32 bits; smaller segments recover in less time after a crash.
    public static let segmentBytesMax = 4 << 30
    /// Sequence numbers have 56 bits in the index; a stop without order skips up to 2^32 of them.
    public static let sequenceMax: UInt64 = 1 << 56 - 1
    /// Positions of segments have 24 bits in the index: petabytes written by one process.
    public static let positionsMax = 1 << 24
    /// Identities of namespaces are dense and never used again.
    public static let namespacesMax = 1 << 20
    /// Ids of a sequential namespace: more than any device holds, few enough that a table's size can be computed.
    public static let idsMax: UInt64 = 1 << 40
    /// Ids that an import may leave out at once: 400 MB of the table.
    public static let idsSkippedMax: UInt64 = 1 << 24
    /// Damages that are remembered one by one; more are only counted.
    public static let damagesMax = 1024
    /// Bytes that wait in memory before they are written even though the turn goes on.
    public static let pendingBytes = 4 << 20
    /// How long compaction waits for a replica that is being sent one of its inputs: nanoseconds.
    static let sendersWait: UInt64 = 10_000_000_000
}
