public import CanonicalJSON
public import Crypto

/// A key that acts for an identity.
public struct AgentKey: Hashable, Sendable {
    /// The key.
    public let key: PublicKey
    /// What it may do.
    public let roles: Set<Role>
    /// The names of contracts and images that it may touch: one name, or a beginning followed by `*`. All where absent.
    public let scope: String?
    /// Unix milliseconds of block time from which on the key no longer counts.
    public let until: Int64?

    /// A key in roles.
    public init(key: PublicKey, roles: Set<Role>, scope: String? = nil, until: Int64? = nil) {
        (self.key, self.roles, self.scope, self.until) = (key, roles, scope, until)
    }

    /// Whether the scope lets this key touch something of that name.
    public func reaches(_ name: String) -> Bool {
        guard let scope else { return true }
        guard scope.utf8.last == UInt8(ascii: "*") else { return scope == name }
        return name.utf8.starts(with: scope.utf8.dropLast())
    }

    /// The key as a document.
    public var value: JSONValue {
        .members([
            "key": .key(key), "roles": .array(roles.map(\.rawValue).sorted().map { .string($0) }),
            "scope": scope.map { .string($0) }, "until": until.map { .integer($0) },
        ])
    }

    /// Decodes a key.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a key")
        key = try fields.publicKey("key")
        let words = try fields.strings("roles")
        roles = Set(words.compactMap(Role.init))
        guard !words.isEmpty, roles.map(\.rawValue).sorted() == words else {
            let all = Role.allCases.map(\.rawValue).joined(separator: ", ")
            throw fields.refuse("roles", "a sorted list of \(all)", found: .array(words.map { .string($0) }))
        }
        scope = try fields.optionalText("scope", limit: RecordLimits.textBytes)
        until = try fields.optionalInteger("until", in: Bounds.positive)
        try fields.finish()
    }
}

/// Who may change an identity when its owner key is lost: `need` of `keys` together.
public struct RecoveryRule: Hashable, Sendable {
    /// Keys of friends.
    public let keys: [PublicKey]
    /// How many of them must sign.
    public let need: Int

    /// A rule.
    public init(keys: [PublicKey], need: Int) { (self.keys, self.need) = (keys, need) }

    /// The rule as a document.
    public var value: JSONValue { ["keys": .array(keys.map { .key($0) }), "need": .integer(Int64(need))] }

    /// Decodes a rule; one that its keys cannot meet is refused.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "recovery")
        keys = try fields.publicKeys("keys", limit: RecordLimits.signatures - 1)
        need = Int(try fields.integer("need", in: 1...Int64(max(1, keys.count))))
        guard need <= keys.count else { throw fields.refuse("need", "reachable", found: .integer(Int64(need))) }
        try fields.finish()
    }
}

/// Body of an identity record: replaces the whole list of keys.
public struct IdentityBody: Hashable, Sendable {
    /// Every key that acts for the identity.
    public let keys: [AgentKey]
    /// How people call it.
    public let name: String?
    /// Who helps when the owner key is lost.
    public let recovery: RecoveryRule?

    /// A list of keys.
    public init(keys: [AgentKey], name: String? = nil, recovery: RecoveryRule? = nil) {
        (self.keys, self.name, self.recovery) = (keys, name, recovery)
    }

    /// What a node says of itself: one key, owner of the identity and reporter of results.
    public static func node(_ key: PublicKey, name: String? = nil) -> IdentityBody {
        IdentityBody(keys: [AgentKey(key: key, roles: [.owner, .results])], name: name)
    }

    /// The body as a document.
    public var value: JSONValue {
        .members([
            "keys": .array(keys.map(\.value)), "name": name.map { .string($0) }, "recovery": recovery?.value,
        ])
    }

    /// Decodes a body. Someone must be left who can change it again.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "an identity record")
        var keys: [AgentKey] = []
        for element in try fields.array("keys") { keys.append(try AgentKey(element)) }
        name = try fields.optionalText("name", limit: RecordLimits.textBytes)
        recovery = try fields.optionalValue("recovery").map { value throws(JSONError) in try RecoveryRule(value) }
        try fields.finish()
        guard (1...RecordLimits.identityKeys).contains(keys.count), Set(keys.map(\.key)).count == keys.count else {
            throw fields.refuse(
                "keys", "1 to \(RecordLimits.identityKeys) different keys", found: .integer(Int64(keys.count)))
        }
        guard recovery != nil || keys.contains(where: { $0.roles.contains(.owner) && $0.until == nil }) else {
            throw fields.refuse("keys", "a list with an owner key that stays, or recovery", found: .array([]))
        }
        self.keys = keys
    }
}
