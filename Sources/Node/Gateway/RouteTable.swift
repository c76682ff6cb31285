internal import CanonicalJSON
internal import Glibc

/// Where a backend listens: a literal address and a port.
struct Server: Hashable, Sendable {
    let address: String
    let port: UInt16

    init(address: String, port: Int64) throws(GatewayError) {
        guard let literal = Self.literal(address) else {
            throw .invalid("a backend's address is a literal IPv4 or IPv6 address, not “\(address.prefix(60))”")
        }
        guard let number = UInt16(exactly: port), number > 0 else {
            throw .invalid("a backend's port is 1 to 65535, not \(port)")
        }
        (self.address, self.port) = (literal, number)
    }

    /// The one usual spelling of an address, which is also the proxy's.
    private static func literal(_ text: String) -> String? {
        guard text.utf8.count <= 45 else { return nil }
        var bytes = in6_addr()
        var spelled = [CChar](repeating: 0, count: 64)
        let family = text.contains(":") ? AF_INET6 : AF_INET
        guard inet_pton(family, text, &bytes) == 1,
            inet_ntop(family, &bytes, &spelled, socklen_t(spelled.count)) != nil
        else { return nil }
        return String(decoding: spelled.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var value: JSONValue { ["address": .string(address), "port": .integer(Int64(port))] }
}

/// One name and where its requests go. `servers` keeps positions: the proxy knows a server by its place.
struct Route: Equatable, Sendable {
    let contract: String
    let name: String
    let slot: Int
    var servers: [Server?]

    var backends: [Server] { servers.compactMap { $0 } }

    /// Puts the backends into places: those that stay keep theirs, new ones take free places first, so that the old
    /// ones go on serving what they began.
    mutating func replace(_ backends: [Server]) {
        let kept = servers.map { $0.flatMap { backends.contains($0) ? $0 : nil } }
        var missing = backends.filter { !kept.contains($0) }
        var next = kept
        for wantsEmpty in [true, false] {
            for place in next.indices where next[place] == nil && !missing.isEmpty {
                if wantsEmpty, servers[place] != nil { continue }
                next[place] = missing.removeFirst()
            }
        }
        servers = next
    }
}

/// Which name goes where: the durable state of a gateway. A value; what differs between two is what the proxy is told.
struct RouteTable: Equatable, Sendable {
    private(set) var routes: [String: Route] = [:]
    /// How many slots the proxy has.
    private(set) var slots = Limits.slotsFirst

    init() {}

    /// The route of each used slot.
    var bySlot: [Int: Route] {
        Dictionary(routes.values.map { ($0.slot, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Makes or changes a route. `isBusy` says of an unused slot that requests of its former route still run.
    mutating func ensure(
        contract: String, name: String, backends: [Server], isBusy: (Int) -> Bool
    ) throws(GatewayError) {
        guard backends.count <= Limits.serversMax else {
            throw .invalid("route \(name) has \(backends.count) backends, the limit is \(Limits.serversMax)")
        }
        guard Set(backends).count == backends.count else { throw .invalid("route \(name) names a backend twice") }
        if var route = routes[name] {
            guard route.contract == contract else { throw .taken(name: name, contract: route.contract) }
            route.replace(backends)
            routes[name] = route
            return
        }
        let slot = try freeSlot(isBusy)
        var route = Route(
            contract: contract, name: name, slot: slot, servers: Array(repeating: nil, count: Limits.serversMax))
        route.replace(backends)
        routes[name] = route
    }

    private mutating func freeSlot(_ isBusy: (Int) -> Bool) throws(GatewayError) -> Int {
        let used = Set(routes.values.map(\.slot))
        if let free = (0..<slots).first(where: { !used.contains($0) && !isBusy($0) }) { return free }
        guard slots < Limits.slotsMax else { throw .full(slots: slots) }
        slots *= 2
        return slots / 2
    }

    /// Removes a route; nil where the contract has none of this name.
    mutating func remove(contract: String, name: String) -> Route? {
        guard let route = routes[name], route.contract == contract else { return nil }
        routes[name] = nil
        return route
    }

    static func isName(_ text: String) -> Bool {
        let letters = Array(text.utf8)
        func plain(_ letter: UInt8) -> Bool { (97...122).contains(letter) || (48...57).contains(letter) }
        guard (1...Limits.nameMax).contains(letters.count), letters.first != 45, letters.last != 45 else {
            return false
        }
        return letters.allSatisfy { plain($0) || $0 == 45 }
    }

    /// A host name: labels with dots between.
    static func isDomain(_ text: String) -> Bool {
        text.utf8.count <= 190 && !text.isEmpty
            && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { isName(String($0)) }
    }

    // MARK: The file. See Documentation/formats/gateway.md.

    var canonicalBytes: [UInt8] {
        let list = routes.values.sorted { $0.name < $1.name }.map { route -> JSONValue in
            let servers = route.servers.enumerated().compactMap { place, server -> JSONValue? in
                guard var value = server?.value else { return nil }
                value["at"] = .integer(Int64(place))
                return value
            }
            return [
                "contract": .string(route.contract), "name": .string(route.name),
                "slot": .integer(Int64(route.slot)), "servers": .array(servers),
            ]
        }
        let document: JSONValue = ["v": 1, "slots": .integer(Int64(slots)), "routes": .array(list)]
        return document.canonicalBytes
    }

    init(_ content: [UInt8]) throws {
        var reader = try ObjectReader(try JSONValue(parsing: content), "the file of routes")
        let version = try reader.integer("v")
        guard version == 1 else { throw reader.refuse("v", "1", found: .integer(version)) }
        let slots = try reader.integer("slots")
        guard slots >= Limits.slotsFirst, slots <= Limits.slotsMax, slots & (slots - 1) == 0 else {
            throw reader.refuse("slots", "a power of two", found: .integer(slots))
        }
        self.slots = Int(slots)
        for value in try reader.array("routes") {
            let route = try Self.route(value, slots: self.slots)
            guard routes[route.name] == nil, bySlot[route.slot] == nil else {
                throw reader.refuse("routes", "each name and slot once", found: value)
            }
            routes[route.name] = route
        }
        try reader.finish()
    }

    private static func route(_ value: JSONValue, slots: Int) throws -> Route {
        var reader = try ObjectReader(value, "a route")
        let name = try reader.string("name")
        let slot = try reader.integer("slot")
        guard isName(name) else { throw reader.refuse("name", "a label", found: .string(name)) }
        guard (0..<Int64(slots)).contains(slot) else {
            throw reader.refuse("slot", "below \(slots)", found: .integer(slot))
        }
        var servers: [Server?] = Array(repeating: nil, count: Limits.serversMax)
        for element in try reader.array("servers") {
            var server = try ObjectReader(element, "a server")
            let place = try server.integer("at")
            guard let place = Int(exactly: place), servers.indices.contains(place) else {
                throw server.refuse("at", "below \(Limits.serversMax)", found: .integer(place))
            }
            servers[place] = try Server(address: server.string("address"), port: server.integer("port"))
            try server.finish()
        }
        let route = Route(contract: try reader.string("contract"), name: name, slot: Int(slot), servers: servers)
        try reader.finish()
        return route
    }
}
