import HTTP
import Objects

// Canned ACLs: what they grant is shown in S3's shape; grants beyond them are not implemented.
extension S3Gateway {
    private func acl(_ owner: String, _ canned: String?, _ bucketOwner: String) -> HTTPStreamResponse {
        var xml = XMLWriter("AccessControlPolicy")
        Self.writeOwner(&xml, owner)
        xml.group("AccessControlList") { xml in
            let all = "http://acs.amazonaws.com/groups/global/AllUsers"
            switch canned {
            case "public-read": Self.grant(&xml, "READ", nil, all)
            case "public-read-write":
                Self.grant(&xml, "READ", nil, all)
                Self.grant(&xml, "WRITE", nil, all)
            case "authenticated-read":
                Self.grant(&xml, "READ", nil, "http://acs.amazonaws.com/groups/global/AuthenticatedUsers")
            case "bucket-owner-read" where bucketOwner != owner: Self.grant(&xml, "READ", bucketOwner, nil)
            case "bucket-owner-full-control" where bucketOwner != owner:
                Self.grant(&xml, "FULL_CONTROL", bucketOwner, nil)
            default: break
            }
            Self.grant(&xml, "FULL_CONTROL", owner, nil)
        }
        return .xml(xml)
    }
    private static func grant(_ xml: inout XMLWriter, _ permission: String, _ identity: String?, _ group: String?) {
        xml.group("Grant") { xml in
            let type = identity != nil ? "CanonicalUser" : "Group"
            xml.begin(
                "Grantee", "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"\(type)\"")
            xml.leaf("ID", ifPresent: identity)
            xml.leaf("DisplayName", ifPresent: identity)
            xml.leaf("URI", ifPresent: group)
            xml.end()
            xml.leaf("Permission", permission)
        }
    }

    func getBucketACL(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        return acl(bucket.owner, bucket.settings[Setting.acl].map { String(decoding: $0, as: UTF8.self) }, bucket.owner)
    }
    func putBucketACL(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        if !body.isEmpty { throw S3Error.notImplemented("an AccessControlPolicy document") }
        let acl = try Self.cannedACL(request)
        try PublicAccess(bucket).check(request)
        try store.setSetting(bucket.name, Setting.acl, acl.map { Array($0.utf8) })
        return HTTPStreamResponse(200)
    }
    func getObjectACL(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try store.bucket(try request.bucket())
        let version = try store.version(bucket.name, try request.object(), try request.version())
        let owner = version.attributes[Attribute.owner] ?? bucket.owner
        if owner != request.caller.identity { try require(.manage, request, object: version.attributes) }
        return acl(owner, version.attributes[Attribute.acl], bucket.owner)
    }
    func putObjectACL(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try store.bucket(try request.bucket())
        let key = try request.object()
        let version = try store.version(bucket.name, key, try request.version())
        if version.attributes[Attribute.owner] != request.caller.identity { try require(.manage, request) }
        if !body.isEmpty { throw S3Error.notImplemented("an AccessControlPolicy document") }
        let acl = try Self.cannedACL(request)
        try PublicAccess(bucket).check(request)
        _ = try store.setAttributes(bucket.name, key, version.id, [Attribute.acl: acl]) {
            _ throws(ObjectError) in
        }
        return HTTPStreamResponse(200)
    }
}
