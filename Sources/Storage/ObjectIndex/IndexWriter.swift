public import Objects

/// What an operation did beyond what it says.
public struct Effects: Sendable, Equatable {
    /// The operation's number: the manifest's, the upload's, or the version's that it made.
    public let sequence: UInt64
    /// The version that it made.
    public internal(set) var version: VersionID?
    /// Manifests that nothing is made of any more; they are gone.
    public internal(set) var manifests: [UInt64] = []
    /// How many chunks died.
    public internal(set) var deadChunks = 0
    /// Stripes that have no live chunk any more.
    public internal(set) var emptied: [StripeID] = []

    init(sequence: UInt64) { self.sequence = sequence }
}

/// Applies the log's operations to an index.
///
/// `begin`, `apply` for each operation, then `commit` once the entry is where it must be, or `rollback`. Several entries may go into one
/// commit. An operation that throws `unfit` leaves nothing behind; the others stay.
///
/// `@unchecked Sendable`: whoever applies entries (a store's committer) holds a lock of its own; one thread at a time.
public final class IndexWriter: @unchecked Sendable {
    /// Queries that see what was applied and is not committed.
    public let view: IndexView
    let connection: Connection
    var accounts: Accounts
    /// The number of the next operation.
    public private(set) var nextSequence: UInt64
    /// The height of the last committed entry; 0: none.
    public private(set) var height: UInt64
    /// What the log's chain came to with it.
    public private(set) var chain: [UInt8]
    var effects = Effects(sequence: 0)
    private var current = ""
    private var atBegin: (accounts: Accounts, next: UInt64)?

    init(_ connection: Connection) throws(IndexError) {
        self.connection = connection
        view = IndexView(connection)
        accounts = try view.accounts()
        let position = try view.position()
        (height, nextSequence, chain) = (position.height, position.nextSequence, position.chain)
        view.uncommitted = (accounts, nextSequence)
    }

    /// Begins a change.
    public func begin() throws(IndexError) {
        guard atBegin == nil else { throw .misuse("a change of the index has begun already") }
        try connection.run("BEGIN IMMEDIATE")
        atBegin = (accounts, nextSequence)
    }

    /// Applies the next operation.
    @discardableResult
    public func apply(_ operation: Operation) throws(IndexError) -> Effects {
        guard atBegin != nil else { throw .misuse("an operation is applied outside of a change") }
        guard nextSequence < Limits.number else { throw .misuse("the log has no more numbers") }
        let before = accounts
        effects = Effects(sequence: nextSequence)
        current = operation.name
        try connection.run("SAVEPOINT operation")
        do throws(IndexError) { try perform(operation) } catch {
            accounts = before
            try connection.run("ROLLBACK TO operation")
            try connection.run("RELEASE operation")
            throw error
        }
        try connection.run("RELEASE operation")
        nextSequence += 1
        view.uncommitted = (accounts, nextSequence)
        return effects
    }

    /// Makes the change visible to readers: the index is at this height of the log now, whose chain came to these 32 bytes.
    public func commit(height: UInt64, chain: [UInt8]) throws(IndexError) {
        guard atBegin != nil else { throw .misuse("there is no change to commit") }
        guard height >= self.height, height <= Limits.number else {
            throw .misuse("the index is at height \(self.height), not below \(height)")
        }
        try connection.run(
            "UPDATE state SET height = ?, next = ?, chain = ?, accounts = ?", .number(height), .number(nextSequence),
            .blob(chain), .blob(accounts.bytes))
        try connection.run("COMMIT")
        (self.height, self.chain) = (height, chain)
        atBegin = nil
    }

    /// Takes the change back.
    public func rollback() throws(IndexError) {
        guard let before = atBegin else { return }
        (accounts, nextSequence, atBegin) = (before.accounts, before.next, nil)
        view.uncommitted = (accounts, nextSequence)
        try connection.run("ROLLBACK")
    }

    /// Begins, applies all operations of an entry and commits; what throws takes everything back.
    public func apply(entry: [Operation], height: UInt64, chain: [UInt8]) throws(IndexError) {
        try begin()
        do throws(IndexError) {
            for operation in entry { try apply(operation) }
            try commit(height: height, chain: chain)
        } catch {
            // The first error says more than one of taking back.
            try? rollback()
            throw error
        }
    }

    func unfit(_ misfit: Misfit) -> IndexError {
        .unfit(operation: current, sequence: effects.sequence, misfit)
    }

    var sequence: UInt64 { effects.sequence }

    private func perform(_ operation: Operation) throws(IndexError) {
        switch operation {
        case .bucketCreate(let bucket): try create(bucket)
        case .bucketDelete(let name): try delete(bucket: name)
        case .bucketVersioning(let name, let versioning): try set(name, versioning)
        case .bucketSetting(let bucket, let name, let value): try set(bucket, name, value)
        case .stripeAdd(let stripe): try add(stripe, moves: [])
        case .manifestAdd(let manifest): try add(manifest)
        case .objectPut(let put): try self.put(put)
        case .objectRemove(let name): try remove(name)
        case .objectAttributes(let name, let change): try self.change(name, change)
        case .uploadCreate(let create): try self.create(create)
        case .partPut(let put): try self.put(put)
        case .uploadComplete(let complete): try self.complete(complete)
        case .uploadAbort(let upload): try abort(upload)
        case .accessKeySet(let key): try set(key)
        case .accessKeyRemove(let id): try remove(accessKey: id)
        case .stripesDying(let ids, let time): try dying(ids, time)
        case .stripesGone(let ids): try gone(ids)
        case .shardsMoved(let id, let moves): try move(id, moves)
        case .chunksMoved(let stripe, let moves): try add(stripe, moves: moves)
        case .backendSet(let backend): try set(backend)
        case .policySet(let policy): try setSingle("policy") { $0.policy(policy) }
        case .keyGeneration(let generation, let wrapped): try add(generation, wrapped)
        case .writer(let claim): try set(claim)
        case .snapshot(let snapshot): try set(snapshot)
        case .objectRewrap(let name, let generation, let keys): try rewrap(name, generation, keys)
        case .partRewrap(let upload, let number, let generation, let keys):
            try rewrap(upload, number, generation, keys)
        case .release(let manifests, let chunks): try release(manifests: manifests, chunks: chunks)
        }
    }
}
