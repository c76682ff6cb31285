public import Contracts
public import Crypto
public import Records

/// What this node must make real of one contract, all of it proved by the ledger.
public struct DesiredContract: Hashable, Sendable {
    /// The contract's id.
    public let id: Digest
    /// The approved version.
    public let contract: Contract
    /// Where its workloads are.
    public let placement: Placement
    /// The node that this is the part of.
    public let node: PublicKey
    /// The image of each container: what to mount and how to start it.
    public let images: [String: RunnableImage]
    /// Who owns the contract, and the keys that may look into its workloads now.
    public let owner: ContractOwner

    /// All of it.
    public init(
        id: Digest, contract: Contract, placement: Placement, node: PublicKey, images: [String: RunnableImage],
        owner: ContractOwner
    ) {
        (self.id, self.contract, self.placement, self.node) = (id, contract, placement, node)
        (self.images, self.owner) = (images, owner)
    }

    /// The start of the contract's id that names its parts on a node: 16 hexadecimal digits.
    public var shortID: String { String(id.hex.prefix(16)) }

    /// A container's id on the node.
    public func containerID(_ instance: Instance) -> String { "\(shortID)-\(instance.name)" }

    /// The wanted instance of a container of this node.
    func instance(_ container: String) -> Instance? {
        guard let placed = placed(container), placed.subnet != nil || placed.address != nil else { return nil }
        return Instance(container, host: placed.ipv4.map { Int($0.value & 255) })
    }
    /// All of them.
    var instances: Set<Instance> { Set(containers.compactMap { instance($0.name) }) }
    /// To which ports of which instances its gateways lead.
    var entrances: [(host: Int, target: Int64)] {
        gateways.compactMap { gateway in instance(gateway.workload)?.host.map { ($0, gateway.port) } }
    }

    /// Where `workload` is placed, nil when it is on another node.
    func placed(_ workload: String) -> PlacedWorkload? {
        guard let placed = placement.workloads[workload], placed.node == node else { return nil }
        return placed
    }

    /// Containers of this node, in the contract's order.
    var containers: [Container] { contract.containers.filter { placed($0.name) != nil } }
    /// Volumes of this node, in the contract's order.
    var volumes: [Volume] { contract.volumes.filter { placed($0.name) != nil } }
    /// Namespaces of Zero-DBs on this node, in the contract's order.
    var zdbs: [ZDB] { contract.zdbs.filter { placed($0.name) != nil } }
    /// Gateways of this node, in the contract's order.
    var gateways: [Gateway] { contract.gateways.filter { placed($0.name) != nil } }
}

/// A variant of an image that this node can run.
public struct RunnableImage: Hashable, Sendable {
    /// The id of the flist's root.
    public let root: Digest
    /// Hexadecimal key of the root, where the image is public.
    public let key: String?
    /// The image's own configuration (OCI names in lower case: `entrypoint`, `cmd`, `env`, `user`, `cwd`).
    public let config: ImageConfig

    /// All of it.
    public init(root: Digest, key: String?, config: ImageConfig) {
        (self.root, self.key, self.config) = (root, key, config)
    }
}

/// The part of an OCI image configuration that decides how its process starts.
public struct ImageConfig: Hashable, Sendable {
    /// Program and first arguments.
    public var entrypoint: [String] = []
    /// Arguments, or the program where there is no entry point.
    public var cmd: [String] = []
    /// `NAME=value`.
    public var env: [String] = []
    /// `user[:group]`, names or numbers; empty is root.
    public var user = ""
    /// Working directory.
    public var cwd = "/"
    /// Signal that asks the process to stop.
    public var stopSignal = "SIGTERM"

    /// Nothing set.
    public init() {}
}

/// Who owns a contract and with which keys people may look into it.
public struct ContractOwner: Hashable, Sendable {
    /// A key that acts for the owner.
    public struct Key: Hashable, Sendable {
        /// The key.
        public let key: PublicKey
        /// What it may do.
        public let roles: [String]
        /// Until when, Unix milliseconds.
        public let until: Int64?
        /// All of it.
        public init(key: PublicKey, roles: [String], until: Int64?) {
            (self.key, self.roles, self.until) = (key, roles, until)
        }
    }
    /// The identity that signed the contract.
    public let identity: PublicKey
    /// Its keys, in the ledger's order.
    public let keys: [Key]

    /// Both.
    public init(identity: PublicKey, keys: [Key]) { (self.identity, self.keys) = (identity, keys) }
}
