internal import Bytes
internal import CanonicalJSON
internal import Crypto
internal import Glibc
internal import Linux
internal import RESP
internal import Synchronization

/// Namespaces of contracts in the node's Zero-DB for tenants. Every call blocks; changes run one after the other.
///
/// The store knows what a namespace holds and may hold; the record beside it knows for which epoch, and that it was there.
public final class ZDBKeeper: Sendable {
    /// A namespace as it is.
    struct Usage: Sendable, Equatable {
        let id: String
        /// Bytes that are set aside for it.
        let size: Int64
        /// Bytes of live keys and values.
        let used: Int64
        /// Live keys.
        let entries: Int64
    }

    private let folder: String
    private let store: RESPClient
    private let identity: RESPClient
    private let room: @Sendable () throws -> Int64
    private let turn = Mutex(())

    /// `folder` keeps the records; `room` says how much of the disk nobody was promised.
    public init(folder: String, run: String, room: @escaping @Sendable () throws -> Int64) throws(StorageError) {
        self.folder = folder
        self.room = room
        store = RESPClient(unix: "\(run)/zdb.sock")
        identity = RESPClient(unix: "\(run)/identity.sock")
        try storage { try File.makeDirectories(folder, mode: 0o700) }
    }

    /// Makes a namespace, or changes it, or just finds it.
    ///
    /// A lower epoch than the recorded one is refused; so is another mode, and a size that the disk has not.
    func ensure(_ asked: ZDBRequest) throws(StorageError) {
        try storage {
            try turn.withLock { _ in
                let record = try self.record(asked.id)
                if let record, asked.epoch < record.epoch {
                    throw StorageError.epoch(volume: asked.id, asked: asked.epoch, recorded: record.epoch)
                }
                let known = record.flatMap { $0.isRemoved ? nil : $0 }
                let found = try information(asked.id)
                if let known, found == nil { throw StorageError.lostNamespace(known.id) }
                try make(asked, found, known)
            }
        }
    }

    private func make(_ asked: ZDBRequest, _ before: [String: String]?, _ known: ZDBRecord?) throws {
        if let mode = before?["mode"], mode != asked.mode {
            throw StorageError.invalid("zdb \(asked.id) is \(mode) and cannot become \(asked.mode)")
        }
        let old = known?.size ?? 0
        if asked.size > old { try requireRoom(asked.id, more: asked.size - old) }
        if before == nil { try command(["NSNEW", asked.id, "MODE", asked.mode], asked.id) }
        let found = try before ?? information(asked.id) ?? [:]
        var record = ZDBRecord(
            id: asked.id, size: asked.size, epoch: asked.epoch, mode: asked.mode,
            password: asked.password.map { SHA256.hash(Array($0.box.utf8)).hex } ?? "")
        // A password first: nothing leads to a namespace before this call ended well.
        if record.password != known?.password ?? "" { try setPassword(asked) }
        try resize(asked, found)
        // Without a password all is public, and NSINFO says so.
        let isPublic = asked.isPublic || asked.password == nil
        if found["public"] != (isPublic ? "yes" : "no") {
            try set(asked.id, "public", asked.isPublic ? "1" : "0")
        }
        if found["worm"] != (asked.isWORM ? "yes" : "no") {
            try set(asked.id, "worm", asked.isWORM ? "1" : "0")
        }
        record.epoch = max(record.epoch, known?.epoch ?? 0)
        if record != known { try File.writeDurably(path(asked.id), record.canonicalBytes, mode: 0o600) }
    }

    /// Space of the device that is its own, and the most that it may hold. Room first: what is not there is refused before
    /// anything is promised to the tenant.
    private func resize(_ asked: ZDBRequest, _ found: [String: String]) throws {
        let size = String(asked.size)
        if let reserved = found["reservation_bytes"], reserved != size { try set(asked.id, "reservation", size) }
        if found["data_limits_bytes"] != size { try set(asked.id, "maxsize", size) }
        // What a contract reserved holds what it has now; former versions would take more and more of others' space.
        if found["history"] != "none" { try set(asked.id, "history", "none") }
    }

    private func set(_ id: String, _ property: String, _ value: String) throws {
        try command(["NSSET", id, property, value], id)
    }

    /// The password is in clear in here for as long as this takes, and goes to the store alone.
    private func setPassword(_ asked: ZDBRequest) throws {
        guard let sealed = asked.password else { return try set(asked.id, "password", "*") }
        var value = try open(asked, sealed)
        defer { wipe(&value) }
        let reply = try exchange(store, [Array("NSSET".utf8), Array(asked.id.utf8), Array("password".utf8), value])
        if let failure = reply.failure { throw StorageError.refused(asked.id, failure.code, failure.message) }
    }

