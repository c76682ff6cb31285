import CanonicalJSON
import Crypto
import LedgerState

/// Finds contracts by what people call them: a name of theirs, `<identity>/<name>`, or the beginning of an id.
struct ContractReference {
    let session: LedgerSession
    let state: LedgerState

    func find(_ text: String) throws -> (id: Digest, entry: ContractEntry) {
        let own = try? session.identity().address
        if let own, let id = state.contract(of: own, named: text), let entry = state.contract(id) { return (id, entry) }
        let halves = text.split(separator: "/", maxSplits: 1).map(String.init)
        if halves.count == 2 {
            let author = (try? PublicKey(address: halves[0])) ?? (try? session.keys.load(halves[0]).address)
            if let author, let id = state.contract(of: author, named: halves[1]), let entry = state.contract(id) {
                return (id, entry)
            }
        }
        if text.utf8.count >= 6, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) {
            let found = state.contracts.filter { $0.hex.hasPrefix(text) }
            if found.count > 1 {
                throw CommandError(
                    .usage, "`\(text)` begins \(found.count) ids",
                    why: found.prefix(5).map(\.hex).joined(separator: "\n"), next: "write more of it")
            }
            if let id = found.first, let entry = state.contract(id) { return (id, entry) }
        }
        let named = state.contracts.filter { state.contract($0)?.name == text && state.contract($0)?.isOver == false }
        if named.count == 1, let id = named.first, let entry = state.contract(id) { return (id, entry) }
        // Contracts that are over keep their records: events and descriptions of the last one of that name.
        let over = state.contracts.compactMap { id in state.contract(id).map { (id: id, entry: $0) } }
            .filter { $0.entry.name == text && $0.entry.author == own && $0.entry.isOver }
        if let last = over.max(by: { ($0.entry.ended ?? 0, $0.id) < ($1.entry.ended ?? 0, $1.id) }) { return last }
        let known = own.map { state.openContracts(of: $0).keys.sorted() } ?? []
        let near = nearest(to: text, among: known).map { "did you mean `\($0)`? " } ?? ""
        throw CommandError(
            .notFound, "there is no contract `\(text)`",
            why: known.isEmpty ? "you have none" : "yours are \(known.joined(separator: ", "))",
            next: near + "`zero list --all` shows every contract")
    }
}
