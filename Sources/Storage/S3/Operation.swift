import HTTP
import Objects

/// What a request asks for.
struct Operation: Sendable {
    /// How its body comes.
    enum Body: Sendable {
        case none(Document.Run)
        case document(Document.Run)
        case stream(@Sendable (S3Gateway, S3Request) throws -> any HTTPStreamHandler)
    }
    let name: String
    let body: Body

    static func none(_ name: String, _ run: @escaping @Sendable (S3Gateway, S3Request) throws -> HTTPStreamResponse)
        -> Operation
    {
        Operation(name: name, body: .none { gateway, request, _ in try run(gateway, request) })
    }
    static func document(_ name: String, _ run: @escaping Document.Run) -> Operation {
        Operation(name: name, body: .document(run))
    }

    /// Chooses by method, level and the first query name that is known.
    static func of(_ request: S3Request) throws -> Operation {
        let method = request.head.method
        guard request.bucketName != nil else {
            if method == "GET" || method == "HEAD" { return .none("ListBuckets") { try $0.listBuckets($1) } }
            if method == "POST" { throw S3Error.notImplemented("a POST to the service") }
            throw methodNotAllowed
        }
        if request.key == nil {
            if let found = try ofBucket(method, request) { return found }
        } else if let found = try ofObject(method, request) {
            return found
        }
        throw methodNotAllowed
    }
    private static let methodNotAllowed = S3Error(
        "MethodNotAllowed", 405, "The specified method is not allowed against this resource.")

    /// What S3 has and this does not.
    private static let missing = [
        "website", "notification", "replication", "logging", "accelerate", "requestPayment", "analytics",
        "inventory", "metrics", "intelligent-tiering", "torrent", "restore", "select", "renameObject", "session",
        "metadataTable",
    ]

    private static func ofBucket(_ method: String, _ request: S3Request) throws -> Operation? {
        for name in missing where request.has(name) { throw S3Error.notImplemented("\(method) of ?\(name)") }
        for (name, operations) in bucketOperations where request.has(name) { return operations[method] }
        switch method {
        case "GET":
            if request.parameter("list-type") == "2" { return .none("ListObjectsV2") { try $0.listObjectsV2($1) } }
            return .none("ListObjects") { try $0.listObjects($1) }
        case "PUT": return .document("CreateBucket") { try $0.createBucket($1, $2) }
        case "HEAD": return .none("HeadBucket") { try $0.headBucket($1) }
        case "DELETE": return .none("DeleteBucket") { try $0.deleteBucket($1) }
        case "POST": return .document("PostObject") { try $0.postObject($1, $2) }
        case "OPTIONS": return .none("Preflight") { try $0.preflight($1) }
        default: return nil
        }
    }

    private static let bucketOperations: [(String, [String: Operation])] = [
        ("location", ["GET": .none("GetBucketLocation") { try $0.bucketLocation($1) }]),
        (
            "versioning",
            [
                "GET": .none("GetBucketVersioning") { try $0.getVersioning($1) },
                "PUT": .document("PutBucketVersioning") { try $0.putVersioning($1, $2) },
            ]
        ),
        ("versions", ["GET": .none("ListObjectVersions") { try $0.listObjectVersions($1) }]),
        ("uploads", ["GET": .none("ListMultipartUploads") { try $0.listUploads($1) }]),
        ("delete", ["POST": .document("DeleteObjects") { try $0.deleteObjects($1, $2) }]),
        (
            "tagging",
            [
                "GET": .none("GetBucketTagging") { try $0.getBucketTags($1) },
                "PUT": .document("PutBucketTagging") { try $0.putBucketTags($1, $2) },
                "DELETE": .none("DeleteBucketTagging") { try $0.deleteBucketTags($1) },
            ]
        ),
        (
            "encryption",
            [
                "GET": .none("GetBucketEncryption") { try $0.getEncryption($1) },
                "PUT": .document("PutBucketEncryption") { try $0.putEncryption($1, $2) },
                "DELETE": .none("DeleteBucketEncryption") { try $0.deleteEncryption($1) },
            ]
        ),
        (
            "policy",
            [
                "GET": .none("GetBucketPolicy") { try $0.getPolicy($1) },
                "PUT": .document("PutBucketPolicy") { try $0.putPolicy($1, $2) },
                "DELETE": .none("DeleteBucketPolicy") { try $0.deletePolicy($1) },
            ]
        ),
        ("policyStatus", ["GET": .none("GetBucketPolicyStatus") { try $0.policyStatus($1) }]),
        (
            "object-lock",
            [
                "GET": .none("GetObjectLockConfiguration") { try $0.getLock($1) },
                "PUT": .document("PutObjectLockConfiguration") { try $0.putLock($1, $2) },
            ]
        ),
        (
            "cors",
            [
                "GET": .none("GetBucketCORS") { try $0.getCrossOrigin($1) },
                "PUT": .document("PutBucketCORS") { try $0.putCrossOrigin($1, $2) },
                "DELETE": .none("DeleteBucketCORS") { try $0.deleteCrossOrigin($1) },
            ]
        ),
        (
            "lifecycle",
            [
                "GET": .none("GetLifecycleConfiguration") { try $0.getLifecycle($1) },
                "PUT": .document("PutLifecycleConfiguration") { try $0.putLifecycle($1, $2) },
                "DELETE": .none("DeleteLifecycleConfiguration") { try $0.deleteLifecycle($1) },
            ]
        ),
        (
            "publicAccessBlock",
            [
                "GET": .none("GetBucketPublicAccessBlock") { try $0.getPublicAccess($1) },
                "PUT": .document("PutBucketPublicAccessBlock") { try $0.putPublicAccess($1, $2) },
                "DELETE": .none("DeleteBucketPublicAccessBlock") { try $0.deletePublicAccess($1) },
            ]
        ),
        (
            "ownershipControls",
            [
                "GET": .none("GetBucketOwnershipControls") { try $0.getOwnership($1) },
                "PUT": .document("PutBucketOwnershipControls") { try $0.putOwnership($1, $2) },
                "DELETE": .none("DeleteBucketOwnershipControls") { try $0.deleteOwnership($1) },
            ]
        ),
        (
            "acl",
            [
                "GET": .none("GetBucketAcl") { try $0.getBucketACL($1) },
                "PUT": .document("PutBucketAcl") { try $0.putBucketACL($1, $2) },
            ]
        ),
    ]

