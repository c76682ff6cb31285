/// A row of `shards`.
private struct ShardRow: Hashable {
    let backend: Int64
    let stripe: Int64
    let place: Int64
}

extension IndexView {
    /// Counts everything anew and compares it with what is kept; what differs. Reads all of the index: seconds a million objects.
    public func verify() throws(IndexError) -> [String] {
        var problems: [String] = []
        var counted = Accounts()
        try countObjects(&counted, &problems)
        try checkManifests(&problems)
        try checkChunks(&problems)
        try checkStripes(&counted, &problems)
        try checkBackends(&counted, &problems)
        for (kept, found) in zip(try accounts().named, counted.named) where kept.value != found.value {
            problems.append("account \(kept.name) is \(kept.value), counted \(found.value)")
        }
        return problems
    }

    private func count(_ text: StaticString) throws(IndexError) -> Int64 {
        try connection.first(text) { $0.int(0) } ?? 0
    }

    private func countObjects(_ counted: inout Accounts, _ problems: inout [String]) throws(IndexError) {
        counted.buckets = try count("SELECT count(*) FROM buckets")
        counted.objects = try count("SELECT count(*) FROM versions WHERE NOT kind & 2")
        counted.deleteMarkers = try count("SELECT count(*) FROM versions WHERE kind & 2")
        counted.objectBytes = try count("SELECT ifnull(sum(size), 0) FROM objects")
        counted.uploads = try count("SELECT count(*) FROM uploads")
        counted.parts = try count("SELECT count(*) FROM parts")
        counted.partBytes = try count("SELECT ifnull(sum(size), 0) FROM parts")
        counted.manifests = try count("SELECT count(*) FROM manifests")
        counted.chunks = try count("SELECT count(*) FROM chunks")
        let strays: [(String, Int64)] = [
            (
                "versions that are not described",
                try count(
                    "SELECT count(*) FROM versions WHERE sequence NOT IN (SELECT sequence FROM objects)")
            ),
            (
                "descriptions of no version",
                try count(
                    "SELECT count(*) FROM objects WHERE sequence NOT IN (SELECT sequence FROM versions)")
            ),
            (
                "versions of no bucket",
                try count(
                    "SELECT count(*) FROM versions WHERE bucket NOT IN (SELECT number FROM buckets)")
            ),
            (
                "uploads of no bucket",
                try count(
                    "SELECT count(*) FROM uploads WHERE bucket NOT IN (SELECT number FROM buckets)")
            ),
            (
                "parts of no upload",
                try count(
                    "SELECT count(*) FROM parts WHERE upload NOT IN (SELECT number FROM uploads)")
            ),
            (
                "settings of no bucket",
                try count(
                    "SELECT count(*) FROM settings WHERE bucket NOT IN (SELECT number FROM buckets)")
            ),
            (
                "keys with several null versions",
                try count(
                    """
                    SELECT count(*) FROM (SELECT 1 FROM versions WHERE kind & 1 GROUP BY bucket, key HAVING count(*) > 1)
                    """)
            ),
        ]
        for (what, count) in strays where count != 0 { problems.append("\(what): \(count)") }
    }

    private func checkManifests(_ problems: inout [String]) throws(IndexError) {
        var uses: [UInt64: Int64] = [:]
        let add = { (segments: [Segment]) in for segment in segments { uses[segment.manifest, default: 0] += 1 } }
        try connection.each("SELECT segments, size, sequence FROM objects") { (row) throws(IndexError) in
            let segments = try self.segments(row, 0)
            add(segments)
            if segments.reduce(0, { $0 + $1.size }) != row.int(1) {
                problems.append("version \(row.int(2)) has another size")
            }
            return true
        }
        try connection.each("SELECT segments FROM parts") { (row) throws(IndexError) in
            add(try self.segments(row, 0))
            return true
        }
        if let snapshot = try snapshot() { add(snapshot.segments) }
        try connection.each("SELECT number, uses FROM manifests") { row in
            let counted = uses.removeValue(forKey: row.number(0)) ?? 0
            if counted != row.int(1) {
                problems.append("manifest \(row.int(0)) is used \(row.int(1)) times, counted \(counted)")
            }
            return true
        }
        for number in uses.keys.sorted() { problems.append("manifest \(number) is used and not there") }
    }

