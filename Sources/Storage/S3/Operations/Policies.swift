import HTTP
import Objects

extension S3Gateway {
    func getPolicy(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let policy = try require(.manage, request).settings[Setting.policy] else {
            throw S3Error("NoSuchBucketPolicy", 404, "The bucket policy does not exist")
        }
        return HTTPStreamResponse(200, headers: [("Content-Type", "application/json")], .bytes(policy))
    }
    func putPolicy(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let isPublic = try BucketPolicy(body).isPublic
        if isPublic, PublicAccess(bucket).refusesPublicPolicies { throw S3Error.accessDenied() }
        try store.setSetting(bucket.name, Setting.policy, body)
        return HTTPStreamResponse(204)
    }
    func deletePolicy(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.policy, nil)
        return HTTPStreamResponse(204)
    }
    func policyStatus(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let acl = bucket.settings[Setting.acl].map { String(decoding: $0, as: UTF8.self) } ?? ""
        let byPolicy = try bucket.settings[Setting.policy].map { try BucketPolicy($0).isPublic } ?? false
        var xml = XMLWriter("PolicyStatus")
        xml.leaf("IsPublic", byPolicy || acl.hasPrefix("public") || acl == "authenticated-read" ? "true" : "false")
        return .xml(xml)
    }

    /// What an operation is called in policies.
    static func action(_ operation: String, _ request: S3Request, isSource: Bool) -> String {
        let version = request.has("versionId")
        if isSource { return "s3:GetObject" }
        switch operation {
        case "ListObjects", "ListObjectsV2", "HeadBucket": return "s3:ListBucket"
        case "ListObjectVersions": return "s3:ListBucketVersions"
        case "ListMultipartUploads": return "s3:ListBucketMultipartUploads"
        case "ListParts": return "s3:ListMultipartUploadParts"
        case "GetObject", "HeadObject", "GetObjectAttributes": return version ? "s3:GetObjectVersion" : "s3:GetObject"
        case "DeleteObject", "DeleteObjects": return version ? "s3:DeleteObjectVersion" : "s3:DeleteObject"
        case "CopyObject", "UploadPart", "UploadPartCopy", "CreateMultipartUpload", "CompleteMultipartUpload",
            "PostObject":
            return "s3:PutObject"
        case "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging", "GetObjectAcl", "PutObjectAcl":
            guard version, let split = operation.firstRange(of: "Object") else { return "s3:\(operation)" }
            return "s3:\(operation[..<split.upperBound])Version\(operation[split.upperBound...])"
        default: return "s3:\(operation)"
        }
    }

    /// Whether the caller may delete one key of many.
    func requireDelete(
        _ request: S3Request, _ bucket: Bucket, _ policy: BucketPolicy?, _ key: ObjectKey, _ version: VersionID?
    ) throws {
        guard let policy else { return }
        if let owner = request.header("x-amz-expected-bucket-owner"), owner != bucket.owner {
            throw S3Error.accessDenied()
        }
        let action = version == nil ? "s3:DeleteObject" : "s3:DeleteObjectVersion"
        switch policy.decide(action, request, "arn:aws:s3:::\(bucket.name)/\(key)", nil) {
        case .allow: return
        case .none where Self.allows(.write, request.caller, bucket, nil): return
        case .none, .deny: throw S3Error.accessDenied()
        }
    }

    /// What the bucket's policy says; its owner can always get at the policy itself.
    func decide(_ request: S3Request, _ bucket: Bucket, source: ObjectKey?, _ object: [String: String]?) throws
        -> BucketPolicy.Decision
    {
        guard let bytes = bucket.settings[Setting.policy] else { return .none }
        if request.operation.hasSuffix("BucketPolicy"), request.caller.identity == bucket.owner { return .none }
        let key = source ?? request.key
        let resource = "arn:aws:s3:::\(bucket.name)" + (key.map { "/\($0)" } ?? "")
        let action = Self.action(request.operation, request, isSource: source != nil)
        let policy = try BucketPolicy(bytes)
        let decision = policy.decide(action, request, resource, object)
        if case .allow = decision, request.caller.identity != bucket.owner, policy.isPublic,
            PublicAccess(bucket).restrictsPublicPolicies
        {
            return .none
        }
        return decision
    }
}
