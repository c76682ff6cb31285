/// What a record says. The raw value is its `kind` and the kind that its signatures are bound to.
public enum RecordKind: String, CaseIterable, Hashable, Sendable {
    /// The keys that act for an identity.
    case identity
    /// A farmer's group of nodes in one place.
    case farm
    /// A node and its capacity.
    case node
    /// An image and where its chunks are.
    case image
    /// A version of a contract.
    case contract
    /// A stakeholder's consent to one record of a contract.
    case approval
    /// The end of a contract.
    case cancel
    /// Which node runs which workload.
    case placement
    /// A step in the life of a name.
    case name
    /// What a node did.
    case result
    /// A node that came or went.
    case liveness

    /// Kinds that the format names and no rule is in force for yet.
    public static let notInForce: Set<String> = [
        "member", "recipe", "claim", "netkey", "access", "usage", "transfer", "price", "release", "upgrade",
    ]

    /// The roles of which a record's key needs one.
    public var roles: Set<Role> {
        switch self {
        case .identity, .farm: [.owner]
        case .node: [.owner, .results]
        case .image, .contract, .cancel, .name: [.deploy]
        case .approval: [.approve]
        case .placement: [.deploy, .plan]
        case .result, .liveness: [.results]
        }
    }
}

/// What an agent key may do for its identity. One role never implies another.
public enum Role: String, CaseIterable, Hashable, Sendable {
    /// Change the identity itself.
    case owner
    /// Write contracts, images, names, cancels and placements.
    case deploy
    /// Write placements only.
    case plan
    /// Approve contracts.
    case approve
    /// Report what a node did.
    case results
}
