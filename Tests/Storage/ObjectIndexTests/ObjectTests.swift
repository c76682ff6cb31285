import Crypto
import ObjectIndex
import Objects
import Testing

@Suite struct ObjectTests {
    @Test("What was put is found, with all that a read needs")
    func put() throws {
        var fixture = try Fixture()
        let (stripe, manifest) = try fixture.put("a/b", bytes: 5000)
        try fixture.read { (view) throws(IndexError) in
            let found = try view.version("bucket", ObjectKey("a/b"))
            #expect(found?.version.id == .null)
            #expect(found?.version.size == 5000)
            #expect(found?.version.etag == String(repeating: "ab", count: 16))
            #expect(found?.version.attributes == ["content-type": "text/plain"])
            #expect(found?.version.isLatest == true)
            #expect(found?.owner == "GOWNER")
            #expect(found?.segments == [Fixture.segment(manifest, 5000)])
            #expect(try view.manifest(manifest) == Fixture.manifest(stripe.chunks))
            let chunk = try view.chunk(stripe.chunks[0].id)
            #expect(chunk?.stripe == stripe.id)
            #expect(chunk?.length == 5028)
            #expect(chunk?.uses == 1)
            let state = try view.stripe(stripe.id)
            #expect(state?.stripe.shards == stripe.shards)
            #expect(state?.stripe.roots == stripe.roots)
            #expect(state?.liveBytes == 5028)
            #expect(try view.version("bucket", ObjectKey("a")) == nil)
            #expect(try view.version("other", ObjectKey("a/b")) == nil)
        }
    }

    @Test("Replacing a null version releases what it was made of, down to the stripe")
    func replace() throws {
        var fixture = try Fixture()
        let (stripe, manifest) = try fixture.put("a")
        let second = fixture.stripe([528])
        let effects = try fixture.commit([
            .stripeAdd(second), .manifestAdd(Fixture.manifest(second.chunks)),
            .objectPut(
                ObjectPut(
                    bucket: "bucket", key: ObjectKey("a"), etag: "odd", time: 6,
                    segments: [Fixture.segment(fixture.writer.nextSequence + 1, 500)], owner: "GOWNER")),
        ])
        #expect(effects[2].manifests == [manifest])
        #expect(effects[2].emptied == [stripe.id])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.emptyStripes(limit: 10) == [stripe.id])
            #expect(try view.accounts().objects == 1)
            #expect(try view.accounts().objectBytes == 500)
            #expect(try view.version("bucket", ObjectKey("a"))?.version.etag == "odd")
        }
        try fixture.commit([.stripesDying([stripe.id], time: 100)])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.dyingStripes(since: 99, limit: 10).isEmpty)
            #expect(try view.dyingStripes(since: 100, limit: 10).map(\.stripe.id) == [stripe.id])
        }
        try fixture.commit([.stripesGone([stripe.id])])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.stripe(stripe.id) == nil)
            #expect(try view.accounts().rawBytes == Int64(second.shardLength * 6))
            #expect(try view.backend(3)?.bytes == Int64(second.shardLength))
        }
    }

    @Test("An operation that does not fit is named and leaves nothing behind")
    func unfit() throws {
        var fixture = try Fixture()
        let (stripe, manifest) = try fixture.put("a")
        let before = try fixture.read { (view) throws(IndexError) in try view.accounts() }
        try fixture.writer.begin()
        #expect(
            throws: IndexError.unfit(operation: "objectPut", sequence: 11, .noSuchManifest(999))
        ) {
            try fixture.writer.apply(
                .objectPut(
                    ObjectPut(
                        bucket: "bucket", key: ObjectKey("b"), etag: "", time: 1,
                        segments: [Fixture.segment(manifest, 1000), Fixture.segment(999, 1)], owner: "x")))
        }
        #expect(throws: IndexError.self) { try fixture.writer.apply(.stripesDying([stripe.id], time: 1)) }
        #expect(throws: IndexError.self) { try fixture.writer.apply(.bucketDelete("bucket")) }
        try fixture.writer.apply(.objectRemove(VersionName(bucket: "bucket", key: ObjectKey("a"), version: .null)))
        // Had the first one left its reference behind, the manifest would be there still.
        #expect(try fixture.writer.view.manifest(manifest) == nil)
        try fixture.writer.rollback()
        #expect(try fixture.writer.view.accounts() == before)
        #expect(try fixture.writer.view.manifest(manifest) != nil)
        #expect(fixture.writer.nextSequence == 11)
    }
}

