public import Crypto

/// What a chunk holds; the second field of its header.
public enum ChunkKind: UInt8, Sendable, CaseIterable {
    /// A piece of a file.
    case content = 1
    /// A part of a directory.
    case directory = 2
    /// References to the pieces of a large file.
    case list = 3
    /// The root of a flist.
    case root = 4
}

/// The AES-256 key of one chunk. Its text form is kept out of descriptions, so that logs do not show it.
public struct ChunkKey: Hashable, Sendable, CustomStringConvertible {
    /// The key as a 32-byte value.
    let value: Digest

    init(_ value: Digest) { self.value = value }

    /// Nil unless `bytes` are 32.
    public init?(_ bytes: [UInt8]) {
        guard let value = Digest(bytes) else { return nil }
        self.value = value
    }

    /// Nil unless `hex` is 64 lower-case digits.
    public init?(hex: String) {
        guard let value = Digest(hex: hex) else { return nil }
        self.value = value
    }

    /// The 32 bytes.
    public var bytes: [UInt8] { value.bytes }
    /// 64 lower-case digits.
    public var hex: String { value.hex }
    /// Not the key.
    public var description: String { "(key)" }
}

/// Where a chunk is found and how it is opened.
public struct ChunkReference: Hashable, Sendable {
    /// SHA-256 of the stored bytes.
    public let id: Digest
    /// What opens them.
    public let key: ChunkKey

    /// A reference.
    public init(id: Digest, key: ChunkKey) { (self.id, self.key) = (id, key) }
}

/// A reference to a piece of a file, or to a list of such pieces.
public struct SizedReference: Hashable, Sendable {
    /// Bytes of the file that it covers.
    public let size: UInt64
    /// The chunk.
    public let chunk: ChunkReference

    /// A reference that covers `size` bytes.
    public init(size: UInt64, chunk: ChunkReference) { (self.size, self.chunk) = (size, chunk) }
}

/// The contents of a file: pieces in order, at depth 0 themselves, above that through list chunks.
public struct ChunkTree: Hashable, Sendable {
    /// How many levels of list chunks lie between `references` and the content.
    public let depth: UInt8
    /// In order of the file.
    public let references: [SizedReference]

    /// A tree of these references.
    public init(depth: UInt8, references: [SizedReference]) { (self.depth, self.references) = (depth, references) }

    /// No content.
    public static let empty = ChunkTree(depth: 0, references: [])
}

/// The secret that decides which keys chunks get: equal contents under an equal secret become equal chunks.
public struct ConvergenceSecret: Hashable, Sendable, CustomStringConvertible {
    /// The 32 bytes.
    public let bytes: [UInt8]

    /// Nil unless `bytes` are 32.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        self.bytes = bytes
    }

    private init(zero count: Int) { bytes = Array(repeating: 0, count: count) }

    /// 32 zero bytes: for images that everybody may read.
    public static let publicImages = ConvergenceSecret(zero: 32)
    /// Whether this is the secret of public images.
    public var isPublic: Bool { self == .publicImages }
    /// Not the secret.
    public var description: String { isPublic ? "(public)" : "(secret)" }
}
