import CLinux
import Glibc
import Linux
import LogEngine
import RESP

/// Where an import's frames come from.
protocol ImportSource {
    /// The time of the oldest record; 0 if it is not known.
    var oldest: UInt64 { get }
    /// The next frame; nil behind the last.
    mutating func next() throws(Tool.Failure) -> ExportStream.Frame?
    /// What had to be left out.
    var problems: Int { get }
}

/// `zero-db import`: a stream, or the original 0-db's files, into a directory or a server.
enum ImportTool {
    struct StreamSource: ImportSource {
        var reader: ExportStream.Reader
        var oldest: UInt64 { reader.oldest }
        var problems: Int { 0 }

        mutating func next() throws(Tool.Failure) -> ExportStream.Frame? {
            do throws(ExportStream.ReadError) { return try reader.next() } catch {
                throw Tool.Failure(status: 1, description: error.description)
            }
        }
    }

    static func run(_ arguments: [String]) throws(Tool.Failure) -> Int32 {
        var arguments = arguments
        let passwordFile = try Tool.take("--password-file", from: &arguments)
        let data = try Tool.take("--original", from: &arguments)
        let index = try Tool.take("--original-index", from: &arguments)
        guard arguments.count == 1, !arguments[0].hasPrefix("-") else {
            throw Tool.Failure(
                status: 2,
                description: "usage: zero-db import DIR|HOST:PORT|SOCKET [--original DATA [--original-index INDEX]]")
        }
        let place = try Place.parse(arguments[0], passwordFile: passwordFile)
        if let data {
            var source = try OriginalSource(data: data, index: index ?? data)
            return try run(&source, place)
        }
        let reader: ExportStream.Reader
        do throws(ExportStream.ReadError) { reader = try ExportStream.Reader(0) } catch {
            throw Tool.Failure(status: 1, description: error.description)
        }
        var source = StreamSource(reader: reader)
        return try run(&source, place)
    }

    private static func run(_ source: inout some ImportSource, _ place: Place) throws(Tool.Failure) -> Int32 {
        let counts: (values: UInt64, deletions: UInt64)
        switch place {
        case .directory(let path):
            var sink = try DirectorySink.open(path, oldest: source.oldest)
            while let frame = try source.next() { try sink.add(frame) }
            counts = try sink.finish()
        case .server(let client):
            var sink = ServerSink(client: client)
            while let frame = try source.next() { try sink.add(frame) }
            counts = try sink.finish()
        }
        Tool.write("imported \(counts.values) values, \(counts.deletions) deletions\n", to: 1)
        return source.problems == 0 ? 0 : 1
    }
}

/// Into a directory: with times and history.
struct DirectorySink: ~Copyable {
    private let path: String
    private let lock: Int32
    private var engine: LogEngine
    private var numbers: [UInt32: UInt32] = [:]
    private var settings: [(id: UInt32, settings: NamespaceSettings)] = []
    private var waiting = 0
    private var counts: (values: UInt64, deletions: UInt64) = (0, 0)
    private var now: UInt64

    private init(_ path: String, _ lock: Int32, _ engine: consuming LogEngine, _ now: UInt64) {
        (self.path, self.lock, self.now) = (path, lock, now)
        self.engine = engine
    }

    /// Opens a directory, which may be new; times begin with that of the oldest record.
    static func open(_ path: String, oldest: UInt64) throws(Tool.Failure) -> DirectorySink {
        let now = oldest == 0 ? UInt64(max(0, Clock.wallNanoseconds())) : oldest
        let lock = try lock(path)
        return DirectorySink(path, lock, try engine(path, now), now)
    }

    private static func lock(_ path: String) throws(Tool.Failure) -> Int32 {
        do throws(SystemError) { try File.makeDirectories(path, mode: 0o700) } catch {
            throw Tool.Failure(status: 2, description: "\(error)")
        }
        let lock = zg_open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0, zg_flock(lock, 1) == 0 else {
            throw Tool.Failure(status: 1, description: "\(path) is used by a server: import over HOST:PORT or SOCKET")
        }
        return lock
    }

