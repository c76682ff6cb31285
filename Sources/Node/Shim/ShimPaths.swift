/// Where the pieces of one container lie. What `zero-compute` writes is input only; all that the shim makes is in folders
/// of root, so that nobody can put a link in its way.
public struct ShimPaths: Sendable, Equatable {
    /// The node's folder.
    public let state: String
    /// The node's folder of this boot.
    public let run: String
    /// The container's id.
    public let id: String

    /// The places of container `id` of a node.
    public init(state: String, run: String, id: String) { (self.state, self.run, self.id) = (state, run, id) }

    /// `zero-compute`'s folder of this container.
    public var input: String { "\(state)/compute/containers/\(id)" }
    /// What the container should be, written by `zero-compute`.
    public var specFile: String { "\(input)/spec.json" }
    /// Where the image is mounted.
    public var image: String { "\(input)/image" }

    /// Folder of this boot, mode 0711.
    public var live: String { "\(run)/shim/\(id)" }
    /// The control socket.
    public var socket: String { "\(live)/shim.sock" }
    /// The state, for readers that do not want to ask the socket.
    public var stateFile: String { "\(live)/state.json" }

    /// Writable layer and logs; they survive a boot. Mode 0711.
    public var kept: String { "\(state)/shim/\(id)" }
    /// The log ring, readable by Core-X's group.
    public var logs: String { "\(kept)/logs" }

    var hidden: String { "\(live)/private" }
    var bundle: String { "\(hidden)/bundle" }
    var rootfs: String { "\(hidden)/rootfs" }
    var record: String { "\(hidden)/running.json" }
    var pidFile: String { "\(hidden)/pid" }
    var runtimeLog: String { "\(hidden)/runc.log" }
    var outputPipe: String { "\(hidden)/output" }
    var errorPipe: String { "\(hidden)/errors" }
    var endRecord: String { "\(kept)/ended.json" }
    var layer: String { "\(kept)/layer" }
    var upper: String { "\(layer)/upper" }
    var work: String { "\(layer)/work" }
    var layerIdentity: String { "\(layer)/identity.json" }
    var runtimeRoot: String { "\(run)/runc" }
    var runtimeState: String { "\(runtimeRoot)/\(id)" }
    var identitySocket: String { "\(run)/identity.sock" }
    /// Volumes may only be below this folder.
    var volumes: String { "\(state)/storage" }
    /// The control group, below the root of each hierarchy.
    public var controlGroup: String { "/zero/\(id)" }
}

/// Who may ask a shim for what: the numbers of ARCHITECTURE.md.
enum ShimAccounts {
    static let root: UInt32 = 0
    static let compute: UInt32 = 64106
    static let corex: UInt32 = 64111
}
