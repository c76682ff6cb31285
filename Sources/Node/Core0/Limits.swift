/// What zero-core allows, in one place, so that its memory is bounded whatever others do.
enum Limits {
    /// A unit file; the longest of ours has 1 KiB.
    static let unitBytesMax = 64 << 10
    /// Unit files in one folder.
    static let unitsMax = 256
    /// Instances of templates that live or are wanted; a container takes two.
    static let instancesMax = 4096
    /// Instances that ended by themselves and are remembered, so that who started them learns how it went.
    static let endedMax = 256
    /// The first and the longest time between two starts in a row.
    static let backoffFirst: UInt64 = 100 * Time.millisecond
    static let backoffLongest: UInt64 = 30 * Time.second
    /// A process that was ready for this long begins a new row.
    static let steady: UInt64 = 30 * Time.second
    /// `CORE.START` answers after this at the latest, before a caller's deadline of 10 s.
    static let startAnswer: UInt64 = 8 * Time.second
    /// Connections of one account other than root, and in all.
    static let connectionsOfOneMax = 32
    static let connectionsMax = 256
    /// Replies that a client does not take, before its connection is closed.
    static let replyBytesMax = 4 << 20
    /// How often logs are looked at.
    static let logInterval: UInt64 = 2 * Time.second
    /// The log of zero-core and zero-watch.
    static let ownLogMax: UInt64 = 4 << 20
    /// Logs of instances that are gone, until the oldest are removed.
    static let oldLogsMax = 512
    /// Kept descriptors of one process and in all; zero-watch has the same number.
    static let storedOfOneMax = 16
    static let storedMax = 256
    /// What a process may write to its readiness descriptor.
    static let noticeBytesMax = 4096
}

/// Durations in nanoseconds.
enum Time {
    static let millisecond: UInt64 = 1_000_000
    static let second: UInt64 = 1_000_000_000
}
