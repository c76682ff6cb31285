import Bytes
import Crypto
import HTTP

/// What a client says about how it signed.
struct SignatureV4: Sendable {
    /// How the body is protected.
    enum Payload: Equatable, Sendable {
        case unsigned
        case hash([UInt8])
        case chunks(isSigned: Bool, hasTrailer: Bool)
    }
    let accessKey: String
    let day: String
    let region: String
    let signedHeaders: [String]
    let signature: String
    let time: String
    let isPresigned: Bool
    let expires: Int64

    var scope: String { "\(day)/\(region)/s3/aws4_request" }
    private static let signedHeadersMax = 128
    static let skewSeconds: Int64 = 15 * 60
    static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    /// Reads it from a request; nil where the request is anonymous.
    static func read(_ request: S3Request) throws -> SignatureV4? {
        if let header = request.header("authorization") {
            if header.hasPrefix("AWS ") {
                throw S3Error.invalidRequest("Signature version 2 is not served. Please use AWS4-HMAC-SHA256.")
            }
            guard header.hasPrefix("AWS4-HMAC-SHA256") else {
                throw S3Error.invalidArgument("Unsupported Authorization Type")
            }
            return try fromHeader(header.dropFirst(16), request)
        }
        if request.parameter("X-Amz-Signature") != nil || request.parameter("X-Amz-Algorithm") != nil {
            return try fromQuery(request)
        }
        if request.parameter("AWSAccessKeyId") != nil, request.parameter("Signature") != nil {
            throw S3Error.invalidRequest("Signature version 2 is not served. Please use AWS4-HMAC-SHA256.")
        }
        return nil
    }

    private static func fromHeader(_ text: Substring, _ request: S3Request) throws -> SignatureV4 {
        var fields: [String: String] = [:]
        for part in text.split(whereSeparator: { $0 == "," || $0 == " " }) {
            let pair = part.split(separator: "=", maxSplits: 1)
            if pair.count == 2 { fields[String(pair[0])] = String(pair[1]) }
        }
        guard let credential = fields["Credential"], let headers = fields["SignedHeaders"],
            let signature = fields["Signature"]
        else { throw S3Error("AuthorizationHeaderMalformed", 400, "The authorization header is malformed") }
        let date = request.header("x-amz-date") ?? request.header("date").flatMap { CivilTime(http: $0)?.basic }
        guard let date, let time = CivilTime(basic: date) else {
            throw S3Error.accessDenied("AWS authentication requires a valid Date or x-amz-date header")
        }
        if abs(time.seconds - request.now / 1000) > skewSeconds {
            throw S3Error(
                "RequestTimeTooSkewed", 403, "The difference between the request time and the server's is too large")
        }
        return try make(credential, headers, signature, date, isPresigned: false, expires: 0)
    }

    private static func fromQuery(_ request: S3Request) throws -> SignatureV4 {
        func parameter(_ name: String) throws -> String {
            guard let value = request.parameter(name) else {
                throw S3Error(
                    "AuthorizationQueryParametersError", 400, "Query-string authentication requires \(name)")
            }
            return value
        }
        guard try parameter("X-Amz-Algorithm") == "AWS4-HMAC-SHA256" else {
            throw S3Error("AuthorizationQueryParametersError", 400, "X-Amz-Algorithm must be AWS4-HMAC-SHA256")
        }
        let date = try parameter("X-Amz-Date")
        guard let time = CivilTime(basic: date), let expires = Int64(try parameter("X-Amz-Expires"))
        else {
            throw S3Error(
                "AuthorizationQueryParametersError", 400, "X-Amz-Expires must be 1 to 604800, X-Amz-Date a date")
        }
        let seconds = request.now / 1000
        if !(0...604_800).contains(expires) { throw S3Error.accessDenied("X-Amz-Expires must be 1 to 604800") }
        if expires == 0 { throw S3Error.accessDenied("Request has expired") }
        if time.seconds - seconds > skewSeconds { throw S3Error.accessDenied("Request is not valid yet") }
        if seconds > time.seconds + expires { throw S3Error.accessDenied("Request has expired") }
        return try make(
            try parameter("X-Amz-Credential"), try parameter("X-Amz-SignedHeaders"), try parameter("X-Amz-Signature"),
            date, isPresigned: true, expires: expires)
    }

    private static func make(
        _ credential: String, _ headers: String, _ signature: String, _ date: String, isPresigned: Bool,
        expires: Int64
    ) throws -> SignatureV4 {
        let scope = credential.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
        guard scope.count >= 5, scope[scope.count - 1] == "aws4_request", scope[scope.count - 2] == "s3",
            date.hasPrefix(scope[scope.count - 4])
        else {
            throw S3Error(
                isPresigned ? "AuthorizationQueryParametersError" : "AuthorizationHeaderMalformed", 400,
                "The credential is malformed: access key, day, region, s3, aws4_request")
        }
        let names = headers.split(separator: ";").map { $0.lowercased() }
        // Each is looked for among the request's headers.
        if names.count > signedHeadersMax {
            throw S3Error("AuthorizationHeaderMalformed", 400, "More than \(signedHeadersMax) headers are signed")
        }
        guard names.contains("host") else { throw S3Error.accessDenied("The host header is not signed") }
        return SignatureV4(
            accessKey: scope[..<(scope.count - 4)].joined(separator: "/"), day: scope[scope.count - 4],
            region: scope[scope.count - 3], signedHeaders: names, signature: signature, time: date,
            isPresigned: isPresigned, expires: expires)
    }

