import LogEngine
import Simulation

/// What clients and the operator do, and what is true in the end.
extension ReplicaRun {
    // MARK: Clients

    func write(_ number: Int) throws(Stop) {
        let node = nodes[number]
        guard node.isUp, node.engine.role != .replica else { return }
        if node.engine.role == .master {
            let connected = links.count { $0.master == number && $0.sender != nil }
            node.engine.requireReplicas(isMissing: connected < required)
        }
        var written: [Write] = []
        let isBatch = random.chance(12)
        do throws(LogError) {
            if isBatch {
                try batch(node, &written)
            } else {
                for _ in 0..<(1 + random.below(4)) { try one(node, &written) }
            }
            try node.engine.commit(sync: options.policy == .always || random.chance(20))
        } catch {
            // Promoted before it had received the definition of its first namespace.
            if error == .noNamespace { return }
            if case .refused = error {
                // What was written before the refusal stays in the turn.
                do throws(LogError) { try node.engine.commit(sync: true) } catch { return try failed(node, error) }
                return
            }
            return try failed(node, error)
        }
        guard let last = written.last else { return }
        if node.isSuperseded { throw .wrong("device \(number) wrote although a higher epoch is known") }
        if isBatch { batches.append(written.map(\.sequence)) }
        say("\(number) wrote \(written.map(\.sequence))")
        waiting.append(Waiting(node: number, last: last.sequence, writes: written))
    }

    private func one(_ node: ReplicaNode, _ written: inout [Write]) throws(LogError) {
        counts.writes += 1
        let key = random.below(12)
        let isEnd = random.chance(20)
        let value = isEnd ? nil : random.bytes(random.below(random.chance(5) ? 3000 : 120))
        let found =
            value.map { node.engine.put(1, Keys.bytes(key), $0, .none, epoch: 0, time: now) }
            ?? node.engine.end(1, Keys.bytes(key), .none, epoch: 0, time: now)
        if case .failure(.absent) = found { return }
        note(Write(sequence: try found.get(), key: key, value: value), &written)
    }

    private func batch(_ node: ReplicaNode, _ written: inout [Write]) throws(LogError) {
        let values = (0..<(2 + random.below(3))).map { _ in random.bytes(random.below(300)) }
        try node.engine.openBatch(1, count: values.count, bytes: values.reduce(0) { $0 + 256 + $1.count }, time: now)
        for value in values {
            let key = random.below(12)
            let sequence = try node.engine.put(1, Keys.bytes(key), value, .none, epoch: 0, time: now).get()
            note(Write(sequence: sequence, key: key, value: value), &written)
        }
        node.engine.closeBatch()
    }

    private func note(_ write: Write, _ written: inout [Write]) {
        tried[write.sequence, default: []].append(write)
        written.append(write)
    }

    // MARK: The operator

    func operate() throws(Stop) {
        let master = nodes[current]
        switch random.below(10) {
        case 0..<3: try promote()
        case 3, 4:
            // A former master is told.
            guard let node = nodes.first(where: { $0.isUp && $0.number != current && $0.engine.role != .replica }),
                master.engine.epoch > node.engine.epoch
            else { return }
            do throws(LogError) {
                if random.chance(50) {
                    _ = try node.engine.supersede(by: master.engine.epoch)
                    node.isSuperseded = node.engine.role == .superseded
                    say("\(node.number) is told of epoch \(master.engine.epoch)")
                } else {
                    try node.engine.follow()
                    (node.upstream, node.isSuperseded) = (current, false)
                    waiting.removeAll { $0.node == node.number }
                    say("\(node.number) follows \(current)")
                }
            } catch { try failed(node, error) }
        case 5:
            guard let node = nodes.filter(\.isUp).randomElement(using: &random) else { return }
            say("\(node.number) is stopped")
            do throws(LogError) { try node.engine.close(time: now) } catch { return try failed(node, error) }
            fall(node)
        default: break
        }
    }

    /// The replica that has most becomes the master. No other may go on with the former master meanwhile, and so many
    /// are asked that one of them has everything that clients were told.
    func promote() throws(Stop) {
        let asked = nodes.filter { $0.isUp && $0.engine.role == .replica && $0.engine.segmentCount > 0 }
        guard asked.count > replicaCount - required, !asked.isEmpty else { return }
        if let unfinished, !asked.contains(where: { $0.number == unfinished }) { return }
        for node in nodes where node.engine.role == .replica { node.upstream = nil }
        for node in asked {
            if let link = node.link { end(link, "a promotion") }
            do throws(LogError) { try node.engine.commit(sync: true) } catch { return try failed(node, error) }
        }
        func rank(_ node: ReplicaNode) -> (UInt64, UInt64) { (node.engine.epoch, node.engine.nextSequence) }
        guard let best = unfinished.map({ nodes[$0] }) ?? asked.max(by: { rank($0) < rank($1) }) else { return }
        epoch += 1
        unfinished = best.number
        do throws(LogError) {
            let given = try best.engine.promote(epoch: epoch, time: now)
            say("\(best.number) is promoted to epoch \(given)")
        } catch {
            return try failed(best, error)
        }
        settle(on: best)
    }

