import Crypto
import ObjectIndex
import Objects
import Testing

@Suite struct MisfitTests {
    /// An index with something of everything: object a (manifest 9), upload 11 with part 2, a dying stripe.
    private func fixture() throws -> (Fixture, stripe: Stripe, dying: Stripe) {
        var fixture = try Fixture()
        let (stripe, manifest) = try fixture.put("a")
        let dying = fixture.stripe([])
        try fixture.commit([
            .uploadCreate(UploadCreate(bucket: "bucket", key: ObjectKey("u"), time: 1, owner: "o")),
            .partPut(
                PartPut(upload: 11, number: 2, segments: [Fixture.segment(manifest, 1000)], etag: "p", time: 2)),
            .stripeAdd(dying), .stripesDying([dying.id], time: 3), .keyGeneration(4, wrapped: [1]),
            .writer(WriterClaim(epoch: 5, url: "u", time: 1)),
            .accessKeySet(AccessKey(id: "AK", secret: "s", identity: "i", isOwner: true, rights: [:])),
        ])
        return (fixture, stripe, dying)
    }

    private func name(_ key: String, _ version: VersionID = .null, bucket: String = "bucket") -> VersionName {
        VersionName(bucket: bucket, key: ObjectKey(key), version: version)
    }

    private func put(_ segments: [Segment], marker: Bool = false, bucket: String = "bucket") -> Operation {
        .objectPut(
            ObjectPut(
                bucket: bucket, key: ObjectKey("n"), isDeleteMarker: marker, etag: "", time: 1, segments: segments,
                owner: "new owner"))
    }

    private func stripe(_ like: Stripe, k: Int = 4, length: Int? = nil, chunks: [Chunk] = [], shard: UInt16 = 0)
        -> Stripe
    {
        Stripe(
            id: StripeID(epoch: 9, counter: 9), k: k, m: 2, length: length ?? like.length,
            shardLength: like.shardLength, created: 1, shards: [shard, 1, 2, 3, 4, 5], roots: like.roots, chunks: chunks
        )
    }

    private func objects() -> [(Operation, Misfit)] {
        let nobody = name("nobody")
        return [
            (.bucketCreate(Bucket(name: "bucket", owner: "o", created: 1)), .bucketExists("bucket")),
            (.bucketDelete("no"), .noSuchBucket("no")), (.bucketDelete("bucket"), .bucketNotEmpty("bucket")),
            (.bucketVersioning("no", .off), .noSuchBucket("no")),
            (.bucketSetting(bucket: "no", name: "n", value: nil), .noSuchBucket("no")),
            (put([], bucket: "no"), .noSuchBucket("no")),
            (put([Fixture.segment(9, 1000), Fixture.segment(77, 1)]), .noSuchManifest(77)),
            (put([Fixture.segment(9, 999)]), .wrongSize(9)),
            (put([Fixture.segment(9, 1000)], marker: true), .markerWithData),
            (.objectRemove(nobody), .noSuchVersion(nobody)),
            (.objectRemove(name("a", .number(10))), .noSuchVersion(name("a", .number(10)))),
            (.objectAttributes(nobody, [:]), .noSuchVersion(nobody)),
            (.objectRewrap(nobody, generation: 1, keys: []), .noSuchVersion(nobody)),
            (.objectRewrap(name("a"), generation: 1, keys: [[1], [2]]), .wrongKeyCount(2)),
            (.uploadCreate(UploadCreate(bucket: "no", key: ObjectKey("k"), time: 1, owner: "o")), .noSuchBucket("no")),
            (.partPut(PartPut(upload: 9, number: 1, segments: [], etag: "", time: 1)), .noSuchUpload(9)),
            (
                .partPut(PartPut(upload: 11, number: 2, segments: [Fixture.segment(8, 1)], etag: "", time: 1)),
                .noSuchManifest(8)
            ),
            (.uploadAbort(9), .noSuchUpload(9)), (complete(9, [1]), .noSuchUpload(9)),
            (complete(11, []), .partsOutOfOrder(11)), (complete(11, [2, 2]), .partsOutOfOrder(11)),
            (complete(11, [1, 2]), .noSuchPart(11, 1)), (complete(11, [2, 3]), .noSuchPart(11, 3)),
            (.partRewrap(upload: 11, number: 1, generation: 1, keys: []), .noSuchPart(11, 1)),
            (.partRewrap(upload: 11, number: 2, generation: 1, keys: []), .wrongKeyCount(0)),
            (.accessKeyRemove("no"), .noSuchAccessKey("no")),
            (.keyGeneration(4, wrapped: []), .oldGeneration(4)),
            (.writer(WriterClaim(epoch: 5, url: "", time: 1)), .oldEpoch(5)),
            (.snapshot(IndexSnapshot(height: 1, segments: [Fixture.segment(3, 1)])), .noSuchManifest(3)),
        ]
    }

