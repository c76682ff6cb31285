import Bytes
import HTTP
import Objects

/// How names look in a listing.
private struct NameForm {
    let isEncoded: Bool
    func callAsFunction(_ bytes: [UInt8]) -> String {
        isEncoded ? URICoding.encode(bytes, keepsSlash: true) : String(decoding: bytes, as: UTF8.self)
    }
}

extension S3Gateway {
    private func query(_ request: S3Request, after: String?, limit: Int) -> ListQuery {
        var query = ListQuery()
        query.prefix = Array((request.parameter("prefix") ?? "").utf8)
        query.delimiter = Array((request.parameter("delimiter") ?? "").utf8)
        if let after, !after.isEmpty { query.after = ObjectKey(after) }
        query.limit = limit
        return query
    }

    /// The page; none is asked of the store where nothing may come.
    private func page(_ bucket: String, _ query: ListQuery) throws -> ListPage<ObjectVersion> {
        query.limit == 0 ? ListPage() : try store.list(bucket, query)
    }

    /// Where the next page begins.
    private static func last(_ page: ListPage<ObjectVersion>) -> [UInt8] {
        let key = page.entries.last?.key.bytes ?? [], prefix = page.prefixes.last ?? []
        return key.lexicographicallyPrecedes(prefix) ? prefix : key
    }

    private func write(
        _ xml: inout XMLWriter, _ page: ListPage<ObjectVersion>, _ name: NameForm, owner: Bool, _ bucket: Bucket
    ) {
        for version in page.entries {
            xml.group("Contents") { xml in
                xml.leaf("Key", name(version.key.bytes))
                xml.leaf("LastModified", CivilTime.iso(milliseconds: version.modified))
                xml.leaf("ETag", "\"\(version.etag)\"")
                Self.writeChecksumKind(&xml, version.attributes)
                xml.leaf("Size", Int(version.size))
                if owner { Self.writeOwner(&xml, version.attributes[Attribute.owner] ?? bucket.owner) }
                xml.leaf("StorageClass", "STANDARD")
            }
        }
        writePrefixes(&xml, page.prefixes, name)
    }
    private static func writeChecksumKind(_ xml: inout XMLWriter, _ attributes: [String: String]) {
        for algorithm in ChecksumAlgorithm.allCases where attributes[algorithm.header] != nil {
            xml.leaf("ChecksumAlgorithm", algorithm.rawValue)
            xml.leaf("ChecksumType", attributes[Attribute.checksumType] ?? "FULL_OBJECT")
        }
    }
    private func writePrefixes(_ xml: inout XMLWriter, _ prefixes: [[UInt8]], _ name: NameForm) {
        for prefix in prefixes { xml.group("CommonPrefixes") { $0.leaf("Prefix", name(prefix)) } }
    }

