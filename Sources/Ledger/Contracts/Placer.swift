public import Crypto
public import Records

/// Chooses a place for every workload of a contract; the same input gives the same placement.
///
/// All of a contract goes to one node, the one it is on already if that still fits, else the first by address.
/// Addresses of containers that stay are kept, so that an update moves nothing that it need not move. A container that an
/// update replaces gets a fresh one, so that the node can start the new instance beside the old.
public struct Placer: Sendable {
    /// Every node of the ledger.
    public var nodes: [NodeDescription]
    /// What other contracts take from each node.
    public var used: [PublicKey: Capacity]

    /// A placer over the nodes there are.
    public init(nodes: [NodeDescription], used: [PublicKey: Capacity]) { (self.nodes, self.used) = (nodes, used) }

    /// A placement without secrets; `previous` is the one in force and `old` the version that it places, nil where that is
    /// not known any more: then every container counts as changed.
    public func place(
        _ contract: Contract, id: Digest, previous: Placement? = nil, old: Contract? = nil
    ) throws(ContractError) -> Placement {
        let node = try choose(for: contract, home: home(of: contract, previous))
        let subnet = try subnet(for: contract, on: node, previous)
        let index = contract.range.index(of: subnet) ?? 0
        let prefix = ContractPrefix(contract: id)
        var workloads: [String: PlacedWorkload] = [:]
        var hosts = kept(contract, previous, old, node: node, subnet: subnet)
        var fresh = freshHosts(previous, node: node, subnet: subnet)[...]
        for workload in contract.workloads {
            guard workload.hasAddress else {
                workloads[workload.name] = PlacedWorkload(node: node)
                continue
            }
            guard let host = hosts[workload.name] ?? fresh.popFirst() else {
                throw ContractError(
                    .outOfRange, "network.range", "no address left for `\(workload.name)`",
                    why: "a node has 253 of a contract, and what is replaced keeps its own until then")
            }
            hosts[workload.name] = host
            workloads[workload.name] = PlacedWorkload(
                node: node, subnet: subnet.description,
                address: IPv4Address(subnet.base.value + UInt32(host)).description,
                address6: prefix.address(subnet: index, host: host))
        }
        return Placement(
            contract: id, version: contract.version, epoch: (previous?.epoch ?? 0) + 1, workloads: workloads)
    }

    /// The node that the contract is on; `bound` where data that stay hold it there.
    private func home(of contract: Contract, _ previous: Placement?) -> (node: PublicKey, bound: String?)? {
        guard let previous else { return nil }
        let holder = contract.workloads.first { $0.holdsData && previous.workloads[$0.name] != nil }
        if let holder, let placed = previous.workloads[holder.name] { return (placed.node, holder.name) }
        return contract.workloads.compactMap { previous.workloads[$0.name]?.node }.first.map { ($0, nil) }
    }

    private func choose(for contract: Contract, home: (node: PublicKey, bound: String?)?) throws(ContractError)
        -> PublicKey
    {
        var candidates = nodes.sorted { $0.node < $1.node }
        guard !candidates.isEmpty else {
            throw ContractError(
                .badPlacement, "", "no node", why: "the ledger has no record of a node",
                hint: "see whether `zero status` shows one")
        }
        if let home {
            if home.bound != nil { candidates.removeAll { $0.node != home.node } }
            candidates.sort { ($0.node == home.node ? 0 : 1, $0.node) < ($1.node == home.node ? 0 : 1, $1.node) }
        }
        var first: ContractError?
        for candidate in candidates {
            do {
                try check(contract, fits: candidate)
                return candidate.node
            } catch { first = first ?? error }
        }
        throw first
            ?? ContractError(
                .badPlacement, "", "the node of `\(home?.bound ?? "")` is gone",
                why: "what holds data stays on the node that has them")
    }

    private func check(_ contract: Contract, fits node: NodeDescription) throws(ContractError) {
        var left = node.body.capacity - used[node.node, default: .zero]
        for (index, workload) in contract.workloads.enumerated() {
            let path = "workloads[\(index)]"
            if let conflict = workload.place?.conflict(with: node) {
                throw ContractError(
                    .badPlacement, path + ".place", "`\(workload.name)` wants \(conflict.wanted)",
                    why: "node \(node.node.address) is \(conflict.found)", hint: "see the nodes with `zero status`")
            }
            if let excess = workload.demand.excess(over: left) {
                let field = excess.resource == "storage" ? "size" : excess.resource.lowercased()
                throw ContractError.noRoom(for: workload.name, excess, on: node.node, path: "\(path).\(field)")
            }
            left = left - workload.demand
        }
    }

    /// The /24 in force, else index 1 (index 0 where the range is a single /24).
    private func subnet(for contract: Contract, on node: PublicKey, _ previous: Placement?) throws(ContractError)
        -> IPv4Range
    {
        let old = previous?.workloads.values.first { $0.node == node && $0.subnet != nil }?.subnetRange
        if let old, contract.range.index(of: old) != nil { return old }
        guard let subnet = contract.range.nodeSubnet(contract.range.nodeSubnets > 1 ? 1 : 0) else {
            throw ContractError(.outOfRange, "network.range", "no room", why: "each node takes a /24 of the range")
        }
        return subnet
    }

    /// Host numbers of containers that keep their address: unchanged ones, and those that a new instance cannot stand beside.
    private func kept(
        _ contract: Contract, _ previous: Placement?, _ old: Contract?, node: PublicKey, subnet: IPv4Range
    ) -> [String: Int] {
        let steps = old.map { ContractPlan(from: $0, to: contract).steps } ?? []
        var hosts: [String: Int] = [:]
        for container in contract.containers {
            guard let host = previous?.workloads[container.name]?.host(on: node, subnet) else { continue }
            let step = steps.first { $0.name == container.name }
            let isReplaced = step.map { $0.method == .replace } ?? container.volumes.isEmpty
            if !isReplaced { hosts[container.name] = host }
        }
        for zdb in contract.zdbs {
            if let host = previous?.workloads[zdb.name]?.host(on: node, subnet) { hosts[zdb.name] = host }
        }
        return hosts
    }

    /// Host numbers that `previous` does not use, those behind its highest first: an instance of a version before it may
    /// still serve, while what came after never became ready.
    private func freshHosts(_ previous: Placement?, node: PublicKey, subnet: IPv4Range) -> [Int] {
        let taken = Set((previous?.workloads.values).map { $0.compactMap { $0.host(on: node, subnet) } } ?? [])
        let highest = taken.max() ?? 1
        return (Array(2...254).filter { $0 > highest } + Array(2...254).filter { $0 < highest })
            .filter { !taken.contains($0) }
    }
}

extension PlacedWorkload {
    /// The last octet of the address, where it is in `subnet` on `node`.
    fileprivate func host(on node: PublicKey, _ subnet: IPv4Range) -> Int? {
        guard self.node == node, subnetRange == subnet, let address = ipv4 else { return nil }
        return Int(address.value & 255)
    }
}
