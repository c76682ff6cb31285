import Bus
import CanonicalJSON

/// What `CORE.STATUS` says of one unit.
struct UnitStatus: Sendable {
    let name: String
    let instance: String?
    let kind: String
    let account: String
    let state: String
    let pid: Int64?
    let restarts: Int64
    let uptime: Int64?
    let memory: Int64?
    let cpu: Int64?
    let reason: String?

    init(_ value: JSONValue) {
        name = value["name"]?.string ?? "?"
        instance = value["instance"]?.string
        kind = value["kind"]?.string ?? ""
        account = value["account"]?.string ?? ""
        state = value["state"]?.string ?? "?"
        pid = value["pid"]?.integer
        restarts = value["restarts"]?.integer ?? 0
        uptime = value["uptime_ms"]?.integer
        memory = value["rss"]?.integer
        cpu = value["cpu_ms"]?.integer
        reason = value["reason"]?.string ?? value["problem"]?.string
    }

    /// `mount@<container>`; a contract's id is shortened to what its containers are called by.
    var title: String {
        guard let instance else { return name }
        return name + (instance.utf8.count == 64 ? String(instance.prefix(16)) : instance)
    }
}

/// Talks to the `zero-core` of a grid on this machine.
struct CoreClient: Sendable {
    let bus: BusClient

    init(_ folder: GridFolder) { bus = BusClient(folder.socket("core"), patience: .milliseconds(1)) }

    /// Every unit, or nil where no core answers.
    func units() async throws -> [UnitStatus]? {
        do {
            let reply = try await bus.call("CORE.STATUS", deadline: .seconds(5))
            return (reply["units"]?.array ?? []).map(UnitStatus.init)
        } catch {
            if error.code == "UNREACHABLE" { return nil }
            throw error
        }
    }

    /// Stops every unit in reverse order; returns when core said that it did, or was gone.
    func shutDown(deadline: Duration) async throws {
        do { _ = try await bus.call("CORE.SHUTDOWN", deadline: deadline) } catch {
            if error.code == "UNREACHABLE" || error.code == "CLOSED" { return }
            throw error
        }
    }
}
