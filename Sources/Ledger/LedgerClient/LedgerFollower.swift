import Crypto
public import LedgerState
import Linux
public import Records
import Synchronization

/// News of a ledger: what the last blocks brought, and the state after them.
public struct LedgerChange: Sendable {
    /// The state after the last of the blocks.
    public let state: LedgerState
    /// Records of the blocks, in order; empty for the first change, which only tells the state.
    public let records: [Record]
}

/// Follows a ledger: fetches blocks, checks signatures, hashes and every rule by replaying them, and compares the
/// roots with the signed checkpoint. What does not hold is refused with its reason, and the last good state stays.
public final class LedgerFollower: Sendable {
    /// How a follower without a stored state begins.
    public enum Start: Hashable, Sendable {
        /// Replays every block since the first.
        case replay
        /// Takes the state at the latest checkpoint and replays what comes after. Quick; believes the members' majority.
        case snapshot
    }

    /// How the follower stands to its ledger.
    public enum Status: Hashable, Sendable {
        /// No state yet.
        case starting
        /// Up to date, or nearly.
        case following
        /// No answer; tried again.
        case unreachable(LedgerError)
        /// The ledger contains what must not be; nothing of it is acted on from there on.
        case refused(ReplayError)
    }

    /// The pause after a refusal: a ledger that lies is asked again, but not often.
    private static let refusalPause = Duration.seconds(5)
    /// Blocks between two stored snapshots.
    private static let snapshotInterval: Int64 = 64
    /// A snapshot is stored when nothing came for this long.
    private static let pollWait = Duration.seconds(20)
    /// Changes that a slow reader may be behind before older ones are dropped.
    private static let changesMax = 1024

    private struct Shared {
        var chain: LedgerChain?
        var checkpoint: Checkpoint?
        var status = Status.starting
        var highest: Int64 = 0
        var highestBlock: Digest?
        var stored: Int64 = -1
        var nextReader = 0
        var readers: [Int: AsyncStream<LedgerChange>.Continuation] = [:]
    }

    private let client: LedgerClient
    private let folder: FollowerFolder?
    private let start: Start
    private let shared = Mutex(Shared())

    /// A follower that keeps what it verified in `folder`; without one it begins anew each time.
    public init(_ client: LedgerClient, folder: String?, start: Start = .replay) {
        (self.client, self.start) = (client, start)
        self.folder = folder.map { FollowerFolder(path: $0) }
    }

    /// The state after the last verified block; nil until everything that was ever seen is verified again.
    public var state: LedgerState? {
        shared.withLock { shared in
            guard let chain = shared.chain, chain.height >= shared.highest else { return nil }
            return chain.state
        }
    }
    /// The last verified checkpoint.
    public var checkpoint: Checkpoint? { shared.withLock { $0.checkpoint } }
    /// How the follower stands to its ledger.
    public var status: Status { shared.withLock { $0.status } }

    /// News from now on; the first element is the current state as soon as there is one.
    public func changes() -> AsyncStream<LedgerChange> {
        AsyncStream(bufferingPolicy: .bufferingNewest(LedgerFollower.changesMax)) { continuation in
            // Told under the lock, so that no later state can come before this one.
            let id = shared.withLock { shared in
                shared.nextReader += 1
                shared.readers[shared.nextReader] = continuation
                if let chain = shared.chain, chain.height >= shared.highest {
                    continuation.yield(LedgerChange(state: chain.state, records: []))
                }
                return shared.nextReader
            }
            continuation.onTermination = { [weak self] _ in
                self?.shared.withLock { _ = $0.readers.removeValue(forKey: id) }
            }
        }
    }

    /// Waits until the state is at least at `height`, or `deadline` has passed; returns it then.
    public func state(at height: Int64, deadline: Duration) async -> LedgerState? {
        await state(deadline: deadline) { $0.height >= height }
    }

    /// Waits until the state is as asked for, or `deadline` has passed; returns it then.
    public func state(
        deadline: Duration, where holds: @escaping @Sendable (LedgerState) -> Bool
    ) async -> LedgerState? {
        await withTaskGroup(of: LedgerState?.self) { group in
            group.addTask { [self] in
                for await change in changes() where holds(change.state) { return change.state }
                return nil
            }
            group.addTask {
                try? await Task.sleep(for: deadline)
                return nil
            }
            let found = await group.next() ?? nil
            group.cancelAll()
            return found
        }
    }

    /// Follows until the task is cancelled. Restarts of the ledger are waited for.
    public func run() async {
        var pause = Duration.milliseconds(100)
        while !Task.isCancelled {
            do {
                try await prepare()
                while !Task.isCancelled {
                    try await step(wait: LedgerFollower.pollWait)
                    pause = .milliseconds(100)
                }
            } catch let error as ReplayError {
                shared.withLock { $0.status = .refused(error) }
                pause = LedgerFollower.refusalPause
            } catch let error as LedgerError {
                if Task.isCancelled { break }
                note(error)
            } catch {
                note(LedgerError(LedgerError.unavailable, "follower", "\(error)"))
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(2))
        }
        await keep()
        let readers = shared.withLock { shared in
            defer { shared.readers = [:] }
            return Array(shared.readers.values)
        }
        for reader in readers { reader.finish() }
    }

