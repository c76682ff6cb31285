public import Objects

/// A version with what the store alone needs of it.
public struct IndexedVersion: Sendable, Equatable {
    /// What a gateway sees.
    public let version: ObjectVersion
    /// Whose it is.
    public let owner: String
    /// Its data, in order.
    public let segments: [Segment]
}

/// An upload with what the store alone needs of it.
public struct IndexedUpload: Sendable, Equatable {
    /// Its number; `upload.id` in hexadecimal.
    public let number: UInt64
    /// The bucket's name.
    public let bucket: String
    /// What a gateway sees.
    public let upload: Upload
    /// Whose the object will be.
    public let owner: String
    /// What the layer above keeps with it.
    public let seal: [UInt8]
}

/// A part with what the store alone needs of it.
public struct IndexedPart: Sendable, Equatable {
    /// What a gateway sees.
    public let part: ObjectPart
    /// Its data, in order.
    public let segments: [Segment]
}

/// What a row of `versions` says.
struct VersionRow {
    static let null: Int64 = 1
    static let marker: Int64 = 2

    let key: [UInt8]
    let sequence: UInt64
    let kind: Int64

    var isMarker: Bool { kind & VersionRow.marker != 0 }
    var id: VersionID { kind & VersionRow.null != 0 ? .null : .number(sequence) }
}

extension IndexView {
    /// The row of a version; nil asks for the newest.
    func locate(_ bucket: Int64, _ key: ObjectKey, _ version: VersionID?) throws(IndexError) -> VersionRow? {
        let read = { (row: Row) in VersionRow(key: key.bytes, sequence: row.number(0), kind: row.int(1)) }
        switch version {
        case nil:
            return try connection.first(
                "SELECT sequence, kind FROM versions WHERE bucket = ? AND key = ? ORDER BY sequence DESC LIMIT 1",
                .int(bucket), .blob(key.bytes), read: read)
        case .null?:
            return try connection.first(
                """
                SELECT sequence, kind FROM versions WHERE bucket = ? AND key = ? AND kind & 1
                ORDER BY sequence DESC LIMIT 1
                """, .int(bucket), .blob(key.bytes), read: read)
        case .number(let sequence)?:
            return try connection.first(
                "SELECT sequence, kind FROM versions WHERE bucket = ? AND key = ? AND sequence = ? AND NOT kind & 1",
                .int(bucket), .blob(key.bytes), .number(sequence), read: read)
        }
    }

    /// The newest version of a key, or this one, with its segments; delete markers too. Nil where there is none, or no bucket.
    public func version(
        _ bucket: String, _ key: ObjectKey, _ version: VersionID? = nil
    ) throws(IndexError) -> IndexedVersion? {
        guard let row = try bucketRow(bucket), let found = try locate(row.number, key, version) else { return nil }
        let isLatest =
            if version == nil { true } else { try locate(row.number, key, nil)?.sequence == found.sequence }
        let result = try connection.first(
            "SELECT size, etag, time, attributes, parts, owner, segments FROM objects WHERE sequence = ?",
            .number(found.sequence)
        ) { (row) throws(IndexError) in
            (try self.version(found, row, isLatest: isLatest), row.int(5), try self.segments(row, 6))
        }
        guard let result else { throw .damaged("version \(found.sequence) is not described") }
        return IndexedVersion(version: result.0, owner: try name(result.1), segments: result.2)
    }

    /// What a row of size, ETag, time, attributes and parts says.
    private func version(_ found: VersionRow, _ row: Row, isLatest: Bool) throws(IndexError) -> ObjectVersion {
        ObjectVersion(
            key: ObjectKey(found.key), id: found.id, sequence: found.sequence, isLatest: isLatest,
            isDeleteMarker: found.isMarker, size: row.int(0), etag: ETag.read(row, 1), modified: row.int(2),
            attributes: try attributes(row, 3), parts: try parts(row, 4))
    }

    func version(_ found: VersionRow, isLatest: Bool) throws(IndexError) -> ObjectVersion {
        let version = try connection.first(
            "SELECT size, etag, time, attributes, parts FROM objects WHERE sequence = ?", .number(found.sequence)
        ) { (row) throws(IndexError) in try self.version(found, row, isLatest: isLatest) }
        guard let version else { throw .damaged("version \(found.sequence) is not described") }
        return version
    }