@Suite struct KeeperTests {
    @Test("Keys are wrapped anew: of versions and of parts, their data stays")
    func rotation() throws {
        var fixture = try Fixture()
        let (_, manifest) = try fixture.put("a")
        let segment = Fixture.segment(manifest, 1000)
        let upload = try fixture.commit([
            .uploadCreate(UploadCreate(bucket: "bucket", key: ObjectKey("u"), time: 1, owner: "o", seal: [1]))
        ])[0].sequence
        try fixture.commit([
            .partPut(PartPut(upload: upload, number: 7, segments: [segment, segment], etag: "p", time: 2)),
            .keyGeneration(1, wrapped: [1]), .keyGeneration(2, wrapped: [2, 2]),
            .objectRewrap(
                VersionName(bucket: "bucket", key: ObjectKey("a"), version: .null), generation: 2, keys: [[5]]),
            .partRewrap(upload: upload, number: 7, generation: 2, keys: [[6], [7]]),
        ])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.keyGenerations().map(\.generation) == [1, 2])
            let object = try view.version("bucket", ObjectKey("a"))
            #expect(object?.segments.map(\.wrappedKey) == [[5]])
            #expect(object?.segments.map(\.generation) == [2])
            #expect(object?.segments.map(\.manifest) == [manifest])
            let part = try view.parts(upload).first
            #expect(part?.segments.map(\.wrappedKey) == [[6], [7]])
            #expect(part?.part.size == 2000)
            #expect(try view.upload(upload)?.seal == [1])
            let id = VersionID.number(upload).description
            #expect(try view.upload("bucket", ObjectKey("u"), id)?.number == upload)
            #expect(try view.upload("bucket", ObjectKey("a"), id) == nil)
            #expect(try view.upload("bucket", ObjectKey("u"), "ffffffffffffffff") == nil)
            #expect(try view.versions("bucket", after: nil, limit: 9).map(\.version.key) == [ObjectKey("a")])
            #expect(try view.verify() == [])
        }
    }

    @Test("Keys of users, settings, the policy and who writes are as they were set last")
    func singles() throws {
        var fixture = try Fixture()
        let key = AccessKey(id: "AK", secret: "s", identity: "i", isOwner: false, rights: ["*": "read"])
        var policy = Policy(
            k: 4, m: 2, margin: 1, graceMs: 1, codec: 1, minimumChunk: 1, averageChunk: 2, maximumChunk: 3, packSize: 4)
        try fixture.commit([
            .accessKeySet(AccessKey(id: "AK", secret: "old", identity: "i", isOwner: true, rights: [:])),
            .accessKeySet(key),
            .accessKeySet(AccessKey(id: "AA", secret: "", identity: "", isOwner: false, rights: [:])),
            .bucketSetting(bucket: "bucket", name: "x", value: [1]),
            .bucketSetting(bucket: "bucket", name: "y", value: []),
            .bucketSetting(bucket: "bucket", name: "x", value: nil), .bucketVersioning("bucket", .suspended),
            .policySet(policy), .writer(WriterClaim(epoch: 1, url: "a", time: 1)),
        ])
        policy.m = 3
        let claim = WriterClaim(epoch: 2, url: "b", time: 2)
        try fixture.commit([.policySet(policy), .writer(claim), .accessKeyRemove("AA")])
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.accessKey("AK") == key)
            #expect(try view.accessKeys() == [key])
            #expect(try view.policy() == policy)
            #expect(try view.writer() == claim)
            #expect(try view.bucket("bucket")?.settings == ["y": []])
            #expect(try view.bucket("bucket")?.versioning == .suspended)
            #expect(try view.backends().map(\.backend) == (0..<6).map { Fixture.backend($0) })
        }
    }
}
