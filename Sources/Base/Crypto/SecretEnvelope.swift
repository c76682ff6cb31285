internal import Bytes
internal import CanonicalJSON

/// How a secret travels: encrypted once under a content key of its own, and that key sealed to each reader.
///
/// What is sealed to a reader is canonical JSON `{contract?, key, name}`, so that a sealed key which somebody copies
/// into another contract, or under another name, does not open there. See `Documentation/formats/secrets.md`.
public enum SecretEnvelope {
    /// The most bytes that a secret's value may have.
    public static let valueLimit = 64 << 10

    /// What a sealed content key says about itself.
    public struct ContentKey: Sendable, Equatable {
        /// The contract that it is for; nil where it was sealed before the contract had an id (to owner and planner).
        public let contract: String?
        /// The secret's name in the contract.
        public let name: String
        /// The key: 32 bytes for a secret; what an image needs for an image.
        public let key: [UInt8]
    }

    /// Encrypts a value: the box for the contract, and the content key to seal to each reader.
    public static func seal(value: [UInt8]) throws(CryptoError) -> (box: [UInt8], key: [UInt8]) {
        guard value.count <= valueLimit else {
            throw .badParameter(subject: "a secret", reason: "has \(value.count) bytes, the limit is \(valueLimit)")
        }
        let key = SecretBox.newKey()
        return (try SecretBox.seal(value, key: key), key)
    }

    /// Seals a content key to a reader, bound to the secret's name and, where it is known, the contract.
    public static func sealKey(
        _ key: [UInt8], name: String, contract: String?, to recipient: SealingPublicKey
    ) throws(CryptoError) -> [UInt8] {
        var members: [String: JSONValue] = ["name": .string(name), "key": .string(Base64.encode(key))]
        if let contract { members["contract"] = .string(contract) }
        return try SealedBox.seal(JSONValue.object(members).canonicalBytes, to: recipient)
    }

    /// Opens a sealed content key and returns all that it says. For the owner, who then seals it to a node.
    public static func readKey(_ sealed: [UInt8], with key: SealingKey) throws(CryptoError) -> ContentKey {
        var plaintext = try SealedBox.open(sealed, with: key)
        defer { Sodium.wipe(&plaintext) }
        do {
            var reader = try ObjectReader(JSONValue(canonical: plaintext), "a sealed content key")
            let contract = try reader.optionalString("contract")
            let name = try reader.string("name")
            let text = try reader.string("key")
            try reader.finish()
            guard let bytes = Base64.decode(text) else {
                throw CryptoError.badFormat(subject: "a sealed content key", reason: "has a key that is not base64")
            }
            return ContentKey(contract: contract, name: name, key: bytes)
        } catch let error as CryptoError {
            throw error
        } catch {
            // The parser's own message may quote what was sealed.
            throw .badFormat(subject: "a sealed content key", reason: "is not the canonical {contract?, key, name}")
        }
    }

    /// Opens a content key that must be for exactly this contract and name. For a node.
    public static func openKey(
        _ sealed: [UInt8], name: String, contract: String, with key: SealingKey
    ) throws(CryptoError) -> [UInt8] {
        let found = try readKey(sealed, with: key)
        guard found.contract == contract else {
            throw .badFormat(subject: "the sealed key of secret \(name)", reason: "is for another contract")
        }
        guard found.name == name else {
            throw .badFormat(subject: "the sealed key of secret \(name)", reason: "is for another secret")
        }
        return found.key
    }

    /// Opens the box with its content key.
    public static func open(box: [UInt8], key: [UInt8]) throws(CryptoError) -> [UInt8] {
        try SecretBox.open(box, key: key)
    }
}
