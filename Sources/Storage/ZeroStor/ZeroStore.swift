internal import Crypto
internal import Dispersal
internal import Linux
internal import ObjectIndex
public import Objects
internal import Synchronization

/// An archive over many Zero-DBs: the store of objects that a gateway serves.
///
/// Data is cut, compressed, sealed and dispersed before it leaves here; what is where is in the log, which one writer at a time keeps on
/// several of the backends, and in an index that is derived from it and can be lost.
public final class ZeroStore: Sendable {
    let index: ObjectIndex
    let committer: Committer
    let layout = Layout()
    let health = Health()
    let pins = Pins()
    /// Behind which stripe of the repair queue the next round begins.
    let repairCursor = Mutex<(priority: Int64, number: UInt64)?>(nil)
    let stripeWriter: StripeWriter
    let stripeReader: StripeReader
    let packer: Packer
    let keys: StoreKeys
    let backends: any Backends
    let settings: StoreSettings
    let quorum: LogQuorum
    /// The index's file; nil: in memory.
    let indexPath: String?

    /// Opens the store that the settings describe, with its owner's 32 secret bytes; `index` is a file, or nil to keep the index in memory. The
    /// log is read before this returns, and from then on this is the writer; with `follows` only when it first changes something, and another
    /// gateway that writes goes on until then.
    public convenience init(
        _ settings: StoreSettings, secret: [UInt8], index path: String?, url: String, follows: Bool = false
    ) throws(ObjectError) {
        let pool: BackendPool
        do { pool = try BackendPool() } catch { throw .unavailable("\(error)") }
        for backend in settings.backends {
            guard let address = BackendAddress(backend.address) else { continue }
            pool.add(backend.number, address)
        }
        let index = try Self.index(settings, pool, StoreKeys(secret: secret, store: settings.store), path)
        try self.init(settings, pool, index, path: path, secret: secret, url: url)
        do throws(ObjectError) {
            if follows { try follow() } else { try open() }
        } catch {
            guard case .damaged(let reason) = error, let path else { throw error }
            // Not removed here: where it is the log that lost something, this is the last copy.
            throw .damaged("\(reason); where the log is whole, move \(path) away and the index is derived anew")
        }
    }

    /// A store over backends of any kind; `open` makes it the writer.
    init(
        _ settings: StoreSettings, _ backends: any Backends, _ index: ObjectIndex, path: String? = nil, secret: [UInt8],
        url: String
    ) throws(ObjectError) {
        (self.settings, self.backends, self.index, indexPath) = (settings, backends, index, path)
        keys = StoreKeys(secret: secret, store: settings.store)
        quorum = settings.quorum
        guard quorum.isSound else { throw .refused("the log's backends are too few for what they are to survive") }
        let position = try translate { () throws(IndexError) in
            try index.withReader { (view) throws(IndexError) in try view.position() }
        }
        let log = QuorumLog(
            backends, quorum, keys: keys, height: position.height, hash: Digest(position.chain) ?? .zero)
        let committer = Committer(index, log, url: url) { [layout] in try? layout.load(index) }
        self.committer = committer
        stripeWriter = StripeWriter(backends, layout, health, pins) { committer.noteFenced() }
        stripeReader = StripeReader(backends, health)
        packer = Packer(stripeWriter) { committer.nextID() }
    }

    /// Becomes the writer, and writes down backends and policy where the settings differ from the log.
    func open() throws(ObjectError) {
        try committer.takeOver()
        let settings = settings
        try committer.commit { (writer, apply) throws(ObjectError) in
            let known = try translate { () throws(IndexError) in try writer.view.backends().map(\.backend) }
            for backend in settings.backends {
                let former = known.first { $0.number == backend.number }
                if var former {
                    former.state = .active
                    if former == backend { continue }
                }
                // Its state is not the file's to say.
                var changed = backend
                changed.state = former?.state ?? .active
                _ = try apply(.backendSet(changed))
            }
            if try translate({ () throws(IndexError) in try writer.view.policy() }) != settings.policy {
                _ = try apply(.policySet(settings.policy))
            }
        }
        try layout.load(index)
    }

    /// Knows what the log says, and leaves the writer alone.
    func follow() throws(ObjectError) {
        try committer.follow()
        try layout.load(index)
    }

    var policy: Policy { layout.policy ?? settings.policy }

    func read<Result>(_ body: (IndexView) throws(ObjectError) -> Result) throws(ObjectError) -> Result {
        var failure: ObjectError?
        do throws(IndexError) {
            return try index.withReader { (view) throws(IndexError) in
                do throws(ObjectError) { return try body(view) } catch {
                    failure = error
                    throw .database("", code: 0)
                }
            }
        } catch {
            throw failure ?? .damaged("the index: \(error)")
        }
    }

    static func requireBucket(_ view: IndexView, _ name: String) throws(ObjectError) -> Bucket {
        guard let bucket = try translate({ () throws(IndexError) in try view.bucket(name) }) else {
            throw .noSuchBucket(name)
        }
        return bucket
    }

    /// The version that a request means; a delete marker is an error.
    static func find(
        _ view: IndexView, _ bucket: String, _ key: ObjectKey, _ version: VersionID?
    ) throws(ObjectError) -> IndexedVersion {
        let found = try translate { () throws(IndexError) in try view.version(bucket, key, version) }
        guard let found else {
            _ = try requireBucket(view, bucket)
            if let version { throw .noSuchVersion(key, version) }
            throw .noSuchKey(key)
        }
        if found.version.isDeleteMarker { throw .deleteMarker(key, found.version.id, asked: version != nil) }
        return found
    }

    /// Brings new data into the log: the segments that it is.
    func segments(
        _ data: any StoredData, _ writer: IndexWriter, _ apply: (Operation) throws(ObjectError) -> Effects
    ) throws(ObjectError) -> [Segment] {
        guard let data = data as? WrittenData else { throw .refused("the data is of another store") }
        if data.chunks.isEmpty {
            for segment in data.segments {
                let manifest = try translate { () throws(IndexError) in try writer.view.manifest(segment.manifest) }
                if manifest == nil { throw .busy("what was to be copied was deleted meanwhile") }
            }
            return data.segments
        }
        // A pin keeps a chunk's stripe, but not its place in the index, once the last object that names it is gone.
        let shared = try translate { () throws(IndexError) in try writer.view.chunks(data.pinned) }
        if shared.contains(where: { $0 == nil }) { throw .busy("data that was to be shared was deleted meanwhile") }
        for fresh in data.stripes {
            fresh.offer()
            let known = try translate { () throws(IndexError) in try writer.view.stripe(fresh.stripe.id) }
            if known == nil { _ = try apply(.stripeAdd(fresh.stripe)) }
        }
        let manifest = Manifest(
            size: data.size, pieces: data.chunks.map { Manifest.Piece(id: $0.id, plainLength: $0.plainLength) },
            sealedKeys: data.sealedKeys)
        let effects = try apply(.manifestAdd(manifest))
        return [
            Segment(
                manifest: effects.sequence, size: data.size,
                wrappedKey: keys.wrap(data.manifestKey, customer: data.customerKey), generation: 1)
        ]
    }
}
