import Crypto
import CZstd
import Synchronization

/// A chunk ready to be stored.
public struct SealedChunk: Sendable {
    /// Its id and key.
    public let reference: ChunkReference
    /// What the store keeps: header, ciphertext, tag.
    public let stored: [UInt8]
}

/// Turns plaintext into stored chunks and back.
///
/// The payload is a 12-byte header and the contents, compressed if that makes them smaller. The key is
/// HMAC-SHA-256 of the payload under the convergence secret; the contents are sealed by AES-256-GCM with a zero nonce
/// (a key never meets two payloads) and the header as associated data; the id is SHA-256 of all that is stored.
public enum ChunkCodec {
    /// Bytes before the ciphertext: `ZFC`, version, kind, codec, two zeros, size of the contents.
    public static let headerBytes = 12
    /// Bytes after the ciphertext.
    public static let tagBytes = AESGCM.tagLength
    /// The format version of this code.
    public static let version: UInt8 = 1
    /// The zstd level of format version 1: a third faster than level 3 for 6 % more bytes.
    static let compressionLevel: Int32 = 2

    private static let magic: [UInt8] = [0x5a, 0x46, 0x43, version]
    private static let nonce = [UInt8](repeating: 0, count: AESGCM.nonceLength)
    private static let rawCodec: UInt8 = 0
    private static let zstdCodec: UInt8 = 1

