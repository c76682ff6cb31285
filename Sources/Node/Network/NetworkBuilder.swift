internal import Linux

/// Makes one contract's network hold, whatever is there now. Every step looks first and changes only what differs, so that
/// running it again is how drift is repaired. Blocking.
struct NetworkBuilder: Sendable {
    let network: ContractNetwork
    /// Addresses of the two ends of the link.
    let hostAddress: String
    let linkAddress: String

    /// What was applied last, to notice that somebody changed it.
    struct Applied: Sendable, Hashable {
        /// The contract's table as the kernel prints it.
        var table: String
    }

    /// Whether everything is as `applied` left it.
    func holds(_ applied: Applied) -> Bool {
        guard File.exists("/sys/class/net/\(network.hostInterface)"),
            let inside = NetworkCommands.interfaces(in: network.namespace), inside["link0"]?.contains("up") == true,
            inside["link0"]?.contains("\(linkAddress)/30") == true, bridgeHolds(inside),
            NetworkCommands.table("zero", in: network.namespace) == applied.table
        else { return false }
        return network.members.allSatisfy { member in
            guard let own = NetworkCommands.interfaces(in: network.namespace(of: member))?["eth0"] else {
                return false
            }
            return memberHolds(member, own)
        }
    }

    private func bridgeHolds(_ inside: [String: Set<String>]) -> Bool {
        guard let bridge = inside["br0"] else { return false }
        return bridge.contains("up") && bridge.isSuperset(of: bridgeAddresses)
    }

    /// The bridge's own addresses and those of stores, as the kernel prints them.
    private var bridgeAddresses: Set<String> {
        let v4 = [network.bridgeAddress] + network.stores.map(\.address)
        let v6 = [network.bridgeAddress6] + network.stores.map(\.address6)
        return Set(v4.map { "\($0)/\(network.prefixLength)" } + v6.map { "\(Address6.canonical($0))/64" })
    }

    private func memberHolds(_ member: ContractNetwork.Member, _ own: Set<String>) -> Bool {
        own.contains("up") && own.contains("\(member.address)/\(network.prefixLength)")
            && own.contains("\(Address6.canonical(member.address6))/64")
    }

    /// Makes it hold.
    func apply() throws -> Applied {
        try ensureNamespace(network.namespace)
        try ensureLink()
        try ensureBridge()
        let inside = NetworkCommands.interfaces(in: network.namespace) ?? [:]
        for member in network.members { try ensure(member, inside: inside) }
        try removeStrangers(inside)
        try NetworkCommands.nft(Rules.contract(network, link: linkAddress), in: network.namespace)
        return Applied(table: NetworkCommands.table("zero", in: network.namespace) ?? "")
    }

    private func ensureNamespace(_ name: String) throws {
        if NetworkCommands.interfaces(in: name) != nil { return }
        // A file without a namespace behind it is left when a machine loses power.
        try? NetworkCommands.ip(["netns delete \(name)"])
        try? File.remove("\(Self.folder)/\(name)")
        try ensureFolder()
        try NetworkCommands.ip(["netns add \(name)"])
        try NetworkCommands.ip(["link set lo up"], in: name)
    }

    /// Where namespaces have their names; other services look for them there.
    private static let folder = "/run/netns"

    /// The first one that a machine gets is made by this service, whose umask leaves others out.
    private func ensureFolder() throws {
        if !File.exists(Self.folder) { try File.makeDirectories(Self.folder) }
        if try File.status(Self.folder).mode & 0o055 != 0o055 { try File.changeMode(Self.folder, 0o755) }
    }

