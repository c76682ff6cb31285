internal import Bytes
internal import Crypto
internal import Objects
internal import RESP

/// How many backends keep the log, and what may happen to them.
struct LogQuorum: Sendable, Equatable {
    /// The backends, by number.
    let members: [UInt16]
    /// What each calls the store's namespace.
    let namespaces: [UInt16: String]
    /// How many may be unreachable.
    let unreachable: Int
    /// How many of those that answer may lie.
    let lying: Int

    /// Answers that reads and writes need.
    var needed: Int { members.count - unreachable }
    /// Whether any two sets of answers have an honest backend in common.
    var isSound: Bool {
        unreachable >= 0 && lying >= 0 && members.count >= 2 * unreachable + lying + 1
            && Set(members).count == members.count
    }
}

/// The log of a store on its backends: one writer at a time, every entry on `needed` of them before it counts.
///
/// A writer first fences `needed` backends with an epoch of its own, so that what former writers still send is refused by at least
/// one honest backend of any `needed`. Then it reads how far the log goes: an entry that counted is on an honest backend among those that
/// answer, and backends cannot make entries up. Of two entries at one height the one of the higher epoch stands: its writer knew
/// everything that counted before it began. The last one may not have counted; it is written again before the writer's own.
///
/// Owned by the thread that commits.
final class QuorumLog {
    /// Milliseconds that a step waits for answers.
    static let patience: Int64 = 8000
    /// Entries that are asked for at once when the log is read.
    private static let window: UInt64 = 64
    /// Epochs above this are nobody's: a liar's.
    private static let counterMax: UInt64 = 1 << 30

    private let backends: any Backends
    let quorum: LogQuorum
    private let keys: StoreKeys
    /// The epoch of this writer; 0 before it took over.
    private(set) var epoch: UInt64 = 0
    /// The last entry.
    private(set) var height: UInt64
    private(set) var hash: Digest
    /// Entries that a backend lacks, to be written there when it answers again.
    private(set) var gaps: [UInt16: Set<UInt64>] = [:]
    private var isFenced = false
    /// Whether a write waits for the last answers a while: not after one was late.
    private var isWaitedFor = true

    /// The log from behind the entry at `height` on, whose hash is known.
    init(_ backends: any Backends, _ quorum: LogQuorum, keys: StoreKeys, height: UInt64, hash: Digest) {
        precondition(quorum.isSound)
        (self.backends, self.quorum, self.keys, self.height, self.hash) = (backends, quorum, keys, height, hash)
    }

    static func entryName(_ height: UInt64) -> [UInt8] { [UInt8(ascii: "L")] + bytes(height) }

