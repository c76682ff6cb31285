import Crypto
import ObjectIndex
import Objects
import Testing

/// Operations that fit, at random, on an index and on its model.
private struct Run {
    var dice: Dice
    var fixture: Fixture
    var model = StoreModel()
    var pending: [UInt64] = []

    init(_ seed: UInt64) throws {
        dice = Dice(seed)
        fixture = try Fixture()
        model.buckets["bucket"] = .off
        for number in 0..<6 { model.backends[UInt16(number)] = .active }
    }

    static let keys = ["a", "a/", "a/b", "a/b/c", "a/b/d", "a0", "b//x", "b", "\u{ff}z", "z/1", "z/2", "z/3"]

    mutating func key() -> ObjectKey {
        if dice.chance(5) { return ObjectKey([255, 255, UInt8(dice.below(3))]) }
        return ObjectKey(Run.keys[dice.below(Run.keys.count)])
    }

    mutating func bucket() -> String? { model.buckets.keys.sorted().randomElement(using: &dice) }

    mutating func segments() -> [Segment] {
        let manifests = model.manifests.keys.sorted()
        return (0..<dice.below(3)).compactMap { _ in
            manifests.randomElement(using: &dice).flatMap { number in
                model.manifests[number].map { Fixture.segment(number, $0.size) }
            }
        }
    }

    mutating func version() -> VersionName? {
        guard let bucket = bucket(),
            let key = (model.versions[bucket] ?? [:]).keys.sorted().randomElement(using: &dice),
            let version = model.versions[bucket]?[key]?.randomElement(using: &dice)
        else { return nil }
        return VersionName(bucket: bucket, key: key, version: version.id)
    }

    mutating func objectOperation() -> Operation? {
        guard let bucket = bucket() else { return nil }
        switch dice.below(10) {
        case 0...4:
            let isMarker = dice.chance(20)
            return .objectPut(
                ObjectPut(
                    bucket: bucket, key: key(), isDeleteMarker: isMarker, etag: "e\(dice.below(100))", time: 5,
                    attributes: dice.chance(50) ? ["n": "\(dice.below(9))"] : [:],
                    segments: isMarker ? [] : segments(), owner: "owner \(dice.below(3))"))
        case 5, 6: return version().map { .objectRemove($0) }
        case 7: return version().map { .objectAttributes($0, ["n": dice.chance(50) ? nil : "x", "m": "y"]) }
        case 8:
            let name = "bucket\(dice.below(3))"
            if model.buckets[name] == nil { return .bucketCreate(Bucket(name: name, owner: "o", created: 1)) }
            return (model.versions[name] ?? [:]).isEmpty ? .bucketDelete(name) : nil
        default: return .bucketVersioning(bucket, [.off, .enabled, .suspended][dice.below(3)])
        }
    }

    mutating func uploadOperation() -> Operation? {
        let number = model.uploads.keys.sorted().randomElement(using: &dice)
        guard let number, let upload = model.uploads[number], !dice.chance(20) else {
            return bucket().map { .uploadCreate(UploadCreate(bucket: $0, key: key(), time: 3, owner: "o")) }
        }
        let parts = upload.parts.keys.sorted().filter { _ in dice.chance(70) }
        switch dice.below(8) {
        case 0: return .uploadAbort(number)
        case 1 where !parts.isEmpty:
            return .uploadComplete(
                UploadComplete(upload: number, parts: parts, etag: "x-2", attributes: ["c": "d"], time: 9))
        default:
            return .partPut(
                PartPut(upload: number, number: 1 + dice.below(5), segments: segments(), etag: "p", time: 4))
        }
    }

    mutating func stripeOperation() -> Operation? {
        let stripes = model.stripes.keys.sorted()
        switch dice.below(12) {
        case 0...2:
            let backends = (0..<6).map { _ in
                dice.chance(5) ? Stripe.nowhere : UInt16(dice.below(6))
            }
            let lengths = (0..<dice.below(5)).map { _ in 29 + dice.below(1000) }
            return .stripeAdd(fixture.stripe(lengths, shared: dice.chance(50), backends: backends))
        case 3...5:
            let ids = model.chunks.keys.sorted()
            let pieces = (0..<dice.below(4)).compactMap { _ in
                ids.randomElement(using: &dice).flatMap { id in
                    model.chunks[id].map { Manifest.Piece(id: id, plainLength: $0.plain) }
                }
            }
            return .manifestAdd(
                Manifest(size: pieces.reduce(0) { $0 + Int64($1.plainLength) }, pieces: pieces, sealedKeys: [1, 2]))
        case 6:
            let empty = stripes.filter { model.live($0).isEmpty && model.stripes[$0]?.dying == nil }
            return .stripesDying(empty, time: Int64(dice.below(100)))
        case 7: return .stripesGone(stripes.filter { model.stripes[$0]?.dying != nil && dice.chance(50) })
        case 8:
            return stripes.randomElement(using: &dice).map { id in
                .shardsMoved(
                    id,
                    (0..<2).map { _ in
                        ShardMove(
                            index: dice.below(6), backend: dice.chance(20) ? Stripe.nowhere : UInt16(dice.below(6)))
                    })
            }
        case 9: return moves()
        case 10:
            let state = [Backend.State.active, .active, .draining, .lost, .removed][dice.below(5)]
            return .backendSet(Fixture.backend(UInt16(dice.below(6)), state))
        default:
            if dice.chance(30) { return .snapshot(IndexSnapshot(height: 1, segments: segments())) }
            return .release(
                manifests: dice.chance(50) ? Array(model.unusedManifests.prefix(2)) : [],
                chunks: Array(model.unusedChunks.prefix(2)))
        }
    }

