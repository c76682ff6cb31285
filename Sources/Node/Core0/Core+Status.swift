import Bus
import CanonicalJSON
import Glibc
import Linux

/// What the kernel says of a process' use of the machine.
struct ProcessUse {
    /// Bytes of memory that are resident.
    var rss: Int64 = 0
    /// Milliseconds of CPU time, of it and of those of its children that it waited for.
    var cpu: Int64 = 0

    init(pid: Int32) {
        guard let text = try? File.readText("/proc/\(pid)/stat", limit: 4096), let end = text.lastIndex(of: ")") else {
            return
        }
        // Field 3 is the first after the name; see proc(5).
        let fields = text[text.index(after: end)...].split(separator: " ")
        func field(_ number: Int) -> Int64 { fields.count > number - 3 ? Int64(fields[number - 3]) ?? 0 : 0 }
        rss = field(24) * Int64(sysconf(Int32(_SC_PAGESIZE)))
        let ticks = field(14) + field(15) + field(16) + field(17)
        cpu = ticks * 1000 / max(1, Int64(sysconf(Int32(_SC_CLK_TCK))))
    }
}

// MARK: CORE.STATUS and CORE.METRICS

extension Core {
    private static func word(_ phase: Supervisor.Phase) -> String {
        switch phase {
        case .stopped: "stopped"
        case .waiting: "waiting"
        case .starting: "starting"
        case .running: "running"
        case .backoff: "backoff"
        case .stopping: "stopping"
        case .ended(let status): status.isSuccess ? "exited" : "failed"
        }
    }

    /// The answer of `CORE.START`: `{state, pid?, reason?}`.
    func startDocument(_ key: ProcessKey) -> JSONValue {
        var members: [String: JSONValue] = ["state": "stopped"]
        guard let entry = supervisor.entries[key] else { return .object(members) }
        members["state"] = .string(Core.word(entry.phase))
        if entry.pid > 0 { members["pid"] = .integer(Int64(entry.pid)) }
        if let reason = entry.reason { members["reason"] = .string(reason) }
        return .object(members)
    }

    private func document(_ key: ProcessKey, _ entry: Supervisor.Entry) -> JSONValue {
        let now = Core.clock()
        let unit = supervisor.definition(key)
        let age = Int64((now - min(now, entry.changed)) / Time.millisecond)
        var members: [String: JSONValue] = [
            "name": .string(key.unit), "kind": .string(unit.kind.rawValue), "account": .string(unit.account.name),
            "restarts": .integer(Int64(entry.restarts)), "since": .integer(Clock.wallMilliseconds() - age),
        ]
        members.merge(startDocument(key).object ?? [:]) { first, _ in first }
        if let instance = key.instance { members["instance"] = .string(instance) }
        if entry.pid > 0 {
            let use = ProcessUse(pid: entry.pid)
            members["uptime_ms"] = .integer(Int64((now - min(now, entry.started)) / Time.millisecond))
            members["rss"] = .integer(use.rss)
            members["cpu_ms"] = .integer(use.cpu)
        }
        if case .backoff(let until) = entry.phase {
            members["next_ms"] = .integer(Int64((until - min(until, now)) / Time.millisecond))
        }
        let kept = stored.of(key).map { JSONValue.string($0.name) }
        if !kept.isEmpty { members["descriptors"] = .array(kept) }
        if let error = supervisor.units.invalid[key.unit] { members["problem"] = .string("\(error)") }
        return .object(members)
    }

    /// Root sees everything; an account sees the units that it may start.
    func status(_ request: BusRequest) throws(BusError) -> JSONValue {
        try request.read { _ throws(JSONError) in }
        let account = request.peer.account
        let own = supervisor.units.units.values.filter { unit in account.map(unit.startedBy.contains) ?? false }
        let isRoot = request.peer.uid == 0
        guard isRoot || !own.isEmpty else { throw .denied("CORE.STATUS is for root and accounts that start units") }
        let names = Set(own.map(\.name))
        var units: [JSONValue] = []
        for (key, entry) in supervisor.entries.sorted(by: { $0.key < $1.key }) where isRoot || names.contains(key.unit)
        {
            units.append(document(key, entry))
        }
        guard isRoot else { return .object(["units": .array(units)]) }
        for (name, error) in supervisor.units.invalid.sorted(by: { $0.key < $1.key })
        where supervisor.entries[ProcessKey(name)] == nil {
            units.append(.object(["name": .string(name), "state": "invalid", "reason": .string("\(error)")]))
        }
        let use = ProcessUse(pid: getpid())
        let core: JSONValue = .object([
            "pid": .integer(Int64(getpid())), "rss": .integer(use.rss), "cpu_ms": .integer(use.cpu),
            "uptime_ms": .integer(Int64((Core.clock() - startedAt) / Time.millisecond)),
            "watched": .bool(watch.socket >= 0), "descriptors": .integer(Int64(stored.count)),
        ])
        return .object(["units": .array(units), "core": core])
    }

    /// Prometheus text.
    func metrics() -> String {
        var up = "# TYPE zero_process_up gauge\n"
        var restarts = "# TYPE zero_process_restarts_total counter\n"
        var memory = "# TYPE zero_process_resident_bytes gauge\n"
        var cpu = "# TYPE zero_process_cpu_seconds_total counter\n"
        for (key, entry) in supervisor.entries.sorted(by: { $0.key < $1.key }) {
            let labels = "{unit=\"\(key.unit)\"" + (key.instance.map { ",instance=\"\($0)\"" } ?? "") + "}"
            up += "zero_process_up\(labels) \(entry.phase == .running ? 1 : 0)\n"
            restarts += "zero_process_restarts_total\(labels) \(entry.restarts)\n"
            guard entry.pid > 0 else { continue }
            let use = ProcessUse(pid: entry.pid)
            memory += "zero_process_resident_bytes\(labels) \(use.rss)\n"
            cpu += "zero_process_cpu_seconds_total\(labels) \(Double(use.cpu) / 1000)\n"
        }
        let own = ProcessUse(pid: getpid())
        memory += "zero_process_resident_bytes{unit=\"core\"} \(own.rss)\n"
        cpu += "zero_process_cpu_seconds_total{unit=\"core\"} \(Double(own.cpu) / 1000)\n"
        return up + restarts + memory + cpu
    }
}
