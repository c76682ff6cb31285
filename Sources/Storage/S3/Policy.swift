import CanonicalJSON
import HTTP
import Objects

/// A bucket's policy: the common subset. What is outside is refused when it is set, by name.
struct BucketPolicy: Sendable {
    enum Decision { case allow, deny, none }
    struct Condition: Sendable {
        let test: String
        let ifExists: Bool
        let key: String
        let values: [String]
    }
    struct Statement: Sendable {
        let allows: Bool
        let principals: [String]
        let actions: [String]
        let resources: [String]
        let conditions: [Condition]
    }
    let statements: [Statement]

    private static func malformed(_ message: String) -> S3Error { S3Error("MalformedPolicy", 400, message) }
    private static let tests: Set = [
        "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "Bool", "Null",
        "IpAddress", "NotIpAddress",
    ]
    private static let keys: Set = [
        "aws:sourceip", "aws:securetransport", "aws:username", "aws:userid", "aws:referer", "aws:useragent",
        "s3:prefix", "s3:delimiter", "s3:max-keys", "s3:versionid",
    ]

    init(_ bytes: [UInt8]) throws {
        if bytes.count > S3Limits.policyMax { throw Self.malformed("A policy has at most 20 KB") }
        guard let document = try? JSONValue(parsing: bytes), let members = document.object else {
            throw Self.malformed("This policy contains invalid JSON")
        }
        for name in members.keys where !["Version", "Id", "Statement"].contains(name) {
            throw Self.malformed("\(name) is not served in a policy")
        }
        let list = members["Statement"]?.array ?? members["Statement"].map { [$0] } ?? []
        if list.isEmpty { throw Self.malformed("a policy needs a Statement") }
        statements = try list.map { try Self.statement($0) }
    }

    private static func statement(_ value: JSONValue) throws -> Statement {
        guard let members = value.object else { throw malformed("a Statement is an object") }
        for name in members.keys.sorted()
        where !["Sid", "Effect", "Principal", "Action", "Resource", "Condition"].contains(name) {
            throw malformed("\(name) is not served in a Statement")
        }
        guard let effect = members["Effect"]?.string, effect == "Allow" || effect == "Deny" else {
            throw malformed("Effect must be Allow or Deny")
        }
        let principal = members["Principal"]
        let principals = try texts(principal?.object?["AWS"] ?? principal, "Principal")
        let actions = try texts(members["Action"], "Action")
        for action in actions where action != "*" && !action.lowercased().hasPrefix("s3:") {
            throw malformed("the action \(action) is not one of s3")
        }
        let resources = try texts(members["Resource"], "Resource")
        for resource in resources where !resource.hasPrefix("arn:aws:s3:::") && resource != "*" {
            throw malformed("the resource \(resource) is not one of s3")
        }
        return Statement(
            allows: effect == "Allow", principals: principals, actions: actions.map { $0.lowercased() },
            resources: resources, conditions: try conditions(members["Condition"]))
    }

    private static func conditions(_ value: JSONValue?) throws -> [Condition] {
        var found: [Condition] = []
        for (name, keys) in (value?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            let ifExists = name.hasSuffix("IfExists")
            let test = ifExists ? String(name.dropLast(8)) : name
            guard tests.contains(test), let keys = keys.object else {
                throw malformed("the condition \(name) is not served")
            }
            for (key, value) in keys.sorted(by: { $0.key < $1.key }) {
                let lower = key.lowercased()
                let isTag = lower.hasPrefix("s3:existingobjecttag/") || lower.hasPrefix("s3:requestobjecttag/")
                guard Self.keys.contains(lower) || lower.hasPrefix("s3:x-amz-") || isTag else {
                    throw malformed("the condition key \(key) is not served")
                }
                found.append(
                    Condition(test: test, ifExists: ifExists, key: isTag ? key : lower, values: try texts(value, key)))
            }
        }
        return found
    }

    private static func texts(_ value: JSONValue?, _ name: String) throws -> [String] {
        switch value {
        case .string(let text): return [text]
        case .bool(let flag): return [flag ? "true" : "false"]
        case .integer(let number): return ["\(number)"]
        case .array(let list) where !list.isEmpty: return try list.flatMap { try texts($0, name) }
        default: throw malformed("\(name) is missing or has a form that is not served")
        }
    }

    func decide(_ action: String, _ request: S3Request, _ resource: String, _ object: [String: String]?) -> Decision {
        var decision = Decision.none
        for statement in statements {
            guard statement.actions.contains(where: { Self.like(action.lowercased(), $0) }),
                statement.resources.contains(where: { Self.like(resource, $0) }),
                statement.principals.contains(where: { Self.isPrincipal($0, request.caller) }),
                statement.conditions.allSatisfy({ Self.holds($0, request, object) })
            else { continue }
            if !statement.allows { return .deny }
            decision = .allow
        }
        return decision
    }

