import Bus
import CanonicalJSON
import Crypto
public import LedgerClient
import LedgerState
import Linux
import Merkle
public import Records
import Service
import Synchronization

/// One member's ledger: admits records, puts them into blocks, has the checkpoint signed, keeps it all in a store.
///
/// `run` is the only writer; everything else reads what `run` has made public. Others may put another engine behind
/// the same face later: records go in, durable blocks come out.
public final class LedgerEngine: Sendable {
    /// What the engine is able to do.
    public enum Phase: Hashable, Sendable {
        /// It reads its store.
        case starting
        /// It admits records.
        case serving
        /// It waits for its store or for the identity service.
        case waiting(String)
        /// Stored bytes are damaged: it serves nothing.
        case damaged(Damage)
        /// It has ended.
        case stopped
    }

    /// What everybody may read: the state, the signed checkpoint of it, the whole log.
    struct Published: Sendable {
        var chain: LedgerChain
        var checkpoint: Checkpoint
        var tree: LogTree
        var recent: [Int64: [UInt8]] = [:]
    }

    /// A record that waits for its block.
    struct Ticket: Sendable {
        let record: Record
        let answer: @Sendable (Result<RecordReceipt, LedgerError>) -> Void
    }

    struct Shared {
        var phase = Phase.starting
        var queue: [Ticket] = []
        var published: Published?
        var damages: [Damage] = []
    }

    let archive: LedgerArchive
    let signer: any CheckpointSigner
    let index: RecordIndex?
    let log: Log
    let clock: @Sendable () -> Int64
    let shared = Mutex(Shared())
    let heights = HeightSignal()
    private let wake: AsyncStream<Void>.Continuation
    private let wakes: AsyncStream<Void>
    /// Records admitted and refused, for metrics.
    let admitted = Atomic<Int64>(0), refused = Atomic<Int64>(0)

