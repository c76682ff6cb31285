import HTTP
import Objects

extension S3Gateway {
    func deleteObject(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.write, request)
        let version = try request.version()
        let removed = try delete(bucket, try request.object(), version, request, match: request.header("if-match"))
        var headers: [(name: String, value: String)] = []
        if let removed, bucket.versioning != .off || version != nil {
            headers.append(("x-amz-version-id", removed.id.description))
            if removed.isDeleteMarker { headers.append(("x-amz-delete-marker", "true")) }
        }
        return HTTPStreamResponse(204, headers: headers)
    }

    private func delete(
        _ bucket: Bucket, _ key: ObjectKey, _ version: VersionID?, _ request: S3Request, match: String?,
        size: String? = nil, modified: String? = nil
    ) throws -> ObjectVersion? {
        let now = request.now, bypass = version != nil ? try bypasses(request) : false
        let isForGood = version != nil || bucket.versioning == .off
        let check: ObjectStore.Check = { found throws(ObjectError) in
            let current = found.flatMap { $0.isDeleteMarker ? nil : $0 }
            if let match {
                guard let current else { throw .noSuchKey(key) }
                if !Conditions.matches(match, current.etag) { throw .conditionFailed("If-Match") }
            }
            if let size, let current, Int64(size) != current.size { throw .conditionFailed("Size") }
            if let modified, let current, let time = CivilTime.milliseconds(modified),
                time / 1000 != current.modified / 1000
            {
                throw .conditionFailed("LastModifiedTime")
            }
            if isForGood, let found { try Self.checkLock(found.attributes, now, bypass: bypass) }
        }
        return try store.delete(bucket.name, key, version, owner: request.caller.identity, check: check)
    }

    func deleteObjects(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try store.bucket(try request.bucket())
        // A policy speaks of keys: it is asked for each. Without one the bucket decides.
        let policy = try bucket.settings[Setting.policy].map { try BucketPolicy($0) }
        if policy == nil { try require(.write, request) }
        let document = try XMLElement.parse(body, root: "Delete")
        let objects = document.all("Object")
        if objects.isEmpty || objects.count > S3Limits.pageMax { throw S3Error.malformedXML }
        let isQuiet = document.word("Quiet")?.lowercased() == "true"
        var xml = XMLWriter("DeleteResult")
        for object in objects {
            guard let name = object.child("Key") else { throw S3Error.malformedXML }
            let key = ObjectKey(name.bytes)
            do {
                if key.bytes.isEmpty { throw S3Error("UserKeyMustBeSpecified", 400, "A key is missing") }
                if key.bytes.count > S3Limits.keyMax { throw S3Error("KeyTooLongError", 400, "Your key is too long") }
                var version: VersionID?
                if let text = object.word("VersionId") {
                    guard let id = VersionID(text) else {
                        throw S3Error("NoSuchVersion", 404, "The version does not exist")
                    }
                    version = id
                }
                try requireDelete(request, bucket, policy, key, version)
                let removed = try delete(
                    bucket, key, version, request, match: object.word("ETag"), size: object.word("Size"),
                    modified: object.word("LastModifiedTime"))
                if isQuiet { continue }
                xml.group("Deleted") { xml in
                    xml.leaf("Key", key.description)
                    xml.leaf("VersionId", ifPresent: version?.description)
                    if let removed, removed.isDeleteMarker {
                        xml.leaf("DeleteMarker", "true")
                        xml.leaf("DeleteMarkerVersionId", removed.id.description)
                    }
                }
            } catch {
                let found = (error as? S3Error) ?? (error as? ObjectError).map { S3Error($0) }
                xml.group("Error") { xml in
                    xml.leaf("Key", key.description)
                    xml.leaf("VersionId", ifPresent: object.word("VersionId"))
                    xml.leaf("Code", found?.code ?? "InternalError")
                    xml.leaf("Message", found?.message ?? "")
                }
            }
        }
        return .xml(xml)
    }
}
