import CanonicalJSON
import Contracts
import CoreX
import Crypto
import LedgerState
import Records

/// What the zdbs of a contract hold now. The ledger knows what was promised; the Core-X beside them knows what is in them.
struct ZDBUsage {
    /// By workload; those that nobody told are absent.
    private(set) var found: [String: CoreXUsage] = [:]
    /// Why one of them is not known.
    private(set) var problem: String?

    /// Asks with the agent key, which may ask a person for its passphrase: only where there is something to be asked.
    init(of id: Digest, _ entry: ContractEntry, in state: LedgerState, _ session: LedgerSession) async {
        guard let contract = entry.approved?.contract, !contract.zdbs.isEmpty else { return }
        guard let identity = try? session.identity(), identity.address == entry.author else {
            problem = "only its author is told"
            return
        }
        let results = state.results(id)
        do {
            var signer: Signer?
            for zdb in contract.zdbs {
                guard let address = results[zdb.name]?.access?["corex"]?.string, let colon = address.lastIndex(of: ":"),
                    let port = UInt16(address[address.index(after: colon)...])
                else { continue }
                if signer == nil { signer = try await session.signer(passphrase: Passphrase(session.context)) }
                guard let known = signer else { continue }
                let client = CoreXClient(
                    address: String(address[..<colon]), port: port, contract: id, ledger: session.grid.ledgerID,
                    identity: known.author, key: known.agent)
                found[zdb.name] = try await client.usage(zdb.name)
            }
        } catch let error as CommandError { problem = error.what } catch { problem = "\(error)" }
    }

    /// For a table's cell.
    func text(_ workload: String) -> String? {
        found[workload].map { usage in
            "\(Amount.text(usage.used)) used by \(usage.entries) \(usage.entries == 1 ? "key" : "keys")"
        }
    }

    /// For JSON.
    func value(_ workload: String) -> JSONValue? {
        found[workload].map { usage in
            ["size": .integer(usage.size), "used": .integer(usage.used), "entries": .integer(usage.entries)]
        }
    }
}