    mutating func moves() -> Operation? {
        var stripe = fixture.stripe([])
        var offset = 0
        var moves: [ChunkMove] = []
        for id in model.chunks.keys.sorted() where dice.chance(20) {
            guard let chunk = model.chunks[id] else { continue }
            moves.append(ChunkMove(id: id, offset: offset, length: chunk.length))
            offset += chunk.length
        }
        stripe = Stripe(
            id: stripe.id, k: 4, m: 2, length: offset, shardLength: offset, created: 8, shards: stripe.shards,
            roots: stripe.roots, chunks: [])
        return .chunksMoved(stripe, moves)
    }

    mutating func query() -> ListQuery {
        var query = ListQuery()
        query.prefix = Array(["", "", "a", "a/", "z/", "b/", "nothing"][dice.below(7)].utf8)
        query.delimiter = Array(["", "/", "/", "//", "b"][dice.below(5)].utf8)
        query.limit = dice.chance(30) ? 1000 : dice.below(4)
        if dice.chance(60) {
            query.after = key()
            if dice.chance(50) {
                query.afterVersion = dice.chance(30) ? .null : .number(UInt64(dice.below(300)))
                query.afterUpload = VersionID.number(UInt64(dice.below(300))).description
            }
        }
        return query
    }

    func check<Entry>(
        _ page: ListPage<Entry>, _ expected: [StoreModel.Item], _ query: ListQuery,
        _ item: (Entry) -> StoreModel.Item
    ) {
        let first = expected.prefix(query.limit)
        #expect(page.entries.map(item) == first.filter { if case .entry = $0 { true } else { false } }, "\(query)")
        #expect(
            page.prefixes.map { StoreModel.Item.prefix($0) }
                == first.filter { if case .prefix = $0 { true } else { false } }, "\(query)")
        #expect(page.isTruncated == (query.limit > 0 && expected.count > query.limit), "\(query)")
    }

    mutating func compare(_ view: IndexView) throws {
        #expect(try view.accounts() == model.accounts)
        #expect(try view.verify() == [])
        #expect(try view.repairQueue(limit: 1000).map(\.stripe.stripe.id) == model.repairs)
        #expect(try view.unusedManifests(before: UInt64.max / 2, limit: 1000) == model.unusedManifests)
        #expect(try view.unusedChunks(beforeEpoch: 9, limit: 1000) == model.unusedChunks)
        for (bucket, keys) in model.versions {
            for (key, versions) in keys {
                for version in versions {
                    let found = try view.version(bucket, key, version.id)
                    #expect(found?.segments == version.segments)
                    #expect(found?.version.attributes == version.attributes)
                    #expect(found?.version.parts == version.parts)
                    #expect(found?.version.etag == version.etag)
                    #expect(found?.version.isDeleteMarker == version.isMarker)
                    #expect(found?.version.isLatest == (versions.first == version))
                }
            }
        }
        for _ in 0..<10 {
            guard let bucket = bucket() else { continue }
            let query = query()
            check(try view.list(bucket, query), model.list(bucket, query), query) { .entry($0.key, $0.sequence) }
            check(try view.listVersions(bucket, query), model.listVersions(bucket, query), query) {
                .entry($0.key, $0.sequence)
            }
            check(try view.listUploads(bucket, query), model.listUploads(bucket, query), query) { upload in
                if case .number(let number)? = VersionID(upload.id) { .entry(upload.key, number) } else { .prefix([]) }
            }
        }
    }
}

@Suite struct ModelTests {
    @Test("Random operations: the index says what a plain model says", arguments: 0..<12)
    func model(seed: UInt64) throws {
        var run = try Run(seed)
        for round in 0..<50 {
            try run.fixture.writer.begin()
            let before = run.model
            for _ in 0..<run.dice.below(12) {
                let operation =
                    switch run.dice.below(3) {
                    case 0: run.objectOperation()
                    case 1: run.uploadOperation()
                    default: run.stripeOperation()
                    }
                guard let operation else { continue }
                // What is applied is what a reader of the log has.
                let read = try Entry.decode(try Entry.encode([operation]))
                #expect(read == [operation])
                let effects = try run.fixture.writer.apply(read[0])
                run.model.apply(operation, effects.sequence)
            }
            if run.dice.chance(10) {
                try run.fixture.writer.rollback()
                run.model = before
            } else {
                try run.fixture.writer.commit(height: UInt64(round + 2), chain: [UInt8](repeating: 1, count: 32))
            }
            try run.compare(run.fixture.writer.view)
        }
        try run.fixture.index.withReader { (view) throws(IndexError) in
            #expect(try view.accounts() == run.model.accounts)
            #expect(try view.verify() == [])
        }
    }
}
