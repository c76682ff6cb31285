public import Objects

/// One version of one key of one bucket.
public struct VersionName: Sendable, Hashable {
    /// The bucket's name.
    public let bucket: String
    /// The key.
    public let key: ObjectKey
    /// Which version.
    public let version: VersionID

    /// A name.
    public init(bucket: String, key: ObjectKey, version: VersionID) {
        (self.bucket, self.key, self.version) = (bucket, key, version)
    }
}

/// A new newest version of a key.
public struct ObjectPut: Sendable, Equatable {
    /// The bucket's name.
    public let bucket: String
    /// The key.
    public let key: ObjectKey
    /// Whether it says that the key was deleted; then it has no segments.
    public let isDeleteMarker: Bool
    /// Without quotes.
    public let etag: String
    /// Unix milliseconds.
    public let time: Int64
    /// What the layer above keeps with it.
    public let attributes: [String: String]
    /// The parts it was put together from, where a copy keeps them.
    public let parts: [ObjectPart]
    /// Its data, in order.
    public let segments: [Segment]
    /// Whose it is.
    public let owner: String

    /// A version to be.
    public init(
        bucket: String, key: ObjectKey, isDeleteMarker: Bool = false, etag: String, time: Int64,
        attributes: [String: String] = [:], parts: [ObjectPart] = [], segments: [Segment], owner: String
    ) {
        (self.bucket, self.key, self.isDeleteMarker, self.etag) = (bucket, key, isDeleteMarker, etag)
        (self.time, self.attributes, self.parts) = (time, attributes, parts)
        (self.segments, self.owner) = (segments, owner)
    }
}

/// The beginning of an upload in parts; its number is the operation's.
public struct UploadCreate: Sendable, Equatable {
    /// The bucket's name.
    public let bucket: String
    /// The key that the object will have.
    public let key: ObjectKey
    /// What the object will have.
    public let attributes: [String: String]
    /// Unix milliseconds.
    public let time: Int64
    /// Whose it will be.
    public let owner: String
    /// What the layer above keeps with it: what proves a customer's key.
    public let seal: [UInt8]

    /// An upload to be.
    public init(
        bucket: String, key: ObjectKey, attributes: [String: String] = [:], time: Int64, owner: String,
        seal: [UInt8] = []
    ) {
        (self.bucket, self.key, self.attributes) = (bucket, key, attributes)
        (self.time, self.owner, self.seal) = (time, owner, seal)
    }
}

/// A part of an upload; replaces a former one of its number.
public struct PartPut: Sendable, Equatable {
    /// The upload's number.
    public let upload: UInt64
    /// 1 to 10000.
    public let number: Int
    /// Its data: one segment where it was written, perhaps several where it was copied.
    public let segments: [Segment]
    /// Without quotes.
    public let etag: String
    /// Unix milliseconds.
    public let time: Int64
    /// Checksums and the like.
    public let attributes: [String: String]

    /// A part to be.
    public init(
        upload: UInt64, number: Int, segments: [Segment], etag: String, time: Int64,
        attributes: [String: String] = [:]
    ) {
        (self.upload, self.number, self.segments) = (upload, number, segments)
        (self.etag, self.time, self.attributes) = (etag, time, attributes)
    }
}

/// Makes a version of parts of an upload; its other parts are dropped.
public struct UploadComplete: Sendable, Equatable {
    /// The upload's number.
    public let upload: UInt64
    /// Ascending.
    public let parts: [Int]
    /// The object's, without quotes.
    public let etag: String
    /// The object's.
    public let attributes: [String: String]
    /// Unix milliseconds.
    public let time: Int64

    /// The end of an upload.
    public init(upload: UInt64, parts: [Int], etag: String, attributes: [String: String], time: Int64) {
        (self.upload, self.parts, self.etag) = (upload, parts, etag)
        (self.attributes, self.time) = (attributes, time)
    }
}

