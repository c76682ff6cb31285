internal import Objects

// Buckets, keys of users, and what there is one of.
extension IndexWriter {
    func bucket(_ name: String) throws(IndexError) -> IndexView.BucketRow {
        guard let row = try view.bucketRow(name) else { throw unfit(.noSuchBucket(name)) }
        return row
    }

    func create(_ bucket: Bucket) throws(IndexError) {
        guard try view.bucketRow(bucket.name) == nil else { throw unfit(.bucketExists(bucket.name)) }
        try connection.run(
            "INSERT INTO buckets VALUES(?, ?, ?, ?, ?)", .number(sequence), .text(bucket.name), .text(bucket.owner),
            .int(bucket.created), .int(bucket.versioning.code))
        for (name, value) in bucket.settings.sorted(by: { $0.key < $1.key }) {
            try connection.run(
                "INSERT INTO settings VALUES(?, ?, ?)", .number(sequence), .text(name), .blob(value))
        }
        accounts.buckets += 1
    }

    func delete(bucket name: String) throws(IndexError) {
        let number = try bucket(name).number
        let version = try connection.first("SELECT 1 FROM versions WHERE bucket = ? LIMIT 1", .int(number)) { _ in true
        }
        guard version == nil else { throw unfit(.bucketNotEmpty(name)) }
        let uploads = try connection.all("SELECT number FROM uploads WHERE bucket = ?", .int(number)) { $0.number(0) }
        for upload in uploads { try abort(upload) }
        try connection.run("DELETE FROM settings WHERE bucket = ?", .int(number))
        try connection.run("DELETE FROM buckets WHERE number = ?", .int(number))
        accounts.buckets -= 1
    }

    func set(_ name: String, _ versioning: Versioning) throws(IndexError) {
        let number = try bucket(name).number
        try connection.run("UPDATE buckets SET versioning = ? WHERE number = ?", .int(versioning.code), .int(number))
    }

    func set(_ bucket: String, _ name: String, _ value: [UInt8]?) throws(IndexError) {
        let number = try self.bucket(bucket).number
        if let value {
            try connection.run(
                "INSERT OR REPLACE INTO settings VALUES(?, ?, ?)", .int(number), .text(name), .blob(value))
        } else {
            try connection.run("DELETE FROM settings WHERE bucket = ? AND name = ?", .int(number), .text(name))
        }
    }

    func set(_ key: AccessKey) throws(IndexError) {
        let value = encoded { $0.accessKey(key) }
        try connection.run("INSERT OR REPLACE INTO access_keys VALUES(?, ?)", .text(key.id), .blob(value))
    }

    func remove(accessKey id: String) throws(IndexError) {
        let removed = try connection.run("DELETE FROM access_keys WHERE id = ?", .text(id))
        guard removed == 1 else { throw unfit(.noSuchAccessKey(id)) }
    }

    func add(_ generation: UInt32, _ wrapped: [UInt8]) throws(IndexError) {
        let last = try connection.first("SELECT max(number) FROM generations WHERE number >= ?", .int(generation.asInt))
        {
            $0.isNull(0)
        }
        guard last != false else { throw unfit(.oldGeneration(generation)) }
        try connection.run("INSERT INTO generations VALUES(?, ?)", .int(generation.asInt), .blob(wrapped))
    }

    func set(_ claim: WriterClaim) throws(IndexError) {
        if let last = try view.writer(), last.epoch >= claim.epoch { throw unfit(.oldEpoch(claim.epoch)) }
        try setSingle("writer") { $0.claim(claim) }
        let sequence = sequence
        try setSingle("writer sequence") { $0.number(sequence, "sequence") }
    }

    func set(_ snapshot: IndexSnapshot) throws(IndexError) {
        let former = try view.snapshot()
        try hold(snapshot.segments)
        if let former { try release(former.segments) }
        try setSingle("snapshot") { $0.snapshot(snapshot) }
    }

    func setSingle(_ name: String, _ write: (inout FieldWriter) -> Void) throws(IndexError) {
        try connection.run("INSERT OR REPLACE INTO singles VALUES(?, ?)", .text(name), .blob(encoded(write)))
    }

    func encoded(_ write: (inout FieldWriter) -> Void) -> [UInt8] {
        var writer = FieldWriter()
        write(&writer)
        return writer.bytes
    }

    /// Null where there is nothing, so that most rows are short.
    func encoded(_ isEmpty: Bool, _ write: (inout FieldWriter) -> Void) -> Value {
        isEmpty ? .null : .blob(encoded(write))
    }
}

extension UInt32 {
    var asInt: Int { Int(self) }
}
