import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Merkle
import Records
import Testing

/// What is put past the ledger: blocks that a careful member would never have made, and that everybody refuses.
@Suite struct ReplayTests {
    private struct World {
        var scenario: Scenario
        let alice: Scenario.Person
        let node: SigningKey
        let id: Digest
    }

    private func world() throws -> World {
        var scenario = try Scenario()
        let alice = try scenario.person("alice")
        let node = try scenario.node("node-1")
        let id = try scenario.write(alice, .contract(ContractMaker(place: ["country": "BE"]).body())).id
        try scenario.write(alice, .placement(scenario.placement(id, on: node.publicKey)))
        return World(scenario: scenario, alice: alice, node: node, id: id)
    }

    private func replayed(_ scenario: Scenario) throws -> LedgerChain {
        var chain = LedgerChain(genesis: scenario.chain.genesis)
        for block in scenario.blocks { try chain.replay(Block(canonical: block.canonicalBytes)) }
        return chain
    }

    /// A block with one more record in it, and the roots that a member who does not check would write.
    private func smuggled(_ scenario: Scenario, _ record: Record) -> Block {
        var log = scenario.chain.log
        log.append(record.id.bytes)
        return Block(
            height: scenario.chain.height + 1, time: scenario.time + 1, parent: scenario.chain.head, records: [record],
            logRoot: log.root, stateRoot: scenario.state.root)
    }

    @Test func everybodyComesToTheSameRoots() throws {
        let world = try world()
        let chain = try replayed(world.scenario)
        #expect(chain.state.root == world.scenario.state.root)
        #expect(chain.log.root == world.scenario.chain.log.root)
        #expect(chain.head == world.scenario.chain.head)
    }

