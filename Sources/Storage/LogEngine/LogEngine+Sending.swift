import Simulation

/// What a master knows before it sends: which of a replica's segments are its own.
extension LogEngine {
    /// The end of what may be sent to replicas: what clients may have been told of. Under `always` that is durable.
    public var sendableEnd: LogPosition {
        guard !segments.isEmpty else { return LogPosition(segment: 0, offset: 0) }
        return LogPosition(segment: segments[active].number, offset: turnLength)
    }

    /// What the compacted segments leave out was decided on records up to this one.
    var decidedSequence: UInt64 { max(turnFirst &- 1, role == .master ? 0 : roleFile.decided) }

    func position(ofSegment number: UInt64) -> Int? {
        for index in order.reversed() where segments[index].number == number { return index }
        return nil
    }

    /// The number of the next segment of the log; behind 0 the first.
    func segment(after number: UInt64) -> UInt64? {
        if number == 0 { return order.first.map { segments[$0].number } }
        guard let index = order.lastIndex(where: { segments[$0].number == number }), index + 1 < order.count else {
            return nil
        }
        return segments[order[index + 1]].number
    }

    /// What a segment of a replica is here.
    private enum Match: Equatable {
        case same
        /// There is none of this number.
        case absent
        /// There is another of this number, or one that is the same only up to an offset.
        case fork(UInt64)
    }

    /// Compares what a replica has with this log: from where on it has to be sent, and what is to be replaced.
    public func beginSending(
        device: [UInt8]?, epoch: UInt64, inventory: [SegmentSummary]
    ) throws(ReplicaRefusal) -> ReplicaSender {
        if epoch > header.epoch { throw .superseded(epoch: epoch) }
        if let device, device != self.device { throw .foreign }
        // A copy of something that never was would be taken for one that is complete.
        if role != .master, roleFile.isIncomplete { throw .incomplete }
        guard let last = inventory.last else { return ReplicaSender(having: [], at: nil) }
        var matches: [Match] = []
        for (index, summary) in inventory.enumerated() {
            do throws(LogError) { matches.append(try match(summary, isLast: index == inventory.count - 1)) } catch {
                throw .failed(error)
            }
        }
        if matches[matches.count - 1] != .same {
            let first = (matches.lastIndex(of: .same) ?? -1) + 1
            let number = inventory[first].number
            if case .fork(let offset) = matches[first] { throw .diverged(LogPosition(segment: number, offset: offset)) }
            let place = LogPosition(segment: number, offset: 0)
            throw isKnown(epoch, last.last) ? .compacted(place) : .diverged(place)
        }
        for (summary, match) in zip(inventory, matches) {
            if case .fork = match { throw .diverged(LogPosition(segment: summary.number, offset: 0)) }
        }
        let next = last.length + (plants(.resumeLate) ? 64 : 0)
        return ReplicaSender(having: inventory.map(\.number), at: LogPosition(segment: last.number, offset: next))
    }

    /// Whether all that a replica has was in this log once. So it is if both are of the same epoch and the same 2³²
    /// numbers: a master begins others whenever something that it sent may not have survived here.
    private func isKnown(_ epoch: UInt64, _ sequence: UInt64) -> Bool {
        let last = turnFirst &- 1
        return epoch == header.epoch && sequence <= last && sequence >> 32 == last >> 32
    }

    private func match(_ summary: SegmentSummary, isLast: Bool) throws(LogError) -> Match {
        guard let position = position(ofSegment: summary.number) else { return .absent }
        let length = position == active ? turnLength : segments[position].length
        let own = try summarize(
            position, length: min(summary.length, length), withFingerprint: summary.fingerprint != 0)
        guard own.headerChecksum == summary.headerChecksum else { return .fork(0) }
        if summary.length > length || (!isLast && summary.length != length) {
            return .fork(min(summary.length, length))
        }
        return own.fingerprint == summary.fingerprint ? .same : .fork(0)
    }

    /// What this device has, as it is told to a master. Replacements that were not yet made are given up: the master
    /// sends them again.
    public mutating func inventory() throws(LogError) -> [SegmentSummary] {
        abandonReplacements()
        // What came before a break is not given up.
        if role == .replica, turnHasWrites { try commit(sync: true) }
        var result: [SegmentSummary] = []
        for (index, position) in order.enumerated() {
            let length = position == active ? turnLength : segments[position].length
            var summary = try summarize(position, length: length, withFingerprint: index + 2 >= order.count)
            summary.last = position == active ? nextSequence - 1 : segments[position].last
            result.append(summary)
        }
        return result
    }

    private func summarize(
        _ position: Int, length: UInt64, withFingerprint: Bool
    ) throws(LogError) -> SegmentSummary {
        var summary = SegmentSummary()
        (summary.number, summary.length) = (segments[position].number, length)
        let start = max(UInt64(Format.headerBlockBytes), length > 65536 ? length - 65536 : 0)
        let count = withFingerprint && length > start ? Int(length - start) : 0
        var bytes = [UInt8](repeating: 0, count: max(Format.headerBytes, count))
        var failure: DiskError?
        let file = segments[position].file
        bytes.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(DiskError) {
                try disk.read(file, at: 0, base, Format.headerBytes)
                summary.headerChecksum = base.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
                summary.epoch = base.loadUnaligned(fromByteOffset: 56, as: UInt64.self)
                summary.kind = base.loadUnaligned(fromByteOffset: 88, as: UInt32.self)
                if count > 0 { try disk.read(file, at: start, base, count) }
                // 0 says that there is none.
                if count > 0 { summary.fingerprint = max(1, Format.checksum(base, count)) }
            } catch { failure = error }
        }
        if let failure { throw .disk(failure) }
        return summary
    }
}
