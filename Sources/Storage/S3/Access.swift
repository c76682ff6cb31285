import HTTP
import Objects

/// What a request wants to do, for rights.
enum Right: Sendable {
    /// See a bucket's names.
    case list
    /// Read an object.
    case read
    /// Make or remove objects.
    case write
    /// Change the bucket itself, or see how it is set up.
    case manage
}

extension S3Gateway {
    /// The bucket, if the caller may do that to it; an object's attributes where it is about one.
    @discardableResult
    func require(
        _ right: Right, _ request: S3Request, _ name: String? = nil, object: [String: String]? = nil,
        source: ObjectKey? = nil
    ) throws
        -> Bucket
    {
        let bucket = try store.bucket(try name ?? request.bucket())
        if let owner = request.header("x-amz-expected-bucket-owner"), owner != bucket.owner, name == nil {
            throw S3Error.accessDenied()
        }
        switch try decide(request, bucket, source: source, object) {
        case .allow: return bucket
        case .deny: throw S3Error.accessDenied()
        case .none: break
        }
        if Self.allows(right, request.caller, bucket, object) { return bucket }
        throw S3Error.accessDenied()
    }

    /// Identity, ownership, rights of the key, and canned ACLs.
    static func allows(_ right: Right, _ caller: Caller, _ bucket: Bucket, _ object: [String: String]?) -> Bool {
        if case .key(let key) = caller {
            if key.isOwner || key.identity == bucket.owner { return true }
            switch (key.rights[bucket.name] ?? key.rights["*"], right) {
            case ("full", _), ("write", .write), ("write", .read), ("write", .list), ("read", .read), ("read", .list):
                return true
            default: break
            }
            if right == .read, object?[Attribute.owner] == key.identity { return true }
        }
        if right == .manage { return false }
        let text =
            right == .read
            ? object?[Attribute.acl] : bucket.settings[Setting.acl].map { String(decoding: $0, as: UTF8.self) }
        if PublicAccess.isPublic(text), PublicAccess(bucket).ignoresPublicACLs { return false }
        switch text {
        case "public-read": return right != .write
        case "public-read-write": return true
        case "bucket-owner-read", "bucket-owner-full-control":
            return right == .read && caller.identity == bucket.owner
        case "authenticated-read": return right != .write && !caller.isAnonymous
        default: return false
        }
    }

    /// The canned ACL of a request; nil: private.
    static func cannedACL(_ request: S3Request) throws -> String? {
        if request.head.headers.contains(where: { $0.name.hasPrefix("x-amz-grant-") }) {
            throw S3Error.notImplemented("a grant in a header")
        }
        guard let name = request.header("x-amz-acl") else { return nil }
        switch name {
        case "private": return nil
        case "public-read", "public-read-write", "authenticated-read", "bucket-owner-read",
            "bucket-owner-full-control":
            return name
        default: throw S3Error.invalidArgument("the canned ACL \(name) is not known")
        }
    }
}

/// Names under which the gateway keeps things with a bucket.
enum Setting {
    static let acl = "acl"
    static let tags = "tags"
    static let lock = "object-lock"
    static let policy = "policy"
    static let encryption = "encryption"
    static let crossOrigin = "cors"
    static let lifecycle = "lifecycle"
    static let publicAccess = "public-access-block"
    static let ownership = "ownership"
}

/// Names of attributes that are not headers.
enum Attribute {
    static let owner = ObjectAttribute.owner
    static let acl = ".acl"
    static let tags = ".tags"
    static let checksumType = ".checksum-type"
    static let checksumAlgorithm = ".checksum-algorithm"
    static let customerKey = ".sse-c-key-md5"
    static let lockMode = ".lock-mode"
    static let lockUntil = ".lock-until"
    static let legalHold = ".legal-hold"
    /// The upload that made the version.
    static let upload = ".upload"
}
