/// One thing that a reconciler can do for a contract on this node. Each is idempotent: doing it again is how drift is
/// seen and repaired.
public enum Step: Hashable, Sendable {
    /// The contract's network with all its members.
    case network
    /// A volume.
    case volume(String)
    /// A namespace of a Zero-DB and the way to it.
    case zdb(String)
    /// The wanted instance of a container: mount, shim, process.
    case container(String)
    /// Core-X beside the containers.
    case access
    /// A route from a name to a container.
    case gateway(String)
    /// Takes a route away.
    case removeGateway(String)
    /// Stops Core-X.
    case removeAccess
    /// Stops and removes an instance of a container.
    case removeContainer(Instance)
    /// Removes the network.
    case removeNetwork
    /// Removes a volume and its data.
    case removeVolume(String)
    /// Removes a namespace and its data.
    case removeZDB(String)

    /// The workload it is about; nil for what serves them all.
    public var workload: String? {
        switch self {
        case .volume(let name), .zdb(let name), .container(let name), .gateway(let name): name
        case .removeVolume(let name), .removeZDB(let name), .removeGateway(let name): name
        case .removeContainer(let instance): instance.workload
        case .network, .access, .removeAccess, .removeNetwork: nil
        }
    }

    /// Whether it takes something away.
    var isRemoval: Bool {
        switch self {
        case .removeVolume, .removeZDB, .removeContainer, .removeGateway, .removeAccess, .removeNetwork: true
        case .network, .volume, .zdb, .container, .access, .gateway: false
        }
    }
}

/// What came of a step.
public enum Outcome: Hashable, Sendable {
    /// It holds. For a network the link address; for a volume its path.
    case done(String?)
    /// A container and how it is.
    case container(ContainerStatus)
    /// The daemon that does it does not answer: nothing is known, what ran goes on running.
    case unreachable(String)
    /// It failed, and why.
    case failed(String)
}

/// How a container is, as `zero-compute` reports it.
public struct ContainerStatus: Hashable, Sendable {
    /// waiting, preparing, running, failed, stopped.
    public var state: String
    /// Why it is not running.
    public var reason: String?
    /// Which start this is.
    public var attempt: Int64?
    /// When it is tried again, Unix milliseconds.
    public var next: Int64?
    /// Whether it answers its readiness probe.
    public var isReady: Bool

    /// All of it.
    public init(state: String, reason: String? = nil, attempt: Int64? = nil, next: Int64? = nil, isReady: Bool) {
        (self.state, self.reason, self.attempt, self.next, self.isReady) = (state, reason, attempt, next, isReady)
    }

    /// Whether nothing is expected to change by itself soon.
    var isSettled: Bool { (state == "running" && isReady) || state == "stopped" }
}
