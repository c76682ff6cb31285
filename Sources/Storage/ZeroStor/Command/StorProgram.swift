internal import CanonicalJSON
internal import Crypto
internal import Bytes
internal import Glibc
internal import Linux
internal import ObjectIndex
internal import Objects
internal import Terminal

/// The program `zero-stor`.
public enum StorProgram {
    static let version = "0.1.0"

    /// Runs a command line; the exit status: 0, 1 where it failed, 2 where it was not understood.
    public static func run(arguments: [String]) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        var console = Console(format: .table)
        do {
            switch try StorCommands.parser.parse(arguments) {
            case .version: console.print("zero-stor \(version)")
            case .help(let command, let path):
                console.print(StorCommands.parser.help(command, path: path, style: console.style))
            case .run(let invocation):
                if let format = invocation.option("output").flatMap({ Console.Format(rawValue: $0) }) {
                    console = Console(format: format)
                }
                return try StorCommand(console, invocation).run()
            }
            return 0
        } catch let error as UsageError {
            console.error("\(error)")
            return 2
        } catch {
            console.error("\(error)")
            return 1
        }
    }
}

/// One command, with what it was given.
struct StorCommand {
    let console: Console
    let invocation: Invocation

    init(_ console: Console, _ invocation: Invocation) { (self.console, self.invocation) = (console, invocation) }

    func run() throws -> Int32 {
        switch invocation.path.joined(separator: " ") {
        case "words": console.print(RecoveryWords.generate().text)
        case "create": try create()
        case "put": try put()
        case "get": try get()
        case "list": try list()
        case "stat": try stat()
        case "delete": try delete()
        case "status": try status()
        case "check": return try check()
        case "scrub": return try scrub()
        case "repair": return try repair()
        case "snapshot": try snapshot()
        case "drain": try change(.draining)
        case "lost": try change(.lost)
        case "key add": try addKey()
        case "key list": try listKeys()
        case "key revoke": try open().removeAccessKey(argument("key"))
        default: throw UsageError("a command is needed", hint: "zero-stor --help lists them")
        }
        return 0
    }

    func setting(_ name: String) -> String? {
        invocation.option(name) ?? Environment.value("ZERO_STOR_\(name.uppercased())")
    }

    func argument(_ name: String) -> String { invocation.argument(name) ?? "" }

    func settings() throws -> StoreSettings {
        guard let file = setting("store") else { throw UsageError("--store FILE is needed: the store's settings") }
        return try StoreSettings(file: file)
    }

    /// To look only: a gateway that writes is not disturbed.
    func look() throws -> ZeroStore { try open(follows: true) }

    func open(follows: Bool = false) throws -> ZeroStore {
        let settings = try settings()
        guard let words = setting("words") else {
            throw UsageError("--words FILE is needed: the owner's recovery words")
        }
        return try OpenedStore.open(settings, words: words, state: setting("state"), url: "", follows: follows)
    }

    /// `bucket/key`.
    func object() throws -> (String, ObjectKey) {
        let text = argument("object")
        guard let slash = text.firstIndex(of: "/"), slash != text.startIndex, text.index(after: slash) != text.endIndex
        else { throw UsageError("“\(text)” is not bucket/key") }
        return (String(text[..<slash]), ObjectKey(String(text[text.index(after: slash)...])))
    }

    private func create() throws {
        let settings = try settings()
        let made = try OpenedStore.prepare(settings)
        _ = try open()
        let policy = settings.policy
        console.emit(
            .object([
                "store": .string(settings.store), "data": .integer(Int64(policy.k)),
                "parity": .integer(Int64(policy.m)),
                "backends": .integer(Int64(settings.backends.count)), "namespaces": .integer(Int64(made.count)),
            ]),
            """
            \(settings.store): any \(policy.k) of \(policy.k + policy.m) shards suffice; survives any \(policy.surviveNodes) nodes, or all nodes of any \(policy.surviveFarms) farms
            \(settings.backends.count) backends, \(made.count) namespaces made; \(settings.logMembers.count) keep the log, of which \(settings.logUnreachable) may be away and \(settings.logLying) lie

            """)
    }