    private func complete(_ upload: UInt64, _ parts: [Int]) -> Operation {
        .uploadComplete(UploadComplete(upload: upload, parts: parts, etag: "", attributes: [:], time: 1))
    }

    private func stripes(_ live: Stripe, _ dying: Stripe) -> [(Operation, Misfit)] {
        let chunk = live.chunks[0]
        let no = StripeID(epoch: 8, counter: 8)
        let noChunk = ChunkID(epoch: 8, counter: 8)
        let new = stripe(live).id
        func piece(_ offset: Int, _ length: Int) -> Chunk {
            Chunk(
                id: ChunkID(epoch: 9, counter: UInt64(offset + 1)), offset: offset, length: length, plainLength: 1,
                codec: 0)
        }
        return [
            (.stripeAdd(live), .stripeExists(live.id)),
            (.stripeAdd(stripe(live, chunks: [chunk])), .chunkExists(chunk.id)),
            (.stripeAdd(stripe(live, k: 5)), .stripeMalformed(new)),
            (.stripeAdd(stripe(live, length: 1 << 20)), .stripeMalformed(new)),
            (.stripeAdd(stripe(live, chunks: [piece(0, 100), piece(99, 5)])), .stripeMalformed(new)),
            (.stripeAdd(stripe(live, chunks: [piece(1000, 29)])), .stripeMalformed(new)),
            (.stripeAdd(stripe(live, chunks: [piece(0, 0)])), .stripeMalformed(new)),
            (.stripeAdd(stripe(live, shard: 6)), .noSuchBackend(6)),
            (
                .manifestAdd(Manifest(size: 1, pieces: [.init(id: noChunk, plainLength: 1)], sealedKeys: [])),
                .noSuchChunk(noChunk)
            ),
            (
                .manifestAdd(Manifest(size: 1, pieces: [.init(id: chunk.id, plainLength: 1)], sealedKeys: [])),
                .wrongLength(chunk.id)
            ),
            (
                .manifestAdd(Manifest(size: 1, pieces: [.init(id: chunk.id, plainLength: 1000)], sealedKeys: [])),
                .wrongSize(18)
            ),
            (.stripesDying([no], time: 1), .noSuchStripe(no)),
            (.stripesDying([live.id], time: 1), .stripeLives(live.id)),
            (.stripesDying([dying.id], time: 1), .stripeDies(dying.id)), (.stripesGone([no]), .noSuchStripe(no)),
            (.stripesGone([dying.id, live.id]), .stripeDoesNotDie(live.id)),
            (.shardsMoved(no, []), .noSuchStripe(no)),
            (
                .shardsMoved(live.id, [ShardMove(index: 0, backend: 2), ShardMove(index: 6, backend: 1)]),
                .noSuchShard(live.id, 6)
            ),
            (.shardsMoved(live.id, [ShardMove(index: 0, backend: 9)]), .noSuchBackend(9)),
            (.chunksMoved(stripe(live), [ChunkMove(id: noChunk, offset: 0, length: 9)]), .noSuchChunk(noChunk)),
            (.chunksMoved(stripe(live), [ChunkMove(id: chunk.id, offset: 0, length: 9)]), .wrongLength(chunk.id)),
            (.chunksMoved(stripe(live), [ChunkMove(id: chunk.id, offset: 1, length: 1028)]), .stripeMalformed(new)),
            (.release(manifests: [9], chunks: []), .manifestInUse(9)),
            (.release(manifests: [8], chunks: []), .noSuchManifest(8)),
            (.release(manifests: [], chunks: [chunk.id]), .chunkInUse(chunk.id)),
            (.release(manifests: [], chunks: [noChunk]), .noSuchChunk(noChunk)),
        ]
    }

    @Test("Each kind of operation that does not fit is refused by name and changes nothing")
    func misfits() throws {
        let (fixture, live, dying) = try fixture()
        let before = try fixture.writer.view.accounts()
        #expect(fixture.writer.nextSequence == 18)
        try fixture.writer.begin()
        for (operation, misfit) in objects() + stripes(live, dying) {
            #expect(throws: IndexError.unfit(operation: operation.name, sequence: 18, misfit), "\(misfit)") {
                try fixture.writer.apply(operation)
            }
            #expect(try fixture.writer.view.accounts() == before, "\(misfit)")
            #expect(try fixture.writer.view.verify() == [], "\(misfit)")
        }
        try fixture.writer.commit(height: 9, chain: [])
        #expect(try fixture.read { (view) throws(IndexError) in try view.verify() } == [])
    }
}
