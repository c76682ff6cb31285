public import CanonicalJSON
public import Crypto
public import Records

/// What stands at a key of the state tree.
public enum StateEntry: Hashable, Sendable {
    /// The keys of an identity.
    case identity(IdentityEntry)
    /// How many records a key signed.
    case sequence(Int64)
    /// A contract.
    case contract(ContractEntry)
    /// The placement of a contract.
    case placement(PlacementEntry)
    /// Who holds a name.
    case name(NameEntry)
    /// A reserved name.
    case commit(CommitEntry)
    /// A node.
    case node(NodeEntry)
    /// A farm.
    case farm(FarmEntry)
    /// An image.
    case image(ImageEntry)
    /// A member's weight.
    case member(Int64)
    /// What a node did.
    case result(ResultEntry)

    /// The entry as a document: what the leaf commits to is the SHA-256 of its canonical bytes.
    public var value: JSONValue {
        switch self {
        case .identity(let entry): entry.value
        case .sequence(let count), .member(let count): .integer(count)
        case .contract(let entry): entry.value
        case .placement(let entry): entry.value
        case .name(let entry): entry.value
        case .commit(let entry): entry.value
        case .node(let entry): entry.value
        case .farm(let entry): entry.value
        case .image(let entry): entry.value
        case .result(let entry): entry.value
        }
    }

    /// The hash that the leaf commits to.
    public var hash: Digest { SHA256.hash(value.canonicalBytes) }

    /// Decodes what stands at `key`.
    public init(_ value: JSONValue, at key: StateKey) throws(JSONError) {
        switch key {
        case .identity: self = .identity(try IdentityEntry(value))
        case .contract: self = .contract(try ContractEntry(value))
        case .placement: self = .placement(try PlacementEntry(value))
        case .name: self = .name(try NameEntry(value))
        case .commit: self = .commit(try CommitEntry(value))
        case .node: self = .node(try NodeEntry(value))
        case .farm: self = .farm(try FarmEntry(value))
        case .image: self = .image(try ImageEntry(value))
        case .result: self = .result(try ResultEntry(value))
        case .sequence, .member:
            guard let count = value.integer, count > 0 else {
                throw .unexpected(key: key.text, subject: "the state", expected: "a count", found: value.kind)
            }
            if case .member = key { self = .member(count) } else { self = .sequence(count) }
        }
    }
}

/// An identity in force.
public struct IdentityEntry: Hashable, Sendable {
    /// How many former keys are remembered, to tell a revoked key from a stranger's.
    static let formerLimit = 64

    /// Its keys, name and recovery.
    public var body: IdentityBody
    /// The record that said so.
    public var record: Digest
    /// Keys that it listed once and does not any more, oldest first.
    public var former: [PublicKey]

    var value: JSONValue {
        ["body": body.value, "former": .array(former.map { .key($0) }), "record": .digest(record)]
    }

    init(body: IdentityBody, record: Digest, former: [PublicKey]) {
        (self.body, self.record, self.former) = (body, record, former)
    }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "an identity's state")
        body = try IdentityBody(fields.value("body"))
        former = try fields.publicKeys("former", limit: IdentityEntry.formerLimit)
        record = try fields.digest("record")
        try fields.finish()
    }
}

/// A name in force.
public struct NameEntry: Hashable, Sendable {
    /// The identity that holds it.
    public var holder: PublicKey
    /// Unix milliseconds; from then on nobody may use it, and the holder alone renew it for a while.
    public var expires: Int64

    var value: JSONValue { ["expires": .integer(expires), "holder": .key(holder)] }

    init(holder: PublicKey, expires: Int64) { (self.holder, self.expires) = (holder, expires) }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a name's state")
        expires = try fields.integer("expires", in: Bounds.positive)
        holder = try fields.publicKey("holder")
        try fields.finish()
    }
}

/// A name that was reserved and not told yet.
public struct CommitEntry: Hashable, Sendable {
    /// Who reserved it.
    public var author: PublicKey
    /// In which block.
    public var height: Int64

    var value: JSONValue { ["author": .key(author), "height": .integer(height)] }

    init(author: PublicKey, height: Int64) { (self.author, self.height) = (author, height) }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a reserved name's state")
        author = try fields.publicKey("author")
        height = try fields.integer("height", in: Bounds.positive)
        try fields.finish()
    }
}

/// A node in force.
public struct NodeEntry: Hashable, Sendable {
    /// What it is and has.
    public var body: NodeBody
    /// Whether it is up, as far as anybody said.
    public var live: LivenessBody.State
    /// The record that described it.
    public var record: Digest

    var value: JSONValue {
        ["body": body.value, "live": .string(live.rawValue), "record": .digest(record)]
    }

    init(body: NodeBody, live: LivenessBody.State, record: Digest) {
        (self.body, self.live, self.record) = (body, live, record)
    }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a node's state")
        body = try NodeBody(fields.value("body"))
        live = try fields.word("live", LivenessBody.State.self)
        record = try fields.digest("record")
        try fields.finish()
    }
}

/// A farm in force.
public struct FarmEntry: Hashable, Sendable {
    /// What it is.
    public var body: FarmBody
    /// The record that said so.
    public var record: Digest

    var value: JSONValue { ["body": body.value, "record": .digest(record)] }

    init(body: FarmBody, record: Digest) { (self.body, self.record) = (body, record) }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a farm's state")
        body = try FarmBody(fields.value("body"))
        record = try fields.digest("record")
        try fields.finish()
    }
}

/// An image in force.
public struct ImageEntry: Hashable, Sendable {
    /// What it is.
    public var body: ImageBody
    /// The record that said so.
    public var record: Digest

    var value: JSONValue { ["body": body.value, "record": .digest(record)] }

    init(body: ImageBody, record: Digest) { (self.body, self.record) = (body, record) }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "an image's state")
        body = try ImageBody(fields.value("body"))
        record = try fields.digest("record")
        try fields.finish()
    }
}

/// What a node said last about a contract.
public struct ResultEntry: Hashable, Sendable {
    /// What it said.
    public var body: ResultBody
    /// The record that said so.
    public var record: Digest

    var value: JSONValue { ["body": body.value, "record": .digest(record)] }

    init(body: ResultBody, record: Digest) { (self.body, self.record) = (body, record) }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a result's state")
        body = try ResultBody(fields.value("body"))
        record = try fields.digest("record")
        try fields.finish()
    }
}
