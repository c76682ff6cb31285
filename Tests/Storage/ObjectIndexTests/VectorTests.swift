import Bytes
import Crypto
import Glibc
import ObjectIndex
import Objects
import Testing

/// The operations of `Documentation/formats/vectors/zero-stor-log.py`.
enum Vectors {
    static let chunks = [
        Chunk(id: id(3, 10), offset: 0, length: 4124, plainLength: 5000, codec: 1),
        Chunk(
            id: id(3, 11), offset: 4124, length: 300, plainLength: 272, codec: 0,
            shared: SharedChunk(fingerprint: SHA256.hash("fingerprint"), key: SHA256.hash("key").bytes)),
        Chunk(id: id(3, 20), offset: 4424, length: 29, plainLength: 1, codec: 0),
        Chunk(id: id(2, 500), offset: 4453, length: 40, plainLength: 12, codec: 2),
    ]
    static let stripe = Stripe(
        id: StripeID(epoch: 3, counter: 12), k: 4, m: 2, length: 4493, shardLength: 1152, created: 1_700_000_000_000,
        shards: [0, 1, 2, 3, 4, Stripe.nowhere], roots: (0..<6).map { SHA256.hash("root \($0)") }, chunks: chunks)
    static let segments = [
        Segment(manifest: 7, size: 5272, wrappedKey: [UInt8](repeating: 1, count: 40), generation: 2),
        Segment(manifest: 300, size: 0, wrappedKey: [], generation: 0),
    ]
    static let parts = [
        ObjectPart(
            number: 1, size: 5272, etag: "e1", modified: 1_700_000_000_001,
            attributes: ["checksum-crc32c": "AAAAAA=="]),
        ObjectPart(number: 10000, size: 0, etag: "", modified: 0),
    ]

    static func id(_ epoch: UInt64, _ counter: UInt64) -> ChunkID { ChunkID(epoch: epoch, counter: counter) }
    static func stripe(_ epoch: UInt64, _ counter: UInt64) -> StripeID { StripeID(epoch: epoch, counter: counter) }
    static func name(_ version: VersionID) -> VersionName {
        VersionName(bucket: "photos", key: ObjectKey("a"), version: version)
    }

    static let operations: [(String, Operation)] = buckets + objects + uploads + stripes + others

    private static let buckets: [(String, Operation)] = [
        (
            "bucketCreate",
            .bucketCreate(
                Bucket(
                    name: "photos", owner: "GOWNER", created: 1_700_000_000_000, versioning: .enabled,
                    settings: ["cors": [0, 255], "a": []]))
        ),
        ("bucketDelete", .bucketDelete("photos")),
        ("bucketVersioning", .bucketVersioning("photos", .suspended)),
        ("bucketSetting", .bucketSetting(bucket: "photos", name: "policy", value: Array("{}".utf8))),
        ("bucketSetting-removed", .bucketSetting(bucket: "photos", name: "policy", value: nil)),
    ]

    private static let objects: [(String, Operation)] = [
        (
            "objectPut",
            .objectPut(
                ObjectPut(
                    bucket: "photos", key: ObjectKey("été/1"), etag: String(repeating: "0", count: 32) + "-2",
                    time: 1_700_000_000_002, attributes: ["content-type": "image/png", "é": "ü", "z": ""],
                    parts: parts, segments: segments, owner: "GOWNER"))
        ),
        (
            "objectPut-marker",
            .objectPut(
                ObjectPut(
                    bucket: "photos", key: ObjectKey([255, 0]), isDeleteMarker: true, etag: "", time: 1, segments: [],
                    owner: "GOWNER"))
        ),
        ("objectRemove", .objectRemove(name(.number(0x12_3456_789a)))),
        ("objectRemove-null", .objectRemove(name(.null))),
        ("objectAttributes", .objectAttributes(name(.null), ["gone": nil, "tag": "x"])),
        ("objectRewrap", .objectRewrap(name(.number(1)), generation: 3, keys: [[1], [2, 3]])),
    ]

    private static let uploads: [(String, Operation)] = [
        (
            "uploadCreate",
            .uploadCreate(
                UploadCreate(
                    bucket: "photos", key: ObjectKey("a"), attributes: ["x": "y"], time: 5, owner: "GOWNER", seal: [9]))
        ),
        ("partPut", .partPut(PartPut(upload: 128, number: 3, segments: segments, etag: "e3", time: 6))),
        (
            "uploadComplete",
            .uploadComplete(
                UploadComplete(upload: 128, parts: [1, 3, 200], etag: "e-3", attributes: ["x": "y"], time: 7))
        ),
        ("uploadAbort", .uploadAbort(128)),
        ("partRewrap", .partRewrap(upload: 128, number: 3, generation: 3, keys: [])),
    ]

