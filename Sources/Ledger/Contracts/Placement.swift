public import Crypto
public import Records

/// Which node runs which workload of one version of a contract.
public typealias Placement = PlacementBody

extension PlacementBody {
    /// Under this name a container's placed secrets also hold the key of its image, where the image is private. No
    /// secret of a contract may have it.
    public static let imageKey = "image"

    /// The nodes it names.
    public var nodes: Set<PublicKey> { Set(workloads.values.map(\.node)) }

    /// What `contract` takes from each node under this placement.
    public func demand(of contract: Contract) -> [PublicKey: Capacity] {
        var demand: [PublicKey: Capacity] = [:]
        for workload in contract.workloads {
            guard let placed = workloads[workload.name] else { continue }
            demand[placed.node] = demand[placed.node, default: .zero] + workload.demand
        }
        return demand
    }
}

extension PlacedWorkload {
    /// The node's /24 of the contract's range.
    public var subnetRange: IPv4Range? { subnet.flatMap { IPv4Range($0) } }
    /// The address in that subnet.
    public var ipv4: IPv4Address? { address.flatMap { IPv4Address($0) } }
}
