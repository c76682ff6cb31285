internal import Bytes
internal import CanonicalJSON
public import Crypto
internal import Glibc
internal import Linux

/// Why the identity service could not do something.
public enum IdentityError: Error, Sendable, CustomStringConvertible {
    /// The node's key could neither be read nor made.
    case key(path: String, reason: String)

    /// One line for people.
    public var description: String {
        switch self {
        case .key(let path, let reason): "the node's key \(path) \(reason)"
        }
    }
}

/// The node's key: an Ed25519 seed in `<state>/identity/node.key`, made at the first start.
public struct NodeKey: Sendable {
    /// Signs for the node.
    public let signing: SigningKey
    /// Opens what was sealed to the node.
    public let sealing: SealingKey

    /// The node's address, `G…`.
    public var address: String { signing.publicKey.address }

    /// The node's key of a known signing key.
    public init(_ signing: SigningKey) throws(CryptoError) {
        self.signing = signing
        sealing = try SealingKey(from: signing)
    }

    /// Reads the key at `path`, or makes one where there is none. Blocks.
    ///
    /// A key that cannot be read is never replaced: a node with another key is another node.
    public static func load(_ path: String) throws(IdentityError) -> NodeKey {
        do {
            if try !isThere(path) { return try NodeKey(create(path)) }
            var content = try KeyFile.readPrivate(path, limit: 4096)
            defer { wipe(&content) }
            return try NodeKey(parse(content))
        } catch let error as IdentityError {
            throw error
        } catch {
            throw .key(path: path, reason: "cannot be used: \(error)")
        }
    }

    private static func isThere(_ path: String) throws(SystemError) -> Bool {
        do {
            _ = try File.status(path, follow: false)
            return true
        } catch {
            if error.errno == .notFound { return false }
            throw error
        }
    }

    /// Canonical JSON `{"seed":"S…","v":1}`. See `Documentation/formats/node-key.md`.
    private static func create(_ path: String) throws -> SigningKey {
        try File.makeDirectories(File.parent(path), mode: 0o700)
        let key = SigningKey.generate()
        let document: JSONValue = ["seed": .string(key.secretAddress), "v": 1]
        var content = document.canonicalBytes
        defer { wipe(&content) }
        try File.writeDurably(path, content, mode: 0o600)
        return key
    }

    private static func parse(_ content: [UInt8]) throws -> SigningKey {
        var reader: ObjectReader
        let version: Int64
        let seed: String
        do {
            reader = try ObjectReader(try JSONValue(parsing: content), "a node key")
            version = try reader.integer("v")
            seed = try reader.string("seed")
            try reader.finish()
        } catch {
            // The parser's message may quote the seed.
            throw CryptoError.badFormat(subject: "its content", reason: "is not {\"seed\":\"S…\",\"v\":1}")
        }
        guard version == 1 else {
            throw CryptoError.badFormat(subject: "its content", reason: "has version \(version), known is 1")
        }
        return try SigningKey(secretAddress: seed)
    }
}
