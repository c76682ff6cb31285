internal import Objects

extension FieldReader {
    mutating func operation() throws(OperationError) -> Operation {
        let start = offset
        let tag = try u8()
        switch tag {
        case 1...4, 14, 15: return try bucketOperation(tag)
        case 7, 8, 9, 25: return try objectOperation(tag)
        case 10...13, 26: return try uploadOperation(tag)
        case 5, 6, 16...19, 27: return try stripeOperation(tag)
        case 20: return .backendSet(try backend())
        case 21: return .policySet(try policy())
        case 22:
            let generation = try u32("generation")
            return .keyGeneration(generation, wrapped: try blob(Limits.wrapped))
        case 23: return .writer(try claim())
        case 24: return .snapshot(try snapshot())
        default: throw .unknownTag(tag, offset: start)
        }
    }

    private mutating func bucketOperation(_ tag: UInt8) throws(OperationError) -> Operation {
        switch tag {
        case 1: return .bucketCreate(try bucket())
        case 2: return .bucketDelete(try text(Limits.name))
        case 3:
            let name = try text(Limits.name)
            return .bucketVersioning(name, try versioning())
        case 4:
            let bucket = try text(Limits.name)
            let name = try text(Limits.name)
            let value = try optional("setting") { (reader) throws(OperationError) in
                try reader.blob(Limits.setting)
            }
            return .bucketSetting(bucket: bucket, name: name, value: value)
        case 14: return .accessKeySet(try accessKey())
        default: return .accessKeyRemove(try text(Limits.name))
        }
    }

    private mutating func objectOperation(_ tag: UInt8) throws(OperationError) -> Operation {
        switch tag {
        case 7: return .objectPut(try objectPut())
        case 8: return .objectRemove(try versionName())
        case 9:
            let name = try versionName()
            let change = try map("attribute", Limits.attributes) { (reader) throws(OperationError) -> String? in
                try reader.optional("attribute") { (reader) throws(OperationError) in
                    try reader.text(Limits.attribute)
                }
            }
            return .objectAttributes(name, change)
        default:
            let name = try versionName()
            let generation = try u32("generation")
            return .objectRewrap(name, generation: generation, keys: try keys())
        }
    }

    private mutating func objectPut() throws(OperationError) -> ObjectPut {
        let bucket = try text(Limits.name)
        let key = ObjectKey(try blob(Limits.key))
        let isDeleteMarker = try flag("delete marker")
        let etag = try text(Limits.etag)
        let time = try signed("time")
        let attributes = try attributes()
        let parts = try parts()
        let segments = try segments()
        return ObjectPut(
            bucket: bucket, key: key, isDeleteMarker: isDeleteMarker, etag: etag, time: time, attributes: attributes,
            parts: parts, segments: segments, owner: try text(Limits.name))
    }

    private mutating func uploadOperation(_ tag: UInt8) throws(OperationError) -> Operation {
        switch tag {
        case 10:
            let bucket = try text(Limits.name)
            let key = ObjectKey(try blob(Limits.key))
            let attributes = try attributes()
            let time = try signed("time")
            let owner = try text(Limits.name)
            return .uploadCreate(
                UploadCreate(
                    bucket: bucket, key: key, attributes: attributes, time: time, owner: owner,
                    seal: try blob(Limits.wrapped)))
        case 11:
            let upload = try number("upload")
            let number = try int("part", 1...Limits.parts)
            let segments = try segments()
            let etag = try text(Limits.etag)
            let time = try signed("time")
            return .partPut(
                PartPut(
                    upload: upload, number: number, segments: segments, etag: etag, time: time,
                    attributes: try attributes()))
        case 12:
            let upload = try number("upload")
            let parts = try list("parts", Limits.parts) { (reader) throws(OperationError) in
                try reader.int("part", 1...Limits.parts)
            }
            let etag = try text(Limits.etag)
            let attributes = try attributes()
            return .uploadComplete(
                UploadComplete(
                    upload: upload, parts: parts, etag: etag, attributes: attributes, time: try signed("time")))
        case 13: return .uploadAbort(try number("upload"))
        default:
            let upload = try number("upload")
            let part = try int("part", 1...Limits.parts)
            let generation = try u32("generation")
            return .partRewrap(upload: upload, number: part, generation: generation, keys: try keys())
        }
    }

    private mutating func stripeOperation(_ tag: UInt8) throws(OperationError) -> Operation {
        switch tag {
        case 5: return .stripeAdd(try stripe())
        case 6:
            let size = try signed("size")
            let pieces = try pieces()
            return .manifestAdd(Manifest(size: size, pieces: pieces, sealedKeys: try blob(Limits.sealedKeys)))
        case 16:
            let stripes: [StripeID] = try ids("stripes", Limits.ids)
            return .stripesDying(stripes, time: try signed("time"))
        case 17: return .stripesGone(try ids("stripes", Limits.ids))
        case 18:
            let stripe: StripeID = try id()
            let moves = try list("shards", Limits.shards) { (reader) throws(OperationError) in
                let index = try reader.int("shard", 0...(Limits.shards - 1))
                return ShardMove(index: index, backend: try reader.u16())
            }
            return .shardsMoved(stripe, moves)
        case 19:
            let stripe = try stripe()
            var last: ChunkID?
            let moves = try list("chunks", Limits.stripeChunks) { (reader) throws(OperationError) in
                let id: ChunkID = try reader.id(after: last)
                last = id
                let offset = try reader.int("chunk", 0...Limits.stripe)
                return ChunkMove(id: id, offset: offset, length: try reader.int("chunk", 0...Limits.stripe))
            }
            return .chunksMoved(stripe, moves)
        default:
            let manifests = try list("manifests", Limits.ids) { (reader) throws(OperationError) in
                try reader.number("manifest")
            }
            return .release(manifests: manifests, chunks: try ids("chunks", Limits.ids))
        }
    }
}