    // MARK: The end

    /// Everything works again, and everybody follows the one master.
    func calm() throws(Stop) {
        say("calm")
        network.heal()
        (network.lossPercent, network.delayNanoseconds) = (0, 1_000...2_000)
        for node in nodes {
            node.disk.operationsBeforeCrash = nil
            if node.disk.isCrashed { fall(node) }
        }
        for node in nodes where !node.isUp { try start(node) }
        if nodes[current].engine.role != .master || unfinished != nil { try findMaster() }
        let master = nodes[current]
        for node in nodes where node.number != current {
            do throws(LogError) {
                if node.engine.role != .replica { try node.engine.follow() }
            } catch { throw .wrong("device \(node.number) does not follow: \(error)") }
            (node.upstream, node.isSuperseded) = (current, false)
        }
        try write(current)
        for _ in 0..<2000 {
            try connect()
            for link in links where link.sender != nil { try pump(link) }
            now += 10_000
            try deliver()
            for link in links { try acknowledge(nodes[link.replica], link) }
            if nodes[current].number != master.number { return try calm() }
            if master.engine.role != .master { return try calm() }
            let isDone = nodes.allSatisfy {
                $0.engine.replicatedEnd == master.engine.replicatedEnd && !$0.engine.isDirty
                    && ($0.number == current || $0.link?.sender != nil)
            }
            if isDone { return }
            do throws(LogError) { try master.engine.commit(sync: true) } catch { throw .wrong("commit: \(error)") }
        }
        let ends = nodes.map { "\($0.number): \($0.engine.role) \($0.engine.replicatedEnd)" }
        throw .wrong("the replicas never have everything: \(ends)")
    }

    private func findMaster() throws(Stop) {
        if let other = nodes.filter({ $0.engine.role == .master }).max(by: { $0.engine.epoch < $1.engine.epoch }),
            nodes.allSatisfy({ $0.engine.epoch <= other.engine.epoch })
        {
            return settle(on: other)
        }
        for node in nodes where node.engine.role != .replica && node.number != current {
            do throws(LogError) { try node.engine.follow() } catch { throw .wrong("\(error)") }
        }
        try promote()
        guard nodes[current].engine.role == .master else {
            throw .wrong("nobody can be promoted")
        }
    }

    func judge() throws(Stop) {
        let master = nodes[current]
        let log = segments(master)
        for node in nodes where node.number != current {
            let other = segments(node)
            for (mine, its) in zip(log, other) where mine != its {
                throw .wrong("\(mine.name) of \(node.number) differs from the master's \(its.name)")
            }
            if log.count != other.count { throw .wrong("\(node.number) has \(other.count) segments, not \(log.count)") }
        }
        var present: Set<UInt64> = []
        for node in nodes {
            present = []
            for key in 0..<12 { try judge(node, key, &present) }
        }
        for write in acknowledged where !present.contains(write.sequence) {
            throw .wrong("write \(write.sequence) of key \(write.key), which was answered, is lost")
        }
        for batch in batches {
            let count = batch.count { present.contains($0) }
            if count != 0, count != batch.count {
                throw .wrong("\(count) records of a batch of \(batch.count) are there")
            }
        }
        let numbers = acknowledged.map(\.sequence)
        if Set(numbers).count != numbers.count { throw .wrong("a number was answered twice") }
        counts.acknowledged += numbers.count
    }

    private func judge(_ node: ReplicaNode, _ key: Int, _ present: inout Set<UInt64>) throws(Stop) {
        counts.reads += 1
        if case .success(let entry?) = node.engine.current(1, Keys.bytes(key)) {
            guard case .success(let value) = node.engine.value(entry, 1, Keys.bytes(key)),
                tried[entry.sequence]?.contains(where: { $0.key == key && $0.value == value }) == true
            else { throw .wrong("\(node.number) key \(key): a value that never was (\(entry.sequence))") }
        }
        var before: UInt64?
        while case .success(let version?) = node.engine.formerVersion(1, Keys.bytes(key), before) {
            if !present.insert(version.sequence).inserted { throw .wrong("\(version.sequence) is there twice") }
            before = version.sequence
        }
    }

    /// Names and bytes of the segments, without the space that is reserved behind them.
    private func segments(_ node: ReplicaNode) -> [Contents] {
        let names = ((try? node.disk.list()) ?? []).filter { $0.hasSuffix(".segment") }
        return names.map { name in
            var bytes = node.disk.bytes(of: name)
            while bytes.count > 4096, bytes.last == 0 { bytes.removeLast() }
            return Contents(name: name, bytes: bytes)
        }
    }

    private struct Contents: Equatable {
        let name: String
        let bytes: [UInt8]
    }
}
