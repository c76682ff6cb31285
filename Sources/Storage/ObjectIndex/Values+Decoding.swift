internal import Objects

extension FieldReader {
    mutating func bucket() throws(OperationError) -> Bucket {
        let name = try text(Limits.name)
        let owner = try text(Limits.name)
        let created = try signed("time")
        let versioning = try versioning()
        let settings = try map("setting", Limits.attributes) { (reader) throws(OperationError) in
            try reader.blob(Limits.setting)
        }
        return Bucket(name: name, owner: owner, created: created, versioning: versioning, settings: settings)
    }

    mutating func versioning() throws(OperationError) -> Versioning {
        let start = offset
        switch try u8() {
        case 0: return .off
        case 1: return .enabled
        case 2: return .suspended
        default: throw .outOfRange("versioning", offset: start)
        }
    }

    mutating func stripe() throws(OperationError) -> Stripe {
        let id: StripeID = try id()
        let start = offset
        let k = try int("k", 1...Limits.shards)
        let m = try int("m", 0...Limits.shards)
        guard k + m <= Limits.shards else { throw .outOfRange("shards", offset: start) }
        let length = try int("stripe", 0...Limits.stripe)
        let shardLength = try int("shard", 0...Limits.stripe)
        let created = try signed("time")
        var stripe = Stripe(
            id: id, k: k, m: m, length: length, shardLength: shardLength, created: created, shards: [], roots: [],
            chunks: [])
        for _ in 0..<(k + m) { stripe.shards.append(try u16()) }
        var roots = stripe.roots
        for _ in 0..<(k + m) { roots.append(try digest()) }
        var last: ChunkID?
        let chunks = try list("chunks", Limits.stripeChunks) { (reader) throws(OperationError) in
            let id: ChunkID = try reader.id(after: last)
            last = id
            return try reader.chunk(id)
        }
        return Stripe(
            id: id, k: k, m: m, length: length, shardLength: shardLength, created: created, shards: stripe.shards,
            roots: roots, chunks: chunks)
    }

    private mutating func chunk(_ id: ChunkID) throws(OperationError) -> Chunk {
        let offset = try int("chunk", 0...Limits.stripe)
        let length = try int("chunk", 0...Limits.stripe)
        let plainLength = try int("chunk", 0...Limits.stripe)
        let codec = try u8()
        let shared = try optional("shared") { (reader) throws(OperationError) in
            let fingerprint = try reader.digest()
            return SharedChunk(fingerprint: fingerprint, key: try reader.fixed(32))
        }
        return Chunk(id: id, offset: offset, length: length, plainLength: plainLength, codec: codec, shared: shared)
    }

    mutating func pieces() throws(OperationError) -> [Manifest.Piece] {
        var last: ChunkID?
        return try list("chunks", Limits.manifestChunks) { (reader) throws(OperationError) in
            let id: ChunkID = try reader.id(after: last)
            last = id
            return Manifest.Piece(id: id, plainLength: try reader.int("chunk", 0...Limits.stripe))
        }
    }

    mutating func segments() throws(OperationError) -> [Segment] {
        try list("segments", Limits.segments) { (reader) throws(OperationError) in
            let manifest = try reader.number("manifest")
            let size = try reader.signed("size")
            let key = try reader.blob(Limits.wrapped)
            return Segment(
                manifest: manifest, size: size, wrappedKey: key, generation: try reader.u32("generation"))
        }
    }

    mutating func parts() throws(OperationError) -> [ObjectPart] {
        try list("parts", Limits.parts) { (reader) throws(OperationError) in
            let number = try reader.int("part", 1...Limits.parts)
            let size = try reader.signed("size")
            let etag = try reader.text(Limits.etag)
            let time = try reader.signed("time")
            return ObjectPart(
                number: number, size: size, etag: etag, modified: time, attributes: try reader.attributes())
        }
    }

    mutating func accessKey() throws(OperationError) -> AccessKey {
        let id = try text(Limits.name)
        let secret = try text(Limits.wrapped)
        let identity = try text(Limits.name)
        let isOwner = try flag("owner")
        let rights = try map("right", Limits.attributes) { (reader) throws(OperationError) in
            try reader.text(Limits.name)
        }
        return AccessKey(id: id, secret: secret, identity: identity, isOwner: isOwner, rights: rights)
    }

    mutating func backend() throws(OperationError) -> Backend {
        let start = offset
        let number = try u16()
        guard number != Stripe.nowhere else { throw .outOfRange("backend", offset: start) }
        let address = try text(Limits.address)
        let farm = try text(Limits.name)
        let node = try text(Limits.name)
        let weight = try u32("weight")
        let capacity = try signed("capacity")
        let at = offset
        guard let state = Backend.State(rawValue: try u8()) else { throw .outOfRange("state", offset: at) }
        return Backend(
            number: number, address: address, farm: farm, node: node, weight: weight, capacity: capacity, state: state,
            extra: try blob(Limits.wrapped))
    }

    mutating func policy() throws(OperationError) -> Policy {
        let k = try int("k", 1...Limits.shards)
        let m = try int("m", 0...Limits.shards)
        let margin = try int("margin", 0...Limits.shards)
        let nodes = try int("nodes", 0...Limits.shards)
        let farms = try int("farms", 0...Limits.shards)
        let grace = try signed("grace")
        let codec = try u8()
        let contentDefined = try flag("cutting")
        let minimum = try int("chunk", 0...Limits.stripe)
        let average = try int("chunk", 0...Limits.stripe)
        let maximum = try int("chunk", 0...Limits.stripe)
        let pack = try int("pack", 0...Limits.stripe)
        let deduplicates = try flag("deduplication")
        return Policy(
            k: k, m: m, margin: margin, surviveNodes: nodes, surviveFarms: farms, graceMs: grace, codec: codec,
            contentDefined: contentDefined, minimumChunk: minimum, averageChunk: average, maximumChunk: maximum,
            packSize: pack, deduplicates: deduplicates, extra: try blob(Limits.wrapped))
    }

    mutating func claim() throws(OperationError) -> WriterClaim {
        let epoch = try number("epoch")
        let url = try text(Limits.address)
        return WriterClaim(epoch: epoch, url: url, time: try signed("time"))
    }

    mutating func snapshot() throws(OperationError) -> IndexSnapshot {
        let height = try number("height")
        return IndexSnapshot(height: height, segments: try segments())
    }

    mutating func keys() throws(OperationError) -> [[UInt8]] {
        try list("wrapped keys", Limits.segments) { (reader) throws(OperationError) in
            try reader.blob(Limits.wrapped)
        }
    }
}
