import Objects

/// `If-…` headers of a request, or those of a copy's source.
struct Conditions: Sendable {
    let match: String?
    let noneMatch: String?
    let modifiedSince: Int64?
    let unmodifiedSince: Int64?

    init(_ request: S3Request, prefix: String = "") {
        match = request.header("\(prefix)if-match")
        noneMatch = request.header("\(prefix)if-none-match")
        func seconds(_ name: String) -> Int64? {
            request.header("\(prefix)\(name)").flatMap { CivilTime.milliseconds($0) }.map { $0 / 1000 }
        }
        (modifiedSince, unmodifiedSince) = (seconds("if-modified-since"), seconds("if-unmodified-since"))
    }

    static func matches(_ list: String, _ etag: String) -> Bool {
        list.split(separator: ",").contains { part in
            let word = SignatureV4.squeezed(String(part)).filter { $0 != "\"" }
            return word == "*" || word == etag || word == "W/\(etag)"
        }
    }

    /// Throws 412 or (`isRead`) 304.
    func check(_ version: ObjectVersion, isRead: Bool) throws {
        let modified = version.modified / 1000
        if let match {
            if !Self.matches(match, version.etag) { throw S3Error.preconditionFailed }
        } else if let unmodifiedSince, modified > unmodifiedSince {
            throw S3Error.preconditionFailed
        }
        var isUnchanged = false
        if let noneMatch {
            isUnchanged = Self.matches(noneMatch, version.etag)
        } else if let modifiedSince {
            isUnchanged = modified <= modifiedSince
        }
        guard isUnchanged else { return }
        if !isRead { throw S3Error.preconditionFailed }
        var error = S3Error("NotModified", 304, "Not Modified")
        error.headers = [("ETag", "\"\(version.etag)\""), ("Last-Modified", CivilTime(seconds: modified).httpDate)]
        throw error
    }

    /// What a write demands of the newest version, judged by the store at the moment of the change.
    var check: ObjectStore.Check {
        let (match, noneMatch) = (match, noneMatch)
        return { version throws(ObjectError) in
            let current = version.flatMap { $0.isDeleteMarker ? nil : $0 }
            if let match {
                guard let current else { throw .noSuchKey(version?.key ?? ObjectKey("")) }
                if !Self.matches(match, current.etag) { throw .conditionFailed("If-Match") }
            }
            if let noneMatch, let current, Self.matches(noneMatch, current.etag) {
                throw .conditionFailed("If-None-Match")
            }
        }
    }
}

/// A range of bytes, as `Range` asks for it.
enum ByteRange {
    /// The range within `size`; nil: the whole. Throws where it lies behind the end.
    static func parse(_ text: String?, _ size: Int64) throws -> Range<Int64>? {
        guard let text, text.hasPrefix("bytes="), !text.contains(",") else { return nil }
        let parts = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        var error = S3Error("InvalidRange", 416, "The requested range is not satisfiable")
        error.details = [("RangeRequested", text), ("ActualObjectSize", "\(size)")]
        error.headers = [("Content-Range", "bytes */\(size)")]
        if parts[0].isEmpty {
            guard let count = Int64(parts[1]) else { return nil }
            if count == 0 || size == 0 { throw error }
            return max(0, size - count)..<size
        }
        guard let start = Int64(parts[0]), start >= 0 else { return nil }
        var end = size
        if !parts[1].isEmpty {
            guard let last = Int64(parts[1]), last >= start else { return nil }
            end = last >= size ? size : last + 1
        }
        if start >= size { throw error }
        return start..<end
    }
}
