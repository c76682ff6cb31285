public import Bus
public import CanonicalJSON
internal import Linux
public import Service

/// All contract networks of this node, and the node's own rules.
public actor NetworkNode {
    nonisolated let run: String
    nonisolated let core: BusClient
    nonisolated let log: Log
    nonisolated let doors: StoreDoors
    private let state: String
    private let linkRange: String
    private var keepers: [String: NetworkKeeper] = [:]
    private var allocations: LinkAllocations
    private var nodeTable: String?
    /// A copy for keepers; addresses follow from the index alone.
    nonisolated let links: LinkAllocations

    /// Starts with the networks that an earlier process recorded.
    /// `doorHelper` is the program that opens a listening socket in a namespace.
    public init(
        state: String, run: String, linkRange: String, doorHelper: String, core: BusClient, log: Log
    ) throws {
        guard let range = NetworkRange(linkRange), range.length <= 28 else {
            throw NetworkError.command(
                subject: "--link-range", reason: "“\(linkRange)” is not an IPv4 range of at least 16 addresses")
        }
        (self.state, self.run, self.linkRange, self.core, self.log) = (state, run, linkRange, core, log)
        doors = StoreDoors(socket: "\(run)/zdb.sock", helper: doorHelper)
        let links = try LinkAllocations(range: range, path: "\(state)/network/links.json")
        (allocations, self.links) = (links, links)
    }

    /// Name of the node's nftables table, one a grid.
    private static func tableName(_ run: String) -> String {
        let tail = run.split(separator: "/").suffix(2).joined(separator: "_")
        return "zero_" + String(tail.map { $0.isLetter || $0.isNumber ? $0 : "_" })
    }

    private func recordPath(_ contract: String) -> String { "\(state)/network/contracts/\(contract).json" }

    /// Takes up what an earlier process recorded, so that drift is repaired even before anybody asks.
    public func adopt() {
        let folder = "\(state)/network/contracts"
        for name in (try? File.list(folder)) ?? [] where name.hasSuffix(".json") {
            guard let bytes = try? File.read("\(folder)/\(name)"), let value = try? JSONValue(canonical: bytes),
                let network = try? ContractNetwork(request: value), let index = allocations.indices[network.contract]
            else {
                log.warn("record-unreadable", ["file": name])
                continue
            }
            keepers[network.contract] = NetworkKeeper(network, index: index, node: self)
        }
    }

    /// `NETWORK.ENSURE`.
    public func ensure(_ request: JSONValue) async throws -> JSONValue {
        let network: ContractNetwork
        do { network = try ContractNetwork(request: request) } catch { throw BusError(error) }
        let keeper = try keeper(network)
        try await keeper.ensure(network)
        var members: [String: JSONValue] = [:]
        for member in network.members {
            members[member.instance] = ["netns": .string("/run/netns/\(network.namespace(of: member))")]
        }
        return [
            "link": .string(await keeper.link), "netns": .string("/run/netns/\(network.namespace)"),
            "members": .object(members),
        ]
    }

    private func keeper(_ network: ContractNetwork) throws -> NetworkKeeper {
        let index = try allocations.index(of: network.contract)
        let record = network.request.canonicalBytes
        if (try? File.read(recordPath(network.contract))) != record {
            try File.makeDirectories("\(state)/network/contracts", mode: 0o700)
            try File.writeDurably(recordPath(network.contract), record)
        }
        if let known = keepers[network.contract] { return known }
        let keeper = NetworkKeeper(network, index: index, node: self)
        keepers[network.contract] = keeper
        return keeper
    }

    /// `NETWORK.OPEN`: a store of a contract's network leads to a namespace of the node's Zero-DB.
    public func open(_ contract: String, _ name: String, _ namespace: String) async throws {
        guard let keeper = keepers[contract] else {
            throw BusError.notFound("contract \(contract.prefix(16)) has no network here")
        }
        try await keeper.open(name, namespace)
    }

    /// Gives the store its doors again after it was started again, for ever; returns when the task is cancelled.
    public func watchDoors() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(NetworkLimits.doorCheck))
            var hasDoors = false
            for keeper in keepers.values where await keeper.hasDoors { hasDoors = true }
            guard hasDoors else { continue }
            // While the store is being started again there is nothing to do or to say.
            guard let open = try? await runBlocking({ [doors] in try doors.open() }) else { continue }
            for contract in keepers.keys.sorted() {
                guard let keeper = keepers[contract], await keeper.hasDoors else { continue }
                do {
                    try await keeper.keepDoors(open)
                } catch {
                    log.warn("doors", ["contract": contract, "reason": "\(error)"])
                }
            }
        }
    }

    /// `NETWORK.REMOVE`; what is not there is no error.
    public func remove(_ contract: String) async throws {
        guard let keeper = keepers[contract] else { return }
        try await keeper.remove()
        keepers[contract] = nil
        try File.remove(recordPath(contract))
        try allocations.release(contract)
    }

    /// `NETWORK.LIST`.
    public func list() async -> JSONValue {
        var networks: [JSONValue] = []
        for contract in keepers.keys.sorted() {
            guard let keeper = keepers[contract] else { continue }
            networks.append(["contract": .string(contract), "link": .string(await keeper.link)])
        }
        return ["networks": .array(networks)]
    }

    /// Looks at everything, for ever; returns when the task is cancelled.
    public func watch() async {
        while !Task.isCancelled {
            await ensureNodeRules()
            for contract in keepers.keys.sorted() {
                guard let keeper = keepers[contract] else { continue }
                do {
                    try await keeper.ensure(await keeper.network, force: true)
                } catch {
                    log.warn("network-not-repaired", ["contract": contract, "reason": "\(error)"])
                }
            }
            try? await Task.sleep(for: .milliseconds(NetworkLimits.recheck))
        }
    }

    /// The node forwards for contracts, and keeps them from each other and from itself.
    public func ensureNodeRules() async {
        let (name, range, before) = (Self.tableName(run), linkRange, nodeTable)
        do {
            nodeTable = try await runBlocking { () throws -> String in
                let now = NetworkCommands.table(name, in: nil)
                if let now, now == before { return now }
                try NetworkCommands.sysctl(["net.ipv4.ip_forward=1"], in: nil)
                try NetworkCommands.nft(Rules.node(table: name, links: range), in: nil)
                return NetworkCommands.table(name, in: nil) ?? ""
            }
        } catch {
            log.error("node-rules", ["reason": "\(error)"])
        }
    }

    /// Removes every namespace, link and table that this grid made; blocking, for `zero down`.
    public static func purge(state: String, run: String) throws {
        let folder = "\(state)/network/contracts"
        for name in (try? File.list(folder)) ?? [] where name.hasSuffix(".json") {
            try NetworkBuilder.remove(tag: String(name.prefix(8)))
        }
        let table = tableName(run)
        if NetworkCommands.table(table, in: nil) != nil {
            try NetworkCommands.nft("delete table inet \(table)\n", in: nil)
        }
    }
}
