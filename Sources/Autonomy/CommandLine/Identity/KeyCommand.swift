import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Linux
import Records
import Terminal

/// `zero identity key …`: keys that act for an identity, as the ledger has them. Changes take the owner key.
struct KeyCommand {
    let context: Context
    private let passphrase: Passphrase

    init(_ context: Context) {
        self.context = context
        passphrase = Passphrase(context)
    }

    func run() async throws {
        let session = try LedgerSession(context)
        let identity = try session.identity()
        let state = try await session.state()
        switch context.invocation.path.last {
        case "add": try await add(session, identity, state)
        case "revoke": try await revoke(session, identity, state)
        case "rotate": try await rotate(session, identity, state)
        default: list(identity, state)
        }
    }

    private func list(_ identity: LocalIdentity, _ state: LedgerState) {
        guard let entry = state.identity(identity.address) else {
            context.console.emit(
                ["identity": .string(identity.address.address), "registered": false, "keys": []],
                "The ledger does not know \(identity.name) yet; it will with your first deploy or import.\n")
            return
        }
        let rows = entry.body.keys.map { key in
            [
                key.key.address, key.roles.map(\.rawValue).sorted().joined(separator: ","), key.scope ?? "all",
                key.until.map(Units.timeText) ?? "ever", key.key == identity.agent ? "this machine" : "",
            ]
        }
        context.console.emit(
            [
                "identity": .string(identity.address.address), "registered": true,
                "keys": .array(entry.body.keys.map(\.value)),
            ],
            Table("KEY", "ROLES", "SCOPE", "UNTIL", "", rows: rows).text(context.console.style))
    }

    private func owner(_ session: LedgerSession, _ identity: LocalIdentity) async throws -> SigningKey {
        let secret = try passphrase.owner(for: identity.name)
        let keys = session.keys
        return try await runBlocking { try keys.owner(identity, passphrase: secret) }
    }

    private func write(
        _ session: LedgerSession, _ identity: LocalIdentity, _ old: IdentityBody?, _ keys: [AgentKey], owner: SigningKey
    ) async throws {
        let body = IdentityBody(keys: keys, name: old?.name ?? identity.name, recovery: old?.recovery)
        try await session.write(.identity(body), author: identity.address, key: owner)
        context.console.note(
            "identity `\(identity.name)` has \(keys.count == 1 ? "1 key" : "\(keys.count) keys") now")
    }

    /// What `add` and `revoke` leave, for programs.
    private func report(_ identity: LocalIdentity, _ keys: [AgentKey]) {
        context.console.emit(
            ["identity": .string(identity.address.address), "keys": .array(keys.map(\.value))], "")
    }

    private func existing(_ state: LedgerState, _ identity: LocalIdentity, owner: PublicKey) -> [AgentKey] {
        state.identity(identity.address)?.body.keys ?? [AgentKey(key: owner, roles: [.owner])]
    }

    private func add(_ session: LedgerSession, _ identity: LocalIdentity, _ state: LedgerState) async throws {
        let key = try context.invocation.argument("key").map { try KeyCommand.key($0) } ?? identity.agent
        var roles = LocalIdentity.roles
        if let text = context.invocation.option("roles") {
            roles = []
            for word in text.split(separator: ",").map(String.init) {
                guard let role = Role(rawValue: word), role != .owner else {
                    let hint = nearest(to: word, among: Role.allCases.map(\.rawValue)).map { "did you mean `\($0)`?" }
                    throw CommandError(
                        .usage, "`\(word)` is not a role for an agent", why: "roles are deploy, plan, approve, results",
                        next: hint)
                }
                roles.insert(role)
            }
        }
        var until: Int64?
        if let text = context.invocation.option("until") {
            guard let time = Units.time(text) else {
                throw CommandError(.usage, "`\(text)` is not a day", next: "write it as 2027-06-01")
            }
            until = time
        }
        let owner = try await owner(session, identity)
        var keys = existing(state, identity, owner: owner.publicKey).filter { $0.key != key }
        keys.append(AgentKey(key: key, roles: roles, scope: context.invocation.option("scope"), until: until))
        try await write(session, identity, state.identity(identity.address)?.body, keys, owner: owner)
        report(identity, keys)
    }

    private func revoke(_ session: LedgerSession, _ identity: LocalIdentity, _ state: LedgerState) async throws {
        let key = try KeyCommand.key(context.argument("key"))
        guard let old = state.identity(identity.address)?.body, old.keys.contains(where: { $0.key == key }) else {
            throw CommandError(
                .notFound, "\(key.address) does not act for `\(identity.name)`", next: "`zero identity key list`")
        }
        guard key != identity.address else {
            throw CommandError(
                .refused, "that is the owner key", why: "without it nobody could change the identity again")
        }
        let kept = old.keys.filter { $0.key != key }
        try await write(session, identity, old, kept, owner: owner(session, identity))
        report(identity, kept)
    }

    private func rotate(_ session: LedgerSession, _ identity: LocalIdentity, _ state: LedgerState) async throws {
        let secret = try passphrase.daily(for: identity.name)
        let owner = try await owner(session, identity)
        let keys = session.keys
        let new = try await runBlocking { try keys.rotated(identity, owner: owner, passphrase: secret) }
        let kept = existing(state, identity, owner: owner.publicKey).filter { $0.key != identity.agent }
        let all = kept + [AgentKey(key: new.identity.agent, roles: LocalIdentity.roles)]
        // The ledger first: a key that is only here is useless, one that is only there locks this machine out.
        try await runBlocking { try keys.stage(new.identity) }
        try await write(session, identity, state.identity(identity.address)?.body, all, owner: owner)
        try await runBlocking { try keys.commit(new.identity) }
        context.console.emit(
            ["agent": .string(new.identity.agent.address)], "Agent key  \(new.identity.agent.address)\n")
    }

    /// After a recovery: lets the new agent key act, if the ledger can be asked and knows the identity.
    /// `replaced` is the agent key that was on this machine before: nobody has it any more.
    func addRecovered(
        _ identity: LocalIdentity, owner: SigningKey, replaced: PublicKey?, revokingOthers: Bool
    ) async throws -> Bool {
        guard let session = try? LedgerSession(context) else { return false }
        let state: LedgerState
        do { state = try await session.state() } catch {
            context.console.note("the ledger does not answer; run `zero identity key add` when it does")
            return false
        }
        guard let old = state.identity(identity.address)?.body else { return false }
        let kept = old.keys.filter { $0.key != replaced && (!revokingOthers || $0.roles.contains(.owner)) }
        try await write(
            session, identity, old, kept + [AgentKey(key: identity.agent, roles: LocalIdentity.roles)], owner: owner)
        return true
    }

    private static func key(_ text: String) throws -> PublicKey {
        do { return try PublicKey(address: text) } catch {
            throw CommandError(.usage, "`\(text)` is not the address of a key", why: "\(error)")
        }
    }
}
