/// What goes from a stripe in one operation: neighbours are told to it at once.
private struct Dead {
    var stripe: UInt64
    var bytes: Int64 = 0
    var chunks: Int64 = 0
}

// Manifests are counted by the segments that name them, chunks by the places of manifests that name them. At nought they go.
extension IndexWriter {
    func add(_ manifest: Manifest) throws(IndexError) {
        var size: Int64 = 0
        for piece in manifest.pieces {
            let plain = try connection.first(
                "UPDATE chunks SET uses = uses + 1 WHERE id = ? RETURNING plain", .id(piece.id)
            ) { $0.int(0) }
            guard let plain else { throw unfit(.noSuchChunk(piece.id)) }
            guard plain == piece.plainLength else { throw unfit(.wrongLength(piece.id)) }
            size += plain
        }
        guard size == manifest.size else { throw unfit(.wrongSize(sequence)) }
        try connection.run(
            "INSERT INTO manifests VALUES(?, ?, 0, ?, ?)", .number(sequence), .int(size),
            .blob(encoded { $0.pieces(manifest.pieces) }), .blob(manifest.sealedKeys))
        accounts.manifests += 1
    }

    func hold(_ segments: [Segment]) throws(IndexError) {
        for segment in segments {
            let size = try connection.first(
                "UPDATE manifests SET uses = uses + 1 WHERE number = ? RETURNING size", .number(segment.manifest)
            ) { $0.int(0) }
            guard let size else { throw unfit(.noSuchManifest(segment.manifest)) }
            guard size == segment.size else { throw unfit(.wrongSize(segment.manifest)) }
        }
    }

    func release(_ segments: [Segment]) throws(IndexError) {
        for segment in segments {
            let uses = try connection.first(
                "UPDATE manifests SET uses = uses - 1 WHERE number = ? RETURNING uses", .number(segment.manifest)
            ) { $0.int(0) }
            guard let uses, uses >= 0 else { throw .damaged("manifest \(segment.manifest) is not there") }
            if uses == 0 { try drop(manifest: segment.manifest) }
        }
    }

    private func drop(manifest: UInt64) throws(IndexError) {
        let pieces = try connection.first(
            "DELETE FROM manifests WHERE number = ? RETURNING pieces", .number(manifest)
        ) { $0.bytes(0) }
        guard let pieces else { throw .damaged("manifest \(manifest) is not there") }
        accounts.manifests -= 1
        effects.manifests.append(manifest)
        var dead: Dead?
        for piece in try view.pieces(pieces) {
            let chunk = try connection.first(
                "UPDATE chunks SET uses = uses - 1 WHERE id = ? RETURNING uses, stripe, length", .id(piece.id)
            ) { ($0.int(0), $0.number(1), $0.int(2)) }
            guard let chunk, chunk.0 >= 0 else { throw .damaged("chunk \(piece.id) is not there") }
            if chunk.0 == 0 { try drop(chunk: piece.id, in: chunk.1, length: chunk.2, &dead) }
        }
        if let dead { try bury(dead) }
    }

    private func drop(
        chunk: ChunkID, in stripe: UInt64, length: Int64, _ dead: inout Dead?
    ) throws(IndexError) {
        try connection.run("DELETE FROM chunks WHERE id = ?", .id(chunk))
        accounts.chunks -= 1
        effects.deadChunks += 1
        if let other = dead, other.stripe != stripe {
            try bury(other)
            dead = nil
        }
        var here = dead ?? Dead(stripe: stripe)
        here.bytes += length
        here.chunks += 1
        dead = here
    }

    private func bury(_ dead: Dead) throws(IndexError) {
        try leave(stripe: dead.stripe, bytes: dead.bytes, chunks: dead.chunks)
    }

    /// Live chunks of a stripe are not in it any more.
    func leave(stripe: UInt64, bytes: Int64, chunks: Int64) throws(IndexError) {
        let left = try connection.first(
            """
            UPDATE stripes SET live_bytes = live_bytes - ?, live_chunks = live_chunks - ? WHERE number = ?
            RETURNING live_chunks, id
            """, .int(bytes), .int(chunks), .number(stripe)
        ) { (row) throws(IndexError) in (row.int(0), try row.id(1) as StripeID) }
        guard let left, left.0 >= 0 else { throw .damaged("stripe \(stripe) has no such chunks") }
        accounts.liveBytes -= bytes
        accounts.deadBytes += bytes
        if left.0 == 0 { effects.emptied.append(left.1) }
    }

    func release(manifests: [UInt64], chunks: [ChunkID]) throws(IndexError) {
        for manifest in manifests {
            let uses = try connection.first("SELECT uses FROM manifests WHERE number = ?", .number(manifest)) {
                $0.int(0)
            }
            guard let uses else { throw unfit(.noSuchManifest(manifest)) }
            guard uses == 0 else { throw unfit(.manifestInUse(manifest)) }
            try drop(manifest: manifest)
        }
        var dead: Dead?
        for id in chunks {
            let chunk = try connection.first("SELECT uses, stripe, length FROM chunks WHERE id = ?", .id(id)) {
                ($0.int(0), $0.number(1), $0.int(2))
            }
            guard let chunk else { throw unfit(.noSuchChunk(id)) }
            guard chunk.0 == 0 else { throw unfit(.chunkInUse(id)) }
            try drop(chunk: id, in: chunk.1, length: chunk.2, &dead)
        }
        if let dead { try bury(dead) }
    }
}
