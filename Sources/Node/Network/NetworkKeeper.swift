internal import Bus
internal import CanonicalJSON
internal import Linux
internal import Service

/// Keeps one contract's network: one change at a time, looks again by itself.
actor NetworkKeeper {
    private let node: NetworkNode
    private(set) var network: ContractNetwork
    private let index: UInt32
    private var applied: NetworkBuilder.Applied?
    private var appliedNetwork: ContractNetwork?
    private var lookedAt: Int64 = 0
    private var last: Task<Void, Never>?
    /// Nothing of it is left. A look that was asked for before must not make it again: nobody would ever remove that.
    private var isGone = false
    /// Namespaces of the node's Zero-DB that were asked for, by store.
    private var namespaces: [String: String] = [:]

    init(_ network: ContractNetwork, index: UInt32, node: NetworkNode) {
        (self.network, self.index, self.node) = (network, index, node)
    }

    /// The contract's link address.
    var link: String { node.links.linkAddress(index) }

    /// Makes `wanted` hold. A look at something that was well a moment ago is skipped, unless `force`.
    func ensure(_ wanted: ContractNetwork, force: Bool = false) async throws {
        try await exclusively { keeper in
            if keeper.isGone {
                if force { return }
                throw BusError.unavailable("the network of contract \(wanted.tag) was just removed; ask again")
            }
            keeper.network = wanted
            keeper.namespaces = keeper.namespaces.filter { name, _ in wanted.stores.contains { $0.name == name } }
            let isRecent = Clock.monotonicNanoseconds() / 1_000_000 - keeper.lookedAt < NetworkLimits.recheck / 2
            if !force, isRecent, keeper.appliedNetwork == wanted { return }
            try await keeper.reconcile()
        }
    }

    private func reconcile() async throws {
        let builder = NetworkBuilder(
            network: network, hostAddress: node.links.hostAddress(index), linkAddress: node.links.linkAddress(index))
        let before = appliedNetwork == network ? applied : nil
        let (after, isChanged) = try await runBlocking { () throws -> (NetworkBuilder.Applied, Bool) in
            if let before, builder.holds(before) { return (before, false) }
            return (try builder.apply(), true)
        }
        if before != nil, isChanged { node.log.warn("network repaired", ["contract": network.tag]) }
        try await names()
        (applied, appliedNetwork) = (after, network)
        lookedAt = Clock.monotonicNanoseconds() / 1_000_000
    }

    /// dnsmasq with this contract's names; started anew where it is gone.
    private func names() async throws {
        let base = "\(node.run)/network/dns-\(network.contract)"
        let hosts = Array(Rules.hosts(network).utf8)
        let config = Array(Rules.names(network, hosts: base + ".hosts").utf8)
        let changed = (try? File.read(base + ".hosts")) != hosts
        if (try? File.read(base + ".conf")) != config { try File.writeAtomically(base + ".conf", config, mode: 0o644) }
        if changed { try File.writeAtomically(base + ".hosts", hosts, mode: 0o644) }
        let unit: JSONValue = ["unit": "dns@", "instance": .string(network.contract)]
        _ = try await node.core.call("CORE.START", unit)
        if changed {
            var signal = unit
            signal["signal"] = "HUP"
            _ = try await node.core.call("CORE.SIGNAL", signal)
        }
    }

    // MARK: Doors of stores

    /// Whether a store has doors to be kept.
    var hasDoors: Bool { !namespaces.isEmpty }

    /// `NETWORK.OPEN`: the doors of a store lead to `namespace` from now on.
    func open(_ name: String, _ namespace: String) async throws {
        guard network.stores.contains(where: { $0.name == name }) else {
            throw BusError.notFound("\(name) has no address in the contract's network")
        }
        namespaces[name] = namespace
        try await keepDoors()
    }

    /// Opens what is missing, closes what is not wanted any more. `known` are the labels of doors that are open, where somebody
    /// asked just now.
    func keepDoors(_ known: Set<String>? = nil) async throws {
        try await exclusively { keeper in
            if keeper.isGone { return }
            let (network, namespaces, doors) = (keeper.network, keeper.namespaces, keeper.node.doors)
            let repaired = try await runBlocking { () throws -> [String] in
                let inode = try File.status("/run/netns/\(network.namespace)").inode
                let wanted = network.stores.flatMap { store in
                    namespaces[store.name].map { network.doors(of: store, to: $0, inode: inode) } ?? []
                }
                let open = try known ?? doors.open()
                let missing = wanted.filter { !open.contains($0.label) }
                for door in missing { try doors.open(door, in: network.namespace) }
                for label in open.subtracting(wanted.map(\.label)).sorted() where label.hasPrefix(network.doorPrefix) {
                    try doors.close(label)
                }
                return missing.map(\.label)
            }
            for label in repaired { keeper.node.log.info("door", ["label": label]) }
        }
    }

    /// Removes all of it.
    func remove() async throws {
        namespaces = [:]
        // A store that does not answer has no doors.
        if !network.stores.isEmpty { try? await keepDoors() }
        try await exclusively { keeper in
            let (network, node) = (keeper.network, keeper.node)
            try await keeper.stopNames()
            try await runBlocking { try NetworkBuilder.remove(tag: network.tag) }
            try? File.remove("\(node.run)/network/dns-\(network.contract).conf")
            try? File.remove("\(node.run)/network/dns-\(network.contract).hosts")
            keeper.isGone = true
        }
    }

    private func stopNames() async throws {
        let unit: JSONValue = ["unit": "dns@", "instance": .string(network.contract), "forget": true]
        do {
            _ = try await node.core.call("CORE.STOP", unit, deadline: .seconds(20))
        } catch {
            // Where it never ran there is nothing to stop.
            guard error.code == "NOTFOUND" else { throw error }
        }
    }

    /// Runs `body` after everything that was asked before it: an actor alone would interleave at each await.
    private func exclusively(_ body: @escaping @Sendable (isolated NetworkKeeper) async throws -> Void) async throws {
        let previous = last
        let task = Task {
            await previous?.value
            try await body(self)
        }
        last = Task { _ = await task.result }
        try await task.value
    }
}
