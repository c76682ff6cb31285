/// One namespace of one Zero-DB.
public struct Backend: Sendable, Equatable {
    /// What becomes of a backend.
    public enum State: UInt8, Sendable {
        /// Takes shards.
        case active = 0
        /// Takes none; what is there moves away.
        case draining = 1
        /// What was there is gone.
        case lost = 2
        /// No longer of the store; as `lost` for what is still said to be there.
        case removed = 3
    }

    /// Its number in the log; `Stripe.nowhere` is none.
    public let number: UInt16
    /// Where it is reached.
    public let address: String
    /// Whose machine it is on.
    public let farm: String
    /// Which machine it is on.
    public let node: String
    /// Its share of new shards against others'.
    public let weight: UInt32
    /// Bytes it may take.
    public let capacity: Int64
    /// What becomes of it.
    public var state: State
    /// What the layer above keeps with it.
    public let extra: [UInt8]

    /// A backend.
    public init(
        number: UInt16, address: String, farm: String, node: String, weight: UInt32, capacity: Int64,
        state: State = .active, extra: [UInt8] = []
    ) {
        (self.number, self.address, self.farm, self.node) = (number, address, farm, node)
        (self.weight, self.capacity, self.state, self.extra) = (weight, capacity, state, extra)
    }
}

/// How new data is kept.
public struct Policy: Sendable, Equatable {
    /// Data shards.
    public var k: Int
    /// Parity shards.
    public var m: Int
    /// Shards above k that are durable before a write is acknowledged.
    public var margin: Int
    /// Nodes that may go.
    public var surviveNodes: Int
    /// Farms that may go.
    public var surviveFarms: Int
    /// How long dying stripes are kept, milliseconds.
    public var graceMs: Int64
    /// Which codec is tried; the index does not look at it.
    public var codec: UInt8
    /// Cut where the content says so, not after `averageChunk` bytes each time.
    public var contentDefined: Bool
    /// The least, the usual and the greatest bytes of a chunk.
    public var minimumChunk: Int, averageChunk: Int, maximumChunk: Int
    /// Bytes up to which a stripe is filled with small chunks.
    public var packSize: Int
    /// Whether chunks are shared.
    public var deduplicates: Bool
    /// What the layer above adds.
    public var extra: [UInt8]

    /// A policy.
    public init(
        k: Int, m: Int, margin: Int, surviveNodes: Int = 0, surviveFarms: Int = 0, graceMs: Int64, codec: UInt8,
        contentDefined: Bool = false, minimumChunk: Int, averageChunk: Int, maximumChunk: Int, packSize: Int,
        deduplicates: Bool = false, extra: [UInt8] = []
    ) {
        (self.k, self.m, self.margin) = (k, m, margin)
        (self.surviveNodes, self.surviveFarms, self.graceMs) = (surviveNodes, surviveFarms, graceMs)
        (self.codec, self.contentDefined) = (codec, contentDefined)
        (self.minimumChunk, self.averageChunk, self.maximumChunk) = (minimumChunk, averageChunk, maximumChunk)
        (self.packSize, self.deduplicates, self.extra) = (packSize, deduplicates, extra)
    }
}

/// Who writes from here on.
public struct WriterClaim: Sendable, Equatable {
    /// Higher than any before.
    public let epoch: UInt64
    /// Where others forward to.
    public let url: String
    /// When, Unix milliseconds.
    public let time: Int64

    /// A claim.
    public init(epoch: UInt64, url: String, time: Int64) { (self.epoch, self.url, self.time) = (epoch, url, time) }
}

/// A copy of the index that is kept in the store; its segments count as an object's do. The former one is released.
public struct IndexSnapshot: Sendable, Equatable {
    /// The log's height that the copy has.
    public let height: UInt64
    /// Its data.
    public let segments: [Segment]

    /// A snapshot.
    public init(height: UInt64, segments: [Segment]) { (self.height, self.segments) = (height, segments) }
}
