// Backends, and what is on them.
extension IndexWriter {
    /// A shard is on a backend from here on; the backend's state, which of nowhere is `lost`.
    func arrive(_ backend: UInt16, _ length: Int, _ stripe: UInt64, _ place: Int) throws(IndexError) -> Backend.State {
        guard backend != Stripe.nowhere else { return .lost }
        let state = try connection.first(
            "UPDATE backends SET bytes = bytes + ?, shards = shards + 1 WHERE number = ? RETURNING state",
            .int(length), .int(Int(backend))
        ) { $0.int(0) }
        guard let state else { throw unfit(.noSuchBackend(backend)) }
        try connection.run(
            "INSERT INTO shards VALUES(?, ?, ?)", .int(Int(backend)), .number(stripe), .int(place))
        accounts.rawBytes += Int64(length)
        return try self.state(state)
    }

    /// A shard is not on a backend any more; the state that it had there.
    @discardableResult
    func depart(_ backend: UInt16, _ length: Int, _ stripe: UInt64, _ place: Int) throws(IndexError) -> Backend.State {
        guard backend != Stripe.nowhere else { return .lost }
        let state = try connection.first(
            "UPDATE backends SET bytes = bytes - ?, shards = shards - 1 WHERE number = ? RETURNING state",
            .int(length), .int(Int(backend))
        ) { $0.int(0) }
        let removed = try connection.run(
            "DELETE FROM shards WHERE backend = ? AND stripe = ? AND place = ?", .int(Int(backend)), .number(stripe),
            .int(place))
        guard let state, removed == 1 else { throw .damaged("a shard of stripe \(stripe) is not on \(backend)") }
        accounts.rawBytes -= Int64(length)
        return try self.state(state)
    }

    private func state(_ code: Int64) throws(IndexError) -> Backend.State {
        guard let state = UInt8(exactly: code).flatMap({ Backend.State(rawValue: $0) }) else {
            throw .damaged("a backend has state \(code)")
        }
        return state
    }

    func set(_ backend: Backend) throws(IndexError) {
        guard backend.number != Stripe.nowhere else { throw unfit(.noSuchBackend(backend.number)) }
        let number = Value.int(Int(backend.number))
        let former = try connection.first("SELECT state FROM backends WHERE number = ?", number) { $0.int(0) }
        try connection.run(
            """
            INSERT INTO backends VALUES(?, ?, ?, 0, 0)
            ON CONFLICT(number) DO UPDATE SET value = excluded.value, state = excluded.state
            """, number, .blob(encoded { $0.backend(backend) }), .int(Int(backend.state.rawValue)))
        guard let former else { return }
        let before = IndexWriter.burden(try state(former)), after = IndexWriter.burden(backend.state)
        guard before != after else { return }
        // Every stripe that has shards there enters the repair queue, leaves it, or takes another place.
        try connection.run(
            """
            UPDATE stripes SET missing = missing + ?1 * here.shards, draining = draining + ?2 * here.shards
            FROM (SELECT stripe, count(*) AS shards FROM shards WHERE backend = ?3 GROUP BY stripe) AS here
            WHERE stripes.number = here.stripe
            """, .int(after.missing - before.missing), .int(after.draining - before.draining), number)
    }

    /// What a shard on a backend of this state adds to its stripe.
    private static func burden(_ state: Backend.State) -> (missing: Int, draining: Int) {
        switch state {
        case .active: (0, 0)
        case .draining: (0, 1)
        case .lost, .removed: (1, 0)
        }
    }
}
