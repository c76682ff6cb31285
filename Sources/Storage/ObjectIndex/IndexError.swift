internal import Objects

/// Why the index did not do what it was asked.
public enum IndexError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The operation does not fit the state: no correct writer puts it into a log. Nothing of it was applied.
    case unfit(operation: String, sequence: UInt64, Misfit)
    /// SQLite failed. The index is derived: where this stays so, remove its file and make it anew from the log.
    case database(String, code: Int32)
    /// The file is of another version of the index, or no index at all: remove it and make it anew from the log.
    case otherFormat(String)
    /// A row that cannot be read: remove the file and make it anew from the log.
    case damaged(String)
    /// A call that is not allowed now.
    case misuse(String)

    /// A sentence for people.
    public var description: String {
        switch self {
        case .unfit(let operation, let sequence, let misfit):
            "operation \(sequence), \(operation), does not fit the state of the store: \(misfit)"
        case .database(let message, let code): "the index failed: \(message) (SQLite \(code))"
        case .otherFormat(let what): "the index is not one that this program reads: \(what)"
        case .damaged(let what): "the index is damaged: \(what)"
        case .misuse(let what): what
        }
    }
}

/// What does not fit.
public enum Misfit: Sendable, Equatable, CustomStringConvertible {
    case noSuchBucket(String)
    case bucketExists(String)
    case bucketNotEmpty(String)
    case noSuchVersion(VersionName)
    /// A delete marker has no data, neither has it parts.
    case markerWithData
    case noSuchUpload(UInt64)
    case noSuchPart(UInt64, Int)
    /// Part numbers that do not ascend, or none.
    case partsOutOfOrder(UInt64)
    case noSuchManifest(UInt64)
    /// A manifest that something is made of.
    case manifestInUse(UInt64)
    /// A size that is not the sum of what it is made of.
    case wrongSize(UInt64)
    case noSuchAccessKey(String)
    case stripeExists(StripeID)
    case noSuchStripe(StripeID)
    /// It has live chunks, so it cannot die.
    case stripeLives(StripeID)
    case stripeDies(StripeID)
    /// It was not said to be dying before it went.
    case stripeDoesNotDie(StripeID)
    /// Shards, lengths or the places of chunks contradict each other.
    case stripeMalformed(StripeID)
    case noSuchShard(StripeID, Int)
    case chunkExists(ChunkID)
    case noSuchChunk(ChunkID)
    case chunkInUse(ChunkID)
    /// Its length is not what it was, or not what the manifest says.
    case wrongLength(ChunkID)
    case noSuchBackend(UInt16)
    case oldGeneration(UInt32)
    case oldEpoch(UInt64)
    /// As many wrapped keys as there are segments.
    case wrongKeyCount(Int)

    /// A clause for people.
    public var description: String {
        switch self {
        case .noSuchBucket(let name): "there is no bucket \(name)"
        case .bucketExists(let name): "there is a bucket \(name)"
        case .bucketNotEmpty(let name): "the bucket \(name) is not empty"
        case .noSuchVersion(let name): "there is no version \(name.version) of \(name.key) in \(name.bucket)"
        case .markerWithData: "a delete marker has data"
        case .noSuchUpload(let number): "there is no upload \(number)"
        case .noSuchPart(let upload, let number): "upload \(upload) has no part \(number)"
        case .partsOutOfOrder(let upload): "the parts of upload \(upload) do not ascend"
        case .noSuchManifest(let number): "there is no manifest \(number)"
        case .manifestInUse(let number): "manifest \(number) is in use"
        case .wrongSize(let number): "manifest \(number) has another size"
        case .noSuchAccessKey(let id): "there is no access key \(id)"
        case .stripeExists(let id): "there is a stripe \(id)"
        case .noSuchStripe(let id): "there is no stripe \(id)"
        case .stripeLives(let id): "stripe \(id) has live chunks"
        case .stripeDies(let id): "stripe \(id) is dying already"
        case .stripeDoesNotDie(let id): "stripe \(id) is not dying"
        case .stripeMalformed(let id): "shards or chunks of stripe \(id) do not fit it"
        case .noSuchShard(let id, let index): "stripe \(id) has no shard \(index)"
        case .chunkExists(let id): "there is a chunk \(id)"
        case .noSuchChunk(let id): "there is no chunk \(id)"
        case .chunkInUse(let id): "chunk \(id) is in use"
        case .wrongLength(let id): "chunk \(id) has another length"
        case .noSuchBackend(let number): "there is no backend \(number)"
        case .oldGeneration(let generation): "the key generation \(generation) is not higher than the last"
        case .oldEpoch(let epoch): "the epoch \(epoch) is not higher than the last"
        case .wrongKeyCount(let count): "there are \(count) wrapped keys for another number of segments"
        }
    }
}