    private static let stripes: [(String, Operation)] = [
        ("stripeAdd", .stripeAdd(stripe)),
        (
            "manifestAdd",
            .manifestAdd(
                Manifest(
                    size: 5273,
                    pieces: [
                        .init(id: id(3, 10), plainLength: 5000), .init(id: id(3, 11), plainLength: 272),
                        .init(id: id(3, 10), plainLength: 0), .init(id: id(3, 20), plainLength: 1),
                    ], sealedKeys: [UInt8](repeating: 5, count: 33)))
        ),
        (
            "stripesDying",
            .stripesDying([stripe(3, 12), stripe(3, 13), stripe(4, 1), stripe(3, 14)], time: 1_700_000_000_003)
        ),
        ("stripesGone", .stripesGone([stripe(3, 12)])),
        (
            "shardsMoved",
            .shardsMoved(
                stripe(3, 12), [ShardMove(index: 0, backend: 7), ShardMove(index: 5, backend: Stripe.nowhere)])
        ),
        (
            "chunksMoved",
            .chunksMoved(
                Stripe(
                    id: stripe(4, 1), k: 1, m: 0, length: 340, shardLength: 384, created: 8, shards: [2],
                    roots: [SHA256.hash("root 0")], chunks: []),
                [
                    ChunkMove(id: id(3, 11), offset: 0, length: 300),
                    ChunkMove(id: id(2, 500), offset: 300, length: 40),
                ])
        ),
        ("release", .release(manifests: [5, 300], chunks: [id(3, 10), id(3, UInt64.max - 1 << 40)])),
    ]

    private static let others: [(String, Operation)] = [
        (
            "accessKeySet",
            .accessKeySet(
                AccessKey(
                    id: "AK", secret: "secret", identity: "GUSER", isOwner: false,
                    rights: ["photos": "full", "*": "read"]))
        ),
        ("accessKeyRemove", .accessKeyRemove("AK")),
        (
            "backendSet",
            .backendSet(
                Backend(
                    number: 0x1234, address: "[::1]:9900", farm: "farm", node: "node", weight: 100, capacity: 1 << 40,
                    state: .draining))
        ),
        (
            "policySet",
            .policySet(
                Policy(
                    k: 16, m: 4, margin: 1, surviveNodes: 4, surviveFarms: 1, graceMs: 86_400_000, codec: 2,
                    contentDefined: true, minimumChunk: 262_144, averageChunk: 1_048_576, maximumChunk: 4_194_304,
                    packSize: 16_777_216, deduplicates: true, extra: [1, 2]))
        ),
        ("keyGeneration", .keyGeneration(UInt32.max, wrapped: [UInt8](repeating: 3, count: 48))),
        ("writer", .writer(WriterClaim(epoch: 9, url: "http://[::1]:9000", time: 1_700_000_000_004))),
        ("snapshot", .snapshot(IndexSnapshot(height: UInt64(Int64.max), segments: segments))),
    ]
}

@Suite struct VectorTests {
    /// Name and bytes of each line.
    private func lines(_ file: String = #filePath) throws -> [(name: String, bytes: [UInt8])] {
        let end = try #require(file.firstRange(of: "/Tests/"))
        let path = file[..<end.lowerBound] + "/Documentation/formats/vectors/zero-stor-log.txt"
        let stream = try #require(fopen(String(path), "r"))
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { bytes += buffer[..<count] }
        return try String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
            let words = line.split(separator: " ")
            return (String(words[0]), try #require(Hex.decode(String(words[1]))))
        }
    }

    @Test("Entries are the bytes that another implementation made out of the document")
    func vectors() throws {
        let byName = Dictionary(uniqueKeysWithValues: Vectors.operations.map { ($0.0, $0.1) })
        var seen: [Operation] = []
        for (name, bytes) in try lines() {
            let operations =
                switch name {
                case "none": [Operation]()
                case "all": seen
                default: [try #require(byName[name])]
                }
            #expect(try Hex.encode(Entry.encode(operations)) == Hex.encode(bytes), "\(name)")
            #expect(try Entry.decode(bytes) == operations, "\(name)")
            seen += operations
        }
        #expect(seen.count == 2 * Vectors.operations.count)
        #expect(Set(Vectors.operations.map(\.1.name)).count == 27)
    }
}