    /// Fetches and verifies everything up to the latest checkpoint, once.
    public func catchUp() async throws -> LedgerState {
        try await prepare()
        let target = try await client.checkpoint()
        while let height = shared.withLock({ $0.chain?.height }), height < target.height { try await step(wait: .zero) }
        await keep()
        guard let state else {
            let seen = shared.withLock { $0.highest }
            throw ReplayError.stale(height: target.height, seen: seen)
        }
        return state
    }

    private func note(_ error: LedgerError) {
        shared.withLock { shared in
            // What was refused stays refused until the ledger shows something good.
            if case .refused = shared.status { return }
            shared.status = .unreachable(error)
        }
    }

    /// Makes sure that there is a chain to go on from, and that the ledger is not behind what was seen of it.
    private func prepare() async throws {
        if shared.withLock({ $0.chain == nil }) { try await load() }
        let checkpoint = try await client.checkpoint()
        let (highest, block, chain) = shared.withLock { ($0.highest, $0.highestBlock, $0.chain) }
        guard checkpoint.height >= highest else { throw ReplayError.stale(height: checkpoint.height, seen: highest) }
        if checkpoint.height == highest, let block, block != checkpoint.block {
            throw ReplayError.fork(height: highest)
        }
        if let chain, chain.height == checkpoint.height { try chain.check(checkpoint) }
    }

    private func load() async throws {
        let id = client.id
        let folder = folder
        let stored = await runBlocking { () -> Genesis? in folder?.genesis(id) }
        let genesis: Genesis
        if let stored {
            genesis = stored
        } else {
            genesis = try await client.genesis()
            if let folder { try await runBlocking { try folder.store(genesis) } }
        }
        let found = await runBlocking { (folder?.snapshot(genesis), folder?.highest(id)) }
        var (chain, checkpoint): (LedgerChain, Checkpoint?) = (LedgerChain(genesis: genesis), nil)
        if let (kept, signed) = found.0 {
            (chain, checkpoint) = (kept, signed)
        } else if start == .snapshot {
            let (fetched, signed) = try await client.snapshot()
            (chain, checkpoint) = (fetched, signed)
        }
        let (first, signed, kept) = (chain, checkpoint, found.0 != nil)
        shared.withLock { shared in
            shared.chain = first
            shared.checkpoint = signed
            shared.stored = kept ? first.height : -1
            shared.highest = max(found.1?.height ?? 0, first.height)
            shared.highestBlock = shared.highest == first.height ? first.head : found.1?.block
        }
        if first.height >= shared.withLock({ $0.highest }) { tell(first.state, []) }
    }

    private func step(wait: Duration) async throws {
        guard let chain = shared.withLock({ $0.chain }) else { return }
        let blocks = try await client.blocks(from: chain.height + 1, wait: wait)
        guard !blocks.isEmpty else {
            shared.withLock { $0.status = .following }
            return await keep()
        }
        let (next, checkpoint, records, failure) = replay(blocks, on: chain)
        // Good blocks before a bad one count, unless they are of what was seen before: then the bad one may be a fork's.
        guard let checkpoint, failure == nil || next.height >= shared.withLock({ $0.highest }) else {
            throw failure ?? .malformed("no blocks")
        }
        if let folder { try await runBlocking { try folder.store(highest: checkpoint) } }
        let isCurrent = shared.withLock { shared in
            shared.chain = next
            shared.checkpoint = checkpoint
            shared.status = .following
            guard next.height >= shared.highest else { return false }
            (shared.highest, shared.highestBlock) = (next.height, next.head)
            return true
        }
        if isCurrent { tell(next.state, records) }
        if let failure { throw failure }
        if next.height - shared.withLock({ $0.stored }) >= LedgerFollower.snapshotInterval { await keep() }
    }

    /// Every block is replayed and checked against the checkpoint that came with it; the first that does not hold ends it.
    private func replay(
        _ blocks: [SignedBlock], on chain: LedgerChain
    ) -> (LedgerChain, Checkpoint?, [Record], ReplayError?) {
        var chain = chain
        var records: [Record] = []
        var last: Checkpoint?
        let (highest, hash) = shared.withLock { ($0.highest, $0.highestBlock) }
        for signed in blocks {
            var next = chain
            do throws(ReplayError) {
                try next.replay(signed.block)
                try next.check(signed.checkpoint)
                if next.height == highest, let hash, hash != next.head { throw .fork(height: highest) }
            } catch { return (chain, last, records, error) }
            chain = next
            records += signed.block.records
            last = signed.checkpoint
        }
        return (chain, last, records, nil)
    }

    private func tell(_ state: LedgerState, _ records: [Record]) {
        let readers = shared.withLock { Array($0.readers.values) }
        for reader in readers { reader.yield(LedgerChange(state: state, records: records)) }
    }

    /// Stores the chain, where it is further than what is stored. A failure only makes the next start slower.
    private func keep() async {
        let (chain, checkpoint, stored) = shared.withLock { ($0.chain, $0.checkpoint, $0.stored) }
        guard let folder, let chain, let checkpoint, chain.height > stored else { return }
        let isKept = await runBlocking { () -> Bool in
            do { try folder.store(chain, checkpoint) } catch { return false }
            return true
        }
        if isKept { shared.withLock { $0.stored = chain.height } }
    }
}
