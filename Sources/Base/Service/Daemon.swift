public import Bus
import Glibc
import Linux
import Synchronization

/// What a daemon's body works with.
public struct DaemonContext: Sendable {
    /// The service's name, such as `ledger`.
    public let name: String
    /// The node's folder on disk.
    public let state: String
    /// The node's folder of this boot.
    public let run: String
    /// Every setting, also those above.
    public let settings: Settings
    /// Writes to standard error.
    public let log: Log
    /// This daemon's bus server at `<run>/<name>.sock`; it listens once it is started.
    public let server: BusServer
    /// This daemon's numbers; `<SERVICE>.METRICS` answers them.
    public let metrics: Metrics

    /// The folder on disk that this daemon owns: `<state>/<name>`.
    public var folder: String { "\(state)/\(name)" }

    /// A client of another service of this node.
    public func bus(_ service: String) -> BusClient { BusClient("\(run)/\(service).sock") }

    /// Listens on the bus, says that the daemon is ready and serves until it is told to stop.
    public func serve() async throws {
        try server.start()
        log.info("ready", ["socket": server.socketPath, "pid": getpid()])
        Daemon.ready()
        try await server.run()
    }
}

/// A command of a daemon program that does one thing and ends, such as `zero-network purge`.
public struct DaemonCommand: Sendable {
    let name: String
    let help: String
    let body: @Sendable (DaemonContext) async throws -> Void

    /// A command; it takes the daemon's settings.
    public init(_ name: String, _ help: String, _ body: @escaping @Sendable (DaemonContext) async throws -> Void) {
        (self.name, self.help, self.body) = (name, help, body)
    }
}

/// Runs a program as a daemon: settings, signals, readiness, exit status.
///
/// Exit status: 0 after a stop that was asked for, 1 after a failure, 2 for wrong settings.
public enum Daemon {
    /// Which of the node's folders a daemon needs.
    public enum Folders: Sendable {
        /// `--state` and `--run` are required, and `<state>/<name>` is made.
        case node
        /// Neither; both may be given.
        case none
    }

    /// The version of all programs.
    public static let version = "0.1.0"
    /// Time to end after SIGTERM; the unit's `stop_timeout` is 10 s.
    private static let graceSeconds: UInt32 = 8
    private static let isReady = Atomic<Bool>(false)

    /// Runs the daemon and never returns.
    ///
    /// `name` is `ledger` or `zero-ledger`. The body runs as a task off the main actor; SIGTERM and SIGINT cancel it. When
    /// it returns or throws, the program ends.
    public static func main(
        _ name: String, options: [Option] = [], folders: Folders = .node, commands: [DaemonCommand] = [],
        body: @escaping @Sendable (DaemonContext) async throws -> Void
    ) -> Never {
        main(name, options, folders, commands, CommandLine.arguments, body)
    }

    static func main(
        _ name: String, _ options: [Option], _ folders: Folders, _ commands: [DaemonCommand], _ arguments: [String],
        _ body: @escaping @Sendable (DaemonContext) async throws -> Void
    ) -> Never {
        let service = name.hasPrefix("zero-") ? String(name.dropFirst(5)) : name
        let program = Program(service: service, options: options, folders: folders, commands: commands)
        let (context, command) = program.prepare(arguments, environment())
        signal(SIGPIPE, SIG_IGN)
        let signals = StopSignals()
        context.server.provideMetrics { [metrics = context.metrics] in metrics.text() }
        let isStopping = StopFlag()
        let work = command?.body ?? body
        let task = Task.detached { await run(work, context, isStopping) }
        signals.wait(context.log)
        isStopping.set()
        task.cancel()
        // A second signal, or the end of the grace, ends it at once.
        startThread {
            sleep(graceSeconds)
            context.log.error("did not stop in time", ["seconds": graceSeconds])
            exit(1)
        }
        signals.wait(context.log)
        exit(1)
    }

    /// Tells whoever started this program that it is ready; only the first call does something.
    public static func ready() { notify("READY=1") }

    /// Tells whoever started this program why it will not become ready; after `ready` it says nothing.
    public static func failed(_ reason: String) {
        let line = String(decoding: reason.utf8.prefix(reasonBytesMax).map { $0 < 32 ? 32 : $0 }, as: UTF8.self)
        notify("ERROR=" + line)
    }

    /// A reason is one line in a status; the pipe takes this much at once.
    private static let reasonBytesMax = 400

    private static func notify(_ line: String) {
        if isReady.exchange(true, ordering: .relaxed) { return }
        guard let text = getenv("ZERO_NOTIFY_FD"), let descriptor = Int32(String(cString: text)), descriptor > 2 else {
            return
        }
        let message = Array((line + "\n").utf8)
        _ = message.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    private final class StopFlag: Sendable {
        private let flag = Atomic<Bool>(false)
        func set() { flag.store(true, ordering: .relaxed) }
        var isSet: Bool { flag.load(ordering: .relaxed) }
    }

    private static func run(
        _ body: @Sendable (DaemonContext) async throws -> Void, _ context: DaemonContext, _ isStopping: StopFlag
    ) async {
        do {
            try await body(context)
            context.log.debug("stopped")
            exit(0)
        } catch {
            if isStopping.isSet { exit(0) }
            context.log.error("failed", ["reason": "\(error)"])
            failed("\(error)")
            exit(1)
        }
    }

    private static func environment() -> [String: String] {
        guard let text = try? File.read("/proc/self/environ", limit: 4 << 20) else { return [:] }
        var variables: [String: String] = [:]
        for entry in text.split(separator: 0) {
            let parts = entry.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { continue }
            variables[String(decoding: parts[0], as: UTF8.self)] = String(decoding: parts[1], as: UTF8.self)
        }
        return variables
    }
}

/// Turns SIGTERM and SIGINT into bytes that the main thread waits for; works whatever threads exist already.
private struct StopSignals {
    private static let pipe = Atomic<Int32>(-1)
    private let descriptor: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else { preconditionFailure("a daemon that starts can open a pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        descriptor = ends[0]
        Self.pipe.store(ends[1], ordering: .sequentiallyConsistent)
        for number in [SIGTERM, SIGINT] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(StopSignals.pipe.load(ordering: .relaxed), &byte, 1)
            }
        }
        // A handler and not SIG_IGN, which programs that are started from here would inherit.
        signal(SIGHUP) { _ in }
    }

    func wait(_ log: Log) {
        var byte: UInt8 = 0
        while read(descriptor, &byte, 1) != 1 {}
        log.info("stopping", ["signal": Int32(byte) == SIGTERM ? "TERM" : "INT"])
    }
}
