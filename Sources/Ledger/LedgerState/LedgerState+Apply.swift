import CanonicalJSON
public import Crypto
public import Records

extension LedgerState {
    /// Begins the next block: what is due at its time happens before its first record.
    public mutating func begin(time: Int64) throws(AdmissionError) {
        guard time > self.time else {
            throw AdmissionError(.badTime, "\(time)", "a block's time is after its parent's, which is \(self.time)")
        }
        height += 1
        self.time = time
        budget = BlockBudget()
        for contract in index.expiry.filter({ $0.value <= time }).keys.sorted() { end(contract) }
        let oldest = height - genesis.rules.revealBlocks
        for hash in index.commits.filter({ $0.key < oldest }).flatMap(\.value).sorted() { remove(.commit(hash)) }
    }

    /// The time at which something is due without any record; nil where nothing is.
    public var due: Int64? { index.expiry.values.min() }

    /// Applies one record to the block that was begun. A refused record changes nothing.
    ///
    /// `verified` says that the caller has checked the signatures over the record already.
    public mutating func apply(_ record: Record, verified: Bool = false) throws(AdmissionError) {
        try checkBudget(record)
        if !verified { try LedgerState.verify(record, ledger) }
        try checkKey(record)
        try checkSequence(record)
        switch record.body {
        case .identity(let body): try apply(body, record)
        case .farm(let body): put(.farm(FarmEntry(body: body, record: record.id)), at: .farm(record.author))
        case .node(let body): try apply(body, record)
        case .image(let body): try apply(body, record)
        case .contract(let body): try apply(contract: body, record)
        case .approval(let body): try apply(body, record)
        case .cancel(let body): try apply(body, record)
        case .placement(let body): try apply(body, record)
        case .name(let body): try apply(body, record)
        case .result(let body): try apply(body, record)
        case .liveness(let body): try apply(body, record)
        }
        put(.sequence(record.seq), at: .sequence(record.key))
        spend(record)
    }

    /// Checks a record's signatures; may run anywhere, before its turn comes.
    public static func verify(_ record: Record, _ ledger: Digest) throws(AdmissionError) {
        do { try record.verify(ledger: ledger) } catch { throw AdmissionError(error) }
    }

    private func checkBudget(_ record: Record) throws(AdmissionError) {
        let rules = genesis.rules
        let bytes = Int64(record.canonicalBytes.count)
        let limit = min(rules.recordBytes, rules.blockBytes, rules.identityBlockBytes)
        guard bytes <= limit else {
            throw AdmissionError(
                .tooLarge, "record", "a record of \(bytes) bytes is over this grid's limit of \(limit)")
        }
        guard budget.records < rules.blockRecords, budget.bytes + bytes <= rules.blockBytes else {
            throw AdmissionError(.blockFull, "block", "the block is full, the record waits for the next")
        }
        let own = budget.perIdentity[record.author] ?? (0, 0)
        guard own.records < rules.identityBlockRecords, own.bytes + bytes <= rules.identityBlockBytes else {
            throw AdmissionError(
                .identityBlockFull, record.author.address,
                "\(record.author.address) wrote all that one identity may write in a block")
        }
    }

    private mutating func spend(_ record: Record) {
        let bytes = Int64(record.canonicalBytes.count)
        budget.records += 1
        budget.bytes += bytes
        let own = budget.perIdentity[record.author] ?? (0, 0)
        budget.perIdentity[record.author] = (own.records + 1, own.bytes + bytes)
    }

    private func checkSequence(_ record: Record) throws(AdmissionError) {
        let last = sequence(record.key)
        if record.seq <= last {
            throw AdmissionError(
                .replayed, record.key.address,
                "record \(record.seq) of key \(record.key.address) is replayed, its last is \(last)")
        }
        if record.seq != last + 1 {
            throw AdmissionError(
                .skipped, record.key.address,
                "record \(record.seq) of key \(record.key.address) skips, the next is \(last + 1)")
        }
    }

    /// Who signed: a key of the author that is in force, in a role for this kind, and nobody who has no part in it.
    private func checkKey(_ record: Record) throws(AdmissionError) {
        guard let identity = identity(record.author) else { return try checkNewcomer(record) }
        if case .identity = record.body, let rule = identity.body.recovery, rule.keys.contains(record.key) {
            try checkStrangers(record, allowed: Set(rule.keys))
            let friends = record.signatures.count { rule.keys.contains($0.by) }
            if friends >= rule.need { return }
        }
        try checkStrangers(record, allowed: [])
        guard let key = identity.body.keys.first(where: { $0.key == record.key }) else {
            let revoked = identity.former.contains(record.key)
            throw AdmissionError(
                revoked ? .revokedKey : .wrongSigner, record.key.address,
                revoked
                    ? "key \(record.key.address) was revoked by \(record.author.address)"
                    : "key \(record.key.address) does not act for \(record.author.address)")
        }
        if let until = key.until, until <= time {
            throw AdmissionError(.expiredKey, record.key.address, "key \(record.key.address) expired at \(until)")
        }
        guard !key.roles.isDisjoint(with: record.kind.roles) else {
            let roles = record.kind.roles.map(\.rawValue).sorted().joined(separator: " or ")
            throw AdmissionError(
                .wrongRole, record.key.address,
                "key \(record.key.address) has not the role \(roles) of \(record.kind.rawValue) records")
        }
        if key.scope != nil { try checkScope(key, record) }
    }

    private func checkStrangers(_ record: Record, allowed: Set<PublicKey>) throws(AdmissionError) {
        let stranger = record.signatures.first { $0.by != record.key && !allowed.contains($0.by) }
        if let stranger {
            throw AdmissionError(
                .straySignature, stranger.by.address,
                "the signature of \(stranger.by.address) has no part in this record")
        }
    }

    private func checkScope(_ key: AgentKey, _ record: Record) throws(AdmissionError) {
        let name: String?
        switch record.body {
        case .identity, .farm, .node, .result, .liveness: return
        case .image(let body): name = body.name
        case .contract(let body): name = body["name"]?.string
        case .approval(let body): name = contract(body.contract)?.name
        case .cancel(let body): name = contract(body.contract)?.name
        case .placement(let body): name = contract(body.contract)?.name
        case .name(.reveal(let text, _, _)), .name(.renew(let text, _)), .name(.transfer(let text, _)): name = text
        case .name(.commit): name = nil
        }
        guard let name, key.reaches(name) else {
            throw AdmissionError(
                .outOfScope, record.key.address,
                "key \(record.key.address) reaches “\(key.scope ?? "")” only, not “\(name ?? "a hidden name")”")
        }
    }

    /// An identity that nobody knows yet may write one thing: its own identity record, with its own first key.
    private func checkNewcomer(_ record: Record) throws(AdmissionError) {
        guard case .identity = record.body else {
            throw AdmissionError(
                .unknownIdentity, record.author.address, "identity \(record.author.address) is not in this ledger")
        }
        guard record.key == record.author else {
            throw AdmissionError(
                .wrongSigner, record.key.address, "the first record of an identity is signed by its own first key")
        }
        let members = Set(genesis.members)
        try checkStrangers(record, allowed: members)
        let admitted = record.signatures.contains { members.contains($0.by) }
        if genesis.rules.admission == .members, !admitted {
            throw AdmissionError(
                .notAdmitted, record.author.address, "a new identity needs the signature of a member of this ledger")
        }
        guard budget.newIdentities < genesis.rules.identitiesPerBlock else {
            throw AdmissionError(.identitiesFull, "block", "the block has all the new identities that it may have")
        }
    }
}
