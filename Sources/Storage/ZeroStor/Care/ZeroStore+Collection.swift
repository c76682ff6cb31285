internal import Linux
internal import ObjectIndex
internal import Objects

extension ZeroStore {
    /// What one round of collecting did.
    struct Collected {
        var released = 0, dying = 0, gone = 0
    }

    /// Lets go of what nothing names: chunks at once, stripes after the grace time, their shards then.
    func collect(limit: Int = 256) throws(ObjectError) -> Collected {
        var result = Collected()
        result.released = try releaseUnused(limit)
        result.dying = try declareDying(limit)
        result.gone = try removeDead(limit)
        return result
    }

    /// Chunks that were packed for data that was given up.
    private func releaseUnused(_ limit: Int) throws(ObjectError) -> Int {
        let epoch = committer.epoch
        let pins = pins
        let unused = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in try view.unusedChunks(beforeEpoch: epoch, limit: limit) }
        }
        var count = 0
        if unused.isEmpty { return 0 }
        try pins.exclusively { () throws(ObjectError) in
            try committer.commit { (writer, apply) throws(ObjectError) in
                let free = try translate { () throws(IndexError) in
                    try writer.view.chunks(unused).compactMap { $0 }.filter { $0.uses == 0 && !pins.isPinned($0.id) }
                }
                count = free.count
                if !free.isEmpty { _ = try apply(.release(manifests: [], chunks: free.map(\.id))) }
            }
        }
        return count
    }

    private func declareDying(_ limit: Int) throws(ObjectError) -> Int {
        let candidates = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in try view.emptyStripes(limit: limit) }
        }
        if candidates.isEmpty { return 0 }
        let pins = pins
        var count = 0
        try pins.exclusively { () throws(ObjectError) in
            try committer.commit { (writer, apply) throws(ObjectError) in
                var dying: [StripeID] = []
                for id in candidates {
                    let (stripe, chunks) = try translate { () throws(IndexError) in
                        (try writer.view.stripe(id), try writer.view.chunks(of: id))
                    }
                    guard let stripe, stripe.liveChunks == 0, stripe.dying == nil, !pins.isUnderWay(id) else {
                        continue
                    }
                    if !chunks.contains(where: { pins.isPinned($0.id) }) { dying.append(id) }
                }
                count = dying.count
                if !dying.isEmpty { _ = try apply(.stripesDying(dying, time: Clock.wallMilliseconds())) }
            }
        }
        return count
    }

    private func removeDead(_ limit: Int) throws(ObjectError) -> Int {
        let before = Clock.wallMilliseconds() - policy.graceMs
        let dead = try read { (view) throws(ObjectError) in
            try translate { () throws(IndexError) in try view.dyingStripes(since: before, limit: limit) }
        }
        if dead.isEmpty { return 0 }
        var names: [UInt16: [[UInt8]]] = [:]
        for stripe in dead {
            for (index, backend) in stripe.stripe.shards.enumerated() where backend != Stripe.nowhere {
                names[backend, default: []].append(StripeWriter.name(stripe.stripe.id, index))
            }
        }
        let requests = names.keys.sorted().compactMap { backend in names[backend].map { Request.delete(backend, $0) } }
        let outcomes = backends.perform(requests, milliseconds: 10_000)
        // A stripe is gone when every backend that is still of the store has removed its shards; until then it is tried again.
        let given = Set(layout.backends.filter { $0.state == .lost || $0.state == .removed }.map(\.number))
        var silent = Set<UInt16>()
        for (request, outcome) in zip(requests, outcomes) {
            health.note(request.backend, outcome)
            if outcome?.isDone != true, !given.contains(request.backend) { silent.insert(request.backend) }
        }
        let ids = dead.map(\.stripe).filter { silent.isDisjoint(with: $0.shards) }.map(\.id)
        if ids.isEmpty { return 0 }
        try committer.commit { (writer, apply) throws(ObjectError) in
            var still: [StripeID] = []
            for id in ids {
                let stripe = try translate { () throws(IndexError) in try writer.view.stripe(id) }
                if stripe?.dying != nil { still.append(id) }
            }
            if !still.isEmpty { _ = try apply(.stripesGone(still)) }
        }
        return ids.count
    }
}
