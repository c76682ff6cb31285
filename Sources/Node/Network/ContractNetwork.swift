public import CanonicalJSON

/// The network of one contract on this node, as `NETWORK.ENSURE` asks for it.
public struct ContractNetwork: Hashable, Sendable {
    /// A container in it.
    public struct Member: Hashable, Sendable {
        /// The workload's name; a DNS name in the network.
        public let name: String
        /// Which instance of the workload: `<name>-<last octet>`; two stand side by side while one takes over from another.
        public let instance: String
        /// Whether the DNS name leads to it.
        public let isNamed: Bool
        /// IPv4 address inside `subnet`.
        public let address: String
        /// IPv6 address inside `prefix6`.
        public let address6: String
    }

    /// A way in: what reaches `port` of the link address goes to a member.
    public struct Door: Hashable, Sendable {
        /// TCP port of the link address.
        public let port: Int64
        /// The member's IPv4 address.
        public let address: String
        /// The member's TCP port.
        public let targetPort: Int64
    }

    /// A namespace of the node's Zero-DB: an address of the bridge, where its door stands.
    public struct Store: Hashable, Sendable {
        /// The workload's name; a DNS name in the network.
        public let name: String
        /// IPv4 address inside `subnet`.
        public let address: String
        /// IPv6 address inside `prefix6`.
        public let address6: String
        /// TCP port.
        public let port: Int64
    }

    /// The contract's id, 64 hexadecimal digits.
    public let contract: String
    /// The contract's whole IPv4 range.
    public let range: String
    /// This node's part of it; its first address is the bridge.
    public let subnet: String
    /// This node's /64 of the contract's ULA prefix; its `::1` is the bridge.
    public let prefix6: String
    /// Containers on this node.
    public let members: [Member]
    /// Ways in.
    public let doors: [Door]
    /// Namespaces of the node's Zero-DB.
    public let stores: [Store]

    /// The start of the contract's id in the names of interfaces, which have at most 15 characters.
    var tag: String { String(contract.prefix(8)) }
    /// Name of the contract's namespace.
    public var namespace: String { "zc-\(tag)" }
    /// Name of a member's namespace.
    public func namespace(of member: Member) -> String { "zw-\(tag)-\(member.instance)" }
    /// The node's end of the link.
    var hostInterface: String { "zl\(tag)" }
    /// The bridge's IPv4 address.
    var bridgeAddress: String { NetworkRange(subnet)?.address(1) ?? "" }
    /// Length of the subnet's prefix.
    var prefixLength: Int { NetworkRange(subnet)?.length ?? 24 }
    /// The bridge's IPv6 address.
    var bridgeAddress6: String { prefix6.split(separator: "/").first.map { "\($0)1" } ?? "" }

    /// Reads a request and checks everything that will stand in a command or a rule.
    public init(request value: JSONValue) throws(JSONError) {
        var reader = try ObjectReader(value, "a network")
        contract = try reader.string("contract")
        (range, subnet) = (try reader.string("range"), try reader.string("subnet"))
        prefix6 = try reader.string("prefix6")
        let members = try reader.array("members")
        let doors = try reader.array("ingress")
        let stores = try reader.optionalArray("stores") ?? []
        try reader.finish()
        guard contract.utf8.count == 64, contract.utf8.allSatisfy({ Self.isHex($0) }) else {
            throw reader.refuse("contract", "64 hexadecimal digits", found: value)
        }
        guard NetworkRange(range) != nil, let subnetRange = NetworkRange(subnet), subnetRange.length <= 29 else {
            throw reader.refuse("subnet", "an IPv4 range", found: .string(subnet))
        }
        guard prefix6.hasSuffix("::/64"), prefix6.dropLast(3).utf8.allSatisfy({ Self.isHex($0) || $0 == 0x3a }) else {
            throw reader.refuse("prefix6", "an IPv6 prefix a:b:c:d::/64", found: .string(prefix6))
        }
        self.members = try members.map { value throws(JSONError) in try Self.member(value) }
        self.doors = try doors.map { value throws(JSONError) in try Self.door(value) }
        self.stores = try stores.map { value throws(JSONError) in try Self.store(value) }
        let addresses = self.members.map(\.address) + self.stores.map(\.address)
        guard Set(self.members.map(\.instance)).count == self.members.count,
            Set(addresses).count == addresses.count, addresses.count <= NetworkLimits.members,
            self.doors.count <= NetworkLimits.doors
        else {
            throw reader.refuse(
                "members", "different instances and addresses, at most \(NetworkLimits.members)", found: .array(members)
            )
        }
    }

