/// Whether a bucket keeps former versions of its objects.
public enum Versioning: String, Sendable {
    /// It never did: each key has one version, `null`.
    case off
    /// Each write makes a version of its own.
    case enabled
    /// Writes replace the `null` version; others stay.
    case suspended
}

/// A bucket as the store knows it.
public struct Bucket: Sendable, Equatable {
    /// Its name, unique in the store.
    public let name: String
    /// The identity it belongs to.
    public let owner: String
    /// When it was made, Unix milliseconds.
    public let created: Int64
    /// Whether former versions are kept.
    public var versioning: Versioning
    /// What the layer above keeps with it (policy, CORS, lifecycle, tags …) by name; the store does not look inside.
    public var settings: [String: [UInt8]]

    /// A bucket.
    public init(
        name: String, owner: String, created: Int64, versioning: Versioning = .off, settings: [String: [UInt8]] = [:]
    ) {
        (self.name, self.owner, self.created) = (name, owner, created)
        (self.versioning, self.settings) = (versioning, settings)
    }
}

/// Attributes that the store itself sets or reads.
public enum ObjectAttribute {
    /// The identity that an object, or a delete marker, belongs to; the bucket's owner where it is not there.
    public static let owner = ".owner"
}

/// One version of an object, or a delete marker.
public struct ObjectVersion: Sendable, Equatable {
    /// Its name.
    public let key: ObjectKey
    /// Which version.
    public let id: VersionID
    /// The number of the operation that made it: higher is newer.
    public let sequence: UInt64
    /// Whether it is the newest of its key.
    public let isLatest: Bool
    /// Whether it says that the key was deleted; then it has no data.
    public let isDeleteMarker: Bool
    /// Bytes.
    public let size: Int64
    /// Without quotes.
    public let etag: String
    /// When it was written, Unix milliseconds.
    public let modified: Int64
    /// Headers, user metadata, tags, ACL, locks …: the layer above decides what is in here.
    public var attributes: [String: String]
    /// The parts it was put together from, in order; empty where it came as one.
    public let parts: [ObjectPart]

    /// A version.
    public init(
        key: ObjectKey, id: VersionID, sequence: UInt64, isLatest: Bool, isDeleteMarker: Bool = false, size: Int64,
        etag: String, modified: Int64, attributes: [String: String] = [:], parts: [ObjectPart] = []
    ) {
        (self.key, self.id, self.sequence, self.isLatest) = (key, id, sequence, isLatest)
        (self.isDeleteMarker, self.size, self.etag, self.modified) = (isDeleteMarker, size, etag, modified)
        (self.attributes, self.parts) = (attributes, parts)
    }
}

/// One part of an upload in parts, or of an object that came from one.
public struct ObjectPart: Sendable, Equatable {
    /// 1 to 10000.
    public let number: Int
    /// Bytes.
    public let size: Int64
    /// Without quotes.
    public let etag: String
    /// When it was written, Unix milliseconds.
    public let modified: Int64
    /// Checksums and the like.
    public let attributes: [String: String]

    /// A part.
    public init(number: Int, size: Int64, etag: String, modified: Int64, attributes: [String: String] = [:]) {
        (self.number, self.size, self.etag, self.modified) = (number, size, etag, modified)
        self.attributes = attributes
    }
}

/// An upload in parts that is not complete.
public struct Upload: Sendable, Equatable {
    /// Unique in the store, 16 hexadecimal digits; later ones are greater.
    public let id: String
    /// The name the object will have.
    public let key: ObjectKey
    /// When it began, Unix milliseconds.
    public let started: Int64
    /// What the object will have.
    public let attributes: [String: String]

    /// An upload.
    public init(id: String, key: ObjectKey, started: Int64, attributes: [String: String]) {
        (self.id, self.key, self.started, self.attributes) = (id, key, started, attributes)
    }
}

/// What a listing asks for.
public struct ListQuery: Sendable {
    /// Only keys that begin so.
    public var prefix: [UInt8] = []
    /// Keys with this after the prefix are joined into one common prefix; empty: none are.
    public var delimiter: [UInt8] = []
    /// Only what comes after this key or common prefix; a common prefix here skips all that it begins.
    public var after: ObjectKey?
    /// With `after`: of that key, only versions older than this one (version listings), or uploads later than this id.
    public var afterVersion: VersionID?
    /// With `after`: of that key, only uploads with a greater id.
    public var afterUpload: String?
    /// Most entries, objects and common prefixes together.
    public var limit: Int = 1000

    /// Everything, a thousand at a time.
    public init() {}
}

/// One page of a listing, in order of keys.
public struct ListPage<Entry: Sendable>: Sendable {
    /// Objects, versions or uploads.
    public var entries: [Entry] = []
    /// Common prefixes.
    public var prefixes: [[UInt8]] = []
    /// Whether there is more; it begins after the greater of the last entry and the last common prefix.
    public var isTruncated = false

    /// An empty page.
    public init() {}
}

/// A key for requests, and whom it acts for.
public struct AccessKey: Sendable, Equatable {
    /// What requests name.
    public let id: String
    /// What requests are signed with.
    public let secret: String
    /// The identity that it acts for: an address `G…`, or a name that the owner chose.
    public let identity: String
    /// Whether it may do everything: the owner's own.
    public let isOwner: Bool
    /// What it may do in others' buckets, by bucket (`*`: all): `read`, `write` or `full`.
    public let rights: [String: String]

    /// A key.
    public init(id: String, secret: String, identity: String, isOwner: Bool, rights: [String: String]) {
        (self.id, self.secret, self.identity) = (id, secret, identity)
        (self.isOwner, self.rights) = (isOwner, rights)
    }
}
