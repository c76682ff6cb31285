import Bytes
public import CanonicalJSON
public import Crypto

/// Body of a name record: a step in the life of a name.
public enum NameBody: Hashable, Sendable {
    /// Reserves a name without telling it: `hash` is `commitment(name:nonce:holder:)`.
    case commit(hash: Digest)
    /// Tells the name; the commitment must be at most 100 blocks old.
    case reveal(name: String, nonce: [UInt8], expires: Int64)
    /// Holds it longer.
    case renew(name: String, expires: Int64)
    /// Gives it to another identity.
    case transfer(name: String, to: PublicKey)

    /// What a commit hides: SHA-256 of `"zero/1\nname\n" holder "\n" name "\n" nonce in hexadecimal`.
    public static func commitment(name: String, nonce: [UInt8], holder: PublicKey) -> Digest {
        SHA256.hash(Array("zero/1\nname\n\(holder.address)\n\(name)\n\(Hex.encode(nonce))".utf8))
    }

    /// The body as a document.
    public var value: JSONValue {
        switch self {
        case .commit(let hash): ["action": "commit", "hash": .digest(hash)]
        case .reveal(let name, let nonce, let expires):
            [
                "action": "reveal", "name": .string(name), "nonce": .string(Hex.encode(nonce)),
                "expires": .integer(expires),
            ]
        case .renew(let name, let expires):
            ["action": "renew", "name": .string(name), "expires": .integer(expires)]
        case .transfer(let name, let to): ["action": "transfer", "name": .string(name), "to": .key(to)]
        }
    }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a name record")
        let action = try fields.string("action")
        switch action {
        case "commit": self = .commit(hash: try fields.digest("hash"))
        case "reveal":
            let nonce = try fields.string("nonce")
            guard let bytes = Hex.decode(nonce), (16...32).contains(bytes.count) else {
                throw fields.refuse("nonce", "16 to 32 bytes in hexadecimal", found: .string(nonce))
            }
            self = .reveal(
                name: try fields.name("name", .domain), nonce: bytes,
                expires: try fields.integer("expires", in: Bounds.positive))
        case "renew":
            self = .renew(
                name: try fields.name("name", .domain), expires: try fields.integer("expires", in: Bounds.positive))
        case "transfer":
            self = .transfer(name: try fields.name("name", .domain), to: try fields.publicKey("to"))
        default:
            throw fields.refuse("action", "commit, reveal, renew or transfer", found: .string(action))
        }
        try fields.finish()
    }
}
