import Bytes
import COpenSSL
import CanonicalJSON
import Crypto
import HTTP

/// The fields of a form that a browser posted, and its file.
struct PostForm {
    var fields: [(name: String, value: String)] = []
    var file: [UInt8]?

    func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }

    init(_ body: [UInt8], contentType: String) throws {
        guard contentType.lowercased().hasPrefix("multipart/form-data"),
            let start = contentType.firstRange(of: "boundary=")?.upperBound
        else {
            throw S3Error("PreconditionFailed", 412, "Bucket POST must be of the enclosure-type multipart/form-data")
        }
        let boundary = contentType[start...].prefix { $0 != ";" }.filter { $0 != "\"" }
        let bad = S3Error(
            "MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data.")
        let mark = Array("--\(boundary)".utf8), end = [13, 10] + mark
        guard body.starts(with: mark) else { throw bad }
        var at = mark.count
        while body.dropFirst(at).starts(with: [13, 10]) {
            at += 2
            guard let head = Self.find([13, 10, 13, 10], in: body, from: at) else { throw bad }
            let lines = String(decoding: body[at..<head], as: UTF8.self).split(separator: "\r\n")
            guard let close = Self.find(end, in: body, from: head + 2) else { throw bad }
            try add(lines.map { String($0) }, body[min(head + 4, close)..<close])
            at = close + end.count
            if file != nil { return }
        }
    }

    private mutating func add(_ lines: [String], _ content: ArraySlice<UInt8>) throws {
        guard let line = lines.first(where: { $0.lowercased().hasPrefix("content-disposition:") }) else { return }
        func parameter(_ name: String) -> String? {
            guard let start = line.firstRange(of: "; \(name)=\"")?.upperBound else { return nil }
            return String(line[start...].prefix { $0 != "\"" })
        }
        guard let name = parameter("name")?.lowercased() else { return }
        if name == "file" {
            file = Array(content)
            let filename = parameter("filename") ?? ""
            for index in fields.indices where fields[index].name == "key" {
                fields[index].value.replace("${filename}", with: filename)
            }
            return
        }
        if content.count > 20 << 10 || fields.count > 100 {
            throw S3Error("MaxPostPreDataLengthExceeded", 400, "The fields before the file are too large.")
        }
        fields.append((name, String(decoding: content, as: UTF8.self)))
    }

    private static func find(_ pattern: [UInt8], in bytes: [UInt8], from: Int) -> Int? {
        guard bytes.count - from >= pattern.count, let first = pattern.first else { return nil }
        return bytes.withUnsafeBufferPointer { bytes in
            var at = from
            while at + pattern.count <= bytes.count {
                if bytes[at] == first, pattern.indices.allSatisfy({ bytes[at + $0] == pattern[$0] }) { return at }
                at += 1
            }
            return nil
        }
    }

    /// Checks who signed the policy; the id of the key.
    func signer() throws -> String? {
        guard value("policy") != nil else { return nil }
        guard
            let id = value("awsaccesskeyid")
                ?? value("x-amz-credential")?.split(separator: "/").first.map({ String($0) }),
            value("signature") != nil || value("x-amz-signature") != nil
        else { throw S3Error.invalidArgument("The form has a policy but no signature and credential") }
        return id
    }

    /// Whether the policy was signed with that secret. The old form (SHA-1) is what many browsers' pages still send.
    func isSigned(_ secret: String) -> Bool {
        let policy = Array((value("policy") ?? "").utf8)
        if let signature = value("x-amz-signature") {
            let scope = (value("x-amz-credential") ?? "").split(separator: "/").map { String($0) }
            guard scope.count == 5 else { return false }
            var key = HMAC.sha256(key: Array("AWS4\(secret)".utf8), Array(scope[1].utf8))
            for part in [scope[2], "s3", "aws4_request"] { key = HMAC.sha256(key: key, Array(part.utf8)) }
            return SignatureV4.equal(Hex.encode(HMAC.sha256(key: key, policy)), signature)
        }
        var out = [UInt8](repeating: 0, count: 20)
        var count: UInt32 = 0
        let key = Array(secret.utf8)
        COpenSSL.HMAC(EVP_sha1(), key, Int32(key.count), policy, policy.count, &out, &count)
        return SignatureV4.equal(Base64.encode(out), value("signature") ?? "")
    }

    private static func refused(_ message: String) -> S3Error {
        .accessDenied("Invalid according to Policy: \(message)")
    }
    private static func malformed(_ message: String) -> S3Error { S3Error("InvalidPolicyDocument", 400, message) }

    /// Checks the form against its policy.
    func check(bucket: String, now: Int64) throws {
        guard let text = value("policy"), let bytes = Base64.decode(text), let policy = try? JSONValue(parsing: bytes),
            let expiration = policy["expiration"]?.string, let until = CivilTime(iso: expiration),
            let conditions = policy["conditions"]?.array
        else { throw Self.malformed("Invalid Policy: Invalid JSON, expiration or conditions.") }
        if until.seconds * 1000 < now { throw Self.refused("Policy expired.") }
        var covered: Set<String> = []
        for condition in conditions {
            if let members = condition.object {
                if members.isEmpty { throw Self.malformed("Invalid Simple-Condition: it is empty") }
                for (name, wanted) in members.sorted(by: { $0.key < $1.key }) {
                    guard let wanted = wanted.string else { throw Self.malformed("\(name) must be a text") }
                    try match("eq", name, wanted, bucket)
                    covered.insert(name.lowercased())
                }
                continue
            }
            guard let list = condition.array, list.count == 3, let test = list[0].string?.lowercased() else {
                throw Self.malformed("Invalid Condition")
            }
            if test == "content-length-range" {
                try checkSize(list[1], list[2])
                continue
            }
            guard test == "eq" || test == "starts-with", let name = list[1].string, name.hasPrefix("$"),
                let wanted = list[2].string
            else { throw Self.malformed("Invalid Condition") }
            try match(test, String(name.dropFirst()), wanted, bucket)
            covered.insert(name.dropFirst().lowercased())
        }
        let free: Set = ["policy", "signature", "awsaccesskeyid", "x-amz-signature", "file"]
        for name in fields.map(\.name) + ["bucket"]
        where !covered.contains(name) && !free.contains(name) && !name.hasPrefix("x-ignore-")
            && !name.hasPrefix("x-amz-checksum-")
        {
            throw Self.refused("Extra input fields: \(name)")
        }
    }

    private func match(_ test: String, _ name: String, _ wanted: String, _ bucket: String) throws {
        let name = name.lowercased()
        let value = name == "bucket" ? bucket : value(name) ?? ""
        if test == "eq" ? value != wanted : !value.hasPrefix(wanted) {
            throw Self.refused("Policy Condition failed: \(test) \(name)")
        }
    }

    private func checkSize(_ least: JSONValue, _ most: JSONValue) throws {
        guard let least = least.integer ?? least.string.flatMap({ Int64($0) }),
            let most = most.integer ?? most.string.flatMap({ Int64($0) }), least >= 0, most >= 0
        else { throw Self.malformed("Invalid content-length-range") }
        let size = Int64(file?.count ?? 0)
        if size > most { throw S3Error("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size") }
        if size < least {
            throw S3Error("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
        }
    }
}
