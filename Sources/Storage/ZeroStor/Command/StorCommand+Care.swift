internal import Bytes
internal import CanonicalJSON
internal import Crypto
internal import ObjectIndex
internal import Objects
internal import Terminal

extension StorCommand {
    func status() throws {
        let store = try look()
        let status = try store.status()
        let rows = status.backends.map { backend in
            [
                "\(backend.number)", backend.address, backend.farm, backend.node, backend.state, "\(backend.shards)",
                "\(backend.bytes)",
            ]
        }
        let table = Table(
            columns: [
                .init("NUMBER", right: true), .init("BACKEND"), .init("FARM"), .init("NODE"), .init("STATE"),
                .init("SHARDS", right: true), .init("BYTES", right: true),
            ], rows: rows)
        let accounts = status.accounts
        console.emit(
            .object([
                "accounts": .object(
                    Dictionary(accounts.map { ($0.name, JSONValue.integer($0.value)) }, uniquingKeysWith: { a, _ in a })
                ),
                "backends": .array(
                    status.backends.map {
                        .object([
                            "address": .string($0.address), "bytes": .integer($0.bytes), "farm": .string($0.farm),
                            "node": .string($0.node), "number": .integer(Int64($0.number)),
                            "shards": .integer($0.shards), "state": .string($0.state),
                        ])
                    }),
                "height": .integer(Int64(clamping: status.height)), "repairs": .integer(status.repairs),
                "state": .string(status.state),
            ]),
            table.text(console.style)
                + "\n\(status.state): \(status.repairs) stripes wait for repair; log height \(status.height)\n"
                + accounts.map { "\($0.name) \($0.value)\n" }.joined())
    }

    /// Reads every byte; what cannot be read is named.
    func check() throws -> Int32 {
        let store = try look()
        let text = argument("object")
        var names: [ObjectKey] = []
        let bucket = String(text.prefix { $0 != "/" })
        if text.contains("/") {
            names = [try object().1]
        } else {
            var query = ListQuery()
            while true {
                let page = try store.list(bucket, query)
                names += page.entries.map(\.key)
                guard page.isTruncated, let last = names.last else { break }
                query.after = last
            }
        }
        var problems: [String] = []
        for name in names {
            do { try read(try store.open(bucket, name, nil, customerKey: nil)) { _ in } } catch {
                problems.append("\(bucket)/\(name): \(error)")
            }
        }
        console.emit(
            .object(["bad": .array(problems.map { .string($0) }), "checked": .integer(Int64(names.count))]),
            problems.map { $0 + "\n" }.joined() + "\(names.count) objects read, \(problems.count) bad\n")
        return problems.isEmpty ? 0 : 1
    }

    func scrub() throws -> Int32 {
        let store = try open()
        var total = ZeroStore.CareReport()
        var cursor: StripeID?
        repeat {
            let (report, last) = try store.scrub(after: cursor, limit: 64)
            total.stripes += report.stripes
            total.shards += report.shards
            total.bad += report.bad
            cursor = last
        } while cursor != nil
        emit(total)
        return total.bad == 0 ? 0 : 1
    }

    func repair() throws -> Int32 {
        let report = try repairAll(try open())
        emit(report)
        return report.lost.isEmpty && report.unplaced == 0 ? 0 : 1
    }

    /// Repairs until nothing more can be done.
    func repairAll(_ store: ZeroStore) throws -> ZeroStore.CareReport {
        var total = ZeroStore.CareReport()
        var repaired = 0
        while true {
            let report = try store.repair(limit: 64)
            total.stripes += report.stripes
            total.bad += report.bad
            total.lost += report.lost
            total.unplaced += report.unplaced
            repaired += report.repaired
            guard report.isAtEnd else { continue }
            total.repaired += repaired
            if repaired == 0 { return total }
            // Once more through all of it: what is left then is what cannot be.
            (repaired, total.lost, total.unplaced) = (0, [], 0)
        }
    }

    private func emit(_ report: ZeroStore.CareReport) {
        console.emit(
            .object([
                "bad": .integer(Int64(report.bad)), "lost": .array(report.lost.map { .string($0) }),
                "repaired": .integer(Int64(report.repaired)), "shards": .integer(Int64(report.shards)),
                "stripes": .integer(Int64(report.stripes)), "unplaced": .integer(Int64(report.unplaced)),
            ]),
            "\(report.stripes) stripes, \(report.bad) bad shards, \(report.repaired) repaired, \(report.unplaced) without a place, \(report.lost.count) stripes lost\n"
        )
    }

    func snapshot() throws {
        let made = try open().takeSnapshot()
        console.emit(
            .object([
                "bytes": .integer(Int64(made.size)), "height": .integer(Int64(clamping: made.height)),
                "trimmed": .integer(Int64(clamping: made.trimmed)),
            ]),
            "a copy of the index up to entry \(made.height), \(made.size) bytes; the log begins behind entry \(made.trimmed)\n"
        )
    }

    func addKey() throws {
        var rights: [String: String] = [:]
        for word in invocation.all("right") {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, ["read", "write", "full"].contains(parts[1]) else {
                throw UsageError("“\(word)” is not BUCKET=read, write or full")
            }
            rights[parts[0]] = parts[1]
        }
        let key = AccessKey(
            id: "ZG" + Hex.encode(Random.bytes(9)).uppercased(), secret: Hex.encode(Random.bytes(20)),
            identity: argument("identity"), isOwner: invocation.has("owner"), rights: rights)
        try open().setAccessKey(key)
        console.emit(
            .object(["id": .string(key.id), "identity": .string(key.identity), "secret": .string(key.secret)]),
            "access key \(key.id)\nsecret     \(key.secret)\n")
    }

    func listKeys() throws {
        let keys = try look().accessKeys()
        let table = Table(
            "KEY", "IDENTITY", "RIGHTS",
            rows: keys.map { key in
                [
                    key.id, key.identity,
                    key.isOwner
                        ? "owner"
                        : key.rights.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " "),
                ]
            })
        console.emit(
            .array(keys.map { .object(["id": .string($0.id), "identity": .string($0.identity)]) }),
            table.text(console.style))
    }
}
