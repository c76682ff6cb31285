public import Crypto
public import Merkle
public import Records

/// Why a block, checkpoint or snapshot of a ledger is refused by somebody who checks it.
public enum ReplayError: Error, Hashable, Sendable {
    /// The block does not follow: another height than the next one.
    case height(Int64, expected: Int64)
    /// The block names another parent.
    case parent(height: Int64)
    /// The block's time is not after its parent's.
    case time(height: Int64)
    /// A record that must not have been admitted.
    case record(height: Int64, index: Int, id: Digest, AdmissionError)
    /// Replay comes to another root of the log.
    case logRoot(height: Int64)
    /// Replay comes to another root of the state.
    case stateRoot(height: Int64)
    /// The checkpoint proves nothing.
    case checkpoint(height: Int64, String)
    /// The checkpoint is signed, and of another chain of blocks than the one that was replayed.
    case fork(height: Int64)
    /// The checkpoint is below one that was seen before.
    case stale(height: Int64, seen: Int64)
    /// The bytes are no block, checkpoint or snapshot.
    case malformed(String)
}

extension ReplayError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .height(let found, let expected): "block \(found) comes where block \(expected) is next"
        case .parent(let height): "block \(height) does not follow the block before it"
        case .time(let height): "block \(height) is not later than the block before it"
        case .record(let height, let index, let id, let reason):
            "block \(height) contains record \(index) (\(id.hex)) that must be refused: \(reason)"
        case .logRoot(let height): "block \(height) claims another root of the log than its records have"
        case .stateRoot(let height): "block \(height) claims another state than its records make"
        case .checkpoint(let height, let reason): "the checkpoint at \(height) is refused: \(reason)"
        case .fork(let height): "the checkpoint at \(height) is of another chain than the blocks"
        case .stale(let height, let seen): "the checkpoint at \(height) is older than one seen before, at \(seen)"
        case .malformed(let what): what
        }
    }
}

/// A ledger's blocks up to one height: the state after them, the edge of the log, the last block's hash.
public struct LedgerChain: Sendable {
    /// The state after the last block.
    public internal(set) var state: LedgerState
    /// The log of record ids.
    public internal(set) var log = LogFrontier()
    /// Hash of the last block; the ledger id before the first.
    public internal(set) var head: Digest

    /// The chain before its first block.
    public init(genesis: Genesis) {
        state = LedgerState(genesis: genesis)
        head = state.ledger
    }

    /// What the ledger began with.
    public var genesis: Genesis { state.genesis }
    /// The last block's height.
    public var height: Int64 { state.height }

    /// What a checkpoint at this height says; not signed.
    public var checkpoint: Checkpoint {
        Checkpoint(
            ledger: state.ledger, height: state.height, time: state.time, block: head, size: log.size,
            logRoot: log.root, stateRoot: state.root, members: genesis.members)
    }

    /// A block made of records, or why they did not get into it.
    public struct Proposal: Sendable {
        /// The block; nil where there is nothing to say.
        public let block: Block?
        /// The chain with it.
        public let chain: LedgerChain
        /// For each record in order: its index in the block, or why it is not there.
        public let outcomes: [Result<Int, AdmissionError>]
    }

    /// Puts what is admitted of `records` into a next block at `time`. Their signatures have been verified.
    public func propose(_ records: [Record], time: Int64) -> Proposal {
        var next = self
        let isDue = state.due.map { $0 <= time } ?? false
        do { try next.state.begin(time: time) } catch {
            return Proposal(block: nil, chain: self, outcomes: records.map { _ in .failure(error) })
        }
        var admitted: [Record] = []
        var outcomes: [Result<Int, AdmissionError>] = []
        var full: AdmissionError?
        var waiting: [PublicKey: AdmissionError] = [:]
        for record in records {
            // Whatever follows a record that waits for the next block waits too: it may count on it.
            if let reason = full ?? waiting[record.key] {
                outcomes.append(.failure(reason))
                continue
            }
            do {
                try next.state.apply(record, verified: true)
                outcomes.append(.success(admitted.count))
                admitted.append(record)
                next.log.append(record.id.bytes)
            } catch {
                outcomes.append(.failure(error))
                if error.code == .blockFull { full = error } else if error.code.passes { waiting[record.key] = error }
            }
        }
        guard !admitted.isEmpty || isDue else { return Proposal(block: nil, chain: self, outcomes: outcomes) }
        let block = Block(
            height: next.state.height, time: time, parent: head, records: admitted, logRoot: next.log.root,
            stateRoot: next.state.root)
        next.head = block.hash
        return Proposal(block: block, chain: next, outcomes: outcomes)
    }

    /// Applies a block that somebody else made, checking every rule. A refused block changes nothing.
    public mutating func replay(_ block: Block) throws(ReplayError) {
        guard block.height == height + 1 else { throw .height(block.height, expected: height + 1) }
        guard block.parent == head else { throw .parent(height: block.height) }
        var next = self
        do { try next.state.begin(time: block.time) } catch { throw .time(height: block.height) }
        for (index, record) in block.records.enumerated() {
            do { try next.state.apply(record) } catch {
                throw .record(height: block.height, index: index, id: record.id, error)
            }
            next.log.append(record.id.bytes)
        }
        guard next.log.root == block.logRoot else { throw .logRoot(height: block.height) }
        guard next.state.root == block.stateRoot else { throw .stateRoot(height: block.height) }
        next.head = block.hash
        self = next
    }

    /// Checks that a signed checkpoint is of exactly this chain.
    public func check(_ checkpoint: Checkpoint) throws(ReplayError) {
        do { try checkpoint.verify(genesis) } catch {
            throw .checkpoint(height: checkpoint.height, error.description)
        }
        guard checkpoint.unsignedValue == self.checkpoint.unsignedValue else { throw .fork(height: checkpoint.height) }
    }
}
