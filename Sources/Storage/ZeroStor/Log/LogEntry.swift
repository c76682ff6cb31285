internal import Bytes
internal import Crypto

/// One entry of a store's log as backends hold it: 60 bytes in clear, then the sealed operations.
///
///     "ZSL1" | epoch u64 | height u64 | hash of the entry before 32 | length of the rest u64 | AES-256-GCM(operations)
///
/// Numbers are little-endian. The 60 bytes are authenticated with the rest, under the key of the epoch and the height as nonce. An
/// entry's hash is SHA-256 of all its bytes.
struct LogEntry: Sendable {
    static let headLength = 60
    private static let magic = Array("ZSL1".utf8)

    let epoch: UInt64
    let height: UInt64
    let previous: Digest
    let payload: [UInt8]
    /// As it is stored.
    let bytes: [UInt8]
    let hash: Digest

    /// Seals a new entry.
    init(epoch: UInt64, height: UInt64, previous: Digest, payload: [UInt8], keys: StoreKeys) {
        (self.epoch, self.height, self.previous, self.payload) = (epoch, height, previous, payload)
        var writer = ByteWriter(capacity: Self.headLength + payload.count + 16)
        writer.append(Self.magic)
        writer.u64(epoch)
        writer.u64(height)
        writer.append(previous.bytes)
        writer.u64(UInt64(payload.count + AESGCM.tagLength))
        writer.append(
            AESGCM.seal(
                key: keys.entryKey(epoch: epoch), nonce: Self.nonce(height), plaintext: payload,
                authenticating: writer.bytes))
        bytes = writer.bytes
        hash = SHA256.hash(bytes)
    }

    /// Opens what a backend gave as the entry at a height; nil where it is not one of this store's.
    init?(_ bytes: [UInt8], height expected: UInt64, keys: StoreKeys) {
        guard bytes.count >= Self.headLength + AESGCM.tagLength, Array(bytes[..<4]) == Self.magic else { return nil }
        var reader = ByteReader(bytes)
        guard (try? reader.take(4)) != nil, let epoch = try? reader.u64(), let height = try? reader.u64(),
            let previous = (try? reader.take(32)).flatMap({ Digest($0) }), let length = try? reader.u64(),
            height == expected, length == UInt64(reader.remaining),
            let payload = try? AESGCM.open(
                key: keys.entryKey(epoch: epoch), nonce: Self.nonce(height),
                ciphertext: Array(bytes[Self.headLength...]),
                authenticating: Array(bytes[..<Self.headLength]))
        else { return nil }
        (self.epoch, self.height, self.previous, self.payload) = (epoch, height, previous, payload)
        self.bytes = bytes
        hash = SHA256.hash(bytes)
    }

    private static func nonce(_ height: UInt64) -> [UInt8] {
        [0, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: height >> (56 - 8 * UInt64($0))) }
    }
}