    /// Whether it lets anybody in.
    var isPublic: Bool {
        statements.contains { $0.allows && $0.principals.contains("*") && $0.conditions.isEmpty }
    }

    private static func isPrincipal(_ text: String, _ caller: Caller) -> Bool {
        if text == "*" { return true }
        guard case .key(let key) = caller else { return false }
        return text == key.identity || text.hasSuffix(":user/\(key.identity)")
            || text.hasPrefix("arn:aws:iam::\(key.identity):")
    }

    private static func values(_ key: String, _ request: S3Request, _ object: [String: String]?) -> String? {
        func tag(_ tags: String?) -> String? {
            guard let tags, let slash = key.firstIndex(of: "/") else { return nil }
            return URICoding.query(tags).first { $0.name == key[key.index(after: slash)...] }?.value
        }
        if key.lowercased().hasPrefix("s3:existingobjecttag/") { return tag(object?[Attribute.tags]) }
        if key.lowercased().hasPrefix("s3:requestobjecttag/") { return tag(request.header("x-amz-tagging")) }
        switch key {
        case "aws:sourceip": return request.head.remoteAddress
        case "aws:securetransport": return "false"
        case "aws:username", "aws:userid": return request.caller.isAnonymous ? nil : request.caller.identity
        case "aws:referer": return request.header("referer")
        case "aws:useragent": return request.header("user-agent")
        case "s3:versionid": return request.parameter("versionId")
        case "s3:x-amz-copy-source":
            return request.header("x-amz-copy-source").map { $0.hasPrefix("/") ? String($0.dropFirst()) : $0 }
        default:
            let name = String(key.dropFirst(3))
            return name.hasPrefix("x-amz-") ? request.header(name) : request.parameter(name)
        }
    }

    private static func holds(_ condition: Condition, _ request: S3Request, _ object: [String: String]?) -> Bool {
        let value = values(condition.key, request, object)
        if condition.test == "Null" { return condition.values.contains(value == nil ? "true" : "false") }
        let isNegative = condition.test.contains("Not")
        guard let value else { return condition.ifExists || isNegative }
        let matches = condition.values.contains { wanted in
            switch condition.test {
            case "StringEquals", "StringNotEquals": value == wanted
            case "StringLike", "StringNotLike": like(value, wanted)
            case "StringEqualsIgnoreCase", "Bool": value.lowercased() == wanted.lowercased()
            default: AddressBlock(wanted)?.contains(value) ?? false
            }
        }
        return matches != isNegative
    }

    /// Wildcards `*` and `?`.
    static func like(_ text: String, _ pattern: String) -> Bool {
        let text = Array(text.utf8), pattern = Array(pattern.utf8)
        var at = 0, position = 0, star = -1, mark = 0
        while at < text.count {
            if position < pattern.count, pattern[position] == 63 || pattern[position] == text[at],
                pattern[position] != 42
            {
                at += 1
                position += 1
            } else if position < pattern.count, pattern[position] == 42 {
                (star, mark) = (position, at)
                position += 1
            } else if star >= 0 {
                mark += 1
                (position, at) = (star + 1, mark)
            } else {
                return false
            }
        }
        return pattern[position...].allSatisfy { $0 == 42 }
    }
}

/// A block of IPv4 addresses, or one address of any kind.
struct AddressBlock {
    private let text: String
    private let block: (base: UInt32, mask: UInt32)?
    init?(_ text: String) {
        self.text = text
        let parts = text.split(separator: "/")
        guard let base = parts.first.flatMap({ Self.number($0) }) else {
            block = nil
            return
        }
        guard let bits = parts.count > 1 ? Int(parts[1]) : 32, (0...32).contains(bits) else { return nil }
        let mask: UInt32 = bits == 0 ? 0 : ~0 << UInt32(32 - bits)
        block = (base & mask, mask)
    }
    func contains(_ address: String) -> Bool {
        guard let block else { return address == text }
        return Self.number(address[...]).map { $0 & block.mask == block.base } ?? false
    }
    private static func number(_ text: Substring) -> UInt32? {
        let bytes = text.split(separator: ".").map { UInt8($0) }
        guard bytes.count == 4 else { return nil }
        return bytes.reduce(UInt32?(0)) { sum, byte in
            guard let sum, let byte else { return nil }
            return sum << 8 | UInt32(byte)
        }
    }
}
