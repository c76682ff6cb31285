import LogEngine
import Simulation

/// Writes that happen together or not at all.
extension Run {
    /// A batch whose writes may not fail any more once it has begun.
    func batch(_ engine: inout LogEngine, _ namespace: ModelNamespace, _ epoch: UInt64) throws(Stop) {
        let items = (0..<(2 + random.below(4))).map { _ in (random.below(Keys.count), random.bytes(random.below(400))) }
        let bytes = items.reduce(0) { $0 + Keys.bytes($1.0).count + $1.1.count }
        let time = clock()
        var expected = refusalOfAny(namespace, epoch)
        if expected == nil, namespace.settings.isWorm { expected = .worm }
        let limit = namespace.settings.maxSize
        if expected == nil, limit != 0, namespace.live.bytes + UInt64(bytes) > limit { expected = .quota }
        do throws(LogError) {
            try engine.beginBatch(namespace.id, count: items.count, bytes: bytes, epoch: epoch, time: time)
        } catch { return try refused(error, expected, namespace, "a batch", &engine) }
        if let expected, !namespace.isUncertain { throw .wrong("a batch that had to be refused (\(expected)) began") }
        noteProgress(engine)
        var versions: [(key: Int, version: KeyVersion)] = []
        for (key, value) in items {
            let found = engine.put(namespace.id, Keys.bytes(key), value, .none, epoch: epoch, time: time)
            guard case .success(let sequence) = found else { throw .wrong("in a batch: \(found)") }
            guard sequence > model.seen || hasLied else { throw .wrong("\(sequence) was given twice") }
            versions.append((key, KeyVersion(sequence: sequence, value: value, time: time)))
        }
        add(versions, namespace.id, engine)
        say("\(namespace.id) batch \(items.map(\.0)) to \(engine.nextSequence - 1)")
    }

    /// A batch each of whose writes may be refused, and then none of them happened.
    func openedBatch(_ engine: inout LogEngine, _ namespace: ModelNamespace, _ epoch: UInt64) throws(Stop) {
        let count = 2 + random.below(4)
        let values: [[UInt8]?] = (0..<count).map { _ in random.chance(20) ? nil : random.bytes(random.below(400)) }
        // Long enough for any key.
        let bytes = values.reduce(0) { $0 + 64 * 4 + ($1?.count ?? 0) }
        let time = clock()
        let expected = refusalOfAny(namespace, epoch)
        do throws(LogError) {
            try engine.openBatch(namespace.id, count: count, bytes: bytes, epoch: epoch, time: time)
        } catch { return try refused(error, expected, namespace, "a batch", &engine) }
        if let expected, !namespace.isUncertain { throw .wrong("a batch that had to be refused (\(expected)) began") }
        noteProgress(engine)
        var after = namespace
        var versions: [(key: Int, version: KeyVersion)] = []
        for value in values {
            guard let write = try partOfBatch(&engine, &after, value, epoch, time) else {
                engine.abortBatch()
                say("\(namespace.id) batch of \(count): taken back behind \(versions.count)")
                return
            }
            versions.append(write)
        }
        if random.chance(15) {
            engine.abortBatch()
            say("\(namespace.id) batch of \(count): taken back")
            return
        }
        engine.closeBatch()
        add(versions, namespace.id, engine)
        say("\(namespace.id) batch \(versions.map(\.key)) to \(engine.nextSequence - 1)")
    }

    /// One write of a batch; nil if it was refused as it had to be. `after` is what the batch did so far.
    private func partOfBatch(
        _ engine: inout LogEngine, _ after: inout ModelNamespace, _ value: [UInt8]?, _ epoch: UInt64, _ time: UInt64
    ) throws(Stop) -> (key: Int, version: KeyVersion)? {
        var key = pick(after)
        let found: Result<UInt64, LogError>
        let expected: LogError?
        if after.isSequential, let value, random.chance(60) {
            key = after.nextId
            expected = refusalOfAddition(after, value, epoch)
            switch engine.addition(after.id, value, epoch: epoch, time: time) {
            case .success(let new):
                try checkId(new.id, after)
                key = Int(truncatingIfNeeded: new.id)
                found = .success(new.sequence)
            case .failure(let error): found = .failure(error)
            }
        } else {
            expected = refusal(after, key, value, .none, epoch)
            let bytes = after.bytes(key)
            found =
                value.map { engine.put(after.id, bytes, $0, .none, epoch: epoch, time: time) }
                ?? engine.end(after.id, bytes, .none, epoch: epoch, time: time)
        }
        switch found {
        case .success(let sequence):
            if let expected, !isUncertain(after, key) {
                throw .wrong("a write of a batch that had to be refused (\(expected)) happened: key \(key)")
            }
            guard sequence > model.seen || hasLied else { throw .wrong("\(sequence) was given twice") }
            let version = KeyVersion(sequence: sequence, value: value, time: time)
            after[key].versions.append(version)
            return (key, version)
        case .failure(let error):
            if error == .full, faults.isSmall { return nil }
            if error == .disk(.crashed) { throw .crashed }
            if error == .readOnly, disk.failsWrites || disk.failsSync { return nil }
            guard expected == error || isUncertain(after, key) || isExplained(error, after) else {
                throw .wrong("in a batch key \(key): \(error), not \(expected.map { "\($0)" } ?? "at all")")
            }
            return nil
        }
    }

    /// Something did not begin.
    private func refused(
        _ error: LogError, _ expected: LogError?, _ namespace: ModelNamespace, _ what: String,
        _ engine: inout LogEngine
    ) throws(Stop) {
        say("\(namespace.id) \(what): \(error)")
        guard Self.isRefusal(error) else { return try accept(error, &engine) }
        guard expected == error || namespace.isUncertain else {
            throw .wrong("\(what) was refused with \(error), not \(expected.map { "\($0)" } ?? "at all")")
        }
        noteProgress(engine)
    }
}
