import Bytes
import HTTP
import Objects

/// What a copy reads.
struct CopySource {
    let bucket: String
    let key: ObjectKey
    let version: VersionID?

    init(_ text: String) throws {
        let parts = text.split(separator: "?", maxSplits: 1)
        var path = URICoding.decode(Array((parts.first ?? "").utf8))[...]
        if path.first == 47 { path.removeFirst() }
        guard let slash = path.firstIndex(of: 47), slash != path.startIndex, slash != path.endIndex - 1 else {
            throw S3Error.invalidArgument("x-amz-copy-source must be bucket/key")
        }
        bucket = String(decoding: path[..<slash], as: UTF8.self)
        key = ObjectKey(Array(path[(slash + 1)...]))
        var version: VersionID?
        if parts.count > 1, parts[1].hasPrefix("versionId=") {
            version = VersionID(String(parts[1].dropFirst(10)))
            if version == nil { throw S3Error.invalidArgument("Invalid version id specified") }
        }
        self.version = version
    }
}

extension S3Gateway {
    /// The version to copy, if the caller may read it and the conditions hold.
    func source(_ request: S3Request) throws -> (CopySource, ObjectVersion, CustomerKey?) {
        let source = try CopySource(request.header("x-amz-copy-source") ?? "")
        let version: ObjectVersion
        do throws(ObjectError) {
            version = try store.version(source.bucket, source.key, source.version)
        } catch {
            // Only who may list is told that it is not there.
            try require(.list, request, source.bucket, source: source.key)
            guard case .deleteMarker = error, source.version != nil else { throw error }
            throw S3Error.invalidRequest("The source of a copy may not be a delete marker")
        }
        try require(.read, request, source.bucket, object: version.attributes, source: source.key)
        let key = try CustomerKey.read(request, source: true)
        try CustomerKey.check(key, version.attributes)
        try Conditions(request, prefix: "x-amz-copy-source-").check(version, isRead: false)
        return (source, version, key)
    }

    /// Reads a range and writes it anew.
    func rewrite(
        _ reader: any ObjectReader, _ range: Range<Int64>, customerKey: [UInt8]?, checksum: ChecksumAlgorithm?
    ) throws -> (data: any StoredData, etag: [UInt8], checksum: [UInt8]?) {
        let writer = try store.write(customerKey: customerKey)
        let md5 = EVPHasher.md5()
        let hasher = checksum.map { ChecksumHasher($0) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { buffer.deallocate() }
        do {
            var offset = range.lowerBound
            while offset < range.upperBound {
                let space = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<Int(min(Int64(buffer.count), range.upperBound - offset))])
                let count = try reader.read(at: offset, into: space)
                if count <= 0 { throw S3Error("InternalError", 500, "the source ended early") }
                let piece = UnsafeRawBufferPointer(rebasing: space[..<count])
                md5.update(piece)
                hasher?.update(piece)
                try writer.write(piece)
                offset += Int64(count)
            }
            return (try writer.finish(), md5.finish(), hasher?.finish())
        } catch {
            writer.abandon()
            throw error
        }
    }

    private func copiedAttributes(_ request: S3Request, _ bucket: Bucket, _ version: ObjectVersion) throws -> [String:
        String]
    {
        var attributes = try attributes(request, bucket)
        switch request.header("x-amz-metadata-directive") ?? "COPY" {
        case "REPLACE": break
        case "COPY":
            for name in attributes.keys where !name.hasPrefix(".") && name != Encryption.header {
                attributes[name] = nil
            }
            for (name, value) in version.attributes
            where !name.hasPrefix(".") && name != Encryption.header && ChecksumAlgorithm(header: name) == nil {
                attributes[name] = value
            }
        default: throw S3Error.invalidArgument("Unknown metadata directive.")
        }
        switch request.header("x-amz-tagging-directive") ?? "COPY" {
        case "REPLACE": break
        case "COPY": attributes[Attribute.tags] = version.attributes[Attribute.tags]
        default: throw S3Error.invalidArgument("Unknown tagging directive.")
        }
        attributes.merge(try lockAttributes(request, bucket)) { $1 }
        return attributes
    }

    func copyObject(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.write, request)
        let target = try request.object()
        let (source, version, sourceKey) = try source(request)
        let customer = try CustomerKey.read(request)
        let replaces = request.header("x-amz-metadata-directive") == "REPLACE"
        if source.bucket == bucket.name, source.key == target, source.version == nil, !replaces, customer == nil,
            sourceKey == nil, request.header("x-amz-website-redirect-location") == nil
        {
            throw S3Error.invalidRequest(
                "This copy request is illegal because it is trying to copy an object to itself without changing its attributes."
            )
        }
        var attributes = try copiedAttributes(request, bucket, version)
        attributes[Attribute.customerKey] = customer?.md5
        var algorithm: ChecksumAlgorithm?
        if let name = request.header("x-amz-checksum-algorithm") {
            guard let known = ChecksumAlgorithm(name: name) else {
                throw S3Error.invalidRequest("Checksum algorithm \(name) is not known")
            }
            algorithm = known
        }
        var etag = version.etag
        let data: any StoredData
        if customer != nil || sourceKey != nil || algorithm.map({ version.attributes[$0.header] == nil }) ?? false
            || version.attributes[Attribute.checksumType] == "COMPOSITE"
        {
            let reader = try store.open(source.bucket, source.key, version.id, customerKey: sourceKey?.key)
            let kept = algorithm ?? ChecksumAlgorithm.allCases.first { version.attributes[$0.header] != nil }
            let written = try rewrite(reader, 0..<version.size, customerKey: customer?.key, checksum: kept)
            (data, etag) = (written.data, Hex.encode(written.etag))
            if let kept, let value = written.checksum { attributes[kept.header] = Base64.encode(value) }
        } else {
            data = try store.data(source.bucket, source.key, version.id, customerKey: nil)
            for algorithm in ChecksumAlgorithm.allCases {
                if let value = version.attributes[algorithm.header] { attributes[algorithm.header] = value }
            }
        }
        let made = try store.put(
            bucket.name, target, data, etag: etag, attributes: attributes, check: Conditions(request).check)
        var xml = XMLWriter("CopyObjectResult")
        xml.leaf("LastModified", CivilTime.iso(milliseconds: made.modified))
        xml.leaf("ETag", "\"\(made.etag)\"")
        for algorithm in ChecksumAlgorithm.allCases {
            xml.leaf(algorithm.element, ifPresent: attributes[algorithm.header])
        }
        var headers = try versionHeader(request, made) + Encryption.headers(attributes)
        if try store.bucket(source.bucket).versioning != .off {
            headers.append(("x-amz-copy-source-version-id", version.id.description))
        }
        return .xml(xml, headers: headers)
    }
}