    private static func isHex(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) }

    private static func member(_ value: JSONValue) throws(JSONError) -> Member {
        var reader = try ObjectReader(value, "a member")
        let name = try reader.string("name")
        let member = Member(
            name: name, instance: try reader.optionalString("instance") ?? name,
            isNamed: try reader.optionalBool("named") ?? true,
            address: try reader.string("address"), address6: try reader.string("address6"))
        try reader.finish()
        guard isName(member.name, max: 24) else {
            throw reader.refuse("name", "a workload's name", found: .string(member.name))
        }
        guard isName(member.instance, max: 28) else {
            throw reader.refuse("instance", "an instance's name", found: .string(member.instance))
        }
        try check(member.address, member.address6, &reader)
        return member
    }

    private static func check(_ v4: String, _ v6: String, _ reader: inout ObjectReader) throws(JSONError) {
        guard NetworkRange(v4 + "/32") != nil else {
            throw reader.refuse("address", "an IPv4 address", found: .string(v4))
        }
        guard (2...39).contains(v6.utf8.count), v6.utf8.allSatisfy({ isHex($0) || $0 == 0x3a }) else {
            throw reader.refuse("address6", "an IPv6 address", found: .string(v6))
        }
    }

    private static func store(_ value: JSONValue) throws(JSONError) -> Store {
        var reader = try ObjectReader(value, "a store")
        let store = Store(
            name: try reader.string("name"), address: try reader.string("address"),
            address6: try reader.string("address6"), port: try reader.integer("port"))
        try reader.finish()
        guard isName(store.name, max: 24) else {
            throw reader.refuse("name", "a workload's name", found: .string(store.name))
        }
        try check(store.address, store.address6, &reader)
        guard (1...65_535).contains(store.port) else {
            throw reader.refuse("port", "a TCP port", found: .integer(store.port))
        }
        return store
    }

    private static func isName(_ text: String, max: Int) -> Bool {
        let letters = text.utf8
        return (1...max).contains(letters.count) && letters.first != 0x2d
            && letters.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d }
    }

    private static func door(_ value: JSONValue) throws(JSONError) -> Door {
        var reader = try ObjectReader(value, "a door")
        let door = Door(
            port: try reader.integer("port"), address: try reader.string("address"),
            targetPort: try reader.integer("to_port"))
        try reader.finish()
        guard (1...65_535).contains(door.port), (1...65_535).contains(door.targetPort),
            door.port != NetworkLimits.coreXPort
        else { throw reader.refuse("port", "a free TCP port", found: value) }
        guard NetworkRange(door.address + "/32") != nil else {
            throw reader.refuse("address", "an IPv4 address", found: .string(door.address))
        }
        return door
    }

    /// The request again, for the durable record.
    var request: JSONValue {
        var value: JSONValue = [
            "contract": .string(contract), "range": .string(range), "subnet": .string(subnet),
            "prefix6": .string(prefix6),
            "members": .array(members.map(\.request)),
            "ingress": .array(
                doors.map {
                    ["port": .integer($0.port), "address": .string($0.address), "to_port": .integer($0.targetPort)]
                }),
        ]
        if !stores.isEmpty { value["stores"] = .array(stores.map(\.request)) }
        return value
    }
}

extension ContractNetwork.Store {
    /// As `NETWORK.ENSURE` says it.
    var request: JSONValue {
        [
            "name": .string(name), "address": .string(address), "address6": .string(address6), "port": .integer(port),
        ]
    }
}

extension ContractNetwork.Member {
    /// As `NETWORK.ENSURE` says it.
    var request: JSONValue {
        var value: JSONValue = [
            "name": .string(name), "address": .string(address), "address6": .string(address6),
        ]
        if instance != name { value["instance"] = .string(instance) }
        if !isNamed { value["named"] = false }
        return value
    }
}

/// Bounds of what one node's networks may hold.
enum NetworkLimits {
    /// Containers of one contract on a node: fits a /24 with bridge and broadcast.
    static let members = 250
    /// Ways into one contract.
    static let doors = 256
    /// Core-X listens there on every link address.
    static let coreXPort: Int64 = 7700
    /// Between two looks at a network that nobody asked about, in milliseconds.
    static let recheck: Int64 = 10_000
    /// Between two looks whether the store still has the doors that it was given, in milliseconds: so long at most are they
    /// missing after it was started again.
    static let doorCheck: Int64 = 500
}

/// An IPv4 range in CIDR form.
struct NetworkRange: Hashable, Sendable {
    let base: UInt32
    let length: Int

    /// Parses `a.b.c.d/n`; bits outside the prefix must be zero.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let length = Int(parts[1]), (1...32).contains(length) else { return nil }
        let octets = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        guard octets.count == 4 else { return nil }
        var base: UInt32 = 0
        for octet in octets {
            guard let value = UInt8(octet), String(value) == octet else { return nil }
            base = base << 8 | UInt32(value)
        }
        guard length == 32 || base & (UInt32.max >> UInt32(length)) == 0 else { return nil }
        (self.base, self.length) = (base, length)
    }

    /// Addresses in the range.
    var count: UInt32 { length == 32 ? 1 : 1 << UInt32(32 - length) }

    /// The address with this number, as text.
    func address(_ number: UInt32) -> String {
        let value = base &+ number
        return [24, 16, 8, 0].map { String(value >> UInt32($0) & 255) }.joined(separator: ".")
    }
}
