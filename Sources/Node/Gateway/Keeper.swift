internal import CLinux
internal import Linux
internal import Synchronization

/// Keeps the proxy's routes as they were asked for: on disk, in the files that the proxy reads when it starts, and in the
/// running proxy. Every call blocks and is safe from any thread; changes run one after the other.
public final class Keeper: Sendable {
    /// What a comparison with the running proxy found.
    public enum Comparison: Sendable, Equatable {
        /// All was as it should be.
        case same
        /// So many differences were removed.
        case repaired(Int)
        /// The proxy runs another configuration and must be reloaded.
        case needsReload
    }

    private struct State {
        var table: RouteTable
        /// Slots of removed routes whose requests still run, since when.
        var draining: [Int: Int64] = [:]
        /// Whether the running proxy was right when it was last looked at.
        var isSynced = false
        /// Comparisons until the next one that looks at unused slots too.
        var quickLeft = 0
    }

    let settings: ProxySettings
    private let path: String
    private let admin: ProxyAdmin
    private let state: Mutex<State>

    /// Reads the routes of `<folder>/routes.json` and writes what the proxy needs to start.
    ///
    /// - Parameter proxy: the account of the proxy, who alone may use the folder of the admin socket beside this process.
    public init(folder: String, settings: ProxySettings, proxy: UInt32) throws(GatewayError) {
        (self.settings, path) = (settings, folder + "/routes.json")
        admin = ProxyAdmin(socket: settings.socket)
        let table = try Self.load(path)
        state = Mutex(State(table: table))
        try gateway {
            try File.makeDirectories(settings.folder, mode: 0o755)
            let shared = zg_share_folder(settings.socketFolder, proxy)
            if shared == -95 {
                // No access lists on this file system: the group of all the node's daemons has to do.
                try File.changeOwner(settings.socketFolder, uid: .max, gid: 64100)
                try File.changeMode(settings.socketFolder, 0o770)
            } else {
                try checked("share", settings.socketFolder, shared)
            }
            try settings.writePages()
            try settings.write(table)
        }
    }

    private static func load(_ path: String) throws(GatewayError) -> RouteTable {
        do {
            return try RouteTable(try File.read(path, limit: 64 << 20))
        } catch let error as SystemError {
            if error.errno == .notFound { return RouteTable() }
            throw .system(error)
        } catch {
            throw .damaged(path: path, reason: "cannot be used: \(error)")
        }
    }

    /// Makes or changes a route, durably, and in the running proxy.
    public func ensure(contract: String, name: String, backends: [(address: String, port: Int64)]) throws(GatewayError)
    {
        try Self.check(contract, name)
        try gateway {
            let servers = try backends.map { try Server(address: $0.address, port: $0.port) }
            try state.withLock { state in
                var next = state.table
                let draining = state.draining
                try next.ensure(contract: contract, name: name, backends: servers) { draining[$0] != nil }
                let grows = next.slots != state.table.slots
                if next != state.table {
                    try File.writeDurably(path, next.canonicalBytes, mode: 0o600)
                    state.table = next
                    try settings.write(next)
                } else if state.isSynced {
                    return
                }
                if grows {
                    state.isSynced = false
                    throw GatewayError.proxy("it is reloaded with room for \(next.slots) routes")
                }
                guard let route = next.routes[name] else { return }
                do {
                    try apply(route)
                } catch {
                    state.isSynced = false
                    throw error
                }
            }
        }
    }

    /// Removes a route; fine where there is none. Requests that run are served to their end.
    public func remove(contract: String, name: String) throws(GatewayError) {
        try Self.check(contract, name)
        try gateway {
            try state.withLock { state in
                var next = state.table
                guard let route = next.remove(contract: contract, name: name) else { return }
                try File.writeDurably(path, next.canonicalBytes, mode: 0o600)
                state.table = next
                state.draining[route.slot] = Clock.monotonicNanoseconds()
                try settings.write(next)
                do {
                    let host = settings.host(name)
                    _ = try admin.ask("del map \(settings.map) \(host)")
                    guard try slot(of: host) == nil else {
                        throw GatewayError.proxy("its map still holds \(host)")
                    }
                } catch {
                    state.isSynced = false
                    throw error
                }
            }
        }
    }

