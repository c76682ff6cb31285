internal import Bytes
internal import CanonicalJSON
internal import Glibc
internal import Linux

/// A secret in a file under a passphrase. The format is in `Documentation/formats/key-file.md`.
///
/// All calls derive a key with Argon2id, which takes a while and much memory: call them on a thread of your own.
public enum KeyFile {
    /// The version that is written.
    public static let version: Int64 = 1
    /// The most bytes of a key file.
    public static let sizeLimit = 256 << 10

    /// How dear guessing the passphrase is made.
    public struct Cost: Sendable, Equatable {
        /// Bytes of memory.
        public let memory: Int
        /// Passes over it.
        public let operations: Int

        /// RFC 9106's second recommendation: 64 MiB, three passes; 0.2 s on a laptop.
        public static let standard = Cost(memory: 64 << 20, operations: 3)
        /// The least that is accepted. For tests.
        public static let least = Cost(memory: 8 << 20, operations: 1)

        /// From bytes and passes; `Argon2id` checks the limits.
        public init(memory: Int, operations: Int) { (self.memory, self.operations) = (memory, operations) }
    }

    /// The content of a key file: canonical JSON.
    public static func seal(
        _ secret: [UInt8], passphrase: [UInt8], cost: Cost = .standard
    ) throws(CryptoError) -> [UInt8] {
        try seal(
            secret, passphrase: passphrase, cost: cost, salt: Random.bytes(Argon2id.saltLength),
            nonce: Random.bytes(24))
    }

    static func seal(
        _ secret: [UInt8], passphrase: [UInt8], cost: Cost, salt: [UInt8], nonce: [UInt8]
    ) throws(CryptoError) -> [UInt8] {
        var key = try Argon2id.derive(
            passphrase: passphrase, salt: salt, memory: cost.memory, operations: cost.operations, length: 32)
        defer { Sodium.wipe(&key) }
        let box = try SecretBox.seal(secret, key: key, nonce: nonce)
        let document: JSONValue = [
            "v": .integer(version), "box": .string(Base64.encode(box)),
            "kdf": [
                "name": "argon2id", "memory": .integer(Int64(cost.memory)),
                "operations": .integer(Int64(cost.operations)), "salt": .string(Base64.encode(salt)),
            ],
        ]
        return document.canonicalBytes
    }

    /// The secret of a key file's content. `subject` names the file in errors.
    public static func open(
        _ content: [UInt8], passphrase: [UInt8], subject: String = "the key file"
    ) throws(CryptoError) -> [UInt8] {
        let parts: Parts
        do {
            parts = try Parts(content, subject)
        } catch let error as CryptoError {
            throw error
        } catch {
            throw .badFormat(subject: subject, reason: "is not a key file: \(error)")
        }
        var key = try Argon2id.derive(
            passphrase: passphrase, salt: parts.salt, memory: parts.cost.memory, operations: parts.cost.operations,
            length: 32)
        defer { Sodium.wipe(&key) }
        do {
            return try SecretBox.open(parts.box, key: key)
        } catch {
            throw .wrongPassphrase(subject: subject)
        }
    }

    /// Writes a secret to `path`, readable by its owner only, and durably.
    public static func write(
        _ secret: [UInt8], passphrase: [UInt8], to path: String, cost: Cost = .standard
    ) throws(CryptoError) {
        let content = try seal(secret, passphrase: passphrase, cost: cost)
        do {
            try File.writeDurably(path, content, mode: 0o600)
        } catch {
            throw .unsafeFile(path: path, reason: "cannot be written: \(error)")
        }
    }

    /// Reads the secret at `path`. Refuses a file that group or others may read, or that is not this user's.
    public static func read(_ path: String, passphrase: [UInt8]) throws(CryptoError) -> [UInt8] {
        try open(readPrivate(path, limit: sizeLimit), passphrase: passphrase, subject: path)
    }

    /// Reads a file that holds a secret: a regular file of this user that group and others may not read.
    public static func readPrivate(_ path: String, limit: Int) throws(CryptoError) -> [UInt8] {
        do {
            let file = try Descriptor.open(path, O_RDONLY | O_NOFOLLOW)
            let status = try File.status(of: file.raw)
            guard status.isRegular else {
                throw CryptoError.unsafeFile(path: path, reason: "is not a regular file")
            }
            guard status.permissions & 0o077 == 0 else {
                let mode = String(status.permissions, radix: 8)
                throw CryptoError.unsafeFile(
                    path: path, reason: "can be read by others (mode \(mode)); run chmod 600 on it")
            }
            guard status.uid == geteuid() else {
                throw CryptoError.unsafeFile(path: path, reason: "belongs to uid \(status.uid), not to this user")
            }
            return try file.readAll(limit: limit, path)
        } catch let error as CryptoError {
            throw error
        } catch {
            throw .unsafeFile(path: path, reason: "cannot be read: \(error)")
        }
    }

    /// A key file taken apart.
    private struct Parts {
        let cost: Cost
        let salt: [UInt8]
        let box: [UInt8]

        init(_ content: [UInt8], _ subject: String) throws {
            var reader = try ObjectReader(JSONValue(parsing: content), "the file")
            let version = try reader.integer("v")
            guard version == KeyFile.version else {
                throw CryptoError.badFormat(
                    subject: subject, reason: "has version \(version); this program knows version \(KeyFile.version)")
            }
            var kdf = try ObjectReader(reader.value("kdf"), "kdf")
            let name = try kdf.string("name")
            guard name == "argon2id" else {
                throw CryptoError.badFormat(subject: subject, reason: "derives its key with \(name), not argon2id")
            }
            cost = Cost(memory: Int(try kdf.integer("memory")), operations: Int(try kdf.integer("operations")))
            let salt = Base64.decode(try kdf.string("salt"))
            let box = Base64.decode(try reader.string("box"))
            try kdf.finish()
            try reader.finish()
            guard let salt, let box else {
                throw CryptoError.badFormat(subject: subject, reason: "has a salt or box that is not base64")
            }
            (self.salt, self.box) = (salt, box)
        }
    }
}
