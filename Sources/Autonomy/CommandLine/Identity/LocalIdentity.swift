import Bytes
import CanonicalJSON
import Crypto
import Linux
import Records

/// An identity whose keys are on this machine.
///
/// Two files in `identities/`: `<name>.json` holds what is public and the agent key, sealed; daily work opens this
/// one. `<name>.owner.json` holds the recovery words, sealed apart, from which the owner key follows; only what changes
/// the identity opens it, and it may be kept elsewhere. Files that group or others may read are refused.
struct LocalIdentity: Sendable {
    static let version: Int64 = 1
    static let nameLimit = 40
    /// What the agent key of a machine may do.
    static let roles: Set<Role> = [.deploy, .plan, .approve]

    let name: String
    /// The identity: its first key.
    let address: PublicKey
    /// The key that acts for it on this machine.
    let agent: PublicKey
    private let agentBox: JSONValue

    init(name: String, address: PublicKey, agent: PublicKey, agentBox: JSONValue) {
        (self.name, self.address, self.agent, self.agentBox) = (name, address, agent, agentBox)
    }

    init(name: String, _ bytes: [UInt8], path: String) throws {
        do {
            var fields = try ObjectReader(JSONValue(parsing: bytes), path)
            let version = try fields.integer("v")
            guard version == LocalIdentity.version else {
                throw CommandError(
                    .invalid, "\(path) has version \(version)", why: "this program knows \(LocalIdentity.version)")
            }
            address = try PublicKey(address: fields.string("address"))
            var agent = try ObjectReader(fields.value("agent"), "agent of \(path)")
            self.agent = try PublicKey(address: agent.string("key"))
            agentBox = try agent.value("box")
            try agent.finish()
            try fields.finish()
        } catch let error as CommandError { throw error } catch {
            throw CommandError(
                .invalid, "\(path) is not an identity", why: "\(error)",
                next: "`zero identity recover` makes it anew from the words")
        }
        self.name = name
    }

    var value: JSONValue {
        [
            "v": .integer(LocalIdentity.version), "address": .string(address.address),
            "agent": ["key": .string(agent.address), "box": agentBox],
        ]
    }

    /// What the agent box holds: the key, and what follows from the recovery words, thus is the same on every machine.
    struct AgentSecrets: Sendable {
        let key: SigningKey
        /// What private images are cut with.
        let images: [UInt8]
        /// What passwords of zdbs derive from; nil in a file from before there was one, until the owner key is next at hand.
        let passwords: StorageSecret?

        init(key: SigningKey, images: [UInt8], passwords: StorageSecret?) {
            (self.key, self.images, self.passwords) = (key, images, passwords)
        }

        /// A new agent key of an owner.
        init(key: SigningKey, owner: SigningKey) {
            self.init(
                key: key, images: HMAC.sha256(key: owner.seed, Array("zero/images/1".utf8)),
                passwords: StorageSecret(owner: owner))
        }
    }

    /// Seals an agent's secrets.
    static func seal(_ secrets: AgentSecrets, passphrase: [UInt8], cost: KeyFile.Cost) throws -> JSONValue {
        var value: JSONValue = [
            "images": .string(Hex.encode(secrets.images)), "seed": .string(Hex.encode(secrets.key.seed)),
        ]
        if let passwords = secrets.passwords { value["passwords"] = .string(Hex.encode(passwords.bytes)) }
        return try JSONValue(canonical: KeyFile.seal(value.canonicalBytes, passphrase: passphrase, cost: cost))
    }

    /// The agent's secrets. Takes a while: Argon2id.
    func open(passphrase: [UInt8]) throws -> AgentSecrets {
        let bytes = try KeyFile.open(agentBox.canonicalBytes, passphrase: passphrase, subject: "identity `\(name)`")
        guard let value = try? JSONValue(canonical: bytes), let seed = value["seed"]?.string.flatMap(Hex.decode),
            let images = value["images"]?.string.flatMap(Hex.decode), images.count == 32
        else {
            throw CommandError(
                .locked, "the agent key of `\(name)` cannot be read", why: "its box holds something else")
        }
        let key = try SigningKey(seed: seed)
        guard key.publicKey == agent else {
            throw CommandError(
                .locked, "the agent key of `\(name)` is another one", why: "its file was changed",
                next: "`zero identity recover`")
        }
        var passwords: StorageSecret?
        if let text = value["passwords"]?.string {
            guard let found = Hex.decode(text).flatMap({ StorageSecret($0) }) else {
                throw CommandError(
                    .locked, "the secrets of `\(name)` cannot be read", why: "its box holds something else")
            }
            passwords = found
        }
        return AgentSecrets(key: key, images: images, passwords: passwords)
    }
}

/// The identities of a user's folder.
struct KeyRing: Sendable {
    let folder: String
    /// How dear guessing a passphrase is made.
    var cost = KeyFile.Cost.standard

