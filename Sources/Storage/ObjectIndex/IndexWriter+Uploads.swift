internal import Objects

extension IndexWriter {
    func create(_ create: UploadCreate) throws(IndexError) {
        let bucket = try bucket(create.bucket).number
        try connection.run(
            "INSERT INTO uploads VALUES(?, ?, ?, ?, ?, ?, ?)", .number(sequence), .int(bucket),
            .blob(create.key.bytes), .int(create.time), .int(try name(create.owner)),
            encoded(create.attributes.isEmpty) { $0.attributes(create.attributes) }, .blob(create.seal))
        accounts.uploads += 1
    }

    func put(_ put: PartPut) throws(IndexError) {
        try require(upload: put.upload)
        try hold(put.segments)
        let view = view
        let former = try connection.first(
            "DELETE FROM parts WHERE upload = ? AND number = ? RETURNING size, segments", .number(put.upload),
            .int(put.number)
        ) { (row) throws(IndexError) in (row.int(0), try view.segments(row, 1)) }
        let size = try sum(put.segments)
        try connection.run(
            "INSERT INTO parts VALUES(?, ?, ?, ?, ?, ?, ?)", .number(put.upload), .int(put.number), .int(size),
            ETag.value(put.etag), .int(put.time), encoded(put.attributes.isEmpty) { $0.attributes(put.attributes) },
            encoded(put.segments.isEmpty) { $0.segments(put.segments) })
        accounts.parts += 1
        accounts.partBytes += size
        if let former {
            accounts.parts -= 1
            accounts.partBytes -= former.0
            try release(former.1)
        }
    }

    private func require(upload: UInt64) throws(IndexError) {
        let found = try connection.first("SELECT 1 FROM uploads WHERE number = ?", .number(upload)) { _ in true }
        guard found != nil else { throw unfit(.noSuchUpload(upload)) }
    }

    func complete(_ complete: UploadComplete) throws(IndexError) {
        let found = try connection.first(
            "DELETE FROM uploads WHERE number = ? RETURNING bucket, key, owner", .number(complete.upload)
        ) { ($0.int(0), ObjectKey($0.bytes(1)), $0.int(2)) }
        guard let found else { throw unfit(.noSuchUpload(complete.upload)) }
        let bucket = try connection.first("SELECT versioning FROM buckets WHERE number = ?", .int(found.0)) {
            IndexView.BucketRow(number: found.0, versioning: Versioning(code: $0.int(0)))
        }
        guard let bucket else { throw .damaged("upload \(complete.upload) is in no bucket") }
        guard !complete.parts.isEmpty, zip(complete.parts, complete.parts.dropFirst()).allSatisfy({ $0 < $1 }) else {
            throw unfit(.partsOutOfOrder(complete.upload))
        }
        let all = try view.parts(complete.upload)
        var chosen: [IndexedPart] = [], dropped: [IndexedPart] = []
        var rest = complete.parts[...]
        for part in all {
            if part.part.number == rest.first {
                chosen.append(part)
                rest = rest.dropFirst()
            } else {
                dropped.append(part)
            }
        }
        if let missing = rest.first { throw unfit(.noSuchPart(complete.upload, missing)) }
        // What the parts hold, the version holds from here on.
        try connection.run("DELETE FROM parts WHERE upload = ?", .number(complete.upload))
        accounts.uploads -= 1
        accounts.parts -= Int64(all.count)
        for part in all { accounts.partBytes -= part.part.size }
        try insert(
            bucket, found.1, isMarker: false, etag: complete.etag, time: complete.time, owner: found.2,
            attributes: complete.attributes, parts: chosen.map(\.part), segments: chosen.flatMap(\.segments))
        for part in dropped { try release(part.segments) }
    }

    func abort(_ upload: UInt64) throws(IndexError) {
        try require(upload: upload)
        let parts = try view.parts(upload)
        try connection.run("DELETE FROM parts WHERE upload = ?", .number(upload))
        try connection.run("DELETE FROM uploads WHERE number = ?", .number(upload))
        accounts.uploads -= 1
        accounts.parts -= Int64(parts.count)
        for part in parts {
            accounts.partBytes -= part.part.size
            try release(part.segments)
        }
    }

    func rewrap(_ upload: UInt64, _ number: Int, _ generation: UInt32, _ keys: [[UInt8]]) throws(IndexError) {
        try require(upload: upload)
        guard let part = try view.part(upload, number) else { throw unfit(.noSuchPart(upload, number)) }
        let segments = try rewrapped(part.segments, generation, keys)
        try connection.run(
            "UPDATE parts SET segments = ? WHERE upload = ? AND number = ?",
            encoded(segments.isEmpty) { $0.segments(segments) }, .number(upload), .int(number))
    }
}