    private func checkChunks(_ problems: inout [String]) throws(IndexError) {
        var uses: [ChunkID: Int64] = [:]
        try connection.each("SELECT number, size, pieces FROM manifests") { (row) throws(IndexError) in
            var size: Int64 = 0
            for piece in try self.pieces(row.bytes(2)) {
                uses[piece.id, default: 0] += 1
                size += Int64(piece.plainLength)
            }
            if size != row.int(1) { problems.append("manifest \(row.int(0)) has another size") }
            return true
        }
        try connection.each("SELECT id, uses FROM chunks") { (row) throws(IndexError) in
            let id: ChunkID = try row.id(0)
            let counted = uses.removeValue(forKey: id) ?? 0
            if counted != row.int(1) { problems.append("chunk \(id) is used \(row.int(1)) times, counted \(counted)") }
            return true
        }
        for id in uses.keys.sorted() { problems.append("chunk \(id) is used and not there") }
        let strays = try count("SELECT count(*) FROM chunks WHERE stripe NOT IN (SELECT number FROM stripes)")
        if strays != 0 { problems.append("chunks of no stripe: \(strays)") }
    }

    private func checkStripes(_ counted: inout Accounts, _ problems: inout [String]) throws(IndexError) {
        counted.stripes = try count("SELECT count(*) FROM stripes")
        counted.dyingStripes = try count("SELECT count(*) FROM stripes WHERE dying IS NOT NULL")
        counted.dyingBytes = try count("SELECT ifnull(sum(length), 0) FROM stripes WHERE dying IS NOT NULL")
        counted.liveBytes = try count("SELECT ifnull(sum(length), 0) FROM chunks")
        let length = try count("SELECT ifnull(sum(length), 0) FROM stripes WHERE dying IS NULL")
        counted.deadBytes = length - counted.liveBytes
        var living: [UInt64: (bytes: Int64, chunks: Int64)] = [:]
        try connection.each("SELECT stripe, length FROM chunks") { row in
            living[row.number(0), default: (0, 0)].bytes += row.int(1)
            living[row.number(0), default: (0, 0)].chunks += 1
            return true
        }
        try connection.each("SELECT number, live_bytes, live_chunks, dying FROM stripes") { row in
            let counted = living[row.number(0)] ?? (0, 0)
            if (row.int(1), row.int(2)) != counted {
                problems.append(
                    "stripe \(row.int(0)) has \(row.int(2)) chunks of \(row.int(1)) bytes, counted \(counted)")
            }
            if !row.isNull(3), counted.chunks != 0 {
                problems.append("stripe \(row.int(0)) is dying with live chunks")
            }
            return true
        }
        let layouts = try count("SELECT count(*) FROM layouts WHERE stripe IN (SELECT number FROM stripes)")
        let all = try count("SELECT count(*) FROM layouts")
        if layouts != counted.stripes || layouts != all {
            problems.append("there are \(layouts) layouts of \(counted.stripes) stripes")
        }
    }

    private func checkBackends(_ counted: inout Accounts, _ problems: inout [String]) throws(IndexError) {
        var states: [UInt16: Backend.State] = [:]
        var kept: [UInt16: (bytes: Int64, shards: Int64)] = [:]
        for backend in try backends() {
            states[backend.backend.number] = backend.backend.state
            kept[backend.backend.number] = (backend.bytes, backend.shards)
        }
        let rows = Set(
            try connection.all("SELECT backend, stripe, place FROM shards") {
                ShardRow(backend: $0.int(0), stripe: $0.int(1), place: $0.int(2))
            })
        var shards = 0
        try connection.each("SELECT number, shards, shard_length, missing, draining FROM stripes") { row in
            var missing: Int64 = 0, draining: Int64 = 0
            for (place, backend) in IndexView.backends(row.bytes(1)).enumerated() {
                switch states[backend] {
                case .active: break
                case .draining: draining += 1
                case .lost, .removed, nil: missing += 1
                }
                if backend == Stripe.nowhere { continue }
                shards += 1
                counted.rawBytes += row.int(2)
                kept[backend]?.bytes -= row.int(2)
                kept[backend]?.shards -= 1
                if !rows.contains(ShardRow(backend: Int64(backend), stripe: row.int(0), place: Int64(place))) {
                    problems.append("shard \(place) of stripe \(row.int(0)) is not among those of backend \(backend)")
                }
            }
            if missing != row.int(3) || draining != row.int(4) {
                problems.append(
                    "stripe \(row.int(0)) lacks \(row.int(3)) and drains \(row.int(4)), counted \(missing) and \(draining)"
                )
            }
            return true
        }
        if shards != rows.count { problems.append("there are \(rows.count) rows of \(shards) shards") }
        for (number, rest) in kept.sorted(by: { $0.key < $1.key }) where rest != (0, 0) {
            problems.append("backend \(number) has \(rest.shards) shards and \(rest.bytes) bytes too many")
        }
    }
}
