import Simulation

/// What compaction knows of one segment's bytes.
struct SegmentUse {
    /// Bytes of records that slots point to.
    var live: UInt64 = 0
    /// Bytes of records whose namespace's policy lets them go, counted when they were superseded.
    var dead: UInt64 = 0
    /// Bytes that the last compaction kept although no slot points to them.
    var retained: UInt64 = 0
    /// When `retained` may be less than it was: time passes, versions are pushed out.
    var retainedUntil = UInt64.max
    /// How many times longer than usual that takes, because the last looks found little.
    var patience: UInt64 = 1
    /// The last record of the log when the compaction began that decided what is retained.
    var decidedUpTo: UInt64 = 0
    /// A policy changed or a namespace ended: `dead` is too low by an unknown amount.
    var isUncertain = false
    /// Damage was found in it, so it is kept as it is.
    var isPinned = false
    /// Bytes of records by namespace; complete only after `settleAllUsage`. Sums only, so its order does not matter.
    var usage: [UInt32: UInt64] = [:]
}

/// The compaction that is under way, and what compaction did.
///
/// A run takes neighbouring sealed segments, copies what survives into one new segment, makes that durable, puts it in
/// their place by one change of the manifest, lets slots point to it, and removes them. Until the change of the
/// manifest nothing has happened; after it nothing can be lost.
struct Compaction: ~Copyable {
    enum Phase {
        case idle, copying, finishing, verifying, publishing, moving, purging
    }

    var phase = Phase.idle
    /// Somebody asked for runs over everything that has anything to give.
    var isRequested = false
    /// The last record when they did: what was decided before is decided again.
    var requestedUpTo: UInt64 = 0
    /// Namespaces that ended and whose bytes are to be overwritten.
    var wiped: Set<UInt32> = []
    /// Nothing is looked for before this time, because the last look found nothing.
    var nextLook: UInt64 = 0
    /// The next sequence number at the last look.
    var lookedAt: UInt64 = 0
    /// No run is begun before this time, because the last one lacked space.
    var blockedUntil: UInt64 = 0
    /// Why the last run was given up.
    var lastFailure: String?
    /// Since when the change of the manifest waits for replicas.
    var heldSince: UInt64?
    var statistics = CompactionStatistics()
    /// Bytes that may be read and written now, and when that was last counted.
    var tokens: UInt64 = 0
    var countedAt: UInt64 = 0

    // The run.
    var inputs: [Int] = []
    /// Nothing in the log is older than the inputs.
    var startsTheLog = false
    var input = 0
    var walker: CompactionWalker?
    /// Bytes of the record that is being copied: where, how many are left, the running checksum of its value.
    var copyAt: UInt64 = 0
    var copyLeft = 0
    var copyValueFrom: UInt64 = 0
    var copyValueEnd: UInt64 = 0
    var copyChecksum: UInt32 = 0
    var copyWanted: UInt32 = 0
    var output = CompactionOutput()
    /// Deletions that were not copied, whose slots go once the change is made.
    var purged: [(namespace: UInt32, key: [UInt8], sequence: UInt64)] = []
    /// Places of a sequential namespace's table were changed.
    var movesTables = false
    /// When the run was begun; policies of time are applied as of then until it ends.
    var decidedAt: UInt64 = 0
    /// The last record when the run was begun.
    var begunUpTo: UInt64 = 0
    /// Namespaces of which a definition was kept that says their mode: what follows it is found in the right index.
    var defined: Set<UInt32> = []
    /// From which version on the run keeps those of a key. Only looked up, so its order does not matter.
    var keptFrom: [HistoryKey: UInt64] = [:]
    /// The key whose versions are being looked at.
    var walk: HistoryWalk?
    /// The record that is copied next, for the output's index.
    var entry: (header: RecordHeader, hash: KeyHash)?
    var index: OutputIndex?
    /// Every decision was made on records up to this one, which must be durable before anything they supersede goes.
    var decidedUpTo: UInt64 = 0
    /// What was known to be dead of the inputs when each had been copied.
    var deadWhenCopied: UInt64 = 0
    /// Bytes copied of each input that were current when they were looked at.
    var copiedLive: [UInt64] = []
    var openRecord: UInt64 = 0
    /// A background sync is under way, of the output or of the active segment up to `syncingActive`.
    var isSyncing = false
    var syncingActive: UInt64?
    var verifiedAt: UInt64 = 0
    var verifiedChecksum: UInt32 = 0

