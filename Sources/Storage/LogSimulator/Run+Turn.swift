import LogEngine
import Simulation

extension Run {
    /// What a server does between two waits: some writes, their commit, and what is done beside them.
    func turn(_ engine: inout LogEngine) throws(Stop) {
        injectFaults()
        if random.chance(5) {
            try mark(&engine)
        } else {
            for _ in 0..<(1 + random.below(5)) {
                switch random.below(100) {
                case 0..<3: try namespaces(&engine)
                case 3..<5: try fence(&engine)
                default: try write(&engine)
                }
                if random.chance(15) { try look(&engine) }
            }
            try commit(&engine)
        }
        try backgroundSync(&engine)
        if compacts, random.chance(8) { try requestCompaction(&engine) }
        if random.chance(60) { try maintain(&engine) }
        if random.chance(30) { try history(&engine) }
        try look(&engine)
        if random.chance(40) { try walk(&engine) }
        if random.chance(6) { try walkByWrites(&engine) }
        if random.chance(4) { try everything(&engine) }
        if random.chance(3), !faults.lies { try restartCleanly(&engine) }
    }

    /// A disk goes bad in the middle of work.
    private func injectFaults() {
        if faults.rots, random.chance(3) { rot() }
        if faults.fails, random.chance(3) {
            counts.faults += 1
            if random.chance(70) { disk.failsSync = true } else { disk.failsWrites = true }
            say(disk.failsSync ? "syncs fail" : "writes fail")
        }
        guard faults.lies, random.chance(6) else { return }
        counts.faults += 1
        hasLied = true
        switch random.below(4) {
        case 0:
            disk.nextWriteFault = .lost
            say("the next write is lost")
        case 1:
            let offset = 512 * random.below(40)
            disk.nextWriteFault = .misdirected(offset)
            say("the next write goes to \(offset)")
        default:
            disk.liesAboutSync.toggle()
            say("syncs \(disk.liesAboutSync ? "lie" : "are honest")")
        }
    }

    // MARK: Writes

    private func write(_ engine: inout LogEngine) throws(Stop) {
        guard let namespace = model.visible.namespaces.randomElement(using: &random) else { return }
        counts.writes += 1
        let epoch = random.chance(85) ? namespace.fence : UInt64(random.below(4))
        if random.chance(4), !namespace.isSequential { return try batch(&engine, namespace, epoch) }
        if compacts, random.chance(1) { return try flush(&engine, namespace, epoch) }
        if random.chance(6) { return try openedBatch(&engine, namespace, epoch) }
        if namespace.isSequential, random.chance(45) { return try addition(&engine, namespace, epoch) }
        if namespace.isSequential, random.chance(12) { return try restoration(&engine, namespace) }
        let key = pick(namespace)
        let isEnd = random.chance(22)
        let value = isEnd ? nil : random.bytes(random.chance(4) ? random.below(5000) : random.below(160))
        let condition = condition(namespace[key])
        let time = clock()
        let expected = refusal(namespace, key, value, condition, epoch)
        let before = engine.nextSequence
        let found =
            if let value {
                engine.put(namespace.id, namespace.bytes(key), value, condition, epoch: epoch, time: time)
            } else {
                engine.end(namespace.id, namespace.bytes(key), condition, epoch: epoch, time: time)
            }
        say("\(namespace.id) \(isEnd ? "end" : "set") \(key) \(value?.count ?? 0) \(condition) e\(epoch): \(found)")
        switch found {
        case .success(let sequence):
            if let expected, !isUncertain(namespace, key) {
                throw .wrong("a write that had to be refused (\(expected)) happened: key \(key)")
            }
            guard sequence >= before else { throw .wrong("sequence number \(sequence) was given twice") }
            try written(engine, namespace, key, value, sequence, time)
        case .failure(let error):
            if isExplained(error, namespace) {
                noteProgress(engine)
            } else if Self.isRefusal(error) {
                guard expected == error || isUncertain(namespace, key) else {
                    throw .wrong("key \(key) was refused with \(error), not \(expected.map { "\($0)" } ?? "at all")")
                }
                noteProgress(engine)
            } else {
                try accept(error, &engine)
            }
        }
    }

    /// A write happened.
    func written(
        _ engine: borrowing LogEngine, _ namespace: ModelNamespace, _ key: Int, _ value: [UInt8]?,
        _ sequence: UInt64, _ time: UInt64
    ) throws(Stop) {
        guard sequence > model.seen || hasLied else { throw .wrong("sequence number \(sequence) was given twice") }
        add([(key, KeyVersion(sequence: sequence, value: value, time: time))], namespace.id, engine)
        noteProgress(engine)
    }

    /// Versions that were written together.
    func add(
        _ versions: [(key: Int, version: KeyVersion)], _ namespace: UInt32, _ engine: borrowing LogEngine
    ) {
        model.add(
            Step(
                change: .versions(namespace: namespace, versions), last: engine.nextSequence - 1,
                place: engine.endOfLog))
    }

