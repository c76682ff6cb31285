import Crypto
import ObjectIndex
import Objects
import Testing

@Suite struct StripeTests {
    @Test("Least redundancy first, then age; drained backends last; pages go on where they ended")
    func repairs() throws {
        var fixture = try Fixture()
        let stripes = [
            fixture.stripe([100]), fixture.stripe([100], backends: [0, 1, 2, 3, 4, Stripe.nowhere]),
            fixture.stripe([100], backends: [0, 0, 2, 3, 4, 1]), fixture.stripe([100], backends: [1, 2, 3, 4, 1, 2]),
        ]
        try fixture.commit(stripes.map { .stripeAdd($0) })
        func queue() throws -> [Int] {
            try fixture.read { (view) throws(IndexError) in
                let whole = try view.repairQueue(limit: 100)
                var paged: [RepairItem] = []
                while true {
                    let last = paged.last.map { (priority: $0.priority, number: $0.stripe.number) }
                    guard let item = try view.repairQueue(after: last, limit: 1).first else { break }
                    paged.append(item)
                }
                #expect(paged == whole)
                #expect(try view.repairCounts().reduce(0) { $0 + $1.stripes } == Int64(whole.count))
                return whole.compactMap { item in stripes.firstIndex { $0.id == item.stripe.stripe.id } }
            }
        }
        #expect(try queue() == [1])
        try fixture.commit([.backendSet(Fixture.backend(0, .draining))])
        #expect(try queue() == [1, 0, 2])
        try fixture.commit([.backendSet(Fixture.backend(0, .lost))])
        #expect(try queue() == [1, 2, 0])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.stripe(stripes[1].id)?.redundancy == 0)
            #expect(try view.stripes(on: 0, limit: 10).map(\.stripe.id) == stripes[0...2].map(\.id))
            let first = try view.stripes(on: 0, limit: 2)
            #expect(first.count == 2)
            #expect(try view.stripes(on: 0, after: first[1].number, limit: 2).map(\.stripe.id) == [stripes[2].id])
        }
        try fixture.commit([
            .shardsMoved(stripes[2].id, [ShardMove(index: 0, backend: 5), ShardMove(index: 1, backend: 5)])
        ])
        #expect(try queue() == [1, 0])
        try fixture.commit([.backendSet(Fixture.backend(0, .active))])
        #expect(try queue() == [1])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.backend(5)?.shards == 3)
            #expect(try view.verify() == [])
        }
    }

    @Test("Shared chunks are found by what is in them as long as something uses them")
    func shared() throws {
        var fixture = try Fixture()
        let stripe = fixture.stripe([500, 600], shared: true)
        let manifest = try fixture.commit([
            .stripeAdd(stripe), .manifestAdd(Fixture.manifest(stripe.chunks)),
            .manifestAdd(Fixture.manifest([stripe.chunks[0], stripe.chunks[0]])),
        ])[1].sequence
        let fingerprint = try #require(stripe.chunks[0].shared?.fingerprint)
        func put(_ key: String, _ manifest: UInt64, _ size: Int64) -> Operation {
            .objectPut(
                ObjectPut(
                    bucket: "bucket", key: ObjectKey(key), etag: "", time: 1,
                    segments: [Fixture.segment(manifest, size)],
                    owner: "o"))
        }
        func remove(_ key: String) -> Operation {
            .objectRemove(VersionName(bucket: "bucket", key: ObjectKey(key), version: .null))
        }
        // b is a copy of a; c has the first chunk twice.
        try fixture.commit([
            put("a", manifest, 1044), put("b", manifest, 1044), put("c", manifest + 1, 944), remove("a"),
        ])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.chunk(stripe.chunks[0].id)?.uses == 3)
            #expect(try view.chunk(fingerprint: fingerprint)?.key == stripe.chunks[0].shared?.key)
        }
        #expect(try fixture.commit([remove("b")])[0].deadChunks == 1)
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.chunk(stripe.chunks[0].id)?.uses == 2)
            #expect(try view.chunks(of: stripe.id).map(\.id) == [stripe.chunks[0].id])
            #expect(try view.sparseStripes(permille: 500, limit: 9).map(\.stripe.id) == [stripe.id])
            #expect(try view.sparseStripes(permille: 400, limit: 9).isEmpty)
            #expect(try view.accounts().deadBytes == 600)
        }
        #expect(try fixture.commit([remove("c")])[0].emptied == [stripe.id])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.chunk(fingerprint: fingerprint) == nil)
            #expect(try view.verify() == [])
        }
    }

    @Test("Repacking: chunks are in the new stripe, the old one is empty")
    func moved() throws {
        var fixture = try Fixture()
        let old = fixture.stripe([500, 600, 700])
        let manifest = try fixture.commit([.stripeAdd(old), .manifestAdd(Fixture.manifest(Array(old.chunks[1...])))])[1]
        let empty = fixture.stripe([])
        let new = Stripe(
            id: empty.id, k: 2, m: 1, length: 1300, shardLength: 704, created: 9, shards: [1, 2, 3],
            roots: Array(empty.roots.prefix(3)), chunks: [])
        let effects = try fixture.commit([
            .release(manifests: [], chunks: [old.chunks[0].id]),
            .chunksMoved(
                new,
                [
                    ChunkMove(id: old.chunks[2].id, offset: 0, length: 700),
                    ChunkMove(id: old.chunks[1].id, offset: 700, length: 600),
                ]),
        ])
        #expect(effects[1].emptied == [old.id])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.chunks(of: new.id).map(\.id) == [old.chunks[2].id, old.chunks[1].id])
            #expect(try view.chunks(of: old.id).isEmpty)
            #expect(try view.chunk(old.chunks[1].id)?.offset == 700)
            #expect(try view.manifest(manifest.sequence)?.pieces.count == 2)
            #expect(try view.stripes(after: nil, limit: 9).map(\.stripe.id) == [old.id, new.id].sorted())
            #expect(try view.stripes(after: min(old.id, new.id), limit: 9).map(\.stripe.id) == [max(old.id, new.id)])
            #expect(try view.verify() == [])
        }
    }

    @Test("What a writer left behind is found and given up; what is used is not")
    func abandoned() throws {
        var fixture = try Fixture()
        try fixture.put("kept")
        let stripe = fixture.stripe([300, 400])
        let manifest = try fixture.commit([.stripeAdd(stripe), .manifestAdd(Fixture.manifest([stripe.chunks[0]]))])[1]
        let claim = try fixture.commit([.writer(WriterClaim(epoch: 2, url: "u", time: 1))])[0].sequence
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.writerSequence() == claim)
            #expect(try view.unusedManifests(before: claim, limit: 9) == [manifest.sequence])
            #expect(try view.unusedManifests(before: manifest.sequence, limit: 9).isEmpty)
            #expect(try view.unusedChunks(beforeEpoch: 2, limit: 9) == [stripe.chunks[1].id])
            #expect(try view.unusedChunks(beforeEpoch: 1, limit: 9).isEmpty)
        }
        #expect(throws: IndexError.self) {
            try fixture.commit([.release(manifests: [], chunks: [stripe.chunks[0].id])])
        }
        let effects = try fixture.commit([.release(manifests: [manifest.sequence], chunks: [stripe.chunks[1].id])])
        #expect(effects[0].emptied == [stripe.id])
        #expect(try fixture.writer.view.accounts().objects == 1)
        #expect(try fixture.writer.view.verify() == [])
    }
}
