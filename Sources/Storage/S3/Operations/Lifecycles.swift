import HTTP
import Objects

extension S3Gateway {
    func getLifecycle(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let document = try require(.manage, request).settings[Setting.lifecycle] else {
            throw S3Error("NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist")
        }
        return HTTPStreamResponse(200, headers: [("Content-Type", "application/xml")], .bytes(document))
    }
    func putLifecycle(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.lifecycle, try Lifecycle(body).document)
        return HTTPStreamResponse(200)
    }
    func deleteLifecycle(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        try store.setSetting(bucket.name, Setting.lifecycle, nil)
        return HTTPStreamResponse(204)
    }

    /// When a version goes, for its reader.
    static func expirationHeader(_ bucket: Bucket, _ version: ObjectVersion) -> [(name: String, value: String)] {
        guard version.isLatest, let document = bucket.settings[Setting.lifecycle],
            let found = (try? Lifecycle(document))?.expiration(of: version)
        else { return [] }
        let date = CivilTime(seconds: found.time / 1000).httpDate
        return [("x-amz-expiration", "expiry-date=\"\(date)\", rule-id=\"\(URICoding.encode(found.rule))\"")]
    }
}
