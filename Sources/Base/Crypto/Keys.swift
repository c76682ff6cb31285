internal import Bytes
internal import CSodium

/// An Ed25519 public key: who somebody is. Ordered as its bytes are.
public struct PublicKey: Hashable, Sendable, Comparable {
    let value: Bytes32

    init(_ value: Bytes32) { self.value = value }

    /// From 32 bytes. Whether they are a point of the curve is decided when a signature is verified.
    public init(_ bytes: [UInt8]) throws(CryptoError) {
        guard let value = Bytes32(bytes) else {
            throw .badLength(subject: "a public key", wanted: 32, found: bytes.count)
        }
        self.value = value
    }

    /// From the text form `G…` (SEP-23).
    public init(address: String) throws(CryptoError) {
        try self.init(StrKey.decode(.publicKey, address))
    }

    /// The 32 bytes.
    public var bytes: [UInt8] { value.bytes }

    /// The text form: 56 characters that start with `G`.
    public var address: String { StrKey.encode(.publicKey, bytes) }

    /// Whether `signature` is this key's strict signature (RFC 8032) over `message`.
    ///
    /// Refused are: other lengths than 64 bytes, S that is not reduced, R or keys of small order, encodings of
    /// the key that are not canonical. So one message has one signature that only the key's holder can make.
    public func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
        guard signature.count == 64 else { return false }
        Sodium.start()
        return crypto_sign_verify_detached(signature, message, UInt64(message.count), bytes) == 0
    }

    /// Order of the bytes.
    public static func < (left: PublicKey, right: PublicKey) -> Bool { left.value < right.value }
}

extension PublicKey: CustomStringConvertible {
    /// The text form.
    public var description: String { address }
}

/// An Ed25519 key that signs. Its bytes are overwritten when the last copy goes; it never prints them.
public struct SigningKey: Sendable {
    /// Seed and public key, as libsodium wants them.
    let secret: SecretBytes
    /// What others know this key by.
    public let publicKey: PublicKey

    /// The key of a 32-byte seed.
    public init(seed: [UInt8]) throws(CryptoError) {
        guard seed.count == 32 else { throw .badLength(subject: "a seed", wanted: 32, found: seed.count) }
        self.init(checkedSeed: seed)
    }

    /// The key of the text form of a seed, `S…` (SEP-23).
    public init(secretAddress: String) throws(CryptoError) {
        var seed = try StrKey.decode(.seed, secretAddress)
        defer { Sodium.wipe(&seed) }
        self.init(checkedSeed: seed)
    }

    init(checkedSeed seed: [UInt8]) {
        var publicBytes = [UInt8](repeating: 0, count: 32)
        secret = SecretBytes(count: 64) { crypto_sign_seed_keypair(&publicBytes, $0, seed) }
        publicKey = PublicKey(Bytes32(publicBytes) ?? Bytes32())
    }

    /// A new random key.
    public static func generate() -> SigningKey {
        var seed = Random.bytes(32)
        defer { Sodium.wipe(&seed) }
        return SigningKey(checkedSeed: seed)
    }

    /// The 32 bytes from which the key is made again. Wipe them after use.
    public var seed: [UInt8] { secret.prefix(32) }

    /// The text form of the seed, `S…` (SEP-23). Anyone who has it is this key.
    public var secretAddress: String { StrKey.encode(.seed, seed) }

    /// The signature over `message`: 64 bytes, the same for the same message.
    public func sign(_ message: [UInt8]) -> [UInt8] {
        var signature = [UInt8](repeating: 0, count: 64)
        crypto_sign_detached(&signature, nil, message, UInt64(message.count), secret.pointer)
        return signature
    }
}

extension SigningKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The address of the public key; never the secret.
    public var description: String { "SigningKey(\(publicKey.address))" }
    /// The address of the public key; never the secret.
    public var debugDescription: String { description }
    /// Shows the public key only.
    public var customMirror: Mirror { Mirror(self, children: ["publicKey": publicKey]) }
}
