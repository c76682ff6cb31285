internal import Linux
internal import ObjectIndex
public import Objects
internal import Synchronization

extension ZeroStore: ObjectStore {
    /// Whether this gateway writes.
    public var writer: StoreWriter { committer.writes ? .here : .nobody("this gateway reads the log first") }

    /// Makes a bucket.
    public func createBucket(_ bucket: Bucket) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            if let known = try translate({ () throws(IndexError) in try writer.view.bucket(bucket.name) }) {
                throw .bucketExists(bucket.name, owner: known.owner)
            }
            _ = try apply(.bucketCreate(bucket))
        }
    }

    /// Removes an empty bucket.
    public func deleteBucket(_ name: String) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            _ = try Self.requireBucket(writer.view, name)
            var query = ListQuery()
            query.limit = 1
            let page = try translate { () throws(IndexError) in try writer.view.listVersions(name, query) }
            if !page.entries.isEmpty { throw .bucketNotEmpty(name) }
            _ = try apply(.bucketDelete(name))
        }
    }

    /// The bucket.
    public func bucket(_ name: String) throws(ObjectError) -> Bucket {
        try read { (view) throws(ObjectError) in try Self.requireBucket(view, name) }
    }

    /// All buckets, by name.
    public func buckets() throws(ObjectError) -> [Bucket] {
        try translate { () throws(IndexError) in
            try index.withReader { (view) throws(IndexError) in try view.buckets() }
        }
    }

    /// Sets whether former versions are kept.
    public func setVersioning(_ bucket: String, _ versioning: Versioning) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            _ = try Self.requireBucket(writer.view, bucket)
            _ = try apply(.bucketVersioning(bucket, versioning))
        }
    }

    /// Sets or removes what is kept with a bucket.
    public func setSetting(_ bucket: String, _ name: String, _ value: [UInt8]?) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            _ = try Self.requireBucket(writer.view, bucket)
            _ = try apply(.bucketSetting(bucket: bucket, name: name, value: value))
        }
    }

    /// Begins to take data.
    public func write(customerKey: [UInt8]?) throws(ObjectError) -> any ObjectWriter {
        let committer = committer
        if !committer.writes { try committer.takeOver() }
        return DataWriter(index, keys, stripeWriter, packer, policy, customerKey: customerKey) { committer.nextID() }
    }

    /// Makes a new newest version.
    public func put(
        _ bucket: String, _ key: ObjectKey, _ data: any StoredData, etag: String, attributes: [String: String],
        check: Check
    ) throws(ObjectError) -> ObjectVersion {
        try change(check) { (writer, check, apply) throws(ObjectError) in
            let owner = try Self.requireBucket(writer.view, bucket).owner
            let present = try translate { () throws(IndexError) in try writer.view.version(bucket, key, nil) }
            try check(present?.version)
            let put = ObjectPut(
                bucket: bucket, key: key, etag: etag, time: Clock.wallMilliseconds(), attributes: attributes,
                segments: try self.segments(data, writer, apply), owner: attributes[ObjectAttribute.owner] ?? owner)
            return try Self.made(put, try apply(.objectPut(put)), writer)
        }
    }

    static func made(_ put: ObjectPut, _ effects: Effects, _ writer: IndexWriter) throws(ObjectError) -> ObjectVersion {
        let found = try translate { () throws(IndexError) in
            try writer.view.version(put.bucket, put.key, effects.version)
        }
        guard let found else { throw .damaged("the index lost \(put.key)") }
        return found.version
    }

    /// The data of a version, to be put elsewhere without being read.
    public func data(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?
    ) throws(ObjectError) -> any StoredData {
        let found = try read { (view) throws(ObjectError) in try Self.find(view, bucket, key, version) }
        for segment in found.segments where keys.unwrap(segment.wrappedKey, customer: customerKey) == nil {
            throw .wrongKey(key)
        }
        return WrittenData(
            size: found.version.size, segments: found.segments, chunks: [], stripes: [],
            customerKey: customerKey, pinned: [], pins: pins)
    }

    /// A version.
    public func version(_ bucket: String, _ key: ObjectKey, _ version: VersionID?) throws(ObjectError) -> ObjectVersion
    {
        try read { (view) throws(ObjectError) in try Self.find(view, bucket, key, version).version }
    }

    /// Opens a version for reading.
    public func open(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?
    ) throws(ObjectError) -> any ObjectReader {
        try read { (view) throws(ObjectError) in
            let found = try Self.find(view, bucket, key, version)
            return try DataReader(found, index, view, keys, stripeReader, customerKey: customerKey)
        }
    }

    /// Changes attributes of a version.
    public func setAttributes(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, _ change: [String: String?], check: Check
    ) throws(ObjectError) -> ObjectVersion {
        try self.change(check) { (writer, check, apply) throws(ObjectError) in
            let found = try Self.find(writer.view, bucket, key, version)
            try check(found.version)
            let name = VersionName(bucket: bucket, key: key, version: found.version.id)
            _ = try apply(.objectAttributes(name, change))
            return try Self.find(writer.view, bucket, key, found.version.id).version
        }
    }

    /// Deletes a key or removes a version.
    public func delete(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, owner: String, check: Check
    ) throws(ObjectError) -> ObjectVersion? {
        try change(check) { (writer, check, apply) throws(ObjectError) in
            let state = try Self.requireBucket(writer.view, bucket)
            let found = try translate { () throws(IndexError) in try writer.view.version(bucket, key, version) }
            try check(found?.version)
            if version == nil, state.versioning != .off {
                let put = ObjectPut(
                    bucket: bucket, key: key, isDeleteMarker: true, etag: "", time: Clock.wallMilliseconds(),
                    attributes: [ObjectAttribute.owner: owner], segments: [], owner: owner)
                return try Self.made(put, try apply(.objectPut(put)), writer)
            }
            guard let found else { return nil }
            _ = try apply(.objectRemove(VersionName(bucket: bucket, key: key, version: found.version.id)))
            return found.version
        }
    }

    /// Makes a change whose check the caller gave, and gives back what it made.
    func change<Result>(
        _ check: Check,
        _ body:
            @escaping (
                IndexWriter, Check, (Operation) throws(ObjectError) -> Effects
            ) throws(ObjectError) -> Result
    ) throws(ObjectError) -> Result {
        var result: Result?
        try withoutActuallyEscaping(check) { (check) throws(ObjectError) in
            try committer.commit { (writer, apply) throws(ObjectError) in result = try body(writer, check, apply) }
        }
        guard let result else { throw .busy("the change was not made") }
        return result
    }

    /// Newest versions, a page.
    public func list(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion> {
        try read { (view) throws(ObjectError) in
            _ = try Self.requireBucket(view, bucket)
            return try translate { () throws(IndexError) in try view.list(bucket, query) }
        }
    }

    /// All versions, a page.
    public func listVersions(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion> {
        try read { (view) throws(ObjectError) in
            _ = try Self.requireBucket(view, bucket)
            return try translate { () throws(IndexError) in try view.listVersions(bucket, query) }
        }
    }

    /// Uploads, a page.
    public func listUploads(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<Upload> {
        try read { (view) throws(ObjectError) in
            _ = try Self.requireBucket(view, bucket)
            return try translate { () throws(IndexError) in try view.listUploads(bucket, query) }
        }
    }
}
