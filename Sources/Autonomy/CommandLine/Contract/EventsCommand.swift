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
        guard context.invocation.has("follow") else {
            // What ends is one document.
            if context.console.format == .json {
                return context.console.emit(["events": .array(found.map(EventsCommand.json))], "")
            }
            var last: [String: WorkloadResult] = [:]
            context.console.print(found.flatMap { lines($0, names, &last) }.joined(separator: "\n"))
            return
        }
        try await session.following { follower in
            var seen: Set<Digest> = []
            var last: [String: WorkloadResult] = [:]
            func show(_ records: [FoundRecord]) -> Bool {
                records.filter { seen.insert($0.record.id).inserted }.allSatisfy { record in
                    let isJSON = context.console.format == .json
                    let text =
                        isJSON
                        ? EventsCommand.json(record).canonicalText
                        : lines(record, names, &last).joined(separator: "\n")
                    return context.console.next(text)
                }
            }
            guard show(found) else { return }
            for await change in follower.changes()
            where change.records.contains(where: { EventsCommand.concerns($0, id) }) {
                guard show(try await all(session, id)) else { return }
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

    /// `last` is what nodes said of each workload before: a record repeats what did not change.
    private func lines(_ found: FoundRecord, _ names: [String: PublicKey], _ last: inout [String: WorkloadResult])
        -> [String]
    {
        let style = context.console.style
        let author =
            names.first { $0.value == found.record.author }?.key ?? String(found.record.author.address.prefix(8)) + "…"
        let kind = found.record.kind.rawValue
        let space = String(repeating: " ", count: max(1, 10 - kind.count))
        let head = "\(style.dim(Units.timeText(found.time / 1_000 * 1_000)))  \(kind)\(space)\(author)  "
        switch found.record.body {
        case .contract(let body):
            return [head + "version \(body["version"]?.integer ?? 0) signed, \(found.record.id.hex.prefix(12))"]
        case .approval(let body): return [head + "approved \(body.record.hex.prefix(12))"]
        case .cancel: return [head + "cancelled"]
        case .placement(let body):
            // What comes now is said of a new version.
            last = [:]
            let nodes = body.nodes.map { String($0.address.prefix(8)) + "…" }.sorted().joined(separator: ", ")
            return [head + "placed version \(body.version), epoch \(body.epoch), on \(nodes)"]
        case .result(let body):
            let changed = body.workloads.sorted { $0.key < $1.key }.filter { name, result in
                let old = last.updateValue(result, forKey: "\(found.record.author.address)/\(name)")
                return old == nil || (old?.state, old?.reason) != (result.state, result.reason)
            }
            return changed.map { name, result in
                head + "\(name) \(style.state(result.state.rawValue))"
                    + (result.reason.map { ": " + Table.clean($0) } ?? "")
            }
        default: return [head]
        }
    }
}
