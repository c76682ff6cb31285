internal import Crypto
internal import Linux
internal import ObjectIndex
internal import Objects
internal import Synchronization

/// One change that waits to be committed.
final class Change: @unchecked Sendable {  // of its thread, or of who works on its group
    /// Judges the state and says what to do, by `apply`.
    let body: (IndexWriter, _ apply: (Operation) throws(ObjectError) -> Effects) throws(ObjectError) -> Void
    /// Why it did not happen.
    var failure: ObjectError?
    /// Whether it is in an entry that counts.
    var isDone = false

    init(
        _ body: @escaping (IndexWriter, _ apply: (Operation) throws(ObjectError) -> Effects) throws(ObjectError) -> Void
    ) { self.body = body }
}

/// Brings changes into the log and the index, in groups: one entry of the log for all that wait.
final class Committer: @unchecked Sendable {  // `Gather` lets one thread in at a time
    /// An entry is ended above so many bytes: a backend takes values of 8 MiB, and one change is bounded by the size of a PUT.
    private static let entryBytes = 2 << 20
    private let gather = Gather<Change>(groupMax: 512)
    private let index: ObjectIndex
    private let log: QuorumLog
    private let url: String
    /// Called when entries of others were taken over, whatever they say of backends and policy.
    private let learned: @Sendable () -> Void
    /// The log has an entry that the index could not take: nothing may be judged by the index any more.
    private var failure: ObjectError?
    private let isWriting = Atomic<Bool>(false)
    private let currentEpoch = Atomic<UInt64>(0)
    private let idCounter = Atomic<UInt64>(1)

    init(_ index: ObjectIndex, _ log: QuorumLog, url: String, learned: @escaping @Sendable () -> Void = {}) {
        (self.index, self.log, self.url, self.learned) = (index, log, url, learned)
    }

    /// The writer's epoch.
    var epoch: UInt64 { currentEpoch.load(ordering: .relaxed) }

    /// Whether this gateway writes, as far as it knows.
    var writes: Bool { isWriting.load(ordering: .relaxed) }

    /// A number that no other stripe or chunk of this epoch has.
    func nextID() -> (epoch: UInt64, counter: UInt64) {
        (epoch, idCounter.wrappingAdd(1, ordering: .relaxed).oldValue)
    }

    /// Makes the change durable; or throws, and it did not happen, except where the log could not be reached: then it may have.
    func commit(
        _ body: @escaping (IndexWriter, _ apply: (Operation) throws(ObjectError) -> Effects) throws(ObjectError) -> Void
    ) throws(ObjectError) {
        let change = Change(body)
        gather.submit(change, work)
        if let failure = change.failure { throw failure }
    }

    /// A backend said that another gateway writes: the next change takes over anew.
    func noteFenced() { isWriting.store(false, ordering: .relaxed) }

    /// Becomes the writer, whoever was it before.
    func takeOver() throws(ObjectError) {
        let change = Change { _, _ in }
        gather.submit(change, work)
        if let failure = change.failure { throw failure }
    }

    /// Does what a group wants; also of one whose entries are several.
    func work(_ group: [Change]) {
        do throws(ObjectError) {
            if let failure { throw failure }
            if !writes { try becomeWriter() }
            try commit(group)
        } catch {
            if case .damaged = error {} else { isWriting.store(false, ordering: .relaxed) }
            for change in group where change.failure == nil && !change.isDone { change.failure = error }
        }
    }

    /// Brings the index up to the log without becoming its writer. Before anything is committed.
    func follow() throws(ObjectError) { try log.follow(apply) }

    private func apply(_ entry: LogEntry) throws(ObjectError) {
        do {
            try index.writer.apply(entry: Entry.decode(entry.payload), height: entry.height, chain: entry.hash.bytes)
        } catch {
            throw ObjectError.damaged("entry \(entry.height) of the log: \(error)")
        }
    }

    private func becomeWriter() throws(ObjectError) {
        try log.takeOver(random: Self.random(), apply)
        currentEpoch.store(log.epoch, ordering: .relaxed)
        let claim = WriterClaim(epoch: log.epoch, url: url, time: Clock.wallMilliseconds())
        try commit([Change { (_, apply) throws(ObjectError) in _ = try apply(.writer(claim)) }])
        learned()
        isWriting.store(true, ordering: .relaxed)
    }

    private func commit(_ group: [Change]) throws(ObjectError) {
        var rest = group[...]
        while !rest.isEmpty { rest = try commitFirst(rest) }
    }

    /// Makes one entry of the first changes; what is left to do. Who is refused falls out, and the others are done again without it.
    private func commitFirst(_ group: ArraySlice<Change>) throws(ObjectError) -> ArraySlice<Change> {
        let writer = index.writer
        var operations: [Operation] = []
        var size = 0
        var taken: [Change] = []
        try translate { () throws(IndexError) in try writer.begin() }
        for change in group {
            let before = operations.count
            do throws(ObjectError) {
                try change.body(writer) { (operation) throws(ObjectError) in
                    operations.append(operation)
                    return try translate { () throws(IndexError) in try writer.apply(operation) }
                }
            } catch {
                change.failure = error
                if operations.count == before { continue }
                // What it had applied already is in the transaction.
                try translate { () throws(IndexError) in try writer.rollback() }
                return group.filter { $0.failure == nil }[...]
            }
            taken.append(change)
            for operation in operations[before...] { size += (try? operation.encodedCount()) ?? 0 }
            if size > Self.entryBytes { break }
        }
        try finish(operations, writer)
        for change in taken { change.isDone = true }
        return group.filter { $0.failure == nil && !$0.isDone }[...]
    }

    private func finish(_ operations: [Operation], _ writer: IndexWriter) throws(ObjectError) {
        if operations.isEmpty { return try translate { () throws(IndexError) in try writer.rollback() } }
        do throws(ObjectError) {
            let payload: [UInt8]
            do { payload = try Entry.encode(operations) } catch { throw .refused("\(error)") }
            try log.append(payload)
        } catch {
            try translate { () throws(IndexError) in try writer.rollback() }
            throw error
        }
        do throws(IndexError) { try writer.commit(height: log.height, chain: log.hash.bytes) } catch {
            let broken = ObjectError.unavailable("the index did not take entry \(log.height): \(error); start again")
            failure = broken
            throw broken
        }
    }

    /// Writes to backends of the log what they missed.
    func fillGaps() {
        let change = Change { [log] _, _ in _ = log.fillGaps(limit: 256) }
        gather.submit(change, work)
    }

    /// Entries up to a height are removed from the log's backends.
    func forgetGaps(upTo height: UInt64) {
        let change = Change { [log] _, _ in log.forgetGaps(upTo: height) }
        gather.submit(change, work)
    }

    private static func random() -> UInt64 { Random.bytes(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

/// The index's errors as the store's.
func translate<Result>(_ body: () throws(IndexError) -> Result) throws(ObjectError) -> Result {
    do throws(IndexError) { return try body() } catch { throw .damaged("the index: \(error)") }
}
