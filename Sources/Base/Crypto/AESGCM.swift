internal import COpenSSL

/// AES-256-GCM: 32-byte key, 12-byte nonce, 16-byte tag after the ciphertext.
public enum AESGCM {
    /// Bytes of a key.
    public static let keyLength = 32
    /// Bytes of a nonce. A nonce must never meet the same key twice with different plaintexts.
    public static let nonceLength = 12
    /// Bytes of the tag.
    public static let tagLength = 16

    /// Ciphertext and tag. `authenticating` is covered by the tag and not part of the result.
    public static func seal(
        key: [UInt8], nonce: [UInt8], plaintext: [UInt8], authenticating header: [UInt8] = []
    ) -> [UInt8] {
        let length = plaintext.count + tagLength
        return [UInt8](unsafeUninitializedCapacity: length) { output, filled in
            plaintext.withUnsafeBytes { input in
                seal(
                    key: key, nonce: nonce, plaintext: input, authenticating: header,
                    into: UnsafeMutableRawBufferPointer(output))
            }
            filled = length
        }
    }

    /// Seals memory into `output`, which holds 16 bytes more than `plaintext`.
    public static func seal(
        key: [UInt8], nonce: [UInt8], plaintext: UnsafeRawBufferPointer, authenticating header: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) {
        precondition(key.count == keyLength && nonce.count == nonceLength, "AES-256-GCM needs 32 and 12 bytes")
        precondition(output.count == plaintext.count + tagLength && plaintext.count < Int(Int32.max))
        let context = Context()
        var moved: Int32 = 0
        var worked = EVP_EncryptInit_ex2(context.raw, Cipher.shared.raw, key, nonce, nil) == 1
        if !header.isEmpty {
            worked = worked && EVP_EncryptUpdate(context.raw, nil, &moved, header, Int32(header.count)) == 1
        }
        let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        if let source = plaintext.baseAddress?.assumingMemoryBound(to: UInt8.self), !plaintext.isEmpty {
            worked = worked && EVP_EncryptUpdate(context.raw, target, &moved, source, Int32(plaintext.count)) == 1
        }
        let tag = output.baseAddress?.advanced(by: plaintext.count)
        worked = worked && EVP_EncryptFinal_ex(context.raw, tag?.assumingMemoryBound(to: UInt8.self), &moved) == 1
        worked = worked && EVP_CIPHER_CTX_ctrl(context.raw, EVP_CTRL_AEAD_GET_TAG, Int32(tagLength), tag) == 1
        precondition(worked, "AES-256-GCM failed: memory is short")
    }

    /// The plaintext; throws where key, nonce, header or any byte differs from what was sealed.
    public static func open(
        key: [UInt8], nonce: [UInt8], ciphertext: [UInt8], authenticating header: [UInt8] = []
    ) throws(CryptoError) -> [UInt8] {
        guard ciphertext.count >= tagLength else {
            throw .badLength(subject: "an AES-GCM ciphertext", wanted: tagLength, found: ciphertext.count)
        }
        var failure: CryptoError?
        let length = ciphertext.count - tagLength
        let plaintext = [UInt8](unsafeUninitializedCapacity: length) { output, filled in
            ciphertext.withUnsafeBytes { input in
                do throws(CryptoError) {
                    try open(
                        key: key, nonce: nonce, ciphertext: input, authenticating: header,
                        into: UnsafeMutableRawBufferPointer(output))
                    filled = length
                } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
        return plaintext
    }

    /// Opens memory into `output`, which holds 16 bytes less than `ciphertext`. On failure `output` is overwritten with zeros.
    public static func open(
        key: [UInt8], nonce: [UInt8], ciphertext: UnsafeRawBufferPointer, authenticating header: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) throws(CryptoError) {
        guard key.count == keyLength else {
            throw .badLength(subject: "an AES-GCM key", wanted: keyLength, found: key.count)
        }
        guard nonce.count == nonceLength else {
            throw .badLength(subject: "an AES-GCM nonce", wanted: nonceLength, found: nonce.count)
        }
        guard ciphertext.count == output.count + tagLength, output.count < Int(Int32.max) else {
            throw .badLength(
                subject: "an AES-GCM ciphertext", wanted: output.count + tagLength, found: ciphertext.count)
        }
        let context = Context()
        var moved: Int32 = 0
        var worked = EVP_DecryptInit_ex2(context.raw, Cipher.shared.raw, key, nonce, nil) == 1
        if !header.isEmpty {
            worked = worked && EVP_DecryptUpdate(context.raw, nil, &moved, header, Int32(header.count)) == 1
        }
        let source = ciphertext.baseAddress?.assumingMemoryBound(to: UInt8.self)
        if !output.isEmpty {
            let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
            worked = worked && EVP_DecryptUpdate(context.raw, target, &moved, source, Int32(output.count)) == 1
        }
        let tag = UnsafeMutableRawPointer(mutating: ciphertext.baseAddress?.advanced(by: output.count))
        worked = worked && EVP_CIPHER_CTX_ctrl(context.raw, EVP_CTRL_AEAD_SET_TAG, Int32(tagLength), tag) == 1
        var rest: UInt8 = 0
        worked = worked && EVP_DecryptFinal_ex(context.raw, &rest, &moved) == 1
        guard worked else {
            if let base = output.baseAddress { OPENSSL_cleanse(base, output.count) }
            throw .notAuthentic(subject: "an AES-GCM ciphertext")
        }
    }

    /// The algorithm, looked up once: looking it up a call costs more than sealing a kilobyte.
    ///
    /// OpenSSL's algorithm objects are immutable and counted atomically, so threads share it.
    private final class Cipher: @unchecked Sendable {
        static let shared = Cipher()
        let raw: OpaquePointer?
        init() { raw = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil) }
    }

    /// One use of the cipher; freeing it overwrites the key schedule.
    private struct Context: ~Copyable {
        let raw: OpaquePointer?
        init() { raw = EVP_CIPHER_CTX_new() }
        deinit { EVP_CIPHER_CTX_free(raw) }
    }
}
