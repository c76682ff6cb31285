import HTTP
import Objects

extension S3Gateway {
    func listBuckets(_ request: S3Request) throws -> HTTPStreamResponse {
        guard case .key(let key) = request.caller else { throw S3Error.accessDenied() }
        let prefix = request.parameter("prefix") ?? ""
        let after = request.parameter("continuation-token") ?? ""
        let limit = try request.number("max-buckets", default: 10_000, max: 10_000)
        var found = try store.buckets().filter { bucket in
            (bucket.owner == key.identity || key.rights[bucket.name] != nil) && bucket.name.hasPrefix(prefix)
                && bucket.name > after
        }
        let isTruncated = found.count > limit
        found = Array(found.prefix(limit))
        var xml = XMLWriter("ListAllMyBucketsResult")
        Self.writeOwner(&xml, key.identity)
        xml.group("Buckets") { xml in
            for bucket in found {
                xml.group("Bucket") { xml in
                    xml.leaf("Name", bucket.name)
                    xml.leaf("CreationDate", CivilTime.iso(milliseconds: bucket.created))
                    xml.leaf("BucketRegion", options.region)
                }
            }
        }
        if isTruncated { xml.leaf("ContinuationToken", found.last?.name ?? "") }
        return .xml(xml)
    }

    static func writeOwner(_ xml: inout XMLWriter, _ identity: String, _ name: String = "Owner") {
        xml.group(name) { xml in
            xml.leaf("ID", identity)
            xml.leaf("DisplayName", identity)
        }
    }

    /// The rules of S3 for names.
    static func isBucketName(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard (3...63).contains(bytes.count), let first = bytes.first, let last = bytes.last else { return false }
        func isPlain(_ byte: UInt8) -> Bool { (97...122).contains(byte) || (48...57).contains(byte) }
        guard isPlain(first), isPlain(last), bytes.allSatisfy({ isPlain($0) || $0 == 45 || $0 == 46 }) else {
            return false
        }
        if name.contains("..") || name.contains(".-") || name.contains("-.") { return false }
        let labels = name.split(separator: ".")
        return !(labels.count == 4 && labels.allSatisfy { UInt8($0) != nil })
    }

    func createBucket(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        guard case .key(let key) = request.caller else { throw S3Error.accessDenied() }
        let name = try request.bucket()
        guard Self.isBucketName(name) else {
            throw S3Error("InvalidBucketName", 400, "The specified bucket is not valid.")
        }
        if !body.isEmpty {
            let document = try XMLElement.parse(body, root: "CreateBucketConfiguration")
            if let place = document.word("LocationConstraint"), !place.isEmpty, place != options.region,
                place != "default"
            {
                throw S3Error("InvalidLocationConstraint", 400, "The specified location-constraint is not valid")
            }
        }
        var bucket = Bucket(name: name, owner: key.identity, created: request.now)
        if let acl = try Self.cannedACL(request) { bucket.settings[Setting.acl] = Array(acl.utf8) }
        if let ownership = request.header("x-amz-object-ownership") {
            try Self.checkOwnership(ownership, try Self.cannedACL(request))
            bucket.settings[Setting.ownership] = Array(ownership.utf8)
        }
        if request.header("x-amz-bucket-object-lock-enabled")?.lowercased() == "true" {
            bucket.versioning = .enabled
            bucket.settings[Setting.lock] = LockRule().document
        }
        do throws(ObjectError) {
            try store.createBucket(bucket)
        } catch {
            guard case .bucketExists(_, let owner) = error else { throw error }
            if owner != key.identity {
                throw S3Error("BucketAlreadyExists", 409, "The requested bucket name is not available.")
            }
            // As in us-east-1: making one's own bucket again is no error.
            if try store.bucket(name).settings[Setting.acl] != bucket.settings[Setting.acl] {
                throw S3Error("BucketAlreadyExists", 409, "The bucket exists already, with another ACL.")
            }
            if try store.bucket(name).settings[Setting.lock] != bucket.settings[Setting.lock] {
                throw S3Error("BucketAlreadyOwnedByYou", 409, "The bucket exists already and is yours.")
            }
        }
        return HTTPStreamResponse(200, headers: [("Location", "/\(name)")])
    }

    func headBucket(_ request: S3Request) throws -> HTTPStreamResponse {
        try require(.list, request)
        return HTTPStreamResponse(
            200, headers: [("x-amz-bucket-region", options.region), ("Content-Type", "application/xml")], .length(0))
    }

    func deleteBucket(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.deleteBucket(bucket.name)
        return HTTPStreamResponse(204)
    }

    func bucketLocation(_ request: S3Request) throws -> HTTPStreamResponse {
        try require(.manage, request)
        var xml = XMLWriter("LocationConstraint")
        // The first region has no name here.
        if options.region != "us-east-1" { xml.add(options.region) }
        return .xml(xml)
    }

    func getVersioning(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        var xml = XMLWriter("VersioningConfiguration")
        switch bucket.versioning {
        case .off: break
        case .enabled: xml.leaf("Status", "Enabled")
        case .suspended: xml.leaf("Status", "Suspended")
        }
        return .xml(xml)
    }

    func putVersioning(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let document = try XMLElement.parse(body, root: "VersioningConfiguration")
        if document.word("MFADelete") == "Enabled" { throw S3Error.notImplemented("MFA delete") }
        switch document.word("Status") {
        case "Enabled": try store.setVersioning(bucket.name, .enabled)
        case "Suspended":
            if bucket.settings[Setting.lock] != nil {
                throw S3Error("InvalidBucketState", 409, "Versioning of a bucket with object lock cannot be suspended.")
            }
            try store.setVersioning(bucket.name, .suspended)
        default: throw S3Error.malformedXML
        }
        return HTTPStreamResponse(200)
    }
}
