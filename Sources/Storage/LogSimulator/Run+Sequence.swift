import LogEngine
import Simulation

/// Namespaces that give their keys themselves.
extension Run {
    /// A new value gets the next id, and no id is given twice.
    func addition(_ engine: inout LogEngine, _ namespace: ModelNamespace, _ epoch: UInt64) throws(Stop) {
        let value = random.bytes(random.below(160))
        let time = clock()
        let expected = refusalOfAddition(namespace, value, epoch)
        let found = engine.addition(namespace.id, value, epoch: epoch, time: time)
        say("\(namespace.id) add \(value.count) e\(epoch): \(found)")
        switch found {
        case .success(let new):
            if let expected, !namespace.isUncertain {
                throw .wrong("a new id that had to be refused (\(expected)) was given")
            }
            try checkId(new.id, namespace)
            try written(engine, namespace, Int(truncatingIfNeeded: new.id), value, new.sequence, time)
        case .failure(let error):
            if isExplained(error, namespace) { return noteProgress(engine) }
            guard Self.isRefusal(error) else { return try accept(error, &engine) }
            guard expected == error || namespace.isUncertain else {
                throw .wrong("a new id was refused with \(error), not \(expected.map { "\($0)" } ?? "at all")")
            }
            noteProgress(engine)
        }
    }

    /// A value with the id that it had elsewhere, as an import writes it: ids may be left out.
    func restoration(_ engine: inout LogEngine, _ namespace: ModelNamespace) throws(Stop) {
        let key = random.chance(60) ? namespace.nextId + random.below(700) : random.below(namespace.nextId + 1)
        guard namespace[key].value == nil else { return }
        let value = random.bytes(random.below(160))
        let time = clock()
        let expected = refusalOfAddition(namespace, value, .max)
        let found = engine.restoration(namespace.id, Keys.id(key), value, time: time)
        say("\(namespace.id) restore \(key) \(value.count): \(found)")
        switch found {
        case .success(let sequence):
            if let expected, !isUncertain(namespace, key) {
                throw .wrong("an id that had to be refused (\(expected)) was restored")
            }
            try written(engine, namespace, key, value, sequence, time)
        case .failure(let error):
            if isExplained(error, namespace) { return noteProgress(engine) }
            guard Self.isRefusal(error) else { return try accept(error, &engine) }
            guard expected == error || isUncertain(namespace, key) else {
                throw .wrong("id \(key) was not restored: \(error), not \(expected.map { "\($0)" } ?? "at all")")
            }
            noteProgress(engine)
        }
    }

    func checkId(_ id: UInt64, _ namespace: ModelNamespace) throws(Stop) {
        if id == UInt64(namespace.nextId) { return }
        // A table may know more than the log that a loss of power left: then ids are left out, and none is given twice.
        if options.policy != .always, id > UInt64(namespace.nextId), id <= model.highestId(namespace.id) + 1 { return }
        let isKnown = namespace.numbers.contains { UInt64($0) == id && !namespace[$0].isUncertain }
        guard namespace.isUncertain, !isKnown else {
            throw .wrong("namespace \(namespace.id): id \(id) was given, not \(namespace.nextId)")
        }
    }

    /// Why a value gets no new id.
    func refusalOfAddition(_ namespace: ModelNamespace, _ value: [UInt8], _ epoch: UInt64) -> LogError? {
        if let refusal = refusalOfAny(namespace, epoch) { return refusal }
        let limit = namespace.settings.maxSize
        return limit != 0 && namespace.live.bytes + UInt64(8 + value.count) > limit ? .quota : nil
    }

    /// A table whose bytes were changed while it is in use may say so.
    func isExplained(_ error: LogError, _ namespace: ModelNamespace) -> Bool {
        error == .indexDamaged && damagedTables.contains(namespace.id)
    }
}