    private func put() throws {
        let (bucket, key) = try object()
        let store = try open()
        let file = argument("file")
        let descriptor = file == "-" ? 0 : Glibc.open(file, O_RDONLY)
        guard descriptor >= 0 else { throw SystemError("open", file, Errno(errno)) }
        do {
            try store.createBucket(Bucket(name: bucket, owner: "owner", created: Clock.wallMilliseconds()))
        } catch ObjectError.bucketExists {}
        let writer = try store.write(customerKey: nil)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        var hasher = SHA256Hasher()
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0 { throw SystemError("read", file, Errno(errno)) }
            if count == 0 { break }
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            hasher.update(piece)
            try writer.write(piece)
        }
        let version = try store.put(
            bucket, key, try writer.finish(), etag: hasher.finish().hex, attributes: [:],
            check: { (_) throws(ObjectError) in })
        console.emit(Self.json(bucket, version), "\(bucket)/\(key): \(version.size) bytes\n")
    }

    private func get() throws {
        let (bucket, key) = try object()
        let reader = try look().open(bucket, key, nil, customerKey: nil)
        let file = argument("file")
        let descriptor = file == "-" ? 1 : Glibc.open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard descriptor >= 0 else { throw SystemError("open", file, Errno(errno)) }
        try read(reader) { bytes in
            var done = 0
            while done < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
                if count < 0 { throw SystemError("write", file, Errno(errno)) }
                done += count
            }
        }
    }

    /// All bytes of a version; an error where they end early.
    func read(_ reader: any Objects.ObjectReader, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        var offset: Int64 = 0
        while offset < reader.version.size {
            let count = try reader.read(at: offset, into: buffer)
            if count == 0 { throw ObjectError.damaged("\(reader.version.key) ends at byte \(offset)") }
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            offset += Int64(count)
        }
    }

    static func json(_ bucket: String, _ version: ObjectVersion) -> JSONValue {
        .object([
            "bucket": .string(bucket), "etag": .string(version.etag), "key": .string("\(version.key)"),
            "modified": .integer(version.modified), "size": .integer(version.size), "version": .string("\(version.id)"),
        ])
    }

    private func list() throws {
        let store = try look()
        guard let text = invocation.argument("bucket") else {
            let buckets = try store.buckets()
            let table = Table("BUCKET", "OWNER", rows: buckets.map { [$0.name, $0.owner] })
            return console.emit(.array(buckets.map { .string($0.name) }), table.text(console.style))
        }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var query = ListQuery()
        query.prefix = Array((parts.count > 1 ? parts[1] : "").utf8)
        var found: [ObjectVersion] = []
        while true {
            let page = try store.list(parts[0], query)
            found += page.entries
            guard page.isTruncated, let last = page.entries.last else { break }
            query.after = last.key
        }
        let table = Table(
            columns: [.init("SIZE", right: true), .init("KEY")], rows: found.map { ["\($0.size)", "\($0.key)"] })
        console.emit(.array(found.map { Self.json(parts[0], $0) }), table.text(console.style))
    }

    private func stat() throws {
        let (bucket, key) = try object()
        let version = try look().version(bucket, key, nil)
        console.emit(
            Self.json(bucket, version),
            "\(bucket)/\(key)\nsize \(version.size)\netag \(version.etag)\nversion \(version.id)\nmodified \(version.modified)\n"
        )
    }

    private func delete() throws {
        let (bucket, key) = try object()
        guard try open().delete(bucket, key, nil, owner: "owner", check: { (_) throws(ObjectError) in }) != nil else {
            throw ObjectError.noSuchKey(key)
        }
    }

    private func change(_ state: Backend.State) throws {
        guard let number = UInt16(argument("backend")) else { throw UsageError("a backend's number is needed") }
        let store = try open()
        try store.setBackend(number, state)
        _ = try repairAll(store)
    }
}
