/// Bounds of this module, with the reason of each.
enum Limits {
    /// Servers of one route: a route replaces its backends while the old ones drain, so this is more than one needs.
    static let serversMax = 4
    /// Routes for which the proxy has room at first. Doubled, with a reload, when they are used up.
    static let slotsFirst = 512
    /// Routes in all. A slot costs the proxy about 60 KiB.
    static let slotsMax = 8192
    /// Letters of a route's name: one label of DNS.
    static let nameMax = 63
    /// Bytes of commands in one line; the proxy reads a line into a buffer of 16 KiB.
    static let lineMax = 8 << 10
    /// Bytes of an answer of the proxy: a table of every server of every slot.
    static let answerMax = 32 << 20
    /// A removed route's slot is free when its last request ended, at the latest after this.
    static let drainSeconds: Int64 = 900
    /// Milliseconds that one exchange with the proxy may take.
    static let exchangeMilliseconds: Int32 = 3000
    /// Time between two comparisons with what the proxy really does.
    static let comparePeriod: Duration = .seconds(5)
    /// Comparisons of used slots only between two of all: reading 2,048 servers every 5 s took 0.6 % of a core.
    static let quickComparisons = 11
    /// Backends that are asked for by name in one line, which `lineMax` bounds; above it all servers are asked for.
    static let askedAloneMax = 128
}
