import CLinux
import Glibc
import Linux
import LogEngine

extension Server {
    /// `INFO [section…]`: all of them, or those that are named. Who is not the administrator learns what clients need to know.
    mutating func information(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let isAdmin = connection.pointee.role == Role.admin
        let wanted = (1..<max(1, count)).map { arguments[$0].text.lowercased() }
        let isAll = wanted.isEmpty || wanted.contains { ["all", "default", "everything"].contains($0) }
        var text = ""
        for (title, values) in isAdmin ? sections() : [("Server", publicServer()), ("Persistence", persistence())] {
            guard isAll || wanted.contains(title.lowercased()) else { continue }
            if !text.isEmpty { text += "\r\n" }
            text += "# \(title)\r\n"
            for (key, value) in values { text += "\(key):\(value)\r\n" }
        }
        connection.pointee.bulk(text)
    }

    /// The version of Redis whose protocol this is: libraries look at it before they use HELLO and the like.
    static let redisVersion = "7.0.0"

    private func publicServer() -> [(String, String)] {
        [
            ("server", "zero-db"), ("version", Program.version), ("redis_version", Self.redisVersion),
            ("redis_mode", "standalone"),
        ]
    }

    /// Libraries wait for `loading:0`; who is answered here is never still loading.
    private func persistence() -> [(String, String)] {
        [
            ("loading", "0"), ("aof_enabled", "1"),
            ("aof_last_write_status", engine.readOnlyReason == nil ? "ok" : "err"),
        ]
    }

    private func memory() -> [(String, String)] {
        let pages = (try? File.readText("/proc/self/statm", limit: 256))?.split(separator: " ") ?? []
        let resident = pages.count > 1 ? (UInt64(pages[1]) ?? 0) * UInt64(getpagesize()) : 0
        return [
            ("used_memory", "\(resident)"), ("used_memory_rss", "\(resident)"), ("maxmemory", "0"),
            ("client_memory_bytes", "\(operations.clientMemory)"),
        ]
    }

    /// The port that clients come to: what the kernel chose where 0 was asked for.
    var tcpPort: Int32 {
        listeners.first { $0.isOpen && $0.isTCP && !$0.isTLS && $0.door == nil }.map { zg_tcp_port($0.descriptor) } ?? 0
    }

    private mutating func sections() -> [(String, [(String, String)])] {
        let space = try? File.space(settings.data)
        let uptime = (monotonic &- started) / 1_000_000_000
        let server =
            publicServer() + [
                ("process_id", "\(Program.processId)"), ("uptime_in_seconds", "\(uptime)"),
                ("uptime_in_days", "\(uptime / 86_400)"), ("tcp_port", "\(tcpPort)"),
            ]
        let clients: [(String, String)] = [
            ("connected_clients", "\(connectionCount)"), ("maxclients", "\(settings.limits.clients)"),
        ]
        let device: [(String, String)] = [
            ("device", engine.device.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()),
            ("epoch", "\(engine.epoch)"), ("segments", "\(engine.segmentCount)"), ("log_bytes", "\(engine.logBytes)"),
            ("next_sequence", "\(engine.nextSequence)"), ("durable_sequence", "\(engine.durableSequence)"),
            ("sync", settings.sync == .always ? "always" : settings.sync == .interval ? "interval" : "none"),
            ("read_only", engine.readOnlyReason == nil ? "0" : "1"),
            ("read_only_reason", Self.reason(engine.readOnlyReason)),
            ("disk_free_bytes", "\(space?.free ?? 0)"), ("disk_total_bytes", "\(space?.total ?? 0)"),
            ("recovered_records", "\(engine.report.records)"), ("recovered_cut_bytes", "\(engine.report.cutBytes)"),
            ("recovered_after_clean_stop", engine.report.wasClosed ? "1" : "0"),
            ("damaged_places", "\(engine.report.damageCount)"),
        ]
        return [
            ("Server", server), ("Clients", clients), ("Memory", memory()), ("Persistence", persistence()),
            ("Device", device), ("Damage", damages()),
            ("Stats", statistics()), ("Replication", replicationSection()),
            ("Keyspace", keyspace()),
        ] + compactionSections()
    }

    private func damages() -> [(String, String)] {
        engine.report.damages.prefix(64).enumerated().map { index, damage in
            (
                "damage\(index)",
                "segment=\(damage.segment),offset=\(damage.offset),bytes=\(damage.length),"
                    + "sequences=\(damage.lost.lowerBound)-\(damage.lost.upperBound),keys_known=\(damage.isAttributed ? 1 : 0)"
            )
        }
    }

    private func statistics() -> [(String, String)] {
        [
            ("total_connections_received", "\(counters.accepted)"), ("rejected_connections", "\(counters.refused)"),
            ("total_commands_processed", "\(counters.commandsTotal)"), ("total_net_input_bytes", "\(counters.bytesIn)"),
            ("total_net_output_bytes", "\(counters.bytesOut)"), ("keyspace_hits", "\(counters.hits)"),
            ("keyspace_misses", "\(counters.misses)"), ("errors", "\(counters.errors)"),
            ("protocol_errors", "\(counters.protocolErrors)"), ("corrupt_reads", "\(counters.corruptReads)"),
            ("refused_no_space", "\(counters.refusedFull)"), ("turns", "\(counters.turns)"),
            ("turn_microseconds_max", "\(counters.turnNanosecondsMax / 1000)"),
            ("syncs", "\(counters.syncs)"), ("sync_microseconds_total", "\(counters.syncNanoseconds / 1000)"),
            ("sync_microseconds_max", "\(counters.syncNanosecondsMax / 1000)"),
        ]
    }

    private func keyspace() -> [(String, String)] {
        engine.namespaceNames.prefix(1000).compactMap { name in
            guard let id = engine.namespace(named: name), let info = engine.information(id) else { return nil }
            return (
                String(decoding: name, as: UTF8.self),
                "keys=\(info.entries),bytes=\(info.liveBytes),maxsize=\(info.settings.maxSize),fence=\(info.fence)"
            )
        }
    }

    /// `DB.STATUS`: what the bus asks every service.
    func statusText() -> String {
        let reason =
            engine.readOnlyReason == nil ? "" : ",\"read_only_reason\":\"\(Self.reason(engine.readOnlyReason))\""
        return
            "{\"clients\":\(connectionCount),\"damaged\":\(engine.report.damageCount),\"log_bytes\":\(engine.logBytes),"
            + "\"namespaces\":\(engine.namespaceNames.count),\"read_only\":\(engine.readOnlyReason != nil)\(reason),"
            + "\"segments\":\(engine.segmentCount),\"uptime_ms\":\((monotonic &- started) / 1_000_000)}"
    }
}