    /// A height as backends keep it.
    static func bytes(_ height: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: height >> (56 - 8 * UInt64($0))) }
    }
    private static let headName = Array("H".utf8)

    private func ask(_ request: (UInt16) -> Request) throws(ObjectError) -> [(member: UInt16, outcome: Outcome)] {
        let needed = quorum.needed
        let outcomes = backends.perform(quorum.members.map(request), milliseconds: Self.patience, lingering: 300) {
            $0.count(where: { $0?.isAnswered == true }) >= needed
        }
        let answers = zip(quorum.members, outcomes).compactMap { member, outcome in
            outcome.flatMap { $0.isAnswered ? (member: member, outcome: $0) : nil }
        }
        guard answers.count >= needed else {
            let reasons = zip(quorum.members, outcomes).compactMap { member, outcome in
                outcome?.isAnswered == true ? nil : outcome?.problem ?? "backend \(member) is late"
            }
            throw .unavailable(
                "\(answers.count) of \(needed) backends of the log answer: \(reasons.joined(separator: "; "))")
        }
        return answers
    }

    /// Takes the log over and reads what came behind the entry that is known; each is handed out in order.
    func takeOver(
        random: UInt64, _ entry: (LogEntry) throws(ObjectError) -> Void
    ) throws(ObjectError) {
        try fence(random)
        let (top, candidates) = try readHead()
        guard top >= height else {
            throw .unavailable("the log ends at \(top), and \(height) is known: too few backends have the rest")
        }
        if top == height { try settleKnown(candidates) }
        try replay(to: top, last: candidates, rewrites: true, entry)
    }

    /// Reads what came behind the entry that is known, and leaves the writer alone. The last entry is taken only where it counts for certain.
    func follow(_ entry: (LogEntry) throws(ObjectError) -> Void) throws(ObjectError) {
        let (top, candidates) = try readHead()
        guard top > height, let last = candidates.first else { return }
        let answers = try ask { Request.get($0, Self.entryName(top)) }
        let counts = answers.count { $0.outcome.bytes == last.bytes } >= quorum.needed
        try replay(to: counts ? top : top - 1, last: counts ? candidates : nil, rewrites: false, entry)
    }

    private func namespace(_ member: UInt16) -> [UInt8] { Array((quorum.namespaces[member] ?? "").utf8) }

    private func fence(_ random: UInt64) throws(ObjectError) {
        let namespaces = try ask { Request($0, [Array("NSINFO".utf8), namespace($0)]) }
        var counter: UInt64 = 0
        for (_, outcome) in namespaces {
            guard let text = outcome.bytes.map({ String(decoding: $0, as: UTF8.self) }) else { continue }
            for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("fence_epoch:") {
                let value = UInt64(line.dropFirst(12).filter { $0 != " " }) ?? 0
                if value >> 32 < Self.counterMax { counter = max(counter, value >> 32) }
            }
        }
        for attempt in 1...8 {
            let next = (counter + UInt64(attempt)) << 32 | random & 0x7fff_ffff
            let answers = try ask { Request($0, [Array("NSFENCE".utf8), namespace($0), Array("\(next)".utf8)]) }
            if answers.count(where: { $0.outcome.isDone }) >= quorum.needed {
                epoch = next
                isFenced = false
                backends.setEpoch(next)
                fenceOthers(next)
                return
            }
        }
        throw .notWriter("the backends of the log refuse a new epoch: another gateway takes over")
    }

    /// Backends without the log hold shards: a former writer is to leave them alone too. Those that are away are not waited for.
    private func fenceOthers(_ epoch: UInt64) {
        let others = quorum.namespaces.keys.filter { !quorum.members.contains($0) }.sorted()
        _ = backends.perform(
            others.map { Request($0, [Array("NSFENCE".utf8), namespace($0), Array("\(epoch)".utf8)]) },
            milliseconds: 1000)
    }

    /// The highest entry that anybody has, and what was found at its height.
    private func readHead() throws(ObjectError) -> (UInt64, [LogEntry]) {
        let heads = try ask { Request.get($0, Self.headName) }
        let heights = Set(
            heads.compactMap { answer -> UInt64? in
                guard let bytes = answer.outcome.bytes, bytes.count == 8 else { return nil }
                return bytes.reduce(0) { $0 << 8 | UInt64($1) }
            })
        // A head that nobody can show an entry for is a lie.
        for top in heights.sorted(by: >) {
            let entries = try entries(at: top)
            if !entries.isEmpty { return (top, entries) }
        }
        return (0, [])
    }

    /// What the backends have at a height: good entries only, the one of the highest epoch first.
    private func entries(at height: UInt64) throws(ObjectError) -> [LogEntry] {
        let answers = try ask { Request.get($0, Self.entryName(height)) }
        var found: [LogEntry] = []
        for answer in answers {
            guard let bytes = answer.outcome.bytes, !found.contains(where: { $0.bytes == bytes }),
                let entry = LogEntry(bytes, height: height, keys: keys)
            else { continue }
            found.append(entry)
        }
        return found.sorted { $0.epoch > $1.epoch }
    }

    private func replay(
        to top: UInt64, last: [LogEntry]?, rewrites: Bool, _ entry: (LogEntry) throws(ObjectError) -> Void
    ) throws(ObjectError) {
        while height < top {
            let until = min(top, height + Self.window)
            let first = height + 1
            let quick = quickly(first, until)
            for next in first...until {
                var found = quick[Int(next - first)]
                let isLast = next == top && last != nil
                if found?.previous != hash || isLast { found = nil }
                if found == nil { found = try (isLast ? last ?? [] : entries(at: next)).first }
                guard let found, found.previous == hash else {
                    throw .damaged(
                        "entry \(next) of the log is on no backend that answers, or does not fit the one before; where it was let go "
                            + "behind a snapshot of the index, a new start begins with that")
                }
                // The last one may not have counted: it is made to before anybody learns of it.
                if isLast, rewrites { try write(found) }
                try entry(found)
                (height, hash) = (next, found.hash)
            }
        }
    }

    /// Entries as one backend has them; nil where it has none that is good.
    private func quickly(_ first: UInt64, _ last: UInt64) -> [LogEntry?] {
        let heights = Array(first...last)
        let start = Int(first / Self.window) % quorum.members.count
        var found = [LogEntry?](repeating: nil, count: heights.count)
        for turn in quorum.members.indices {
            let member = quorum.members[(start + turn) % quorum.members.count]
            let missing = heights.indices.filter { found[$0] == nil }
            if missing.isEmpty { break }
            let outcomes = backends.perform(
                missing.map { Request.get(member, Self.entryName(heights[$0])) }, milliseconds: Self.patience)
            for (index, outcome) in zip(missing, outcomes) {
                found[index] = outcome?.bytes.flatMap { LogEntry($0, height: heights[index], keys: keys) }
            }
        }
        return found
    }

    /// Writes the last entry again where it is one that is known already.
    private func settleKnown(_ candidates: [LogEntry]) throws(ObjectError) {
        guard height > 0 else { return }
        guard let entry = candidates.first, entry.hash == hash else {
            throw .damaged("entry \(height) of the log is another one than is known here")
        }
        try write(entry)
    }

    /// Adds an entry; it counts when this returns. After an error that says so it may count or not: the writer must take over anew.
    func append(_ payload: [UInt8]) throws(ObjectError) {
        precondition(epoch > 0)
        if isFenced { throw .notWriter("another gateway took over") }
        let entry = LogEntry(epoch: epoch, height: height + 1, previous: hash, payload: payload, keys: keys)
        do {
            try write(entry)
        } catch {
            // Nothing may be written at this height again under this epoch, as the nonce would be used twice.
            isFenced = true
            throw error
        }
        (height, hash) = (entry.height, entry.hash)
    }

    private func write(_ entry: LogEntry) throws(ObjectError) {
        let name = Self.entryName(entry.height)
        let head = Self.bytes(entry.height)
        let words =
            [Array("BATCH".utf8), Array("2".utf8), Array("SET".utf8), name, entry.bytes]
            + [Array("SET".utf8), Self.headName, head]
        let needed = quorum.needed
        let outcomes = backends.perform(
            quorum.members.map { Request($0, words) }, milliseconds: Self.patience, lingering: isWaitedFor ? 500 : 2
        ) { $0.count(where: { $0?.isDone == true }) >= needed }
        isWaitedFor = outcomes.allSatisfy { $0 != nil }
        var done = 0
        var problems: [String] = []
        for (member, outcome) in zip(quorum.members, outcomes) {
            if outcome?.isDone == true {
                done += 1
                continue
            }
            gaps[member, default: []].insert(entry.height)
            problems.append(outcome?.problem ?? "backend \(member) is late")
        }
        guard done >= needed else {
            // Where so many took it, who says that another one writes lies: there would be too few left for it.
            if problems.contains(where: { $0.hasPrefix("FENCED") }) { throw .notWriter("another gateway took over") }
            throw .unavailable(
                "\(done) of \(needed) backends of the log took entry \(entry.height): \(problems.joined(separator: "; "))"
            )
        }
    }

    /// Entries up to a height are not needed any more.
    func forgetGaps(upTo height: UInt64) {
        for member in gaps.keys { gaps[member] = gaps[member]?.filter { $0 > height } }
    }

    /// Writes to backends what they missed, at most `limit` entries; how many it wrote.
    func fillGaps(limit: Int) -> Int {
        var written = 0
        for member in quorum.members {
            for height in (gaps[member] ?? []).sorted().prefix(limit - written) {
                guard let entry = quickly(height, height).first ?? nil else { continue }
                let outcome = backends.perform(
                    [Request.set(member, Self.entryName(height), Payload(entry.bytes))], milliseconds: Self.patience)
                guard outcome.first??.isDone == true else { break }
                gaps[member]?.remove(height)
                written += 1
            }
        }
        return written
    }
}
