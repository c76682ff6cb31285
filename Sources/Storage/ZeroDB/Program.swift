import CLinux
import Glibc
import Linux
import LogEngine
import Simulation

/// The program `zero-db`.
public enum Program {
    /// What `--version` says.
    public static let version = "0.1.0"

    static var processId: Int32 { getpid() }

    /// Runs the program to its end; returns the exit status.
    public static func run(arguments: [String]) -> Int32 {
        if arguments.contains("--help") || arguments.contains("-h") {
            write(1, Settings.usage + Settings.operationsUsage + Settings.limitUsage + Tool.usage)
            return 0
        }
        if arguments.contains("--version") {
            write(1, "zero-db \(version)\n")
            return 0
        }
        if let status = Tool.run(arguments) { return status }
        let settings: Settings
        do throws(SettingsError) {
            settings = try Settings.load(arguments.filter { $0 != "--print-config" })
        } catch {
            write(2, "zero-db: \(error)\nTry zero-db --help.\n")
            return 2
        }
        if arguments.contains("--print-config") {
            write(1, settings.text)
            return 0
        }
        do throws(StartError) {
            var server = try start(settings)
            ready(settings, port: server.tcpPort)
            server.hook("ready")
            server.run()
            return 0
        } catch {
            write(2, "zero-db: \(error.description)\n")
            return 1
        }
    }

    /// Why the program did not start.
    struct StartError: Error {
        let description: String
    }