    /// The run has happened, though not all that follows from it is done.
    var isPublished: Bool { phase == .moving || phase == .purging }

    /// There is no run.
    mutating func forgetRun() {
        (walker, walk, entry, index) = (nil, nil, nil, nil)
        (inputs, purged, keptFrom, defined) = ([], [], [:], [])
        output = CompactionOutput()
        (copyLeft, deadWhenCopied) = (0, 0)
        phase = .idle
    }
}

/// A segment that is being written by a compaction.
struct CompactionOutput {
    var file: DiskFile?
    var number: UInt64 = 0
    var position = -1
    /// Bytes written.
    var length: UInt64 = 0
    var reserved: UInt64 = 0
    var syncedLength: UInt64 = 0
    /// Running CRC-32C of the file.
    var checksum: UInt32 = ~0
    var index = IndexState.refused
    /// Bytes not yet written.
    var buffer: [UInt8] = []
    var usage: [UInt32: UInt64] = [:]
    var first: UInt64 = 0
    var last: UInt64 = 0
}

/// A walker that outlives a slice.
final class CompactionWalker {
    var walker: SegmentWalker
    init(_ walker: consuming SegmentWalker) { self.walker = walker }
}

/// The `.index` of the output, written while it is copied.
final class OutputIndex {
    var writer: IndexWriter
    init(_ writer: consuming IndexWriter) { self.writer = writer }
}

/// What compaction did since the start.
public struct CompactionStatistics: Sendable {
    /// Runs that ended well.
    public var runs: UInt64 = 0
    /// Runs that were given up.
    public var failures: UInt64 = 0
    /// Bytes of surviving records copied.
    public var copiedBytes: UInt64 = 0
    /// Bytes of segments that were given back, less what was copied.
    public var freedBytes: UInt64 = 0
    /// Segments that were removed.
    public var removedSegments: UInt64 = 0
    /// Records copied whose value does not match its checksum: they still are errors at reads.
    public var damagedCopied: UInt64 = 0
    /// Bytes of old files overwritten for `NSDEL … WIPE`.
    public var overwrittenBytes: UInt64 = 0
}

/// What can be told of compaction.
public struct CompactionInformation: Sendable {
    /// Whether a run is under way or was asked for.
    public let isRunning: Bool
    /// What was done.
    public let statistics: CompactionStatistics
    /// Bytes that policy lets go, as far as is known without looking.
    public let deadBytes: UInt64
    /// Segments that are kept as they are because damage was found in them.
    public let pinnedSegments: Int
    /// Namespaces whose bytes still are to be overwritten.
    public let wipesPending: Int
    /// Files that do not count and are still to be removed.
    public let discardedFiles: Int
    /// Why the last run was given up.
    public let lastFailure: String?
}

extension LogEngine {
    /// What can be told of compaction.
    public mutating func compactionInformation() -> CompactionInformation {
        settleAllUsage()
        var dead: UInt64 = 0
        for position in order where position != active { dead += reclaimable(position, now: .max) }
        return CompactionInformation(
            isRunning: compaction.phase != .idle || compaction.isRequested, statistics: compaction.statistics,
            deadBytes: dead,
            pinnedSegments: order.count { segments[$0].use.isPinned }, wipesPending: compaction.wiped.count,
            discardedFiles: discarded.count, lastFailure: compaction.lastFailure)
    }

    /// The number of a segment that a compaction writes and has not read again yet.
    package var unverifiedOutput: UInt64? {
        let isUnverified =
            compaction.phase == .copying || compaction.phase == .finishing
            || (compaction.phase == .verifying && compaction.verifiedAt == 0)
        return isUnverified && compaction.output.file != nil ? compaction.output.number : nil
    }

    /// Begins to compact all that has anything to give; the active segment is ended for it.
    public mutating func requestCompaction(time: UInt64) throws(LogError) {
        if readOnlyReason != nil { throw .readOnly }
        try rollActive()
        compaction.isRequested = true
        compaction.requestedUpTo = nextSequence - 1
        (compaction.nextLook, compaction.blockedUntil) = (0, 0)
    }

