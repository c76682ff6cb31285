import Bytes
public import CanonicalJSON
public import Crypto

/// Body of a farm record.
public struct FarmBody: Hashable, Sendable {
    /// How people call it.
    public let name: String
    /// ISO 3166 code.
    public let country: String?

    /// A farm.
    public init(name: String, country: String? = nil) { (self.name, self.country) = (name, country) }

    /// The body as a document.
    public var value: JSONValue { .members(["name": .string(name), "country": country.map { .string($0) }]) }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a farm record")
        name = try fields.text("name", limit: RecordLimits.textBytes)
        country = try fields.optionalCountry("country")
        try fields.finish()
    }
}

/// What a node has, or what something takes of it.
public struct Capacity: Hashable, Sendable {
    /// Thousandths of a core.
    public var cpu: Int64
    /// Bytes.
    public var memory: Int64
    /// Bytes.
    public var storage: Int64

    /// An amount of each.
    public init(cpu: Int64 = 0, memory: Int64 = 0, storage: Int64 = 0) {
        (self.cpu, self.memory, self.storage) = (cpu, memory, storage)
    }

    /// The capacity as a document.
    public var value: JSONValue {
        ["cpu": .integer(cpu), "memory": .integer(memory), "storage": .integer(storage)]
    }

    /// Decodes a capacity.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "capacity")
        cpu = try fields.integer("cpu", in: Bounds.amount)
        memory = try fields.integer("memory", in: Bounds.amount)
        storage = try fields.integer("storage", in: Bounds.amount)
        try fields.finish()
    }
}

/// Body of a node record: what the author, a node, is.
public struct NodeBody: Hashable, Sendable {
    /// What it offers to contracts.
    public let capacity: Capacity
    /// ISO 3166 code of where it stands.
    public let country: String?
    /// The identity whose farm it belongs to.
    public let farm: PublicKey?
    /// The X25519 key that secrets for it are sealed to.
    public let sealing: [UInt8]
    /// `amd64` or `arm64`.
    public let arch: String

    /// A node.
    public init(capacity: Capacity, country: String? = nil, farm: PublicKey? = nil, sealing: [UInt8], arch: String) {
        (self.capacity, self.country, self.farm) = (capacity, country, farm)
        (self.sealing, self.arch) = (sealing, arch)
    }

    /// The body as a document.
    public var value: JSONValue {
        .members([
            "arch": .string(arch), "capacity": capacity.value, "country": country.map { .string($0) },
            "farm": farm.map { .key($0) }, "sealing": .string(Hex.encode(sealing)),
        ])
    }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a node record")
        capacity = try Capacity(fields.value("capacity"))
        country = try fields.optionalCountry("country")
        farm = try fields.optionalPublicKey("farm")
        sealing = try fields.digest("sealing").bytes
        arch = try fields.name("arch", .label)
        try fields.finish()
    }
}

/// Body of a liveness record.
public struct LivenessBody: Hashable, Sendable {
    /// Whether a node can be reached.
    public enum State: String, CaseIterable, Hashable, Sendable {
        /// It takes part.
        case up
        /// It does not.
        case down
    }

    /// The node.
    public let node: PublicKey
    /// What became of it.
    public let state: State

    /// A change.
    public init(node: PublicKey, state: State) { (self.node, self.state) = (node, state) }

    /// The body as a document.
    public var value: JSONValue { ["node": .key(node), "state": .string(state.rawValue)] }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a liveness record")
        node = try fields.publicKey("node")
        state = try fields.word("state", State.self)
        try fields.finish()
    }
}