    private static func engine(_ path: String, _ now: UInt64) throws(Tool.Failure) -> LogEngine {
        var options = LogOptions()
        options.policy = .none
        var random = SystemRandomNumberGenerator()
        options.fresh = (random.next(), random.next(), random.next())
        let disk = FileDisk(directory: path, segmentBytes: options.segmentBytes)
        do throws(LogError) { return try LogEngine.open(disk: disk, options: options, time: now) } catch {
            throw Tool.Failure(status: 1, description: "\(path): \(Server.message(error))")
        }
    }

    mutating func add(_ frame: ExportStream.Frame) throws(Tool.Failure) {
        // Records of unknown time have that of the one before.
        if frame.time > now { now = frame.time }
        do throws(LogError) {
            switch frame.type {
            case .namespace: try define(frame)
            case .value, .tombstone: try store(frame)
            case .end: break
            }
            waiting += frame.value.count + 128
            if waiting > 4 << 20 {
                waiting = 0
                try engine.commit(sync: false)
            }
        } catch {
            throw Tool.Failure(
                status: 1, description: "\(path), key \(Tool.readable(frame.key)): \(Server.message(error))")
        }
    }

    private mutating func define(_ frame: ExportStream.Frame) throws(LogError) {
        let final = NamespaceSettings(decoding: frame.value)
        var open = NamespaceSettings()
        open.mode = final.mode
        if let id = engine.namespace(named: frame.key) {
            // The own `default` of a new device; whatever else is there is not mixed with what comes.
            guard try engine.entryCount(id) == 0 else { throw .namespaceExists }
            if var settings = engine.information(id)?.settings, settings.mode != open.mode {
                settings.mode = open.mode
                try engine.changeNamespace(id, settings, time: now)
            }
            numbers[frame.namespace] = id
        } else {
            numbers[frame.namespace] = try engine.createNamespace(frame.key, open, time: now)
        }
        if let id = numbers[frame.namespace] { settings.append((id, final)) }
    }

    private mutating func store(_ frame: ExportStream.Frame) throws(LogError) {
        guard let id = numbers[frame.namespace] else { throw .noNamespace }
        var failure: LogError?
        frame.key.withUnsafeBytes { key in
            frame.value.withUnsafeBytes { value in
                do throws(LogError) {
                    if frame.type == .value {
                        try engine.restore(id, key, value, time: now)
                        counts.values += 1
                    } else {
                        _ = try engine.delete(id, key, time: now)
                        counts.deletions += 1
                    }
                } catch {
                    // The versions before a deletion may be gone already.
                    if frame.type == .value || error != .absent { failure = error }
                }
            }
        }
        if let failure { throw failure }
    }

    mutating func finish() throws(Tool.Failure) -> (values: UInt64, deletions: UInt64) {
        do throws(LogError) {
            try engine.commit(sync: true)
            for item in settings {
                guard var settings = engine.information(item.id)?.settings else { continue }
                let created = settings.created
                settings = item.settings
                if settings.created == 0 { settings.created = created }
                try engine.changeNamespace(item.id, settings, time: now)
            }
            try engine.close(time: now)
            engine.writeCheckpoint()
        } catch {
            throw Tool.Failure(status: 1, description: "\(path): \(Server.message(error))")
        }
        _ = Glibc.close(lock)
        return counts
    }
}

/// Into a server that runs: the same writes again; they have the time of the import.
struct ServerSink {
    let client: RESPClient
    private var names: [UInt32: [UInt8]] = [:]
    private var settings: [(name: [UInt8], settings: NamespaceSettings)] = []
    private var selected: UInt32?
    private var waiting: [[[UInt8]]] = []
    private var waitingBytes = 0
    private var counts: (values: UInt64, deletions: UInt64) = (0, 0)
    /// The id that the server gives next, of sequential namespaces.
    private var nextIds: [UInt32: UInt64] = [:]

    init(client: RESPClient) { self.client = client }

