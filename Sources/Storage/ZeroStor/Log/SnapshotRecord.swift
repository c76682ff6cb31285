internal import Bytes
internal import Crypto
internal import ObjectIndex

/// Where a copy of the index is, for who has no index: it stands beside the log, sealed like it.
///
///     "ZSN1" | nonce 12 bytes | AES-256-GCM(record)
///
/// A record: height u64, hash of that entry, trimmed u64, size u64, SHA-256 of the copy, u32 pieces; a piece: stripe's id (16 bytes),
/// u8 k, u8 m, stripe's length u64, u32 length of a shard, u16 backend of each shard, root of each, u32 offset, u32 length,
/// u32 plain length, u8 codec, 32 bytes key. Numbers are little-endian.
struct SnapshotRecord: Sendable, Equatable {
    /// A chunk of the copy, in order.
    struct Piece: Sendable, Equatable {
        /// Its shards may be elsewhere by now; their names and roots are the same.
        let stripe: Stripe
        let offset: Int, length: Int, plainLength: Int
        let codec: UInt8
        let key: [UInt8]
    }

    private static let magic = Array("ZSN1".utf8)
    /// A backend takes values of 8 MiB.
    static let bytesMax = 8 << 20

    /// The copy is of the state behind this entry, whose hash this is.
    let height: UInt64
    let chain: Digest
    /// Entries up to this one are not needed any more.
    let trimmed: UInt64
    /// Of the copy.
    let size: Int
    let hash: Digest
    let pieces: [Piece]

    func sealed(_ keys: StoreKeys) -> [UInt8] {
        var writer = ByteWriter()
        writer.u64(height)
        writer.append(chain.bytes)
        writer.u64(trimmed)
        writer.u64(UInt64(size))
        writer.append(hash.bytes)
        writer.u32(UInt32(pieces.count))
        for piece in pieces {
            let stripe = piece.stripe
            writer.append(stripe.id.bytes)
            writer.u8(UInt8(stripe.k))
            writer.u8(UInt8(stripe.m))
            writer.u64(UInt64(stripe.length))
            writer.u32(UInt32(stripe.shardLength))
            for shard in stripe.shards { writer.u16(shard) }
            for root in stripe.roots { writer.append(root.bytes) }
            writer.u32(UInt32(piece.offset))
            writer.u32(UInt32(piece.length))
            writer.u32(UInt32(piece.plainLength))
            writer.u8(piece.codec)
            writer.append(piece.key)
        }
        let nonce = Random.bytes(12)
        return Self.magic + nonce
            + AESGCM.seal(key: keys.snapshot, nonce: nonce, plaintext: writer.bytes, authenticating: Self.magic)
    }

    /// Opens what a backend gave; nil where this store's owner did not write it.
    static func open(_ bytes: [UInt8], _ keys: StoreKeys) -> SnapshotRecord? {
        guard bytes.count > 16, bytes.count <= bytesMax, Array(bytes[..<4]) == magic,
            let plain = try? AESGCM.open(
                key: keys.snapshot, nonce: Array(bytes[4..<16]), ciphertext: Array(bytes[16...]), authenticating: magic)
        else { return nil }
        return try? SnapshotRecord(plain)
    }

    private init(_ bytes: [UInt8]) throws(ByteError) {
        var reader = ByteReader(bytes)
        height = try reader.u64()
        chain = Digest(try reader.take(32)) ?? .zero
        trimmed = try reader.u64()
        size = Int(clamping: try reader.u64())
        hash = Digest(try reader.take(32)) ?? .zero
        let count = try reader.u32()
        var pieces: [Piece] = []
        for _ in 0..<count {
            let id = try reader.take(16)
            let k = Int(try reader.u8()), m = Int(try reader.u8())
            let length = Int(clamping: try reader.u64()), shardLength = Int(try reader.u32())
            var shards: [UInt16] = []
            for _ in 0..<k + m { shards.append(try reader.u16()) }
            var roots: [Digest] = []
            for _ in 0..<k + m { roots.append(Digest(try reader.take(32)) ?? .zero) }
            let stripe = Stripe(
                id: StripeID(id) ?? StripeID(epoch: 0, counter: 0), k: k, m: m, length: length,
                shardLength: shardLength,
                created: 0, shards: shards, roots: roots, chunks: [])
            pieces.append(
                Piece(
                    stripe: stripe, offset: Int(try reader.u32()), length: Int(try reader.u32()),
                    plainLength: Int(try reader.u32()), codec: try reader.u8(), key: try reader.take(32)))
        }
        try reader.finish()
        self.pieces = pieces
    }

    init(height: UInt64, chain: Digest, trimmed: UInt64, size: Int, hash: Digest, pieces: [Piece]) {
        (self.height, self.chain, self.trimmed) = (height, chain, trimmed)
        (self.size, self.hash, self.pieces) = (size, hash, pieces)
    }
}
