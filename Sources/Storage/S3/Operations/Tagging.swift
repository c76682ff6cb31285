import HTTP
import Objects

extension S3Gateway {
    /// Reads a Tagging document into the form of `x-amz-tagging`.
    static func tags(_ body: [UInt8], max: Int) throws -> String {
        let document = try XMLElement.parse(body, root: "Tagging")
        guard let set = document.child("TagSet") else { throw S3Error.malformedXML }
        var pairs: [(name: String, value: String)] = []
        for tag in set.all("Tag") {
            guard let name = tag.child("Key")?.text, let value = tag.child("Value")?.text else {
                throw S3Error.malformedXML
            }
            pairs.append((name, value))
        }
        return try checked(pairs, max)
    }
    static func checked(_ pairs: [(name: String, value: String)], _ max: Int) throws -> String {
        if pairs.count > max {
            throw S3Error(max == 10 ? "InvalidTag" : "BadRequest", 400, "There cannot be more than \(max) tags")
        }
        for (index, pair) in pairs.enumerated() {
            if pair.name.isEmpty || pair.name.unicodeScalars.count > 128 {
                throw S3Error("InvalidTag", 400, "The TagKey you have provided is invalid")
            }
            if pair.value.unicodeScalars.count > 256 {
                throw S3Error("InvalidTag", 400, "The TagValue you have provided is invalid")
            }
            if pairs[..<index].contains(where: { $0.name == pair.name }) {
                throw S3Error("InvalidTag", 400, "Cannot provide multiple Tags with the same key")
            }
        }
        return pairs.map { "\(URICoding.encode($0.name))=\(URICoding.encode($0.value))" }.joined(separator: "&")
    }
    /// The tags in the header of a PUT.
    static func headerTags(_ request: S3Request) throws -> String? {
        guard let text = request.header("x-amz-tagging"), !text.isEmpty else { return nil }
        return try checked(URICoding.query(text), 10)
    }
    private func document(_ tags: String, _ headers: [(name: String, value: String)] = []) -> HTTPStreamResponse {
        var xml = XMLWriter("Tagging")
        xml.group("TagSet") { xml in
            for pair in URICoding.query(tags).sorted(by: { $0.name < $1.name }) {
                xml.group("Tag") { xml in
                    xml.leaf("Key", pair.name)
                    xml.leaf("Value", pair.value)
                }
            }
        }
        return .xml(xml, headers: headers)
    }

    func getBucketTags(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let tags = try require(.manage, request).settings[Setting.tags] else {
            throw S3Error("NoSuchTagSet", 404, "The TagSet does not exist")
        }
        return document(String(decoding: tags, as: UTF8.self))
    }
    func putBucketTags(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.tags, Array(try Self.tags(body, max: 50).utf8))
        return HTTPStreamResponse(204)
    }
    func deleteBucketTags(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.tags, nil)
        return HTTPStreamResponse(204)
    }

    func getObjectTags(_ request: S3Request) throws -> HTTPStreamResponse {
        let version = try visible(request)
        return document(version.attributes[Attribute.tags] ?? "", try versionHeader(request, version))
    }
    func putObjectTags(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        try setTags(request, try Self.tags(body, max: 10), 200)
    }
    func deleteObjectTags(_ request: S3Request) throws -> HTTPStreamResponse { try setTags(request, nil, 204) }

    private func setTags(_ request: S3Request, _ tags: String?, _ status: Int) throws -> HTTPStreamResponse {
        let old = try? store.version(try request.bucket(), try request.object(), try request.version())
        let bucket = try require(.write, request, object: old?.attributes)
        let version = try store.setAttributes(
            bucket.name, try request.object(), try request.version(), [Attribute.tags: tags]
        ) { _ throws(ObjectError) in }
        return HTTPStreamResponse(status, headers: try versionHeader(request, version))
    }
}
