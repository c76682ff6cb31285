import CLinux
import Linux
import LogEngine

extension Server {
    /// `INFO`
    mutating func information(_ connection: UnsafeMutablePointer<Connection>) {
        var text = ""
        if connection.pointee.role == Role.admin {
            for (title, values) in sections() {
                text += "# \(title)\r\n"
                for (key, value) in values { text += "\(key):\(value)\r\n" }
                text += "\r\n"
            }
        } else {
            text = "# Server\r\nserver:zero-db\r\nversion:\(Program.version)\r\n"
        }
        connection.pointee.bulk(text)
    }

    private mutating func sections() -> [(String, [(String, String)])] {
        let space = try? File.space(settings.data)
        let server: [(String, String)] = [
            ("server", "zero-db"), ("version", Program.version), ("process_id", "\(Program.processId)"),
            ("uptime_in_seconds", "\((monotonic &- started) / 1_000_000_000)"),
            ("tcp_port", "\(settings.port ?? 0)"),
        ]
        let clients: [(String, String)] = [
            ("connected_clients", "\(connectionCount)"), ("maxclients", "\(Limits.connectionsMax)"),
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
            ("Server", server), ("Clients", clients), ("Device", device), ("Damage", damages()),
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

    /// `DB.METRICS`: Prometheus text.
    func metricsText() -> String {
        var text = ""
        func metric(_ name: String, _ type: String, _ value: UInt64) {
            text += "# TYPE zero_db_\(name) \(type)\nzero_db_\(name) \(value)\n"
        }
        metric("connections", "gauge", UInt64(connectionCount))
        metric("log_bytes", "gauge", engine.logBytes)
        metric("segments", "gauge", UInt64(engine.segmentCount))
        metric("damaged_places", "gauge", engine.report.damageCount)
        metric("read_only", "gauge", engine.readOnlyReason == nil ? 0 : 1)
        metric("bytes_in_total", "counter", counters.bytesIn)
        metric("bytes_out_total", "counter", counters.bytesOut)
        metric("errors_total", "counter", counters.errors)
        metric("corrupt_reads_total", "counter", counters.corruptReads)
        metric("refused_no_space_total", "counter", counters.refusedFull)
        metric("hits_total", "counter", counters.hits)
        metric("misses_total", "counter", counters.misses)
        metric("syncs_total", "counter", counters.syncs)
        metric("sync_microseconds_total", "counter", counters.syncNanoseconds / 1000)
        text += "# TYPE zero_db_commands_total counter\n"
        for command in Command.allCases where counters.commands[Int(command.rawValue)] > 0 {
            text += "zero_db_commands_total{command=\"\(command.name)\"} \(counters.commands[Int(command.rawValue)])\n"
        }
        text += "# TYPE zero_db_namespace_bytes gauge\n"
        for (name, values) in namespaceSizes() { text += "zero_db_namespace_bytes{namespace=\"\(name)\"} \(values)\n" }
        return text
    }

    private func namespaceSizes() -> [(String, UInt64)] {
        engine.namespaceNames.compactMap { name in
            engine.namespace(named: name).flatMap { engine.information($0) }
                .map { (String(decoding: name, as: UTF8.self), $0.liveBytes) }
        }
    }
}
