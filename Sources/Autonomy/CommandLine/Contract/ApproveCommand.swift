import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records
import Terminal

/// `zero approve`: shows what waits, and signs it.
struct ApproveCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    func run() async throws {
        let session = try LedgerSession(context)
        let passphrase = Passphrase(context)
        let state = try await session.state()
        let identity = try session.identity()
        let (id, entry) = try ContractReference(session: session, state: state).find(context.argument("contract"))
        guard let pending = entry.cancel ?? entry.pending else {
            throw CommandError(
                .notFound, "nothing of `\(entry.name)` waits for approval",
                why: "it is \(state.status(id)?.rawValue ?? "gone")")
        }
        let action: ContractAction = pending.contract == nil ? .cancel : entry.approved == nil ? .deploy : .update
        let rules = Contract.rules(for: action, previous: entry.approved?.contract, next: pending.contract)
        guard rules.contains(where: { $0.of[identity.address] != nil }) else {
            throw CommandError(
                .refused, "`\(identity.name)` has no say in `\(entry.name)`",
                why: "its rule does not list \(identity.address.address)",
                next: "choose another with --identity")
        }
        guard !pending.approvals.contains(identity.address) else {
            throw CommandError(
                .exists, "`\(identity.name)` has approved this already",
                why: ApprovalView(entry, pending, keys: session.keys).text)
        }
        show(entry, pending, session.keys)
        if context.console.isInteractive, !context.invocation.has("yes"),
            !context.console.confirm("Approve it as \(identity.name)?")
        {
            throw CommandError(.failed, "nothing was done", why: "you said no")
        }
        let signer = try await session.signer(passphrase: passphrase)
        try await session.register(signer, passphrase: passphrase, in: state)
        try await session.write(.approval(ApprovalBody(record: pending.record, contract: id)), by: signer)
        let after = try await session.state()
        let open = after.contract(id).flatMap { now in
            (now.cancel ?? now.pending).map { ApprovalView(now, $0, keys: session.keys).text }
        }
        context.console.emit(
            [
                "contract": .string(entry.name), "id": .string(id.hex), "record": .string(pending.record.hex),
                "complete": .bool(open == nil),
            ],
            open.map { "Approved; \($0)\n" } ?? "Approved; that was enough\n")
    }

    /// What is approved, in full: the difference to the version in force, and the record's hash.
    private func show(_ entry: ContractEntry, _ pending: PendingAction, _ keys: KeyRing) {
        let style = context.console.errorStyle
        context.console.note("\(style.bold(entry.name)) of \(entry.author.address)\nrecord \(pending.record.hex)")
        guard let next = pending.contract else {
            return context.console.note("  \(style.red("-")) the whole contract ends")
        }
        let plan = ContractPlan(from: entry.approved?.contract, to: next)
        context.console.note("  version \(next.version), until \(Units.timeText(next.expires))")
        for change in plan.contract { context.console.note("  \(style.yellow("~")) \(keys.named(change))") }
        for step in plan.steps where step.change != .unchanged {
            let mark =
                step.change == .create ? style.green("+") : step.change == .remove ? style.red("-") : style.yellow("~")
            let summary = step.change == .remove ? nil : next.workload(step.name)?.summary
            context.console.note(
                "  \(mark) \(step.type.rawValue) \(step.name)" + (summary.map { "  " + style.dim($0) } ?? ""))
            for reason in step.reasons { context.console.note("      \(Table.clean(reason))") }
        }
    }
}