    private func ensureLink() throws {
        let inside = NetworkCommands.interfaces(in: network.namespace)?["link0"]
        let host = network.hostInterface
        if inside == nil || !File.exists("/sys/class/net/\(host)") {
            try? NetworkCommands.ip(["link delete \(host)"])
            try? NetworkCommands.ip(["link delete link0"], in: network.namespace)
            try NetworkCommands.ip(["link add \(host) type veth peer name link0 netns \(network.namespace)"])
        }
        try NetworkCommands.ip(["address replace \(hostAddress)/30 dev \(host)", "link set \(host) up"])
        try NetworkCommands.ip(
            [
                "address replace \(linkAddress)/30 dev link0", "link set link0 up",
                "route replace default via \(hostAddress)",
            ], in: network.namespace)
    }

    private func ensureBridge() throws {
        let inside = NetworkCommands.interfaces(in: network.namespace) ?? [:]
        if inside["br0"] == nil {
            try NetworkCommands.ip(["link add br0 type bridge forward_delay 0"], in: network.namespace)
            try NetworkCommands.sysctl(
                ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], in: network.namespace)
        }
        try NetworkCommands.ip(
            [
                "address replace \(network.bridgeAddress)/\(network.prefixLength) dev br0",
                "address replace \(network.bridgeAddress6)/64 dev br0 nodad", "link set br0 up",
            ] + network.stores.map { "address replace \($0.address)/\(network.prefixLength) dev br0" }
                + network.stores.map { "address replace \($0.address6)/64 dev br0 nodad" }, in: network.namespace)
        let strange = (inside["br0"] ?? []).subtracting(bridgeAddresses).filter { $0 != "up" && !$0.hasPrefix("fe80:") }
        try NetworkCommands.ip(strange.sorted().map { "address delete \($0) dev br0" }, in: network.namespace)
    }

    private func ensure(_ member: ContractNetwork.Member, inside: [String: Set<String>]) throws {
        let name = network.namespace(of: member)
        try ensureNamespace(name)
        let own = NetworkCommands.interfaces(in: name)?["eth0"]
        let port = portName(member)
        if own == nil || inside[port] == nil {
            try? NetworkCommands.ip(["link delete \(port)"], in: network.namespace)
            try? NetworkCommands.ip(["link delete eth0"], in: name)
            try NetworkCommands.ip(["link add eth0 type veth peer name \(port) netns \(network.namespace)"], in: name)
        } else if let own, !memberHolds(member, own) {
            try NetworkCommands.ip(["address flush dev eth0 scope global"], in: name)
        }
        try NetworkCommands.ip(["link set \(port) master br0", "link set \(port) up"], in: network.namespace)
        try NetworkCommands.ip(
            [
                "address replace \(member.address)/\(network.prefixLength) dev eth0",
                "address replace \(member.address6)/64 dev eth0 nodad", "link set lo up", "link set eth0 up",
                "route replace default via \(network.bridgeAddress)",
                "route replace default via \(network.bridgeAddress6)",
            ], in: name)
    }

    /// A member's port on the bridge is named after its address, which stays when other members come and go.
    private func portName(_ member: ContractNetwork.Member) -> String {
        "p" + member.address.split(separator: ".").suffix(2).joined(separator: "-")
    }

    /// Ports and namespaces of members that are no longer there.
    private func removeStrangers(_ inside: [String: Set<String>]) throws {
        let ports = Set(network.members.map(portName))
        for port in inside.keys.sorted() where port.hasPrefix("p") && !ports.contains(port) {
            try? NetworkCommands.ip(["link delete \(port)"], in: network.namespace)
        }
        let names = Set(network.members.map { network.namespace(of: $0) })
        for name in try File.list(Self.folder) where name.hasPrefix("zw-\(network.tag)-") && !names.contains(name) {
            try NetworkCommands.ip(["netns delete \(name)"])
        }
    }

    /// Removes all of a contract's network from the node.
    static func remove(tag: String) throws {
        for name in (try? File.list(Self.folder)) ?? [] where name.hasPrefix("zw-\(tag)-") || name == "zc-\(tag)" {
            try NetworkCommands.ip(["netns delete \(name)"])
        }
        if File.exists("/sys/class/net/zl\(tag)") { try NetworkCommands.ip(["link delete zl\(tag)"]) }
    }
}
