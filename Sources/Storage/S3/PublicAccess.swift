import HTTP
import Objects

/// What keeps a bucket from being opened to everybody by mistake, and who owns what others put there.
struct PublicAccess: Sendable {
    static let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
    static let ownerships = ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]

    private let blocks: Set<String>
    /// Nil: as `ObjectWriter`.
    let ownership: String?

    init(_ bucket: Bucket) {
        func words(_ name: String) -> [String] {
            String(decoding: bucket.settings[name] ?? [], as: UTF8.self).split(separator: " ").map(String.init)
        }
        blocks = Set(words(Setting.publicAccess))
        ownership = words(Setting.ownership).first
    }

    var refusesPublicACLs: Bool { blocks.contains("BlockPublicAcls") }
    var refusesPublicPolicies: Bool { blocks.contains("BlockPublicPolicy") }
    var restrictsPublicPolicies: Bool { blocks.contains("RestrictPublicBuckets") }
    /// ACLs that let others in count for nothing.
    var ignoresPublicACLs: Bool { blocks.contains("IgnorePublicAcls") || hasNoACLs }
    /// The bucket's owner owns everything, and ACLs are switched off.
    var hasNoACLs: Bool { ownership == "BucketOwnerEnforced" }

    static func isPublic(_ acl: String?) -> Bool { acl?.hasPrefix("public") == true || acl == "authenticated-read" }

    /// Refuses the canned ACL of a request where this does not let it be set.
    func check(_ request: S3Request) throws {
        let acl = request.header("x-amz-acl")
        if hasNoACLs, let acl, acl != "bucket-owner-full-control" {
            throw S3Error("AccessControlListNotSupported", 400, "The bucket does not allow ACLs")
        }
        if refusesPublicACLs, Self.isPublic(acl) { throw S3Error.accessDenied() }
    }

    /// Who owns an object that somebody puts with this ACL.
    func owner(_ writer: String, _ bucket: Bucket, _ acl: String?) -> String {
        switch ownership {
        case "BucketOwnerEnforced": bucket.owner
        case "BucketOwnerPreferred" where acl == "bucket-owner-full-control": bucket.owner
        default: writer
        }
    }
}

extension S3Gateway {
    func getPublicAccess(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let kept = try require(.manage, request).settings[Setting.publicAccess] else {
            throw S3Error(
                "NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found")
        }
        let blocks = Set(String(decoding: kept, as: UTF8.self).split(separator: " ").map(String.init))
        var xml = XMLWriter("PublicAccessBlockConfiguration")
        for name in PublicAccess.names { xml.leaf(name, blocks.contains(name) ? "true" : "false") }
        return .xml(xml)
    }
    func putPublicAccess(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let document = try XMLElement.parse(body, root: "PublicAccessBlockConfiguration")
        var blocks: [String] = []
        for name in PublicAccess.names {
            switch document.word(name)?.lowercased() {
            case "true": blocks.append(name)
            case "false", nil: break
            default: throw S3Error.malformedXML
            }
        }
        try store.setSetting(bucket.name, Setting.publicAccess, Array(blocks.joined(separator: " ").utf8))
        return HTTPStreamResponse(200)
    }
    func deletePublicAccess(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.publicAccess, nil)
        return HTTPStreamResponse(204)
    }

    func getOwnership(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let ownership = PublicAccess(try require(.manage, request)).ownership else {
            throw S3Error("OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found")
        }
        var xml = XMLWriter("OwnershipControls")
        xml.group("Rule") { $0.leaf("ObjectOwnership", ownership) }
        return .xml(xml)
    }
    func putOwnership(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let document = try XMLElement.parse(body, root: "OwnershipControls")
        guard document.all("Rule").count == 1, let ownership = document.child("Rule")?.word("ObjectOwnership") else {
            throw S3Error.malformedXML
        }
        let acl = bucket.settings[Setting.acl].map { String(decoding: $0, as: UTF8.self) }
        try Self.checkOwnership(ownership, acl)
        try store.setSetting(bucket.name, Setting.ownership, Array(ownership.utf8))
        return HTTPStreamResponse(200)
    }
    func deleteOwnership(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.ownership, nil)
        return HTTPStreamResponse(204)
    }

    static func checkOwnership(_ ownership: String, _ acl: String?) throws {
        guard PublicAccess.ownerships.contains(ownership) else {
            throw S3Error.invalidArgument("Invalid x-amz-object-ownership header: \(ownership)")
        }
        if ownership == "BucketOwnerEnforced", acl != nil {
            throw S3Error(
                "InvalidBucketAclWithObjectOwnership", 400,
                "Bucket cannot have ACLs set with ObjectOwnership's \(ownership)")
        }
    }
}
