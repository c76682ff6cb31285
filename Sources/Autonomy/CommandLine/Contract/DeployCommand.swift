import CanonicalJSON
import Contracts
import Crypto
import Glibc
import LedgerClient
import LedgerState
import Linux
import Records
import Terminal

/// `zero plan` and `zero deploy`.
struct DeployCommand {
    let context: Context
    let passphrase: Passphrase

    init(_ context: Context) {
        self.context = context
        passphrase = Passphrase(context)
    }

    /// Shows what deploying would change. Writes nothing anywhere.
    func plan() async throws {
        let draft = try read()
        let session = try LedgerSession(context, keepsState: false)
        let values = try SecretValues(context, for: draft.secrets)
        let deployment = try await prepare(draft, session, values)
        let names = try deployment.names()
        let placement = try deployment.placement(
            of: deployment.contract, id: deployment.id ?? SHA256.hash([]), in: deployment.state)
        PlanView(deployment, placement: placement, names: names, console: context.console).emit()
    }

    func run() async throws {
        _ = try context.seconds("timeout", default: 1)
        let draft = try read()
        let session = try LedgerSession(context)
        var values = try SecretValues(context, for: draft.secrets)
        let deployment = try await prepare(draft, session, values)
        if deployment.isPending { return try await settle(deployment, session, values, waiting: true) }
        if deployment.isUnchanged && isPlaced(deployment) { return try await unchanged(deployment, session) }
        let names = try deployment.names()
        let preview = try deployment.placement(
            of: deployment.contract, id: deployment.id ?? SHA256.hash([]), in: deployment.state)
        if !deployment.isUnchanged {
            PlanView(deployment, placement: preview, names: names, console: context.console).show()
            if context.console.isInteractive, !context.invocation.has("yes"),
                !context.console.confirm("Sign and submit?")
            {
                throw CommandError(.failed, "nothing was done", why: "you said no")
            }
        }
        try values.ask(deployment.fresh.subtracting(deployment.derivable), context.console)
        try await settle(deployment, session, values, waiting: false)
    }

    // MARK: Steps

    private func read() throws -> ContractDraft {
        let name = context.argument("file")
        if name == "-" {
            let bytes = try Descriptor(dup(0)).readAll(limit: ContractLimits.sourceBytes + 1, "standard input")
            return try ContractSource.read(bytes, file: "<stdin>")
        }
        let path = Home.absolute(name)
        guard !name.isEmpty else { throw CommandError(.usage, "the name of the file is empty") }
        guard let status = try? File.status(path) else { throw CommandError(.notFound, "there is no file \(name)") }
        guard !status.isDirectory else {
            throw CommandError(.invalid, "\(name) is a folder", next: "name the contract file in it")
        }
        guard status.size <= Int64(ContractLimits.sourceBytes) else {
            throw CommandError(
                .invalid, "\(name) is too large for a contract",
                why: "it has \(Amount.text(status.size)), and"
                    + " \(Amount.text(Int64(ContractLimits.sourceBytes))) are allowed")
        }
        return try ContractSource.read(File.read(path, limit: ContractLimits.sourceBytes + 1), file: name)
    }

    private func prepare(_ draft: ContractDraft, _ session: LedgerSession, _ values: SecretValues) async throws
        -> Deployment
    {
        let identity = try session.identity()
        let state = try await session.state()
        return try Deployment(
            draft, in: state, as: identity, keys: session.keys, given: values.names, now: Clock.wallMilliseconds())
    }

    /// Whether the version in force is placed; an earlier deploy may have been interrupted before.
    private func isPlaced(_ deployment: Deployment) -> Bool {
        guard let id = deployment.id, let version = deployment.entry?.approved?.version else { return false }
        return deployment.state.placement(id)?.body.version == version
    }

    private func unchanged(_ deployment: Deployment, _ session: LedgerSession) async throws {
        guard let id = deployment.id else { return }
        let watch = DeployWatch(context: context, session: session, id: id)
        let state = try await watch.run(from: deployment.state)
        watch.report(state, changed: false)
    }

