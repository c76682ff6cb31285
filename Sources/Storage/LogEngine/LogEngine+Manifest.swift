import Simulation

extension LogEngine {
    /// The segments that count, in the order of the log. Without a manifest that is the order of their numbers.
    static func inOrder(_ present: [UInt64], _ manifest: Manifest?) -> [UInt64] {
        guard let manifest else { return present }
        let files = Set(present)
        return manifest.entries.sorted { ($0.first, $0.number) < ($1.first, $1.number) }.map(\.number)
            .filter { files.contains($0) }
    }

    /// Before a segment is read: what the manifest says about the numbers before it. Gaps are where compaction let
    /// things go; losses are the segments that should be there and are not.
    mutating func expectSegment(_ number: UInt64) {
        guard let entry = manifest?.entry(number) else { return }
        noteMissing(before: entry.first)
        nextSequence = max(nextSequence, entry.first)
    }

    /// Reports segments that count and whose files are not there.
    mutating func noteMissing(before sequence: UInt64) {
        guard let manifest else { return }
        for entry in manifest.entries.sorted(by: { $0.first < $1.first })
        where entry.first >= nextSequence && entry.first < sequence
            && !segments.contains(where: { $0.number == entry.number })
        {
            let end = max(entry.last &+ 1, entry.first)
            note(entry.number, 0..<entry.length, entry.first..<end, false)
            nextSequence = max(nextSequence, end)
        }
    }

    /// After a segment was read: whether it reaches as far as it should.
    mutating func endSegment(_ position: Int, isLast: Bool) {
        let segment = segments[position]
        guard let entry = manifest?.entry(segment.number), entry.last != 0 else {
            if !isLast { segments[position].last = nextSequence - 1 }
            return
        }
        segments[position].last = entry.last
        if entry.length > segment.length {
            note(segment.number, segment.length..<entry.length, nextSequence..<max(nextSequence, entry.last + 1), false)
        } else if entry.kind == SegmentHeader.kindLog, nextSequence <= entry.last {
            note(segment.number, segment.length..<segment.length, nextSequence..<entry.last + 1, false)
        }
        nextSequence = max(nextSequence, entry.last + 1)
        // The one that was written to is not there: the next record begins another.
        if isLast { hasDamagedHeader = true }
    }

    /// A segment is begun: the manifest has to say so before its first record is written.
    mutating func noteRoll(_ number: UInt64) throws(DiskError) {
        // Numbers that a new process leaves out belong to no segment.
        if !segments.isEmpty { segments[active].last = header.previousSequence }
        guard manifest != nil else { return }
        var sealed = manifestEntry(active)
        (sealed.last, sealed.length) = (segments[active].last, segments[active].length)
        let added = Manifest.Entry(number: number, kind: SegmentHeader.kindLog, first: nextSequence)
        do throws(DiskError) { try editManifest([.seal(sealed), .add(added)], lastTime) } catch {
            segments[active].last = 0
            throw error
        }
    }
}
