import HTTP
import Objects

/// Server-side encryption with keys of the store (`AES256`), which seals whatever it keeps; other keys than a customer's are not there.
enum Encryption {
    static let header = "x-amz-server-side-encryption"

    /// What a write asks for, or its bucket by default.
    static func of(_ request: S3Request, _ bucket: Bucket) throws -> String? {
        let hasKey = request.header("\(header)-aws-kms-key-id") != nil
        switch request.header(header) {
        case nil:
            if hasKey { throw S3Error.invalidArgument("A KMS key comes with \(header): aws:kms") }
            let isCustomer = request.header("\(header)-customer-algorithm") != nil
            return bucket.settings[Setting.encryption] != nil && !isCustomer ? "AES256" : nil
        case "AES256":
            if hasKey { throw S3Error.invalidArgument("A KMS key comes with \(header): aws:kms") }
            return "AES256"
        case "aws:kms", "aws:kms:dsse":
            if request.header("\(header)-customer-algorithm") != nil {
                throw S3Error.invalidArgument("SSE-C and KMS exclude each other")
            }
            throw S3Error.notImplemented("server-side encryption with KMS")
        case .some(let name): throw S3Error.invalidArgument("the encryption \(name) is not known")
        }
    }
    /// What an answer says of it.
    static func headers(_ attributes: [String: String]) -> [(name: String, value: String)] {
        let own = attributes[header].map { [(name: header, value: $0)] } ?? []
        return own + CustomerKey.headers(attributes)
    }
}

extension S3Gateway {
    func getEncryption(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let document = try require(.manage, request).settings[Setting.encryption] else {
            throw S3Error(
                "ServerSideEncryptionConfigurationNotFoundError", 404,
                "The server side encryption configuration was not found")
        }
        return HTTPStreamResponse(200, headers: [("Content-Type", "application/xml")], .bytes(document))
    }
    func putEncryption(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let document = try XMLElement.parse(body, root: "ServerSideEncryptionConfiguration")
        let rules = document.all("Rule")
        guard rules.count == 1, let rule = rules.first?.child("ApplyServerSideEncryptionByDefault") else {
            throw S3Error.malformedXML
        }
        switch rule.word("SSEAlgorithm") {
        case "AES256": break
        case "aws:kms", "aws:kms:dsse": throw S3Error.notImplemented("server-side encryption with KMS")
        default: throw S3Error.malformedXML
        }
        var xml = XMLWriter("ServerSideEncryptionConfiguration")
        xml.group("Rule") { xml in
            xml.group("ApplyServerSideEncryptionByDefault") { $0.leaf("SSEAlgorithm", "AES256") }
            xml.leaf("BucketKeyEnabled", "false")
        }
        try store.setSetting(bucket.name, Setting.encryption, xml.finished())
        return HTTPStreamResponse(200)
    }
    func deleteEncryption(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.encryption, nil)
        return HTTPStreamResponse(204)
    }
}