    private static func words(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

    mutating func add(_ frame: ExportStream.Frame) throws(Tool.Failure) {
        switch frame.type {
        case .namespace: try define(frame)
        case .value:
            try use(frame.namespace)
            counts.values += 1
            if let next = nextIds[frame.namespace] {
                try sendNew(frame, next)
            } else {
                try send([Array("SET".utf8), frame.key, frame.value])
            }
        case .tombstone:
            try use(frame.namespace)
            counts.deletions += 1
            try send([Array("DEL".utf8), frame.key])
        case .end: break
        }
    }

    private mutating func define(_ frame: ExportStream.Frame) throws(Tool.Failure) {
        // What waits belongs to the namespace that is selected now.
        try flush()
        let known = (try client.run(Array("NSLIST".utf8)).items ?? []).compactMap(\.bytes)
        let final = NamespaceSettings(decoding: frame.value)
        if !known.contains(frame.key) { _ = try client.run(Array("NSNEW".utf8), frame.key) }
        if final.mode != NamespaceMode.user {
            let mode = final.mode == NamespaceMode.sequential ? "seq" : "ordered"
            _ = try client.run(Array("NSSET".utf8), frame.key, Array("mode".utf8), Array(mode.utf8))
        }
        if final.mode == NamespaceMode.sequential { nextIds[frame.namespace] = 0 }
        _ = try client.run(Array("SELECT".utf8), frame.key)
        selected = frame.namespace
        guard try client.run(Array("DBSIZE".utf8)).integer == 0 else {
            throw Tool.Failure(
                status: 1, description: "namespace \(String(decoding: frame.key, as: UTF8.self)) is not empty")
        }
        names[frame.namespace] = frame.key
        settings.append((frame.key, final))
    }

    /// A value of a sequential namespace: the server gives ids in turn, so those that are missing are given and ended.
    private mutating func sendNew(_ frame: ExportStream.Frame, _ next: UInt64) throws(Tool.Failure) {
        let id = frame.key.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard frame.key.count == 8, id < next &+ LogLimits.idsSkippedMax else {
            throw Tool.Failure(status: 1, description: "\(Tool.readable(frame.key)) is no id that could follow")
        }
        if id < next {
            try send([Array("SET".utf8), frame.key, frame.value])
            return
        }
        for missing in next..<id {
            try send([Array("SET".utf8), [], []])
            try send([Array("DEL".utf8), (0..<8).map { UInt8(truncatingIfNeeded: missing >> (8 * $0)) }])
        }
        try send([Array("SET".utf8), [], frame.value])
        nextIds[frame.namespace] = id + 1
    }

    private mutating func use(_ namespace: UInt32) throws(Tool.Failure) {
        if selected == namespace { return }
        guard let name = names[namespace] else {
            throw Tool.Failure(status: 1, description: "the stream has a record of a namespace that it does not name")
        }
        selected = namespace
        try send([Array("SELECT".utf8), name])
    }

    private mutating func send(_ command: [[UInt8]]) throws(Tool.Failure) {
        waiting.append(command)
        waitingBytes += command.reduce(0) { $0 + $1.count }
        if waitingBytes > 4 << 20 || waiting.count >= 4096 { try flush() }
    }

    private mutating func flush() throws(Tool.Failure) {
        defer { (waiting, waitingBytes) = ([], 0) }
        if !waiting.isEmpty { _ = try client.run(waiting) }
    }

    mutating func finish() throws(Tool.Failure) -> (values: UInt64, deletions: UInt64) {
        try flush()
        for (name, settings) in settings {
            var changes: [(String, String)] = []
            if settings.maxSize > 0 { changes.append(("maxsize", String(settings.maxSize))) }
            if settings.isPublic { changes.append(("public", "1")) }
            if settings.isWorm { changes.append(("worm", "1")) }
            if settings.isLocked { changes.append(("lock", "1")) }
            if settings.isFrozen { changes.append(("freeze", "1")) }
            for (property, value) in changes {
                _ = try client.run(Array("NSSET".utf8), name, Array(property.utf8), Array(value.utf8))
            }
        }
        return counts
    }
}