    private static func ofObject(_ method: String, _ request: S3Request) throws -> Operation? {
        for name in missing where request.has(name) { throw S3Error.notImplemented("\(method) of ?\(name)") }
        if request.has("uploadId") { return ofUpload(method, request) }
        for (name, operations) in objectOperations where request.has(name) { return operations[method] }
        switch method {
        case "GET": return .none("GetObject") { try $0.getObject($1) }
        case "HEAD": return .none("HeadObject") { try $0.getObject($1) }
        case "PUT":
            if request.header("x-amz-copy-source") != nil { return .none("CopyObject") { try $0.copyObject($1) } }
            return Operation(name: "PutObject", body: .stream { try $0.putObject($1) })
        case "DELETE": return .none("DeleteObject") { try $0.deleteObject($1) }
        case "OPTIONS": return .none("Preflight") { try $0.preflight($1) }
        default: return nil
        }
    }

    private static func ofUpload(_ method: String, _ request: S3Request) -> Operation? {
        switch method {
        case "GET": return .none("ListParts") { try $0.listParts($1) }
        case "POST": return .document("CompleteMultipartUpload") { try $0.completeUpload($1, $2) }
        case "DELETE": return .none("AbortMultipartUpload") { try $0.abortUpload($1) }
        case "PUT":
            if request.header("x-amz-copy-source") != nil { return .none("UploadPartCopy") { try $0.copyPart($1) } }
            return Operation(name: "UploadPart", body: .stream { try $0.putPart($1) })
        default: return nil
        }
    }

    private static let objectOperations: [(String, [String: Operation])] = [
        ("uploads", ["POST": .none("CreateMultipartUpload") { try $0.createUpload($1) }]),
        ("attributes", ["GET": .none("GetObjectAttributes") { try $0.objectAttributes($1) }]),
        (
            "tagging",
            [
                "GET": .none("GetObjectTagging") { try $0.getObjectTags($1) },
                "PUT": .document("PutObjectTagging") { try $0.putObjectTags($1, $2) },
                "DELETE": .none("DeleteObjectTagging") { try $0.deleteObjectTags($1) },
            ]
        ),
        (
            "retention",
            [
                "GET": .none("GetObjectRetention") { try $0.getRetention($1) },
                "PUT": .document("PutObjectRetention") { try $0.putRetention($1, $2) },
            ]
        ),
        (
            "legal-hold",
            [
                "GET": .none("GetObjectLegalHold") { try $0.getLegalHold($1) },
                "PUT": .document("PutObjectLegalHold") { try $0.putLegalHold($1, $2) },
            ]
        ),
        (
            "acl",
            [
                "GET": .none("GetObjectAcl") { try $0.getObjectACL($1) },
                "PUT": .document("PutObjectAcl") { try $0.putObjectACL($1, $2) },
            ]
        ),
    ]
}

extension HTTPStreamResponse {
    /// A document.
    static func xml(_ writer: XMLWriter, headers: [(name: String, value: String)] = []) -> HTTPStreamResponse {
        HTTPStreamResponse(200, headers: [("Content-Type", "application/xml")] + headers, .bytes(writer.finished()))
    }
}
