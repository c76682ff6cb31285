import CanonicalJSON
import Crypto
import LedgerClient
import LedgerState
import Linux
import Merkle
import Records
import Synchronization
import Testing

@testable import LedgerStore

@Suite struct FollowerTests {
    @Test func aFollowerComesToTheSameStateAndGoesOnAfterRestarts() async throws {
        let folder = try TestLedger.folder("follower")
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        let follower = LedgerFollower(ledger.client, folder: folder)
        let work = Task { await follower.run() }
        let first = try await ledger.client.submit(try await alice.contract("one"))
        let state = try #require(await follower.state(at: first.height, deadline: .seconds(10)))
        #expect(state.contract(of: alice.owner.publicKey, named: "one") == first.id)
        #expect(follower.status == .following)
        // A long poll wakes at once.
        let before = ContinuousClock.now
        let second = try await ledger.client.submit(try await alice.contract("two"))
        _ = await follower.state(at: second.height, deadline: .seconds(10))
        #expect(ContinuousClock.now - before < .seconds(2))
        work.cancel()
        await work.value
        // A new one begins where the old one was.
        let next = LedgerFollower(ledger.client, folder: folder)
        let caught = try await next.catchUp()
        #expect(caught.root == (try await ledger.client.checkpoint().stateRoot))
        // And the quick one from a snapshot of the ledger.
        let quick = LedgerFollower(ledger.client, folder: nil, start: .snapshot)
        #expect(try await quick.catchUp().root == caught.root)
        await ledger.stop()
    }

