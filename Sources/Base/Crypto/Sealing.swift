internal import CSodium

/// An X25519 public key: anyone can seal to it, only its holder opens.
public struct SealingPublicKey: Hashable, Sendable {
    /// The 32 bytes.
    public let bytes: [UInt8]

    /// From 32 bytes.
    public init(_ bytes: [UInt8]) throws(CryptoError) {
        guard bytes.count == 32 else {
            throw .badLength(subject: "a sealing key", wanted: 32, found: bytes.count)
        }
        self.bytes = bytes
    }

    /// The key that belongs to a signing key: an identity's address is enough to seal to it.
    public init(from key: PublicKey) throws(CryptoError) {
        Sodium.start()
        var converted = [UInt8](repeating: 0, count: 32)
        guard crypto_sign_ed25519_pk_to_curve25519(&converted, key.bytes) == 0 else {
            throw .badKey(subject: key.address)
        }
        bytes = converted
    }
}

/// An X25519 key that opens what was sealed to its public key. Overwritten when the last copy goes.
public struct SealingKey: Sendable {
    let secret: SecretBytes
    /// What others seal to.
    public let publicKey: SealingPublicKey

    /// The key of a 32-byte seed.
    public init(seed: [UInt8]) throws(CryptoError) {
        guard seed.count == 32 else { throw .badLength(subject: "a seed", wanted: 32, found: seed.count) }
        var publicBytes = [UInt8](repeating: 0, count: 32)
        secret = SecretBytes(count: 32) { crypto_box_seed_keypair(&publicBytes, $0, seed) }
        publicKey = try SealingPublicKey(publicBytes)
    }

    /// The sealing key that belongs to a signing key.
    public init(from key: SigningKey) throws(CryptoError) {
        secret = SecretBytes(count: 32) { crypto_sign_ed25519_sk_to_curve25519($0, key.secret.pointer) }
        publicKey = try SealingPublicKey(from: key.publicKey)
    }

    /// A new random key.
    public static func generate() throws(CryptoError) -> SealingKey {
        var seed = Random.bytes(32)
        defer { Sodium.wipe(&seed) }
        return try SealingKey(seed: seed)
    }
}

/// NaCl's anonymous sealed box: 48 bytes longer than the plaintext.
public enum SealedBox {
    /// Bytes that a sealed box is longer than what is in it.
    public static let overhead = 48

    /// Seals bytes so that only the holder of `recipient` opens them. The sender stays unknown.
    public static func seal(_ plaintext: [UInt8], to recipient: SealingPublicKey) throws(CryptoError) -> [UInt8] {
        Sodium.start()
        var box = [UInt8](repeating: 0, count: plaintext.count + overhead)
        guard crypto_box_seal(&box, plaintext, UInt64(plaintext.count), recipient.bytes) == 0 else {
            throw .badKey(subject: "the recipient's sealing key")
        }
        return box
    }

    /// What was sealed to `key`.
    public static func open(_ box: [UInt8], with key: SealingKey) throws(CryptoError) -> [UInt8] {
        guard box.count >= overhead else {
            throw .badLength(subject: "a sealed box", wanted: overhead, found: box.count)
        }
        var plaintext = [UInt8](repeating: 0, count: box.count - overhead)
        guard
            crypto_box_seal_open(
                &plaintext, box, UInt64(box.count), key.publicKey.bytes, key.secret.pointer) == 0
        else { throw .notAuthentic(subject: "a sealed box") }
        return plaintext
    }
}

/// NaCl's secretbox under a 32-byte key, with a random nonce of 24 bytes in front.
public enum SecretBox {
    /// Bytes of a key.
    public static let keyLength = 32
    /// Bytes that a box is longer than what is in it: nonce and tag.
    public static let overhead = 24 + 16

    /// A new random key.
    public static func newKey() -> [UInt8] { Random.bytes(keyLength) }

    /// Nonce and box.
    public static func seal(_ plaintext: [UInt8], key: [UInt8]) throws(CryptoError) -> [UInt8] {
        try seal(plaintext, key: key, nonce: Random.bytes(24))
    }

    /// Nonce and box under a nonce of the caller, who must never use it twice. For test vectors.
    static func seal(_ plaintext: [UInt8], key: [UInt8], nonce: [UInt8]) throws(CryptoError) -> [UInt8] {
        guard key.count == keyLength else {
            throw .badLength(subject: "a secretbox key", wanted: keyLength, found: key.count)
        }
        var box = [UInt8](repeating: 0, count: plaintext.count + 16)
        crypto_secretbox_easy(&box, plaintext, UInt64(plaintext.count), nonce, key)
        return nonce + box
    }

    /// What was sealed with `key`.
    public static func open(_ box: [UInt8], key: [UInt8]) throws(CryptoError) -> [UInt8] {
        Sodium.start()
        guard key.count == keyLength else {
            throw .badLength(subject: "a secretbox key", wanted: keyLength, found: key.count)
        }
        guard box.count >= overhead else {
            throw .badLength(subject: "a secretbox", wanted: overhead, found: box.count)
        }
        var plaintext = [UInt8](repeating: 0, count: box.count - overhead)
        let nonce = Array(box[..<24])
        let sealed = Array(box[24...])
        guard crypto_secretbox_open_easy(&plaintext, sealed, UInt64(sealed.count), nonce, key) == 0 else {
            throw .notAuthentic(subject: "a secretbox")
        }
        return plaintext
    }
}
