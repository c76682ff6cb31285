internal import Crypto
internal import Dispersal
internal import ObjectIndex
internal import Objects

/// Reads the data of a version: finds the chunk of each offset, opens it, and asks for the next ones ahead.
final class DataReader: ObjectReader {
    /// Chunks that are asked for before they are needed, where reading goes on in order.
    private static let ahead = 3
    /// Places that are looked up at once.
    private static let lookup = 64

    /// A chunk of the version.
    private struct Piece {
        let id: ChunkID
        let start: Int64
        let length: Int
        let key: [UInt8]
    }
    private struct Coming {
        let piece: Int
        let flight: StripeReader.Flight
        let place: ChunkLocation
    }

    let version: ObjectVersion
    private let index: ObjectIndex
    private let stripeReader: StripeReader
    private let pieces: [Piece]
    private var places: [ChunkID: ChunkLocation] = [:]
    private var stripes: [StripeID: Stripe] = [:]
    private var coming: [Coming] = []
    /// The chunk that was read last, in clear.
    private var current: (piece: Int, plain: Buffer)?

    /// The data of these segments; `wrongKey` where the customer's key does not open them.
    init(
        _ version: IndexedVersion, _ index: ObjectIndex, _ view: IndexView, _ keys: StoreKeys,
        _ stripeReader: StripeReader,
        customerKey: [UInt8]?
    ) throws(ObjectError) {
        (self.version, self.index, self.stripeReader) = (version.version, index, stripeReader)
        var pieces: [Piece] = []
        var start: Int64 = 0
        for segment in version.segments {
            guard let key = keys.unwrap(segment.wrappedKey, customer: customerKey) else {
                throw .wrongKey(version.version.key)
            }
            let manifest = try translate { () throws(IndexError) in try view.manifest(segment.manifest) }
            guard let manifest, let chunkKeys = WrittenData.open(manifest, key: key) else {
                throw .damaged("the manifest \(segment.manifest) of \(version.version.key)")
            }
            for (piece, key) in zip(manifest.pieces, chunkKeys) {
                pieces.append(Piece(id: piece.id, start: start, length: piece.plainLength, key: key))
                start += Int64(piece.plainLength)
            }
        }
        self.pieces = pieces
        // While the version is known to be there: most objects are of few chunks.
        try locate(0, view)
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectError) -> Int {
        guard offset >= 0, offset < version.size, let number = piece(at: offset), !buffer.isEmpty else { return 0 }
        if current?.piece != number { current = (number, try fetch(number)) }
        guard let plain = current?.plain else { return 0 }
        let within = Int(offset - pieces[number].start)
        let count = min(buffer.count, pieces[number].length - within)
        buffer.copyMemory(from: plain.slice(within..<within + count))
        return count
    }

    private func piece(at offset: Int64) -> Int? {
        var low = 0, high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].start + Int64(pieces[middle].length) <= offset { low = middle + 1 } else { high = middle }
        }
        return low < pieces.count ? low : nil
    }

    private func locate(_ first: Int, _ view: IndexView) throws(ObjectError) {
        let ids = pieces[first..<min(first + Self.lookup, pieces.count)].map(\.id)
        try translate { () throws(IndexError) in
            for place in try view.chunks(ids) {
                guard let place else { continue }
                places[place.id] = place
                if stripes[place.stripe] == nil { stripes[place.stripe] = try view.stripe(place.stripe)?.stripe }
            }
        }
    }

    private func ask(_ number: Int, anew: Bool) throws(ObjectError) -> Coming {
        let id = pieces[number].id
        if anew || places[id] == nil {
            // Only what is near is kept.
            if anew || places.count > 4 * Self.lookup { (places, stripes) = ([:], [:]) }
            do throws(IndexError) {
                try index.withReader { (view) throws(IndexError) in
                    do throws(ObjectError) { try locate(number, view) } catch { throw .database("\(error)", code: 0) }
                }
            } catch { throw .damaged("the index: \(error)") }
        }
        guard let place = places[id], let stripe = stripes[place.stripe] else {
            throw .damaged("chunk \(id) of \(version.key) is in no stripe")
        }
        return Coming(
            piece: number, flight: stripeReader.start(stripe, place.offset..<place.offset + place.length), place: place)
    }

    private func fetch(_ number: Int) throws(ObjectError) -> Buffer {
        let isInOrder = coming.contains { $0.piece == number } || number == (current?.piece ?? -1) + 1
        coming.removeAll { $0.piece < number || $0.piece > number + Self.ahead }
        var mine: Coming
        if let at = coming.firstIndex(where: { $0.piece == number }) {
            mine = coming.remove(at: at)
        } else {
            mine = try ask(number, anew: false)
        }
        if isInOrder, number + 1 < pieces.count {
            for next in number + 1...min(number + Self.ahead, pieces.count - 1)
            where !coming.contains(where: { $0.piece == next }) {
                coming.append(try ask(next, anew: false))
            }
        }
        for attempt in 0..<2 {
            if let sealed = stripeReader.settle(mine.flight), let plain = Self.open(sealed, mine.place, pieces[number])
            {
                return plain
            }
            // A shard lies, or the chunk was moved meanwhile.
            if let plain = fromVerified(mine.flight.stripe, mine.place, pieces[number]) { return plain }
            if attempt == 0 { mine = try ask(number, anew: true) }
        }
        throw .unavailable("chunk \(pieces[number].id) of \(version.key): too few good shards answer")
    }

    private static func open(_ sealed: [UInt8], _ place: ChunkLocation, _ piece: Piece) -> Buffer? {
        open(sealed, codec: place.codec, key: piece.key, plainLength: piece.length)
    }

    /// A chunk's plain bytes; nil where it is not what was sealed with the key.
    static func open(_ sealed: [UInt8], codec: UInt8, key: [UInt8], plainLength: Int) -> Buffer? {
        guard sealed.count >= ChunkSeal.overhead, let codec = Codec(rawValue: codec) else { return nil }
        let content = Buffer(capacity: sealed.count - ChunkSeal.overhead)
        let opened = UnsafeMutableRawBufferPointer(start: content.base, count: sealed.count - ChunkSeal.overhead)
        do {
            try sealed.withUnsafeBytes { try ChunkSeal.open(key: key, $0, into: opened) }
            if codec == .none { return opened.count == plainLength ? content : nil }
            let plain = Buffer(capacity: plainLength)
            try Compressor.expand(
                codec, UnsafeRawBufferPointer(opened),
                into: UnsafeMutableRawBufferPointer(start: plain.base, count: plainLength))
            return plain
        } catch {
            return nil
        }
    }

    /// The chunk from shards that match their roots.
    private func fromVerified(_ stripe: Stripe, _ place: ChunkLocation, _ piece: Piece) -> Buffer? {
        guard let data = stripeReader.whole(stripe), place.offset + place.length <= data.count else { return nil }
        return Self.open(Array(data[place.offset..<place.offset + place.length]), place, piece)
    }
}
