internal import Objects

extension IndexWriter {
    func put(_ put: ObjectPut) throws(IndexError) {
        let bucket = try bucket(put.bucket)
        if put.isDeleteMarker, !put.segments.isEmpty || !put.parts.isEmpty { throw unfit(.markerWithData) }
        // Before the former version goes: both may be made of the same.
        try hold(put.segments)
        try insert(
            bucket, put.key, isMarker: put.isDeleteMarker, etag: put.etag, time: put.time, owner: name(put.owner),
            attributes: put.attributes, parts: put.parts, segments: put.segments)
    }

    /// A new newest version of segments that are held.
    func insert(
        _ bucket: IndexView.BucketRow, _ key: ObjectKey, isMarker: Bool, etag: String, time: Int64, owner: Int64,
        attributes: [String: String], parts: [ObjectPart], segments: [Segment]
    ) throws(IndexError) {
        let isNull = bucket.versioning != .enabled
        if isNull, let former = try view.locate(bucket.number, key, .null) { try remove(bucket.number, former) }
        let kind = (isNull ? VersionRow.null : 0) | (isMarker ? VersionRow.marker : 0)
        try connection.run(
            "INSERT INTO versions VALUES(?, ?, ?, ?)", .int(bucket.number), .blob(key.bytes), .number(sequence),
            .int(kind))
        let size = try sum(segments)
        try connection.run(
            "INSERT INTO objects VALUES(?, ?, ?, ?, ?, ?, ?, ?)", .number(sequence), .int(size), ETag.value(etag),
            .int(time), .int(owner), encoded(attributes.isEmpty) { $0.attributes(attributes) },
            encoded(parts.isEmpty) { $0.parts(parts) }, encoded(segments.isEmpty) { $0.segments(segments) })
        if isMarker { accounts.deleteMarkers += 1 } else { accounts.objects += 1 }
        accounts.objectBytes += size
        effects.version = isNull ? .null : .number(sequence)
    }

    func remove(_ name: VersionName) throws(IndexError) {
        let bucket = try bucket(name.bucket).number
        guard let row = try view.locate(bucket, name.key, name.version) else { throw unfit(.noSuchVersion(name)) }
        try remove(bucket, row)
    }

    private func remove(_ bucket: Int64, _ row: VersionRow) throws(IndexError) {
        let view = view
        let found = try connection.first(
            "DELETE FROM objects WHERE sequence = ? RETURNING size, segments", .number(row.sequence)
        ) { (row) throws(IndexError) in (row.int(0), try view.segments(row, 1)) }
        guard let found else { throw .damaged("version \(row.sequence) is not described") }
        try connection.run(
            "DELETE FROM versions WHERE bucket = ? AND key = ? AND sequence = ?", .int(bucket), .blob(row.key),
            .number(row.sequence))
        if row.isMarker { accounts.deleteMarkers -= 1 } else { accounts.objects -= 1 }
        accounts.objectBytes -= found.0
        try release(found.1)
    }

    private func locate(_ name: VersionName) throws(IndexError) -> VersionRow {
        guard let row = try view.locate(try bucket(name.bucket).number, name.key, name.version) else {
            throw unfit(.noSuchVersion(name))
        }
        return row
    }

    func change(_ name: VersionName, _ change: [String: String?]) throws(IndexError) {
        let row = try locate(name)
        let view = view
        let found = try connection.first("SELECT attributes FROM objects WHERE sequence = ?", .number(row.sequence)) {
            (row) throws(IndexError) in try view.attributes(row, 0)
        }
        guard var attributes = found else { throw .damaged("version \(row.sequence) is not described") }
        for (name, value) in change { attributes[name] = value }
        try connection.run(
            "UPDATE objects SET attributes = ? WHERE sequence = ?",
            encoded(attributes.isEmpty) { $0.attributes(attributes) }, .number(row.sequence))
    }

    func rewrap(_ name: VersionName, _ generation: UInt32, _ keys: [[UInt8]]) throws(IndexError) {
        let row = try locate(name)
        let view = view
        let found = try connection.first("SELECT segments FROM objects WHERE sequence = ?", .number(row.sequence)) {
            (row) throws(IndexError) in try view.segments(row, 0)
        }
        let segments = try rewrapped(found ?? [], generation, keys)
        try connection.run(
            "UPDATE objects SET segments = ? WHERE sequence = ?",
            encoded(segments.isEmpty) { $0.segments(segments) }, .number(row.sequence))
    }

    func rewrapped(
        _ segments: [Segment], _ generation: UInt32, _ keys: [[UInt8]]
    ) throws(IndexError) -> [Segment] {
        guard segments.count == keys.count else { throw unfit(.wrongKeyCount(keys.count)) }
        return zip(segments, keys).map { segment, key in
            Segment(manifest: segment.manifest, size: segment.size, wrappedKey: key, generation: generation)
        }
    }

    /// The number of an owner's name: names are few and long.
    func name(_ name: String) throws(IndexError) -> Int64 {
        if let known = try connection.first("SELECT number FROM names WHERE name = ?", .text(name), read: { $0.int(0) })
        {
            return known
        }
        let made = try connection.first("INSERT INTO names(name) VALUES(?) RETURNING number", .text(name)) { $0.int(0) }
        guard let made else { throw .damaged("a name has no number") }
        return made
    }

    func sum(_ segments: [Segment]) throws(IndexError) -> Int64 {
        var sum: Int64 = 0
        for segment in segments {
            let (next, overflow) = sum.addingReportingOverflow(segment.size)
            if overflow { throw unfit(.wrongSize(segment.manifest)) }
            sum = next
        }
        return sum
    }
}
