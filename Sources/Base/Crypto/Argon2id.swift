internal import CSodium

/// Makes a key from a passphrase so that guessing is dear: Argon2id of RFC 9106, one lane.
public enum Argon2id {
    /// Bytes of salt.
    public static let saltLength = 16

    /// `length` bytes from a passphrase. It takes `memory` bytes and long enough to be called on a thread of its own.
    ///
    /// - Parameters:
    ///   - memory: bytes, 8 MiB to 1 GiB.
    ///   - operations: passes over that memory, 1 to 16.
    public static func derive(
        passphrase: [UInt8], salt: [UInt8], memory: Int, operations: Int, length: Int
    ) throws(CryptoError) -> [UInt8] {
        Sodium.start()
        guard !passphrase.isEmpty else { throw .badParameter(subject: "a passphrase", reason: "is empty") }
        guard salt.count == saltLength else {
            throw .badLength(subject: "an Argon2id salt", wanted: saltLength, found: salt.count)
        }
        guard memory >= 8 << 20, memory <= 1 << 30 else {
            throw .badParameter(subject: "Argon2id memory", reason: "is \(memory), allowed are 8 MiB to 1 GiB")
        }
        guard operations >= 1, operations <= 16 else {
            throw .badParameter(subject: "Argon2id operations", reason: "are \(operations), allowed are 1 to 16")
        }
        guard length >= 16, length <= 1024 else {
            throw .badParameter(subject: "Argon2id length", reason: "is \(length), allowed are 16 to 1024 bytes")
        }
        var key = [UInt8](repeating: 0, count: length)
        let status = passphrase.withUnsafeBytes { text -> Int32 in
            guard let base = text.baseAddress else { return -1 }
            return crypto_pwhash(
                &key, UInt64(length), base.assumingMemoryBound(to: CChar.self), UInt64(text.count), salt,
                UInt64(operations), memory, crypto_pwhash_ALG_ARGON2ID13)
        }
        guard status == 0 else { throw .failed(operation: "Argon2id with \(memory) bytes of memory") }
        return key
    }
}
