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
        if random.chance(60) { try maintain(&engine) }
        if random.chance(30) { try history(&engine) }
        try look(&engine)
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
        if random.chance(8) { return try batch(&engine, namespace, epoch) }
        let key = random.below(Keys.count)
        let isEnd = random.chance(22)
        let value = isEnd ? nil : random.bytes(random.chance(4) ? random.below(5000) : random.below(160))
        let condition = condition(namespace.keys[key])
        let time = clock()
        let expected = refusal(namespace, key, value, condition, epoch)
        let before = engine.nextSequence
        let found =
            if let value {
                engine.put(namespace.id, Keys.bytes(key), value, condition, epoch: epoch, time: time)
            } else {
                engine.end(namespace.id, Keys.bytes(key), condition, epoch: epoch, time: time)
            }
        say("\(namespace.id) \(isEnd ? "end" : "set") \(key) \(value?.count ?? 0) \(condition) e\(epoch): \(found)")
        switch found {
        case .success(let sequence):
            if let expected, !isUncertain(namespace, key) {
                throw .wrong("a write that had to be refused (\(expected)) happened: key \(key)")
            }
            guard sequence >= before, sequence > model.seen || hasLied else {
                throw .wrong("sequence number \(sequence) was given twice")
            }
            let version = KeyVersion(sequence: sequence, value: value, time: time)
            model.add(
                Step(
                    change: .versions(namespace: namespace.id, [(key, version)]), last: sequence,
                    place: engine.endOfLog))
            noteProgress(engine)
        case .failure(let error):
            if Self.isRefusal(error) {
                guard expected == error || isUncertain(namespace, key) else {
                    throw .wrong("key \(key) was refused with \(error), not \(expected.map { "\($0)" } ?? "at all")")
                }
                noteProgress(engine)
            } else {
                try accept(error, &engine)
            }
        }
    }

    private func batch(_ engine: inout LogEngine, _ namespace: ModelNamespace, _ epoch: UInt64) throws(Stop) {
        let items = (0..<(2 + random.below(4))).map { _ in (random.below(Keys.count), random.bytes(random.below(400))) }
        let bytes = items.reduce(0) { $0 + Keys.bytes($1.0).count + $1.1.count }
        let time = clock()
        var expected = refusalOfAny(namespace, epoch)
        if expected == nil, namespace.settings.isWorm { expected = .worm }
        let limit = namespace.settings.maxSize
        if expected == nil, limit != 0, namespace.live.bytes + UInt64(bytes) > limit { expected = .quota }
        do throws(LogError) {
            try engine.beginBatch(namespace.id, count: items.count, bytes: bytes, epoch: epoch, time: time)
        } catch {
            say("\(namespace.id) batch \(items.count): \(error)")
            guard Self.isRefusal(error) else { return try accept(error, &engine) }
            guard expected == error || namespace.isUncertain else {
                throw .wrong("a batch was refused with \(error), not \(expected.map { "\($0)" } ?? "at all")")
            }
            return noteProgress(engine)
        }
        if let expected, !namespace.isUncertain { throw .wrong("a batch that had to be refused (\(expected)) began") }
        noteProgress(engine)
        var versions: [(key: Int, version: KeyVersion)] = []
        for (key, value) in items {
            let found = engine.put(namespace.id, Keys.bytes(key), value, .none, epoch: epoch, time: time)
            guard case .success(let sequence) = found else { throw .wrong("in a batch: \(found)") }
            guard sequence > model.seen || hasLied else { throw .wrong("\(sequence) was given twice") }
            versions.append((key, KeyVersion(sequence: sequence, value: value, time: time)))
        }
        let last = engine.nextSequence - 1
        say("\(namespace.id) batch \(items.map(\.0)) to \(last)")
        model.add(
            Step(change: .versions(namespace: namespace.id, versions), last: last, place: engine.endOfLog))
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

    /// Some of the work that nobody waits for.
    private func maintain(_ engine: inout LogEngine) throws(Stop) {
        for _ in 0..<(1 + random.below(4)) {
            let isMore = engine.maintain(now: clock(), budget: 512 << random.below(6))
            if disk.isCrashed {
                say("maintenance: power lost")
                throw .crashed
            }
            if !isMore { break }
        }
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

    private func fence(_ engine: inout LogEngine) throws(Stop) {
        guard let namespace = model.visible.namespaces.randomElement(using: &random) else { return }
        let epoch = namespace.fence + UInt64(random.below(3)) &- (random.chance(20) ? 1 : 0)
        guard epoch < 1000 else { return }
        do throws(LogError) { try engine.fence(namespace.id, epoch: epoch, time: clock()) } catch {
            say("\(namespace.id) fence \(epoch): \(error)")
            if error == .fenced(epoch: namespace.fence), epoch < namespace.fence { return noteProgress(engine) }
            return try accept(error, &engine, doubtful: .fence(namespace.id, epoch))
        }
        say("\(namespace.id) fence \(epoch)")
        guard epoch >= namespace.fence else { throw .wrong("a fence went back") }
        if epoch > namespace.fence { add(.fence(namespace.id, epoch), engine) }
    }

    /// Namespaces are made, changed and ended.
    private func namespaces(_ engine: inout LogEngine) throws(Stop) {
        let name = Array("space-\(random.below(3))".utf8)
        guard let namespace = model.visible.namespaces.first(where: { $0.name == name }) else {
            return try makeNamespace(&engine, name)
        }
        if random.chance(35) {
            do throws(LogError) { try engine.removeNamespace(namespace.id, time: clock()) } catch {
                say("\(namespace.id) end: \(error)")
                return try accept(error, &engine, doubtful: .end(namespace.id))
            }
            say("\(namespace.id) ended")
            return add(.end(namespace.id), engine)
        }
        var settings = namespace.settings
        switch random.below(4) {
        case 0: settings.isLocked.toggle()
        case 1: settings.isFrozen.toggle()
        case 2: settings.isWorm = random.chance(30)
        default: settings.maxSize = random.chance(50) ? 0 : UInt64(200 + random.below(3000))
        }
        let change = Step.Change.namespace(id: namespace.id, name: name, settings)
        do throws(LogError) { try engine.changeNamespace(namespace.id, settings, time: clock()) } catch {
            say("\(namespace.id) settings: \(error)")
            return try accept(error, &engine, doubtful: change)
        }
        say("\(namespace.id) settings \(settings.maxSize) \(settings.isLocked) \(settings.isFrozen) \(settings.isWorm)")
        add(change, engine)
    }

    private func makeNamespace(_ engine: inout LogEngine, _ name: [UInt8]) throws(Stop) {
        var settings = NamespaceSettings()
        if random.chance(30) { settings.maxSize = UInt64(200 + random.below(3000)) }
        settings.created = clock()
        let id = model.visible.nextId
        let change = Step.Change.namespace(id: id, name: name, settings)
        var made: UInt32 = 0
        do throws(LogError) { made = try engine.createNamespace(name, settings, time: settings.created) } catch {
            say("new namespace: \(error)")
            return try accept(error, &engine, doubtful: change)
        }
        say("\(made) is new")
        guard made == id || model.visible.namespaces.contains(where: \.isUncertain) else {
            throw .wrong("namespace number \(made) instead of \(id)")
        }
        add(.namespace(id: made, name: name, settings), engine)
    }

    /// A definition that was made durable before its call returned, and with it all before.
    private func add(_ change: Step.Change, _ engine: borrowing LogEngine) {
        let last = engine.nextSequence - 1
        model.add(Step(change: change, last: last, place: engine.endOfLog))
        model.seen = max(model.seen, last)
        model.promise(upTo: last)
    }

    /// Stops in order. A process that wrote nothing has nothing to say about it.
    func stopInOrder(_ engine: inout LogEngine) throws(Stop) {
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