    @Test func aLedgerThatContainsWhatMustNotBeIsRefusedWithTheReason() throws {
        var world = try world()
        let chain = try replayed(world.scenario)
        let (alice, id) = (world.alice, world.id)
        let next = RecordBody.contract(try ContractMaker(name: "next").body())
        let far = try testKey("no node").publicKey
        func record(_ seq: Int64, _ body: RecordBody, key: SigningKey? = nil, ledger: Digest? = nil) -> Record {
            let key = key ?? alice.agent
            return RecordDraft(author: alice.id, key: key.publicKey, seq: seq, body: body)
                .signed(by: key, ledger: ledger ?? world.scenario.ledger)
        }
        let contract = try #require(world.scenario.state.contract(id)?.approved).contract
        let outside = try world.scenario.placement(contract, id, on: far, version: 1, epoch: 2)
        let old = try world.scenario.placement(id, on: world.node.publicKey, epoch: 1)
        let unapproved = try world.scenario.placement(contract, id, on: world.node.publicKey, version: 2, epoch: 2)
        var text = String(decoding: record(3, next).canonicalBytes, as: UTF8.self)
        text.replace(#""memory":134217728"#, with: #""memory":134217729"#)
        let cases: [(Record, AdmissionError.Code)] = [
            (try Record(canonical: Array(text.utf8)), .badSignature),
            (record(1, next, key: try testKey("mallory")), .wrongSigner),
            (record(2, next, key: alice.owner), .wrongRole),
            (record(2, next), .replayed),
            (record(9, next), .skipped),
            (record(3, next, ledger: SHA256.hash("another grid")), .badSignature),
            (record(3, .placement(unapproved)), .notApproved),
            (record(3, .placement(outside)), .badPlacement),
            (record(3, .placement(old)), .oldEpoch),
        ]
        for (record, code) in cases {
            var follower = chain
            let block = smuggled(world.scenario, record)
            do {
                try follower.replay(block)
                Issue.record("\(code) was not refused")
            } catch {
                guard case .record(let height, 0, record.id, let reason) = error else {
                    Issue.record("\(code): \(error)")
                    continue
                }
                #expect(reason.code == code && height == block.height)
            }
            #expect(follower.height == chain.height && follower.state.root == chain.state.root)
        }
        // The last one: a key that was revoked in the block before.
        let keys = [AgentKey(key: alice.id, roles: [.owner])]
        try world.scenario.block(world.scenario.record(alice.id, alice.owner, .identity(IdentityBody(keys: keys))))
        var follower = try replayed(world.scenario)
        #expect(throws: ReplayError.self) { try follower.replay(smuggled(world.scenario, record(3, next))) }
    }

    @Test func blocksThatDoNotFitAreRefused() throws {
        var world = try world()
        let chain = try replayed(world.scenario)
        try world.scenario.write(world.alice, .contract(ContractMaker(name: "next").body()))
        let good = try #require(world.scenario.blocks.last)
        func block(
            height: Int64? = nil, time: Int64? = nil, parent: Digest? = nil, records: [Record]? = nil,
            logRoot: Digest? = nil, stateRoot: Digest? = nil
        ) -> Block {
            Block(
                height: height ?? good.height, time: time ?? good.time, parent: parent ?? good.parent,
                records: records ?? good.records, logRoot: logRoot ?? good.logRoot,
                stateRoot: stateRoot ?? good.stateRoot)
        }
        let wrong = SHA256.hash("wrong")
        let height = good.height
        let cases: [(Block, ReplayError)] = [
            (block(height: height + 1), .height(height + 1, expected: height)),
            (block(parent: wrong), .parent(height: height)),
            (block(time: world.scenario.blocks[world.scenario.blocks.count - 2].time), .time(height: height)),
            (block(logRoot: wrong), .logRoot(height: height)),
            (block(stateRoot: wrong), .stateRoot(height: height)),
            (block(records: []), .logRoot(height: height)),
        ]
        for (block, expected) in cases {
            var follower = chain
            #expect(throws: expected) { try follower.replay(block) }
            #expect(follower.head == chain.head)
        }
        var follower = chain
        try follower.replay(good)
        #expect(throws: ReplayError.height(height, expected: height + 1)) { try follower.replay(good) }
    }

    @Test func checkpointsProveExactlyOneChain() throws {
        let world = try world()
        let chain = world.scenario.chain
        func signed(_ checkpoint: Checkpoint, _ key: SigningKey) -> Checkpoint {
            checkpoint.signed([RecordSignature(by: key.publicKey, bytes: key.sign(checkpoint.signingMessage))])
        }
        let good = signed(chain.checkpoint, world.scenario.member)
        try chain.check(good)
        #expect(try Checkpoint(good.value) == good)
        #expect(throws: ReplayError.self) { try chain.check(chain.checkpoint) }
        #expect(throws: ReplayError.self) { try chain.check(signed(chain.checkpoint, testKey("mallory"))) }
        let other = try Scenario(nonce: "another grid")
        #expect(throws: ReplayError.self) { try other.chain.check(good) }
        var earlier = LedgerChain(genesis: chain.genesis)
        try earlier.replay(world.scenario.blocks[0])
        #expect(throws: ReplayError.fork(height: good.height)) { try earlier.check(good) }
    }

    @Test func snapshotsAreVerifiedWhole() throws {
        let world = try world()
        let chain = world.scenario.chain
        let key = world.scenario.member
        let checkpoint = chain.checkpoint.signed([
            RecordSignature(by: key.publicKey, bytes: key.sign(chain.checkpoint.signingMessage))
        ])
        let bytes = LedgerSnapshot.bytes(chain, checkpoint)
        let (again, signed) = try LedgerSnapshot.read(bytes, genesis: chain.genesis)
        #expect(signed == checkpoint)
        #expect(again.state.root == chain.state.root && again.log == chain.log && again.head == chain.head)
        #expect(again.state.isConsistent)
        // It goes on exactly as the chain that was replayed from the start.
        var scenario = world.scenario
        try scenario.write(world.alice, .contract(ContractMaker(name: "next").body()))
        var follower = again
        try follower.replay(try #require(scenario.blocks.last))
        #expect(follower.state.root == scenario.state.root)
        // Any changed byte is noticed.
        for index in stride(from: 0, to: bytes.count, by: 11) {
            var changed = bytes
            changed[index] ^= 1
            #expect(throws: ReplayError.self, "byte \(index)") {
                try LedgerSnapshot.read(changed, genesis: chain.genesis)
            }
        }
        #expect(throws: ReplayError.self) { try LedgerSnapshot.read(Array(bytes.dropLast(2)), genesis: chain.genesis) }
        #expect(throws: ReplayError.self) { try LedgerSnapshot.read([], genesis: chain.genesis) }
    }

    @Test func stateIsProved() throws {
        let world = try world()
        let state = world.scenario.state
        state.forEach { leaf in
            let proof = state.proof(of: leaf.key.text)
            #expect(proof.shows(leaf.entry.hash, at: StateHash.path(leaf.key.text), root: state.root))
            #expect(StateKey(leaf.key.text) == leaf.key)
            #expect((try? StateEntry(leaf.entry.value, at: leaf.key)) == leaf.entry)
            #expect((try? StateProof(proof.value)) == proof)
        }
        let absent = StateKey.contract(SHA256.hash("never written")).text
        #expect(state.proof(of: absent).shows(nil, at: StateHash.path(absent), root: state.root))
        #expect(!state.proof(of: absent).shows(SHA256.hash("x"), at: StateHash.path(absent), root: state.root))
    }
}
