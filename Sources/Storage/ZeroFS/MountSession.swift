import CFuse
import CanonicalJSON
import Crypto
import Flist
import Glibc
import Linux
import RESP
import Service
import Synchronization

/// One mounted flist: its descriptor of /dev/fuse and the threads that answer.
final class MountSession: Sendable {
    /// Who keeps the descriptor while no process has it.
    struct Keeper: Sendable {
        /// The socket of `zero-core`.
        let socket: String
        /// The unit and instance under which this process runs.
        let unit: String
        let instance: String
        /// The descriptor's name.
        static let name = "fuse"
    }

    /// Threads that answer; each may wait for the store.
    private static let threads = 24
    /// How long requests that were taken may last before they are left unanswered. Kernels from 6.9 on send those again
    /// to the successor; older ones do not, and a unit's `stop_timeout` is 10 s.
    private static let leaveNanoseconds: Int64 = 5_000_000_000

    private let order: MountOrder
    private let log: Log
    private let device: Int32
    private let isTakenOver: Bool
    private let isEnding = Atomic<Bool>(false)
    /// Whether a successor answers what comes from now on.
    private let isLeaving = Atomic<Bool>(false)
    /// The threads that answer.
    private let answering = Mutex<[pthread_t]>([])

    /// Mounts, or takes over `inherited` where it belongs to a live mount of the same flist.
    init(_ order: MountOrder, inherited: Int32?, _ keeper: Keeper?, _ log: Log) throws(MountError) {
        (self.order, self.log) = (order, log)
        let source = "zero:" + order.root.hex
        var inherited = inherited
        if let live = inherited, zg_fuse_is_connected(live) == 1 {
            if Self.source(at: order.mountpoint) == source {
                (device, isTakenOver) = (live, true)
                return
            }
            // The order names another image now: nobody may see a tree change under its feet.
            log.warn("another image is mounted", ["at": order.mountpoint])
            zg_fuse_unmount(order.mountpoint)
            close(live)
            inherited = nil
        }
        // What a process without a successor left: it answers nobody.
        if Self.isDead(order.mountpoint) { zg_fuse_unmount(order.mountpoint) }
        isTakenOver = false
        // A kept descriptor that was never mounted is as good as a new one; one of a mount that is gone is not.
        if let inherited {
            if zg_fuse_mount(inherited, order.mountpoint, source) == 0 {
                device = inherited
                return
            }
            close(inherited)
        }
        device = zg_fuse_open_device()
        guard device >= 0 else { throw .system("open /dev/fuse", -device) }
        if let keeper { Self.keep(device, keeper, log) }
        let result = zg_fuse_mount(device, order.mountpoint, source)
        guard result == 0 else {
            close(device)
            throw .system("mount at \(order.mountpoint)", -result)
        }
    }

    /// What is mounted at a path, as `mountinfo` says; the topmost where several are.
    static func source(at path: String) -> String? {
        guard let text = try? File.readText("/proc/self/mountinfo") else { return nil }
        let escaped = path.replacing("\\", with: "\\134").replacing(" ", with: "\\040").replacing("\t", with: "\\011")
        for line in text.split(separator: "\n").reversed() {
            let fields = line.split(separator: " ")
            guard fields.count > 6, fields[4] == escaped, let dash = fields.firstIndex(of: "-"), dash + 2 < fields.count
            else { continue }
            return String(fields[dash + 2])
        }
        return nil
    }

    private static func isDead(_ path: String) -> Bool {
        do { _ = try File.status(path) } catch { return error.errno.rawValue == ENOTCONN }
        return false
    }

    /// Gives `zero-core` a copy of the descriptor, so that the mount outlives this process.
    private static func keep(_ device: Int32, _ keeper: Keeper, _ log: Log) {
        let body: JSONValue = [
            "unit": .string(keeper.unit), "instance": .string(keeper.instance), "name": .string(Keeper.name),
        ]
        do throws(RESPClientError) {
            let client = RESPClient(unix: keeper.socket)
            let reply = try client.exchange([Array("CORE.STORE-FD".utf8), body.canonicalBytes], sending: [device])
            for descriptor in reply.descriptors { close(descriptor) }
            if let failure = reply.value.failure {
                log.warn("descriptor is not kept", ["reason": "\(failure.code) \(failure.message)"])
            }
        } catch { log.warn("descriptor is not kept", ["reason": "\(error)"]) }
    }