    /// Registers, takes names, signs and submits what is missing, places it, and watches.
    private func settle(_ deployment: Deployment, _ session: LedgerSession, _ values: SecretValues, waiting: Bool)
        async throws
    {
        let signer = try await session.signer(passphrase: passphrase)
        try await session.register(signer, passphrase: passphrase, in: deployment.state)
        var keys: [String: [UInt8]] = [:]
        var id = deployment.id
        if !waiting && !deployment.isUnchanged {
            var values = values
            values.derive(deployment.derivable, of: deployment.contract.name, from: signer.storageSecret)
            // An identity's file from before there was anything to derive from.
            try values.ask(deployment.fresh, context.console)
            try await take(deployment.names(), deployment, session, signer)
            let sealed = try values.seal(deployment.fresh, for: deployment.contract, by: signer)
            keys = sealed.keys
            let progress = Progress("signing and submitting \(deployment.contract.name)", on: context.console)
            let written = try await session.write(.contract(deployment.sealed(sealed.boxes).body), by: signer)
            id = id ?? written.record.id
            progress.finish(
                "submitted \(deployment.contract.name) version \(deployment.contract.version) in block \(written.receipt.height)"
            )
        }
        guard let id else { return }
        let state = try await approved(id, deployment, session)
        guard let contract = state.contract(id)?.approved?.contract else { return }
        let epoch = try await place(contract, id, deployment, session, signer, keys, state)
        let watch = DeployWatch(context: context, session: session, id: id, epoch: epoch)
        if context.invocation.has("detach") { return watch.report(try await session.state(), changed: true) }
        watch.report(try await watch.run(from: nil), changed: true)
    }

    /// Reserves names with a commit and tells them in a later block, so that nobody can snatch one on its way.
    private func take(
        _ all: (take: [String], renew: [String]), _ deployment: Deployment, _ session: LedgerSession, _ signer: Signer
    ) async throws {
        for name in all.renew {
            try await session.write(.name(.renew(name: name, expires: deployment.contract.expires)), by: signer)
        }
        let names = all.take
        guard !names.isEmpty else { return }
        let progress = Progress("taking the name " + names.joined(separator: ", "), on: context.console)
        let nonces = names.map { _ in Random.bytes(32) }
        for (name, nonce) in zip(names, nonces) {
            let hash = NameBody.commitment(name: name, nonce: nonce, holder: signer.author)
            try await session.write(.name(.commit(hash: hash)), by: signer)
        }
        for (name, nonce) in zip(names, nonces) {
            try await session.write(
                .name(.reveal(name: name, nonce: nonce, expires: deployment.contract.expires)), by: signer)
        }
        progress.finish("took the name " + names.joined(separator: ", "))
    }

    /// The state in which the last version is approved; an error that says whose approval is missing where it is not.
    private func approved(_ id: Digest, _ deployment: Deployment, _ session: LedgerSession) async throws -> LedgerState
    {
        let state = try await session.state()
        guard let entry = state.contract(id) else { throw CommandError(.notFound, "the contract is gone") }
        guard let pending = entry.pending, let next = pending.contract else { return state }
        let waiting = ApprovalView(entry, pending, keys: session.keys)
        guard context.invocation.has("wait-approvals") else {
            throw CommandError(
                .waiting, "version \(next.version) of `\(entry.name)` waits for approvals", why: waiting.text,
                next:
                    "they run `zero approve \(entry.author.address)/\(entry.name)`; then `zero deploy` again places it")
        }
        let progress = Progress("waiting for approvals: \(waiting.text)", on: context.console)
        let seconds = try context.seconds("timeout", default: 86_400)
        let settled = try await session.following { follower in
            await follower.state(deadline: .seconds(seconds)) { $0.contract(id)?.pending == nil }
        }
        guard let settled, settled.contract(id)?.pending == nil else {
            progress.fail()
            throw CommandError(.waiting, "approvals did not come in time", why: waiting.text)
        }
        progress.finish("approved")
        return settled
    }

    /// Writes a placement of the approved version, unless it is placed already; the epoch in force.
    private func place(
        _ contract: Contract, _ id: Digest, _ deployment: Deployment, _ session: LedgerSession, _ signer: Signer,
        _ keys: [String: [UInt8]],
        _ state: LedgerState
    ) async throws -> Int64 {
        if let placed = state.placement(id)?.body, placed.version == contract.version { return placed.epoch }
        let bare = try deployment.placement(of: contract, id: id, in: state)
        var readers = [signer.agent]
        let images = deployment.privateImages
        if PlacementSealer.needsOwner(contract, known: keys, images: images, agent: signer.agent.publicKey) {
            context.console.progress("something was sealed before this machine's key was there; the owner key opens it")
            let secret = try passphrase.owner(for: signer.identity.name)
            let (ring, identity) = (session.keys, signer.identity)
            readers.append(try await runBlocking { try ring.owner(identity, passphrase: secret) })
        }
        let placement = try PlacementSealer(contract: contract, known: keys, images: images, readers: readers)
            .seal(bare, in: state)
        try await session.write(.placement(placement), by: signer)
        return placement.epoch
    }
}
