internal import Linux
internal import ObjectIndex
public import Objects
internal import Synchronization

extension ZeroStore: ObjectStore {
    public var writer: StoreWriter { committer.writes ? .here : .nobody("this gateway reads the log first") }

    public func createBucket(_ bucket: Bucket) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            if let known = try translate({ () throws(IndexError) in try writer.view.bucket(bucket.name) }) {
                throw .bucketExists(bucket.name, owner: known.owner)
            }
            _ = try apply(.bucketCreate(bucket))
        }
    }

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

    public func bucket(_ name: String) throws(ObjectError) -> Bucket {
        try read { (view) throws(ObjectError) in try Self.requireBucket(view, name) }
    }

    public func buckets() throws(ObjectError) -> [Bucket] {
        try translate { () throws(IndexError) in
            try index.withReader { (view) throws(IndexError) in try view.buckets() }
        }
    }

    public func setVersioning(_ bucket: String, _ versioning: Versioning) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            _ = try Self.requireBucket(writer.view, bucket)
            _ = try apply(.bucketVersioning(bucket, versioning))
        }
    }

    public func setSetting(_ bucket: String, _ name: String, _ value: [UInt8]?) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            _ = try Self.requireBucket(writer.view, bucket)
            _ = try apply(.bucketSetting(bucket: bucket, name: name, value: value))
        }
    }

    public func write(customerKey: [UInt8]?) throws(ObjectError) -> any ObjectWriter {
        let committer = committer
        return DataWriter(index, keys, stripeWriter, packer, policy, customerKey: customerKey) { committer.nextID() }
    }

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

    public func data(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?
    ) throws(ObjectError) -> any StoredData {
        let found = try read { (view) throws(ObjectError) in try Self.find(view, bucket, key, version) }
        for segment in found.segments where keys.unwrap(segment.wrappedKey, customer: customerKey) == nil {
            throw .wrongKey(key)
        }
        return WrittenData(
            size: found.version.size, segments: found.segments, chunks: [], stripes: [], packs: [],
            customerKey: customerKey, pinned: [], pins: pins)
    }

    public func version(_ bucket: String, _ key: ObjectKey, _ version: VersionID?) throws(ObjectError) -> ObjectVersion
    {
        try read { (view) throws(ObjectError) in try Self.find(view, bucket, key, version).version }
    }

    public func open(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID?, customerKey: [UInt8]?
    ) throws(ObjectError) -> any ObjectReader {
        try read { (view) throws(ObjectError) in
            let found = try Self.find(view, bucket, key, version)
            return try DataReader(found, index, view, keys, stripeReader, customerKey: customerKey)
        }
    }

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

    public func list(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion> {
        try read { (view) throws(ObjectError) in
            _ = try Self.requireBucket(view, bucket)
            return try translate { () throws(IndexError) in try view.list(bucket, query) }
        }
    }

    public func listVersions(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<ObjectVersion> {
        try read { (view) throws(ObjectError) in
            _ = try Self.requireBucket(view, bucket)
            return try translate { () throws(IndexError) in try view.listVersions(bucket, query) }
        }
    }

    public func listUploads(_ bucket: String, _ query: ListQuery) throws(ObjectError) -> ListPage<Upload> {
        try read { (view) throws(ObjectError) in
            _ = try Self.requireBucket(view, bucket)
            return try translate { () throws(IndexError) in try view.listUploads(bucket, query) }
        }
    }
}
