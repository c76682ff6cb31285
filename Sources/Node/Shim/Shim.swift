internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux

/// How a shim is started.
public struct ShimSettings: Sendable {
    /// Where the container's pieces lie.
    public var paths: ShimPaths
    /// The seccomp profile, OCI JSON.
    public var seccomp: String
    /// The start helper `zero-init`.
    public var initHelper: String
    /// The descriptor for `READY=1`, where somebody waits for it.
    public var notify: Int32?

    /// Settings of one shim.
    public init(paths: ShimPaths, seccomp: String, initHelper: String, notify: Int32?) {
        (self.paths, self.seccomp, self.initHelper, self.notify) = (paths, seccomp, initHelper, notify)
    }
}

/// Numbers of the shim, with the reason of their value.
enum ShimLimits {
    /// First wait after a failure; doubled each time.
    static let backoffFirst: Int64 = 100_000_000
    /// Longest wait: a workload is back half a minute after its cause is gone.
    static let backoffMax: Int64 = 30_000_000_000
    /// Running as long as this ends a row of failures.
    static let healthy: Int64 = 10_000_000_000
    /// The runtime must have made or started a container by then; a cold image is loaded meanwhile.
    static let runtime: Int64 = 60_000_000_000
    /// Control connections at a time.
    static let clients = 64
    /// Programs run by `SHIM.EXEC` at a time.
    static let execs = 32
    /// Bytes of one request.
    static let request = 1 << 20
    /// Bytes read from a pipe at once: its size.
    static let pipe = 64 << 10
    /// Between probes until the first success, then after it.
    static let probeSoon: Int64 = 250_000_000
    static let probeLater: Int64 = 5_000_000_000
    /// One probe.
    static let probeTimeout: Int32 = 2000
    /// Failed probes in a row that make a ready container not ready.
    static let probeFailures = 3
    /// Between two looks at the image's mount.
    static let imageCheck: Int64 = 2_000_000_000
    /// Ended children that nobody asked for yet.
    static let strays = 64
}

/// Keeps one container: makes it, watches it, starts it again, collects its log, answers on its socket.
///
/// One thread, one loop. Everything it knows is on disk, so that a new shim goes on where a killed one stopped: the
/// container does not notice.
public final class Shim {
    /// Where in its life the container is.
    enum Phase: Equatable {
        /// To be started at this time (monotonic nanoseconds).
        case waiting(until: Int64)
        /// The runtime makes it.
        case creating(runtime: Int32, deadline: Int64)
        /// The runtime starts it.
        case starting(runtime: Int32, deadline: Int64)
        /// It runs.
        case running
        /// It was asked to end, and is killed at this time.
        case stopping(killAt: Int64)
        /// It ended and stays so.
        case ended
    }

    let settings: ShimSettings
    let paths: ShimPaths
    let root: ContainerRoot
    let runtime: Runtime
    var order: ShimOrder
    var seccomp: JSONValue
    var state: ShimState
    var phase = Phase.waiting(until: 0)
    /// What is to run: false after `SHIM.STOP`, SIGTERM or an order to stop.
    var wantsRun = true
    /// It ended and its restart policy keeps it so.
    var endedByPolicy = false
    /// End this process once the container is gone.
    var isLeaving = false
    /// The identity of the container that runs or was made last.
    var identity: JSONValue?
    /// The device of the image that the container's root folder lies on.
    var imageDevice: Int64?
    var imageCheck: Int64 = 0
    var user = ContainerUser(uid: 0, gid: 0, groups: [], home: nil)
    /// The container's first process: number, pidfd, whether it is our child.
    var process: ProcessIdentity?
    var pidfd: Int32 = -1
    var netns: Int32 = -1
    var isChild = true
    var startedAt: Int64 = 0

    var signals: Int32 = -1
    var listener: Int32 = -1
    var output: Int32 = -1
    var errors: Int32 = -1
    var log: LogRing
    var clients: [Int32: ShimClient] = [:]
    var execs: [Int32: ShimExec] = [:]
    var execCount = 0
    var strays: [Int32: Int32] = [:]
    var probe = ProbeState()
    /// Clients that wait until the container is stopped.
    var waitingForStop: [Int32] = []

    /// Reads the order and takes up what is there.
    public init(_ settings: ShimSettings) throws {
        self.settings = settings
        paths = settings.paths
        root = ContainerRoot(paths: paths)
        runtime = Runtime(program: Runtime.choose(), root: paths.runtimeRoot)
        order = try Self.readOrder(paths)
        seccomp = try JSONValue(parsing: File.read(settings.seccomp, limit: 1 << 20))
        try root.makeFolders()
        log = try LogRing(folder: paths.logs, max: order.spec.logMax)
        state = ShimState(generation: order.generation, shim: Int64(getpid()), since: Clock.wallMilliseconds())
        output = try checked("open", paths.outputPipe, zg_container_fifo_reader(paths.outputPipe))
        errors = try checked("open", paths.errorPipe, zg_container_fifo_reader(paths.errorPipe))
        signals = try checked("signalfd", "shim", zg_container_signals())
        try checked("prctl", "subreaper", zg_container_subreaper())
        let folder = Descriptor(try checked("open", paths.live, zg_open_directory(paths.live)))
        adopt()
        listener = try checked("listen", paths.socket, zg_container_listen(folder.raw, "shim.sock"))
    }

