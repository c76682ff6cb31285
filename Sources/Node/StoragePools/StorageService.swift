public import Bus
internal import CanonicalJSON
internal import Linux
public import Service

/// The verbs of `STORAGE.*` over one pool.
public struct StorageService: Sendable {
    private let pool: Pool
    private let zdbs: ZDBKeeper
    private let log: Log

    /// How often strangers' subvolumes are looked for: within this time a workload can exceed its volume's size.
    private static let guardPeriod: Duration = .seconds(10)

    /// A service over an open pool and the namespaces beside it.
    public init(_ pool: Pool, _ zdbs: ZDBKeeper, log: Log) { (self.pool, self.zdbs, self.log) = (pool, zdbs, log) }

    /// Adds the verbs to the service's bus socket, and its numbers.
    public func register(on server: BusServer, _ metrics: Metrics) {
        server.on("ENSURE", from: [.provision]) { request in
            let asked = try request.read { reader throws(JSONError) in
                (
                    id: try reader.string("id"), size: try reader.integer("size"), epoch: try reader.integer("epoch"),
                    uid: try reader.optionalInteger("uid") ?? 0, gid: try reader.optionalInteger("gid") ?? 0
                )
            }
            guard let uid = UInt32(exactly: asked.uid), let gid = UInt32(exactly: asked.gid) else {
                throw BusError.badRequest("STORAGE.ENSURE: uid and gid are numbers of 32 bits")
            }
            let path = try await blocking {
                try pool.ensure(id: asked.id, size: asked.size, epoch: asked.epoch, uid: uid, gid: gid)
            }
            return ["path": .string(path)]
        }
        server.on("REMOVE", from: [.provision]) { request in
            let asked = try request.read { reader throws(JSONError) in
                (
                    id: try reader.string("id"), snapshot: try reader.optionalString("snapshot"),
                    epoch: try reader.optionalInteger("epoch")
                )
            }
            try await blocking {
                if let snapshot = asked.snapshot {
                    try pool.removeSnapshot(id: asked.id, name: snapshot)
                } else {
                    try pool.remove(id: asked.id, epoch: asked.epoch)
                }
            }
            log.info("removed", ["volume": asked.id, "snapshot": asked.snapshot ?? ""])
            return .ok
        }
        server.on("LIST", from: [.provision]) { _ in BusReply(try await blocking { try document() }) }
        server.provideStatus { try await blocking { try document() } }
        registerSnapshots(on: server)
        registerZDBs(on: server)
        gauges(metrics)
    }

    private func registerSnapshots(on server: BusServer) {
        server.on("SNAPSHOT", from: [.provision]) { request in
            let asked = try request.read { reader throws(JSONError) in
                (id: try reader.string("id"), name: try reader.string("name"))
            }
            let path = try await blocking { try pool.snapshot(id: asked.id, name: asked.name) }
            log.info("snapshot", ["volume": asked.id, "name": asked.name])
            return ["path": .string(path)]
        }
        server.on("SEND", from: [.provision], deadline: .seconds(Limits.sendSeconds)) { request in
            let asked = try request.read { reader throws(JSONError) in
                (
                    id: try reader.string("id"), snapshot: try reader.string("snapshot"),
                    parent: try reader.optionalString("parent")
                )
            }
            let sent = try await blocking {
                try pool.send(id: asked.id, snapshot: asked.snapshot, parent: asked.parent)
            }
            log.info("sent", ["volume": asked.id, "snapshot": asked.snapshot, "bytes": sent.size])
            return ["path": .string(sent.path), "size": .integer(sent.size)]
        }
    }