    /// Versions of a bucket with their segments, by key, newest first, behind one of them: for walks over everything.
    public func versions(
        _ bucket: String, after: (key: ObjectKey, sequence: UInt64)?, limit: Int
    ) throws(IndexError) -> [IndexedVersion] {
        guard let row = try bucketRow(bucket) else { return [] }
        let read = { (row: Row) in VersionRow(key: row.bytes(0), sequence: row.number(1), kind: row.int(2)) }
        var found: [VersionRow] = []
        var from: [UInt8] = []
        if let after {
            found = try connection.all(
                """
                SELECT key, sequence, kind FROM versions WHERE bucket = ? AND key = ? AND sequence < ?
                ORDER BY sequence DESC LIMIT ?
                """, .int(row.number), .blob(after.key.bytes), .number(after.sequence), .int(limit), read: read)
            from = after.key.bytes + [0]
        }
        if found.count < limit {
            found += try connection.all(
                """
                SELECT key, sequence, kind FROM versions WHERE bucket = ? AND key >= ?
                ORDER BY key, sequence DESC LIMIT ?
                """, .int(row.number), .blob(from), .int(limit - found.count), read: read)
        }
        var versions: [IndexedVersion] = []
        for row in found {
            guard let version = try version(bucket, ObjectKey(row.key), row.id) else { continue }
            versions.append(version)
        }
        return versions
    }

    func name(_ number: Int64) throws(IndexError) -> String {
        guard
            let name = try connection.first(
                "SELECT name FROM names WHERE number = ?", .int(number), read: { $0.text(0) })
        else { throw .damaged("owner \(number) has no name") }
        return name
    }

    // Uploads

    /// The upload of that number.
    public func upload(_ number: UInt64) throws(IndexError) -> IndexedUpload? {
        let found = try connection.first(
            """
            SELECT uploads.key, uploads.time, uploads.attributes, uploads.seal, uploads.owner, buckets.name
            FROM uploads JOIN buckets ON buckets.number = uploads.bucket WHERE uploads.number = ?
            """, .number(number)
        ) { (row) throws(IndexError) in
            (try self.upload(number, row), row.bytes(3), row.int(4), row.text(5))
        }
        guard let found else { return nil }
        return IndexedUpload(
            number: number, bucket: found.3, upload: found.0, owner: try name(found.2), seal: found.1)
    }

    /// The upload of that id, if it is of this key.
    public func upload(_ bucket: String, _ key: ObjectKey, _ id: String) throws(IndexError) -> IndexedUpload? {
        guard case .number(let number)? = VersionID(id), number <= Limits.number,
            let found = try upload(number), found.bucket == bucket, found.upload.key == key
        else { return nil }
        return found
    }

    private func upload(_ number: UInt64, _ row: Row) throws(IndexError) -> Upload {
        Upload(
            id: VersionID.number(number).description, key: ObjectKey(row.bytes(0)), started: row.int(1),
            attributes: try attributes(row, 2))
    }

    func listed(upload number: UInt64) throws(IndexError) -> Upload {
        let found = try connection.first(
            "SELECT key, time, attributes FROM uploads WHERE number = ?", .number(number)
        ) { (row) throws(IndexError) in try self.upload(number, row) }
        guard let found else { throw .damaged("upload \(number) is not described") }
        return found
    }

    /// Parts of an upload with higher numbers than `after`, in order.
    public func parts(_ upload: UInt64, after: Int = 0, limit: Int = Int.max) throws(IndexError) -> [IndexedPart] {
        try connection.all(
            """
            SELECT size, etag, time, attributes, number, segments FROM parts
            WHERE upload = ? AND number > ? ORDER BY number LIMIT ?
            """, .number(upload), .int(after), .int(limit)
        ) { (row) throws(IndexError) in try self.part(row) }
    }

    /// One part of an upload.
    public func part(_ upload: UInt64, _ number: Int) throws(IndexError) -> IndexedPart? {
        try connection.first(
            "SELECT size, etag, time, attributes, number, segments FROM parts WHERE upload = ? AND number = ?",
            .number(upload), .int(number)
        ) { (row) throws(IndexError) in try self.part(row) }
    }

    private func part(_ row: Row) throws(IndexError) -> IndexedPart {
        IndexedPart(
            part: ObjectPart(
                number: Int(row.int(4)), size: row.int(0), etag: ETag.read(row, 1), modified: row.int(2),
                attributes: try attributes(row, 3)),
            segments: try segments(row, 5))
    }
}
