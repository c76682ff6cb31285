import Bytes
import Objects

/// A key that comes with each request (SSE-C); the gateway keeps only its MD5, to say which one is wanted.
struct CustomerKey {
    let key: [UInt8]
    let md5: String

    /// Of the request, or of a copy's source.
    static func read(_ request: S3Request, source: Bool = false) throws -> CustomerKey? {
        let prefix = source ? "x-amz-copy-source-server-side-encryption" : "x-amz-server-side-encryption"
        let algorithm = request.header("\(prefix)-customer-algorithm")
        let text = request.header("\(prefix)-customer-key")
        let md5 = request.header("\(prefix)-customer-key-md5")
        if algorithm == nil, text == nil, md5 == nil { return nil }
        if !source, request.header(prefix) != nil {
            throw S3Error.invalidArgument("SSE-C and server-side encryption with other keys exclude each other")
        }
        guard algorithm == "AES256" else {
            throw S3Error.invalidArgument("The SSE-C algorithm must be AES256")
        }
        guard let text, let key = Base64.decode(text), key.count == 32 else {
            throw S3Error.invalidArgument("The secret key was invalid for the specified algorithm.")
        }
        guard let md5, Base64.decode(md5) == EVPHasher.md5(key) else {
            throw S3Error.invalidArgument(
                "The calculated MD5 hash of the key did not match the hash that was provided.")
        }
        return CustomerKey(key: key, md5: md5)
    }

    /// Refuses a key that is not the one an object was written with.
    static func check(_ key: CustomerKey?, _ attributes: [String: String]) throws {
        switch (key?.md5, attributes[Attribute.customerKey]) {
        case (nil, nil): return
        case (nil, .some):
            throw S3Error.invalidRequest("The object was stored using SSE-C: its key must be provided")
        case (.some, nil):
            throw S3Error.invalidRequest("The encryption parameters are not applicable to this object.")
        case (.some(let given), .some(let wanted)):
            if given != wanted { throw S3Error.invalidRequest("The key is not the one the object was written with") }
        }
    }

    static func headers(_ attributes: [String: String]) -> [(name: String, value: String)] {
        guard let md5 = attributes[Attribute.customerKey] else { return [] }
        return [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key-md5", md5),
        ]
    }
}