    private func registerZDBs(on server: BusServer) {
        server.on("ENSURE-ZDB", from: [.provision]) { request in
            let asked: ZDBRequest
            do throws(JSONError) { asked = try ZDBRequest(request.body) } catch { throw BusError(error) }
            try await blocking { try zdbs.ensure(asked) }
            return .ok
        }
        server.on("REMOVE-ZDB", from: [.provision]) { request in
            let id = try request.read { reader throws(JSONError) in try reader.string("id") }
            try await blocking { try zdbs.remove(id: id) }
            log.info("removed", ["zdb": id])
            return .ok
        }
        server.on("USAGE", from: [.corex]) { request in
            let id = try request.read { reader throws(JSONError) in try reader.string("id") }
            guard let usage = try await blocking({ try zdbs.usage(id: id) }) else {
                throw BusError.notFound("there is no zdb \(id)")
            }
            return BusReply(usage.value)
        }
    }

    /// What is on the pool, as a document.
    private func document() throws -> JSONValue {
        let space = try pool.space()
        let disk = try pool.device.space().free
        let volumes = try pool.list().map { volume -> JSONValue in
            [
                "id": .string(volume.id), "path": .string(volume.path), "size": .integer(volume.size),
                "used": .integer(volume.used), "epoch": .integer(volume.epoch),
                "snapshots": .array(volume.snapshots.map { .string($0) }),
            ]
        }
        // A store that is being started again is no reason to hide the volumes.
        let zdbs = (try? zdbs.list()) ?? []
        return [
            "volumes": .array(volumes), "zdbs": .array(zdbs.map(\.value)),
            "pool": [
                "size": .integer(space.size), "usable": .integer(space.usable),
                "committed": .integer(space.committed), "free": .integer(space.free),
                "disk_free": .integer(disk),
            ],
        ]
    }

    private func gauges(_ metrics: Metrics) {
        let pool = pool
        metrics.gauge("zero_storage_pool_bytes", "Size of the pool.") { (try? pool.space().size) ?? 0 }
        metrics.gauge("zero_storage_pool_free_bytes", "Free bytes of the pool.") { (try? pool.space().free) ?? 0 }
        metrics.gauge("zero_storage_committed_bytes", "Bytes promised to volumes.") {
            (try? pool.space().committed) ?? 0
        }
        metrics.gauge("zero_storage_disk_free_bytes", "Free bytes of the disk under the pool.") {
            (try? pool.device.space().free) ?? 0
        }
        metrics.gauge("zero_storage_volumes", "Volumes on the pool.") { Int64((try? pool.list().count) ?? 0) }
    }

    /// Keeps quotas honest and the pool's file in order until it is cancelled. Throws when the pool takes no writes any
    /// more: who starts the daemon again has it mounted anew.
    public func watch() async throws {
        var last = 0
        var wasLow = false
        var room: Int64 = 0
        while !Task.isCancelled {
            if pool.device.isReadOnly {
                throw StorageError.damaged(
                    path: pool.device.mountPoint, reason: "takes no writes since its disk failed")
            }
            do {
                let strangers = try await blocking { try pool.guardQuotas() }
                if strangers != last { log.warn("subvolumes inside volumes", ["count": strangers]) }
                last = strangers
                let disk = try pool.device.space().free
                let isLow = disk < Limits.diskReserve
                if isLow != wasLow { log.warn(isLow ? "the disk is full" : "the disk has room", ["free": disk]) }
                wasLow = isLow
                room = try await blocking { [room] in try pool.tidy(since: room) }
                if let promised = try? await runBlocking({ try zdbs.outstanding() }) { pool.promiseElsewhere(promised) }
            } catch {
                log.warn("pool not checked", ["reason": "\(error)"])
            }
            try? await Task.sleep(for: Self.guardPeriod)
        }
    }

    /// Runs blocking work on a thread of its own; errors of storage become errors of the bus.
    private func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        do {
            return try await runBlocking(body)
        } catch let error as StorageError {
            // A store that is being started again is asked a few times a second.
            if !error.onBus.isTransport { log.warn("refused", ["reason": "\(error)"]) }
            throw error.onBus
        }
    }
}

extension ZDBKeeper.Usage {
    var value: JSONValue {
        [
            "id": .string(id), "size": .integer(size), "used": .integer(used), "entries": .integer(entries),
        ]
    }
}
