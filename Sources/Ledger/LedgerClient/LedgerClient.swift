import CanonicalJSON
public import Crypto
public import LedgerState
public import Records
import Synchronization

/// A record's place in the ledger.
public struct RecordReceipt: Hashable, Sendable {
    /// The record.
    public let id: Digest
    /// Its block.
    public let height: Int64
    /// Its place in the block, from 0.
    public let index: Int64

    /// A place.
    public init(id: Digest, height: Int64, index: Int64) { (self.id, self.height, self.index) = (id, height, index) }
}

/// A record that a query found; the ledger's word, not proved, but the record's id is checked.
public struct FoundRecord: Hashable, Sendable {
    /// Where it stands.
    public let receipt: RecordReceipt
    /// The block's time.
    public let time: Int64
    /// The record.
    public let record: Record
}

/// A block with the signed checkpoint at its height.
public struct SignedBlock: Hashable, Sendable {
    /// The block.
    public let block: Block
    /// The checkpoint.
    public let checkpoint: Checkpoint
}

/// Talks to a ledger and believes nothing that it cannot verify, queries excepted.
public final class LedgerClient: Sendable {
    /// The largest answer that is read: a snapshot of a large grid.
    static let answerBytesMax = 256 << 20

    /// The ledger id: everything that the ledger says is checked against it.
    public let id: Digest
    private let transport: any LedgerTransport
    private let known: Mutex<Genesis?>

    /// A client over any transport. `genesis` is fetched when it is needed first, where it is not given.
    public init(id: Digest, genesis: Genesis? = nil, transport: any LedgerTransport) {
        (self.id, self.transport) = (id, transport)
        known = Mutex(genesis)
    }

    /// The genesis document, whose hash is the ledger id.
    public func genesis() async throws(LedgerError) -> Genesis {
        if let genesis = known.withLock({ $0 }) { return genesis }
        let bytes = try await get("/v1/genesis")
        let genesis: Genesis
        do { genesis = try Genesis(canonical: bytes) } catch { throw .malformed("the genesis document", error) }
        guard genesis.id == id else { throw .unproved("the genesis document", "it is of ledger \(genesis.id.hex)") }
        known.withLock { $0 = genesis }
        return genesis
    }

    /// Writes a record; returns once it is in a durable block.
    ///
    /// Where an answer is lost, the same bytes are sent again until `deadline`; a record never gets in twice. The first
    /// try takes as long as it needs, up to 15 s.
    public func submit(
        _ record: Record, deadline: Duration = .seconds(30)
    ) async throws(LedgerError) -> RecordReceipt {
        let end = ContinuousClock.now + deadline
        var pause = Duration.milliseconds(50)
        var isAgain = false
        while true {
            let left = end - ContinuousClock.now
            do {
                return try await submitOnce(record, deadline: isAgain ? max(left, .seconds(1)) : .seconds(15))
            } catch {
                if isAgain, error.admission == .replayed, let found = try await find(record) { return found }
                guard error.isPassing, left > pause else { throw error }
                isAgain = true
            }
            do { try await Task.sleep(for: pause) } catch {
                throw LedgerError(LedgerError.deadline, record.id.hex, "cancelled while the ledger was away")
            }
            pause = min(pause * 2, .milliseconds(500))
        }
    }

    private func submitOnce(_ record: Record, deadline: Duration) async throws(LedgerError) -> RecordReceipt {
        let answer = try await transport.exchange(
            "POST", "/v1/records", body: record.canonicalBytes, deadline: deadline)
        guard answer.status == 200 else { throw LedgerError(status: answer.status, body: answer.body) }
        let receipt: RecordReceipt
        do {
            var fields = try ObjectReader(JSONValue(parsing: answer.body), "a receipt")
            receipt = RecordReceipt(
                id: try fields.digest("id"), height: try fields.integer("height"), index: try fields.integer("index"))
            try fields.finish()
        } catch { throw .malformed("a receipt", error) }
        guard receipt.id == record.id else { throw .unproved("a receipt", "it is of another record") }
        return receipt
    }

    /// The receipt of a record that got in although its answer was lost.
    private func find(_ record: Record) async throws(LedgerError) -> RecordReceipt? {
        guard let found = try await self.record(record.id), found.record == record else { return nil }
        return found.receipt
    }

    /// The latest checkpoint, with the members' signatures checked.
    public func checkpoint() async throws(LedgerError) -> Checkpoint {
        let genesis = try await genesis()
        let bytes = try await get("/v1/checkpoint")
        do { return try verified(JSONValue(canonical: bytes), genesis) } catch let error as LedgerError {
            throw error
        } catch { throw .malformed("the checkpoint", error) }
    }

    /// Blocks from `height` on, waiting for up to `wait` where there is none. Not verified yet: `LedgerChain` does.
    public func blocks(from height: Int64, wait: Duration = .zero) async throws(LedgerError) -> [SignedBlock] {
        let milliseconds = wait.components.seconds * 1000 + wait.components.attoseconds / 1_000_000_000_000_000
        let answer = try await transport.exchange(
            "GET", "/v1/blocks?from=\(height)&wait=\(milliseconds)", body: [], deadline: wait + .seconds(15))
        guard answer.status == 200 else { throw LedgerError(status: answer.status, body: answer.body) }
        var blocks: [SignedBlock] = []
        for line in answer.body.split(separator: 10) {
            do {
                var fields = try ObjectReader(JSONValue(canonical: Array(line)), "a line of blocks")
                let block = try Block(fields.value("block"))
                let checkpoint = try Checkpoint(fields.value("checkpoint"))
                try fields.finish()
                blocks.append(SignedBlock(block: block, checkpoint: checkpoint))
            } catch { throw .malformed("a block", error) }
        }
        return blocks
    }

    /// The whole state at the latest checkpoint, verified.
    public func snapshot() async throws(LedgerError) -> (LedgerChain, Checkpoint) {
        let genesis = try await genesis()
        let bytes = try await get("/v1/snapshot", deadline: .seconds(120))
        do { return try LedgerSnapshot.read(bytes, genesis: genesis) } catch {
            throw .unproved("the snapshot", error.description)
        }
    }

    func get(_ path: String, deadline: Duration = .seconds(15)) async throws(LedgerError) -> [UInt8] {
        let answer = try await transport.exchange("GET", path, body: [], deadline: deadline)
        guard answer.status == 200 else { throw LedgerError(status: answer.status, body: answer.body) }
        return answer.body
    }

    /// Decodes a checkpoint and checks its signatures.
    func verified(_ value: JSONValue, _ genesis: Genesis) throws(LedgerError) -> Checkpoint {
        let checkpoint: Checkpoint
        do { checkpoint = try Checkpoint(value) } catch { throw .malformed("the checkpoint", error) }
        do { try checkpoint.verify(genesis) } catch { throw .unproved("the checkpoint", error.description) }
        return checkpoint
    }
}
