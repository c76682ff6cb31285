import LogEngine

/// Where another server is: a replica's master, or a namespace's source.
public struct MasterAddress: Hashable, Sendable, CustomStringConvertible {
    /// A host and port, or nil.
    public var host: String?
    /// The port of the host.
    public var port: UInt16 = 0
    /// The Unix socket, if there is no host.
    public var path = ""
    /// Whether the host speaks TLS at that port.
    public var isTLS = false

    /// `HOST:PORT`, `tls:HOST:PORT` or `unix:PATH`.
    public init?(_ text: String) {
        if text.hasPrefix("unix:"), text.utf8.count > 5 {
            path = String(text.dropFirst(5))
            return
        }
        isTLS = text.hasPrefix("tls:")
        let text = isTLS ? text.dropFirst(4) : text[...]
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0
        else { return nil }
        var name = text[..<colon]
        if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
        guard !name.isEmpty else { return nil }
        (host, self.port) = (String(name), port)
    }

    /// As two words of a command: host and port, or `unix:PATH` and something.
    init?(_ first: String, _ second: String) {
        if first.hasPrefix("unix:") {
            self.init(first)
            return
        }
        let prefix = first.hasPrefix("tls:") ? "tls:" : ""
        let host = first.dropFirst(prefix.utf8.count)
        self.init(prefix + (host.contains(":") ? "[\(host)]" : host) + ":" + second)
    }

    /// As it is written.
    public var description: String {
        guard let host else { return "unix:" + path }
        return (isTLS ? "tls:" : "") + (host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)")
    }
}

/// A replica's connection to its master.
final class Upstream: PeerLink {
    /// Whether records that the master does not have may be cut away.
    var discardsTail: Bool
    var receiver = ReplicaReceiver()
    var acknowledged: UInt64 = 0
    var acknowledgedToken: UInt64 = 0

    init(_ address: MasterAddress, discardsTail: Bool, now: UInt64) {
        self.discardsTail = discardsTail
        super.init(address, now: now)
    }

    override func connect(_ tls: PeerTLSSettings?, now: UInt64) -> String? {
        receiver = ReplicaReceiver()
        (acknowledged, acknowledgedToken) = (0, 0)
        return super.connect(tls, now: now)
    }
}