    /// The key that signs for a day, region and service.
    func signingKey(_ secret: String) -> [UInt8] {
        var key = HMAC.sha256(key: Array("AWS4\(secret)".utf8), Array(day.utf8))
        for part in [region, "s3", "aws4_request"] { key = HMAC.sha256(key: key, Array(part.utf8)) }
        return key
    }

    /// Whether the request was signed with that secret, with every header that means something.
    func matches(_ request: S3Request, secret: String) -> Bool {
        let names = Set(signedHeaders)
        for (name, _) in request.head.headers
        where name.hasPrefix("x-amz-") && name != "x-amz-content-sha256" && !names.contains(name) { return false }
        let canonical = canonicalRequest(request)
        let text = "AWS4-HMAC-SHA256\n\(time)\n\(scope)\n\(SHA256.hash(canonical).hex)"
        return Self.equal(Hex.encode(HMAC.sha256(key: signingKey(secret), Array(text.utf8))), signature)
    }

    static func equal(_ left: String, _ right: String) -> Bool {
        equalInConstantTime(Array(left.utf8), Array(right.utf8))
    }

    func canonicalRequest(_ request: S3Request) -> String {
        let path = URICoding.encode(URICoding.decode(request.rawPath), keepsSlash: true)
        var pairs: [(String, String)] = []
        for (name, value) in request.query where !(isPresigned && name == "X-Amz-Signature") {
            pairs.append((URICoding.encode(name), URICoding.encode(value)))
        }
        pairs.sort { $0 < $1 }
        var text = "\(request.head.method)\n\(path.isEmpty ? "/" : path)\n"
        text += pairs.map { "\($0)=\($1)" }.joined(separator: "&") + "\n"
        for name in signedHeaders {
            let values = request.head.headers.filter { $0.name == name }.map { Self.squeezed($0.value) }
            text += "\(name):\(values.joined(separator: ","))\n"
        }
        text += "\n\(signedHeaders.joined(separator: ";"))\n"
        let hash = request.header("x-amz-content-sha256")
        return text + (hash ?? (isPresigned ? "UNSIGNED-PAYLOAD" : Self.emptyHash))
    }

    /// Without spaces around, and one for many inside.
    static func squeezed(_ value: String) -> String {
        guard value.utf8.first == 32 || value.utf8.last == 32 || value.contains("  ") else { return value }
        return value.split(separator: " ").joined(separator: " ")
    }

    /// How the body is protected, by `x-amz-content-sha256`.
    static func payload(_ request: S3Request) throws -> Payload {
        switch request.header("x-amz-content-sha256") {
        case nil:
            // Where the head was signed and says nothing of a body, it was signed with none.
            guard let signature = request.signature, !signature.isPresigned else { return .unsigned }
            return .hash(SHA256.hash([]).bytes)
        case "UNSIGNED-PAYLOAD": return .unsigned
        case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": return .chunks(isSigned: true, hasTrailer: false)
        case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": return .chunks(isSigned: true, hasTrailer: true)
        case "STREAMING-UNSIGNED-PAYLOAD-TRAILER": return .chunks(isSigned: false, hasTrailer: true)
        case .some(let text):
            guard let hash = Hex.decode(text.lowercased()), hash.count == 32 else {
                throw S3Error.invalidArgument(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING form that is served, or a SHA-256")
            }
            return .hash(hash)
        }
    }
}

/// Checks the signatures of chunks, one after the other.
struct ChunkSigner {
    let key: [UInt8]
    let time: String
    let scope: String
    var previous: String

    mutating func accepts(_ signature: String, hash: String) -> Bool {
        accepts(
            signature, "AWS4-HMAC-SHA256-PAYLOAD\n\(time)\n\(scope)\n\(previous)\n\(SignatureV4.emptyHash)\n\(hash)")
    }
    mutating func acceptsTrailer(_ signature: String, _ trailer: String) -> Bool {
        accepts(
            signature, "AWS4-HMAC-SHA256-TRAILER\n\(time)\n\(scope)\n\(previous)\n\(SHA256.hash(trailer).hex)")
    }
    private mutating func accepts(_ signature: String, _ text: String) -> Bool {
        let wanted = Hex.encode(HMAC.sha256(key: key, Array(text.utf8)))
        previous = wanted
        return SignatureV4.equal(wanted, signature)
    }
}
