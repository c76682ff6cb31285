internal import Objects

// What operations are made of, as bytes. The index keeps some of it in this form too.
extension FieldWriter {
    mutating func bucket(_ bucket: Bucket) {
        text(bucket.name, "bucket", Limits.name)
        text(bucket.owner, "owner", Limits.name)
        signed(bucket.created, "time")
        versioning(bucket.versioning)
        map(bucket.settings, "setting", Limits.attributes) { $0.blob($1, "setting", Limits.setting) }
    }

    mutating func versioning(_ versioning: Versioning) {
        switch versioning {
        case .off: u8(0)
        case .enabled: u8(1)
        case .suspended: u8(2)
        }
    }

    mutating func stripe(_ stripe: Stripe) {
        id(stripe.id)
        int(stripe.k, "k", 1...Limits.shards)
        int(stripe.m, "m", 0...Limits.shards)
        int(stripe.length, "stripe", 0...Limits.stripe)
        int(stripe.shardLength, "shard", 0...Limits.stripe)
        signed(stripe.created, "time")
        if stripe.shards.count != stripe.k + stripe.m || stripe.roots.count != stripe.shards.count
            || stripe.shards.count > Limits.shards
        {
            refuse(.unfit("shards"))
        }
        for shard in stripe.shards { u16(shard) }
        for root in stripe.roots { digest(root) }
        var last: ChunkID?
        list(stripe.chunks, "chunks", Limits.stripeChunks) { writer, chunk in
            writer.id(chunk.id, after: last)
            last = chunk.id
            writer.chunk(chunk)
        }
    }

    private mutating func chunk(_ chunk: Chunk) {
        int(chunk.offset, "chunk", 0...Limits.stripe)
        int(chunk.length, "chunk", 0...Limits.stripe)
        int(chunk.plainLength, "chunk", 0...Limits.stripe)
        u8(chunk.codec)
        optional(chunk.shared) { writer, shared in
            writer.digest(shared.fingerprint)
            writer.fixed(shared.key, "chunk key", 32)
        }
    }

    mutating func pieces(_ pieces: [Manifest.Piece]) {
        var last: ChunkID?
        list(pieces, "chunks", Limits.manifestChunks) { writer, piece in
            writer.id(piece.id, after: last)
            last = piece.id
            writer.int(piece.plainLength, "chunk", 0...Limits.stripe)
        }
    }

    mutating func segments(_ segments: [Segment]) {
        list(segments, "segments", Limits.segments) { writer, segment in
            writer.number(segment.manifest, "manifest")
            writer.signed(segment.size, "size")
            writer.blob(segment.wrappedKey, "wrapped key", Limits.wrapped)
            writer.u32(segment.generation)
        }
    }

    mutating func parts(_ parts: [ObjectPart]) {
        list(parts, "parts", Limits.parts) { writer, part in
            writer.int(part.number, "part", 1...Limits.parts)
            writer.signed(part.size, "size")
            writer.text(part.etag, "ETag", Limits.etag)
            writer.signed(part.modified, "time")
            writer.attributes(part.attributes)
        }
    }

    mutating func accessKey(_ key: AccessKey) {
        text(key.id, "access key", Limits.name)
        text(key.secret, "secret", Limits.wrapped)
        text(key.identity, "identity", Limits.name)
        flag(key.isOwner)
        map(key.rights, "right", Limits.attributes) { $0.text($1, "right", Limits.name) }
    }

    mutating func backend(_ backend: Backend) {
        if backend.number == Stripe.nowhere { refuse(.unfit("backend")) }
        u16(backend.number)
        text(backend.address, "address", Limits.address)
        text(backend.farm, "farm", Limits.name)
        text(backend.node, "node", Limits.name)
        u32(backend.weight)
        signed(backend.capacity, "capacity")
        u8(backend.state.rawValue)
        blob(backend.extra, "extra", Limits.wrapped)
    }

    mutating func policy(_ policy: Policy) {
        int(policy.k, "k", 1...Limits.shards)
        int(policy.m, "m", 0...Limits.shards)
        int(policy.margin, "margin", 0...Limits.shards)
        int(policy.surviveNodes, "nodes", 0...Limits.shards)
        int(policy.surviveFarms, "farms", 0...Limits.shards)
        signed(policy.graceMs, "grace")
        u8(policy.codec)
        flag(policy.contentDefined)
        int(policy.minimumChunk, "chunk", 0...Limits.stripe)
        int(policy.averageChunk, "chunk", 0...Limits.stripe)
        int(policy.maximumChunk, "chunk", 0...Limits.stripe)
        int(policy.packSize, "pack", 0...Limits.stripe)
        flag(policy.deduplicates)
        blob(policy.extra, "extra", Limits.wrapped)
    }

    mutating func claim(_ claim: WriterClaim) {
        number(claim.epoch, "epoch")
        text(claim.url, "URL", Limits.address)
        signed(claim.time, "time")
    }

    mutating func snapshot(_ snapshot: IndexSnapshot) {
        number(snapshot.height, "height")
        segments(snapshot.segments)
    }

    mutating func keys(_ keys: [[UInt8]]) {
        list(keys, "wrapped keys", Limits.segments) { $0.blob($1, "wrapped key", Limits.wrapped) }
    }
}
