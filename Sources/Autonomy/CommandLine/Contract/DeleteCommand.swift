import CanonicalJSON
import Contracts
import Crypto
import LedgerClient
import LedgerState
import Records
import Terminal

/// `zero delete`: a cancel record, then waiting until nothing is left of the contract.
struct DeleteCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    func run() async throws {
        _ = try context.seconds("timeout", default: 1)
        let session = try LedgerSession(context)
        let passphrase = Passphrase(context)
        let state = try await session.state()
        let (id, entry) = try ContractReference(session: session, state: state).find(context.argument("contract"))
        if !entry.isOver {
            guard entry.author == (try session.identity().address) else {
                throw CommandError(
                    .refused, "`\(entry.name)` is not yours", why: "its author is \(entry.author.address)")
            }
            try confirm(entry)
            if entry.cancel == nil {
                let signer = try await session.signer(passphrase: passphrase)
                try await session.register(signer, passphrase: passphrase, in: state)
                try await session.write(.cancel(CancelBody(contract: id)), by: signer)
            }
            let after = try await session.state()
            if let now = after.contract(id), let cancel = now.cancel {
                throw CommandError(
                    .waiting, "the end of `\(entry.name)` waits for approvals",
                    why: ApprovalView(now, cancel, keys: session.keys).text,
                    next: "they run `zero approve \(entry.author.address)/\(entry.name)`")
            }
        }
        let isGone = context.invocation.has("detach") ? false : try await wait(id, entry.name, session)
        context.console.emit(
            ["contract": .string(entry.name), "id": .string(id.hex), "removed": .bool(isGone)],
            isGone ? "Removed \(entry.name)\n" : "Cancelled \(entry.name)\n")
    }

    private func confirm(_ entry: ContractEntry) throws {
        if context.invocation.has("yes") { return }
        guard context.console.isInteractive else {
            throw CommandError(
                .usage, "`zero delete` removes volumes and zdbs with what is in them",
                why: "nobody is there to confirm it",
                next: "add --yes")
        }
        let holders =
            entry.approved?.contract.workloads.filter(\.holdsData).map { "the \($0.type.rawValue) \($0.name)" } ?? []
        let loss = holders.isEmpty ? "" : " with what is in \(holders.joined(separator: ", "))"
        guard context.console.confirm("Delete \(entry.name)\(loss)?") else {
            throw CommandError(.failed, "nothing was done", why: "you said no")
        }
    }

    private func wait(_ id: Digest, _ name: String, _ session: LedgerSession) async throws -> Bool {
        let progress = Progress("removing \(name)", on: context.console)
        let seconds = try context.seconds("timeout", default: 120)
        let final = try await session.following { follower in
            await follower.state(deadline: .seconds(seconds)) {
                $0.contract(id)?.state == .cancelled || $0.contract(id) == nil
            }
        }
        guard final != nil else {
            progress.fail()
            throw CommandError(
                .waiting, "`\(name)` is not removed after \(seconds) s", next: "`zero status`; it goes on by itself")
        }
        progress.finish("nothing is left of \(name)")
        return true
    }
}