    func listObjects(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.list, request)
        let limit = try request.number("max-keys", default: S3Limits.pageMax, max: S3Limits.pageMax)
        let name = NameForm(isEncoded: try request.encodesNames())
        let marker = request.parameter("marker") ?? ""
        let query = query(request, after: marker, limit: limit)
        let page = try page(bucket.name, query)
        var xml = XMLWriter("ListBucketResult")
        xml.leaf("Name", bucket.name)
        xml.leaf("Prefix", name(query.prefix))
        xml.leaf("Marker", name(Array(marker.utf8)))
        if page.isTruncated { xml.leaf("NextMarker", name(Self.last(page))) }
        xml.leaf("MaxKeys", limit)
        if !query.delimiter.isEmpty { xml.leaf("Delimiter", name(query.delimiter)) }
        if name.isEncoded { xml.leaf("EncodingType", "url") }
        xml.leaf("IsTruncated", page.isTruncated ? "true" : "false")
        write(&xml, page, name, owner: true, bucket)
        return .xml(xml)
    }

    func listObjectsV2(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.list, request)
        let limit = try request.number("max-keys", default: S3Limits.pageMax, max: S3Limits.pageMax)
        let name = NameForm(isEncoded: try request.encodesNames())
        var query = query(request, after: request.parameter("start-after"), limit: limit)
        let token = request.parameter("continuation-token")
        if let token, !token.isEmpty {
            guard let bytes = Base64.decode(token) else {
                throw S3Error.invalidArgument("The continuation token provided is incorrect")
            }
            query.after = ObjectKey(bytes)
        }
        let page = try page(bucket.name, query)
        var xml = XMLWriter("ListBucketResult")
        xml.leaf("Name", bucket.name)
        xml.leaf("Prefix", name(query.prefix))
        xml.leaf("ContinuationToken", ifPresent: token)
        if page.isTruncated { xml.leaf("NextContinuationToken", Base64.encode(Self.last(page))) }
        xml.leaf("StartAfter", ifPresent: request.parameter("start-after").map { name(Array($0.utf8)) })
        xml.leaf("KeyCount", page.entries.count + page.prefixes.count)
        xml.leaf("MaxKeys", limit)
        if !query.delimiter.isEmpty { xml.leaf("Delimiter", name(query.delimiter)) }
        if name.isEncoded { xml.leaf("EncodingType", "url") }
        xml.leaf("IsTruncated", page.isTruncated ? "true" : "false")
        write(&xml, page, name, owner: request.parameter("fetch-owner") == "true", bucket)
        return .xml(xml)
    }

    func listObjectVersions(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.list, request)
        let limit = try request.number("max-keys", default: S3Limits.pageMax, max: S3Limits.pageMax)
        let name = NameForm(isEncoded: try request.encodesNames())
        var query = query(request, after: request.parameter("key-marker"), limit: limit)
        if let text = request.parameter("version-id-marker"), !text.isEmpty {
            guard query.after != nil, let version = VersionID(text) else {
                throw S3Error.invalidArgument("A version-id marker must be valid and come with a key marker.")
            }
            query.afterVersion = version
        }
        let page = limit == 0 ? ListPage() : try store.listVersions(bucket.name, query)
        var xml = XMLWriter("ListVersionsResult")
        xml.leaf("Name", bucket.name)
        xml.leaf("Prefix", name(query.prefix))
        xml.leaf("KeyMarker", name(query.after?.bytes ?? []))
        xml.leaf("VersionIdMarker", query.afterVersion?.description ?? "")
        if page.isTruncated {
            let last = Self.last(page)
            xml.leaf("NextKeyMarker", name(last))
            if let version = page.entries.last, version.key.bytes == last {
                xml.leaf("NextVersionIdMarker", version.id.description)
            }
        }
        xml.leaf("MaxKeys", limit)
        if !query.delimiter.isEmpty { xml.leaf("Delimiter", name(query.delimiter)) }
        if name.isEncoded { xml.leaf("EncodingType", "url") }
        xml.leaf("IsTruncated", page.isTruncated ? "true" : "false")
        for version in page.entries {
            xml.group(version.isDeleteMarker ? "DeleteMarker" : "Version") { xml in
                xml.leaf("Key", name(version.key.bytes))
                xml.leaf("VersionId", version.id.description)
                xml.leaf("IsLatest", version.isLatest ? "true" : "false")
                xml.leaf("LastModified", CivilTime.iso(milliseconds: version.modified))
                if !version.isDeleteMarker {
                    xml.leaf("ETag", "\"\(version.etag)\"")
                    Self.writeChecksumKind(&xml, version.attributes)
                    xml.leaf("Size", Int(version.size))
                    xml.leaf("StorageClass", "STANDARD")
                }
                Self.writeOwner(&xml, version.attributes[Attribute.owner] ?? bucket.owner)
            }
        }
        writePrefixes(&xml, page.prefixes, name)
        return .xml(xml)
    }

    func listUploads(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.list, request)
        let limit = try request.number("max-uploads", default: S3Limits.pageMax, max: S3Limits.pageMax)
        let name = NameForm(isEncoded: try request.encodesNames())
        var query = query(request, after: request.parameter("key-marker"), limit: limit)
        if let id = request.parameter("upload-id-marker"), !id.isEmpty, query.after != nil { query.afterUpload = id }
        let page = limit == 0 ? ListPage() : try store.listUploads(bucket.name, query)
        var xml = XMLWriter("ListMultipartUploadsResult")
        xml.leaf("Bucket", bucket.name)
        xml.leaf("KeyMarker", name(query.after?.bytes ?? []))
        xml.leaf("UploadIdMarker", query.afterUpload ?? "")
        if page.isTruncated {
            xml.leaf("NextKeyMarker", name(page.entries.last?.key.bytes ?? page.prefixes.last ?? []))
            xml.leaf("NextUploadIdMarker", page.entries.last?.id ?? "")
        }
        xml.leaf("Prefix", name(query.prefix))
        if !query.delimiter.isEmpty { xml.leaf("Delimiter", name(query.delimiter)) }
        if name.isEncoded { xml.leaf("EncodingType", "url") }
        xml.leaf("MaxUploads", limit)
        xml.leaf("IsTruncated", page.isTruncated ? "true" : "false")
        for upload in page.entries {
            xml.group("Upload") { xml in
                xml.leaf("Key", name(upload.key.bytes))
                xml.leaf("UploadId", upload.id)
                let owner = upload.attributes[Attribute.owner] ?? bucket.owner
                Self.writeOwner(&xml, owner, "Initiator")
                Self.writeOwner(&xml, owner)
                xml.leaf("StorageClass", "STANDARD")
                xml.leaf("Initiated", CivilTime.iso(milliseconds: upload.started))
                xml.leaf("ChecksumAlgorithm", ifPresent: upload.attributes[Attribute.checksumAlgorithm])
                xml.leaf("ChecksumType", ifPresent: upload.attributes[Attribute.checksumType])
            }
        }
        writePrefixes(&xml, page.prefixes, name)
        return .xml(xml)
    }
}
