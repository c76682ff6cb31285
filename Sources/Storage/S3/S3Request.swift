import HTTP
import Objects

/// Who asks.
enum Caller: Sendable {
    case anonymous
    case key(AccessKey)

    var identity: String {
        switch self {
        case .anonymous: "anonymous"
        case .key(let key): key.identity
        }
    }
    var isAnonymous: Bool { if case .anonymous = self { true } else { false } }
    var isOwner: Bool { if case .key(let key) = self { key.isOwner } else { false } }
}

/// A request, taken apart.
struct S3Request: Sendable {
    let head: HTTPHead
    let id: String
    /// Unix milliseconds.
    let now: Int64
    let rawPath: [UInt8]
    let query: [(name: String, value: String)]
    let bucketName: String?
    let key: ObjectKey?
    var caller = Caller.anonymous
    var signature: SignatureV4?
    var secret = ""
    /// What it is called, such as `GetObject`.
    var operation = ""

    init(_ head: HTTPHead, domain: String?, id: String, now: Int64) {
        (self.head, self.id, self.now) = (head, id, now)
        let parts = head.target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var path = Array((parts.first ?? "/").utf8)
        // An absolute target, as proxies get it.
        if path.first != 47, let text = parts.first, let slashes = text.firstRange(of: "://") {
            path = Array(text[slashes.upperBound...].drop { $0 != "/" }.utf8)
        }
        rawPath = path
        query = parts.count > 1 ? URICoding.query(parts[1]) : []
        var names = path[...]
        if names.first == 47 { names.removeFirst() }
        let host = (head.value("host") ?? "").split(separator: ":").first.map { $0.lowercased() } ?? ""
        if let domain, host.hasSuffix("." + domain) {
            bucketName = String(host.dropLast(domain.count + 1))
            key = names.isEmpty ? nil : ObjectKey(URICoding.decode(names))
        } else {
            let slash = names.firstIndex(of: 47) ?? names.endIndex
            let name = String(decoding: URICoding.decode(names[..<slash]), as: UTF8.self)
            bucketName = name.isEmpty ? nil : name
            let rest = names[slash...].dropFirst()
            key = rest.isEmpty ? nil : ObjectKey(URICoding.decode(rest))
        }
    }

    func header(_ name: String) -> String? { head.value(name) }
    func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }
    func has(_ name: String) -> Bool { query.contains { $0.name == name } }

    /// The bucket's name; operations on buckets have one.
    func bucket() throws -> String {
        guard let bucketName else { throw S3Error("InvalidBucketName", 400, "no bucket is named") }
        return bucketName
    }
    /// The object's name; operations on objects have one.
    func object() throws -> ObjectKey {
        guard let key else { throw S3Error.invalidRequest("no key is named") }
        if key.bytes.count > S3Limits.keyMax { throw S3Error("KeyTooLongError", 400, "Your key is too long") }
        if String(validating: key.bytes, as: UTF8.self) == nil {
            throw S3Error("InvalidURI", 400, "The key is not UTF-8")
        }
        return key
    }
    /// The version that is asked for.
    func version() throws -> VersionID? {
        guard let text = parameter("versionId") else { return nil }
        guard let version = VersionID(text) else {
            throw S3Error.invalidArgument("Invalid version id specified")
        }
        return version
    }
    func number(_ name: String, default fallback: Int, max: Int) throws -> Int {
        guard let text = parameter(name), !text.isEmpty else { return fallback }
        guard let number = Int(text), number >= 0, number <= Int(Int32.max) else {
            throw S3Error.invalidArgument("\(name) is not a number that fits")
        }
        return min(number, max)
    }
    /// `url`, or nothing.
    func encodesNames() throws -> Bool {
        guard let encoding = parameter("encoding-type") else { return false }
        if encoding != "url" { throw S3Error.invalidArgument("Invalid Encoding Method specified in Request") }
        return true
    }
}

/// Limits of the gateway, with the reason of their values.
enum S3Limits {
    /// Of S3.
    static let keyMax = 1024
    /// A thousand keys of DeleteObjects, or 10,000 parts.
    static let documentMax = 4 << 20
    /// A form is held in memory whole, with its file.
    static let formMax = 16 << 20
    /// Of all documents and forms of strangers that are being received, in memory together; of signers twice as much.
    static let documentsMax = 48 << 20
    /// Of S3: a policy is read for each request.
    static let policyMax = 20 << 10
    /// Of S3.
    static let pageMax = 1000
    /// Of S3: one PUT.
    static let putMax: Int64 = 5 << 30
    /// Of S3: parts but the last.
    static let partMin: Int64 = 5 << 20
    /// Of S3.
    static let partsMax = 10_000
    /// Of S3: names and values of user metadata.
    static let metadataMax = 2048
    /// How much of a body is still read after an error, so that the client gets to see the answer.
    static let discardMax: Int64 = 64 << 20
}
