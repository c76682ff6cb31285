/// What stripes and chunks are named by: 16 bytes, given by the writer and never twice.
public protocol StoreID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The epoch of the writer that gave it.
    var epoch: UInt64 { get }
    /// Counted by that writer.
    var counter: UInt64 { get }
    /// An id of these.
    init(epoch: UInt64, counter: UInt64)
}

extension StoreID {
    /// The epoch, then the counter, both big-endian: order of the bytes is order in time.
    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16)
        for word in [epoch, counter] {
            for shift in stride(from: UInt64(56), through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return bytes
    }

    /// From 16 bytes; nil for any other count.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        for (index, byte) in bytes.enumerated() {
            if index < 8 { words.0 = words.0 << 8 | UInt64(byte) } else { words.1 = words.1 << 8 | UInt64(byte) }
        }
        self.init(epoch: words.0, counter: words.1)
    }

    /// By epoch, then by counter.
    public static func < (left: Self, right: Self) -> Bool {
        left.epoch == right.epoch ? left.counter < right.counter : left.epoch < right.epoch
    }

    /// `epoch-counter`, in decimal.
    public var description: String { "\(epoch)-\(counter)" }
}

/// The name of a stripe.
public struct StripeID: StoreID {
    /// The epoch of the writer that gave it.
    public let epoch: UInt64
    /// Counted by that writer.
    public let counter: UInt64

    /// An id of these.
    public init(epoch: UInt64, counter: UInt64) { (self.epoch, self.counter) = (epoch, counter) }
}

/// The name of a chunk.
public struct ChunkID: StoreID {
    /// The epoch of the writer that gave it.
    public let epoch: UInt64
    /// Counted by that writer.
    public let counter: UInt64

    /// An id of these.
    public init(epoch: UInt64, counter: UInt64) { (self.epoch, self.counter) = (epoch, counter) }
}
