import Contracts
import Crypto
import LedgerState
import Records

/// One workload of a contract and what became of it.
struct WorkloadRow: Sendable {
    var id: Digest
    var contract: String
    var workload: String
    var type: String
    var state: String
    var reason: String

    /// Every workload of every contract that is not over.
    static func all(in state: LedgerState) -> [WorkloadRow] {
        state.contracts.filter { state.contract($0)?.isOver == false || state.contract($0)?.state == .cancelling }
            .flatMap { rows(of: $0, in: state) }
            .sorted { ($0.contract, $0.id) < ($1.contract, $1.id) }
    }

    /// Workloads of one contract in its order.
    static func rows(of id: Digest, in state: LedgerState) -> [WorkloadRow] {
        guard let entry = state.contract(id), let contract = (entry.approved?.contract ?? entry.pending?.contract)
        else { return [] }
        let results = state.results(id)
        return contract.workloads.map { workload in
            let result = results[workload.name]
            return WorkloadRow(
                id: id, contract: entry.name, workload: workload.name, type: workload.type.rawValue,
                state: result?.state.rawValue ?? "waiting",
                reason: explanation(workload.name, result, entry, placed: state.placement(id) != nil))
        }
    }

    private static func explanation(_ name: String, _ result: WorkloadResult?, _ entry: ContractEntry, placed: Bool)
        -> String
    {
        guard let result else { return entry.approved == nil ? "approvals" : placed ? "the node" : "a placement" }
        let attempt = result.state == .failed ? result.attempt.map { " (attempt \($0))" } ?? "" : ""
        let reason = result.reason ?? ""
        // Tables and lists name the workload already.
        return (reason.hasPrefix(name + ": ") ? String(reason.dropFirst(name.count + 2)) : reason) + attempt
    }
}

extension Workload {
    /// What it is, in a few words: image with its hash, sizes, where a route leads.
    var summary: String {
        switch self {
        case .container(let it):
            let image = "\(it.image.name)@\(it.image.root.hex.prefix(12))"
            return "\(image), \(Units.cpuText(it.cpu)) CPU, \(Units.sizeText(it.memory))"
        case .volume(let it): return Units.sizeText(it.size)
        case .gateway(let it): return "to \(it.workload):\(it.port)"
        case .zdb(let it): return "\(Units.sizeText(it.size)), \(it.mode.rawValue)"
        }
    }
}

extension KeyRing {
    /// The text with addresses of identities that are known here replaced by their names.
    func named(_ text: String) -> String {
        ((try? addresses()) ?? [:]).reduce(text) { $0.replacing($1.value.address, with: $1.key) }
    }
}

/// Amounts as people read them.
enum Amount {
    /// Three significant digits at most: `1.5 GiB`, `312 MiB`.
    static func text(_ bytes: Int64) -> String {
        for (name, scale) in Units.sizes.reversed() where bytes >= scale {
            let tenths = bytes / scale * 10 + bytes % scale * 10 / scale
            return tenths >= 100 || tenths % 10 == 0
                ? "\(tenths / 10) \(name)" : "\(tenths / 10).\(tenths % 10) \(name)"
        }
        return "0"
    }

    /// `5 s`, `12 m`, `3 h`, `9 d`.
    static func age(_ milliseconds: Int64) -> String {
        let seconds = max(0, milliseconds) / 1_000
        return seconds < 120
            ? "\(seconds) s"
            : seconds < 7_200
                ? "\(seconds / 60) m" : seconds < 172_800 ? "\(seconds / 3_600) h" : "\(seconds / 86_400) d"
    }
}
