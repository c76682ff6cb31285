import HTTP
import Objects

/// Reads a range of a version into the server's buffers.
private final class VersionSource: HTTPBodySource {
    let reader: any ObjectReader
    let range: Range<Int64>
    init(_ reader: any ObjectReader, _ range: Range<Int64>) { (self.reader, self.range) = (reader, range) }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let left = range.upperBound - range.lowerBound - offset
        let count = Int(min(Int64(buffer.count), left))
        if count <= 0 { return -1 }
        do throws(ObjectError) {
            let got = try reader.read(
                at: range.lowerBound + offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
            return got > 0 ? got : -1
        } catch {
            return -1
        }
    }
}

extension S3Gateway {
    /// The version a read is about, if the caller may read it. Where it is not there, only who may list is told so.
    func visible(_ request: S3Request) throws -> ObjectVersion {
        let bucket = try store.bucket(try request.bucket())
        let key = try request.object()
        let version: ObjectVersion
        do {
            version = try store.version(bucket.name, key, try request.version())
        } catch {
            try require(.list, request)
            throw error
        }
        try require(.read, request, object: version.attributes)
        return version
    }

    func versionHeader(_ request: S3Request, _ version: ObjectVersion) throws -> [(name: String, value: String)] {
        Self.versionHeader(try store.bucket(try request.bucket()), version)
    }
    private static func versionHeader(_ bucket: Bucket, _ version: ObjectVersion) -> [(name: String, value: String)] {
        bucket.versioning == .off ? [] : [("x-amz-version-id", version.id.description)]
    }

    /// What a write says: only versions of their own have an id that is told.
    func writtenVersion(_ version: ObjectVersion) -> [(name: String, value: String)] {
        version.id == .null ? [] : [("x-amz-version-id", version.id.description)]
    }

    private static let overrides = [
        "response-content-type": "content-type", "response-content-language": "content-language",
        "response-expires": "expires", "response-cache-control": "cache-control",
        "response-content-disposition": "content-disposition", "response-content-encoding": "content-encoding",
    ]

    /// What GET and HEAD say of a version.
    private func headers(_ request: S3Request, _ version: ObjectVersion) throws -> [(name: String, value: String)] {
        var attributes = version.attributes.filter {
            !$0.key.hasPrefix(".") && ChecksumAlgorithm(header: $0.key) == nil
        }
        if attributes["content-type"] == nil { attributes["content-type"] = "binary/octet-stream" }
        for (parameter, name) in Self.overrides {
            guard let value = request.parameter(parameter) else { continue }
            if request.caller.isAnonymous {
                throw S3Error.invalidRequest(
                    "Request specific response headers cannot be used for anonymous GET requests.")
            }
            if value.utf8.contains(where: { $0 < 32 || $0 == 127 }) {
                throw S3Error.invalidArgument("\(parameter) has a control character")
            }
            attributes[name] = value
        }
        var headers: [(name: String, value: String)] = attributes.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        headers += [
            ("ETag", "\"\(version.etag)\""), ("Accept-Ranges", "bytes"),
            ("Last-Modified", CivilTime(seconds: version.modified / 1000).httpDate),
        ]
        let bucket = try store.bucket(try request.bucket())
        headers += Self.versionHeader(bucket, version) + CustomerKey.headers(version.attributes)
        headers += Self.expirationHeader(bucket, version)
        if let tags = version.attributes[Attribute.tags], !tags.isEmpty {
            headers.append(("x-amz-tagging-count", "\(URICoding.query(tags).count)"))
        }
        for (attribute, name) in [
            (Attribute.lockMode, "x-amz-object-lock-mode"),
            (Attribute.lockUntil, "x-amz-object-lock-retain-until-date"),
            (Attribute.legalHold, "x-amz-object-lock-legal-hold"),
        ] {
            if let value = version.attributes[attribute] { headers.append((name, value)) }
        }
        return headers
    }

    static func checksumHeaders(_ attributes: [String: String]) -> [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = []
        for algorithm in ChecksumAlgorithm.allCases {
            if let value = attributes[algorithm.header] { headers.append((algorithm.header, value)) }
        }
        if !headers.isEmpty {
            headers.append(("x-amz-checksum-type", attributes[Attribute.checksumType] ?? "FULL_OBJECT"))
        }
        return headers
    }

