internal import Crypto
internal import Dispersal
internal import ObjectIndex
internal import Objects

/// Takes the data of one object: cuts, looks for what is there already, compresses, seals, and has it dispersed.
///
/// What it holds is bounded: a chunk's plain bytes and two, and a few stripes on their way.
final class DataWriter: ObjectWriter {
    /// Stripes on their way at once.
    private static let flightsMax = 3
    /// Sealed chunks up to this many bytes share a stripe with others.
    private static let smallMax = 128 << 10

    private let index: ObjectIndex
    private let keys: StoreKeys
    private let stripeWriter: StripeWriter
    private let packer: Packer
    private let pins: Pins
    private let policy: Policy
    private let customerKey: [UInt8]?
    private let nextID: () -> (epoch: UInt64, counter: UInt64)

    private var cutter: ChunkCutter
    private let compressor: Compressor
    private var held: Buffer
    private var start = 0, end = 0
    private var flights: [StripeWriter.Flight] = []
    private var size: Int64 = 0
    private var chunks: [WrittenChunk] = []
    private var stripes: [FreshStripe] = []
    private var pinned: [ChunkID] = []
    /// Chunks of this writer by fingerprint: what repeats within it is written once.
    private var own: [Digest: WrittenChunk] = [:]
    private var isFinished = false

    init(
        _ index: ObjectIndex, _ keys: StoreKeys, _ stripeWriter: StripeWriter, _ packer: Packer, _ policy: Policy,
        customerKey: [UInt8]?, nextID: @escaping () -> (epoch: UInt64, counter: UInt64)
    ) {
        (self.index, self.keys, self.stripeWriter, self.packer) = (index, keys, stripeWriter, packer)
        (pins, self.policy, self.customerKey, self.nextID) = (stripeWriter.pins, policy, customerKey, nextID)
        cutter =
            policy.contentDefined
            ? ChunkCutter(
                secret: keys.cutting, least: policy.minimumChunk, usual: policy.averageChunk, most: policy.maximumChunk)
            : ChunkCutter(fixed: policy.averageChunk)
        compressor = Compressor(policy: CodecPolicy(policy.codec))
        // Most objects are small: the buffer grows with what comes.
        held = Buffer(capacity: 64 << 10)
    }

    deinit { if !isFinished { abandon() } }

    func write(_ bytes: UnsafeRawBufferPointer) throws(ObjectError) {
        var rest = bytes
        while !rest.isEmpty {
            if end == held.capacity { makeRoom() }
            let count = min(rest.count, held.capacity - end)
            if let from = rest.baseAddress { (held.base + end).copyMemory(from: from, byteCount: count) }
            end += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            try cut(isEnd: false)
        }
    }

    private func makeRoom() {
        let most = policy.contentDefined ? policy.maximumChunk : policy.averageChunk
        if start > 0, end - start <= held.capacity / 2 {
            (held.base).copyMemory(from: held.base + start, byteCount: end - start)
        } else {
            let larger = Buffer(capacity: min(max(held.capacity * 4, end - start + 4096), 2 * most + 4096))
            larger.base.copyMemory(from: held.base + start, byteCount: end - start)
            held = larger
        }
        end -= start
        start = 0
    }

    private func cut(isEnd: Bool) throws(ObjectError) {
        while let length = cutter.next(held.slice(start..<end), isEnd: isEnd), length > 0 {
            try take(held.slice(start..<start + length))
            start += length
            size += Int64(length)
        }
        if start == end { (start, end) = (0, 0) }
    }

    private func take(_ plain: UnsafeRawBufferPointer) throws(ObjectError) {
        var fingerprint: Digest?
        if policy.deduplicates, customerKey == nil {
            let digest = ChunkSeal.fingerprint(key: keys.fingerprint, plain)
            fingerprint = digest
            if let known = try known(digest, plain.count) {
                chunks.append(known)
                return
            }
        }
        let key = Random.bytes(32)
        let next = nextID()
        let id = ChunkID(epoch: next.epoch, counter: next.counter)
        let shared = fingerprint.map { SharedChunk(fingerprint: $0, key: key) }
        let space = Buffer(capacity: plain.count)
        let (codec, count) = compressor.compress(plain, into: space.bytes)
        let content = codec == .none ? plain : space.slice(0..<count)
        let written = WrittenChunk(id: id, plainLength: plain.count, key: key)
        let sealedLength = content.count + ChunkSeal.overhead
        if sealedLength <= Self.smallMax {
            let sealed = [UInt8](unsafeUninitializedCapacity: sealedLength) { output, filled in
                ChunkSeal.seal(key: key, content, into: UnsafeMutableRawBufferPointer(output))
                filled = sealedLength
            }
            let small = SmallChunk(
                id: id, sealed: sealed, plainLength: plain.count, codec: codec.rawValue, shared: shared)
            stripes.append(try packer.write(small, policy))
        } else {
            let buffer = stripeWriter.buffer(length: sealedLength, policy)
            ChunkSeal.seal(
                key: key, content, into: UnsafeMutableRawBufferPointer(start: buffer.base, count: sealedLength))
            let chunk = Chunk(
                id: id, offset: 0, length: sealedLength, plainLength: plain.count, codec: codec.rawValue, shared: shared
            )
            if flights.count == Self.flightsMax { try settleFirst() }
            flights.append(
                try stripeWriter.start(
                    StripeID(epoch: next.epoch, counter: next.counter), buffer, length: sealedLength, chunks: [chunk],
                    policy))
        }
        chunks.append(written)
        if let fingerprint { own[fingerprint] = written }
    }

    /// A chunk with these bytes that is there already, and stays as long as this data is held.
    private func known(_ fingerprint: Digest, _ length: Int) throws(ObjectError) -> WrittenChunk? {
        if let mine = own[fingerprint], mine.plainLength == length { return mine }
        return try pins.exclusively { () throws(ObjectError) in
            let found = try translate { () throws(IndexError) in
                try index.withReader { (view) throws(IndexError) in try view.chunk(fingerprint: fingerprint) }
            }
            guard let found, found.plainLength == length else { return nil }
            pins.pin(found.id)
            pinned.append(found.id)
            return WrittenChunk(id: found.id, plainLength: length, key: found.key)
        }
    }

    private func settleFirst() throws(ObjectError) {
        let flight = flights.removeFirst()
        stripes.append(FreshStripe(try stripeWriter.settle(flight), stripeWriter))
    }

    func finish() throws(ObjectError) -> any StoredData {
        precondition(!isFinished)
        try cut(isEnd: true)
        while !flights.isEmpty { try settleFirst() }
        isFinished = true
        let data = WrittenData(
            size: size, chunks: chunks, stripes: stripes, customerKey: customerKey, pinned: pinned, pins: pins)
        (stripes, pinned) = ([], [])
        return data
    }

    func abandon() {
        isFinished = true
        for flight in flights { stripeWriter.giveUp(flight) }
        pins.unpin(pinned)
        (flights, stripes, pinned) = ([], [], [])
    }
}
