internal import Crypto
internal import Dispersal
internal import Glibc
internal import Linux
internal import ObjectIndex
public import Objects

/// Copies of the index in the store itself, so that a gateway without one need not read the log from its beginning, and that beginning can go.
extension ZeroStore {
    /// Bytes of the copy that are one chunk.
    private static let pieceBytes = 4 << 20
    /// Entries behind the last copy after which there is a new one; more where the index is large.
    static let entriesBetween: UInt64 = 10_000

    /// A copy that was made.
    public struct Snapshot: Sendable {
        /// The entry up to which it goes.
        public let height: UInt64
        /// Bytes of the copy.
        public let size: Int
        /// Up to this entry the log was removed.
        public let trimmed: UInt64
    }

    private var shelf: SnapshotShelf { SnapshotShelf(backends: backends, quorum: quorum, keys: keys) }

    /// Makes a copy if enough came into the log since the last one.
    public func snapshotIfDue() throws(ObjectError) -> Snapshot? {
        guard committer.writes else { return nil }
        let (height, last) = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in (try view.position().height, try view.snapshot()?.height ?? 0) }
        }
        guard height > last else { return nil }
        let size = UInt64(clamping: try translate { () throws(IndexError) in try index.fileBytes() })
        return height - last >= Self.entriesBetween + size / 10_000 ? try takeSnapshot() : nil
    }

    /// Makes a copy where a former process ended between naming one in the log, which let the one before go, and saying where it is.
    /// To be done before anything is collected.
    func settleSnapshot() throws(ObjectError) -> Snapshot? {
        let last = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in try view.snapshot()?.height }
        }
        guard let last, try shelf.find()?.height != last else { return nil }
        return try takeSnapshot()
    }

    /// Puts a copy of the index into the store, reads it again, and removes what the log has up to the copy before.
    public func takeSnapshot() throws(ObjectError) -> Snapshot {
        if !committer.writes { try committer.takeOver() }
        let former = try shelf.find()
        let copy = Self.copyPath(indexPath)
        defer { ObjectIndex.remove(copy) }
        let position = try translate { () throws(IndexError) in
            try index.snapshot(to: copy)
            return try ObjectIndex.position(ofCopy: copy)
        }
        let (data, hash) = try store(copy)
        let record = SnapshotRecord(
            height: position.height, chain: Digest(position.chain) ?? .zero, trimmed: former?.height ?? 0,
            size: Int(data.size), hash: hash, pieces: try Self.pieces(data))
        try committer.commit { (writer, apply) throws(ObjectError) in
            let segments = try self.segments(data, writer, apply)
            _ = try apply(.snapshot(IndexSnapshot(height: position.height, segments: segments)))
        }
        try shelf.put(record)
        // What is about to be the only way back is read as somebody would who has nothing else.
        try Self.fetch(record, settings, stripeReader) { _ in }
        shelf.trim(to: record.trimmed)
        committer.forgetGaps(upTo: record.trimmed)
        return Snapshot(height: record.height, size: record.size, trimmed: record.trimmed)
    }

    private func store(_ copy: String) throws(ObjectError) -> (WrittenData, Digest) {
        var policy = policy
        (policy.contentDefined, policy.averageChunk, policy.deduplicates) = (false, Self.pieceBytes, false)
        let committer = committer
        let writer = DataWriter(index, keys, stripeWriter, packer, policy, customerKey: nil) { committer.nextID() }
        var hasher = SHA256Hasher()
        let descriptor = Glibc.open(copy, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unavailable("\(copy): errno \(errno)") }
        defer { close(descriptor) }
        let buffer = Buffer(capacity: 1 << 20)
        while true {
            let count = Glibc.read(descriptor, buffer.base, buffer.capacity)
            if count < 0 { throw .unavailable("\(copy): errno \(errno)") }
            if count == 0 { break }
            hasher.update(buffer.slice(0..<count))
            try writer.write(buffer.slice(0..<count))
        }
        guard let data = try writer.finish() as? WrittenData else { throw .refused("the data is of another store") }
        return (data, hasher.finish())
    }

    private static func pieces(_ data: WrittenData) throws(ObjectError) -> [SnapshotRecord.Piece] {
        var places: [ChunkID: (Stripe, Chunk)] = [:]
        for fresh in data.stripes { for chunk in fresh.stripe.chunks { places[chunk.id] = (fresh.stripe, chunk) } }
        var pieces: [SnapshotRecord.Piece] = []
        for chunk in data.chunks {
            guard let (stripe, place) = places[chunk.id] else { throw .damaged("chunk \(chunk.id) has no stripe") }
            let bare = Stripe(
                id: stripe.id, k: stripe.k, m: stripe.m, length: stripe.length, shardLength: stripe.shardLength,
                created: 0, shards: stripe.shards, roots: stripe.roots, chunks: [])
            pieces.append(
                .init(
                    stripe: bare, offset: place.offset, length: place.length, plainLength: place.plainLength,
                    codec: place.codec, key: chunk.key))
        }
        return pieces
    }

    // MARK: Back from it

    /// The index of a store: the one that is there; or a copy that the store has, where there is none or the log does not go back that far.
    static func index(
        _ settings: StoreSettings, _ backends: any Backends, _ keys: StoreKeys, _ path: String?
    ) throws(ObjectError) -> ObjectIndex {
        let known = try translate { () throws(IndexError) in try ObjectIndex(path: path) }
        let position = try translate { () throws(IndexError) in
            try known.withReader { (view) throws(IndexError) in try view.position() }
        }
        let shelf = SnapshotShelf(backends: backends, quorum: settings.quorum, keys: keys)
        guard let record = try shelf.find(), position.height == 0 || position.height < record.trimmed else {
            return known
        }
        let copy = copyPath(path)
        defer { ObjectIndex.remove(copy) }
        let descriptor = Glibc.open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .unavailable("\(copy): errno \(errno)") }
        defer { close(descriptor) }
        do throws(ObjectError) {
            try fetch(record, settings, StripeReader(backends, Health())) { (bytes) throws(ObjectError) in
                var done = 0
                while done < bytes.count {
                    let count = bytes.baseAddress.map { Glibc.write(descriptor, $0 + done, bytes.count - done) } ?? 0
                    guard count > 0 else { throw .unavailable("\(copy): errno \(errno)") }
                    done += count
                }
            }
        } catch {
            // The whole log is the other way.
            if record.trimmed == 0 { return known }
            throw error
        }
        return try translate { () throws(IndexError) in
            guard try ObjectIndex.position(ofCopy: copy).height == record.height else {
                throw .damaged("the copy is of another entry than its record says")
            }
            return try ObjectIndex(restoring: copy, path: path)
        }
    }

    /// Reads a copy and compares it with its hash.
    private static func fetch(
        _ record: SnapshotRecord, _ settings: StoreSettings, _ reader: StripeReader,
        _ body: (UnsafeRawBufferPointer) throws(ObjectError) -> Void
    ) throws(ObjectError) {
        var hasher = SHA256Hasher()
        let everywhere = settings.backends.map(\.number)
        for (number, piece) in record.pieces.enumerated() {
            guard let data = reader.whole(piece.stripe, everywhere: everywhere),
                piece.offset + piece.length <= data.count,
                let plain = DataReader.open(
                    Array(data[piece.offset..<piece.offset + piece.length]), codec: piece.codec, key: piece.key,
                    plainLength: piece.plainLength)
            else {
                throw .unavailable(
                    "part \(number + 1) of \(record.pieces.count) of the copy of the index: too few good shards answer")
            }
            let bytes = plain.slice(0..<piece.plainLength)
            hasher.update(bytes)
            try body(bytes)
        }
        guard hasher.finish() == record.hash else { throw .damaged("the copy of the index does not match its hash") }
    }

    /// Beside the index; or in memory, where that is.
    private static func copyPath(_ path: String?) -> String {
        (path ?? "/dev/shm/zero-stor-\(Random.bytes(8).map { String($0, radix: 16) }.joined())") + ".copy"
    }
}