    static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...LocalIdentity.nameLimit).contains(bytes.count), bytes.first != 0x2D else { return false }
        return bytes.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D }
    }

    func path(_ name: String) -> String { "\(folder)/\(name).json" }
    func ownerPath(_ name: String) -> String { "\(folder)/\(name).owner.json" }

    /// Names of the identities that are here, sorted.
    func names() throws -> [String] {
        guard File.exists(folder) else { return [] }
        return try File.list(folder).filter { $0.hasSuffix(".json") && !$0.hasSuffix(".owner.json") }
            .map { String($0.dropLast(5)) }.filter(KeyRing.isName).sorted()
    }

    /// The identity of that name.
    func load(_ name: String) throws -> LocalIdentity {
        let path = path(name)
        guard KeyRing.isName(name), File.exists(path) else {
            let known = try names()
            let near = nearest(to: name, among: known).map { "did you mean `\($0)`? " } ?? ""
            throw CommandError(
                .notFound, "there is no identity `\(name)`",
                why: known.isEmpty ? "none is here" : "here are: \(known.joined(separator: ", "))",
                next: near + "`zero identity new \(name)`")
        }
        return try LocalIdentity(name: name, KeyFile.readPrivate(path, limit: 1 << 20), path: path)
    }

    /// The identity to use: the one asked for, else `default`, else the only one.
    func choose(_ asked: String?) throws -> LocalIdentity {
        if let asked { return try load(asked) }
        let known = try names()
        if known.contains("default") { return try load("default") }
        if let only = known.first, known.count == 1 { return try load(only) }
        if known.isEmpty {
            throw CommandError(
                .notFound, "no identity", why: "\(folder) holds none", next: "`zero identity new default`")
        }
        throw CommandError(
            .usage, "which identity?", why: "here are: \(known.joined(separator: ", "))",
            next: "add --identity \(known[0])")
    }

    /// Every identity's address by its name, for contracts that name stakeholders.
    func addresses() throws -> [String: PublicKey] {
        var found: [String: PublicKey] = [:]
        for name in try names() { found[name] = try load(name).address }
        return found
    }

    /// Makes an identity from recovery words with a fresh agent key.
    func create(
        _ name: String, words: RecoveryWords, passphrase: [UInt8], ownerPassphrase: [UInt8],
        agent: SigningKey = .generate(),
        replacing: Bool = false
    ) throws -> LocalIdentity {
        guard KeyRing.isName(name) else {
            throw CommandError(
                .usage, "`\(name)` is not a name",
                why: "names are 1 to \(LocalIdentity.nameLimit) of a-z, 0-9 and hyphens")
        }
        if !replacing, File.exists(path(name)) || File.exists(ownerPath(name)) {
            throw CommandError(
                .exists, "there is an identity `\(name)`", why: "\(path(name)) exists", next: "choose another name")
        }
        try File.makeDirectories(folder, mode: 0o700)
        let identity = LocalIdentity(
            name: name, address: words.signingKey().publicKey, agent: agent.publicKey,
            agentBox: try LocalIdentity.seal(
                .init(key: agent, owner: words.signingKey()), passphrase: passphrase, cost: cost))
        try KeyFile.write(Array(words.text.utf8), passphrase: ownerPassphrase, to: ownerPath(name), cost: cost)
        try File.writeDurably(path(name), identity.value.canonicalBytes, mode: 0o600)
        return identity
    }

    /// Recovery words of an identity, from its owner file.
    func words(_ identity: LocalIdentity, passphrase: [UInt8]) throws -> RecoveryWords {
        let path = ownerPath(identity.name)
        guard File.exists(path) else {
            throw CommandError(
                .locked, "the owner key of `\(identity.name)` is not here", why: "\(path) does not exist",
                next: "put it back, or `zero identity recover \(identity.name)`")
        }
        let words = try RecoveryWords(
            words: String(decoding: KeyFile.read(path, passphrase: passphrase), as: UTF8.self))
        guard words.signingKey().publicKey == identity.address else {
            throw CommandError(.locked, "\(path) belongs to another identity", next: "put the right file there")
        }
        return words
    }

    /// The owner key.
    func owner(_ identity: LocalIdentity, passphrase: [UInt8]) throws -> SigningKey {
        try words(identity, passphrase: passphrase).signingKey()
    }

    /// The same identity with a fresh agent key; nothing is written. The passphrase has to be that of the old one.
    func rotated(
        _ identity: LocalIdentity, owner: SigningKey, passphrase: [UInt8]
    ) throws -> (identity: LocalIdentity, key: SigningKey) {
        _ = try identity.open(passphrase: passphrase)
        let key = SigningKey.generate()
        let box = try LocalIdentity.seal(.init(key: key, owner: owner), passphrase: passphrase, cost: cost)
        return (LocalIdentity(name: identity.name, address: identity.address, agent: key.publicKey, agentBox: box), key)
    }

    /// Writes an identity's file beside the one in force.
    func stage(_ identity: LocalIdentity) throws {
        try File.writeDurably(path(identity.name) + ".next", identity.value.canonicalBytes, mode: 0o600)
    }

    /// Puts the staged file in force.
    func commit(_ identity: LocalIdentity) throws {
        try File.rename(path(identity.name) + ".next", to: path(identity.name))
        try File.syncDirectory(folder)
    }
}