    private static func check(_ contract: String, _ name: String) throws(GatewayError) {
        guard RouteTable.isName(name) else {
            throw .invalid("a route's name is a label of 1 to 63 of a-z, 0-9 and, not at an end, “-”")
        }
        let digits = contract.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
        guard contract.utf8.count == 64, digits else {
            throw .invalid("a contract is 64 lower-case hexadecimal digits")
        }
    }

    /// Every route, by name.
    func routes() -> [Route] { state.withLock { $0.table.routes.values.sorted { $0.name < $1.name } } }

    /// How many slots there are, and whether the running proxy was right when it was last looked at.
    func condition() -> (slots: Int, isSynced: Bool) { state.withLock { ($0.table.slots, $0.isSynced) } }

    /// Numbers of the running proxy, by backend, and of its frontend `http`.
    func counters() throws(GatewayError) -> [String: ProxyAdmin.Counters] { try admin.counters() }

    // MARK: The running proxy

    /// Brings one route into the running proxy and looks whether it is there.
    private func apply(_ route: Route) throws {
        let backend = ProxySettings.backend(route.slot)
        let wanted = Self.wanted(route)
        let running = try admin.servers([backend])
        var commands = Self.commands(from: running, to: wanted)
        // Who asks for a route says that what is behind it answers: what a check found of a server that had this place
        // or this address before is not held against it.
        for (name, server) in wanted.sorted(by: { $0.key < $1.key }) where server != nil {
            if running[name]?.isDown == true { commands.append("set server \(name) health up") }
        }
        let host = settings.host(route.name)
        let mapped = try slot(of: host)
        if mapped != backend {
            commands.append("\(mapped == nil ? "add" : "set") map \(settings.map) \(host) \(backend)")
        }
        if commands.isEmpty { return }
        try admin.run(commands)
        guard Self.commands(from: try admin.servers([backend]), to: wanted).isEmpty, try slot(of: host) == backend
        else {
            throw GatewayError.proxy("it did not take the route \(route.name)")
        }
    }

    /// The slot that the running map has for a host.
    private func slot(of host: String) throws(GatewayError) -> String? {
        let answer = try admin.ask("get map \(settings.map) \(host)")
        if answer.contains("found=no") { return nil }
        guard let mark = answer.firstRange(of: ", value=\"") else {
            throw .proxy("its map is not readable: \(answer.prefix(100))")
        }
        return String(answer[mark.upperBound...].prefix { $0 != "\"" })
    }

    /// The servers of a route as the proxy should have them, by `backend/name`.
    private static func wanted(_ route: Route) -> [String: Server?] {
        var servers: [String: Server?] = [:]
        for (place, name) in ProxySettings.servers.enumerated() {
            servers["\(ProxySettings.backend(route.slot))/\(name)"] = .some(route.servers[place])
        }
        return servers
    }

    /// What has to be said so that servers become as wanted: first those that shall serve, then those that shall not.
    private static func commands(
        from running: [String: ProxyAdmin.RunningServer], to wanted: [String: Server?]
    ) -> [String] {
        var ready: [String] = []
        var maintenance: [String] = []
        for (name, server) in wanted.sorted(by: { $0.key < $1.key }) {
            let found = running[name]
            if let server {
                if found?.address != server.address || found?.port != Int(server.port) {
                    ready.append("set server \(name) addr \(server.address) port \(server.port)")
                }
                if found?.isInMaintenance != false {
                    ready.append("set server \(name) state ready")
                    // From here it takes as many failed checks to be down as for one that always answered: what was
                    // just started and stumbles is asked again instead of given up.
                    ready.append("set server \(name) health up")
                }
            } else if found?.isInMaintenance != true {
                maintenance.append("set server \(name) state maint")
            }
        }
        return ready + maintenance
    }

