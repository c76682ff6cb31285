import Crypto
import Flist
import Linux
import Synchronization

/// The pieces of a file that threads fill in; complete once the pipeline was drained.
///
/// `@unchecked Sendable`: the pipeline's monitor of what is done protects `pieces`; other threads read it only after draining.
final class FileContent: @unchecked Sendable {
    /// In order of the file.
    var pieces: [SizedReference?] = []

    init(_ pieces: [SizedReference] = []) { self.pieces = pieces }

    /// The pieces; those that are missing were never cut.
    var complete: [SizedReference] { pieces.compactMap { $0 } }
}

/// What a pipeline did.
public struct ImportCounts: Sendable, Equatable {
    /// Bytes of content that were cut.
    public var contentBytes: UInt64 = 0
    /// Chunks that content and directories were cut into.
    public var chunks: UInt64 = 0
    /// Chunks that the store did not have.
    public var newChunks: UInt64 = 0
    /// Bytes of those, as stored.
    public var newBytes: UInt64 = 0
    /// Layers whose chunks were known and still there, so that they were not read.
    public var reusedLayers: Int = 0

    /// Nothing done.
    public init() {}
}

/// Compresses, encrypts and stores chunks on several threads, and skips those that the cache knows and the store has.
final class ChunkPipeline: Sendable {
    private struct Job: Sendable {
        let plain: [UInt8]
        let file: FileContent
        let index: Int
    }

    /// What waits for a thread.
    private struct Queue: Sendable {
        /// Nil where a job was taken, so that its memory is free for the next.
        var jobs: [Job?] = []
        var first = 0
        var bytes = 0
        var isDraining = false
        var isClosed = false
        var failure: FlistError?

        mutating func pop() -> Job? {
            guard first < jobs.count, let job = jobs[first] else { return nil }
            jobs[first] = nil
            first += 1
            if first > 1_024 || first == jobs.count {
                jobs.removeSubrange(..<first)
                first = 0
            }
            bytes -= job.plain.count
            return job
        }
    }

    /// What threads did.
    private struct Done: Sendable {
        var unfinished = 0
        var failure: FlistError?
        var counts = ImportCounts()
        var workers = 0
    }

    /// Bytes that wait for a thread: enough to keep all busy while a layer is decompressed in bursts.
    private static let queueBytes = 16 << 20
    /// Bytes and chunks of one exchange with the store.
    private static let batchBytes = 4 << 20
    private static let batchChunks = 64
    /// How long a thread waits for more before it stores what it has.
    private static let batchMilliseconds = 30

    private let store: any ChunkStore
    private let secret: ConvergenceSecret
    private let cache: ChunkCache?
    private let queue = Monitor(Queue())
    private let done = Monitor(Done())

    init(_ store: any ChunkStore, _ secret: ConvergenceSecret, _ cache: ChunkCache?, threads: Int) {
        (self.store, self.secret, self.cache) = (store, secret, cache)
        done.withLock { $0.workers = threads }
        for _ in 0..<threads { startThread { [self] in work() } }
    }

    /// What was done so far.
    var counts: ImportCounts { done.withLock { $0.counts } }

    /// Queues one piece of a file; waits while too much is queued.
    func submit(_ plain: [UInt8], _ file: FileContent) throws(ImportError) {
        let index = done.withLock { done in
            file.pieces.append(nil)
            done.unfinished += 1
            done.counts.contentBytes += UInt64(plain.count)
            done.counts.chunks += 1
            return file.pieces.count - 1
        }
        let failure: FlistError?? = queue.wait { queue in
            if let failure = queue.failure { return .some(failure) }
            return queue.bytes > Self.queueBytes ? nil : .some(nil)
        }
        if case .some(.some(let failure)) = failure { throw .storing(failure) }
        // Only threads wait while there is room, so one of them is woken.
        queue.updateOne { queue in
            queue.jobs.append(Job(plain: plain, file: file, index: index))
            queue.bytes += plain.count
        }
    }

    /// Waits until everything that was queued is stored.
    func drain() throws(ImportError) {
        queue.update { $0.isDraining = true }
        let failure: FlistError?? = done.wait { done in
            if let failure = done.failure { return .some(failure) }
            return done.unfinished == 0 ? .some(nil) : nil
        }
        queue.withLock { $0.isDraining = false }
        if case .some(.some(let failure)) = failure { throw .storing(failure) }
    }

