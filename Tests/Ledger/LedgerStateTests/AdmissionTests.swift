import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records
import Testing

@Suite struct AdmissionTests {
    @Test func aContractIsDeployedPlacedReportedAndCancelled() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let node = try world.node("node-1")
        let id = try world.write(alice, .contract(ContractMaker().body())).id
        #expect(world.state.status(id) == .approved)
        let placement = try world.write(alice, .placement(world.placement(id, on: node.publicKey)))
        #expect(world.state.placement(id)?.record == placement.id)
        #expect(world.state.status(id) == .deploying)
        #expect(world.state.used(on: node.publicKey).cpu == 500)
        #expect(world.state.contracts(on: node.publicKey) == [id])

        func result(_ state: WorkloadResult.State) -> RecordBody {
            .result(
                ResultBody(
                    contract: id, version: 1, epoch: 1,
                    workloads: ["web": WorkloadResult(state: state, since: world.time, access: "10.0.0.2:7700")]))
        }
        try world.block(world.record(node.publicKey, node, result(.running)))
        #expect(world.state.status(id) == .deployed)
        try world.block(world.record(node.publicKey, node, result(.failed)))
        #expect(world.state.status(id) == .failed)
        try world.write(alice, .cancel(CancelBody(contract: id)))
        #expect(world.state.status(id) == .cancelling)
        #expect(world.attempt(alice, .cancel(CancelBody(contract: id)))?.code == .contractOver)
        try world.block(world.record(node.publicKey, node, result(.removed)))
        #expect(world.state.status(id) == .cancelled)
        #expect(world.state.used(on: node.publicKey).cpu == 0)
        #expect(world.state.contracts(on: node.publicKey) == [])
        #expect(world.state.placement(id) == nil && world.state.result(id, node.publicKey) == nil)
        // The name is free again.
        try world.write(alice, .contract(ContractMaker().body()))
    }

    @Test func aChangedByteIsRefused() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let good = world.record(alice.id, alice.agent, .contract(try ContractMaker().body()))
        #expect(world.refusal(good) == nil)
        for index in stride(from: 0, to: good.canonicalBytes.count, by: 7) {
            var bytes = good.canonicalBytes
            bytes[index] ^= 1
            guard let changed = try? Record(canonical: bytes) else { continue }
            #expect(world.refusal(changed) != nil, "byte \(index)")
        }
        // A change that is well-formed in every other respect.
        var text = String(decoding: good.canonicalBytes, as: UTF8.self)
        text.replace(#""cpu":500"#, with: #""cpu":501"#)
        let changed = try Record(canonical: Array(text.utf8))
        #expect(world.refusal(changed)?.code == .badSignature)
    }

    @Test func wrongSignersAndRolesAreRefused() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let bob = try world.person("bob", roles: [.approve])
        let body = RecordBody.contract(try ContractMaker().body())
        // Bob's key in Alice's name.
        let forged = RecordDraft(author: alice.id, key: bob.agent.publicKey, seq: 1, body: body)
            .signed(by: bob.agent, ledger: world.ledger)
        #expect(world.refusal(forged)?.code == .wrongSigner)
        // Alice's key named, Bob's signature.
        let borrowed = RecordDraft(author: alice.id, key: alice.agent.publicKey, seq: 1, body: body)
            .signed(by: bob.agent, ledger: world.ledger)
        #expect(world.refusal(borrowed)?.code == .unsigned)
        // Both.
        let both = RecordDraft(author: alice.id, key: alice.agent.publicKey, seq: 1, body: body)
            .signed(by: alice.agent, bob.agent, ledger: world.ledger)
        #expect(world.refusal(both)?.code == .straySignature)
        // Roles.
        #expect(world.attempt(bob, body)?.code == .wrongRole)
        let owner = RecordDraft(author: alice.id, key: alice.id, seq: 2, body: body)
            .signed(by: alice.owner, ledger: world.ledger)
        #expect(world.refusal(owner)?.code == .wrongRole)
        // Nobody knows carol.
        let carol = try testKey("carol")
        let stranger = RecordDraft(author: carol.publicKey, seq: 1, body: body).signed(by: carol, ledger: world.ledger)
        #expect(world.refusal(stranger)?.code == .unknownIdentity)
    }

    @Test func revokedAndExpiredKeysAreRefused() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        try world.write(alice, .contract(ContractMaker(name: "first").body()))
        let owner = AgentKey(key: alice.id, roles: [.owner])
        let next = try testKey("alice's phone")
        let until = world.time + 10_000
        let keys = [owner, AgentKey(key: next.publicKey, roles: [.deploy], until: until)]
        try world.block(world.record(alice.id, alice.owner, .identity(IdentityBody(keys: keys))))
        let body = RecordBody.contract(try ContractMaker(name: "second").body())
        #expect(world.attempt(alice, body)?.code == .revokedKey)
        let phone = Scenario.Person(owner: alice.owner, agent: next)
        #expect(world.attempt(phone, body) == nil)
        world.time = until
        #expect(world.attempt(phone, body)?.code == .expiredKey)
        // Listed again, it counts again.
        let again = [owner, AgentKey(key: alice.agent.publicKey, roles: [.deploy])]
        try world.block(world.record(alice.id, alice.owner, .identity(IdentityBody(keys: again))))
        #expect(world.attempt(alice, body) == nil)
    }

    @Test func replayedAndSkippedSequencesAreRefused() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let first = try world.write(alice, .contract(ContractMaker(name: "one").body()))
        #expect(world.refusal(first)?.code == .replayed)
        let body = RecordBody.contract(try ContractMaker(name: "two").body())
        func numbered(_ seq: Int64) -> Record {
            RecordDraft(author: alice.id, key: alice.agent.publicKey, seq: seq, body: body)
                .signed(by: alice.agent, ledger: world.ledger)
        }
        #expect(world.refusal(numbered(1))?.code == .replayed)
        #expect(world.refusal(numbered(3))?.code == .skipped)
        #expect(world.refusal(numbered(2)) == nil)
        // Each key counts by itself.
        let own = RecordDraft(
            author: alice.id, key: alice.id, seq: 2, body: .farm(FarmBody(name: "attic", country: "BE")))
        #expect(world.refusal(own.signed(by: alice.owner, ledger: world.ledger)) == nil)
    }

    @Test func aSignatureForAnotherGridIsRefused() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        var other = try Scenario(nonce: "another grid")
        let same = try other.person("alice")
        let record = other.record(same.id, same.agent, .contract(try ContractMaker().body()))
        #expect(other.refusal(record) == nil)
        #expect(world.refusal(record)?.code == .badSignature)
        #expect(alice.id == same.id)
    }

    @Test func identitiesAreAdmittedByTheGridsRules() throws {
        var closed = try Scenario(rules: LedgerRules(admission: .members))
        let dora = try testKey("dora")
        let body = IdentityBody(keys: [AgentKey(key: dora.publicKey, roles: [.owner])])
        let draft = RecordDraft(author: dora.publicKey, seq: 1, body: .identity(body))
        #expect(closed.refusal(draft.signed(by: dora, ledger: closed.ledger))?.code == .notAdmitted)
        try closed.block(draft.signed(by: dora, closed.member, ledger: closed.ledger))
        #expect(closed.state.identity(dora.publicKey) != nil)

        let open = try Scenario(rules: LedgerRules(identitiesPerBlock: 2))
        let many = try (0..<3).map { number in
            let key = try testKey("newcomer \(number)")
            let body = IdentityBody(keys: [AgentKey(key: key.publicKey, roles: [.owner])])
            return RecordDraft(author: key.publicKey, seq: 1, body: .identity(body)).signed(
                by: key, ledger: open.ledger)
        }
        let outcomes = open.chain.propose(many, time: open.time).outcomes
        #expect(outcomes == [.success(0), .success(1), .failure(try #require(outcomes[2].failure))])
        #expect(outcomes[2].failure?.code == .identitiesFull)
    }

    @Test func friendsRecoverAnIdentity() throws {
        var world = try Scenario()
        let friends = try (0..<3).map { try testKey("friend \($0)") }
        let alice = try testKey("alice")
        let rule = RecoveryRule(keys: friends.map(\.publicKey), need: 2)
        let body = IdentityBody(keys: [AgentKey(key: alice.publicKey, roles: [.owner])], recovery: rule)
        try world.block(world.record(alice.publicKey, alice, .identity(body)))
        let fresh = try testKey("alice's new key")
        let saved = IdentityBody(keys: [AgentKey(key: fresh.publicKey, roles: [.owner])], recovery: rule)
        let draft = RecordDraft(author: alice.publicKey, key: friends[0].publicKey, seq: 1, body: .identity(saved))
        #expect(world.refusal(draft.signed(by: friends[0], ledger: world.ledger))?.code == .wrongSigner)
        let stranger = try testKey("stranger")
        #expect(world.refusal(draft.signed(by: friends[0], stranger, ledger: world.ledger))?.code == .straySignature)
        try world.block(draft.signed(by: friends[0], friends[2], ledger: world.ledger))
        let again = RecordDraft(author: alice.publicKey, seq: 2, body: .identity(body))
        #expect(world.refusal(again.signed(by: alice, ledger: world.ledger))?.code == .revokedKey)
    }

    @Test func scopesAreKept() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let robot = try testKey("robot")
        let keys = [
            AgentKey(key: alice.id, roles: [.owner]),
            AgentKey(key: robot.publicKey, roles: [.deploy], scope: "blog-*"),
        ]
        try world.block(world.record(alice.id, alice.owner, .identity(IdentityBody(keys: keys))))
        let agent = Scenario.Person(owner: alice.owner, agent: robot)
        #expect(world.attempt(agent, .contract(try ContractMaker(name: "shop").body()))?.code == .outOfScope)
        #expect(world.attempt(agent, .contract(try ContractMaker(name: "blog-1").body())) == nil)
        #expect(world.attempt(agent, .name(.commit(hash: SHA256.hash("x"))))?.code == .outOfScope)
    }

    @Test func limitsHold() throws {
        var world = try Scenario(
            rules: LedgerRules(recordBytes: 4096, identityBlockRecords: 2, openContracts: 2, names: 1))
        let alice = try world.person("alice")
        let records = try (0..<3).map {
            world.record(alice.id, alice.agent, .contract(try ContractMaker(name: "c\($0)").body()))
        }
        let outcomes = world.chain.propose(records, time: world.time + 1).outcomes
        #expect(outcomes.map(\.failure?.code) == [nil, nil, .identityBlockFull])
        try world.block(records[0], records[1])
        #expect(world.refusal(records[2])?.code == .limit)
        world.sequences[alice.agent.publicKey] = 2
        try world.name("alpha", alice)
        #expect(world.attempt(alice, .name(.commit(hash: SHA256.hash("y"))))?.code == .limit)
        var large = ContractMaker(name: "large")
        large.approvals = ContractMaker.rule(1, [alice])
        var body = try large.body()
        body["secrets"] = nil
        let env: [String: JSONValue] = ["TEXT": .string(String(repeating: "x", count: 4000))]
        var workloads = try #require(body["workloads"]?.array)
        workloads[0]["env"] = .object(env)
        body["workloads"] = .array(workloads)
        #expect(world.attempt(alice, .contract(body))?.code == .tooLarge)
    }
}

extension Result {
    var failure: Failure? { if case .failure(let error) = self { error } else { nil } }
}
