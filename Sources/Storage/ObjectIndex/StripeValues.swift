public import Crypto

/// What makes a chunk one that later data may share.
public struct SharedChunk: Sendable, Equatable {
    /// Of the plain bytes, keyed by the store, so that it says nothing to anybody else.
    public let fingerprint: Digest
    /// The 32 bytes the chunk is sealed with.
    public let key: [UInt8]

    /// What a chunk is found and opened by.
    public init(fingerprint: Digest, key: [UInt8]) { (self.fingerprint, self.key) = (fingerprint, key) }
}

/// A sealed piece of data in a stripe.
public struct Chunk: Sendable, Equatable {
    /// Its name.
    public let id: ChunkID
    /// Where it begins in the stripe.
    public let offset: Int
    /// Bytes in the stripe, with the tag.
    public let length: Int
    /// Bytes before the codec.
    public let plainLength: Int
    /// How it is compressed; the index does not look at it.
    public let codec: UInt8
    /// Only of chunks that may be shared.
    public let shared: SharedChunk?

    /// A chunk.
    public init(
        id: ChunkID, offset: Int, length: Int, plainLength: Int, codec: UInt8, shared: SharedChunk? = nil
    ) {
        (self.id, self.offset, self.length) = (id, offset, length)
        (self.plainLength, self.codec, self.shared) = (plainLength, codec, shared)
    }
}

/// The unit of erasure coding: k data and m parity shards of one length.
public struct Stripe: Sendable, Equatable {
    /// A shard that is nowhere: lost, or never written.
    public static let nowhere: UInt16 = 0xffff

    /// Its name.
    public let id: StripeID
    /// Data shards.
    public let k: Int
    /// Parity shards.
    public let m: Int
    /// Bytes of all its chunks, gaps between them included.
    public let length: Int
    /// Bytes of each shard.
    public let shardLength: Int
    /// When it was written, Unix milliseconds.
    public let created: Int64
    /// The backend of each shard, or `nowhere`.
    public var shards: [UInt16]
    /// The Merkle root of each shard.
    public let roots: [Digest]
    /// What is in it, by offset.
    public let chunks: [Chunk]

    /// A stripe.
    public init(
        id: StripeID, k: Int, m: Int, length: Int, shardLength: Int, created: Int64, shards: [UInt16],
        roots: [Digest], chunks: [Chunk]
    ) {
        (self.id, self.k, self.m, self.length) = (id, k, m, length)
        (self.shardLength, self.created, self.shards) = (shardLength, created, shards)
        (self.roots, self.chunks) = (roots, chunks)
    }
}

/// A shard that is on another backend now, or `Stripe.nowhere`.
public struct ShardMove: Sendable, Equatable {
    /// Which shard of the stripe.
    public let index: Int
    /// Where it is.
    public let backend: UInt16

    /// A shard and its place.
    public init(index: Int, backend: UInt16) { (self.index, self.backend) = (index, backend) }
}

/// A chunk that is in another stripe now; its bytes are the same.
public struct ChunkMove: Sendable, Equatable {
    /// Which chunk.
    public let id: ChunkID
    /// Where it begins in its new stripe.
    public let offset: Int
    /// Its stored bytes, as before.
    public let length: Int

    /// A chunk and its new place.
    public init(id: ChunkID, offset: Int, length: Int) {
        (self.id, self.offset, self.length) = (id, offset, length)
    }
}

/// The bytes of one PUT or one part as chunks; never changed.
public struct Manifest: Sendable, Equatable {
    /// A chunk of it, in order.
    public struct Piece: Sendable, Equatable {
        /// Which.
        public let id: ChunkID
        /// How many of the manifest's bytes it is.
        public let plainLength: Int

        /// A piece.
        public init(id: ChunkID, plainLength: Int) { (self.id, self.plainLength) = (id, plainLength) }
    }

    /// The sum of its pieces.
    public let size: Int64
    /// Its chunks in order; one may be there more than once.
    public let pieces: [Piece]
    /// The chunks' keys, sealed with the manifest's.
    public let sealedKeys: [UInt8]

    /// A manifest.
    public init(size: Int64, pieces: [Piece], sealedKeys: [UInt8]) {
        (self.size, self.pieces, self.sealedKeys) = (size, pieces, sealedKeys)
    }
}

/// A manifest as a part of a version's data.
public struct Segment: Sendable, Equatable {
    /// The number of the operation that made the manifest.
    public let manifest: UInt64
    /// The manifest's size.
    public let size: Int64
    /// The manifest's key, wrapped.
    public let wrappedKey: [UInt8]
    /// Which of the owner's keys wraps it.
    public let generation: UInt32

    /// A segment.
    public init(manifest: UInt64, size: Int64, wrappedKey: [UInt8], generation: UInt32) {
        (self.manifest, self.size, self.wrappedKey, self.generation) = (manifest, size, wrappedKey, generation)
    }
}
