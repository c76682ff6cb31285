internal import Objects

extension FieldWriter {
    mutating func operation(_ operation: Operation) {
        u8(operation.tag)
        switch operation {
        case .bucketCreate, .bucketDelete, .bucketVersioning, .bucketSetting, .accessKeySet, .accessKeyRemove:
            bucketOperation(operation)
        case .objectPut, .objectRemove, .objectAttributes, .objectRewrap: objectOperation(operation)
        case .uploadCreate, .partPut, .uploadComplete, .uploadAbort, .partRewrap: uploadOperation(operation)
        case .stripeAdd, .manifestAdd, .stripesDying, .stripesGone, .shardsMoved, .chunksMoved, .release:
            stripeOperation(operation)
        case .backendSet(let backend): self.backend(backend)
        case .policySet(let policy): self.policy(policy)
        case .keyGeneration(let generation, let wrapped):
            u32(generation)
            blob(wrapped, "wrapped key", Limits.wrapped)
        case .writer(let claim): self.claim(claim)
        case .snapshot(let snapshot): self.snapshot(snapshot)
        }
    }

    private mutating func bucketOperation(_ operation: Operation) {
        switch operation {
        case .bucketCreate(let bucket): self.bucket(bucket)
        case .bucketDelete(let name): text(name, "bucket", Limits.name)
        case .bucketVersioning(let name, let versioning):
            text(name, "bucket", Limits.name)
            self.versioning(versioning)
        case .bucketSetting(let bucket, let name, let value):
            text(bucket, "bucket", Limits.name)
            text(name, "setting", Limits.name)
            optional(value) { $0.blob($1, "setting", Limits.setting) }
        case .accessKeySet(let key): accessKey(key)
        case .accessKeyRemove(let id): text(id, "access key", Limits.name)
        default: refuse(.unfit("operation"))
        }
    }

    private mutating func objectOperation(_ operation: Operation) {
        switch operation {
        case .objectPut(let put):
            text(put.bucket, "bucket", Limits.name)
            blob(put.key.bytes, "key", Limits.key)
            flag(put.isDeleteMarker)
            text(put.etag, "ETag", Limits.etag)
            signed(put.time, "time")
            attributes(put.attributes)
            parts(put.parts)
            segments(put.segments)
            text(put.owner, "owner", Limits.name)
        case .objectRemove(let name): version(name)
        case .objectAttributes(let name, let change):
            version(name)
            map(change, "attribute", Limits.attributes) { writer, value in
                writer.optional(value) { $0.text($1, "attribute", Limits.attribute) }
            }
        case .objectRewrap(let name, let generation, let keys):
            version(name)
            u32(generation)
            self.keys(keys)
        default: refuse(.unfit("operation"))
        }
    }

    private mutating func uploadOperation(_ operation: Operation) {
        switch operation {
        case .uploadCreate(let create):
            text(create.bucket, "bucket", Limits.name)
            blob(create.key.bytes, "key", Limits.key)
            attributes(create.attributes)
            signed(create.time, "time")
            text(create.owner, "owner", Limits.name)
            blob(create.seal, "seal", Limits.wrapped)
        case .partPut(let put):
            number(put.upload, "upload")
            int(put.number, "part", 1...Limits.parts)
            segments(put.segments)
            text(put.etag, "ETag", Limits.etag)
            signed(put.time, "time")
            attributes(put.attributes)
        case .uploadComplete(let complete):
            number(complete.upload, "upload")
            list(complete.parts, "parts", Limits.parts) { $0.int($1, "part", 1...Limits.parts) }
            text(complete.etag, "ETag", Limits.etag)
            attributes(complete.attributes)
            signed(complete.time, "time")
        case .uploadAbort(let upload): number(upload, "upload")
        case .partRewrap(let upload, let part, let generation, let keys):
            number(upload, "upload")
            int(part, "part", 1...Limits.parts)
            u32(generation)
            self.keys(keys)
        default: refuse(.unfit("operation"))
        }
    }

    private mutating func stripeOperation(_ operation: Operation) {
        switch operation {
        case .stripeAdd(let stripe): self.stripe(stripe)
        case .manifestAdd(let manifest):
            signed(manifest.size, "size")
            pieces(manifest.pieces)
            blob(manifest.sealedKeys, "sealed keys", Limits.sealedKeys)
        case .stripesDying(let ids, let time):
            self.ids(ids, "stripes", Limits.ids)
            signed(time, "time")
        case .stripesGone(let ids): self.ids(ids, "stripes", Limits.ids)
        case .shardsMoved(let id, let moves):
            self.id(id)
            list(moves, "shards", Limits.shards) { writer, move in
                writer.int(move.index, "shard", 0...(Limits.shards - 1))
                writer.u16(move.backend)
            }
        case .chunksMoved(let stripe, let moves):
            self.stripe(stripe)
            var last: ChunkID?
            list(moves, "chunks", Limits.stripeChunks) { writer, move in
                writer.id(move.id, after: last)
                last = move.id
                writer.int(move.offset, "chunk", 0...Limits.stripe)
                writer.int(move.length, "chunk", 0...Limits.stripe)
            }
        case .release(let manifests, let chunks):
            list(manifests, "manifests", Limits.ids) { $0.number($1, "manifest") }
            self.ids(chunks, "chunks", Limits.ids)
        default: refuse(.unfit("operation"))
        }
    }
}

extension Operation {
    /// What stands before it in an entry.
    var tag: UInt8 {
        switch self {
        case .bucketCreate: 1
        case .bucketDelete: 2
        case .bucketVersioning: 3
        case .bucketSetting: 4
        case .stripeAdd: 5
        case .manifestAdd: 6
        case .objectPut: 7
        case .objectRemove: 8
        case .objectAttributes: 9
        case .uploadCreate: 10
        case .partPut: 11
        case .uploadComplete: 12
        case .uploadAbort: 13
        case .accessKeySet: 14
        case .accessKeyRemove: 15
        case .stripesDying: 16
        case .stripesGone: 17
        case .shardsMoved: 18
        case .chunksMoved: 19
        case .backendSet: 20
        case .policySet: 21
        case .keyGeneration: 22
        case .writer: 23
        case .snapshot: 24
        case .objectRewrap: 25
        case .partRewrap: 26
        case .release: 27
        }
    }
}
