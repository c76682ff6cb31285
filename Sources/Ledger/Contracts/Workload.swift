public import Crypto
public import Records

/// One thing that a node must make real.
public enum Workload: Hashable, Sendable {
    /// An isolated process tree from an image.
    case container(Container)
    /// A directory with a size that outlives containers.
    case volume(Volume)
    /// A public name that leads to a container's port.
    case gateway(Gateway)
    /// A namespace of a Zero-DB.
    case zdb(ZDB)

    /// The name, unique in the contract.
    public var name: String {
        switch self {
        case .container(let it): it.name
        case .volume(let it): it.name
        case .gateway(let it): it.name
        case .zdb(let it): it.name
        }
    }

    /// `container`, `volume`, `gateway` or `zdb`.
    public var type: WorkloadType {
        switch self {
        case .container: .container
        case .volume: .volume
        case .gateway: .gateway
        case .zdb: .zdb
        }
    }

    /// What it takes from a node.
    public var demand: Capacity {
        switch self {
        case .container(let it): Capacity(cpu: it.cpu, memory: it.memory)
        case .volume(let it): Capacity(storage: it.size)
        case .gateway: .zero
        case .zdb(let it): Capacity(storage: it.size)
        }
    }

    /// Where it may run.
    public var place: PlaceConstraint? {
        switch self {
        case .container(let it): it.place
        case .volume(let it): it.place
        case .gateway: nil
        case .zdb(let it): it.place
        }
    }

    /// Whether it has an address in the contract's network.
    public var hasAddress: Bool {
        switch self {
        case .container, .zdb: true
        case .volume, .gateway: false
        }
    }

    /// Whether it holds data, so that it stays on the node that it is on.
    public var holdsData: Bool {
        switch self {
        case .volume, .zdb: true
        case .container, .gateway: false
        }
    }

    /// Names of the secrets that its node has to open.
    public var secretNames: Set<String> {
        switch self {
        case .container(let it): Set(it.secrets.values)
        case .zdb(let it): Set([it.password].compactMap { $0 })
        case .volume, .gateway: []
        }
    }
}

/// Every type of workload that a contract can name.
public enum WorkloadType: String, Sendable, CaseIterable {
    case container, volume, gateway, zdb
    case vm, disk, archive, network
    case publicIP = "public-ip"

    /// Whether nodes of this grid make it real.
    public var isInForce: Bool { [.container, .volume, .gateway, .zdb].contains(self) }
}

/// An isolated process tree from an image.
public struct Container: Hashable, Sendable {
    /// Name in the contract, its host name and its name in the contract's DNS.
    public var name: String
    /// What it runs.
    public var image: ImageReference
    /// Arguments instead of the image's; its entry point stays in front of them, as OCI runtimes combine both.
    public var args: [String]?
    /// Thousandths of a core.
    public var cpu: Int64
    /// Bytes.
    public var memory: Int64
    /// Environment in clear.
    public var env: [String: String]
    /// Environment from secrets: variable to the secret's name.
    public var secrets: [String: String]
    /// Volumes it sees.
    public var volumes: [Mount]
    /// What happens when it ends.
    public var restart: RestartPolicy
    /// When it counts as running.
    public var ready: ReadinessProbe?
    /// What it does when its node is cut off from the ledger.
    public var partition: PartitionPolicy
    /// Where it may run.
    public var place: PlaceConstraint?
}

/// An image by name and by hash.
public struct ImageReference: Hashable, Sendable {
    /// The name under its author.
    public var name: String
    /// Who published it.
    public var author: PublicKey
    /// Root of the file tree for the architecture it was resolved for.
    public var root: Digest
    /// The record that published it.
    public var record: Digest

    /// A resolved image.
    public init(name: String, author: PublicKey, root: Digest, record: Digest) {
        (self.name, self.author, self.root, self.record) = (name, author, root, record)
    }
}

/// A volume at a place in a container.
public struct Mount: Hashable, Sendable {
    /// The volume's name in the contract.
    public var name: String
    /// Absolute path.
    public var at: String
    /// Whether the container may not write.
    public var readOnly: Bool

    /// A volume at a place.
    public init(name: String, at: String, readOnly: Bool) { (self.name, self.at, self.readOnly) = (name, at, readOnly) }
}

/// What happens when a container's first process ends.
public enum RestartPolicy: String, Sendable, CaseIterable {
    /// It starts again.
    case always
    /// It starts again unless it ended with 0.
    case onFailure = "on-failure"
    /// It stays stopped.
    case never
}

/// What a workload does when its node cannot reach the ledger.
public enum PartitionPolicy: String, Sendable, CaseIterable {
    /// Goes on; it may run twice for a while.
    case keep
    /// Stops with its lease; never two of it.
    case stop
}

/// How a container shows that it is ready: an HTTP answer below 400 on `http`, or an accepted connection.
public struct ReadinessProbe: Hashable, Sendable {
    /// Path that is asked for; a plain TCP connection is enough where absent.
    public var http: String?
    /// Port in the container.
    public var port: Int64

    /// A probe of `port`, over HTTP where a path is given.
    public init(http: String? = nil, port: Int64) { (self.http, self.port) = (http, port) }
}

/// Where a workload may run; every part that is there must hold.
public struct PlaceConstraint: Hashable, Sendable {
    /// ISO 3166-1 alpha-2 code of the node.
    public var country: String?
    /// The farm it is in.
    public var farm: PublicKey?
    /// The node itself.
    public var node: PublicKey?
}

/// A directory with a size that outlives containers.
public struct Volume: Hashable, Sendable {
    /// Name in the contract.
    public var name: String
    /// Quota in bytes.
    public var size: Int64
    /// Where it may be.
    public var place: PlaceConstraint?
}

/// A public name that leads to a container's port.
public struct Gateway: Hashable, Sendable {
    /// The name; its author must hold it.
    public var name: String
    /// The container it leads to.
    public var workload: String
    /// The port of that container.
    public var port: Int64
}

/// A namespace of a Zero-DB, which containers of the contract reach by its name at `ZDB.port`, over the Redis protocol.
public struct ZDB: Hashable, Sendable {
    /// The TCP port of every zdb on its own address.
    public static let port: Int64 = 9900

    /// How a namespace finds its values.
    public enum Mode: String, Sendable, CaseIterable {
        /// By keys that the user chooses.
        case user
        /// By numbers that count from 0.
        case sequential
        /// By keys that stay sorted, for scans by prefix and range.
        case ordered
    }

    /// Name in the contract, and its name in the contract's DNS.
    public var name: String
    /// Bytes that are set aside for it.
    public var size: Int64
    /// How it finds its values; fixed for its life.
    public var mode: Mode
    /// Name of the secret that is its password; without one the contract's containers come in as they are.
    public var password: String?
    /// Whether reading takes no password.
    public var isPublic: Bool
    /// Whether what was written once is never changed or removed.
    public var isWORM: Bool
    /// Where it may be.
    public var place: PlaceConstraint?
}
