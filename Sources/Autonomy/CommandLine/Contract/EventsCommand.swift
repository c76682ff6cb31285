import CanonicalJSON
import Contracts
import Crypto
import LedgerClient
import LedgerState
import Records
import Terminal

/// `zero events`: the records about a contract, oldest first.
struct EventsCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    /// Records asked for at once.
    private static let page: Int64 = 200

    func run() async throws {
        let session = try LedgerSession(context)
        let state = try await session.state()
        let (id, _) = try ContractReference(session: session, state: state).find(context.argument("contract"))
        let names = (try? session.keys.addresses()) ?? [:]
        let found = try await all(session, id)
        if context.console.format == .json {
            for record in found { context.console.print(EventsCommand.json(record).canonicalText) }
        } else {
            context.console.print(found.flatMap { lines($0, names) }.joined(separator: "\n"))
        }
        guard context.invocation.has("follow") else { return }
        let first = Set(found.map(\.record.id))
        try await session.following { follower in
            var seen = first
            for await change in follower.changes()
            where change.records.contains(where: { EventsCommand.concerns($0, id) }) {
                for record in try await all(session, id) where seen.insert(record.record.id).inserted {
                    if context.console.format == .json {
                        context.console.print(EventsCommand.json(record).canonicalText)
                    } else {
                        context.console.print(lines(record, names).joined(separator: "\n"))
                    }
                }
            }
        }
    }

    private func all(_ session: LedgerSession, _ id: Digest) async throws -> [FoundRecord] {
        var found: [FoundRecord] = []
        var seen: Set<Digest> = []
        do {
            // The first version carries no contract id: it is the record that the id names.
            if let first = try await session.client.record(id) {
                found.append(first)
                seen.insert(id)
            }
            let more = try await session.client.query(.init(contract: id, limit: 1_000))
            found += more.filter { seen.insert($0.record.id).inserted }
        } catch { throw LedgerSession.explain(error) }
        return found.sorted { ($0.receipt.height, $0.receipt.index) < ($1.receipt.height, $1.receipt.index) }
    }

    private static func concerns(_ record: Record, _ id: Digest) -> Bool {
        record.id == id || record.body.value["contract"]?.string == id.hex || record.body.value["id"]?.string == id.hex
    }

    private static func json(_ found: FoundRecord) -> JSONValue {
        [
            "height": .integer(found.receipt.height), "time": .integer(found.time), "id": .string(found.record.id.hex),
            "record": found.record.value,
        ]
    }

    private func lines(_ found: FoundRecord, _ names: [String: PublicKey]) -> [String] {
        let style = context.console.style
        let author =
            names.first { $0.value == found.record.author }?.key ?? String(found.record.author.address.prefix(8)) + "…"
        let kind = found.record.kind.rawValue
        let space = String(repeating: " ", count: max(1, 10 - kind.count))
        let head = "\(style.dim(Units.timeText(found.time / 1_000 * 1_000)))  \(kind)\(space)\(author)  "
        switch found.record.body {
        case .contract(let body): return [head + "version \(body["version"]?.integer ?? 0) signed"]
        case .approval(let body): return [head + "approved \(body.record.hex.prefix(12))"]
        case .cancel: return [head + "cancelled"]
        case .placement(let body):
            let nodes = body.nodes.map { String($0.address.prefix(8)) + "…" }.sorted().joined(separator: ", ")
            return [head + "placed version \(body.version), epoch \(body.epoch), on \(nodes)"]
        case .result(let body):
            return body.workloads.sorted { $0.key < $1.key }.map { name, result in
                head + "\(name) \(style.state(result.state.rawValue))"
                    + (result.reason.map { ": " + Table.clean($0) } ?? "")
            }
        default: return [head]
        }
    }
}
