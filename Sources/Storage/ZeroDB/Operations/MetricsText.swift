import LogEngine

/// Prometheus' text form, a metric after the other.
struct MetricsText {
    enum Kind: String {
        case gauge, counter
    }

    private(set) var text = ""

    /// A metric of one value.
    mutating func add(_ name: String, _ kind: Kind, _ value: UInt64) {
        text += "# TYPE zero_db_\(name) \(kind.rawValue)\nzero_db_\(name) \(value)\n"
    }

    /// A metric with a value for each of many; what is in `label` needs no escape: names of commands, namespaces, replicas.
    mutating func add(_ name: String, _ kind: Kind, by label: String, _ values: [(String, UInt64)]) {
        text += "# TYPE zero_db_\(name) \(kind.rawValue)\n"
        for (subject, value) in values { text += "zero_db_\(name){\(label)=\"\(subject)\"} \(value)\n" }
    }
}

extension Server {
    /// `DB.METRICS`, and `/metrics` over HTTP.
    func metricsText() -> String {
        var page = MetricsText()
        addStore(&page)
        addTraffic(&page)
        addOperations(&page)
        return page.text
    }

    private func addStore(_ page: inout MetricsText) {
        page.add("uptime_seconds", .gauge, (monotonic &- started) / 1_000_000_000)
        page.add("log_bytes", .gauge, engine.logBytes)
        page.add("segments", .gauge, UInt64(engine.segmentCount))
        page.add("next_sequence", .gauge, engine.nextSequence)
        page.add("durable_sequence", .gauge, engine.durableSequence)
        page.add("damaged_places", .gauge, engine.report.damageCount)
        page.add("read_only", .gauge, engine.readOnlyReason == nil ? 0 : 1)
        page.add("syncs_total", .counter, counters.syncs)
        page.add("sync_microseconds_total", .counter, counters.syncNanoseconds / 1000)
        page.add("refused_no_space_total", .counter, counters.refusedFull)
        page.add("corrupt_reads_total", .counter, counters.corruptReads)
        let sizes = engine.namespaceNames.compactMap { name in
            engine.namespace(named: name).flatMap { engine.information($0) }
                .map { (String(decoding: name, as: UTF8.self), $0.liveBytes) }
        }
        page.add("namespace_bytes", .gauge, by: "namespace", sizes)
        page.add("replicas", .gauge, UInt64(replicas.members.count))
    }

    private func addTraffic(_ page: inout MetricsText) {
        page.add("connections", .gauge, UInt64(connectionCount))
        page.add("bytes_in_total", .counter, counters.bytesIn)
        page.add("bytes_out_total", .counter, counters.bytesOut)
        page.add("errors_total", .counter, counters.errors)
        page.add("protocol_errors_total", .counter, counters.protocolErrors)
        page.add("hits_total", .counter, counters.hits)
        page.add("misses_total", .counter, counters.misses)
        page.add("throttled_total", .counter, counters.throttled)
        page.add("syncs_deferred_total", .counter, counters.syncsDeferred)
        let used = Command.allCases.map { ("\($0.name)", counters.commands[Int($0.rawValue)]) }.filter { $0.1 > 0 }
        page.add("commands_total", .counter, by: "command", used)
    }

    private func addOperations(_ page: inout MetricsText) {
        page.add("client_memory_bytes", .gauge, UInt64(operations.clientMemory))
        page.add("logins_total", .counter, counters.logins)
        page.add("logins_refused_total", .counter, counters.loginsRefused)
        page.add("logins_limited_total", .counter, counters.attemptsLimited)
        page.add("tls_failures_total", .counter, counters.tlsFailures)
        page.add("clients_evicted_idle_total", .counter, counters.evictedIdle)
        page.add("clients_evicted_slow_total", .counter, counters.evictedSlow)
        page.add("clients_evicted_memory_total", .counter, counters.evictedMemory)
        page.add("clients_refused_total", .counter, counters.refused)
        page.add("yields_total", .counter, counters.yields)
        page.add("reads_ahead_total", .counter, counters.readsAhead)
        page.add("settings_reloads_total", .counter, counters.reloads)
        page.add("hooks_started_total", .counter, operations.hooks.started)
        page.add("hooks_dropped_total", .counter, operations.hooks.dropped)
        page.add("hooks_killed_total", .counter, operations.hooks.killed)
        page.add("hooks_failed_total", .counter, operations.hooks.failed)
    }
}
