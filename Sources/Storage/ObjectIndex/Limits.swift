/// What an operation may be at most: a reader of the log refuses more, so a writer does too.
public enum Limits {
    /// Bytes of an entry: two values of a Zero-DB at its usual limit.
    public static let entry = 16 << 20
    /// Operations of an entry.
    public static let operations = 1 << 16
    /// Bytes of names: buckets, identities, farms, nodes, attributes.
    public static let name = 1024
    /// Bytes of an object's key, as S3 has it.
    public static let key = 1024
    /// Bytes of an address.
    public static let address = 4096
    /// Bytes of an ETag.
    public static let etag = 256
    /// Attributes of an object, and settings of a bucket.
    public static let attributes = 1024
    /// Bytes of an attribute's value.
    public static let attribute = 64 << 10
    /// Bytes of a bucket's setting.
    public static let setting = 1 << 20
    /// Parts of an object, and the highest number of one, as S3 has it.
    public static let parts = 10_000
    /// Segments of an object: a part may have several.
    public static let segments = 100_000
    /// Bytes of a wrapped key, a secret, and of what the layer above adds.
    public static let wrapped = 4096
    /// Shards of a stripe.
    public static let shards = 255
    /// Bytes of a stripe or a chunk.
    public static let stripe = 1 << 30
    /// Chunks of a stripe.
    public static let stripeChunks = 1 << 18
    /// Chunks of a manifest: 5 GiB of 16 KiB.
    public static let manifestChunks = 1 << 19
    /// Bytes of a manifest's sealed keys.
    public static let sealedKeys = 15 << 20
    /// Ids in a list of stripes, manifests or chunks.
    public static let ids = 1 << 18
    /// The highest number of anything: what SQLite holds as well.
    public static let number = UInt64(Int64.max)
}
