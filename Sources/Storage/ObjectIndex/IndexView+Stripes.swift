public import Crypto

/// Where a chunk is.
public struct ChunkLocation: Sendable, Equatable {
    /// Which.
    public let id: ChunkID
    /// In which stripe.
    public let stripe: StripeID
    /// Where it begins in the stripe.
    public let offset: Int
    /// Bytes in the stripe, with the tag.
    public let length: Int
    /// Bytes before the codec.
    public let plainLength: Int
    /// How it is compressed.
    public let codec: UInt8
    /// How often manifests name it.
    public let uses: Int
}

/// A stripe as it is now.
public struct IndexedStripe: Sendable, Equatable {
    /// The number of the operation that made it: lower is older.
    public let number: UInt64
    /// The stripe; its chunks are not in here, `IndexView.chunks(of:)` has those that live.
    public let stripe: Stripe
    /// Stored bytes of chunks that live.
    public let liveBytes: Int
    /// How many live.
    public let liveChunks: Int
    /// Since when its shards are to be removed; nil: they are not.
    public let dying: Int64?
    /// Shards that are nowhere, or on a backend that is lost.
    public let missing: Int
    /// Shards on backends that are drained.
    public let draining: Int

    /// How many more shards may go before data does; negative: too many went.
    public var redundancy: Int { stripe.m - missing }
}

/// A stripe that needs repair, and where it is in the queue.
public struct RepairItem: Sendable, Equatable {
    /// Lower comes first: remaining redundancy, or above 1000 where shards only move away from drained backends.
    public let priority: Int64
    /// The stripe.
    public let stripe: IndexedStripe
}

/// A backend with what is on it.
public struct IndexedBackend: Sendable, Equatable {
    /// The backend.
    public let backend: Backend
    /// Bytes of its shards.
    public let bytes: Int64
    /// How many.
    public let shards: Int64
}

extension IndexView {
    /// The manifest of that number.
    public func manifest(_ number: UInt64) throws(IndexError) -> Manifest? {
        try connection.first("SELECT size, pieces, keys FROM manifests WHERE number = ?", .number(number)) {
            (row) throws(IndexError) in
            Manifest(size: row.int(0), pieces: try self.pieces(row.bytes(1)), sealedKeys: row.bytes(2))
        }
    }

    func pieces(_ bytes: [UInt8]) throws(IndexError) -> [Manifest.Piece] {
        try value(bytes, "manifest") { (reader) throws(OperationError) in try reader.pieces() }
    }

    /// Manifests that nothing is made of and that are older than an operation, from the oldest on.
    public func unusedManifests(before sequence: UInt64, limit: Int) throws(IndexError) -> [UInt64] {
        try connection.all(
            "SELECT number FROM manifests WHERE uses = 0 AND number < ? ORDER BY number LIMIT ?", .number(sequence),
            .int(limit)
        ) { $0.number(0) }
    }

    /// Chunks that no manifest names, given by writers of lower epochs, from the oldest on.
    public func unusedChunks(beforeEpoch epoch: UInt64, limit: Int) throws(IndexError) -> [ChunkID] {
        try connection.all(
            "SELECT id FROM chunks WHERE uses = 0 AND id < ? ORDER BY id LIMIT ?",
            .id(ChunkID(epoch: epoch, counter: 0)), .int(limit)
        ) { (row) throws(IndexError) in try row.id(0) }
    }

    /// Where a chunk is; nil where it is not (any more).
    public func chunk(_ id: ChunkID) throws(IndexError) -> ChunkLocation? {
        try connection.first(
            """
            SELECT chunks.id, stripes.id, chunks.offset, chunks.length, chunks.plain, chunks.codec, chunks.uses
            FROM chunks JOIN stripes ON stripes.number = chunks.stripe WHERE chunks.id = ?
            """, .id(id)
        ) { (row) throws(IndexError) in try self.location(row) }
    }

    /// Where chunks are, in the order asked for.
    public func chunks(_ ids: [ChunkID]) throws(IndexError) -> [ChunkLocation?] {
        var locations: [ChunkLocation?] = []
        locations.reserveCapacity(ids.count)
        for id in ids { locations.append(try chunk(id)) }
        return locations
    }

