import ObjectIndex
import Objects

/// A generator whose run its seed decides.
struct Dice: RandomNumberGenerator {
    var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func below(_ count: Int) -> Int { Int.random(in: 0..<count, using: &self) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

/// What the index should say, kept plainly: no counts, everything is searched for.
struct StoreModel {
    struct Version: Equatable {
        var sequence: UInt64
        var isNull: Bool
        var isMarker: Bool
        var etag: String
        var attributes: [String: String]
        var segments: [Segment]
        var parts: [ObjectPart]
        var id: VersionID { isNull ? .null : .number(sequence) }
        var size: Int64 { segments.reduce(0) { $0 + $1.size } }
    }
    struct Part {
        var part: ObjectPart
        var segments: [Segment]
    }
    struct UploadState {
        var bucket: String
        var key: ObjectKey
        var parts: [Int: Part] = [:]
    }
    struct ChunkState {
        var stripe: StripeID
        var length: Int
        var plain: Int
    }
    struct StripeState {
        var stripe: Stripe
        var number: UInt64
        var dying: Int64?
    }

    var buckets: [String: Versioning] = [:]
    var versions: [String: [ObjectKey: [Version]]] = [:]
    var uploads: [UInt64: UploadState] = [:]
    var manifests: [UInt64: Manifest] = [:]
    var chunks: [ChunkID: ChunkState] = [:]
    var stripes: [StripeID: StripeState] = [:]
    var backends: [UInt16: Backend.State] = [:]
    var snapshot: [Segment] = []

    private var usedManifests: Set<UInt64> {
        var used: Set<UInt64> = Set(snapshot.map(\.manifest))
        for keys in versions.values {
            for list in keys.values { for v in list { used.formUnion(v.segments.map(\.manifest)) } }
        }
        for upload in uploads.values {
            for part in upload.parts.values { used.formUnion(part.segments.map(\.manifest)) }
        }
        return used
    }
    private var usedChunks: Set<ChunkID> { Set(manifests.values.flatMap { $0.pieces.map(\.id) }) }

    var unusedManifests: [UInt64] { manifests.keys.filter { !usedManifests.contains($0) }.sorted() }
    var unusedChunks: [ChunkID] { chunks.keys.filter { !usedChunks.contains($0) }.sorted() }

    func live(_ id: StripeID) -> [ChunkState] { chunks.values.filter { $0.stripe == id } }

    /// Runs a change; what was used before and is not any more goes.
    private mutating func collecting(_ body: (inout StoreModel) -> Void) {
        let before = usedManifests
        body(&self)
        let chunksBefore = usedChunks
        for number in before.subtracting(usedManifests) { manifests[number] = nil }
        for id in chunksBefore.subtracting(usedChunks) { chunks[id] = nil }
    }

    mutating func apply(_ operation: Operation, _ sequence: UInt64) {
        collecting { model in
            switch operation {
            case .bucketCreate(let bucket): model.buckets[bucket.name] = bucket.versioning
            case .bucketDelete(let name):
                model.buckets[name] = nil
                model.versions[name] = nil
                model.uploads = model.uploads.filter { $0.value.bucket != name }
            case .bucketVersioning(let name, let versioning): model.buckets[name] = versioning
            case .objectPut(let put):
                model.insert(
                    put.bucket, put.key,
                    Version(
                        sequence: sequence, isNull: model.buckets[put.bucket] != .enabled, isMarker: put.isDeleteMarker,
                        etag: put.etag, attributes: put.attributes, segments: put.segments, parts: put.parts))
            case .objectRemove(let name):
                model.versions[name.bucket]?[name.key]?.removeAll { $0.id == name.version }
                if model.versions[name.bucket]?[name.key] == [] { model.versions[name.bucket]?[name.key] = nil }
            case .objectAttributes(let name, let change):
                guard let at = model.versions[name.bucket]?[name.key]?.firstIndex(where: { $0.id == name.version })
                else { return }
                for (attribute, value) in change {
                    model.versions[name.bucket]?[name.key]?[at].attributes[attribute] = value
                }
            case .uploadCreate(let create):
                model.uploads[sequence] = UploadState(bucket: create.bucket, key: create.key)
            case .partPut, .uploadComplete, .uploadAbort: model.upload(operation, sequence)
            default: model.store(operation, sequence)
            }
        }
    }

    private mutating func insert(_ bucket: String, _ key: ObjectKey, _ version: Version) {
        if version.isNull { versions[bucket]?[key]?.removeAll { $0.isNull } }
        versions[bucket, default: [:]][key, default: []].insert(version, at: 0)
    }

    private mutating func upload(_ operation: Operation, _ sequence: UInt64) {
        switch operation {
        case .partPut(let put):
            let part = ObjectPart(
                number: put.number, size: put.segments.reduce(0) { $0 + $1.size }, etag: put.etag, modified: put.time,
                attributes: put.attributes)
            uploads[put.upload]?.parts[put.number] = Part(part: part, segments: put.segments)
        case .uploadComplete(let complete):
            guard let upload = uploads.removeValue(forKey: complete.upload) else { return }
            let parts = complete.parts.compactMap { upload.parts[$0] }
            insert(
                upload.bucket, upload.key,
                Version(
                    sequence: sequence, isNull: buckets[upload.bucket] != .enabled, isMarker: false,
                    etag: complete.etag, attributes: complete.attributes, segments: parts.flatMap(\.segments),
                    parts: parts.map(\.part)))
        case .uploadAbort(let number): uploads[number] = nil
        default: break
        }
    }

    private mutating func store(_ operation: Operation, _ sequence: UInt64) {
        switch operation {
        case .stripeAdd(let stripe): add(stripe, sequence)
        case .chunksMoved(let stripe, let moves):
            add(stripe, sequence)
            for move in moves { chunks[move.id]?.stripe = stripe.id }
        case .manifestAdd(let manifest): manifests[sequence] = manifest
        case .stripesDying(let ids, let time): for id in ids { stripes[id]?.dying = time }
        case .stripesGone(let ids): for id in ids { stripes[id] = nil }
        case .shardsMoved(let id, let moves):
            for move in moves { stripes[id]?.stripe.shards[move.index] = move.backend }
        case .backendSet(let backend): backends[backend.number] = backend.state
        case .snapshot(let snapshot): self.snapshot = snapshot.segments
        case .release(let manifests, let chunks):
            let before = usedChunks
            for number in manifests { self.manifests[number] = nil }
            for id in before.subtracting(usedChunks).union(chunks) { self.chunks[id] = nil }
        default: break
        }
    }

    private mutating func add(_ stripe: Stripe, _ sequence: UInt64) {
        stripes[stripe.id] = StripeState(stripe: stripe, number: sequence)
        for chunk in stripe.chunks {
            chunks[chunk.id] = ChunkState(stripe: stripe.id, length: chunk.length, plain: chunk.plainLength)
        }
    }
}

extension StoreModel {
    var accounts: Accounts {
        var accounts = Accounts()
        let all = versions.values.flatMap { $0.values.flatMap { $0 } }
        let parts = uploads.values.flatMap { $0.parts.values }
        accounts.buckets = Int64(buckets.count)
        accounts.objects = Int64(all.filter { !$0.isMarker }.count)
        accounts.deleteMarkers = Int64(all.filter(\.isMarker).count)
        accounts.objectBytes = all.reduce(0) { $0 + $1.size }
        accounts.uploads = Int64(uploads.count)
        accounts.parts = Int64(parts.count)
        accounts.partBytes = parts.reduce(0) { $0 + $1.part.size }
        accounts.manifests = Int64(manifests.count)
        accounts.chunks = Int64(chunks.count)
        accounts.stripes = Int64(stripes.count)
        accounts.dyingStripes = Int64(stripes.values.filter { $0.dying != nil }.count)
        accounts.liveBytes = chunks.values.reduce(0) { $0 + Int64($1.length) }
        let length = stripes.values.filter { $0.dying == nil }.reduce(0) { $0 + Int64($1.stripe.length) }
        accounts.deadBytes = length - accounts.liveBytes
        accounts.dyingBytes = stripes.values.filter { $0.dying != nil }.reduce(0) { $0 + Int64($1.stripe.length) }
        accounts.rawBytes = stripes.values.reduce(0) { sum, state in
            sum + Int64(state.stripe.shardLength * state.stripe.shards.filter { $0 != Stripe.nowhere }.count)
        }
        return accounts
    }

    /// Remaining redundancy and age of what needs repair.
    var repairs: [StripeID] {
        stripes.values.compactMap { state -> (Int, UInt64, StripeID)? in
            let states = state.stripe.shards.map { $0 == Stripe.nowhere ? .lost : backends[$0] ?? .lost }
            let missing = states.filter { $0 == .lost || $0 == .removed }.count
            let draining = states.filter { $0 == .draining }.count
            if state.dying != nil || missing + draining == 0 { return nil }
            return (missing > 0 ? state.stripe.m - missing : 1000 + state.stripe.m, state.number, state.stripe.id)
        }.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.2)
    }

    enum Item: Equatable {
        case entry(ObjectKey, UInt64)
        case prefix([UInt8])
    }

    private func commonPrefix(_ key: [UInt8], _ query: ListQuery) -> [UInt8]? {
        if query.delimiter.isEmpty { return nil }
        for start in key.indices.dropFirst(query.prefix.count) where key[start...].starts(with: query.delimiter) {
            return Array(key[..<(start + query.delimiter.count)])
        }
        return nil
    }

    /// Everything that a query asks for, without its limit.
    private func items(_ query: ListQuery, _ entries: [(key: ObjectKey, number: UInt64)], from: UInt64?, older: Bool)
        -> [Item]
    {
        var items: [Item] = []
        for (key, number) in entries where key.bytes.starts(with: query.prefix) {
            if let after = query.after {
                if after.bytes.starts(with: query.prefix), commonPrefix(after.bytes, query) == after.bytes {
                    if key <= after || key.bytes.starts(with: after.bytes) { continue }
                } else if key == after, let from, commonPrefix(after.bytes, query) == nil {
                    if older ? number >= from : number <= from { continue }
                } else if key <= after {
                    continue
                }
            }
            if let prefix = commonPrefix(key.bytes, query) {
                if items.last != .prefix(prefix) { items.append(.prefix(prefix)) }
            } else {
                items.append(.entry(key, number))
            }
        }
        return items
    }

    func list(_ bucket: String, _ query: ListQuery) -> [Item] {
        let newest = (versions[bucket] ?? [:]).compactMap { key, list in list.first.map { (key, $0) } }
        let entries = newest.filter { !$0.1.isMarker }.sorted { $0.0 < $1.0 }.map { (key: $0.0, number: $0.1.sequence) }
        return items(query, entries, from: nil, older: true)
    }

    func listVersions(_ bucket: String, _ query: ListQuery) -> [Item] {
        let keys = (versions[bucket] ?? [:]).sorted { $0.key < $1.key }
        let entries = keys.flatMap { key, list in list.map { (key: key, number: $0.sequence) } }
        var from: UInt64?
        switch query.afterVersion {
        case .number(let number)?: from = number
        case .null?:
            from = query.after.flatMap { versions[bucket]?[$0]?.first(where: \.isNull)?.sequence } ?? UInt64.max
        case nil: break
        }
        return items(query, entries, from: from, older: true)
    }

    func listUploads(_ bucket: String, _ query: ListQuery) -> [Item] {
        let entries = uploads.filter { $0.value.bucket == bucket }.map { (key: $0.value.key, number: $0.key) }
        let sorted = entries.sorted { $0.key == $1.key ? $0.number < $1.number : $0.key < $1.key }
        var from: UInt64?
        if let text = query.afterUpload, case .number(let number)? = VersionID(text) { from = number }
        return items(query, sorted, from: from, older: false)
    }
}
