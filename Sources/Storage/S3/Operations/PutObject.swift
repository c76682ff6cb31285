import Bytes
import HTTP
import Objects

extension S3Gateway {
    private static let keptHeaders: Set = [
        "content-type", "cache-control", "content-disposition", "content-language", "expires",
        "x-amz-website-redirect-location",
    ]

    /// What a request says that its object will have.
    func attributes(_ request: S3Request, _ bucket: Bucket) throws -> [String: String] {
        var attributes: [String: String] = [:]
        var size = 0
        for (name, value) in request.head.headers {
            if name.hasPrefix("x-amz-meta-") {
                size += name.utf8.count - 11 + value.utf8.count
                attributes[name] = attributes[name].map { "\($0),\(value)" } ?? value
            } else if Self.keptHeaders.contains(name) {
                attributes[name] = value
            } else if name == "content-encoding" {
                // That coding is off when the object is stored.
                let rest = value.split(separator: ",").map { SignatureV4.squeezed(String($0)) }.filter {
                    $0 != "aws-chunked"
                }
                if !rest.isEmpty { attributes[name] = rest.joined(separator: ", ") }
            } else if name == "x-amz-storage-class", value != "STANDARD" {
                throw S3Error(
                    "InvalidStorageClass", 400, "The storage class you specified is not valid; there is STANDARD")
            }
        }
        if size > S3Limits.metadataMax {
            throw S3Error("MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size")
        }
        let acl = try Self.cannedACL(request), access = PublicAccess(bucket)
        try access.check(request)
        let writer = request.caller.isAnonymous ? bucket.owner : request.caller.identity
        attributes[Attribute.owner] = access.owner(writer, bucket, acl)
        attributes[Attribute.acl] = access.hasNoACLs ? nil : acl
        attributes[Attribute.tags] = try Self.headerTags(request)
        attributes[Encryption.header] = try Encryption.of(request, bucket)
        return attributes
    }

    func putObject(_ request: S3Request) throws -> any HTTPStreamHandler {
        let bucket = try require(.write, request)
        let key = try request.object()
        if request.header("content-length") == nil, request.header("transfer-encoding") == nil {
            throw S3Error("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
        }
        var attributes = try attributes(request, bucket)
        attributes.merge(try lockAttributes(request, bucket)) { $1 }
        let customer = try CustomerKey.read(request)
        attributes[Attribute.customerKey] = customer?.md5
        let check = Conditions(request).check
        return try DataIntake(self, request, customerKey: customer?.key, computes: nil) { [self] data, result in
            var attributes = attributes
            if let (algorithm, value) = result.checksum { attributes[algorithm.header] = Base64.encode(value) }
            let version = try store.put(
                bucket.name, key, data, etag: Hex.encode(result.etag), attributes: attributes, check: check)
            var headers: [(name: String, value: String)] = [("ETag", "\"\(version.etag)\"")]
            headers += writtenVersion(version) + Self.checksumHeaders(attributes)
            headers += Self.expirationHeader(bucket, version)
            return HTTPStreamResponse(200, headers: headers + Encryption.headers(attributes))
        }
    }
}