    private func location(_ row: Row) throws(IndexError) -> ChunkLocation {
        ChunkLocation(
            id: try row.id(0), stripe: try row.id(1), offset: Int(row.int(2)), length: Int(row.int(3)),
            plainLength: Int(row.int(4)), codec: UInt8(truncatingIfNeeded: row.int(5)), uses: Int(row.int(6)))
    }

    /// A chunk that may be shared, by what is in it. One that is dead is not found.
    public func chunk(fingerprint: Digest) throws(IndexError) -> (id: ChunkID, plainLength: Int, key: [UInt8])? {
        try connection.first(
            "SELECT id, plain, key FROM chunks WHERE fingerprint = ? ORDER BY id LIMIT 1", .blob(fingerprint.bytes)
        ) { (row) throws(IndexError) in (try row.id(0), Int(row.int(1)), row.bytes(2)) }
    }

    /// The chunks of a stripe that live, by offset.
    public func chunks(of stripe: StripeID) throws(IndexError) -> [ChunkLocation] {
        let found = try connection.first(
            """
            SELECT stripes.number, layouts.chunks FROM stripes JOIN layouts ON layouts.stripe = stripes.number
            WHERE stripes.id = ?
            """, .id(stripe)
        ) { ($0.number(0), $0.bytes(1)) }
        guard let found else { return [] }
        let ids: [ChunkID] = try value(found.1, "layout") { (reader) throws(OperationError) in
            try reader.ids("chunks", 2 * Limits.stripeChunks)
        }
        var living: [ChunkLocation] = []
        for id in ids { if let chunk = try chunk(id), chunk.stripe == stripe { living.append(chunk) } }
        return living.sorted { $0.offset < $1.offset }
    }

    // Stripes

    func stripe(_ row: Row) throws(IndexError) -> IndexedStripe {
        let shards = row.bytes(11), roots = row.bytes(12)
        let (k, m) = (Int(row.int(2)), Int(row.int(3)))
        guard shards.count == 2 * (k + m), roots.count == 32 * (k + m) else {
            throw .damaged("stripe \(row.number(0)) has another number of shards")
        }
        let stripe = Stripe(
            id: try row.id(1), k: k, m: m, length: Int(row.int(4)), shardLength: Int(row.int(5)), created: row.int(6),
            shards: IndexView.backends(shards),
            roots: stride(from: 0, to: roots.count, by: 32).compactMap { Digest(Array(roots[$0..<($0 + 32)])) },
            chunks: [])
        return IndexedStripe(
            number: row.number(0), stripe: stripe, liveBytes: Int(row.int(7)), liveChunks: Int(row.int(8)),
            dying: row.isNull(13) ? nil : row.int(13), missing: Int(row.int(9)), draining: Int(row.int(10)))
    }

