import Bytes
import HTTP
import Objects

extension S3Gateway {
    func createUpload(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.write, request)
        let key = try request.object()
        var attributes = try attributes(request, bucket)
        attributes.merge(try lockAttributes(request, bucket)) { $1 }
        let customer = try CustomerKey.read(request)
        attributes[Attribute.customerKey] = customer?.md5
        var headers: [(name: String, value: String)] = []
        let type = request.header("x-amz-checksum-type")
        if let name = request.header("x-amz-checksum-algorithm") {
            guard let algorithm = ChecksumAlgorithm(name: name) else {
                throw S3Error.invalidRequest("Checksum algorithm \(name) is not known")
            }
            let chosen = type ?? (algorithm == .crc64nvme ? "FULL_OBJECT" : "COMPOSITE")
            guard chosen == "COMPOSITE" && algorithm != .crc64nvme || chosen == "FULL_OBJECT" && algorithm.isLinear
            else {
                throw S3Error.invalidRequest(
                    "The \(chosen) checksum type cannot be used with the \(algorithm.rawValue) algorithm.")
            }
            attributes[Attribute.checksumAlgorithm] = algorithm.rawValue
            attributes[Attribute.checksumType] = chosen
            headers = [("x-amz-checksum-algorithm", algorithm.rawValue), ("x-amz-checksum-type", chosen)]
        } else if type != nil {
            throw S3Error.invalidRequest(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
        }
        let upload = try store.createUpload(bucket.name, key, attributes: attributes, customerKey: customer?.key)
        var xml = XMLWriter("InitiateMultipartUploadResult")
        xml.leaf("Bucket", bucket.name)
        xml.leaf("Key", key.description)
        xml.leaf("UploadId", upload.id)
        return .xml(xml, headers: headers + Encryption.headers(attributes))
    }

    /// The upload of a request, and the number of the part it is about.
    private func part(_ request: S3Request) throws -> (bucket: Bucket, upload: Upload, number: Int) {
        let bucket = try require(.write, request)
        guard let text = request.parameter("partNumber"), let number = Int(text),
            (1...S3Limits.partsMax).contains(number)
        else { throw S3Error.invalidArgument("Part number must be an integer between 1 and 10000, inclusive") }
        return (bucket, try upload(request, bucket), number)
    }
    private func upload(_ request: S3Request, _ bucket: Bucket) throws -> Upload {
        try store.upload(bucket.name, try request.object(), request.parameter("uploadId") ?? "")
    }

    func putPart(_ request: S3Request) throws -> any HTTPStreamHandler {
        let (bucket, upload, number) = try part(request)
        if request.header("content-length") == nil, request.header("transfer-encoding") == nil {
            throw S3Error("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
        }
        let customer = try CustomerKey.read(request)
        try CustomerKey.check(customer, upload.attributes)
        let algorithm = upload.attributes[Attribute.checksumAlgorithm].flatMap { ChecksumAlgorithm(rawValue: $0) }
        return try DataIntake(self, request, customerKey: customer?.key, computes: algorithm) { [self] data, result in
            var attributes: [String: String] = [:]
            if let (found, value) = result.checksum {
                if let algorithm, algorithm != found {
                    throw S3Error.invalidRequest(
                        "Checksum Type mismatch occurred, expected checksum Type: \(algorithm.rawValue.lowercased()), "
                            + "actual checksum Type: \(found.rawValue.lowercased())")
                }
                attributes[found.header] = Base64.encode(value)
            }
            let part = try store.putPart(
                bucket.name, upload.key, upload.id, number: number, data, etag: Hex.encode(result.etag),
                attributes: attributes)
            var headers: [(name: String, value: String)] = [("ETag", "\"\(part.etag)\"")]
            headers += Self.checksumHeaders(attributes).filter { $0.name != "x-amz-checksum-type" }
            return HTTPStreamResponse(200, headers: headers + Encryption.headers(upload.attributes))
        }
    }

    func copyPart(_ request: S3Request) throws -> HTTPStreamResponse {
        let (bucket, upload, number) = try part(request)
        let (source, version, sourceKey) = try source(request)
        let customer = try CustomerKey.read(request)
        try CustomerKey.check(customer, upload.attributes)
        var range = 0..<version.size
        if let text = request.header("x-amz-copy-source-range") {
            let numbers = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false).map { Int64($0) }
            guard text.hasPrefix("bytes="), numbers.count == 2, let first = numbers[0], let last = numbers[1],
                first <= last
            else {
                throw S3Error.invalidArgument("The x-amz-copy-source-range value must be of the form bytes=first-last")
            }
            guard last < version.size else {
                throw S3Error(
                    "InvalidRange", 416, "Range specified is not valid for source object of size: \(version.size)")
            }
            range = first..<last + 1
        }
        let algorithm = upload.attributes[Attribute.checksumAlgorithm].flatMap { ChecksumAlgorithm(rawValue: $0) }
        var attributes: [String: String] = [:]
        var etag = version.etag
        let data: any StoredData
        if range.count == Int(version.size), customer == nil, sourceKey == nil, algorithm == nil, !etag.contains("-") {
            data = try store.data(source.bucket, source.key, version.id, customerKey: nil)
        } else {
            let reader = try store.open(source.bucket, source.key, version.id, customerKey: sourceKey?.key)
            let written = try rewrite(reader, range, customerKey: customer?.key, checksum: algorithm)
            (data, etag) = (written.data, Hex.encode(written.etag))
            if let algorithm, let value = written.checksum { attributes[algorithm.header] = Base64.encode(value) }
        }
        let part = try store.putPart(
            bucket.name, upload.key, upload.id, number: number, data, etag: etag, attributes: attributes)
        var xml = XMLWriter("CopyPartResult")
        xml.leaf("LastModified", CivilTime.iso(milliseconds: part.modified))
        xml.leaf("ETag", "\"\(part.etag)\"")
        if let algorithm { xml.leaf(algorithm.element, ifPresent: attributes[algorithm.header]) }
        return .xml(xml, headers: Encryption.headers(upload.attributes))
    }

