/// A system account of a node's daemons; the raw value is both uid and gid.
public enum Account: UInt32, CaseIterable, Sendable, Hashable {
    /// The process manager, shims and the machine's administrator.
    case root = 0
    /// zero-identity.
    case identity = 64101
    /// zero-db.
    case db
    /// zero-ledger.
    case ledger
    /// zero-storage.
    case storage
    /// zero-network.
    case network
    /// zero-compute.
    case compute
    /// zero-gateway.
    case gateway
    /// zero-provision.
    case provision
    /// HAProxy.
    case proxy
    /// zero-fs.
    case mount
    /// zero-corex.
    case corex
    /// dnsmasq.
    case dns
    /// zero-db of contracts.
    case zdb

    /// The user and group number.
    public var uid: UInt32 { rawValue }

    /// The name, such as `ledger`.
    public var name: String { "\(self)" }

    /// The account of that name.
    public init?(name: String) {
        guard let found = Account.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }

    /// Every account that belongs to a daemon, and root.
    public static var every: [Account] { Array(allCases) }
}
