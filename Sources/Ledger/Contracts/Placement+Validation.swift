public import Crypto
public import Records

extension PlacementBody {
    /// Checks that every choice keeps to the approved version: its constraints, its network, and what the nodes have left.
    ///
    /// `id` is the contract's id, `lastEpoch` that of the placement in force (0 for none), `nodes` every node of the
    /// ledger, `used` what other contracts take from each node.
    public func validate(
        against contract: Contract, id: Digest, lastEpoch: Int64, nodes: [NodeDescription], used: [PublicKey: Capacity]
    ) throws(ContractError) {
        guard self.contract == id else {
            throw PlacementBody.error("contract", "places another contract", "the contract is \(id.hex)")
        }
        guard version == contract.version else {
            throw PlacementBody.error(
                "version", "places version \(version)", "version \(contract.version) is the approved one")
        }
        guard epoch == lastEpoch + 1 else {
            throw PlacementBody.error(
                "epoch", "epoch \(epoch)", "the last is \(lastEpoch), so the next is \(lastEpoch + 1)")
        }
        for name in workloads.keys.sorted() where contract.workload(name) == nil {
            throw PlacementBody.error("workloads.\(name)", "not in the contract", "only its workloads are placed")
        }
        let known = Dictionary(nodes.map { ($0.node, $0) }) { first, _ in first }
        for workload in contract.workloads {
            guard let placed = workloads[workload.name] else {
                throw PlacementBody.error("workloads", "`\(workload.name)` is missing", "every workload is placed")
            }
            try check(placed, workload, in: contract, on: known[placed.node])
        }
        try checkNetwork(of: contract, id: id)
        try checkCapacity(of: contract, nodes: known, used: used)
    }

    private static func error(_ path: String, _ what: String, _ why: String) -> ContractError {
        ContractError(.badPlacement, path, what, why: why)
    }

    private func check(_ placed: PlacedWorkload, _ workload: Workload, in contract: Contract, on node: NodeDescription?)
        throws(ContractError)
    {
        let path = "workloads.\(workload.name)"
        guard let node else {
            throw PlacementBody.error(
                path + ".node", "\(placed.node.address) is not a node", "the ledger has no record of it")
        }
        if let conflict = workload.place?.conflict(with: node) {
            throw PlacementBody.error(
                path + ".node", "outside the contract's constraint",
                "it wants \(conflict.wanted), the node is \(conflict.found)")
        }
        guard placed.port == nil else {
            throw PlacementBody.error(path + ".port", "a fixed port", "no workload of this grid takes one")
        }
        guard workload.hasAddress else {
            let extra = placed.subnet != nil || placed.address != nil || placed.address6 != nil || placed.secrets != nil
            if extra {
                throw PlacementBody.error(
                    path, "more than a node", "only containers and zdbs have addresses and secrets")
            }
            return
        }
        let wanted = workload.secretNames
        let images: Set<String> = workload.type == .container ? [PlacementBody.imageKey] : []
        guard Set((placed.secrets ?? [:]).keys).subtracting(images) == wanted else {
            let text = wanted.isEmpty ? "none" : wanted.sorted().joined(separator: ", ")
            throw PlacementBody.error(path + ".secrets", "not the secrets it uses", "it uses \(text)")
        }
        guard case .container(let container) = workload else { return }
        for mount in container.volumes where workloads[mount.name]?.node != placed.node {
            throw PlacementBody.error(path + ".node", "apart from its volume `\(mount.name)`", "both are on one node")
        }
    }

    /// Each node has one /24 of the range, no two share one, addresses are in it, unique, and not the bridge's.
    private func checkNetwork(of contract: Contract, id: Digest) throws(ContractError) {
        var subnets: [IPv4Range: PublicKey] = [:]
        var owners: [PublicKey: IPv4Range] = [:]
        var taken: [IPv4Address: String] = [:]
        let prefix = ContractPrefix(contract: id)
        for container in contract.workloads where container.hasAddress {
            let path = "workloads.\(container.name)"
            guard let placed = workloads[container.name], let subnet = placed.subnetRange, let address = placed.ipv4
            else {
                throw PlacementBody.error(path, "no address", "it has a /24 `subnet` and an `address` in it")
            }
            guard let index = contract.range.index(of: subnet) else {
                throw PlacementBody.error(
                    path + ".subnet", "\(subnet) is outside", "the contract's range is \(contract.range)")
            }
            guard subnets.updateValue(placed.node, forKey: subnet) ?? placed.node == placed.node else {
                throw PlacementBody.error(path + ".subnet", "\(subnet) on two nodes", "each node has its own")
            }
            guard owners.updateValue(subnet, forKey: placed.node) ?? subnet == subnet else {
                throw PlacementBody.error(path + ".subnet", "two subnets on one node", "a node has one of the contract")
            }
            let host = Int(address.value & 255)
            guard subnet.contains(address), (2...254).contains(host) else {
                throw PlacementBody.error(
                    path + ".address", "\(address) is not usable", "hosts of \(subnet) are .2 to .254")
            }
            if let other = taken.updateValue(container.name, forKey: address) {
                throw PlacementBody.error(path + ".address", "\(address) is `\(other)`'s", "addresses are unique")
            }
            let expected = prefix.address(subnet: index, host: host)
            guard placed.address6 == expected else {
                throw PlacementBody.error(
                    path + ".address6", "not its address", "it follows from the contract: \(expected)")
            }
        }
    }

    private func checkCapacity(of contract: Contract, nodes: [PublicKey: NodeDescription], used: [PublicKey: Capacity])
        throws(ContractError)
    {
        var left = nodes.mapValues { $0.body.capacity - used[$0.node, default: .zero] }
        for workload in contract.workloads {
            guard let placed = workloads[workload.name], let free = left[placed.node] else { continue }
            if let excess = workload.demand.excess(over: free) {
                throw ContractError.noRoom(
                    for: workload.name, excess, on: placed.node, path: "workloads.\(workload.name)")
            }
            left[placed.node] = free - workload.demand
        }
    }
}

extension ContractError {
    static func noRoom(
        for workload: String, _ excess: (resource: String, wanted: String, free: String), on node: PublicKey,
        path: String
    ) -> ContractError {
        ContractError(
            .noCapacity, path, "`\(workload)` wants \(excess.wanted) of \(excess.resource)",
            why: "node \(node.address) has \(excess.free) left", hint: "ask for less, or delete what is not needed")
    }
}
