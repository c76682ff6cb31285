internal import Dispersal
internal import Glibc
internal import ObjectIndex
internal import Objects

/// A sealed chunk that is too small for a stripe of its own.
final class SmallChunk: @unchecked Sendable {  // of its thread, or of who works on its group
    let id: ChunkID
    let sealed: [UInt8]
    let plainLength: Int
    let codec: UInt8
    let shared: SharedChunk?
    var result: Result<FreshStripe, ObjectError>?

    init(id: ChunkID, sealed: [UInt8], plainLength: Int, codec: UInt8, shared: SharedChunk?) {
        (self.id, self.sealed, self.plainLength, self.codec, self.shared) = (id, sealed, plainLength, codec, shared)
    }
}

/// Packs small chunks of all that write at once into stripes.
final class Packer: Sendable {
    private let gather = Gather<SmallChunk>(groupMax: 256)
    private let stripes: StripeWriter
    private let nextID: @Sendable () -> (epoch: UInt64, counter: UInt64)

    init(_ stripes: StripeWriter, nextID: @escaping @Sendable () -> (epoch: UInt64, counter: UInt64)) {
        (self.stripes, self.nextID) = (stripes, nextID)
    }

    /// Makes a chunk durable, in a stripe with others.
    func write(_ chunk: SmallChunk, _ policy: Policy) throws(ObjectError) -> FreshStripe {
        gather.submit(chunk) { self.pack($0, policy) }
        guard let result = chunk.result else { throw .unavailable("the pack was not written") }
        return try result.get()
    }

    private func pack(_ group: [SmallChunk], _ policy: Policy) {
        var rest = group[...]
        while !rest.isEmpty {
            var length = 0
            // A new shard for a chunk that would straddle two would waste more than it saves; only the pack's size is bounded.
            let members = rest.prefix { chunk in
                defer { length += chunk.sealed.count }
                return length == 0 || length + chunk.sealed.count <= policy.packSize
            }
            rest = rest.dropFirst(members.count)
            let result: Result<FreshStripe, ObjectError>
            do throws(ObjectError) { result = .success(try write(Array(members), policy)) } catch {
                result = .failure(error)
            }
            for chunk in members { chunk.result = result }
        }
    }

    private func write(_ members: [SmallChunk], _ policy: Policy) throws(ObjectError) -> FreshStripe {
        let length = members.reduce(0) { $0 + $1.sealed.count }
        let buffer = stripes.buffer(length: length, policy)
        var chunks: [Chunk] = []
        var offset = 0
        for member in members {
            member.sealed.withUnsafeBytes {
                (buffer.base + offset).copyMemory(
                    from: $0.baseAddress ?? UnsafeRawPointer(buffer.base), byteCount: $0.count)
            }
            chunks.append(
                Chunk(
                    id: member.id, offset: offset, length: member.sealed.count, plainLength: member.plainLength,
                    codec: member.codec, shared: member.shared))
            offset += member.sealed.count
        }
        let id = nextID()
        let flight = try stripes.start(
            StripeID(epoch: id.epoch, counter: id.counter), buffer, length: length, chunks: chunks, policy)
        return FreshStripe(try stripes.settle(flight), stripes)
    }
}
