import CanonicalJSON
import Crypto
import HTTP
import LedgerClient
import LedgerState
import Linux
import Merkle
import Records
import Testing

@testable import LedgerStore

@Suite struct EngineTests {
    @Test func recordsGetInAndAreProved() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        let first = await alice.identity()
        #expect(try await ledger.client.submit(first) == RecordReceipt(id: first.id, height: 1, index: 0))
        let contract = try await alice.contract("hello")
        let receipt = try await ledger.client.submit(contract)
        #expect(receipt.height == 2)
        let client = ledger.client
        #expect(try await client.checkpoint().height == 2)
        #expect(try await client.proveInclusion(contract.id).size == 2)
        #expect(try await client.sequence(alice.agent.publicKey) == 1)
        let entry = try await client.entry(.contract(contract.id)).entry
        guard case .contract(let found) = entry else {
            Issue.record("no contract")
            return
        }
        #expect(found.state == .approved)
        #expect(try await client.entry(.contract(first.id)).entry == nil)
        #expect(try await client.record(contract.id)?.record == contract)
        #expect(try await client.query(.init(kind: .contract)).map(\.record.id) == [contract.id])
        #expect(
            try await client.query(.init(author: alice.owner.publicKey, after: 0)).map(\.record.id) == [contract.id])
        #expect(try await client.query(.init(contract: contract.id, name: "hello")).count == 1)
        let (chain, checkpoint) = try await client.snapshot()
        #expect(checkpoint.height == 2 && chain.state.contract(contract.id) == found)
        await ledger.stop()
    }

    @Test func refusalsReachTheClientWithTheirReason() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        let early = try await alice.contract("early")
        await #expect(throws: LedgerError.self) { try await ledger.client.submit(early) }
        do { _ = try await ledger.client.submit(early) } catch {
            #expect(error.admission == .unknownIdentity && error.status == 404)
        }
        let identity = await alice.identity()
        _ = try await ledger.client.submit(identity)
        _ = try await ledger.client.submit(early)
        do {
            _ = try await ledger.client.submit(early)
            Issue.record("a replayed record was taken")
        } catch { #expect(error.admission == .replayed && error.status == 409) }
        let stranger = try TestPerson("alice", SHA256.hash("another grid"))
        let foreign = try await stranger.contract("x")
        do {
            _ = try await ledger.client.submit(foreign)
            Issue.record("a record of another grid was taken")
        } catch { #expect(error.admission == .badSignature && error.status == 403) }
        #expect(try await ledger.client.checkpoint().size == 2)
        await ledger.stop()
    }

    @Test func manyWritersShareBlocks() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let people = try (0..<8).map { try TestPerson("person \($0)", ledger.genesis.id) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for person in people {
                group.addTask {
                    _ = try await ledger.client.submit(await person.identity())
                    for number in 0..<10 { _ = try await ledger.client.submit(try await person.contract("c\(number)")) }
                }
            }
            try await group.waitForAll()
        }
        let checkpoint = try await ledger.client.checkpoint()
        #expect(checkpoint.size == 88)
        #expect(checkpoint.height < 88)
        var chain = LedgerChain(genesis: ledger.genesis)
        while chain.height < checkpoint.height {
            for signed in try await ledger.client.blocks(from: chain.height + 1) {
                try chain.replay(signed.block)
                try chain.check(signed.checkpoint)
            }
        }
        #expect(chain.log.size == 88)
        await ledger.stop()
    }

    /// The store is cut off after each of its writes in turn: what was answered is there, nothing is there twice.
    @Test func everyCutIsSurvived() async throws {
        for cut in 0..<14 {
            let folder = try TestLedger.folder("cut")
            let first = try await TestLedger(folder: folder)
            try await first.ready()
            first.storage.cutOff(afterWrites: cut)
            let alice = try TestPerson("alice", first.genesis.id)
            var records = [await alice.identity()]
            for number in 0..<5 { records.append(try await alice.contract("c\(number)")) }
            var answered: [Digest: RecordReceipt] = [:]
            for record in records {
                do { answered[record.id] = try await first.client.submit(record, deadline: .zero) } catch { break }
            }
            await first.stop()
            let again = try await TestLedger(first.storage.reopened(), folder: folder)
            try await again.ready()
            #expect(again.engine.phase == .serving, "cut \(cut)")
            for record in records {
                let found = try await again.client.record(record.id)
                if let receipt = answered[record.id] { #expect(found?.receipt == receipt, "cut \(cut)") }
                if found == nil { _ = try await again.client.submit(record) }
            }
            let size = try await again.client.checkpoint().size
            #expect(size == 6, "cut \(cut)")
            await again.stop()
        }
    }

    @Test func aStoreThatIsAwayIsWaitedFor() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        ledger.storage.setAway(true)
        let record = try await alice.contract("hello")
        do {
            _ = try await ledger.client.submit(record, deadline: .zero)
            Issue.record("a record was taken without a store")
        } catch { #expect(error.code == LedgerError.unavailable && error.status == 503) }
        // What is public can still be read.
        #expect(try await ledger.client.checkpoint().height == 1)
        async let receipt = ledger.client.submit(record, deadline: .seconds(20))
        try await Task.sleep(for: .milliseconds(300))
        ledger.storage.setAway(false)
        #expect(try await receipt.height == 2)
        #expect(try await ledger.client.query(.init(kind: .contract)).count == 1)
        await ledger.stop()
    }

    @Test func aSecondWriterEndsTheFirst() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        // Another ledger wrote the next block.
        try ledger.storage.create(StorageKey.block(2), [1, 2, 3])
        let record = try await alice.contract("hello")
        await #expect(throws: LedgerError.self) { try await ledger.client.submit(record, deadline: .milliseconds(200)) }
        #expect("\(String(describing: ledger.error))".contains("another ledger wrote"))
        await ledger.stop()
    }

    @Test func aFlippedByteIsReportedAndNeverServed() async throws {
        let folder = try TestLedger.folder("flip")
        let ledger = try await TestLedger(folder: folder)
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        for number in 0..<3 { _ = try await ledger.client.submit(try await alice.contract("c\(number)")) }
        await ledger.stop()
        let good = try #require(try ledger.storage.get(StorageKey.block(3)))
        for byte in [0, good.count / 2, good.count - 1] {
            let storage = ledger.storage.reopened()
            storage.flip(StorageKey.block(3), byte: byte)
            let again = try await TestLedger(storage, folder: folder)
            try await again.ready()
            guard case .damaged(let damage) = again.engine.phase else {
                Issue.record("byte \(byte) was not noticed")
                continue
            }
            #expect(damage.place == "block 3" && damage.key == StorageKey.block(3))
            do {
                _ = try await again.client.blocks(from: 1)
                Issue.record("a damaged ledger serves")
            } catch { #expect(error.code == LedgerError.unavailable && error.message.contains("block 3")) }
            await again.stop()
        }
        let storage = ledger.storage.reopened()
        storage.flip(StorageKey.checkpoint(2), byte: 40)
        let again = try await TestLedger(storage, folder: folder)
        try await again.ready()
        guard case .damaged(let damage) = again.engine.phase else {
            Issue.record("a changed checkpoint was not noticed")
            return
        }
        #expect(damage.place == "checkpoint 2")
        await again.stop()
    }

    @Test func aRestartTakesTheSnapshotAndReplaysTheRest() async throws {
        let folder = try TestLedger.folder("snapshot")
        let ledger = try await TestLedger(folder: folder)
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        for number in 0..<6 { _ = try await ledger.client.submit(try await alice.contract("c\(number)")) }
        let plan = SnapshotPlan(tiled: 0, height: 0)
        await ledger.engine.storeSnapshot(plan)
        _ = try await ledger.client.submit(try await alice.contract("after"))
        await ledger.stop()
        #expect(ledger.storage.keys.contains(StorageKey.snapshots))

        // Damage below the snapshot does not hinder the start; it is found when it is read, and by the scrub.
        let storage = ledger.storage.reopened()
        storage.flip(StorageKey.block(2), byte: 100)
        let again = try await TestLedger(storage, folder: folder)
        try await again.ready()
        #expect(again.engine.phase == .serving && again.engine.height == 8)
        #expect(try await again.client.blocks(from: 1).map(\.block.height) == [1])
        do {
            _ = try await again.client.blocks(from: 2)
            Issue.record("a damaged block was served")
        } catch { #expect(error.code == LedgerError.damaged && error.subject == "block 2") }
        await again.engine.scrub()
        #expect(again.engine.damages.map(\.place) == ["block 2"])
        // Proofs are made from the stored tiles of the log.
        let first = try await again.client.query(.init(limit: 1))
        #expect(try await again.client.proveInclusion(try #require(first.first).record.id).size == 8)
        await again.stop()

        // A damaged snapshot is passed over.
        let other = ledger.storage.reopened()
        other.flip(StorageKey.piece(7, 0), byte: 200)
        let third = try await TestLedger(other, folder: folder)
        try await third.ready()
        #expect(third.engine.phase == .serving && third.engine.height == 8)
        await third.stop()
    }

    @Test func theIndexIsDerived() async throws {
        let folder = try TestLedger.folder("index")
        let ledger = try await TestLedger(folder: folder)
        try await ledger.ready()
        let alice = try TestPerson("alice", ledger.genesis.id)
        _ = try await ledger.client.submit(await alice.identity())
        for number in 0..<3 { _ = try await ledger.client.submit(try await alice.contract("c\(number)")) }
        await ledger.stop()
        for harm in [["rm", "-f"], ["sh", "-c", "echo rubbish > \"$0\""]] {
            let path = folder + "/index.sqlite"
            for suffix in ["", "-wal", "-shm"] { try? File.remove(path + suffix) }
            _ = try await runBlocking { try Subprocess.run(harm[0], Array(harm.dropFirst()) + [path]) }
            let again = try await TestLedger(ledger.storage.reopened(), folder: folder)
            try await again.ready()
            #expect(try await again.client.query(.init(kind: .contract)).count == 3)
            await again.stop()
        }
    }

    @Test func theDoorRefusesRubbish() async throws {
        let ledger = try await TestLedger()
        try await ledger.ready()
        let rubbish: [[UInt8]] = [
            [], [0], Array("{}".utf8), Array("null".utf8), [UInt8](repeating: 0x5B, count: 100_000),
            Array(#"{"a": 1}"#.utf8), [0xFF, 0xFE], [UInt8](repeating: 65, count: 500_000),
        ]
        for bytes in rubbish {
            let answer = await LedgerService(engine: ledger.engine).answer(
                HTTPRequest(method: "POST", target: "/v1/records", headers: [:], body: bytes))
            #expect((400..<500).contains(answer.status))
        }
        for target in [
            "/", "/v1/blocks?from=0", "/v1/blocks?from=x", "/v1/blocks?from=99", "/v1/proof/state", "/v1/nothing",
            "/v1/proof/inclusion?id=zz", "/v1/proof/consistency?from=9", "/v1/query?kind=nothing", "/v1/query?limit=0",
            "/v1/proof/state?key=contract/00&more=1",
        ] {
            let answer = await LedgerService(engine: ledger.engine).answer(
                HTTPRequest(method: "GET", target: target, headers: [:], body: []))
            #expect((400..<500).contains(answer.status), "\(target): \(answer.status)")
        }
        await ledger.stop()
    }
}
