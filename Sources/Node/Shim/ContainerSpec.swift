/// What one container is: the body of `COMPUTE.ENSURE`. The description is in ARCHITECTURE.md.
public struct ContainerSpec: Sendable, Equatable {
    /// Who the container's program runs as.
    public enum User: Sendable, Equatable {
        /// As an image names it: `name`, `name:group`, `uid` or `uid:gid`; looked up inside the container.
        case named(String)
        /// By number.
        case numbers(uid: UInt32, gid: UInt32, groups: [UInt32])
    }
    /// What a container may use.
    public struct Limits: Sendable, Equatable {
        /// Thousandths of a core; nil is without limit.
        public var cpuMilli: Int64?
        /// Bytes; nil is without limit.
        public var memory: Int64?
        /// Processes and threads.
        public var pids: Int64
    }
    /// A folder of the node inside the container.
    public struct Volume: Sendable, Equatable {
        /// Where it is on the node.
        public var path: String
        /// Where it appears.
        public var at: String
        /// Whether writing is refused.
        public var readOnly: Bool
    }
    /// A secret that only the node's identity process can open.
    public struct Secret: Sendable, Equatable {
        /// The content key (or the secret itself) sealed to the node, base64.
        public var sealed: String
        /// The encrypted secret, base64.
        public var box: String?
        /// The environment variables that carry it; none makes it the file `/run/secrets/<name>`.
        public var variables: [String]
    }
    /// When to start the program again after it ended.
    public enum Restart: String, Sendable, CaseIterable {
        /// Whatever its status was.
        case always
        /// When its status was not 0, or nobody knows it.
        case onFailure = "on-failure"
        /// Not at all.
        case never
    }
    /// How to find out that the container does its work.
    public struct Readiness: Sendable, Equatable {
        /// A path that must answer 200–399; nil asks only for a TCP connection.
        public var http: String?
        /// The port.
        public var port: UInt16
    }

    /// The container's id, `<16 hex of the contract>-<workload>`.
    public var id: String
    /// The contract's id in hex.
    public var contract: String
    /// The workload's name.
    public var workload: String
    /// The contract's version.
    public var version: Int64
    /// The placement's epoch.
    public var epoch: Int64
    /// Root hash of the image's flist, and its key in hex.
    public var imageRoot: String
    /// The key that opens the image's root.
    public var imageKey: String?
    /// That key sealed to the node, base64, where the image is private.
    public var imageSealed: String?
    /// Program and arguments.
    public var arguments: [String]
    /// Environment.
    public var environment: [String: String]
    /// Working directory.
    public var directory: String
    /// Who it runs as.
    public var user: User
    /// What it may use.
    public var limits: Limits
    /// Its network namespace under `/run/netns`; nil gives it an empty one.
    public var netns: String?
    /// Its own address, for `/etc/hosts`.
    public var address: String?
    /// Its host name.
    public var hostname: String
    /// The name server.
    public var dns: String?
    /// Folders of the node inside it.
    public var volumes: [Volume]
    /// Secrets by name.
    public var secrets: [String: Secret]
    /// When to start it again.
    public var restart: Restart
    /// When it is ready; nil: as soon as it runs.
    public var ready: Readiness?
    /// The signal that asks it to stop.
    public var stopSignal: String
    /// Seconds until it is killed.
    public var stopSeconds: Int64
    /// Bytes of its log that are kept.
    public var logMax: Int64
}

/// Bounds of a spec.
public enum SpecLimits {
    /// Linux refuses single arguments over 128 KiB; nobody needs more of them than this.
    public static let arguments = 1024
    /// Variables.
    public static let variables = 1024
    /// Bytes of one argument or variable: the kernel's MAX_ARG_STRLEN is 131072.
    public static let textBytes = 131_071
    /// Volumes of one container.
    public static let volumes = 32
    /// Secrets of one container: what zero-init takes.
    public static let secrets = 256
    /// Smallest memory limit; runc itself needs 6 MiB to start a program.
    public static let memoryMin: Int64 = 8 << 20
    /// Smallest log: two halves of 32 KiB.
    public static let logMin: Int64 = 64 << 10
    /// Largest log.
    public static let logMax: Int64 = 1 << 30
    /// Processes where the spec does not say.
    public static let pids: Int64 = 512
    /// Log bytes where the spec does not say.
    public static let log: Int64 = 8 << 20
    /// Docker's time to stop.
    public static let stopSeconds: Int64 = 10
}

/// Signals by name, as images and specs write them.
public enum SignalName {
    private static let table: [String: Int32] = [
        "HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18,
        "WINCH": 28,
        "PWR": 30, "RTMIN+3": 37,
    ]
    /// The number of `TERM`, `SIGTERM` or `15`; nil where it is none that makes sense here.
    public static func number(_ name: String) -> Int32? {
        if let number = Int32(name), (1...64).contains(number) { return number }
        return table[name.hasPrefix("SIG") ? String(name.dropFirst(3)) : name]
    }
}