    /// An engine over a store. `clock` gives Unix milliseconds.
    init(
        storage: any LedgerStorage, signer: any CheckpointSigner, index: RecordIndex?, log: Log,
        clock: @escaping @Sendable () -> Int64 = { Int64(Clock.wallMilliseconds()) }
    ) {
        archive = LedgerArchive(storage: storage)
        (self.signer, self.index, self.log, self.clock) = (signer, index, log, clock)
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// What the engine is able to do now.
    public var phase: Phase { shared.withLock { $0.phase } }
    /// Height of the last durable and signed block.
    public var height: Int64? { shared.withLock { $0.published?.chain.height } }
    /// The last signed checkpoint.
    public var checkpoint: Checkpoint? { shared.withLock { $0.published?.checkpoint } }
    /// Damages that were found while serving.
    var damages: [Damage] { shared.withLock { $0.damages } }

    /// Puts a record into a block; returns once that is durable and signed.
    public func submit(_ record: Record) async throws(LedgerError) -> RecordReceipt {
        guard let ledger = shared.withLock({ $0.published?.chain.state.ledger }) else { throw unavailable }
        do { try LedgerState.verify(record, ledger) } catch {
            refused.add(1, ordering: .relaxed)
            throw LedgerError(error)
        }
        let result = await withCheckedContinuation { continuation in
            let ticket = Ticket(record: record) { continuation.resume(returning: $0) }
            let isQueued = shared.withLock { shared in
                guard shared.phase == .serving, shared.queue.count < StoreLimits.queuedRecordsMax else { return false }
                shared.queue.append(ticket)
                return true
            }
            if isQueued { wake.yield() } else { ticket.answer(.failure(unavailable)) }
        }
        return try result.get()
    }

    /// Why the ledger cannot be asked at the moment.
    var unavailable: LedgerError {
        let message =
            switch phase {
            case .starting: "the ledger is reading its store"
            case .serving: "the ledger has too much to do"
            case .waiting(let reason): reason
            case .damaged(let damage): damage.description
            case .stopped: "the ledger stops"
            }
        return LedgerError(LedgerError.unavailable, "ledger", message, status: 503)
    }

    /// Recovers what is stored and serves until the task is cancelled, or another ledger has taken over.
    func run(genesis: Genesis) async throws {
        defer {
            let waiting = shared.withLock { shared in
                shared.phase = .stopped
                defer { shared.queue = [] }
                return shared.queue
            }
            for ticket in waiting { ticket.answer(.failure(unavailable)) }
        }
        guard let found = try await recover(genesis) else { return }
        var chain = found.chain
        shared.withLock { $0.phase = .serving }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [self] in await remindOfWhatIsDue() }
            let snapshots = SnapshotPlan(tiled: found.tiled, height: found.chain.height)
            for await _ in wakes {
                try await Task.sleep(for: StoreLimits.batchWindow)
                while let next = try await step(chain) {
                    chain = next
                    if chain.height.isMultiple(of: StoreLimits.snapshotInterval) {
                        group.addTask { [self] in await storeSnapshot(snapshots) }
                    }
                }
            }
            group.cancelAll()
        }
    }

    /// Makes one block of what waits; nil where nothing came of it.
    private func step(_ chain: LedgerChain) async throws -> LedgerChain? {
        let tickets = shared.withLock { shared in
            defer { shared.queue = [] }
            return shared.queue
        }
        let isDue = chain.state.due.map { $0 <= clock() } ?? false
        if tickets.isEmpty, !isDue { return nil }
        let proposal = chain.propose(tickets.map(\.record), time: max(clock(), chain.state.time + 1))
        var inBlock: [Ticket] = []
        var later: [Ticket] = []
        for (ticket, outcome) in zip(tickets, proposal.outcomes) {
            switch outcome {
            case .success: inBlock.append(ticket)
            case .failure(let error) where error.code.passes: later.append(ticket)
            case .failure(let error):
                refused.add(1, ordering: .relaxed)
                ticket.answer(.failure(LedgerError(error)))
            }
        }
        if !later.isEmpty {
            let back = later
            shared.withLock { $0.queue = back + $0.queue }
        }
        guard let block = proposal.block else { return nil }
        try await commit(block, proposal.chain, inBlock)
        return proposal.chain
    }

    /// Writes a block, has it signed, makes it public and answers those who wait for it.
    private func commit(_ block: Block, _ chain: LedgerChain, _ tickets: [Ticket]) async throws {
        var tickets = tickets
        let archive = archive
        try await insist(&tickets) {
            try await runBlocking { try archive.storage.create(StorageKey.block(block.height), block.canonicalBytes) }
        }
        let unsigned = chain.checkpoint
        let signer = signer
        let checkpoint = try await insist(&tickets) { unsigned.signed([try await signer.sign(unsigned)]) }
        try await insist(&tickets) {
            try await runBlocking {
                try archive.storage.create(StorageKey.checkpoint(block.height), checkpoint.value.canonicalBytes)
            }
        }
        await publish(block, chain, checkpoint)
        admitted.add(Int64(block.records.count), ordering: .relaxed)
        for (number, ticket) in tickets.enumerated() {
            ticket.answer(.success(RecordReceipt(id: ticket.record.id, height: block.height, index: Int64(number))))
        }
    }

    private func publish(_ block: Block, _ chain: LedgerChain, _ checkpoint: Checkpoint) async {
        let line = LedgerArchive.line(block.canonicalBytes, checkpoint.value.canonicalBytes)
        shared.withLock { shared in
            shared.phase = .serving
            shared.published?.chain = chain
            shared.published?.checkpoint = checkpoint
            for record in block.records { shared.published?.tree.append(record.id.bytes) }
            shared.published?.recent[block.height] = line
            shared.published?.recent[block.height - StoreLimits.recentBlocks] = nil
        }
        heights.reached(block.height)
        log.debug("block", ["height": block.height, "records": block.records.count])
        await index?.add(block, before: chain.log.size - Int64(block.records.count))
    }

    /// Tries until it works. Those who wait are told at once that it does not, and everybody who comes meanwhile too.
    func insist<Value>(
        _ tickets: inout [Ticket], _ body: () async throws -> Value
    ) async throws -> Value {
        var pause = StoreLimits.retryFirst
        while true {
            do {
                return try await body()
            } catch let error as StorageError {
                giveUp(&tickets, "\(error)")
                guard case .away = error else { throw error }
            } catch let error as BusError {
                giveUp(&tickets, "the identity service does not sign: \(error)")
                guard error.isTransport || error.code == "UNAVAILABLE" else { throw error }
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, StoreLimits.retryMax)
        }
    }

    private func giveUp(_ tickets: inout [Ticket], _ reason: String) {
        let waiting = shared.withLock { shared in
            if case .waiting = shared.phase {} else { log.warn("waiting", ["reason": reason]) }
            shared.phase = .waiting(reason)
            defer { shared.queue = [] }
            return shared.queue
        }
        for ticket in tickets + waiting { ticket.answer(.failure(unavailable)) }
        tickets = []
    }

    /// Blocks come without records too, when something expires.
    private func remindOfWhatIsDue() async {
        while !Task.isCancelled {
            if let due = shared.withLock({ $0.published?.chain.state.due }), due <= clock() { wake.yield() }
            try? await Task.sleep(for: .seconds(1))
        }
    }
}

extension LedgerError {
    init(_ error: AdmissionError) {
        self.init(error.code.rawValue, error.subject, error.message, status: error.code.status)
    }
}