    func listParts(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.write, request)
        let upload = try upload(request, bucket)
        let limit = try request.number("max-parts", default: S3Limits.pageMax, max: S3Limits.pageMax)
        let after = try request.number("part-number-marker", default: 0, max: Int(Int32.max))
        var parts = try store.parts(bucket.name, upload.key, upload.id, after: after, limit: limit + 1)
        let isTruncated = parts.count > limit
        parts = Array(parts.prefix(limit))
        var xml = XMLWriter("ListPartsResult")
        xml.leaf("Bucket", bucket.name)
        xml.leaf(
            "Key",
            try request.encodesNames() ? URICoding.encode(upload.key.bytes, keepsSlash: true) : upload.key.description)
        xml.leaf("UploadId", upload.id)
        let owner = upload.attributes[Attribute.owner] ?? bucket.owner
        Self.writeOwner(&xml, owner, "Initiator")
        Self.writeOwner(&xml, owner)
        xml.leaf("StorageClass", "STANDARD")
        xml.leaf("PartNumberMarker", after)
        xml.leaf("NextPartNumberMarker", parts.last?.number ?? 0)
        xml.leaf("MaxParts", limit)
        xml.leaf("IsTruncated", isTruncated ? "true" : "false")
        xml.leaf("ChecksumAlgorithm", ifPresent: upload.attributes[Attribute.checksumAlgorithm])
        xml.leaf("ChecksumType", ifPresent: upload.attributes[Attribute.checksumType])
        for part in parts {
            xml.group("Part") { xml in
                xml.leaf("PartNumber", part.number)
                xml.leaf("LastModified", CivilTime.iso(milliseconds: part.modified))
                xml.leaf("ETag", "\"\(part.etag)\"")
                xml.leaf("Size", Int(part.size))
                for algorithm in ChecksumAlgorithm.allCases {
                    xml.leaf(algorithm.element, ifPresent: part.attributes[algorithm.header])
                }
            }
        }
        return .xml(xml)
    }

    func abortUpload(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.write, request)
        let upload = try upload(request, bucket)
        try store.abort(bucket.name, upload.key, upload.id)
        return HTTPStreamResponse(204)
    }

    func completeUpload(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.write, request)
        let key = try request.object(), id = request.parameter("uploadId") ?? ""
        let upload: Upload
        do throws(ObjectError) {
            upload = try store.upload(bucket.name, key, id)
        } catch {
            // The answer to the first try may have been lost.
            guard let made = try? store.version(bucket.name, key, nil), made.attributes[Attribute.upload] == id else {
                throw error
            }
            return try completed(request, bucket, made)
        }
        let document = try XMLElement.parse(body, root: "CompleteMultipartUpload")
        let wanted = document.all("Part")
        if wanted.isEmpty || wanted.count > S3Limits.partsMax { throw S3Error.malformedXML }
        let parts = try chosen(wanted, try store.parts(bucket.name, key, id, after: 0, limit: S3Limits.partsMax))
        if let text = request.header("x-amz-mp-object-size"), Int64(text) != parts.reduce(0, { $0 + $1.size }) {
            throw S3Error.invalidRequest("The provided x-amz-mp-object-size does not match the sum of the parts")
        }
        var attributes = upload.attributes
        attributes[Attribute.upload] = id
        if let (algorithm, value) = try Self.checksum(upload.attributes, parts) {
            attributes[algorithm.header] = value
            if let given = request.header(algorithm.header), given != value,
                given != value.split(separator: "-").first.map({ String($0) })
            {
                throw S3Error(
                    "BadDigest", 400, "The \(algorithm.rawValue) you specified did not match the calculated checksum.")
            }
        }
        let hashes = parts.flatMap { Hex.decode($0.etag) ?? [] }
        let etag = "\(Hex.encode(EVPHasher.md5(hashes)))-\(parts.count)"
        let version = try store.complete(
            bucket.name, key, id, parts: parts.map { ($0.number, $0.etag) }, etag: etag, attributes: attributes,
            check: Conditions(request).check)
        return try completed(request, bucket, version)
    }

    private func completed(_ request: S3Request, _ bucket: Bucket, _ version: ObjectVersion) throws
        -> HTTPStreamResponse
    {
        var xml = XMLWriter("CompleteMultipartUploadResult")
        xml.leaf("Location", "/\(bucket.name)/\(URICoding.encode(version.key.bytes, keepsSlash: true))")
        xml.leaf("Bucket", bucket.name)
        xml.leaf("Key", version.key.description)
        xml.leaf("ETag", "\"\(version.etag)\"")
        for algorithm in ChecksumAlgorithm.allCases where version.attributes[algorithm.header] != nil {
            xml.leaf(algorithm.element, ifPresent: version.attributes[algorithm.header])
            xml.leaf("ChecksumType", ifPresent: version.attributes[Attribute.checksumType])
        }
        return .xml(xml, headers: writtenVersion(version) + Encryption.headers(version.attributes))
    }

    /// The parts that the client names, if they are there, in order and large enough.
    private func chosen(_ wanted: [XMLElement], _ there: [ObjectPart]) throws -> [ObjectPart] {
        var byNumber: [Int: ObjectPart] = [:]
        for part in there { byNumber[part.number] = part }
        var parts: [ObjectPart] = []
        for element in wanted {
            guard let number = element.word("PartNumber").flatMap({ Int($0) }), let tag = element.word("ETag") else {
                throw S3Error.malformedXML
            }
            if let last = parts.last, last.number >= number {
                throw S3Error("InvalidPartOrder", 400, "The list of parts was not in ascending order.")
            }
            guard let part = byNumber[number], part.etag == tag.filter({ $0 != "\"" }) else {
                throw S3Error("InvalidPart", 400, "One or more of the specified parts could not be found.")
            }
            for algorithm in ChecksumAlgorithm.allCases {
                if let given = element.word(algorithm.element), let known = part.attributes[algorithm.header],
                    given != known
                {
                    throw S3Error("InvalidPart", 400, "The checksum of part \(number) is another one.")
                }
            }
            parts.append(part)
        }
        if parts.dropLast().contains(where: { $0.size < S3Limits.partMin }) {
            throw S3Error("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
        }
        return parts
    }

    /// The checksum of an object of those parts.
    static func checksum(_ attributes: [String: String], _ parts: [ObjectPart]) throws -> (ChecksumAlgorithm, String)? {
        guard let algorithm = attributes[Attribute.checksumAlgorithm].flatMap({ ChecksumAlgorithm(rawValue: $0) })
        else {
            return nil
        }
        var values: [[UInt8]] = []
        for part in parts {
            guard let value = part.attributes[algorithm.header].flatMap({ Base64.decode($0) }) else {
                throw S3Error.invalidRequest("Part \(part.number) has no \(algorithm.rawValue) checksum")
            }
            values.append(value)
        }
        if attributes[Attribute.checksumType] == "FULL_OBJECT" {
            var whole: UInt64 = 0
            for (part, value) in zip(parts, values) {
                whole = CRCJoin.join(algorithm, whole, CRCJoin.number(value), length: part.size)
            }
            return (algorithm, Base64.encode(CRCJoin.bytes(whole, algorithm.length)))
        }
        let hash = ChecksumHasher.hash(algorithm, values.flatMap { $0 })
        return (algorithm, "\(Base64.encode(hash))-\(parts.count)")
    }
}
