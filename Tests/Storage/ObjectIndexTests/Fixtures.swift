import Crypto
import ObjectIndex
import Objects

/// What most tests begin with: an index in memory, backends 0…5 on three nodes, a bucket.
struct Fixture {
    let index: ObjectIndex
    var writer: IndexWriter { index.writer }
    private(set) var height: UInt64 = 0
    private var counter: UInt64 = 0

    init(_ path: String? = nil, bucket: String = "bucket", versioning: Versioning = .off) throws {
        index = try ObjectIndex(path: path)
        try commit(
            (0..<6).map { Operation.backendSet(Fixture.backend(UInt16($0))) } + [
                .bucketCreate(Bucket(name: bucket, owner: "GOWNER", created: 1, versioning: versioning))
            ])
    }

    static func backend(_ number: UInt16, _ state: Backend.State = .active) -> Backend {
        Backend(
            number: number, address: "[::1]:\(9900 + Int(number))", farm: "farm\(number / 2)", node: "node\(number)",
            weight: 100, capacity: 1 << 40, state: state)
    }

    /// Applies and commits; the effects of each.
    @discardableResult
    mutating func commit(_ operations: [Operation]) throws -> [Effects] {
        height += 1
        try writer.begin()
        do {
            let effects = try operations.map { try writer.apply($0) }
            try writer.commit(height: height, chain: Array(SHA256.hash("\(height)").bytes))
            return effects
        } catch {
            try writer.rollback()
            throw error
        }
    }

    mutating func chunkID() -> ChunkID {
        counter += 1
        return ChunkID(epoch: 1, counter: counter)
    }

    /// A stripe of 4+2 with chunks of these stored lengths, one behind the other; 28 bytes of each are not plain.
    mutating func stripe(_ lengths: [Int], shared: Bool = false, backends: [UInt16] = [0, 1, 2, 3, 4, 5]) -> Stripe {
        var offset = 0
        var chunks: [Chunk] = []
        for length in lengths {
            let id = chunkID()
            chunks.append(
                Chunk(
                    id: id, offset: offset, length: length, plainLength: length - 28, codec: 1,
                    shared: shared
                        ? SharedChunk(fingerprint: SHA256.hash("\(id)"), key: SHA256.hash("key \(id)").bytes) : nil))
            offset += length
        }
        counter += 1
        return Stripe(
            id: StripeID(epoch: 1, counter: counter), k: 4, m: 2, length: offset,
            shardLength: (offset / 4 + 64) / 64 * 64, created: 7, shards: backends,
            roots: (0..<6).map { SHA256.hash("root \($0)") }, chunks: chunks)
    }

    static func manifest(_ chunks: [Chunk]) -> Manifest {
        Manifest(
            size: Int64(chunks.reduce(0) { $0 + $1.plainLength }),
            pieces: chunks.map { Manifest.Piece(id: $0.id, plainLength: $0.plainLength) },
            sealedKeys: [UInt8](repeating: 7, count: 32 * chunks.count + 16))
    }

    static func segment(_ manifest: UInt64, _ size: Int64) -> Segment {
        Segment(manifest: manifest, size: size, wrappedKey: [UInt8](repeating: 9, count: 48), generation: 1)
    }

    /// Puts an object of one chunk in a stripe of its own; its stripe and manifest.
    @discardableResult
    mutating func put(_ key: String, bytes: Int = 1000, bucket: String = "bucket") throws -> (Stripe, UInt64) {
        let stripe = stripe([bytes + 28])
        let manifest = writer.nextSequence + 1
        try commit([
            .stripeAdd(stripe), .manifestAdd(Fixture.manifest(stripe.chunks)),
            .objectPut(
                ObjectPut(
                    bucket: bucket, key: ObjectKey(key), etag: String(repeating: "ab", count: 16), time: 5,
                    attributes: ["content-type": "text/plain"],
                    segments: [Fixture.segment(manifest, Int64(bytes))], owner: "GOWNER")),
        ])
        return (stripe, manifest)
    }

    func read<Result>(_ body: (IndexView) throws(IndexError) -> Result) throws -> Result {
        try index.withReader(body)
    }
}