    /// Compares the running proxy with what it should do, and removes the differences. Unused slots, to which no name
    /// leads, are looked at now and then, and when anything else was wrong.
    public func compare() throws(GatewayError) -> Comparison {
        try gateway {
            try state.withLock { state in
                let left = state.quickLeft
                (state.isSynced, state.quickLeft) = (false, 0)
                let fingerprint = settings.fingerprint(slots: state.table.slots)
                guard try admin.runningDescription() == "zero-gateway-\(fingerprint)" else {
                    try settings.write(state.table)
                    return Comparison.needsReload
                }
                var commands = try mapDifferences(state)
                if left > 0, state.draining.isEmpty, commands.isEmpty, try usedServerDifferences(state).isEmpty {
                    (state.isSynced, state.quickLeft) = (true, left - 1)
                    return .same
                }
                commands += try serverDifferences(&state)
                try admin.run(commands)
                (state.isSynced, state.quickLeft) = (true, Limits.quickComparisons)
                if commands.isEmpty { return .same }
                try settings.write(state.table)
                return .repaired(commands.count)
            }
        }
    }

    private func mapDifferences(_ state: State) throws -> [String] {
        var commands: [String] = []
        var wanted: [String: String] = [:]
        for route in state.table.routes.values { wanted[settings.host(route.name)] = ProxySettings.backend(route.slot) }
        let running = try admin.map(settings.map)
        for (host, slot) in running.sorted(by: { $0.key < $1.key }) where wanted[host] != slot {
            if let right = wanted[host], !slot.isEmpty {
                commands.append("set map \(settings.map) \(host) \(right)")
            } else {
                commands.append("del map \(settings.map) \(host)")
            }
        }
        for (host, slot) in wanted.sorted(by: { $0.key < $1.key }) where running[host, default: ""].isEmpty {
            commands.append("add map \(settings.map) \(host) \(slot)")
        }
        return commands
    }

    /// Of slots with routes only: a table of a few servers instead of all.
    private func usedServerDifferences(_ state: State) throws -> [String] {
        let backends = state.table.routes.values.map { ProxySettings.backend($0.slot) }
        if backends.isEmpty { return [] }
        let wanted = state.table.routes.values.reduce(into: [:]) { $0.merge(Self.wanted($1)) { $1 } }
        let running = try admin.servers(backends.count <= Limits.askedAloneMax ? backends : [])
        return Self.commands(from: running, to: wanted)
    }

    private func serverDifferences(_ state: inout State) throws -> [String] {
        let counters = try admin.counters()
        let used = state.table.bySlot
        var wanted: [String: Server?] = [:]
        let now = Clock.monotonicNanoseconds()
        for slot in 0..<state.table.slots {
            if let route = used[slot] {
                state.draining[slot] = nil
                wanted.merge(Self.wanted(route)) { $1 }
                continue
            }
            // A former route's slot: its servers stay until its last request ended.
            let sessions = counters[ProxySettings.backend(slot)]?.sessions ?? 0
            let since = state.draining[slot] ?? now
            if sessions > 0, now - since < Limits.drainSeconds * 1_000_000_000 {
                state.draining[slot] = since
                continue
            }
            state.draining[slot] = nil
            for name in ProxySettings.servers { wanted["\(ProxySettings.backend(slot))/\(name)"] = .some(nil) }
        }
        return Self.commands(from: try admin.servers(), to: wanted)
    }
}

/// Runs a body whose system calls may fail, and gives its errors one type.
func gateway<Value>(_ body: () throws -> Value) throws(GatewayError) -> Value {
    do {
        return try body()
    } catch let error as GatewayError {
        throw error
    } catch let error as SystemError {
        throw .system(error)
    } catch {
        throw .invalid("\(error)")
    }
}