    /// The order in `spec.json`, which belongs to `zero-compute` and is opened without following links.
    static func readOrder(_ paths: ShimPaths) throws -> ShimOrder {
        let raw = zg_container_open(-1, paths.specFile, Int32(ZG_OPEN_READ), Int32(ZG_PATH_PLAIN))
        let file = Descriptor(try checked("open", paths.specFile, raw))
        guard try File.status(of: file.raw).isRegular else {
            throw ShimError("spec", "\(paths.specFile) is not a file")
        }
        let order = try ShimOrder(JSONValue(parsing: file.readAll(limit: 4 << 20, paths.specFile)))
        guard order.spec.id == paths.id else {
            throw ShimError("spec", "\(paths.specFile) is of container \(order.spec.id)")
        }
        return order
    }

    /// Runs until the container is gone and this process is to leave.
    public func run() {
        if let notify = settings.notify {
            _ = "READY=1\n".withCString { write(notify, $0, 8) }
            close(notify)
        }
        obey()
        save()
        while !(isLeaving && phase == .ended && process == nil) {
            act()
            wait(until: nextDeadline())
        }
        leave()
    }

    /// Makes phase follow the order: a run, a stop, a removal.
    func obey() {
        if order.desire != .run {
            wantsRun = false
            if order.desire == .remove { isLeaving = true }
        }
        if !wantsRun { stop() }
    }

    /// Does what is due now.
    func act() {
        let now = Clock.monotonicNanoseconds()
        switch phase {
        case .waiting(let until) where now >= until: begin()
        case .creating(let pid, let deadline) where now >= deadline,
            .starting(let pid, let deadline) where now >= deadline:
            _ = zg_kill(pid, SIGKILL)
        case .stopping(let killAt) where now >= killAt:
            killContainer()
            phase = .stopping(killAt: now + 1_000_000_000)
        default: break
        }
        probeIfDue(now)
        checkImage(now)
    }

    /// When the image was mounted anew, what the container has is dead: it is started again on the new one.
    private func checkImage(_ now: Int64) {
        guard phase == .running, now >= imageCheck else { return }
        imageCheck = now + ShimLimits.imageCheck
        guard let imageDevice, let found = root.imageDevice, found != imageDevice else { return }
        report("warn", "image mounted anew", ["id": paths.id])
        stop(seconds: 2)
    }

    private func nextDeadline() -> Int64 {
        var next = Int64.max
        switch phase {
        case .waiting(let until): next = until
        case .creating(_, let deadline), .starting(_, let deadline): next = deadline
        case .stopping(let killAt): next = killAt
        case .running, .ended: break
        }
        if phase == .running { next = min(next, imageCheck) }
        if phase == .running, order.spec.ready != nil, probe.pid == nil { next = min(next, probe.due) }
        return next
    }

    /// The very last steps: nothing of the container is on this node's tables any more.
    private func leave() {
        try? root.detach()
        if order.desire == .remove {
            state.name = .removed
            if order.unmounts { try? root.detachImage() }
            removeFolders()
            state.reason = nil
        }
        save()
        for client in waitingForStop { reply(client, state.json) }
        for client in Array(clients.keys) { flush(client) }
        if order.desire == .remove {
            unlink(paths.stateFile)
            unlink(paths.socket)
            rmdir(paths.live)
        }
        report("info", "left", ["id": paths.id, "state": state.name.rawValue])
    }

    private func removeFolders() {
        for path in [paths.kept, paths.hidden] {
            guard let folder = try? root.openPlain(File.parent(path)) else { continue }
            let name = path.split(separator: "/").last.map(String.init) ?? ""
            // An O_PATH descriptor serves for the "at" calls.
            let result = zg_container_remove_tree(folder.raw, name)
            if result < 0 { report("error", "remove", ["path": path, "error": "\(Errno(-result))"]) }
        }
    }

    /// Writes `state.json` and tells nobody: whoever wants to know asks.
    func save() {
        do {
            try File.writeAtomically(paths.stateFile, state.json.canonicalBytes, mode: 0o644)
        } catch {
            report("error", "state", ["error": "\(error)"])
        }
    }

    /// Goes into a state.
    func become(_ name: ShimState.Name, reason: String? = nil, next: Int64? = nil) {
        if state.name != name { state.since = Clock.wallMilliseconds() }
        (state.name, state.reason, state.next) = (name, reason, next)
        if name != .running { (state.ready, state.pid) = (false, nil) }
        if name == .running, order.spec.ready == nil { state.ready = true }
        state.generation = order.generation
        save()
        report("info", "state", ["id": paths.id, "state": name.rawValue, "reason": reason ?? "-"])
    }
}