    /// Stores metadata chunks at once.
    func store(_ chunks: [SealedChunk]) throws(FlistError) {
        try count(chunks, try store.add(chunks))
        done.withLock { $0.counts.chunks += UInt64(chunks.count) }
    }

    /// Counts a layer that was not read again.
    func countReusedLayer() { done.withLock { $0.counts.reusedLayers += 1 } }

    /// Ends the threads; what is still queued is dropped.
    func close() {
        queue.update { $0.isClosed = true }
        _ = done.wait { $0.workers == 0 ? true : nil }
    }

    private func count(_ chunks: [SealedChunk], _ isNew: [Bool]) throws(FlistError) {
        guard chunks.count == isNew.count else { throw .store("another number of answers than chunks") }
        done.withLock { state in
            for (chunk, isNew) in zip(chunks, isNew) where isNew {
                state.counts.newChunks += 1
                state.counts.newBytes += UInt64(chunk.stored.count)
            }
        }
    }

    /// What a thread holds until it exchanges with the store.
    private struct Batch {
        var known: [(job: Job, digest: Digest, reference: ChunkReference)] = []
        var sealed: [(job: Job, digest: Digest, chunk: SealedChunk)] = []
        var bytes = 0
        var count: Int { known.count + sealed.count }
        var isEmpty: Bool { count == 0 }
    }

    private enum Next {
        case job(Job, makesRoom: Bool)
        case flush
        case end
    }

    private func work() {
        var batch = Batch()
        loop: while true {
            let isIdle = batch.isEmpty
            let next: Next? = queue.wait(milliseconds: isIdle ? nil : Self.batchMilliseconds) { queue in
                if queue.isClosed { return .end }
                if queue.failure != nil { return isIdle ? nil : .flush }
                let wasFull = queue.bytes > Self.queueBytes
                if let job = queue.pop() { return .job(job, makesRoom: wasFull && queue.bytes <= Self.queueBytes) }
                return !isIdle && queue.isDraining ? .flush : nil
            }
            do throws(FlistError) {
                switch next {
                case .end: break loop
                case .job(let job, let makesRoom):
                    if makesRoom { queue.update { _ in } }
                    try take(job, &batch)
                    if batch.bytes >= Self.batchBytes || batch.count >= Self.batchChunks { try flush(&batch) }
                case .flush, nil: try flush(&batch)
                }
            } catch {
                batch = Batch()
                queue.update { $0.failure = $0.failure ?? error }
                done.update { $0.failure = $0.failure ?? error }
            }
        }
        done.update { $0.workers -= 1 }
    }

    private func take(_ job: Job, _ batch: inout Batch) throws(FlistError) {
        batch.bytes += job.plain.count
        let digest = cache == nil ? Digest.zero : SHA256.hash(job.plain)
        if let reference = cache?.reference(digest) {
            batch.known.append((job, digest, reference))
        } else {
            batch.sealed.append((job, digest, try ChunkCodec.seal(job.plain, .content, secret)))
        }
    }

    private func flush(_ batch: inout Batch) throws(FlistError) {
        defer { batch = Batch() }
        if batch.isEmpty { return }
        var finished: [(job: Job, reference: ChunkReference)] = []
        if !batch.known.isEmpty {
            let held = try store.holds(batch.known.map(\.reference.id))
            guard held.count == batch.known.count else { throw .store("another number of answers than chunks") }
            for (known, isHeld) in zip(batch.known, held) {
                if isHeld {
                    finished.append((known.job, known.reference))
                } else {
                    let chunk = try ChunkCodec.seal(known.job.plain, .content, secret)
                    batch.sealed.append((known.job, known.digest, chunk))
                }
            }
        }
        if !batch.sealed.isEmpty {
            let chunks = batch.sealed.map(\.chunk)
            try count(chunks, try store.add(chunks))
            for sealed in batch.sealed {
                cache?.record(sealed.digest, sealed.chunk.reference)
                finished.append((sealed.job, sealed.chunk.reference))
            }
        }
        done.update { state in
            for (job, reference) in finished {
                job.file.pieces[job.index] = SizedReference(size: UInt64(job.plain.count), chunk: reference)
            }
            state.unfinished -= finished.count
        }
    }
}
