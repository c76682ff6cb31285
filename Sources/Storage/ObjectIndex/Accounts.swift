/// What is in a store, kept exactly with every operation.
public struct Accounts: Sendable, Equatable {
    /// Buckets.
    public var buckets: Int64 = 0
    /// Versions with data, former ones included.
    public var objects: Int64 = 0
    /// Versions that are delete markers.
    public var deleteMarkers: Int64 = 0
    /// Bytes of all versions, as users see them.
    public var objectBytes: Int64 = 0
    /// Uploads that are not complete.
    public var uploads: Int64 = 0
    /// Parts of those.
    public var parts: Int64 = 0
    /// Bytes of those.
    public var partBytes: Int64 = 0
    /// Manifests.
    public var manifests: Int64 = 0
    /// Chunks that a manifest names, or that none named yet.
    public var chunks: Int64 = 0
    /// Stripes, dying ones included.
    public var stripes: Int64 = 0
    /// Stripes whose shards are removed after the grace time.
    public var dyingStripes: Int64 = 0
    /// Stored bytes of chunks.
    public var liveBytes: Int64 = 0
    /// Bytes of stripes that are not dying in which there is no chunk (any more).
    public var deadBytes: Int64 = 0
    /// Bytes of dying stripes.
    public var dyingBytes: Int64 = 0
    /// Bytes of all shards that are on a backend: the sum over backends.
    public var rawBytes: Int64 = 0

    /// An empty store.
    public init() {}

    private static var fields: [(String, WritableKeyPath<Accounts, Int64>)] {
        [
            ("buckets", \.buckets), ("objects", \.objects), ("deleteMarkers", \.deleteMarkers),
            ("objectBytes", \.objectBytes), ("uploads", \.uploads), ("parts", \.parts), ("partBytes", \.partBytes),
            ("manifests", \.manifests), ("chunks", \.chunks), ("stripes", \.stripes),
            ("dyingStripes", \.dyingStripes), ("liveBytes", \.liveBytes), ("deadBytes", \.deadBytes),
            ("dyingBytes", \.dyingBytes), ("rawBytes", \.rawBytes),
        ]
    }

    /// Every account by name.
    public var named: [(name: String, value: Int64)] { Self.fields.map { ($0.0, self[keyPath: $0.1]) } }

    var bytes: [UInt8] {
        var writer = FieldWriter()
        for (name, field) in Self.fields { writer.signed(self[keyPath: field], name) }
        return writer.bytes
    }

    init(_ bytes: [UInt8]) throws(OperationError) {
        var reader = FieldReader(bytes)
        for (name, field) in Self.fields { self[keyPath: field] = try reader.signed(name) }
        try reader.finish()
    }
}
