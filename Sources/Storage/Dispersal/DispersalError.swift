/// Why data could not be dispersed, or put together again.
public enum DispersalError: Error, Sendable, Equatable, CustomStringConvertible {
    /// No code has so many shards.
    case badShape(data: Int, parity: Int)
    /// Fewer shards are there than suffice.
    case tooFewShards(have: Int, need: Int)
    /// Stored bytes do not expand to what was said of them.
    case notExpandable(codec: Codec, length: Int)
    /// Sealed bytes are not what was sealed with that key.
    case notAuthentic
    /// No placement on these backends keeps the promise; which bound it breaks.
    case promiseTooHigh(String)

    /// A sentence for people.
    public var description: String {
        switch self {
        case .badShape(let data, let parity):
            "there is no code of \(data) data and \(parity) parity shards: 1 to 255 in all"
        case .tooFewShards(let have, let need): "\(have) shards are there, \(need) are needed"
        case .notExpandable(let codec, let length): "the \(codec) bytes do not expand to \(length)"
        case .notAuthentic: "the sealed bytes are not what was sealed"
        case .promiseTooHigh(let reason): reason
        }
    }
}