/// What an entry of a store's log says. Applying one is a function of the state before and the operation alone.
///
/// Each has a sequence number, counted over the whole log from 1: what it makes (a version, a manifest, an upload) is named by it.
public enum Operation: Sendable, Equatable {
    /// There is a bucket.
    case bucketCreate(Bucket)
    /// There is none of that name; it was empty, its uploads are dropped.
    case bucketDelete(String)
    /// Whether it keeps versions.
    case bucketVersioning(String, Versioning)
    /// Sets or (nil) removes what is kept with it by name.
    case bucketSetting(bucket: String, name: String, value: [UInt8]?)
    /// A stripe was written.
    case stripeAdd(Stripe)
    /// Chunks make data.
    case manifestAdd(Manifest)
    /// A new newest version.
    case objectPut(ObjectPut)
    /// A version is gone.
    case objectRemove(VersionName)
    /// Sets or (nil) removes attributes of a version.
    case objectAttributes(VersionName, [String: String?])
    /// An upload begins.
    case uploadCreate(UploadCreate)
    /// A part of it.
    case partPut(PartPut)
    /// It becomes a version.
    case uploadComplete(UploadComplete)
    /// It is dropped.
    case uploadAbort(UInt64)
    /// Adds or replaces a key of a user.
    case accessKeySet(AccessKey)
    /// Revokes one.
    case accessKeyRemove(String)
    /// Stripes without live chunks: their shards are removed after the grace time.
    case stripesDying([StripeID], time: Int64)
    /// Their shards were removed.
    case stripesGone([StripeID])
    /// Shards are elsewhere, or (`Stripe.nowhere`) known to be lost.
    case shardsMoved(StripeID, [ShardMove])
    /// Chunks of other stripes are in this new one now.
    case chunksMoved(Stripe, [ChunkMove])
    /// Adds a backend, or changes what is known of it.
    case backendSet(Backend)
    /// How new data is kept.
    case policySet(Policy)
    /// A new key of the owner, wrapped; one higher than the last.
    case keyGeneration(UInt32, wrapped: [UInt8])
    /// Who writes.
    case writer(WriterClaim)
    /// A copy of the index is in the store.
    case snapshot(IndexSnapshot)
    /// The keys of a version's segments are wrapped anew, in order.
    case objectRewrap(VersionName, generation: UInt32, keys: [[UInt8]])
    /// The same for a part of an upload.
    case partRewrap(upload: UInt64, number: Int, generation: UInt32, keys: [[UInt8]])
    /// Manifests and chunks that nothing was made of, and nothing will.
    case release(manifests: [UInt64], chunks: [ChunkID])

    /// What errors call it.
    public var name: String {
        switch self {
        case .bucketCreate: "bucketCreate"
        case .bucketDelete: "bucketDelete"
        case .bucketVersioning: "bucketVersioning"
        case .bucketSetting: "bucketSetting"
        case .stripeAdd: "stripeAdd"
        case .manifestAdd: "manifestAdd"
        case .objectPut: "objectPut"
        case .objectRemove: "objectRemove"
        case .objectAttributes: "objectAttributes"
        case .uploadCreate: "uploadCreate"
        case .partPut: "partPut"
        case .uploadComplete: "uploadComplete"
        case .uploadAbort: "uploadAbort"
        case .accessKeySet: "accessKeySet"
        case .accessKeyRemove: "accessKeyRemove"
        case .stripesDying: "stripesDying"
        case .stripesGone: "stripesGone"
        case .shardsMoved: "shardsMoved"
        case .chunksMoved: "chunksMoved"
        case .backendSet: "backendSet"
        case .policySet: "policySet"
        case .keyGeneration: "keyGeneration"
        case .writer: "writer"
        case .snapshot: "snapshot"
        case .objectRewrap: "objectRewrap"
        case .partRewrap: "partRewrap"
        case .release: "release"
        }
    }
}