    /// Seals `plain`.
    public static func seal(
        _ plain: [UInt8], _ kind: ChunkKind, _ secret: ConvergenceSecret
    ) throws(FlistError) -> SealedChunk {
        guard plain.count <= FlistLimits.chunkBytes else {
            throw .limit(
                subject: "\(kind) chunk", value: UInt64(plain.count), limit: UInt64(FlistLimits.chunkBytes))
        }
        var payload = try compressed(plain)
        var codec = zstdCodec
        if payload.count - headerBytes >= plain.count {
            payload = [UInt8](repeating: 0, count: headerBytes) + plain
            codec = rawCodec
        }
        let header = header(kind, codec, plain.count)
        for (index, byte) in header.enumerated() { payload[index] = byte }
        let keyBytes = HMAC.sha256(key: secret.bytes, payload)
        guard let key = ChunkKey(keyBytes) else { throw .sealing("no key") }
        let count = payload.count + tagBytes
        let stored = [UInt8](unsafeUninitializedCapacity: count) { output, filled in
            let output = UnsafeMutableRawBufferPointer(output)
            payload.withUnsafeBytes { input in
                output.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<headerBytes]))
                AESGCM.seal(
                    key: keyBytes, nonce: nonce, plaintext: UnsafeRawBufferPointer(rebasing: input[headerBytes...]),
                    authenticating: header, into: UnsafeMutableRawBufferPointer(rebasing: output[headerBytes..<count]))
            }
            filled = count
        }
        return SealedChunk(reference: ChunkReference(id: SHA256.hash(stored), key: key), stored: stored)
    }

    /// Opens `stored` after checking its id; with a secret, also that the key is the one that the contents give.
    public static func open(
        _ stored: [UInt8], _ reference: ChunkReference, _ kind: ChunkKind, _ secret: ConvergenceSecret?
    ) throws(FlistError) -> [UInt8] {
        let id = reference.id
        guard SHA256.hash(stored) == id else { throw .wrongIdentifier(id) }
        guard stored.count >= headerBytes + tagBytes, stored.count <= FlistLimits.storedBytes else {
            throw .badChunk(id, reason: "has \(stored.count) bytes")
        }
        let header = Array(stored[..<headerBytes])
        let size = try size(header, kind, id)
        var payload = [UInt8](repeating: 0, count: stored.count - tagBytes)
        let opened = stored.withUnsafeBytes { input in
            payload.withUnsafeMutableBytes { output in
                do throws(CryptoError) {
                    try AESGCM.open(
                        key: reference.key.bytes, nonce: nonce,
                        ciphertext: UnsafeRawBufferPointer(rebasing: input[headerBytes...]), authenticating: header,
                        into: UnsafeMutableRawBufferPointer(rebasing: output[headerBytes...]))
                    return true
                } catch { return false }
            }
        }
        guard opened else { throw .wrongKey(id) }
        if let secret {
            for (index, byte) in header.enumerated() { payload[index] = byte }
            guard HMAC.sha256(key: secret.bytes, payload) == reference.key.bytes else { throw .wrongConvergence(id) }
        }
        if header[5] == rawCodec {
            guard payload.count - headerBytes == size else { throw .badChunk(id, reason: "is not as long as it says") }
            return Array(payload[headerBytes...])
        }
        return try decompressed(payload, size, id)
    }

    private static func header(_ kind: ChunkKind, _ codec: UInt8, _ size: Int) -> [UInt8] {
        let size = UInt32(size)
        return magic + [kind.rawValue, codec, 0, 0]
            + (0..<4).map { UInt8(truncatingIfNeeded: size >> UInt32(8 * $0)) }
    }

    /// Checks a header and returns the size of the contents.
    private static func size(_ header: [UInt8], _ kind: ChunkKind, _ id: Digest) throws(FlistError) -> Int {
        guard Array(header[..<4]) == magic else { throw .badChunk(id, reason: "is not of format version \(version)") }
        guard header[4] == kind.rawValue else {
            throw .badChunk(id, reason: "is of kind \(header[4]) where \(kind.rawValue) was expected")
        }
        guard header[5] == rawCodec || header[5] == zstdCodec, header[6] == 0, header[7] == 0 else {
            throw .badChunk(id, reason: "has an unknown codec")
        }
        let size = (0..<4).reduce(0) { $0 | Int(header[8 + $1]) << (8 * $1) }
        guard size <= FlistLimits.chunkBytes else { throw .badChunk(id, reason: "says that it holds \(size) bytes") }
        return size
    }

    /// Room for a header and the compressed contents.
    private static func compressed(_ plain: [UInt8]) throws(FlistError) -> [UInt8] {
        let context = ZstdContexts.compressing.take { ZSTD_createCCtx() }
        defer { ZstdContexts.compressing.give(context) }
        let bound = ZSTD_compressBound(plain.count)
        var result = 0
        let payload = [UInt8](unsafeUninitializedCapacity: headerBytes + bound) { output, filled in
            output[..<headerBytes].initialize(repeating: 0)
            let target = output.baseAddress?.advanced(by: headerBytes)
            result = ZSTD_compressCCtx(context.raw, target, bound, plain, plain.count, compressionLevel)
            filled = headerBytes + (ZSTD_isError(result) == 0 ? result : 0)
        }
        guard ZSTD_isError(result) == 0 else { throw .sealing("zstd: \(String(cString: ZSTD_getErrorName(result)))") }
        return payload
    }

    private static func decompressed(_ payload: [UInt8], _ size: Int, _ id: Digest) throws(FlistError) -> [UInt8] {
        let context = ZstdContexts.decompressing.take { ZSTD_createDCtx() }
        defer { ZstdContexts.decompressing.give(context) }
        var result = 0
        let plain = [UInt8](unsafeUninitializedCapacity: size) { output, filled in
            payload.withUnsafeBytes { input in
                result = ZSTD_decompressDCtx(
                    context.raw, output.baseAddress, size, input.baseAddress?.advanced(by: headerBytes),
                    input.count - headerBytes)
            }
            filled = ZSTD_isError(result) == 0 ? result : 0
        }
        guard plain.count == size, ZSTD_isError(result) == 0 else {
            throw .badChunk(id, reason: "does not decompress to what it says")
        }
        return plain
    }
}

/// zstd contexts that are not in use: making one costs more than a small chunk.
private final class ZstdContexts: Sendable {
    struct Context: @unchecked Sendable {  // used by one caller between `take` and `give`
        let raw: OpaquePointer?
    }

    static let compressing = ZstdContexts()
    static let decompressing = ZstdContexts()
    private let idle = Mutex<[Context]>([])

    func take(_ make: () -> OpaquePointer?) -> Context {
        idle.withLock { $0.popLast() } ?? Context(raw: make())
    }

    func give(_ context: Context) { idle.withLock { $0.append(context) } }
}
