internal import Linux
internal import ObjectIndex
public import Objects

extension ZeroStore {
    /// Begins an upload in parts.
    public func createUpload(
        _ bucket: String, _ key: ObjectKey, attributes: [String: String], customerKey: [UInt8]?
    ) throws(ObjectError) -> Upload {
        try change({ (_) throws(ObjectError) in }) { (writer, _, apply) throws(ObjectError) in
            let owner = try Self.requireBucket(writer.view, bucket).owner
            let effects = try apply(
                .uploadCreate(
                    UploadCreate(
                        bucket: bucket, key: key, attributes: attributes, time: Clock.wallMilliseconds(),
                        owner: attributes[ObjectAttribute.owner] ?? owner)))
            guard let made = try translate({ () throws(IndexError) in try writer.view.upload(effects.sequence) }) else {
                throw .damaged("the index lost an upload")
            }
            return made.upload
        }
    }

    static func find(
        _ view: IndexView, _ bucket: String, _ key: ObjectKey, _ upload: String
    ) throws(ObjectError) -> IndexedUpload {
        guard let found = try translate({ () throws(IndexError) in try view.upload(bucket, key, upload) }) else {
            _ = try requireBucket(view, bucket)
            throw .noSuchUpload(upload)
        }
        return found
    }

    /// An upload.
    public func upload(_ bucket: String, _ key: ObjectKey, _ id: String) throws(ObjectError) -> Upload {
        try read { (view) throws(ObjectError) in try Self.find(view, bucket, key, id).upload }
    }

    /// Adds or replaces a part.
    public func putPart(
        _ bucket: String, _ key: ObjectKey, _ upload: String, number: Int, _ data: any StoredData, etag: String,
        attributes: [String: String]
    ) throws(ObjectError) -> ObjectPart {
        try change({ (_) throws(ObjectError) in }) { (writer, _, apply) throws(ObjectError) in
            let found = try Self.find(writer.view, bucket, key, upload)
            let part = PartPut(
                upload: found.number, number: number, segments: try self.segments(data, writer, apply), etag: etag,
                time: Clock.wallMilliseconds(), attributes: attributes)
            _ = try apply(.partPut(part))
            return ObjectPart(
                number: number, size: data.size, etag: etag, modified: part.time, attributes: attributes)
        }
    }

    /// Parts of an upload, in order.
    public func parts(
        _ bucket: String, _ key: ObjectKey, _ upload: String, after: Int, limit: Int
    ) throws(ObjectError) -> [ObjectPart] {
        try read { (view) throws(ObjectError) in
            let found = try Self.find(view, bucket, key, upload)
            return try translate { () throws(IndexError) in
                try view.parts(found.number, after: after, limit: limit).map(\.part)
            }
        }
    }

    /// Makes a version of parts.
    public func complete(
        _ bucket: String, _ key: ObjectKey, _ upload: String, parts: [(number: Int, etag: String)], etag: String,
        attributes: [String: String], check: Check
    ) throws(ObjectError) -> ObjectVersion {
        try change(check) { (writer, check, apply) throws(ObjectError) in
            let found = try Self.find(writer.view, bucket, key, upload)
            for (number, etag) in parts {
                let part = try translate { () throws(IndexError) in try writer.view.part(found.number, number) }
                guard part?.part.etag == etag else { throw .invalidPart(number) }
            }
            let present = try translate { () throws(IndexError) in try writer.view.version(bucket, key, nil) }
            try check(present?.version)
            let effects = try apply(
                .uploadComplete(
                    UploadComplete(
                        upload: found.number, parts: parts.map(\.number), etag: etag, attributes: attributes,
                        time: Clock.wallMilliseconds())))
            return try Self.find(writer.view, bucket, key, effects.version).version
        }
    }

    /// Drops an upload.
    public func abort(_ bucket: String, _ key: ObjectKey, _ upload: String) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            _ = try apply(.uploadAbort(try Self.find(writer.view, bucket, key, upload).number))
        }
    }

    /// The access key of that id.
    public func accessKey(_ id: String) throws(ObjectError) -> AccessKey? {
        try translate { () throws(IndexError) in
            try index.withReader { (view) throws(IndexError) in try view.accessKey(id) }
        }
    }

    /// All access keys, by id.
    public func accessKeys() throws(ObjectError) -> [AccessKey] {
        try translate { () throws(IndexError) in
            try index.withReader { (view) throws(IndexError) in try view.accessKeys() }
        }
    }

    /// Adds or replaces an access key.
    public func setAccessKey(_ key: AccessKey) throws(ObjectError) {
        try committer.commit { (_, apply) throws(ObjectError) in _ = try apply(.accessKeySet(key)) }
    }

    /// Revokes an access key.
    public func removeAccessKey(_ id: String) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            if try translate({ () throws(IndexError) in try writer.view.accessKey(id) }) != nil {
                _ = try apply(.accessKeyRemove(id))
            }
        }
    }
}
