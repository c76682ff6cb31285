import CanonicalJSON
public import Crypto
import HTTP
public import LedgerState
import Merkle
public import Records

extension LedgerClient {
    /// What stands at a key of the state, proved against the latest checkpoint; nil where, proved, nothing does.
    public func entry(_ key: StateKey) async throws(LedgerError) -> (entry: StateEntry?, checkpoint: Checkpoint) {
        let genesis = try await genesis()
        let bytes = try await get("/v1/proof/state?key=" + PercentEncoding.encode(key.text))
        let (value, proof, checkpoint): (JSONValue?, StateProof, Checkpoint)
        do {
            var fields = try ObjectReader(JSONValue(parsing: bytes), "a proof of state")
            checkpoint = try verified(fields.value("checkpoint"), genesis)
            value = fields.optionalValue("value")
            proof = try StateProof(fields.value("proof"))
            _ = try fields.string("key")
            try fields.finish()
        } catch let error as LedgerError { throw error } catch { throw .malformed("a proof", error) }
        let hash = value.map { SHA256.hash($0.canonicalBytes) }
        guard proof.shows(hash, at: StateHash.path(key.text), root: checkpoint.stateRoot) else {
            throw .unproved("the state of \(key.text)", "the proof does not lead to the checkpoint")
        }
        do { return (try value.map { value in try StateEntry(value, at: key) }, checkpoint) } catch {
            throw .malformed("the state of \(key.text)", error)
        }
    }

    /// How many records a key signed, proved; the next one's `seq` is one more.
    public func sequence(_ key: PublicKey) async throws(LedgerError) -> Int64 {
        if case .sequence(let count) = try await entry(.sequence(key)).entry { count } else { 0 }
    }

    /// Proves that a record is in the ledger; returns the checkpoint that it is under.
    public func proveInclusion(_ id: Digest) async throws(LedgerError) -> Checkpoint {
        let genesis = try await genesis()
        let bytes = try await get("/v1/proof/inclusion?id=\(id.hex)")
        do {
            var fields = try ObjectReader(JSONValue(parsing: bytes), "a proof of inclusion")
            let checkpoint = try verified(fields.value("checkpoint"), genesis)
            let index = try fields.integer("index")
            let proof = try fields.digests("proof")
            try fields.finish()
            let holds = LogProof.includes(
                id.bytes, index: index, size: checkpoint.size, root: checkpoint.logRoot, proof: proof)
            guard holds else {
                throw LedgerError.unproved("record \(id.hex)", "the proof does not lead to the checkpoint")
            }
            return checkpoint
        } catch let error as LedgerError { throw error } catch { throw .malformed("a proof", error) }
    }

    /// Proves that the log of an older checkpoint is a beginning of today's; returns today's.
    public func proveConsistency(since old: Checkpoint) async throws(LedgerError) -> Checkpoint {
        let genesis = try await genesis()
        let bytes = try await get("/v1/proof/consistency?from=\(old.size)")
        do {
            var fields = try ObjectReader(JSONValue(parsing: bytes), "a proof of consistency")
            let checkpoint = try verified(fields.value("checkpoint"), genesis)
            let proof = try fields.digests("proof")
            _ = (try fields.integer("from"), try fields.integer("to"))
            try fields.finish()
            guard checkpoint.height >= old.height else {
                throw LedgerError.unproved("the checkpoint", "it is older than the one at \(old.height)")
            }
            let holds = LogProof.extends(
                from: (old.size, old.logRoot), to: (checkpoint.size, checkpoint.logRoot), proof: proof)
            guard holds else { throw LedgerError.unproved("the log", "records that were there are there no more") }
            return checkpoint
        } catch let error as LedgerError { throw error } catch { throw .malformed("a proof", error) }
    }

    /// What a query asks for; everything that is said has to fit.
    public struct Query: Hashable, Sendable {
        /// One record.
        public var id: Digest?
        /// Records of a kind.
        public var kind: RecordKind?
        /// Records of an identity.
        public var author: PublicKey?
        /// Records about a contract.
        public var contract: Digest?
        /// Records about a name, image or contract of that name.
        public var name: String?
        /// Records after this position in the log, from 0.
        public var after: Int64?
        /// How many at most.
        public var limit: Int64?

        /// Asks for everything.
        public init(
            id: Digest? = nil, kind: RecordKind? = nil, author: PublicKey? = nil, contract: Digest? = nil,
            name: String? = nil, after: Int64? = nil, limit: Int64? = nil
        ) {
            (self.id, self.kind, self.author, self.contract) = (id, kind, author, contract)
            (self.name, self.after, self.limit) = (name, after, limit)
        }

        var path: String {
            let members: [(String, String?)] = [
                ("id", id?.hex), ("kind", kind?.rawValue), ("author", author?.address), ("contract", contract?.hex),
                ("name", name), ("after", after.map { "\($0)" }), ("limit", limit.map { "\($0)" }),
            ]
            let text = members.compactMap { key, value in value.map { "\(key)=\(PercentEncoding.encode($0))" } }
            return "/v1/query?" + text.joined(separator: "&")
        }
    }

    /// Records from the ledger's index, oldest first: convenient, complete only if the ledger is honest.
    public func query(_ query: Query) async throws(LedgerError) -> [FoundRecord] {
        let bytes = try await get(query.path)
        var found: [FoundRecord] = []
        for line in bytes.split(separator: 10) {
            do {
                var fields = try ObjectReader(JSONValue(parsing: Array(line)), "a line of records")
                let record = try Record(fields.value("record"))
                let receipt = RecordReceipt(
                    id: record.id, height: try fields.integer("height"), index: try fields.integer("index"))
                let time = try fields.integer("time")
                _ = try fields.integer("position")
                try fields.finish()
                found.append(FoundRecord(receipt: receipt, time: time, record: record))
            } catch { throw .malformed("a record", error) }
        }
        return found
    }

    /// The record of that id. Its bytes are what the id says; that the ledger has it, `proveInclusion` proves.
    public func record(_ id: Digest) async throws(LedgerError) -> FoundRecord? {
        try await query(Query(id: id)).first { $0.record.id == id }
    }
}
