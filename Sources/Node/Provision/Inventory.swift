internal import Contracts

/// One container of a workload. Two of a workload stand side by side while one takes over from the other; what tells them
/// apart is the last octet of their addresses.
public struct Instance: Hashable, Sendable, Comparable {
    /// The workload.
    public let workload: String
    /// The last octet of its address; nil for a container from before there were instances.
    public let host: Int?

    /// Both.
    public init(_ workload: String, host: Int?) { (self.workload, self.host) = (workload, host) }

    /// `<workload>-<last octet>`: what names the container and its namespace.
    public var name: String { host.map { "\(workload)-\($0)" } ?? workload }

    /// By workload, then by address.
    public static func < (left: Instance, right: Instance) -> Bool {
        (left.workload, left.host ?? 0) < (right.workload, right.host ?? 0)
    }
}

/// A way in for one gateway: a port of the link address that leads to one instance.
public struct Door: Hashable, Sendable {
    /// The last octet of the instance's address.
    public let host: Int
    /// The instance's port.
    public let target: Int64
    /// The port of the link address.
    public let port: Int64

    /// All of it.
    public init(host: Int, target: Int64, port: Int64) { (self.host, self.target, self.port) = (host, target, port) }
}

/// Parts of a contract that exist or may exist on this node; durable, so that what is no longer wanted is still removed
/// by a process that starts later, and what serves goes on serving.
public struct Inventory: Hashable, Sendable {
    /// The first port of the link address that leads to a container.
    private static let firstDoor: Int64 = 10_000

    /// Containers.
    public var containers: Set<Instance> = []
    /// Which instance of a workload serves: to it lead its name, its routes and Core-X.
    public var serving: [String: Int] = [:]
    /// Instances that served and from which another took over.
    public var retiring: Set<Instance> = []
    /// Ways in, each of them with its port for as long as its instance is here.
    public var doors: [Door] = []
    /// Volumes by workload name.
    public var volumes: Set<String> = []
    /// Namespaces of Zero-DBs by workload name.
    public var zdbs: Set<String> = []
    /// Gateways by name.
    public var gateways: Set<String> = []
    /// Whether the network may exist.
    public var hasNetwork = false
    /// Whether Core-X may run.
    public var hasAccess = false

    /// Nothing.
    public init() {}

    /// Whether nothing is left.
    public var isEmpty: Bool {
        containers.isEmpty && volumes.isEmpty && zdbs.isEmpty && gateways.isEmpty && !hasNetwork && !hasAccess
    }

    /// Everything that `desired` will make.
    mutating func add(_ desired: DesiredContract) {
        let wanted = desired.instances
        containers.formUnion(wanted)
        retiring.subtract(wanted)
        for container in desired.containers {
            guard let instance = desired.instance(container.name), let host = instance.host else { continue }
            let old = serving[container.name].map { Instance(container.name, host: $0) }
            let stays = old.map { containers.contains($0) && !isInTheWay($0, of: container, desired) } ?? false
            if !stays { serving[container.name] = host }
        }
        for (host, target) in desired.entrances where door(host, target) == nil {
            let taken = Set(doors.map(\.port))
            guard let port = (Self.firstDoor...65_535).first(where: { !taken.contains($0) }) else { continue }
            doors.append(Door(host: host, target: target, port: port))
        }
        volumes.formUnion(desired.volumes.map(\.name))
        zdbs.formUnion(desired.zdbs.map(\.name))
        gateways.formUnion(desired.gateways.map(\.name))
        hasNetwork = true
    }

    /// Forgets a container that is gone.
    mutating func remove(_ instance: Instance) {
        containers.remove(instance)
        retiring.remove(instance)
        if serving[instance.workload] == instance.host { serving[instance.workload] = nil }
        if !containers.contains(where: { $0.host == instance.host }) { doors.removeAll { $0.host == instance.host } }
    }

    /// Forgets doors of wanted instances to which no gateway leads any more.
    mutating func dropDoors(_ desired: DesiredContract) {
        let hosts = Set(desired.instances.compactMap(\.host))
        let needed = desired.entrances
        doors.removeAll { door in
            hosts.contains(door.host) && !needed.contains { $0 == (door.host, door.target) }
        }
    }

    /// The port that leads to a port of an instance.
    func door(_ host: Int, _ target: Int64) -> Int64? { doors.first { $0.host == host && $0.target == target }?.port }

    /// Instances that are not wanted, in order.
    func others(_ desired: DesiredContract) -> [Instance] { containers.subtracting(desired.instances).sorted() }

    /// Whether the wanted instance of `container` cannot stand beside an `other` that is not wanted: both would have the
    /// same address, or the same volume.
    func isInTheWay(_ other: Instance, of container: Container, _ desired: DesiredContract) -> Bool {
        guard let wanted = desired.instance(container.name), other != wanted else { return false }
        if let host = other.host, host == wanted.host { return true }
        return other.workload == container.name && (other.host == nil || !container.volumes.isEmpty)
    }
}
