import CanonicalJSON
import Contracts
import Crypto
import LedgerClient
import LedgerState
import Merkle
import Records
import Testing

@testable import LedgerStore

/// Everything that the ledger must refuse, put past it: a member that checks nothing wrote it into a block and signed the
/// checkpoint. A node that follows refuses the block, says why, and keeps the last good state.
@Suite struct SmuggledTests {
    enum Trick: String, CaseIterable, Sendable {
        case changedByte, wrongSigner, borrowedKey, unsigned, wrongRole, revokedKey, expiredKey, replayed, skipped,
            anotherGrid, missingApprovals, droppedApprover, outsideConstraints, unknownNode, notAuthor, oldEpoch,
            skippedEpoch, overCapacity
    }

    /// The block's record, why it must be refused, and what the reason has to name.
    private struct Lie {
        let scenario: Scenario
        let record: Record
        let code: AdmissionError.Code
        let names: String
    }

    private static func lie(_ trick: Trick) throws -> Lie {
        var world = try Scenario()
        let (alice, bob) = (try world.person("alice"), try world.person("bob", roles: [.approve]))
        let node = try world.node("node-1")
        let far = try world.node("node-2", country: "ZA")
        let id = try world.write(alice, .contract(ContractMaker(place: ["country": "BE"]).body())).id
        try world.write(alice, .placement(world.placement(id, on: node.publicKey)))
        let next = RecordBody.contract(try ContractMaker(name: "next").body())
        let count = try #require(world.sequences[alice.agent.publicKey])
        func record(_ body: RecordBody, _ seq: Int64? = nil, by key: SigningKey? = nil) -> Record {
            let key = key ?? alice.agent
            return RecordDraft(author: alice.id, key: key.publicKey, seq: seq ?? count + 1, body: body)
                .signed(by: key, ledger: world.ledger)
        }
        func lie(_ record: Record, _ code: AdmissionError.Code, _ names: String) -> Lie {
            Lie(scenario: world, record: record, code: code, names: names)
        }
        let agent = alice.agent.publicKey.address
        switch trick {
        case .changedByte:
            var text = String(decoding: record(next).canonicalBytes, as: UTF8.self)
            text.replace(#""memory":134217728"#, with: #""memory":134217729"#)
            return lie(try Record(canonical: Array(text.utf8)), .badSignature, agent)
        case .wrongSigner:
            return lie(record(next, 1, by: bob.agent), .wrongSigner, bob.agent.publicKey.address)
        case .borrowedKey:
            let forged = RecordDraft(author: alice.id, key: alice.agent.publicKey, seq: count + 1, body: next)
            return lie(forged.signed(by: bob.agent, ledger: world.ledger), .unsigned, agent)
        case .unsigned:
            let draft = RecordDraft(author: alice.id, key: alice.agent.publicKey, seq: count + 1, body: next)
            return lie(draft.signed([]), .unsigned, agent)
        case .wrongRole: return lie(record(next, 2, by: alice.owner), .wrongRole, "deploy")
        case .replayed: return lie(record(next, count), .replayed, "\(count)")
        case .skipped: return lie(record(next, count + 2), .skipped, "\(count + 2)")
        case .anotherGrid:
            let draft = RecordDraft(author: alice.id, key: alice.agent.publicKey, seq: count + 1, body: next)
            return lie(draft.signed(by: alice.agent, ledger: SHA256.hash("another grid")), .badSignature, agent)
        case .outsideConstraints:
            let outside = try world.placement(id, on: far.publicKey, epoch: 2)
            return lie(record(.placement(outside)), .badPlacement, "country")
        case .unknownNode:
            let nowhere = try world.placement(id, on: testKey("no node").publicKey, epoch: 2)
            return lie(record(.placement(nowhere)), .badPlacement, "node")
        case .oldEpoch:
            return lie(record(.placement(try world.placement(id, on: node.publicKey, epoch: 1))), .oldEpoch, "1")
        case .skippedEpoch:
            return lie(record(.placement(try world.placement(id, on: node.publicKey, epoch: 3))), .skippedEpoch, "3")
        case .revokedKey, .expiredKey, .missingApprovals, .droppedApprover, .notAuthor, .overCapacity:
            return try lieAfter(trick, world, alice, node)
        }
    }

    /// Lies that need more history.
    private static func lieAfter(
        _ trick: Trick, _ world: Scenario, _ alice: Scenario.Person, _ node: SigningKey
    ) throws -> Lie {
        var world = world
        let body = RecordBody.contract(try ContractMaker(name: "next").body())
        let agent = alice.agent.publicKey
        switch trick {
        case .revokedKey, .expiredKey:
            var keys = [AgentKey(key: alice.id, roles: [.owner])]
            if trick == .expiredKey {
                keys.append(AgentKey(key: agent, roles: [.deploy], until: world.time + 1500))
            }
            try world.block(world.record(alice.id, alice.owner, .identity(IdentityBody(keys: keys))))
            world.time += 10_000
            let late = world.record(alice.id, alice.agent, body)
            return Lie(
                scenario: world, record: late, code: trick == .revokedKey ? .revokedKey : .expiredKey,
                names: agent.address)
        case .notAuthor:
            let carol = try world.person("carol")
            let theirs = try #require(world.state.contract(of: alice.id, named: "hello"))
            let record = world.record(
                carol.id, carol.agent, .placement(try world.placement(theirs, on: node.publicKey, epoch: 2)))
            return Lie(scenario: world, record: record, code: .notAuthor, names: "")
        case .overCapacity:
            let big = try world.write(alice, .contract(ContractMaker(name: "big", cpu: 3600).body())).id
            let record = world.record(
                alice.id, alice.agent, .placement(try world.placement(big, on: node.publicKey)))
            return Lie(scenario: world, record: record, code: .noCapacity, names: node.publicKey.address)
        default: break
        }
        let auditor = try world.person("auditor")
        let isUpdate = trick == .droppedApprover
        let first = ContractMaker(
            name: "watched", approvals: ContractMaker.rule(isUpdate ? 1 : 2, isUpdate ? [auditor] : [alice, auditor]))
        let id = try world.write(alice, .contract(first.body())).id
        guard isUpdate else {
            // Two are asked for, one agreed.
            try world.write(alice, .approval(ApprovalBody(record: id, contract: id)))
            let contract = try Contract(body: first.body())
            let early = try world.placement(contract, id, on: node.publicKey, version: 1, epoch: 1)
            let record = world.record(alice.id, alice.agent, .placement(early))
            return Lie(scenario: world, record: record, code: .notApproved, names: auditor.id.address)
        }
        try world.write(auditor, .approval(ApprovalBody(record: id, contract: id)))
        try world.write(alice, .placement(world.placement(id, on: node.publicKey)))
        var second = ContractMaker(name: "watched", version: 2, id: id)
        second.approvals = ContractMaker.rule(1, [alice])
        let update = try world.write(alice, .contract(second.body()))
        try world.write(alice, .approval(ApprovalBody(record: update.id, contract: id)))
        let placement = try world.placement(
            Contract(body: second.body()), id, on: node.publicKey, version: 2, epoch: 2)
        let record = world.record(alice.id, alice.agent, .placement(placement))
        return Lie(scenario: world, record: record, code: .notApproved, names: auditor.id.address)
    }

    private func sign(_ checkpoint: Checkpoint, _ key: SigningKey) -> Checkpoint {
        checkpoint.signed([RecordSignature(by: key.publicKey, bytes: key.sign(checkpoint.signingMessage))])
    }

    /// The true blocks and the one with the lie, as `/v1/blocks` would give them.
    private func answers(_ lie: Lie) throws -> [String: [UInt8]] {
        let world = lie.scenario
        var chain = LedgerChain(genesis: world.chain.genesis)
        var bytes: [UInt8] = []
        for block in world.blocks {
            try chain.replay(block)
            let checkpoint = sign(chain.checkpoint, world.member)
            bytes += LedgerArchive.line(block.canonicalBytes, checkpoint.value.canonicalBytes) + [10]
        }
        var log = chain.log
        log.append(lie.record.id.bytes)
        let block = Block(
            height: chain.height + 1, time: world.time + 1000, parent: chain.head, records: [lie.record],
            logRoot: log.root, stateRoot: chain.state.root)
        let checkpoint = sign(
            Checkpoint(
                ledger: world.ledger, height: block.height, time: block.time, block: block.hash, size: log.size,
                logRoot: log.root, stateRoot: chain.state.root, members: [world.member.publicKey]), world.member)
        bytes += LedgerArchive.line(block.canonicalBytes, checkpoint.value.canonicalBytes) + [10]
        return [
            "/v1/genesis": world.chain.genesis.canonicalBytes, "/v1/checkpoint": checkpoint.value.canonicalBytes,
            "/v1/blocks": bytes,
        ]
    }

    @Test(arguments: Trick.allCases)
    func isRefusedByTheLedgerAndByWhoFollows(trick: Trick) async throws {
        let lie = try Self.lie(trick)
        // The ledger itself.
        let refusal = try #require(lie.scenario.refusal(lie.record))
        #expect(refusal.code == lie.code)
        // A node that is shown it in a signed block.
        let transport = FollowerTests.LyingLedger(try answers(lie))
        let follower = LedgerFollower(LedgerClient(id: lie.scenario.ledger, transport: transport), folder: nil)
        let work = Task { await follower.run() }
        for _ in 0..<500 {
            if case .refused = follower.status { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        guard case .refused(let error) = follower.status, case .record(let height, 0, let id, let reason) = error else {
            Issue.record("\(follower.status)")
            return
        }
        #expect(reason == refusal && id == lie.record.id && height == lie.scenario.chain.height + 1)
        // What a person reads of it.
        let text = "\(error)"
        #expect(
            text.contains(lie.code.rawValue) && text.contains(lie.record.id.hex) && text.contains("block \(height)"))
        #expect(text.contains(lie.names), "\(text)")
        // What came before is believed, and nothing of it.
        #expect(follower.checkpoint?.height == height - 1)
        #expect(follower.state?.root == lie.scenario.state.root)
        work.cancel()
        await work.value
    }
}
