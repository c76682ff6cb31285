import Simulation

/// A key in what a run of compaction remembers.
struct HistoryKey: Hashable {
    let namespace: UInt32
    let hash: KeyHash
}

/// The walk along a key's versions, from the newest one on, to the oldest that its namespace's policy keeps.
struct HistoryWalk {
    let key: HistoryKey
    let bytes: [UInt8]
    /// The record that waits for the answer, and where it stands.
    let header: RecordHeader
    let offset: UInt64
    /// The version that was looked at last, and how many were.
    var version: Version?
    var count: UInt64 = 0
}

// Which former versions the policies `last` and `for` keep is a question about a key's chain of versions, whose newer
// members stand anywhere in the log. A run asks it once a key, in slices, and remembers the answer: versions that come
// meanwhile only let go more.
extension LogEngine {
    /// Versions that are looked up in a slice before others have their turn.
    private static var walkedAtOnce: Int { 16 }
    /// What one look-up costs of a slice's bytes.
    private static var walkedBytes: Int { 4096 }
    /// Keys whose answer is remembered; then it is asked again.
    private static var rememberedMax: Int { 1 << 18 }

    /// Some steps of the walk; when it has ended the record that waits is decided. Returns what it costs of the slice.
    mutating func walkHistory(_ walker: CompactionWalker) throws(DiskError) -> Int {
        guard var walk = compaction.walk else { return 0 }
        var steps = 0
        var oldest: UInt64?
        while oldest == nil, steps < Self.walkedAtOnce {
            oldest = try step(&walk)
            steps += 1
        }
        guard let oldest else {
            compaction.walk = walk
            return steps * Self.walkedBytes
        }
        compaction.walk = nil
        if compaction.keptFrom.count >= Self.rememberedMax { compaction.keptFrom.removeAll(keepingCapacity: true) }
        compaction.keptFrom[walk.key] = oldest
        guard let head = walker.walker.bytes(at: walk.offset, walk.header.headBytes) else { throw .failed(5) }
        try decide(walk.header, head, walk.offset)
        return steps * Self.walkedBytes
    }

    /// The next older version. Returns the sequence number from which on versions are kept, once it is known; 0 keeps
    /// all, because of damage among them.
    private mutating func step(_ walk: inout HistoryWalk) throws(DiskError) -> UInt64? {
        guard hasNamespace(walk.key.namespace), let state = namespaces[Int(walk.key.namespace)] else { return .max }
        let before = walk.version
        var found: Version?
        var failure: LogError?
        walk.bytes.withUnsafeBytes { key in
            do throws(LogError) {
                if let before {
                    found = try older(before, walk.key.namespace, key)
                } else {
                    found = try version(walk.key.namespace, key, before: nil)
                }
            } catch { failure = error }
        }
        if case .disk(let error) = failure { throw error }
        if failure != nil { return 0 }
        guard let found else { return end(before) }
        walk.version = found
        walk.count += 1
        switch state.pointee.settings.history {
        case .all: return 0
        case .last(let count): return walk.count >= count ? found.sequence : nil
        case .duration(let span):
            let since = compaction.decidedAt - min(compaction.decidedAt, span)
            return found.time <= since ? found.sequence : nil
        }
    }

    /// The chain ends. What is not there because it was let go once is followed by nothing that is kept; what is not
    /// there although no compaction touched its place was lost.
    private func end(_ last: Version?) -> UInt64 {
        guard let last else { return 0 }
        let previous = last.previous
        let isLost = order.contains { position in
            let segment = segments[position]
            return segment.firstSequence <= previous && previous <= (position == active ? .max : segment.last)
                && segment.kind == SegmentHeader.kindLog
        }
        return previous != 0 && isLost ? 0 : last.sequence
    }
}
