import Simulation

extension LogScanner {
    /// A copy of a change of the manifest that is damaged while the other is good.
    func manifestProblem() -> LogProblem? {
        guard let manifest, manifest.isHalf else { return nil }
        return LogProblem(
            kind: .manifestCopy, segment: 0, offset: 0, length: 0, sequences: 0..<0, namespace: nil, key: nil)
    }

    /// Tells of segments that count, should stand before another one, and are not there; nil: before the end.
    func visitMissing(before number: UInt64?, _ next: inout UInt64, _ visitor: inout some LogVisitor) {
        guard let manifest else { return }
        let end = number.flatMap { manifest.entry($0)?.first } ?? .max
        for entry in manifest.entries.sorted(by: { ($0.first, $0.number) < ($1.first, $1.number) })
        where entry.first >= next && entry.first < end && !found.contains(where: { $0.number == entry.number }) {
            let behind = max(entry.first, entry.last &+ 1)
            visitor.visit(
                LogProblem(
                    kind: .missing, segment: entry.number, offset: 0, length: entry.length,
                    sequences: entry.first..<behind, namespace: nil, key: nil))
            next = behind
        }
        // What is between was let go.
        if let number, let entry = manifest.entry(number) { next = max(next, entry.first) }
    }

    /// Tells whether a sealed segment reaches as far as the manifest says.
    func visitEnd(of segment: Found, _ next: inout UInt64, _ visitor: inout some LogVisitor) {
        guard let entry = manifest?.entry(segment.number), entry.last != 0 else { return }
        let isShort = segment.length < entry.length
        if isShort || (entry.kind == SegmentHeader.kindLog && next <= entry.last) {
            visitor.visit(
                Self.problem(
                    .missing, segment, segment.length, isShort ? entry.length - segment.length : 0,
                    sequences: min(next, entry.last + 1)..<entry.last + 1))
        }
        next = max(next, entry.last + 1)
    }
}
