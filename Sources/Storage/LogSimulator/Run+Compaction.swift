import LogEngine
import Simulation

/// Compaction between turns: what lives or is kept is never lost, what is let go gives its space back.
extension Run {
    /// Some of the work that nobody waits for.
    func maintain(_ engine: inout LogEngine) throws(Stop) {
        if options.compactionRate > 0 || isCompacting, random.chance(10) { now += 6_000_000_000 }
        for _ in 0..<(1 + random.below(isCompacting ? 12 : 4)) {
            if try !slice(&engine) { break }
            if faults.rots, random.chance(4) { rotOutput(engine) }
        }
    }

    private func slice(_ engine: inout LogEngine) throws(Stop) -> Bool {
        let isMore = engine.maintain(now: clock(), budget: 512 << random.below(6))
        if disk.isCrashed {
            say("maintenance: power lost")
            throw .crashed
        }
        noteProgress(engine)
        let done = engine.compactionInformation().statistics
        if done.copiedBytes > 0, faults.rots { copiesDamage = true }
        return isMore
    }

    /// Somebody wants the space back.
    func requestCompaction(_ engine: inout LogEngine) throws(Stop) {
        do throws(LogError) { try engine.requestCompaction(time: clock()) } catch {
            say("compact: \(error)")
            return try accept(error, &engine)
        }
        say("compact")
        isCompacting = true
        noteProgress(engine)
    }

    /// Everything that may go is gone, and nothing else.
    func settleCompaction(_ engine: inout LogEngine) throws(Stop) {
        try requestCompaction(&engine)
        let before = engine.compactionInformation().statistics.failures
        var left = 20_000
        while left > 0 {
            now += 10_000_000
            left -= faults.isSmall ? 20 : 1
            if try !slice(&engine) { break }
        }
        let found = engine.compactionInformation()
        say("compacted: \(found)")
        if left <= 0, !faults.isSmall { throw .wrong("compaction does not end: \(found)") }
        try everything(&engine)
        guard damaged.isEmpty, !isIndexDamaged, !faults.fails, !faults.isSmall, engine.readOnlyReason == nil else {
            return
        }
        guard found.statistics.failures == before else { throw .wrong("compaction failed: \(found)") }
        guard !found.isRunning, found.discardedFiles == 0, found.wipesPending == 0 else {
            throw .wrong("compaction ended before its end: \(found)")
        }
        let files = ((try? disk.list()) ?? []).filter { $0.hasSuffix(".segment") }
        guard files.count == engine.segmentCount else {
            throw .wrong("\(files.count) segments are on the disk, and \(engine.segmentCount) count")
        }
        let isExact = model.visible.namespaces.allSatisfy { [.all, .none].contains($0.settings.history) }
        if isExact, found.deadBytes != 0 { throw .wrong("space was not given back: \(found)") }
        for wiped in wipes {
            guard let name = disk.holder(of: wiped) else { continue }
            throw .wrong("a value that was to be wiped is still in \(name): \(wiped.prefix(8))")
        }
        wipes = []
    }

    /// Bytes of a segment that is being written change before anybody read them again: it must not be taken.
    private func rotOutput(_ engine: borrowing LogEngine) {
        guard let number = engine.unverifiedOutput else { return }
        let name = LogEngine.fileName(segment: number)
        let length = disk.bytes(of: name).count
        guard length > 4096 else { return }
        let at = 4096 + random.below(length - 4096)
        counts.faults += 1
        say("bit flipped in an output: \(name) \(at)")
        disk.flip(name, at: at, mask: UInt8(1 << random.below(8)))
    }

    /// Ends what a namespace holds.
    func flush(_ engine: inout LogEngine, _ namespace: ModelNamespace, _ epoch: UInt64) throws(Stop) {
        var expected = refusalOfAny(namespace, epoch)
        if expected == nil, namespace.settings.isWorm { expected = .worm }
        do throws(LogError) { try engine.flush(namespace.id, epoch: epoch, time: clock()) } catch {
            say("\(namespace.id) flush: \(error)")
            if error == expected { return noteProgress(engine) }
            return try accept(error, &engine, doubtful: .flush(namespace.id))
        }
        say("\(namespace.id) flushed")
        if let expected { throw .wrong("a flush that had to be refused (\(expected)) happened") }
        add(.flush(namespace.id), engine)
    }
}
