import CLinux
import Glibc
import Linux

/// Runs a program at events, beside the server: at most so many at once, for so long, of so many that wait.
struct HookRunner {
    /// Hooks that wait for a place; more are dropped, because nothing may wait for a hook.
    static let waitingMax = 256
    /// How long an ended hook is told of.
    static let keptSeconds: Int64 = 60
    static let keptMax = 256

    struct Run {
        let event: String
        let arguments: [String]
        var pid: Int32 = 0
        var pidDescriptor: Int32 = -1
        /// Seconds since 1970; 0: not yet.
        var started: Int64 = 0
        var ended: Int64 = 0
        /// Exit status, 256 and the signal, or -1 where it could not be started.
        var status: Int32 = 0
        var startedAt: UInt64 = 0
        var isKilled = false
    }

    /// What changes live.
    struct Options: Sendable, Hashable {
        var program: String?
        var atOnce = 4
        var timeoutSeconds: UInt64 = 60
    }

    var options: Options
    private let device: String
    private var waiting: [(event: String, arguments: [String])] = []
    private var running: [Run] = []
    private(set) var recent: [Run] = []
    private(set) var started: UInt64 = 0
    private(set) var dropped: UInt64 = 0
    private(set) var killed: UInt64 = 0
    private(set) var failed: UInt64 = 0

    init(_ options: Options, device: String) { (self.options, self.device) = (options, device) }

    /// Whether a hook runs or waits.
    var isBusy: Bool { !running.isEmpty || !waiting.isEmpty }
    /// The hooks that run.
    var current: [Run] { running }

    /// Tells of an event. Returns descriptors that become readable when a hook has ended.
    mutating func add(_ event: String, _ arguments: [String], now: UInt64) -> [Int32] {
        guard options.program != nil else { return [] }
        guard waiting.count < Self.waitingMax else {
            dropped += 1
            return []
        }
        waiting.append((event, arguments))
        return startWaiting(now)
    }

    /// Looks after what runs: who has ended, who takes too long. Returns as `add`.
    mutating func look(now: UInt64) -> [Int32] {
        let seconds = Clock.wallMilliseconds() / 1000
        for index in running.indices.reversed() {
            var status: Int32 = 0
            let ended = zg_wait(running[index].pid, 0, &status)
            if ended == 0 {
                if !running[index].isKilled,
                    now &- running[index].startedAt > options.timeoutSeconds * 1_000_000_000
                {
                    running[index].isKilled = true
                    killed += 1
                    // It has a session of its own, and with it all that it started.
                    _ = kill(-running[index].pid, SIGKILL)
                    _ = kill(running[index].pid, SIGKILL)
                }
                continue
            }
            var run = running.remove(at: index)
            _ = Glibc.close(run.pidDescriptor)
            (run.ended, run.status) = (seconds, ended < 0 ? -1 : status)
            if run.status != 0 { failed += 1 }
            recent.append(run)
        }
        recent.removeAll { $0.ended + Self.keptSeconds < seconds }
        if recent.count > Self.keptMax { recent.removeFirst(recent.count - Self.keptMax) }
        return startWaiting(now)
    }

    private mutating func startWaiting(_ now: UInt64) -> [Int32] {
        var descriptors: [Int32] = []
        while running.count < options.atOnce, !waiting.isEmpty {
            let (event, arguments) = waiting.removeFirst()
            if let descriptor = start(event, arguments, now) { descriptors.append(descriptor) }
        }
        return descriptors
    }

    /// Starts the program as a process of its own; nil if that failed.
    private mutating func start(_ event: String, _ arguments: [String], _ now: UInt64) -> Int32? {
        guard let program = options.program else { return nil }
        var run = Run(event: event, arguments: arguments)
        (run.started, run.startedAt) = (Clock.wallMilliseconds() / 1000, now)
        let words: [UnsafeMutablePointer<CChar>?] =
            ([program, event, device] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        let null = zg_open("/dev/null", O_RDWR | O_CLOEXEC, 0)
        defer { if null >= 0 { _ = Glibc.close(null) } }
        // What it says goes where the server's own log goes.
        run.pid = words.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return -EINVAL }
            return zg_spawn_simple(program, base, nil, null, 2, 2)
        }
        started += 1
        guard run.pid > 0 else {
            EventLog.warning("hook_failed", "event=\(event) error=\(Errno(-run.pid))")
            failed += 1
            (run.pid, run.ended, run.status) = (0, run.started, -1)
            recent.append(run)
            return nil
        }
        run.pidDescriptor = zg_pidfd_open(run.pid)
        running.append(run)
        return run.pidDescriptor >= 0 ? run.pidDescriptor : nil
    }
}