    /// A key to write or read: of a sequential namespace mostly one that was given.
    func pick(_ namespace: ModelNamespace) -> Int {
        guard namespace.isSequential else { return random.below(Keys.count) }
        if random.chance(90), let key = namespace.numbers.randomElement(using: &random) { return key }
        return random.below(namespace.nextId + 3)
    }

    private func condition(_ history: KeyHistory) -> WriteCondition {
        switch random.below(12) {
        case 0: .absent
        case 1: .present
        case 2: .sequence(history.newest?.sequence ?? 0)
        case 3: .sequence(history.versions.randomElement(using: &random)?.sequence ?? 7)
        case 4: .sequence(0)
        default: .none
        }
    }

    private func commit(_ engine: inout LogEngine) throws(Stop) {
        guard engine.turnHasWrites else { return }
        let sync = options.policy == .always || random.chance(4)
        let last = engine.nextSequence - 1
        do throws(LogError) { try engine.commit(sync: sync) } catch {
            say("commit: \(error)")
            return try accept(error, &engine, isTurnRefused: true)
        }
        say("commit to \(last)\(sync ? " synced" : "")")
        if isTurnLost { throw .wrong("a turn that lost writes was committed") }
        model.seen = max(model.seen, last)
        if sync { model.promise(upTo: last) }
        noteProgress(engine)
    }

    /// A new segment may have ended the turn in its middle; and what an engine says to be durable has to be.
    func noteProgress(_ engine: borrowing LogEngine) { model.promise(upTo: engine.durableSequence) }

    // MARK: Beside the writes

    private func mark(_ engine: inout LogEngine) throws(Stop) {
        guard engine.needsMark else { return }
        let last = engine.nextSequence - 1
        do throws(LogError) { try engine.mark(time: clock()) } catch {
            say("mark: \(error)")
            return try accept(error, &engine)
        }
        say("mark of \(last)")
        model.promise(upTo: last)
    }

    /// A sync by a thread: asked for, done while more is written, and told later.
    private func backgroundSync(_ engine: inout LogEngine) throws(Stop) {
        guard options.policy != .always else { return }
        if let told = background, told.isDone, random.chance(50) {
            background = nil
            engine.noteSynced(told.sequence)
            say("background sync of \(told.sequence)")
            model.promise(upTo: told.sequence)
            return
        }
        guard background == nil, random.chance(20), let wanted = engine.backgroundSync else { return }
        do throws(DiskError) {
            try disk.sync(wanted.file)
            background = (wanted.sequence, true)
        } catch {
            say("background sync: \(error)")
            if error == .crashed { throw .crashed }
            hasFailed = true
            engine.noteSyncFailed(error)
            throw .readOnly
        }
    }

    /// A definition that was made durable before its call returned, and with it all before.
    func add(_ change: Step.Change, _ engine: borrowing LogEngine) {
        let last = engine.nextSequence - 1
        model.add(Step(change: change, last: last, place: engine.endOfLog))
        model.seen = max(model.seen, last)
        model.promise(upTo: last)
    }

    /// Stops in order. A process that wrote nothing has nothing to say about it.
    func stopInOrder(_ engine: inout LogEngine) throws(Stop) {
        // What is done beside the writes may have met a failure.
        if engine.readOnlyReason != nil {
            guard disk.failsSync || disk.failsWrites else { throw .wrong("read-only without a failure of the disk") }
            throw .readOnly
        }
        let before = engine.nextSequence
        do throws(LogError) { try engine.close(time: clock()) } catch {
            say("close: \(error)")
            return try accept(error, &engine)
        }
        say("closed")
        model.promise(upTo: .max)
        wasClosed = engine.nextSequence > before
        try checkpoint(&engine)
    }

    /// What makes the next start quick, and may end at any point without harm.
    private func checkpoint(_ engine: inout LogEngine) throws(Stop) {
        guard random.chance(70) else { return }
        let bytes = engine.writeCheckpoint()
        say("checkpoint of \(bytes) bytes\(disk.isCrashed ? ": power lost" : "")")
        if disk.isCrashed { throw .crashed }
        if faults.rots, random.chance(40) { rotCheckpoint() }
    }

    /// Stops in order and starts again, as an update does.
    private func restartCleanly(_ engine: inout LogEngine) throws(Stop) {
        guard background == nil else { return }
        try stopInOrder(&engine)
        ownTimes.insert(now)
        say("opened again")
        do throws(LogError) { engine = try LogEngine.open(disk: disk, options: options, time: now) } catch {
            if error == .disk(.crashed) { throw .crashed }
            if case .headerDamaged(let segment) = error, isDamaged(segment, 0..<4096) { throw .ended }
            throw .wrong("the device could not be opened again: \(error)")
        }
        try recovered(&engine)
        wasClosed = false
    }
}
