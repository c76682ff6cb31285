internal import CSodium

/// Keyed hashes of RFC 2104.
public enum HMAC {
    /// HMAC-SHA-256: 32 bytes.
    public static func sha256(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        message.withUnsafeBytes { sha256(key: key, $0) }
    }

    /// HMAC-SHA-256 of memory: 32 bytes.
    public static func sha256(key: [UInt8], _ message: UnsafeRawBufferPointer) -> [UInt8] {
        var block = key.count > 64 ? SHA256.hash(key).bytes : key
        block += [UInt8](repeating: 0, count: 64 - block.count)
        defer { Sodium.wipe(&block) }
        for index in block.indices { block[index] ^= 0x36 }
        var inner = SHA256Hasher()
        inner.update(block)
        inner.update(message)
        for index in block.indices { block[index] ^= 0x36 ^ 0x5c }
        var outer = SHA256Hasher()
        outer.update(block)
        outer.update(inner.finish())
        return outer.finish().bytes
    }

    /// HMAC-SHA-512: 64 bytes.
    public static func sha512(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        Sodium.start()
        var state = crypto_auth_hmacsha512_state()
        crypto_auth_hmacsha512_init(&state, key, key.count)
        crypto_auth_hmacsha512_update(&state, message, UInt64(message.count))
        var tag = [UInt8](repeating: 0, count: 64)
        crypto_auth_hmacsha512_final(&state, &tag)
        return tag
    }
}

/// Derives keys from a secret: HKDF-SHA-256 of RFC 5869.
public enum HKDF {
    /// `length` bytes (at most 8,160) from `secret`, apart for each `salt` and `info`.
    public static func sha256(secret: [UInt8], salt: [UInt8] = [], info: [UInt8], length: Int) -> [UInt8] {
        precondition(length >= 0 && length <= 255 * 32, "HKDF-SHA-256 gives at most 8160 bytes")
        var key = HMAC.sha256(key: salt.isEmpty ? [UInt8](repeating: 0, count: 32) : salt, secret)
        defer { Sodium.wipe(&key) }
        var output: [UInt8] = []
        var previous: [UInt8] = []
        var counter: UInt8 = 1
        while output.count < length {
            previous = HMAC.sha256(key: key, previous + info + [counter])
            output += previous
            counter &+= 1
        }
        return Array(output.prefix(length))
    }
}
