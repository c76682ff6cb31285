import CanonicalJSON
import Crypto
import LedgerClient
import LedgerState
import Linux
import Records
import Terminal

/// The ledger of the configured grid, and who speaks to it.
struct LedgerSession: Sendable {
    let context: Context
    let grid: GridConfiguration
    let client: LedgerClient
    let keys: KeyRing
    private let follower: LedgerFollower

    /// `keepsState` false leaves no trace on disk, as `plan` promises.
    init(_ context: Context, keepsState: Bool = true) throws {
        self.context = context
        grid = try context.home.grid()
        keys = KeyRing(folder: context.home.identities)
        client = LedgerClient(LedgerEndpoint(url: grid.ledgerURL, pin: grid.ledgerPin, id: grid.ledgerID))
        let folder = context.home.path + "/ledger/" + String(grid.ledgerID.hex.prefix(16))
        follower = LedgerFollower(client, folder: keepsState ? folder : nil, start: .snapshot)
    }

    /// The verified state of now.
    func state() async throws -> LedgerState {
        do { return try await follower.catchUp() } catch { throw LedgerSession.explain(error) }
    }

    /// Follows the ledger while `body` runs.
    func following<Value: Sendable>(_ body: @Sendable (LedgerFollower) async throws -> Value) async throws -> Value {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { [follower] in
                await follower.run()
                return nil
            }
            defer { group.cancelAll() }
            return try await body(follower)
        }
    }

    /// The identity that the command acts as.
    func identity() throws -> LocalIdentity {
        try keys.choose(context.invocation.option("identity") ?? Environment.value("ZERO_IDENTITY"))
    }

    /// The identity with its agent key open, known to the ledger.
    func signer(passphrase: Passphrase) async throws -> Signer {
        let identity = try identity()
        let secret = try passphrase.daily(for: identity.name)
        let secrets = try await runBlocking { try identity.open(passphrase: secret) }
        return Signer(
            identity: identity, agent: secrets.key, imageSecret: secrets.images, storageSecret: secrets.passwords)
    }

    /// Writes the identity's first record where the ledger does not know it yet. This one time the owner key signs.
    func register(_ signer: Signer, passphrase: Passphrase, in state: LedgerState) async throws {
        if let entry = state.identity(signer.identity.address) {
            guard entry.body.keys.contains(where: { $0.key == signer.identity.agent }) else {
                let revoked = entry.former.contains(signer.identity.agent)
                throw CommandError(
                    .refused, "this machine's key does not act for `\(signer.identity.name)`",
                    why: revoked
                        ? "\(signer.identity.agent.address) was revoked" : "the ledger lists other keys for it",
                    next: revoked ? "`zero identity key rotate`" : "`zero identity key add`")
            }
            return
        }
        let secret = try passphrase.owner(for: signer.identity.name)
        let (keys, identity) = (keys, signer.identity)
        let owner = try await runBlocking { try keys.owner(identity, passphrase: secret) }
        let body = IdentityBody(
            keys: [
                AgentKey(key: owner.publicKey, roles: [.owner]),
                AgentKey(key: identity.agent, roles: LocalIdentity.roles),
            ], name: identity.name)
        context.console.progress("registering identity `\(identity.name)` with the ledger")
        try await write(.identity(body), author: identity.address, key: owner)
    }

    /// Signs a record and returns once it is in a durable block.
    @discardableResult
    func write(_ body: RecordBody, author: PublicKey, key: SigningKey) async throws -> (
        record: Record, receipt: RecordReceipt
    ) {
        do { return try await LedgerWriter(client, author: author, key: key).write(body) } catch {
            throw LedgerSession.explain(error)
        }
    }

    /// What the ledger or its absence means for whoever typed the command.
    static func explain(_ error: any Error) -> CommandError {
        switch error {
        case let error as CommandError: return error
        case let error as LedgerError where error.admission != nil:
            // Somebody else, or the same command twice at once, was quicker.
            let isOvertaken = error.admission == .badVersion || error.admission == .nameTaken
            return CommandError(
                .refused, "the ledger refused it: \(error.code)", why: error.message,
                next: isOvertaken ? "`zero plan` again: it compares with what is there now" : nil)
        case let error as LedgerError where error.code == LedgerError.unproved || error.code == LedgerError.wrongPin:
            return CommandError(
                .refused, "the ledger is not believed", why: error.message, next: "`zero status`; never ignore this")
        case let error as LedgerError where error.code == LedgerError.notFound:
            return CommandError(.notFound, error.message)
        case let error as LedgerError where error.code == LedgerError.unavailable:
            return CommandError(
                .unreachable, "the ledger cannot serve at the moment", why: error.message,
                next: "`zero status`; try again once that is over")
        case let error as LedgerError:
            return CommandError(
                .unreachable, "the ledger does not answer", why: error.message, next: "`zero status`, or `zero up`")
        case let error as ReplayError:
            return CommandError(
                .refused, "the ledger is not believed", why: "\(error)", next: "`zero status`; never ignore this")
        default: return CommandError(error)
        }
    }
}

/// An identity with its agent key open.
struct Signer: Sendable {
    let identity: LocalIdentity
    let agent: SigningKey
    let imageSecret: [UInt8]
    /// Nil in a file that is older than it.
    let storageSecret: StorageSecret?

    var author: PublicKey { identity.address }
}

extension LedgerSession {
    /// Signs with the agent key.
    @discardableResult
    func write(_ body: RecordBody, by signer: Signer) async throws -> (record: Record, receipt: RecordReceipt) {
        try await write(body, author: signer.author, key: signer.agent)
    }
}