    @Test func writersNumberTheirRecords() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        let one = LedgerWriter(ledger.client, author: alice.owner.publicKey, key: alice.agent)
        let two = LedgerWriter(ledger.client, author: alice.owner.publicKey, key: alice.agent)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<4 {
                group.addTask { try await one.write(.contract(try ContractMaker(name: "a\(number)").body())) }
                group.addTask { try await two.write(.contract(try ContractMaker(name: "b\(number)").body())) }
            }
            try await group.waitForAll()
        }
        #expect(try await ledger.client.sequence(alice.agent.publicKey) == 8)
        await #expect(throws: LedgerError.self) { try await one.write(.contract(try ContractMaker(name: "a1").body())) }
        try await one.write(.contract(try ContractMaker(name: "c").body()))
        await ledger.stop()
    }

    /// A ledger that shows whatever it is told to.
    final class LyingLedger: LedgerTransport {
        let honest: any LedgerTransport
        let answers = Mutex<[String: [UInt8]]>([:])

        init(_ answers: [String: [UInt8]]) {
            honest = Nothing()
            self.answers.withLock { $0 = answers }
        }

        private struct Nothing: LedgerTransport {
            func exchange(
                _ method: String, _ path: String, body: [UInt8], deadline: Duration
            ) async throws(LedgerError) -> LedgerAnswer { LedgerAnswer(status: 404, body: []) }
        }

        func exchange(
            _ method: String, _ path: String, body: [UInt8], deadline: Duration
        ) async throws(LedgerError) -> LedgerAnswer {
            let name = path.split(separator: "?").first.map(String.init) ?? path
            guard let answer = answers.withLock({ $0[name] }) else { return LedgerAnswer(status: 404, body: []) }
            if name == "/v1/blocks" {
                answers.withLock { $0[name] = [] }
                try? await Task.sleep(for: .milliseconds(20))
            }
            return LedgerAnswer(status: 200, body: answer)
        }
    }

    private func signed(_ chain: LedgerChain, _ key: SigningKey) -> Checkpoint {
        let checkpoint = chain.checkpoint
        return checkpoint.signed([RecordSignature(by: key.publicKey, bytes: key.sign(checkpoint.signingMessage))])
    }

    private func lines(_ scenario: Scenario, _ last: (Block, Checkpoint)? = nil) throws -> [UInt8] {
        var chain = LedgerChain(genesis: scenario.chain.genesis)
        var bytes: [UInt8] = []
        for block in scenario.blocks {
            try chain.replay(block)
            let checkpoint = signed(chain, scenario.member)
            bytes += LedgerArchive.line(block.canonicalBytes, checkpoint.value.canonicalBytes) + [10]
        }
        if let (block, checkpoint) = last {
            bytes += LedgerArchive.line(block.canonicalBytes, checkpoint.value.canonicalBytes) + [10]
        }
        return bytes
    }

    /// A member that signs anything puts a placement outside the constraints into a block: the follower refuses the
    /// ledger with the reason and keeps the last good state.
    @Test func aLedgerThatLiesIsRefusedWithTheReason() async throws {
        var scenario = try Scenario()
        let alice = try scenario.person("alice")
        _ = try scenario.node("node-1")
        let far = try scenario.node("node-2", country: "ZA")
        let id = try scenario.write(alice, .contract(ContractMaker(place: ["country": "BE"]).body())).id
        let outside = scenario.record(
            alice.id, alice.agent, .placement(try scenario.placement(id, on: far.publicKey)))
        var log = scenario.chain.log
        log.append(outside.id.bytes)
        let block = Block(
            height: scenario.chain.height + 1, time: scenario.time + 5, parent: scenario.chain.head,
            records: [outside], logRoot: log.root, stateRoot: scenario.state.root)
        let lie = Checkpoint(
            ledger: scenario.ledger, height: block.height, time: block.time, block: block.hash, size: log.size,
            logRoot: log.root, stateRoot: scenario.state.root, members: [scenario.member.publicKey])
        let checkpoint = lie.signed([
            RecordSignature(by: scenario.member.publicKey, bytes: scenario.member.sign(lie.signingMessage))
        ])
        let transport = LyingLedger([
            "/v1/genesis": scenario.chain.genesis.canonicalBytes, "/v1/checkpoint": checkpoint.value.canonicalBytes,
            "/v1/blocks": try lines(scenario, (block, checkpoint)),
        ])
        let follower = LedgerFollower(LedgerClient(id: scenario.ledger, transport: transport), folder: nil)
        do {
            _ = try await follower.catchUp()
            Issue.record("the lie was believed")
        } catch let error as ReplayError {
            guard case .record(block.height, 0, outside.id, let reason) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(reason.code == .badPlacement)
        }
        // The same while it runs: the status tells, and nothing is acted on.
        transport.answers.withLock { $0["/v1/blocks"] = (try? lines(scenario, (block, checkpoint))) ?? [] }
        let running = LedgerFollower(LedgerClient(id: scenario.ledger, transport: transport), folder: nil)
        let work = Task { await running.run() }
        for _ in 0..<200 {
            if case .refused = running.status { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        guard case .refused(.record(_, _, _, let reason)) = running.status else {
            Issue.record("\(running.status)")
            return
        }
        #expect(reason.code == .badPlacement)
        #expect(running.state?.placement(id) == nil)
        work.cancel()
        await work.value
    }

    @Test func anOlderOrForeignLedgerIsRefused() async throws {
        var scenario = try Scenario()
        let alice = try scenario.person("alice")
        let early = scenario
        try scenario.write(alice, .contract(ContractMaker().body()))
        let folder = try TestLedger.folder("stale")
        func answers(_ scenario: Scenario) throws -> [String: [UInt8]] {
            [
                "/v1/genesis": scenario.chain.genesis.canonicalBytes,
                "/v1/checkpoint": signed(scenario.chain, scenario.member).value.canonicalBytes,
                "/v1/blocks": try lines(scenario),
            ]
        }
        func follower(_ answers: [String: [UInt8]]) -> LedgerFollower {
            LedgerFollower(LedgerClient(id: scenario.ledger, transport: LyingLedger(answers)), folder: folder)
        }
        _ = try await follower(answers(scenario)).catchUp()
        // The ledger's past, as somebody kept it.
        await #expect(throws: ReplayError.stale(height: 1, seen: 2)) { try await follower(answers(early)).catchUp() }
        // Another second block, signed by the same member.
        var fork = early
        try fork.write(alice, .contract(ContractMaker(name: "forked").body()))
        await #expect(throws: ReplayError.fork(height: 2)) { try await follower(answers(fork)).catchUp() }
        // A stored snapshot that is gone does not help: the highest block is remembered by itself.
        try File.remove(folder + "/snapshot")
        await #expect(throws: ReplayError.fork(height: 2)) { try await follower(answers(fork)).catchUp() }
        await #expect(throws: ReplayError.stale(height: 1, seen: 2)) { try await follower(answers(early)).catchUp() }
        _ = try await follower(answers(scenario)).catchUp()
        // Another ledger altogether.
        let other = try Scenario(nonce: "another grid")
        await #expect(throws: (any Error).self) { try await follower(answers(other)).catchUp() }
    }

    /// One bit of an answer is turned after the other: what the client returns is what the honest ledger said, or an error.
    @Test func changedAnswersAreNeverBelieved() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        let old = try await ledger.client.checkpoint()
        let record = try await alice.contract("hello")
        _ = try await ledger.client.submit(record)
        let bytes = try await ledger.answers([
            "/v1/checkpoint", "/v1/proof/state?key=contract/\(record.id.hex)",
            "/v1/proof/inclusion?id=\(record.id.hex)",
            "/v1/proof/consistency?from=\(old.size)", "/v1/snapshot", "/v1/query?id=\(record.id.hex)",
        ])
        let honest = try await ledger.client.checkpoint()
        let entry = try await ledger.client.entry(.contract(record.id)).entry
        await ledger.stop()
        for (path, body) in bytes {
            let name = String(path.split(separator: "?")[0])
            for index in stride(from: 0, to: body.count, by: max(1, body.count / 150)) {
                var changed = body
                changed[index] ^= 1
                let client = LedgerClient(
                    id: ledger.genesis.id, genesis: ledger.genesis, transport: LyingLedger([name: changed]))
                switch name {
                case "/v1/checkpoint":
                    if let found = try? await client.checkpoint() { #expect(found == honest, "byte \(index)") }
                case "/v1/proof/state":
                    if let found = try? await client.entry(.contract(record.id)) { #expect(found.entry == entry) }
                case "/v1/proof/inclusion":
                    if let found = try? await client.proveInclusion(record.id) { #expect(found == honest) }
                case "/v1/proof/consistency":
                    if let found = try? await client.proveConsistency(since: old) { #expect(found == honest) }
                case "/v1/query":
                    if let found = try? await client.record(record.id) { #expect(found.record.id == record.id) }
                default:
                    if let found = try? await client.snapshot() { #expect(found.0.state.root == honest.stateRoot) }
                }
            }
        }
    }
}
