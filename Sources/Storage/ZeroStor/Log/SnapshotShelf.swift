internal import Objects
internal import RESP

/// The record of the last copy of the index, on the backends that keep the log, and the end of entries that it makes needless.
///
/// A record counts like an entry: when `needed` backends have it. So whoever asks `needed` of them meets an honest one that has the
/// newest, and takes the one of the greatest height; backends cannot make records up.
struct SnapshotShelf: Sendable {
    /// Entries that are removed by one command.
    private static let removedAtOnce: UInt64 = 512
    private static let recordName = Array("S".utf8)
    /// Up to which entry a backend has removed the log.
    private static let trimmedName = Array("T".utf8)

    let backends: any Backends
    let quorum: LogQuorum
    let keys: StoreKeys

    /// The newest record; nil where there is none.
    func find() throws(ObjectError) -> SnapshotRecord? {
        let needed = quorum.needed
        let outcomes = backends.perform(
            quorum.members.map { Request.get($0, Self.recordName) }, milliseconds: QuorumLog.patience, lingering: 300
        ) { $0.count(where: { $0?.isAnswered == true }) >= needed }
        let answers = outcomes.count { $0?.isAnswered == true }
        guard answers >= needed else {
            throw .unavailable("\(answers) of \(needed) backends of the log answer: \(Self.reasons(outcomes))")
        }
        return outcomes.compactMap { $0?.bytes.flatMap { SnapshotRecord.open($0, keys) } }.max { $0.height < $1.height }
    }

    /// Makes a record the one that counts.
    func put(_ record: SnapshotRecord) throws(ObjectError) {
        let bytes = record.sealed(keys)
        guard bytes.count <= SnapshotRecord.bytesMax else {
            throw .refused("the index is too large for a snapshot: its record has \(bytes.count) bytes")
        }
        let outcomes = backends.perform(
            quorum.members.map { Request.set($0, Self.recordName, Payload(bytes)) }, milliseconds: QuorumLog.patience)
        let done = outcomes.count { $0?.isDone == true }
        guard done >= quorum.needed else {
            throw .unavailable(
                "\(done) of \(quorum.needed) backends of the log took the snapshot's record: \(Self.reasons(outcomes))")
        }
    }

    /// Removes entries up to a height where they still are. A backend that is away is caught up with the next time.
    func trim(to height: UInt64) {
        for member in quorum.members {
            var done = number(backends.perform([.get(member, Self.trimmedName)], milliseconds: QuorumLog.patience)[0])
            while let from = done, from < height {
                let last = min(height, from + Self.removedAtOnce)
                let names = (from + 1...last).map(QuorumLog.entryName)
                let outcomes = backends.perform([.delete(member, names)], milliseconds: QuorumLog.patience)
                guard outcomes[0]?.isDone == true else { break }
                let noted = backends.perform(
                    [.set(member, Self.trimmedName, Payload(QuorumLog.bytes(last)))], milliseconds: QuorumLog.patience)
                done = noted[0]?.isDone == true ? last : nil
            }
        }
    }

    private static func reasons(_ outcomes: [Outcome?]) -> String {
        outcomes.compactMap { $0?.isDone == true ? nil : $0?.problem ?? "one is late" }.joined(separator: "; ")
    }

    /// What a backend says; 0 where it says nothing, nil where it does not answer.
    private func number(_ outcome: Outcome?) -> UInt64? {
        guard let outcome, outcome.isAnswered else { return nil }
        guard let bytes = outcome.bytes, bytes.count == 8 else { return 0 }
        return bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
}
