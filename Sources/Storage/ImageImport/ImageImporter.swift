import CInflate
public import CanonicalJSON
import Crypto
public import Flist
import Glibc
import Linux

/// One architecture of an imported image: what an `image` record's index holds.
public struct ImportedArchitecture: Sendable {
    /// As OCI names it: `amd64`, `arm64`, `arm/v7`.
    public let architecture: String
    /// The flist. The key of a private image stays with its owner.
    public let root: ChunkReference
    /// `cmd`, `entrypoint`, `env`, `user`, `cwd`, `stop_signal`, `ports`, `volumes` of the OCI configuration, where it has them.
    public let config: JSONValue
    /// What the tree adds up to.
    public let totals: RootChunk.Totals
}

/// What an import made.
public struct ImportedImage: Sendable {
    /// In the order of the source.
    public let architectures: [ImportedArchitecture]
    /// How much was read, cut and stored.
    public let counts: ImportCounts
}

/// How far an import is.
public struct ImportProgress: Sendable {
    /// What is read now, such as `amd64, layer 2 of 5`.
    public let step: String
    /// Bytes read of it.
    public let bytes: Int64
    /// Bytes of it, where known.
    public let total: Int64?
    /// Chunks that were stored so far.
    public let counts: ImportCounts
}

/// Turns OCI layouts, tar archives and directories into flists in a chunk store.
///
/// No path of the host comes from an archive: trees are built in memory while contents stream into chunks. Calls
/// block; run them on a thread of their own.
public final class ImageImporter {
    /// Settings of an import.
    public struct Options: Sendable {
        /// Which keys chunks get: public images use `ConvergenceSecret.publicImages`.
        public var secret: ConvergenceSecret
        /// A folder for what makes the next import quicker, such as `$ZERO_HOME/cache/import`.
        public var cache: String?
        /// Which image of a layout that holds several: `org.opencontainers.image.ref.name`.
        public var reference: String?
        /// Which architectures; all when empty.
        public var architectures: [String]
        /// Threads that compress and store.
        public var threads: Int

        /// Settings; threads as many as processors and one more, so that waiting for the store costs nothing.
        public init(
            secret: ConvergenceSecret, cache: String? = nil, reference: String? = nil, architectures: [String] = [],
            threads: Int? = nil
        ) {
            (self.secret, self.cache, self.reference) = (secret, cache, reference)
            let processors = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
            (self.architectures, self.threads) = (architectures, max(1, threads ?? processors + 1))
        }
    }

    private let store: any ChunkStore
    private let options: Options
    private let progress: (ImportProgress) -> Bool
    private var lastReport: Int64 = 0
    private var isStopped = false

    /// Imports into `store`. `progress` is called about ten times a second; when it returns false the import stops.
    public init(
        _ store: any ChunkStore, _ options: Options, progress: @escaping (ImportProgress) -> Bool = { _ in true }
    ) {
        (self.store, self.options, self.progress) = (store, options, progress)
    }

    /// Checks everything below a root: every chunk is fetched, opened and compared. Public keys are checked with `secret`.
    public static func verify(
        _ root: ChunkReference, _ store: any ChunkStore, secret: ConvergenceSecret? = nil
    ) throws(FlistError) -> FlistVerifier.Report {
        var verifier = FlistVerifier(StoreSource(store, secret: secret))
        return try verifier.verify(root)
    }

    /// Imports an OCI layout, a directory or a tar archive (plain, gzip or zstd).
    public func run(_ path: String) throws(ImportError) -> ImportedImage {
        let status: FileStatus
        do { status = try File.status(path) } catch { throw .unreadable(path: path, reason: "\(error.errno)") }
        zg_import_keep_memory()
        let folder = try cacheFolder()
        let cache: ChunkCache?
        let layers: LayerCache?
        if let folder {
            (cache, layers) = (try ChunkCache(folder), try LayerCache(folder))
        } else {
            (cache, layers) = (nil, nil)
        }
        let pipeline = ChunkPipeline(store, options.secret, cache, threads: options.threads)
        defer { pipeline.close() }
        let architectures: [ImportedArchitecture]
        if status.isDirectory, OCILayout.isLayout(path) {
            architectures = try layout(path, pipeline, layers)
        } else if status.isDirectory {
            architectures = [try directory(path, pipeline)]
        } else if status.isRegular {
            architectures = [try archive(path, pipeline)]
        } else {
            throw .notAnImage(path: path, reason: "neither a folder nor a file")
        }
        try cache?.save()
        return ImportedImage(architectures: architectures, counts: pipeline.counts)
    }