    private func open(_ asked: ZDBRequest, _ sealed: ZDBRequest.SealedPassword) throws -> [UInt8] {
        let words = [Array("IDENTITY.OPEN".utf8), asked.opening(sealed).canonicalBytes]
        let reply: (value: RESPValue, descriptors: [Int32])
        do throws(RESPClientError) {
            reply = try identity.exchange(words, deadline: .seconds(10))
        } catch { throw StorageError.unreachable("\(error)") }
        defer { for descriptor in reply.descriptors { _ = Glibc.close(descriptor) } }
        if let failure = reply.value.failure { throw StorageError.refused(asked.id, failure.code, failure.message) }
        guard let descriptor = reply.descriptors.first else {
            throw StorageError.invalid("zdb \(asked.id): zero-identity sent no descriptor")
        }
        return try Self.onlySecret(descriptor, sealed.name, asked.id)
    }

    /// The one entry of the descriptor; see `Documentation/formats/secret-descriptor.md`.
    private static func onlySecret(_ descriptor: Int32, _ name: String, _ id: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Limits.secretMax)
        defer { wipe(&bytes) }
        let count = pread(descriptor, &bytes, bytes.count, 0)
        var reader = ByteReader(Array(bytes[..<max(0, count)]))
        do {
            guard try reader.u32() == 1 else { throw StorageError.invalid("zdb \(id): not one secret") }
            let found = try reader.take(Int(reader.u32()))
            let value = try reader.take(Int(reader.u32()))
            guard String(decoding: found, as: UTF8.self) == name else {
                throw StorageError.invalid("zdb \(id): zero-identity opened another secret")
            }
            guard Array(value) != Array("*".utf8) else {
                throw StorageError.invalid("zdb \(id): * is no password: it stands for none")
            }
            return Array(value)
        } catch let error as StorageError { throw error } catch {
            throw StorageError.invalid("zdb \(id): the descriptor of zero-identity is cut short")
        }
    }

    /// Removes a namespace with what it holds; fine where there is none.
    func remove(id: String) throws(StorageError) {
        guard VolumeRecord.isName(id) else { throw .invalid("\(id) is not a zdb's name") }
        try storage {
            try turn.withLock { _ in
                if try information(id) != nil { try command(["NSDEL", id], id) }
                guard var record = try record(id), !record.isRemoved else { return }
                record.isRemoved = true
                try File.writeDurably(path(id), record.canonicalBytes, mode: 0o600)
            }
        }
    }

    /// One namespace with what it holds; nil where there is none.
    func usage(id: String) throws(StorageError) -> Usage? {
        guard VolumeRecord.isName(id) else { throw .invalid("\(id) is not a zdb's name") }
        return try storage {
            guard let record = try record(id), !record.isRemoved, let found = try information(id) else { return nil }
            return Usage(
                id: id, size: record.size, used: found["data_size_bytes"].flatMap { Int64($0) } ?? 0,
                entries: found["entries"].flatMap { Int64($0) } ?? 0)
        }
    }

    /// All of them, in order.
    func list() throws(StorageError) -> [Usage] {
        try storage { try records().compactMap { try usage(id: $0.id) } }
    }

    /// Bytes that namespaces were promised and do not fill yet.
    func outstanding() throws(StorageError) -> Int64 { try list().reduce(0) { $0 + max(0, $1.size - $1.used) } }

    /// Nothing is promised twice.
    private func requireRoom(_ id: String, more: Int64) throws {
        let left = try room() - outstanding()
        guard more <= left else {
            throw StorageError.full(subject: "zdb \(id): the disk", needs: more, left: max(0, left))
        }
    }

    // MARK: Records and the store

    private func path(_ id: String) -> String { "\(folder)/\(id).json" }

    private func record(_ id: String) throws -> ZDBRecord? {
        guard File.exists(path(id)) else { return nil }
        do { return try ZDBRecord(try File.read(path(id), limit: 65_536)) } catch {
            throw StorageError.damaged(path: path(id), reason: "is not a zdb's record: \(error)")
        }
    }

    private func records() throws -> [ZDBRecord] {
        try File.list(folder).filter { $0.hasSuffix(".json") }.sorted()
            .compactMap { try record(String($0.dropLast(5))) }.filter { !$0.isRemoved }
    }

    /// `NSINFO` as names and values; nil where there is no such namespace.
    private func information(_ id: String) throws -> [String: String]? {
        let reply = try exchange(store, [Array("NSINFO".utf8), Array(id.utf8)])
        if let failure = reply.failure {
            if failure.code == "NONS" { return nil }
            throw StorageError.refused(id, failure.code, failure.message)
        }
        var values: [String: String] = [:]
        for line in (reply.text ?? "").split(separator: "\n") {
            let halves = line.split(separator: ":", maxSplits: 1)
            guard halves.count == 2 else { continue }
            values[String(halves[0])] = String(halves[1].filter { $0 != " " && $0 != "\r" })
        }
        return values
    }

    private func command(_ words: [String], _ id: String) throws {
        let reply = try exchange(store, words.map { Array($0.utf8) })
        if let failure = reply.failure { throw StorageError.refused(id, failure.code, failure.message) }
    }

    private func exchange(_ client: RESPClient, _ words: [[UInt8]]) throws -> RESPValue {
        do throws(RESPClientError) { return try client.call(words, deadline: .seconds(10)) } catch {
            throw StorageError.unreachable("\(error)")
        }
    }
}