    func getObject(_ request: S3Request) throws -> HTTPStreamResponse {
        let isHead = request.head.method == "HEAD"
        let seen = try visible(request)
        if request.header(Encryption.header) != nil {
            throw S3Error.invalidArgument("\(Encryption.header) is not a header of reads")
        }
        let key = try CustomerKey.read(request)
        try CustomerKey.check(key, seen.attributes)
        var reader: (any ObjectReader)?
        if !isHead { reader = try store.open(try request.bucket(), seen.key, seen.id, customerKey: key?.key) }
        let version = reader?.version ?? seen
        try Conditions(request).check(version, isRead: true)
        var headers = try headers(request, version)
        var range = try ByteRange.parse(request.header("range"), version.size)
        var checksums = version.attributes
        if let text = request.parameter("partNumber") {
            guard let number = Int(text), (1...S3Limits.partsMax).contains(number) else {
                throw S3Error.invalidArgument("Part number must be an integer between 1 and 10000")
            }
            if let part = try Self.part(version, number) {
                range = part.range
                checksums = part.attributes
                checksums[Attribute.checksumType] = version.attributes[Attribute.checksumType]
                headers.append(("x-amz-mp-parts-count", "\(version.parts.count)"))
            }
        } else if range != nil {
            checksums = [:]
        }
        if request.header("x-amz-checksum-mode")?.uppercased() == "ENABLED" {
            headers += Self.checksumHeaders(checksums)
        }
        let whole = range ?? 0..<version.size
        let length = whole.upperBound - whole.lowerBound
        if range != nil {
            headers.append(("Content-Range", "bytes \(whole.lowerBound)-\(whole.upperBound - 1)/\(version.size)"))
        }
        counters.count(sent: isHead ? 0 : length)
        let status = range == nil ? 200 : 206
        guard let reader else { return HTTPStreamResponse(status, headers: headers, .length(length)) }
        if length == 0 { return HTTPStreamResponse(status, headers: headers) }
        // What cannot be read at all is an error while an error can still be said.
        var first: UInt8 = 0
        _ = try withUnsafeMutableBytes(of: &first) { try reader.read(at: whole.lowerBound, into: $0) }
        return HTTPStreamResponse(status, headers: headers, .pull(length, VersionSource(reader, whole)))
    }

    /// Where a part lies; nil: the object is one piece, and that is asked for.
    private static func part(_ version: ObjectVersion, _ number: Int) throws
        -> (range: Range<Int64>, attributes: [String: String])?
    {
        if version.parts.isEmpty, number == 1 { return nil }
        // Parts count from 1 as they lie, whatever their numbers were.
        guard number <= version.parts.count else {
            throw S3Error("InvalidPart", 400, "The requested partnumber is not satisfiable")
        }
        let start = version.parts[..<(number - 1)].reduce(0) { $0 + $1.size }
        let part = version.parts[number - 1]
        return (start..<start + part.size, part.attributes)
    }

    func objectAttributes(_ request: S3Request) throws -> HTTPStreamResponse {
        let version = try visible(request)
        try CustomerKey.check(try CustomerKey.read(request), version.attributes)
        let names = request.head.headers.filter { $0.name == "x-amz-object-attributes" }
        let wanted = Set(names.flatMap { $0.value.split(separator: ",") }.map { SignatureV4.squeezed(String($0)) })
        if wanted.isEmpty { throw S3Error.invalidRequest("x-amz-object-attributes is missing") }
        if !wanted.isSubset(of: ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]) {
            throw S3Error.invalidArgument("Invalid attribute name specified.")
        }
        var xml = XMLWriter("GetObjectAttributesResponse")
        if wanted.contains("ETag") { xml.leaf("ETag", version.etag) }
        if wanted.contains("Checksum") { Self.writeChecksums(&xml, version.attributes) }
        if wanted.contains("ObjectParts"), !version.parts.isEmpty { try Self.writeParts(&xml, version, request) }
        if wanted.contains("StorageClass") { xml.leaf("StorageClass", "STANDARD") }
        if wanted.contains("ObjectSize") { xml.leaf("ObjectSize", Int(version.size)) }
        var headers = try versionHeader(request, version)
        headers.append(("Last-Modified", CivilTime(seconds: version.modified / 1000).httpDate))
        return .xml(xml, headers: headers)
    }

    private static func writeChecksums(_ xml: inout XMLWriter, _ attributes: [String: String]) {
        let found = ChecksumAlgorithm.allCases.filter { attributes[$0.header] != nil }
        if found.isEmpty { return }
        xml.group("Checksum") { xml in
            for algorithm in found { xml.leaf(algorithm.element, attributes[algorithm.header] ?? "") }
            xml.leaf("ChecksumType", attributes[Attribute.checksumType] ?? "FULL_OBJECT")
        }
    }

    private static func writeParts(_ xml: inout XMLWriter, _ version: ObjectVersion, _ request: S3Request) throws {
        func number(_ name: String, default fallback: Int) throws -> Int {
            guard let text = request.header(name) else { return fallback }
            guard let number = Int(text), (0...Int(Int32.max)).contains(number) else {
                throw S3Error.invalidArgument("\(name) is not a number that fits")
            }
            return number
        }
        let limit = try number("x-amz-max-parts", default: S3Limits.pageMax)
        let after = try number("x-amz-part-number-marker", default: 0)
        let hasChecksums = version.parts.contains { part in
            part.attributes.contains { ChecksumAlgorithm(header: $0.key) != nil }
        }
        let numbered = Array(version.parts.enumerated())
        let rest = numbered.filter { $0.offset + 1 > after }
        let page = rest.prefix(max(0, limit))
        xml.group("ObjectParts") { xml in
            xml.leaf("PartsCount", version.parts.count)
            xml.leaf("PartNumberMarker", after)
            xml.leaf("NextPartNumberMarker", (page.last?.offset ?? after - 1) + 1)
            xml.leaf("MaxParts", limit)
            xml.leaf("IsTruncated", page.count < rest.count ? "true" : "false")
            for (index, part) in page where hasChecksums {
                xml.group("Part") { xml in
                    xml.leaf("PartNumber", index + 1)
                    xml.leaf("Size", Int(part.size))
                    for algorithm in ChecksumAlgorithm.allCases {
                        xml.leaf(algorithm.element, ifPresent: part.attributes[algorithm.header])
                    }
                }
            }
        }
    }
}