    /// A folder for each secret: a chunk's key under one says nothing under another.
    private func cacheFolder() throws(ImportError) -> String? {
        guard let cache = options.cache else { return nil }
        let name = Array(HMAC.sha256(key: options.secret.bytes, Array("zero/import/cache/1".utf8))[..<8])
        return cache + "/" + name.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private func report(_ step: String, _ bytes: Int64, _ total: Int64?, _ pipeline: ChunkPipeline) {
        let now = Clock.monotonicNanoseconds()
        guard now - lastReport > 100_000_000, !isStopped else { return }
        lastReport = now
        isStopped = !progress(ImportProgress(step: step, bytes: bytes, total: total, counts: pipeline.counts))
    }

    private func checkStopped() throws(ImportError) { if isStopped { throw .stopped } }

    private func layout(
        _ path: String, _ pipeline: ChunkPipeline, _ cache: LayerCache?
    ) throws(ImportError) -> [ImportedArchitecture] {
        let layout = try OCILayout(path)
        var images = try layout.images(reference: options.reference)
        if !options.architectures.isEmpty {
            images = images.filter { options.architectures.contains($0.architecture) }
            if images.isEmpty {
                throw .nothingFits(reason: "\(path) has no image for \(options.architectures.joined(separator: ", "))")
            }
        }
        var imported: [ImportedArchitecture] = []
        for image in images {
            let root = TreeNode(LayerNode.implied().attributes, .directory([:]))
            for (index, descriptor) in image.layers.enumerated() {
                let step = "\(image.architecture), layer \(index + 1) of \(image.layers.count)"
                let layer = try layer(layout, descriptor, image.diffs[index], step, pipeline, cache)
                var merger = LayerMerger(root, step)
                try merger.apply(layer)
            }
            imported.append(try write(root, image.architecture, image.config, pipeline))
        }
        return imported
    }

    private func layer(
        _ layout: OCILayout, _ descriptor: OCILayout.Descriptor, _ diff: Crypto.Digest, _ step: String,
        _ pipeline: ChunkPipeline, _ cache: LayerCache?
    ) throws(ImportError) -> LayerNode {
        if let known = cache?.layer(diff), try holdsAll(known.chunks) {
            pipeline.countReusedLayer()
            return known.root
        }
        let path = layout.path(of: descriptor)
        let file = try FileSource(path)
        let unpacked = try decompressing(file, "sha256:\(descriptor.digest.hex)")
        let ahead = AheadSource(unpacked)
        defer { ahead.drop() }
        // What is not compressed has one digest.
        let plain = unpacked is PeekingSource ? nil : HashingSource(ahead)
        var reader = LayerReader(step, pipeline)
        let watched = WatchedSource(plain ?? ahead) { [self] in
            report(step, file.count, descriptor.size, pipeline)
            return isStopped
        }
        try reader.read(TarReader(watched, step))
        ahead.drop()
        try finish(file)
        guard file.digest == descriptor.digest, file.count == descriptor.size else {
            throw .wrongDigest(
                subject: step, expected: "sha256:\(descriptor.digest.hex), \(descriptor.size) bytes",
                found: "sha256:\(file.digest.hex), \(file.count) bytes")
        }
        let found = plain?.digest ?? file.digest
        guard found == diff else {
            throw .wrongDigest(
                subject: "\(step), unpacked", expected: "sha256:\(diff.hex)", found: "sha256:\(found.hex)")
        }
        try pipeline.drain()
        cache?.keep(reader.root, diff)
        return reader.root
    }

    /// Reads what follows the compressed data, so that the digest covers the whole blob.
    private func finish(_ file: FileSource) throws(ImportError) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while try readInto(&buffer, file, 0..<buffer.count) > 0 {}
    }

    private func holdsAll(_ chunks: Set<Crypto.Digest>) throws(ImportError) -> Bool {
        let ids = Array(chunks)
        do throws(FlistError) {
            for start in stride(from: 0, to: ids.count, by: 1_000) {
                let held = try store.holds(Array(ids[start..<min(start + 1_000, ids.count)]))
                if held.contains(false) { return false }
            }
        } catch { throw .storing(error) }
        return true
    }

    private func directory(_ path: String, _ pipeline: ChunkPipeline) throws(ImportError) -> ImportedArchitecture {
        var reader = DirectoryReader(pipeline) { [self] count in report(path, count, nil, pipeline) }
        let layer = try reader.read(path)
        return try single(layer, path, pipeline)
    }

    private func archive(_ path: String, _ pipeline: ChunkPipeline) throws(ImportError) -> ImportedArchitecture {
        let file = try FileSource(path)
        let ahead = AheadSource(try decompressing(file, path))
        defer { ahead.drop() }
        var reader = LayerReader(path, pipeline)
        let watched = WatchedSource(ahead) { [self] in
            report(path, file.count, nil, pipeline)
            return isStopped
        }
        try reader.read(TarReader(watched, path))
        return try single(reader.root, path, pipeline)
    }

    private func single(
        _ layer: LayerNode, _ path: String, _ pipeline: ChunkPipeline
    ) throws(ImportError) -> ImportedArchitecture {
        try pipeline.drain()
        let root = TreeNode(LayerNode.implied().attributes, .directory([:]))
        var merger = LayerMerger(root, path)
        try merger.apply(layer)
        return try write(root, Self.hostArchitecture, [:], pipeline)
    }

    /// What directories and archives hold is taken to be for the machine that imports them.
    private static var hostArchitecture: String {
        #if arch(x86_64)
        "amd64"
        #elseif arch(arm64)
        "arm64"
        #else
        "unknown"
        #endif
    }

    private func write(
        _ root: TreeNode, _ architecture: String, _ config: JSONValue, _ pipeline: ChunkPipeline
    ) throws(ImportError) -> ImportedArchitecture {
        try checkStopped()
        do throws(FlistError) {
            let pending = Pending()
            var builder = FlistBuilder(options.secret) { chunk throws(FlistError) in
                pending.chunks.append(chunk)
                if pending.chunks.count == 256 { try pipeline.store(pending.take()) }
            }
            let written = try builder.write(root)
            try pipeline.store(pending.take())
            return ImportedArchitecture(
                architecture: architecture, root: written.root, config: config, totals: written.totals)
        } catch { throw .storing(error) }
    }

    private final class Pending {
        var chunks: [SealedChunk] = []
        func take() -> [SealedChunk] {
            defer { chunks = [] }
            return chunks
        }
    }
}

/// Tells how far a stream is, and ends it with an error when the import is to stop.
private final class WatchedSource: ByteSource {
    private let source: any ByteSource
    private let isStopped: () -> Bool

    init(_ source: any ByteSource, _ isStopped: @escaping () -> Bool) {
        (self.source, self.isStopped) = (source, isStopped)
    }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        if isStopped() { throw .stopped }
        return try source.read(buffer)
    }
}
