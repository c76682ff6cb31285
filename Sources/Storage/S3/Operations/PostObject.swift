import Bytes
import HTTP
import Objects

extension S3Gateway {
    func postObject(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let form = try PostForm(body, contentType: request.header("content-type") ?? "")
        guard let file = form.file else {
            throw S3Error.invalidArgument("POST requires exactly one file upload per request.")
        }
        guard let key = form.value("key"), !key.isEmpty else {
            throw S3Error.invalidArgument("Bucket POST must contain a field named 'key'.")
        }
        let name = try request.bucket()
        var caller = Caller.anonymous
        if let id = try form.signer() {
            guard let access = try store.accessKey(id) else {
                throw S3Error("InvalidAccessKeyId", 403, "The access key you provided does not exist in our records.")
            }
            guard form.isSigned(access.secret) else {
                throw S3Error("SignatureDoesNotMatch", 403, "The signature of the policy does not match")
            }
            try form.check(bucket: name, now: request.now)
            caller = .key(access)
        }
        let headers = Self.headers(form)
        let targets = ["success_action_redirect", "redirect"].compactMap { name in
            form.value(name).map { (name: name, value: $0) }
        }
        for header in headers + targets where header.value.utf8.contains(where: { $0 < 32 && $0 != 9 }) {
            throw S3Error.invalidArgument("The field \(header.name) has a control character")
        }
        // From here on it is as if the fields were the headers of a PUT.
        var put = S3Request(
            HTTPHead(
                method: "POST", target: "/\(name)/\(URICoding.encode(key, keepsSlash: true))",
                headers: headers,
                remoteAddress: request.head.remoteAddress), domain: nil, id: request.id, now: request.now)
        put.caller = caller
        put.operation = "PostObject"
        let version = try store(put, file, form)
        return try Self.posted(form, name, version)
    }

    private static func headers(_ form: PostForm) -> [(name: String, value: String)] {
        form.fields.compactMap { name, value in
            switch name {
            case "acl": ("x-amz-acl", value)
            case "content-type", "cache-control", "content-disposition", "content-encoding", "expires", "content-md5",
                "x-amz-storage-class", "x-amz-website-redirect-location":
                (name, value)
            case _ where name.hasPrefix("x-amz-meta-") || name.hasPrefix("x-amz-server-side-encryption"): (name, value)
            case _ where name.hasPrefix("x-amz-checksum-"): (name, value)
            default: nil
            }
        }
    }

    private func store(_ put: S3Request, _ file: [UInt8], _ form: PostForm) throws -> ObjectVersion {
        let bucket = try require(.write, put)
        let key = try put.object()
        var attributes = try attributes(put, bucket)
        attributes.merge(try lockAttributes(put, bucket)) { $1 }
        if let tagging = form.value("tagging") {
            attributes[Attribute.tags] = try Self.tags(Array(tagging.utf8), max: 10)
        }
        let customer = try CustomerKey.read(put)
        attributes[Attribute.customerKey] = customer?.md5
        let intake = try BodyIntake(put, max: Int64(S3Limits.formMax))
        let writer = try store.write(customerKey: customer?.key)
        do {
            try file.withUnsafeBytes { try intake.take($0) { try writer.write($0) } }
            let result = try intake.finish()
            if let (algorithm, value) = result.checksum { attributes[algorithm.header] = Base64.encode(value) }
            return try store.put(
                bucket.name, key, try writer.finish(), etag: Hex.encode(result.etag), attributes: attributes
            ) { _ throws(ObjectError) in }
        } catch {
            writer.abandon()
            throw error
        }
    }

    private static func posted(_ form: PostForm, _ bucket: String, _ version: ObjectVersion) throws
        -> HTTPStreamResponse
    {
        let headers = [(name: "ETag", value: "\"\(version.etag)\"")]
        if let target = form.value("success_action_redirect") ?? form.value("redirect"), target.contains("://") {
            let mark = target.contains("?") ? "&" : "?"
            let place =
                "\(target)\(mark)bucket=\(bucket)&key=\(URICoding.encode(version.key.bytes))&etag=%22\(version.etag)%22"
            return HTTPStreamResponse(303, headers: headers + [("Location", place)])
        }
        switch form.value("success_action_status") {
        case "200": return HTTPStreamResponse(200, headers: headers)
        case "201":
            var xml = XMLWriter("PostResponse", isPlain: true)
            xml.leaf("Location", "/\(bucket)/\(URICoding.encode(version.key.bytes, keepsSlash: true))")
            xml.leaf("Bucket", bucket)
            xml.leaf("Key", version.key.description)
            xml.leaf("ETag", "\"\(version.etag)\"")
            return HTTPStreamResponse(
                201, headers: headers + [("Content-Type", "application/xml")], .bytes(xml.finished()))
        default: return HTTPStreamResponse(204, headers: headers)
        }
    }
}
