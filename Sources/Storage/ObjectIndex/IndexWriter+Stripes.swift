internal import Crypto

extension IndexWriter {
    /// A new stripe with its own chunks, and with chunks that were elsewhere.
    func add(_ stripe: Stripe, moves: [ChunkMove]) throws(IndexError) {
        try check(stripe, moves)
        let known = try connection.first("SELECT 1 FROM stripes WHERE id = ?", .id(stripe.id)) { _ in true }
        guard known == nil else { throw unfit(.stripeExists(stripe.id)) }
        var missing = 0, draining = 0
        for (place, backend) in stripe.shards.enumerated() {
            switch try arrive(backend, stripe.shardLength, sequence, place) {
            case .active: break
            case .draining: draining += 1
            case .lost, .removed: missing += 1
            }
        }
        let live = stripe.chunks.reduce(0) { $0 + $1.length } + moves.reduce(0) { $0 + $1.length }
        try connection.run(
            "INSERT INTO stripes VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?)", .number(sequence),
            .id(stripe.id), .int(stripe.k), .int(stripe.m), .int(stripe.length), .int(stripe.shardLength),
            .int(stripe.created), .int(live), .int(stripe.chunks.count + moves.count), .int(missing), .int(draining),
            .blob(IndexView.bytes(stripe.shards)))
        let ids = stripe.chunks.map(\.id) + moves.map(\.id)
        try connection.run(
            "INSERT INTO layouts VALUES(?, ?, ?)", .number(sequence), .blob(stripe.roots.flatMap(\.bytes)),
            .blob(encoded { $0.ids(ids, "chunks", 2 * Limits.stripeChunks) }))
        for chunk in stripe.chunks { try add(chunk) }
        accounts.stripes += 1
        accounts.chunks += Int64(stripe.chunks.count)
        accounts.liveBytes += Int64(live)
        accounts.deadBytes += Int64(stripe.length - live)
        for move in moves { try take(move) }
    }

    private func check(_ stripe: Stripe, _ moves: [ChunkMove]) throws(IndexError) {
        let malformed = unfit(.stripeMalformed(stripe.id))
        guard stripe.k > 0, stripe.m >= 0, stripe.k + stripe.m <= Limits.shards, stripe.length >= 0,
            stripe.shards.count == stripe.k + stripe.m, stripe.roots.count == stripe.shards.count,
            stripe.length <= Limits.stripe, stripe.shardLength <= Limits.stripe,
            stripe.shardLength * stripe.k >= stripe.length
        else { throw malformed }
        var places = stripe.chunks.map { ($0.offset, $0.length) } + moves.map { ($0.offset, $0.length) }
        places.sort { $0 < $1 }
        var end = 0
        for (offset, length) in places {
            guard offset >= end, length > 0, length <= stripe.length, offset <= stripe.length - length else {
                throw malformed
            }
            end = offset + length
        }
    }

    private func add(_ chunk: Chunk) throws(IndexError) {
        let added = try connection.run(
            "INSERT INTO chunks VALUES(?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING", .id(chunk.id),
            .number(sequence), .int(chunk.offset), .int(chunk.length), .int(chunk.plainLength),
            .int(Int(chunk.codec)), chunk.shared.map { .blob($0.fingerprint.bytes) } ?? .null,
            chunk.shared.map { .blob($0.key) } ?? .null)
        guard added == 1 else { throw unfit(.chunkExists(chunk.id)) }
    }

    private func take(_ move: ChunkMove) throws(IndexError) {
        let found = try connection.first("SELECT stripe, length FROM chunks WHERE id = ?", .id(move.id)) {
            ($0.number(0), $0.int(1))
        }
        guard let found else { throw unfit(.noSuchChunk(move.id)) }
        guard found.1 == move.length else { throw unfit(.wrongLength(move.id)) }
        // One that is named twice, or is new in this very stripe, would be in two places.
        guard found.0 != sequence else { throw unfit(.chunkExists(move.id)) }
        try connection.run(
            "UPDATE chunks SET stripe = ?, offset = ? WHERE id = ?", .number(sequence), .int(move.offset),
            .id(move.id))
        try leave(stripe: found.0, bytes: found.1, chunks: 1)
    }

    func dying(_ ids: [StripeID], _ time: Int64) throws(IndexError) {
        for id in ids {
            let found = try connection.first(
                "SELECT number, live_chunks, dying, length FROM stripes WHERE id = ?", .id(id)
            ) { ($0.number(0), $0.int(1), $0.isNull(2), $0.int(3)) }
            guard let found else { throw unfit(.noSuchStripe(id)) }
            guard found.1 == 0 else { throw unfit(.stripeLives(id)) }
            guard found.2 else { throw unfit(.stripeDies(id)) }
            try connection.run("UPDATE stripes SET dying = ? WHERE number = ?", .int(time), .number(found.0))
            accounts.dyingStripes += 1
            accounts.deadBytes -= found.3
            accounts.dyingBytes += found.3
        }
    }

    func gone(_ ids: [StripeID]) throws(IndexError) {
        for id in ids {
            let found = try connection.first(
                "SELECT number, dying, length, shard_length, shards FROM stripes WHERE id = ?", .id(id)
            ) { ($0.number(0), $0.isNull(1), $0.int(2), Int($0.int(3)), IndexView.backends($0.bytes(4))) }
            guard let found else { throw unfit(.noSuchStripe(id)) }
            guard !found.1 else { throw unfit(.stripeDoesNotDie(id)) }
            for (place, backend) in found.4.enumerated() { try depart(backend, found.3, found.0, place) }
            try connection.run("DELETE FROM layouts WHERE stripe = ?", .number(found.0))
            try connection.run("DELETE FROM stripes WHERE number = ?", .number(found.0))
            accounts.stripes -= 1
            accounts.dyingStripes -= 1
            accounts.dyingBytes -= found.2
        }
    }

    func move(_ id: StripeID, _ moves: [ShardMove]) throws(IndexError) {
        let found = try connection.first(
            "SELECT number, shard_length, shards, missing, draining FROM stripes WHERE id = ?", .id(id)
        ) { ($0.number(0), Int($0.int(1)), IndexView.backends($0.bytes(2)), $0.int(3), $0.int(4)) }
        guard var found else { throw unfit(.noSuchStripe(id)) }
        for move in moves {
            guard found.2.indices.contains(move.index) else { throw unfit(.noSuchShard(id, move.index)) }
            switch try depart(found.2[move.index], found.1, found.0, move.index) {
            case .active: break
            case .draining: found.4 -= 1
            case .lost, .removed: found.3 -= 1
            }
            switch try arrive(move.backend, found.1, found.0, move.index) {
            case .active: break
            case .draining: found.4 += 1
            case .lost, .removed: found.3 += 1
            }
            found.2[move.index] = move.backend
        }
        try connection.run(
            "UPDATE stripes SET shards = ?, missing = ?, draining = ? WHERE number = ?",
            .blob(IndexView.bytes(found.2)), .int(found.3), .int(found.4), .number(found.0))
    }
}
