import Contracts
import Crypto
import Records

extension LedgerState {
    mutating func apply(_ body: IdentityBody, _ record: Record) throws(AdmissionError) {
        let old = identity(record.author)
        let kept = Set(body.keys.map(\.key))
        if let expired = body.keys.first(where: { ($0.until ?? Int64.max) <= time }) {
            throw AdmissionError(.badTime, expired.key.address, "key \(expired.key.address) would be expired already")
        }
        let dropped = (old?.body.keys ?? []).map(\.key).filter { !kept.contains($0) }
        let former = (old?.former ?? []).filter { !kept.contains($0) && !dropped.contains($0) } + dropped
        let entry = IdentityEntry(
            body: body, record: record.id, former: Array(former.suffix(IdentityEntry.formerLimit)))
        put(.identity(entry), at: .identity(record.author))
        if old == nil { budget.newIdentities += 1 }
    }

    mutating func apply(_ body: NodeBody, _ record: Record) throws(AdmissionError) {
        if let farm = body.farm, self.farm(farm) == nil {
            throw AdmissionError(.unknownFarm, farm.address, "\(farm.address) has no farm")
        }
        put(.node(NodeEntry(body: body, live: .up, record: record.id)), at: .node(record.author))
    }

    mutating func apply(_ body: LivenessBody, _ record: Record) throws(AdmissionError) {
        guard body.node == record.author || isMember(record.author) else {
            throw AdmissionError(.wrongSigner, record.author.address, "a node's liveness is its own word or a member's")
        }
        guard var node = node(body.node) else {
            throw AdmissionError(.unknownNode, body.node.address, "\(body.node.address) is no node of this ledger")
        }
        node.live = body.state
        put(.node(node), at: .node(body.node))
    }

    mutating func apply(_ body: ImageBody, _ record: Record) throws(AdmissionError) {
        let key = StateKey.image(record.author, body.name)
        if body.isRemoval {
            guard self[key] != nil else {
                throw AdmissionError(.unknownImage, body.name, "\(record.author.address) has no image “\(body.name)”")
            }
            remove(key)
            return
        }
        if self[key] == nil, Int64(index.images[record.author] ?? 0) >= genesis.rules.images {
            throw AdmissionError(.limit, "images", "an identity may have \(genesis.rules.images) images")
        }
        put(.image(ImageEntry(body: body, record: record.id)), at: key)
    }

    mutating func apply(_ body: NameBody, _ record: Record) throws(AdmissionError) {
        switch body {
        case .commit(let hash):
            guard commit(hash) == nil else {
                throw AdmissionError(.duplicate, hash.hex, "this name is reserved already")
            }
            guard Int64(index.names[record.author] ?? 0) < genesis.rules.names else {
                throw AdmissionError(.limit, "names", "an identity may hold \(genesis.rules.names) names")
            }
            put(.commit(CommitEntry(author: record.author, height: height)), at: .commit(hash))
        case .reveal(let name, let nonce, let expires): try reveal(name, nonce, expires, record)
        case .renew(let name, let expires):
            guard let entry = self.name(name), entry.holder == record.author, !isFree(entry) else {
                throw AdmissionError(.nameNotHeld, name, "“\(name)” is not held by \(record.author.address)")
            }
            try checkHorizon(expires, after: entry.expires, of: "the name “\(name)”")
            put(.name(NameEntry(holder: record.author, expires: expires)), at: .name(name))
        case .transfer(let name, let target):
            guard let entry = self.name(name), holds(name, record.author) else {
                throw AdmissionError(.nameNotHeld, name, "“\(name)” is not held by \(record.author.address)")
            }
            guard identity(target) != nil else {
                throw AdmissionError(
                    .unknownIdentity, target.address, "identity \(target.address) is not in this ledger")
            }
            guard Int64(index.names[target] ?? 0) < genesis.rules.names else {
                throw AdmissionError(.limit, "names", "an identity may hold \(genesis.rules.names) names")
            }
            put(.name(NameEntry(holder: target, expires: entry.expires)), at: .name(name))
        }
    }

    private mutating func reveal(
        _ name: String, _ nonce: [UInt8], _ expires: Int64, _ record: Record
    ) throws(AdmissionError) {
        let hash = NameBody.commitment(name: name, nonce: nonce, holder: record.author)
        guard let reserved = commit(hash), reserved.author == record.author else {
            throw AdmissionError(
                .unknownCommit, name, "“\(name)” was not reserved in the last \(genesis.rules.revealBlocks) blocks")
        }
        guard reserved.height < height else {
            throw AdmissionError(
                .unknownCommit, name, "“\(name)” was reserved in this very block, reveal it in the next")
        }
        if let entry = self.name(name), !isFree(entry) {
            throw AdmissionError(.nameTaken, name, "“\(name)” is held by \(entry.holder.address)")
        }
        try checkHorizon(expires, after: time, of: "the name “\(name)”")
        remove(.commit(hash))
        put(.name(NameEntry(holder: record.author, expires: expires)), at: .name(name))
    }

    /// Whether everybody may take a name that was held once.
    private func isFree(_ entry: NameEntry) -> Bool { entry.expires + genesis.rules.nameGrace <= time }

    func checkHorizon(_ expires: Int64, after start: Int64, of what: String) throws(AdmissionError) {
        guard expires > start, expires > time else {
            throw AdmissionError(
                .badTime, "expires", "\(what) would expire at \(expires), which is not after \(max(start, time))")
        }
        guard expires - time <= genesis.rules.horizon else {
            throw AdmissionError(
                .badTime, "expires",
                "\(what) would expire at \(expires), the furthest is \(time + genesis.rules.horizon)")
        }
    }
}