    private static func start(_ settings: Settings) throws(StartError) -> Server {
        let lock: Int32
        do throws(SystemError) { try File.makeDirectories(settings.data, mode: 0o700) } catch {
            throw StartError(description: "\(error)")
        }
        lock = zg_open(settings.data + "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        // What nobody can write needs no lock.
        if lock < 0, lock != -EROFS { throw StartError(description: "\(settings.data)/lock: \(text(lock))") }
        // The lock lasts as long as the process.
        if lock >= 0, zg_flock(lock, 1) < 0 {
            throw StartError(description: "\(settings.data) is used by another zero-db")
        }
        let context = try tls(settings)
        let disk = FileDisk(directory: settings.data, segmentBytes: settings.segmentBytes)
        var engine = try open(settings, disk)
        // Namespaces come from the master, if there is one.
        var missing = settings.allowances.map(\.namespace) + settings.doors.map(\.namespace)
        missing += settings.tls?.allowances.map(\.namespace) ?? []
        if engine.role != .master { missing = [] }
        for name in missing { _ = try ensure(name, &engine) }
        do throws(LogError) { try declare(settings, &engine) } catch {
            throw StartError(description: "\(settings.data): \(Server.message(error))")
        }
        do throws(SystemError) {
            var server = try Server(settings: settings, disk: disk, engine: engine)
            server.tls = context
            try listen(settings, &server)
            try server.startOperations()
            return try replicating(server)
        } catch {
            throw StartError(description: "\(error)")
        }
    }

    private static func tls(_ settings: Settings) throws(StartError) -> TLSContext? {
        guard let tls = settings.tls else { return nil }
        do throws(SettingsError) { return try TLSContext(tls) } catch {
            throw StartError(description: error.description)
        }
    }

    /// The first line of a file, without its end.
    static func firstLine(_ path: String) throws(SettingsError) -> [UInt8] {
        guard let text = try? File.readText(path), let line = text.split(separator: "\n").first else {
            throw SettingsError(description: "\(path) cannot be read, or holds no password")
        }
        return Array(line.utf8)
    }

    private static func replicating(_ server: consuming Server) throws(SystemError) -> Server {
        do throws(LogError) { try server.beginReplication() } catch {
            throw SystemError("role", Server.message(error), Errno(EIO))
        }
        return server
    }

    /// How the engine is to work, as the settings say.
    static func options(_ settings: Settings) -> LogOptions {
        var options = LogOptions()
        options.segmentBytes = settings.segmentBytes
        options.policy = settings.sync
        options.capacityBytes = settings.capacityBytes
        options.compactionRate = settings.compactionRate
        options.history = settings.history
        // Few large pieces lie together on a hard disk.
        if settings.profile == .hdd { options.reserveBytes = 64 << 20 }
        options.follows = settings.replicaOf != nil
        return options
    }

    private static func open(_ settings: Settings, _ disk: FileDisk) throws(StartError) -> LogEngine {
        var options = options(settings)
        var random = SystemRandomNumberGenerator()
        options.fresh = (random.next(), random.next(), random.next())
        let begun = Clock.monotonicNanoseconds()
        do throws(LogError) {
            let engine = try LogEngine.open(disk: disk, options: options, time: UInt64(max(0, Clock.wallNanoseconds())))
            let report = engine.report
            let took = (Clock.monotonicNanoseconds() - begun) / 1_000_000
            EventLog.info(
                "opened",
                "segments=\(engine.segmentCount) records=\(report.records) bytes=\(engine.logBytes) cut_bytes=\(report.cutBytes) "
                    + "clean_stop=\(report.wasClosed) checkpoint=\(report.checkpointSequence) damaged=\(report.damageCount) took_ms=\(took)"
            )
            for damage in report.damages.prefix(20) {
                EventLog.error(
                    "damage",
                    "segment=\(damage.segment) offset=\(damage.offset) bytes=\(damage.length) "
                        + "first_sequence=\(damage.lost.lowerBound) end_sequence=\(damage.lost.upperBound) "
                        + "keys_known=\(damage.isAttributed)")
            }
            return engine
        } catch {
            throw StartError(description: "\(settings.data): \(Server.message(error))")
        }
    }

    /// The log says if any namespace's writes are answered before they are on stable storage.
    private static func declare(_ settings: Settings, _ engine: inout LogEngine) throws(LogError) {
        guard engine.readOnlyReason == nil, engine.role == .master else { return }
        for name in engine.namespaceNames {
            guard let id = engine.namespace(named: name), let own = engine.information(id)?.settings else { continue }
            if let durability = own.durability, durability != .always {
                try engine.declare(durability.policy, time: UInt64(max(0, Clock.wallNanoseconds())))
            }
        }
    }

    private static func ensure(_ name: String, _ engine: inout LogEngine) throws(StartError) -> UInt32 {
        let bytes = Array(name.utf8)
        if let id = engine.namespace(named: bytes) { return id }
        var made = NamespaceSettings()
        made.history = engine.newHistory
        do throws(LogError) {
            return try engine.createNamespace(
                bytes, made, time: UInt64(max(0, Clock.wallNanoseconds())))
        } catch {
            throw StartError(description: "namespace \(name): \(Server.message(error))")
        }
    }

    private static func listen(_ settings: Settings, _ server: inout Server) throws(SystemError) {
        if let path = settings.socket {
            let descriptor = zg_unix_listen(path, 0o666, 512)
            if descriptor < 0 { throw SystemError("listen", path, Errno(-descriptor)) }
            server.watch(.init(descriptor: descriptor, kind: .peers, path: path, isTCP: false))
        }
        for door in settings.doors {
            // The peer's uid is checked; the mode only has to let it come, which it always does for root and us.
            let isOthers = door.uid.map { $0 != 0 && $0 != geteuid() } ?? false
            let mode = isOthers ? door.mode | 0o066 : door.mode
            let descriptor = zg_unix_listen(door.path, mode, 512)
            if descriptor < 0 { throw SystemError("listen", door.path, Errno(-descriptor)) }
            server.watch(
                .init(
                    descriptor: descriptor, kind: .door(namespace: Array(door.namespace.utf8), uid: door.uid),
                    path: door.path,
                    isTCP: false))
        }
        if let port = settings.port {
            let descriptor = zg_tcp_listen(settings.address, port, 512)
            if descriptor < 0 { throw SystemError("listen", "\(settings.address):\(port)", Errno(-descriptor)) }
            server.watch(.init(descriptor: descriptor, kind: .admin, path: nil, isTCP: true))
            let isLoopback = settings.address.hasPrefix("127.") || settings.address == "::1"
            if !isLoopback, settings.administrator == nil {
                EventLog.warning("open_port", "address=\(settings.address) everybody_who_reaches_it=admin")
            }
        }
        if let tls = settings.tls {
            let descriptor = zg_tcp_listen(settings.address, tls.port, 512)
            if descriptor < 0 { throw SystemError("listen", "\(settings.address):\(tls.port)", Errno(-descriptor)) }
            server.watch(.init(descriptor: descriptor, kind: .admin, path: nil, isTCP: true, isTLS: true))
        }
    }

    /// Tells who started us that clients can connect.
    private static func ready(_ settings: Settings, port: Int32) {
        var line = "ready data=\(settings.data)"
        if let socket = settings.socket { line += " socket=\(socket)" }
        if settings.port != nil { line += " port=\(port)" }
        if let tls = settings.tls { line += " tls_port=\(tls.port)" }
        if let metrics = settings.metrics { line += " metrics_port=\(metrics.port)" }
        for door in settings.doors { line += " door=\(door.path)" }
        write(1, line + "\n")
        if let value = getenv("ZERO_NOTIFY_FD"), let descriptor = Int32(String(cString: value)), descriptor > 2 {
            write(descriptor, "READY=1\n")
            _ = Glibc.close(descriptor)
        }
    }

    private static func write(_ descriptor: Int32, _ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }

    private static func text(_ code: Int32) -> String { String(cString: strerror(-code)) }
}