    // MARK: Which segments

    /// Bytes that a compaction of a segment would give back, as far as is known.
    func reclaimable(_ position: Int, now: UInt64) -> UInt64 {
        let use = segments[position].use
        let body = segments[position].length - min(segments[position].length, UInt64(Format.headerBlockBytes))
        let isDue =
            use.retained > 0 && now != .max
            && (now >= use.retainedUntil || (compaction.isRequested && use.decidedUpTo < compaction.requestedUpTo))
        let others = body - min(body, use.live + (isDue ? 0 : use.retained))
        guard use.isUncertain || isDue else { return min(use.dead, others) }
        var reclaimed: UInt64 = 0
        for (id, bytes) in use.usage where id != 0 {
            if hasNamespace(id), let state = namespaces[Int(id)] {
                if state.pointee.isReclaimed || state.pointee.flushed > segments[position].firstSequence {
                    reclaimed += bytes
                }
            } else {
                reclaimed += bytes
            }
        }
        return min(reclaimed, others)
    }

    /// Whether a segment holds bytes of a namespace that is to be overwritten.
    func isToWipe(_ position: Int) -> Bool {
        !compaction.wiped.isEmpty && segments[position].use.usage.keys.contains { compaction.wiped.contains($0) }
    }

    /// The neighbouring segments that are worth it most, in the order of the log; empty if none is.
    mutating func chooseInputs(now: UInt64) -> Range<Int> {
        settleAllUsage()
        measureSpace()
        let isShort = space.free < 2 * compactionRoom(space.total)
        var best: (index: Int, worth: Double)?
        for (index, position) in order.enumerated() where isEligible(position) {
            let (dead, body) = (reclaimable(position, now: now), bodyBytes(position))
            let isWanted = isToWipe(position)
            let least = compaction.isRequested ? 1 : isShort ? body / 50 : body / 4
            guard isWanted || (dead > 0 && dead >= least) else { continue }
            guard isWanted || compaction.isRequested || options.compactionRate > 0 else { continue }
            // What is gained, for as long as it has been stable, by what it costs to read and write.
            let age = Double(max(1, order.count - index))
            let gain = Double(dead) * age.squareRoot() / Double(2 * body - dead + 1)
            let worth = isWanted ? Double.infinity : gain
            if worth > best?.worth ?? 0 { best = (index, worth) }
        }
        guard let best else { return 0..<0 }
        return extend(best.index, now: now)
    }

    private func bodyBytes(_ position: Int) -> UInt64 {
        segments[position].length - min(segments[position].length, UInt64(Format.headerBlockBytes))
    }

    private func isEligible(_ position: Int) -> Bool {
        // What too few replicas have is not rewritten: who comes back with a part of it has to give that up.
        position != active && !segments[position].use.isPinned && segments[position].last != 0
            && segments[position].last <= confirmedSequence
    }

    /// Takes neighbours in that give something back or are small, as long as all that survives fits one segment and
    /// the space that is left.
    private func extend(_ index: Int, now: UInt64) -> Range<Int> {
        func survivors(_ index: Int) -> UInt64 {
            bodyBytes(order[index]) - min(bodyBytes(order[index]), reclaimable(order[index], now: now))
        }
        func isWorth(_ index: Int) -> Bool {
            guard isEligible(order[index]) else { return false }
            let dead = reclaimable(order[index], now: now)
            return dead >= max(1, bodyBytes(order[index]) / 5) || bodyBytes(order[index]) < UInt64(segmentBytes) / 4
        }
        let limit = min(UInt64(segmentBytes), space.free - min(space.free, 64 << 10))
        var range = index..<index + 1
        var kept = survivors(index)
        var total = segments[order[index]].length
        while range.count < 64 {
            var grown = false
            for next in [range.lowerBound - 1, range.upperBound] where order.indices.contains(next) {
                guard isWorth(next), kept + survivors(next) <= limit,
                    total + segments[order[next]].length <= LogLimits.segmentBytesMax
                else { continue }
                kept += survivors(next)
                total += segments[order[next]].length
                range = min(range.lowerBound, next)..<max(range.upperBound, next + 1)
                grown = true
            }
            if !grown { break }
        }
        return range
    }
}
