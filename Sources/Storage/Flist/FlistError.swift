public import Crypto

/// Why a flist, or a part of it, cannot be read or written. Every case carries its subject.
public enum FlistError: Error, Equatable, Sendable {
    /// A chunk's plaintext is not what its kind's format says.
    case malformed(ChunkKind, reason: String, offset: Int)
    /// Something is larger than the format allows.
    case limit(subject: String, value: UInt64, limit: UInt64)
    /// The store does not have this chunk.
    case missing(Digest)
    /// The store has this chunk and knows that it is damaged; `reason` names the place.
    case damaged(Digest, reason: String)
    /// The stored bytes do not have the id under which they were asked for.
    case wrongIdentifier(Digest)
    /// The key does not open this chunk.
    case wrongKey(Digest)
    /// The chunk opens, but its key is not the one that the convergence secret gives.
    case wrongConvergence(Digest)
    /// The chunk's header is of another kind or version, or its contents do not decompress to what it says.
    case badChunk(Digest, reason: String)
    /// The chunk store failed.
    case store(String)
    /// No file of this inode number.
    case noInode(UInt64)
    /// Compression or encryption failed while writing.
    case sealing(String)
}

extension FlistError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .malformed(let kind, let reason, let offset): "\(kind) chunk is malformed at byte \(offset): \(reason)"
        case .limit(let subject, let value, let limit): "\(subject) is \(value), the limit is \(limit)"
        case .missing(let id): "chunk \(id.hex) is not in the store"
        case .damaged(let id, let reason): "chunk \(id.hex) is damaged in the store: \(reason)"
        case .wrongIdentifier(let id): "chunk \(id.hex) has other bytes than its id says"
        case .wrongKey(let id): "chunk \(id.hex) does not open with its key"
        case .wrongConvergence(let id): "chunk \(id.hex) has a key that its contents do not give"
        case .badChunk(let id, let reason): "chunk \(id.hex) \(reason)"
        case .store(let reason): "chunk store: \(reason)"
        case .noInode(let inode): "no file has inode \(inode)"
        case .sealing(let reason): "cannot seal a chunk: \(reason)"
        }
    }

    /// The chunk that the error is about.
    public var chunk: Digest? {
        switch self {
        case .missing(let id), .wrongIdentifier(let id), .wrongKey(let id), .wrongConvergence(let id),
            .badChunk(let id, _), .damaged(let id, _):
            id
        default: nil
        }
    }
}
