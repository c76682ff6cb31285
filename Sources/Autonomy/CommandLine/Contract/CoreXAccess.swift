import CanonicalJSON
import Contracts
import CoreX
import Crypto
import LedgerState
import Records
import Terminal

/// The Core-X beside a container, found through the ledger and spoken to with the agent key.
struct CoreXAccess {
    let client: CoreXClient
    let workload: String
    private let contract: String
    /// How the ledger last heard of the container.
    private let state: String

    init(_ context: Context) async throws {
        let session = try LedgerSession(context)
        let passphrase = Passphrase(context)
        let state = try await session.state()
        let (id, entry) = try ContractReference(session: session, state: state).find(context.argument("contract"))
        guard let contract = entry.approved?.contract else {
            throw CommandError(
                .notFound, "`\(entry.name)` does not run", why: "it is \(state.status(id)?.rawValue ?? "gone")")
        }
        let names = contract.containers.map(\.name)
        workload = try CoreXAccess.choose(context.invocation.option("workload"), names, entry.name)
        let result = state.results(id)[workload]
        guard let address = result?.access?["corex"]?.string, let colon = address.lastIndex(of: ":"),
            let port = UInt16(address[address.index(after: colon)...])
        else {
            throw CommandError(
                .unreachable, "`\(workload)` of `\(entry.name)` cannot be reached yet",
                why: "it is \(result?.state.rawValue ?? "waiting")" + (result?.reason.map { ": " + $0 } ?? ""),
                next: "`zero describe \(entry.name)`")
        }
        self.contract = entry.name
        self.state = [result?.state.rawValue ?? "waiting", result?.reason].compactMap { $0 }.joined(separator: ": ")
        let signer = try await session.signer(passphrase: passphrase)
        client = CoreXClient(
            address: String(address[..<colon]), port: port, contract: id, ledger: session.grid.ledgerID,
            identity: signer.author, key: signer.agent)
    }

    private static func choose(_ asked: String?, _ names: [String], _ contract: String) throws -> String {
        if let asked {
            guard names.contains(asked) else {
                throw CommandError(
                    .notFound, "`\(contract)` has no container `\(asked)`",
                    why: "it has \(names.joined(separator: ", "))")
            }
            return asked
        }
        guard let only = names.first else { throw CommandError(.notFound, "`\(contract)` has no container") }
        guard names.count == 1 else {
            throw CommandError(
                .usage, "which container?", why: "`\(contract)` has \(names.joined(separator: ", "))",
                next: "add -w \(only)")
        }
        return only
    }

    func explain(_ error: any Error) -> CommandError {
        guard let error = error as? CoreXError else { return CommandError(error) }
        switch error.code {
        case "NOPROGRAM", "NOEXEC":
            // As a shell says it.
            var shown = CommandError(.failed, "the program cannot be run", why: error.message)
            shown.status = error.code == "NOPROGRAM" ? 127 : 126
            return shown
        case "NOTRUNNING":
            return CommandError(
                .unreachable, "`\(workload)` of `\(contract)` does not run now", why: "last heard of it: \(state)",
                next: "`zero logs \(contract) -w \(workload)` says what it printed")
        case "DENIED", "SKEW": return CommandError(.refused, "Core-X refused", why: error.message)
        case "NOTFOUND": return CommandError(.notFound, error.message)
        case "UNREACHABLE", "LATE":
            return CommandError(.unreachable, "Core-X does not answer", why: error.message, next: "`zero status`")
        default: return CommandError(.failed, error.message)
        }
    }
}
