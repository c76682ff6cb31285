internal import Crypto
internal import Dispersal
public import ObjectIndex
public import Objects
internal import RESP
internal import Synchronization

extension ZeroStore {
    /// What a round of repair or scrub did.
    public struct CareReport: Sendable, Equatable {
        /// Stripes that were looked at, and shards of them.
        public var stripes = 0, shards = 0
        /// Shards that were found missing or wrong.
        public var bad = 0
        /// Shards that were made anew.
        public var repaired = 0
        /// Stripes that have too few good shards.
        public var lost: [String] = []
        /// Shards that have no place to go now.
        public var unplaced = 0
        /// The queue was gone through to its end.
        public var isAtEnd = false
    }

    /// Makes missing shards anew, of the stripes with the least redundancy first. Where none of so many can be, the next round goes on
    /// behind them, so that what is lost does not keep the others waiting; at the queue's end it begins anew.
    public func repair(limit: Int) throws(ObjectError) -> CareReport {
        var report = CareReport()
        let after = repairCursor.withLock { $0 }
        let queue = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in try view.repairQueue(after: after, limit: limit) }
        }
        for item in queue { try repair(item.stripe.stripe, &report) }
        report.isAtEnd = queue.count < limit
        let next: (priority: Int64, number: UInt64)? =
            if report.isAtEnd { nil } else if report.repaired > 0 { after } else {
                queue.last.map { ($0.priority, $0.stripe.number) }
            }
        repairCursor.withLock { $0 = next }
        return report
    }

    private func repair(_ stripe: Stripe, _ report: inout CareReport) throws(ObjectError) {
        report.stripes += 1
        report.shards += stripe.shards.count
        let states = Dictionary(layout.backends.map { ($0.number, $0.state) }, uniquingKeysWith: { first, _ in first })
        let (found, bad, silent) = stripeReader.verified(stripe)
        var shards = found
        report.bad += bad.count
        // What is silent may come back; it is made anew only where its backend is given up.
        let moving = stripe.shards.indices.filter { index in
            let backend = stripe.shards[index]
            return backend == Stripe.nowhere || bad.contains(index) || states[backend] != .active
        }
        if moving.isEmpty { return }
        guard shards.count(where: { $0 != nil }) >= stripe.k else {
            let mayReturn = silent.count {
                states[stripe.shards[$0]] == .active || states[stripe.shards[$0]] == .draining
            }
            if shards.count(where: { $0 != nil }) + mayReturn < stripe.k { report.lost.append("\(stripe.id)") }
            if !bad.isEmpty { try move(stripe, bad.map { ShardMove(index: $0, backend: Stripe.nowhere) }) }
            return
        }
        let missing = moving.filter { shards[$0] == nil }
        guard let rebuilt = StripeReader.rebuild(stripe, shards, missing, count: stripe.shardLength) else { return }
        for (index, shard) in zip(missing, rebuilt) { shards[index] = shard }
        for index in missing {
            // Sources were verified, so only a broken code could differ.
            guard let shard = shards[index], shard.withUnsafeBytes({ ShardRoot.of($0) }) == stripe.roots[index] else {
                return report.lost.append("\(stripe.id)")
            }
        }
        var policy = policy
        (policy.k, policy.m) = (stripe.k, stripe.m)
        let keeping = stripe.shards.indices.map { moving.contains($0) ? nil : stripe.shards[$0] }
        let choice = stripeWriter.choose(stripe.id, policy, keeping: keeping, avoiding: [])
        let targets = moving.filter { choice.shards[$0] != nil }
        report.unplaced += moving.count - targets.count
        let requests = targets.compactMap { index in
            choice.shards[index].map {
                Request.set($0, StripeWriter.name(stripe.id, index), Payload(shards[index] ?? []))
            }
        }
        let outcomes = backends.perform(requests, milliseconds: 10_000)
        var moves: [ShardMove] = []
        for ((request, outcome), index) in zip(zip(requests, outcomes), targets) {
            health.note(request.backend, outcome)
            if outcome?.isDone == true { moves.append(ShardMove(index: index, backend: request.backend)) }
        }
        // What was found bad and has no new place is known to be nowhere.
        for index in bad where !moves.contains(where: { $0.index == index }) {
            moves.append(ShardMove(index: index, backend: Stripe.nowhere))
        }
        report.repaired += moves.count(where: { $0.backend != Stripe.nowhere })
        try move(stripe, moves)
    }

    private func move(_ stripe: Stripe, _ moves: [ShardMove]) throws(ObjectError) {
        if moves.isEmpty { return }
        try committer.commit { (writer, apply) throws(ObjectError) in
            let now = try translate { () throws(IndexError) in try writer.view.stripe(stripe.id) }
            // Somebody else may have let it go meanwhile.
            guard let now, now.stripe.shards == stripe.shards else { return }
            _ = try apply(.shardsMoved(stripe.id, moves))
        }
    }

    /// Has every backend prove one leaf of each of its shards of the next stripes, which it cannot guess; those that cannot are in the repair
    /// queue then.
    public func scrub(
        after: StripeID?, limit: Int, leaf: (Int) -> Int = { $0 > 1 ? Int.random(in: 0..<$0) : 0 }
    ) throws(ObjectError) -> (
        report: CareReport, last: StripeID?
    ) {
        var report = CareReport()
        let stripes = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in try view.stripes(after: after, limit: limit) }
        }.filter { $0.dying == nil }
        var asked: [(stripe: Int, index: Int, leaf: Int)] = []
        var requests: [Request] = []
        for (number, item) in stripes.enumerated() {
            let leaves = LeafTree.leafCount(item.stripe.shardLength)
            for (index, backend) in item.stripe.shards.enumerated() where backend != Stripe.nowhere {
                let chosen = leaf(leaves)
                asked.append((number, index, chosen))
                requests.append(
                    Request(
                        backend,
                        [Array("PROOF".utf8), StripeWriter.name(item.stripe.id, index), Array("\(chosen)".utf8)]))
            }
        }
        let outcomes = backends.perform(requests, milliseconds: 20_000)
        var bad: [Int: [ShardMove]] = [:]
        for ((where_, request), outcome) in zip(zip(asked, requests), outcomes) {
            report.shards += 1
            guard let outcome, outcome.isAnswered else { continue }
            let stripe = stripes[where_.stripe].stripe
            if Self.proves(outcome, stripe, where_.index, where_.leaf) { continue }
            health.noteLie(request.backend)
            bad[where_.stripe, default: []].append(ShardMove(index: where_.index, backend: Stripe.nowhere))
            report.bad += 1
        }
        report.stripes = stripes.count
        for number in bad.keys.sorted() { try move(stripes[number].stripe, bad[number] ?? []) }
        return (report, stripes.last?.stripe.id)
    }

    private static func proves(_ outcome: Outcome, _ stripe: Stripe, _ index: Int, _ leaf: Int) -> Bool {
        guard case .reply(let value) = outcome, let items = value.items, items.count == 4, let leaves = items[3].items,
            let shown = leaves.first?.items, shown.count == 3, let bytes = shown[1].bytes, let path = shown[2].items
        else { return false }
        let neighbours = path.compactMap { $0.bytes.flatMap { Digest($0) } }
        return bytes.withUnsafeBytes {
            ShardRoot.accepts(
                root: stripe.roots[index], length: stripe.shardLength, leaf: leaf, bytes: $0, path: neighbours)
        }
    }

    /// Says what becomes of a backend: `draining` moves its shards away, `lost` has them made anew elsewhere.
    public func setBackend(_ number: UInt16, _ state: Backend.State) throws(ObjectError) {
        try committer.commit { (writer, apply) throws(ObjectError) in
            guard var backend = try translate({ () throws(IndexError) in try writer.view.backend(number)?.backend })
            else {
                throw .refused("there is no backend \(number)")
            }
            if backend.state == state { return }
            backend.state = state
            _ = try apply(.backendSet(backend))
        }
        try layout.load(index)
    }
}
