import RESP

/// How much bus connections may ask of a service.
enum BusLimits {
    /// Connections of one uid; reconcilers of one daemon call at the same time.
    static let connectionsOfOneMax = 128
    /// Connections in all; below the 1024 descriptors that a unit gets by default.
    static let connectionsMax = 512
    /// A peer that does not take its reply for this long is gone.
    static let stalledSeconds: Int64 = 30
    /// Requests: a verb, one document of at most 16 MiB, spare arguments for redis-cli's own commands.
    static let server = RESPParser.Limits(
        itemsMax: 16, bulkMax: 16 << 20, depthMax: 2, lineMax: 64 << 10, messageMax: 17 << 20)
    /// Replies: one document; lists of a busy node may be long.
    static let client = RESPParser.Limits(
        itemsMax: 65_536, bulkMax: 64 << 20, depthMax: 8, lineMax: 64 << 10, messageMax: 65 << 20)
}
