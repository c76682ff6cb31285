internal import Bytes
internal import Crypto
internal import LogEngine

/// What is kept of a password: enough to recognise it, not enough to log in with.
///
/// A key is derived with Argon2id and used as SCRAM does (RFC 5802, with HMAC-SHA-256): `stored` recognises a client's
/// key, `server` lets the server prove to a client that it knows the password too. `Documentation/zero-db.md` has
/// the computation.
struct PasswordVerifier: Equatable, Sendable {
    /// The first byte of the namespace setting: a verifier of this kind.
    static let scheme: UInt8 = 2
    /// 19 MiB and two passes: 25 ms here; the least that is advised for interactive use.
    static let defaultKibibytes: UInt32 = 19 << 10
    static let defaultPasses: UInt32 = 2
    static let passwordBytesMax = 512
    static let encodedBytes = 1 + 4 + 4 + 16 + 32 + 32

    var kibibytes = defaultKibibytes
    var passes = defaultPasses
    var salt: [UInt8]
    var stored: [UInt8]
    var server: [UInt8]

    /// Derives from a password; takes tens of milliseconds and that much memory.
    init(password: [UInt8], salt: [UInt8]) throws(CryptoError) {
        var key = try Self.salted(password, salt, Self.defaultKibibytes, Self.defaultPasses)
        defer { wipe(&key) }
        self.salt = salt
        stored = SHA256.hash(HMAC.sha256(key: key, Array("Client Key".utf8))).bytes
        server = HMAC.sha256(key: key, Array("Server Key".utf8))
    }

    /// What stands in for a password that does not exist, so that asking for it looks and lasts the same.
    init(decoy name: [UInt8], secret: [UInt8]) {
        salt = Array(HMAC.sha256(key: secret, Array("salt,".utf8) + name).prefix(16))
        stored = Random.bytes(32)
        server = Random.bytes(32)
    }

    /// Whether a password is the one; as slow as `init(password:salt:)`.
    func matches(_ password: [UInt8]) -> Bool {
        guard var key = try? Self.salted(password, salt, kibibytes, passes) else { return false }
        defer { wipe(&key) }
        return equalInConstantTime(SHA256.hash(HMAC.sha256(key: key, Array("Client Key".utf8))).bytes, stored)
    }

    /// Whether a proof for a message comes from who knows the password.
    func accepts(proof: [UInt8], message: [UInt8]) -> Bool {
        guard proof.count == 32 else { return false }
        var key = HMAC.sha256(key: stored, message)
        for index in key.indices { key[index] ^= proof[index] }
        return equalInConstantTime(SHA256.hash(key).bytes, stored)
    }

    /// What proves to the client that the server knows the password.
    func signature(message: [UInt8]) -> [UInt8] { HMAC.sha256(key: server, message) }

    private static func salted(
        _ password: [UInt8], _ salt: [UInt8], _ kibibytes: UInt32, _ passes: UInt32
    ) throws(CryptoError) -> [UInt8] {
        try Argon2id.derive(
            passphrase: password, salt: salt, memory: Int(kibibytes) << 10, operations: Int(passes), length: 32)
    }

    // MARK: As bytes

    /// The namespace setting: scheme, KiB (u32), passes (u32), salt (16), stored key (32), server key (32).
    var encoded: [UInt8] {
        func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        return [Self.scheme] + word(kibibytes) + word(passes) + salt + stored + server
    }

    init?(encoded: [UInt8]) {
        guard encoded.count == Self.encodedBytes, encoded[0] == Self.scheme else { return nil }
        func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(encoded[at + $1]) << UInt32(8 * $1) } }
        (kibibytes, passes) = (word(1), word(5))
        // Bounds of Argon2id here; more would let a damaged setting take the machine's memory.
        guard (8 << 10...1 << 20).contains(kibibytes), (1...16).contains(passes) else { return nil }
        (salt, stored, server) = (Array(encoded[9..<25]), Array(encoded[25..<57]), Array(encoded[57..<89]))
    }

    /// The line that `zero-db password` prints and a password file may hold instead of a password.
    static let linePrefix = "zero-db-verifier:"
    var line: String { Self.linePrefix + Hex.encode(encoded) }

    init?(line: String) {
        guard line.hasPrefix(Self.linePrefix),
            let bytes = Hex.decode(String(line.dropFirst(Self.linePrefix.utf8.count)))
        else { return nil }
        self.init(encoded: bytes)
    }
}
