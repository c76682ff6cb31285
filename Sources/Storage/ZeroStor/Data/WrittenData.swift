internal import Crypto
internal import ObjectIndex
internal import Objects

/// A chunk of data that was written: new in a stripe, or one that was there already.
struct WrittenChunk: Sendable {
    let id: ChunkID
    let plainLength: Int
    let key: [UInt8]
}

/// Data that is durable and belongs to nothing yet.
final class WrittenData: StoredData {
    let size: Int64
    /// Segments that are there already: a copy's.
    let segments: [Segment]
    /// New data; empty in a copy.
    let chunks: [WrittenChunk]
    /// Stripes with these chunks that were no part of the log when they were written.
    let stripes: [FreshStripe]
    let manifestKey: [UInt8]
    let customerKey: [UInt8]?
    /// Chunks of others that this shares.
    let pinned: [ChunkID]
    private let pins: Pins

    init(
        size: Int64, segments: [Segment] = [], chunks: [WrittenChunk], stripes: [FreshStripe],
        customerKey: [UInt8]?, pinned: [ChunkID], pins: Pins
    ) {
        (self.size, self.segments, self.chunks, self.stripes) = (size, segments, chunks, stripes)
        (self.customerKey, self.pinned, self.pins) = (customerKey, pinned, pins)
        manifestKey = Random.bytes(32)
    }

    deinit { pins.unpin(pinned) }

    /// The manifest's chunk keys under its own key, which seals nothing else.
    var sealedKeys: [UInt8] {
        let keys = [UInt8](chunks.map(\.key).joined())
        return AESGCM.seal(key: manifestKey, nonce: [UInt8](repeating: 0, count: 12), plaintext: keys)
    }

    /// The chunks' keys of a manifest; nil where it was another key.
    static func open(_ manifest: Manifest, key: [UInt8]) -> [[UInt8]]? {
        guard
            let keys = try? AESGCM.open(
                key: key, nonce: [UInt8](repeating: 0, count: 12), ciphertext: manifest.sealedKeys),
            keys.count == manifest.pieces.count * 32
        else { return nil }
        return manifest.pieces.indices.map { Array(keys[$0 * 32..<$0 * 32 + 32]) }
    }
}
