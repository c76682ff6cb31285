internal import Crypto
internal import ObjectIndex
internal import Objects
internal import Synchronization

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
    /// Stripes that no entry of the log knows yet.
    let stripes: [Stripe]
    /// Packs that hold chunks of this; several pieces of data share one, the first that is committed brings it in.
    let packs: [Pack]
    let manifestKey: [UInt8]
    let customerKey: [UInt8]?
    /// Chunks of others that this shares.
    let pinned: [ChunkID]
    private let pins: Pins

    init(
        size: Int64, segments: [Segment] = [], chunks: [WrittenChunk], stripes: [Stripe], packs: [Pack],
        customerKey: [UInt8]?, pinned: [ChunkID], pins: Pins
    ) {
        (self.size, self.segments, self.chunks, self.stripes, self.packs) = (size, segments, chunks, stripes, packs)
        (self.customerKey, self.pinned, self.pins) = (customerKey, pinned, pins)
        manifestKey = Random.bytes(32)
    }

    deinit {
        pins.unpin(pinned)
        for stripe in stripes { pins.end(stripe.id) }
    }

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

/// A stripe of small chunks of several pieces of data; the first of them that is committed brings it into the log.
final class Pack: Sendable {
    let stripe: Stripe
    private let pins: Pins

    init(_ stripe: Stripe, _ pins: Pins) { (self.stripe, self.pins) = (stripe, pins) }
    deinit { pins.end(stripe.id) }
}
