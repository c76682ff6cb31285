public import Crypto

/// Seals chunks with AES-256-GCM. A chunk's key is random and seals nothing else, so its nonce is zero.
public enum ChunkSeal {
    /// Bytes that sealing adds: the tag.
    public static let overhead = AESGCM.tagLength
    private static let nonce = [UInt8](repeating: 0, count: AESGCM.nonceLength)

    /// Seals into memory that is `overhead` bytes longer.
    public static func seal(
        key: [UInt8], _ plain: UnsafeRawBufferPointer, into sealed: UnsafeMutableRawBufferPointer
    ) {
        AESGCM.seal(key: key, nonce: nonce, plaintext: plain, authenticating: [], into: sealed)
    }

    /// Opens into memory that is `overhead` bytes shorter; throws where any bit differs.
    public static func open(
        key: [UInt8], _ sealed: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer
    ) throws(DispersalError) {
        do {
            try AESGCM.open(key: key, nonce: nonce, ciphertext: sealed, authenticating: [], into: plain)
        } catch { throw .notAuthentic }
    }

    /// What a chunk is known by within a store: HMAC-SHA-256 of its SHA-256, so that nobody without the key can guess.
    public static func fingerprint(key: [UInt8], _ plain: UnsafeRawBufferPointer) -> Digest {
        Digest(HMAC.sha256(key: key, SHA256.hash(plain).bytes)) ?? .zero
    }
}
