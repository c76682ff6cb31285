/// What the server counts; plain numbers of the one thread that has them.
struct Counters {
    var commands = [UInt64](repeating: 0, count: Command.allCases.count)
    var accepted: UInt64 = 0
    var refused: UInt64 = 0
    var bytesIn: UInt64 = 0
    var bytesOut: UInt64 = 0
    var errors: UInt64 = 0
    var protocolErrors: UInt64 = 0
    var corruptReads: UInt64 = 0
    var refusedFull: UInt64 = 0
    var turns: UInt64 = 0
    /// The longest time between two looks at the clients.
    var turnNanosecondsMax: UInt64 = 0
    var syncs: UInt64 = 0
    /// Turns whose sync was left to the thread because others would have felt it.
    var syncsDeferred: UInt64 = 0
    var syncNanoseconds: UInt64 = 0
    var syncNanosecondsMax: UInt64 = 0
    var hits: UInt64 = 0
    var logins: UInt64 = 0
    var tlsFailures: UInt64 = 0
    var evictedIdle: UInt64 = 0
    var evictedSlow: UInt64 = 0
    var evictedMemory: UInt64 = 0
    var reloads: UInt64 = 0
    var readsAhead: UInt64 = 0
    var loginsRefused: UInt64 = 0
    var attemptsLimited: UInt64 = 0
    var misses: UInt64 = 0
    /// How often a namespace had to wait because of its rates.
    var throttled: UInt64 = 0
    /// How often a command was interrupted so that others could be looked at.
    var yields: UInt64 = 0

    var commandsTotal: UInt64 { commands.reduce(0, +) }
}