    /// Answers until the mount is gone or a signal says so. The caller blocked the signals.
    func run(_ system: FileSystem, ready: @escaping @Sendable () -> Void) throws(MountError) {
        let context = Unmanaged.passRetained(system)
        var operations = FileSystem.operations
        var error: Int32 = 0
        guard let session = zg_fuse_session_open(device, &operations, context.toOpaque(), 0, &error) else {
            throw .system("start a session", -error)
        }
        let answering = Session(raw: session)
        if isTakenOver { try adopt(session) }
        for _ in 0..<Self.threads { startThread { [self] in answer(answering) } }
        if isTakenOver {
            let result = zg_fuse_session_resend(session)
            if result < 0 { log.warn("requests are not sent again", ["reason": "\(Errno(-result))"]) }
        }
        log.info(
            isTakenOver ? "took over" : "mounted", ["at": order.mountpoint, "root": order.root.hex])
        ready()
        waitForSignal()
    }

    private struct Session: @unchecked Sendable {  // libfuse allows any number of threads
        let raw: OpaquePointer
    }

    private func adopt(_ session: OpaquePointer) throws(MountError) {
        let greeting = order.session.flatMap { try? File.read($0, limit: 4_096) } ?? []
        var result = zg_fuse_session_adopt(session, greeting, greeting.count)
        if result < 0, !greeting.isEmpty {
            log.warn("kept session is not usable", ["reason": "\(Errno(-result))"])
            result = zg_fuse_session_adopt(session, nil, 0)
        }
        guard result == 0 else { throw .system("take over the session", -result) }
    }

    private func answer(_ session: Session) {
        var scratch: UnsafeMutableRawPointer?
        // Whoever started this process may have blocked it.
        var wake = sigset_t()
        sigemptyset(&wake)
        sigaddset(&wake, SIGURG)
        pthread_sigmask(SIG_UNBLOCK, &wake, nil)
        answering.withLock { $0.append(pthread_self()) }
        defer {
            answering.withLock { threads in threads.removeAll { $0 == pthread_self() } }
            zg_fuse_scratch_free(&scratch)
        }
        while !isLeaving.load(ordering: .acquiring) {
            let result = zg_fuse_session_step(session.raw, &scratch)
            if result == 0 || result == -EINTR || result == -EAGAIN || result == -ENOENT { continue }
            if !isEnding.exchange(true, ordering: .relaxed) {
                if result != -ENODEV { log.error("session failed", ["reason": "\(Errno(-result))"]) }
                kill(getpid(), SIGTERM)
            }
            return
        }
    }

    /// Has every thread finish the request that it took, and none take another. Returns how many did not finish.
    private func leave() -> Int {
        // A signal that does nothing but end the wait for the next request.
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in }
        sigaction(SIGURG, &action, nil)
        isLeaving.store(true, ordering: .releasing)
        let end = Clock.monotonicNanoseconds() + Self.leaveNanoseconds
        while true {
            // Again and again, since a thread may have been on its way into the wait.
            let left = answering.withLock { threads in
                for thread in threads { pthread_kill(thread, SIGURG) }
                return threads.count
            }
            if left == 0 || Clock.monotonicNanoseconds() > end { return left }
            usleep(5_000)
        }
    }

    /// SIGTERM and SIGINT unmount; SIGUSR2 leaves the mount to a successor.
    private func waitForSignal() {
        var signals = MountSession.signals
        while true {
            var signal: Int32 = 0
            guard sigwait(&signals, &signal) == 0 else { continue }
            switch signal {
            case SIGUSR2:
                let left = leave()
                log.info("leaves the mount to a successor", ["at": order.mountpoint, "unanswered": left])
                return
            case SIGTERM, SIGINT:
                // Where somebody else unmounted it already, what lies there now is not ours.
                if !isEnding.exchange(true, ordering: .relaxed) || Self.isDead(order.mountpoint) {
                    let result = zg_fuse_unmount(order.mountpoint)
                    if result < 0 { log.warn("cannot unmount", ["reason": "\(Errno(-result))"]) }
                }
                if let session = order.session { unlink(session) }
                log.info("unmounted", ["at": order.mountpoint])
                return
            default: continue
            }
        }
    }

    /// The signals that `run` waits for.
    static var signals: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGUSR2, SIGHUP, SIGUSR1] { sigaddset(&set, signal) }
        return set
    }
}
