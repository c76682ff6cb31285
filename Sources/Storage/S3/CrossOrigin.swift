import HTTP
import Objects

/// What pages of other origins may ask of a bucket (CORS).
struct CrossOrigin: Sendable {
    /// One rule; the first that fits counts.
    struct Rule: Sendable {
        var id: String?
        var origins: [String] = []
        var methods: [String] = []
        var headers: [String] = []
        var exposed: [String] = []
        var maxAge: Int?
    }
    static let methods: Set = ["GET", "PUT", "POST", "DELETE", "HEAD"]
    private static let rulesMax = 100
    private(set) var rules: [Rule] = []

    /// Reads what a client or this gateway wrote.
    init(_ document: [UInt8]) throws {
        let document = try XMLElement.parse(document, root: "CORSConfiguration")
        for element in document.all("CORSRule") {
            var rule = Rule()
            rule.id = element.word("ID")
            rule.origins = element.all("AllowedOrigin").map(\.word)
            rule.methods = element.all("AllowedMethod").map(\.word)
            rule.headers = element.all("AllowedHeader").map(\.word)
            rule.exposed = element.all("ExposeHeader").map(\.word)
            if let text = element.word("MaxAgeSeconds") {
                guard let number = Int(text), number >= 0 else { throw S3Error.malformedXML }
                rule.maxAge = number
            }
            guard !rule.origins.isEmpty, !rule.methods.isEmpty, (rule.id ?? "").utf8.count <= 255 else {
                throw S3Error.malformedXML
            }
            for method in rule.methods where !Self.methods.contains(method) {
                throw S3Error.invalidRequest(
                    "Found unsupported HTTP method in CORS config. Unsupported method is \(method)")
            }
            for pattern in rule.origins + rule.headers where pattern.utf8.count(where: { $0 == 42 }) > 1 {
                throw S3Error.invalidRequest("AllowedOrigin or AllowedHeader \"\(pattern)\" has more than one wildcard")
            }
            rules.append(rule)
        }
        if rules.isEmpty || rules.count > Self.rulesMax { throw S3Error.malformedXML }
    }

    /// As it is kept and given back.
    var document: [UInt8] {
        var xml = XMLWriter("CORSConfiguration")
        for rule in rules {
            xml.group("CORSRule") { xml in
                xml.leaf("ID", ifPresent: rule.id)
                for header in rule.headers { xml.leaf("AllowedHeader", header) }
                for method in rule.methods { xml.leaf("AllowedMethod", method) }
                for origin in rule.origins { xml.leaf("AllowedOrigin", origin) }
                for header in rule.exposed { xml.leaf("ExposeHeader", header) }
                if let age = rule.maxAge { xml.leaf("MaxAgeSeconds", age) }
            }
        }
        return xml.finished()
    }

    /// The headers that let a page of that origin see the answer; nil where no rule does.
    func headers(origin: String, method: String, asked: [String]) -> [(name: String, value: String)]? {
        for rule in rules where rule.methods.contains(method) {
            guard let pattern = rule.origins.first(where: { Self.matches(origin, $0) }),
                asked.allSatisfy({ name in
                    rule.headers.contains { Self.matches(name.lowercased(), $0.lowercased()) }
                })
            else { continue }
            var headers: [(name: String, value: String)] = [
                ("Access-Control-Allow-Origin", pattern == "*" ? "*" : origin),
                ("Access-Control-Allow-Methods", rule.methods.joined(separator: ", ")),
            ]
            // What anybody may see is seen without who asks being known.
            if pattern != "*" { headers.append(("Access-Control-Allow-Credentials", "true")) }
            if !asked.isEmpty { headers.append(("Access-Control-Allow-Headers", asked.joined(separator: ", "))) }
            if !rule.exposed.isEmpty {
                headers.append(("Access-Control-Expose-Headers", rule.exposed.joined(separator: ", ")))
            }
            if let age = rule.maxAge { headers.append(("Access-Control-Max-Age", "\(age)")) }
            headers.append(("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"))
            return headers
        }
        return nil
    }

    /// Whether a text is what a pattern with at most one `*` means.
    static func matches(_ text: String, _ pattern: String) -> Bool {
        let parts = pattern.split(separator: "*", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return text == pattern }
        return text.utf8.count >= parts[0].utf8.count + parts[1].utf8.count && text.hasPrefix(parts[0])
            && text.hasSuffix(parts[1])
    }
}

extension S3Gateway {
    func getCrossOrigin(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let document = try require(.manage, request).settings[Setting.crossOrigin] else {
            throw S3Error("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")
        }
        return HTTPStreamResponse(200, headers: [("Content-Type", "application/xml")], .bytes(document))
    }
    func putCrossOrigin(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.crossOrigin, try CrossOrigin(body).document)
        return HTTPStreamResponse(200)
    }
    func deleteCrossOrigin(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.crossOrigin, nil)
        return HTTPStreamResponse(204)
    }

    /// What a browser asks before it sends a page's request.
    func preflight(_ request: S3Request) throws -> HTTPStreamResponse {
        guard request.header("origin") != nil, request.header("access-control-request-method") != nil else {
            throw S3Error("BadRequest", 400, "Insufficient information. Origin request header needed.")
        }
        guard let headers = crossOriginHeaders(request) else {
            throw S3Error("AccessForbidden", 403, "CORSResponse: This CORS request is not allowed.")
        }
        return HTTPStreamResponse(200, headers: headers)
    }

    /// What an answer says to the browser that asked for a page of another origin; nil where it may not see it.
    func crossOriginHeaders(_ request: S3Request) -> [(name: String, value: String)]? {
        guard let origin = request.header("origin"), let name = request.bucketName,
            let document = (try? store.bucket(name))?.settings[Setting.crossOrigin],
            let rules = try? CrossOrigin(document)
        else { return nil }
        let asked = (request.header("access-control-request-headers") ?? "").split(separator: ",").map {
            SignatureV4.squeezed(String($0))
        }
        return rules.headers(
            origin: origin, method: request.header("access-control-request-method") ?? request.head.method,
            asked: asked.filter { !$0.isEmpty })
    }
}