    /// Two bytes each, little-endian.
    static func backends(_ bytes: [UInt8]) -> [UInt16] {
        stride(from: 0, to: bytes.count - 1, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
    }

    static func bytes(_ backends: [UInt16]) -> [UInt8] {
        backends.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
    }

    /// The stripe of that id.
    public func stripe(_ id: StripeID) throws(IndexError) -> IndexedStripe? {
        try connection.first(
            """
            SELECT number, id, k, m, length, shard_length, created, live_bytes, live_chunks, missing, draining,
                shards, roots, dying FROM stripes JOIN layouts ON stripe = number WHERE id = ?
            """, .id(id)
        ) { (row) throws(IndexError) in try self.stripe(row) }
    }

    /// Stripes that are not dying, by id, behind one of them.
    public func stripes(after: StripeID?, limit: Int) throws(IndexError) -> [IndexedStripe] {
        try connection.all(
            """
            SELECT number, id, k, m, length, shard_length, created, live_bytes, live_chunks, missing, draining,
                shards, roots, dying FROM stripes JOIN layouts ON stripe = number
            WHERE id > ? AND dying IS NULL ORDER BY id LIMIT ?
            """, .blob(after?.bytes ?? []), .int(limit)
        ) { (row) throws(IndexError) in try self.stripe(row) }
    }

    /// Stripes without live chunks that are not dying yet, oldest first.
    public func emptyStripes(limit: Int) throws(IndexError) -> [StripeID] {
        try connection.all(
            "SELECT id FROM stripes WHERE live_chunks = 0 AND dying IS NULL ORDER BY number LIMIT ?", .int(limit)
        ) { (row) throws(IndexError) in try row.id(0) }
    }

    /// Stripes that are dying since a time or longer, longest first.
    public func dyingStripes(since time: Int64, limit: Int) throws(IndexError) -> [IndexedStripe] {
        try connection.all(
            """
            SELECT number, id, k, m, length, shard_length, created, live_bytes, live_chunks, missing, draining,
                shards, roots, dying FROM stripes JOIN layouts ON stripe = number
            WHERE dying IS NOT NULL AND dying <= ? ORDER BY dying, number LIMIT ?
            """, .int(time), .int(limit)
        ) { (row) throws(IndexError) in try self.stripe(row) }
    }

    /// Stripes of which at most so many thousandths live, and something, the emptiest first.
    public func sparseStripes(permille: Int, limit: Int) throws(IndexError) -> [IndexedStripe] {
        try connection.all(
            """
            SELECT number, id, k, m, length, shard_length, created, live_bytes, live_chunks, missing, draining,
                shards, roots, dying FROM stripes JOIN layouts ON stripe = number
            WHERE live_permille IS NOT NULL AND live_permille <= ? ORDER BY live_permille, number LIMIT ?
            """, .int(permille), .int(limit)
        ) { (row) throws(IndexError) in try self.stripe(row) }
    }

    /// What needs repair: the least redundancy first, then the oldest; behind an item of an earlier page.
    public func repairQueue(
        after: (priority: Int64, number: UInt64)? = nil, limit: Int
    ) throws(IndexError) -> [RepairItem] {
        try connection.all(
            """
            SELECT number, id, k, m, length, shard_length, created, live_bytes, live_chunks, missing, draining,
                shards, roots, dying, priority FROM stripes JOIN layouts ON stripe = number
            WHERE priority IS NOT NULL AND (priority, number) > (?, ?) ORDER BY priority, number LIMIT ?
            """, .int(after?.priority ?? Int64.min), .number(after?.number ?? 0), .int(limit)
        ) { (row) throws(IndexError) in RepairItem(priority: row.int(14), stripe: try self.stripe(row)) }
    }

    /// How many stripes wait for repair, by priority.
    public func repairCounts() throws(IndexError) -> [(priority: Int64, stripes: Int64)] {
        try connection.all(
            "SELECT priority, count(*) FROM stripes WHERE priority IS NOT NULL GROUP BY priority ORDER BY priority"
        ) { ($0.int(0), $0.int(1)) }
    }

    // Backends

    /// All backends, by number.
    public func backends() throws(IndexError) -> [IndexedBackend] {
        try connection.all("SELECT value, bytes, shards FROM backends ORDER BY number") {
            (row) throws(IndexError) in try self.backend(row)
        }
    }

    /// The backend of that number.
    public func backend(_ number: UInt16) throws(IndexError) -> IndexedBackend? {
        try connection.first("SELECT value, bytes, shards FROM backends WHERE number = ?", .int(Int(number))) {
            (row) throws(IndexError) in try self.backend(row)
        }
    }

    private func backend(_ row: Row) throws(IndexError) -> IndexedBackend {
        let backend = try value(row.bytes(0), "backend") { (reader) throws(OperationError) in
            try reader.backend()
        }
        return IndexedBackend(backend: backend, bytes: row.int(1), shards: row.int(2))
    }

    /// Stripes that have shards on a backend, oldest first, newer than a number; one that has several there comes once.
    public func stripes(on backend: UInt16, after number: UInt64 = 0, limit: Int) throws(IndexError) -> [IndexedStripe]
    {
        try connection.all(
            """
            SELECT number, id, k, m, length, shard_length, created, live_bytes, live_chunks, missing, draining,
                shards, roots, dying FROM stripes JOIN layouts ON stripe = number WHERE number IN
                (SELECT DISTINCT stripe FROM shards WHERE backend = ? AND stripe > ? ORDER BY stripe LIMIT ?)
            ORDER BY number
            """, .int(Int(backend)), .number(number), .int(limit)
        ) { (row) throws(IndexError) in try self.stripe(row) }
    }
}
