import LogEngine
import Simulation

/// A walk through a namespace in pages while others write: every key that stays is met once.
struct Walk {
    enum Place {
        case hashed(UInt64)
        case ordered(KeyRange)
        case ids(UInt64)
    }

    let namespace: UInt32
    let mode: UInt8
    var place: Place
    let isReverse: Bool
    /// Keys that were there when it began.
    let keys: [Int]
    /// Numbers of what came later are higher.
    let begun: UInt64
    var met: [Int] = []
}

extension Run {
    /// All of a namespace in pages, at once; what is wrong with them.
    func pages(_ engine: inout LogEngine, _ namespace: ModelNamespace) throws(Stop) -> String? {
        guard var walk = begin(namespace, engine) else { return nil }
        for _ in 0..<10_000 {
            switch try step(&engine, &walk, namespace) {
            case .more: continue
            case .end: return lacks(walk, namespace)
            case .given: return nil
            }
        }
        return "namespace \(namespace.id): a walk does not end"
    }

    /// The walk that is under way goes on by a page, or another begins.
    func walk(_ engine: inout LogEngine) throws(Stop) {
        guard var open = walk,
            let namespace = model.visible.namespaces.first(where: { $0.id == open.namespace }),
            namespace.settings.mode == open.mode, !namespace.isUncertain
        else {
            let namespace = model.visible.namespaces.randomElement(using: &random)
            walk = namespace.flatMap { $0.isUncertain || $0.settings.isFrozen ? nil : begin($0, engine) }
            return
        }
        if namespace.settings.isFrozen { return }
        switch try step(&engine, &open, namespace) {
        case .more: walk = open
        case .end:
            walk = nil
            say("\(namespace.id) walked: \(open.met)")
            if let lack = lacks(open, namespace) { throw .wrong(lack) }
        case .given: walk = nil
        }
    }

    private enum Progress { case more, end, given }

    private func begin(_ namespace: ModelNamespace, _ engine: borrowing LogEngine) -> Walk? {
        let isReverse = random.chance(50)
        var keys = namespace.liveNumbers
        var place = Walk.Place.hashed(0)
        if namespace.isSequential {
            place = .ids(isReverse ? .max : 0)
        } else if namespace.isOrdered, random.chance(80) {
            let range = range(isReverse)
            keys = keys.filter { Self.isIn(range, Keys.bytes($0)) }
            place = .ordered(range)
        } else if namespace.isOrdered {
            return nil
        }
        return Walk(
            namespace: namespace.id, mode: namespace.settings.mode, place: place, isReverse: isReverse, keys: keys,
            begun: engine.nextSequence)
    }

    private func range(_ isReverse: Bool) -> KeyRange {
        var range = KeyRange()
        if random.chance(40) {
            range = KeyRange(prefix: Array(Keys.bytes(random.below(Keys.count)).prefix(4 + random.below(3))))
        } else if random.chance(50) {
            if random.chance(70) { range.from = Keys.bytes(random.below(Keys.count)) }
            if random.chance(70) { range.to = Keys.bytes(random.below(Keys.count)) + (random.chance(50) ? [0] : []) }
        }
        range.isReverse = isReverse
        return range
    }

    private static func isIn(_ range: KeyRange, _ key: [UInt8]) -> Bool {
        if let from = range.from, key.lexicographicallyPrecedes(from) { return false }
        if let to = range.to, !key.lexicographicallyPrecedes(to) { return false }
        return true
    }

    /// One page: its keys are there now, in order.
    private func step(
        _ engine: inout LogEngine, _ walk: inout Walk, _ namespace: ModelNamespace
    ) throws(Stop) -> Progress {
        var entries: [Entry] = []
        var keys: [[UInt8]] = []
        let isEnd: Bool
        let limit = 1 + random.below(7)
        do throws(LogError) {
            switch walk.place {
            case .hashed(let cursor):
                let next = try engine.scan(namespace.id, from: cursor, count: limit, into: &entries)
                (isEnd, walk.place) = (next == 0, .hashed(next))
            case .ids(let id):
                let next = try engine.ids(
                    namespace.id, from: id, isReverse: walk.isReverse, count: limit, into: &entries)
                (isEnd, walk.place) = (next == nil, .ids(next ?? 0))
            case .ordered(var range):
                var page = KeyPage()
                try engine.keys(namespace.id, in: range, limit: limit, visits: 1 + random.below(9), into: &page)
                entries = page.entries
                keys = entries.indices.map { Array(page.key($0)) }
                if !page.last.isEmpty { range.after = page.last }
                (isEnd, walk.place) = (page.isEnd, .ordered(range))
            }
        } catch {
            if isExplained(error, namespace) { return .given }
            throw error == .disk(.crashed) ? .crashed : .wrong("a walk failed with \(error)")
        }
        for (index, entry) in entries.enumerated() {
            switch engine.key(entry, namespace.id) {
            case .success(let key):
                if index < keys.count, keys[index] != key { throw .wrong("a page shows another key than the record") }
                try meet(&walk, key, entry, namespace)
            case .failure(let error):
                guard case .corrupt(let segment, let offset) = error,
                    isExplained(segment, Int(offset)..<Int(offset) + 400)
                else { throw error == .disk(.crashed) ? .crashed : .wrong("a key was not read: \(error)") }
                return .given
            }
        }
        return isEnd ? .end : .more
    }

    private func meet(
        _ walk: inout Walk, _ key: [UInt8], _ entry: Entry, _ namespace: ModelNamespace
    ) throws(Stop) {
        guard let number = namespace.number(key), let value = namespace[number].value else {
            throw .wrong("namespace \(namespace.id): a walk shows a key that is not there: \(key)")
        }
        guard entry.valueLength == value.count, entry.sequence == namespace[number].newest?.sequence else {
            throw .wrong("namespace \(namespace.id): a walk shows another version of key \(number)")
        }
        if case .hashed = walk.place {
            if walk.met.contains(number), stays(number, walk, namespace) {
                throw .wrong("namespace \(namespace.id): a walk shows key \(number) twice")
            }
        } else if let last = walk.met.last {
            let (low, high) = walk.isReverse ? (number, last) : (last, number)
            let isInOrder =
                namespace.isSequential
                ? low < high : namespace.bytes(low).lexicographicallyPrecedes(namespace.bytes(high))
            if !isInOrder { throw .wrong("namespace \(namespace.id): a walk shows key \(number) behind \(last)") }
        }
        if case .ordered(let range) = walk.place, !Self.isIn(range, key) {
            throw .wrong("namespace \(namespace.id): a range shows key \(number), which is outside")
        }
        walk.met.append(number)
    }

    /// Whether a key was there all the while.
    private func stays(_ key: Int, _ walk: Walk, _ namespace: ModelNamespace) -> Bool {
        guard walk.keys.contains(key), namespace[key].value != nil,
            namespace[key].versions.first.map({ $0.sequence < walk.begun }) == true
        else { return false }
        return namespace[key].versions.allSatisfy { $0.sequence < walk.begun || $0.value != nil }
    }

    private func lacks(_ walk: Walk, _ namespace: ModelNamespace) -> String? {
        let lack = walk.keys.filter { stays($0, walk, namespace) && !walk.met.contains($0) }
        return lack.isEmpty ? nil : "namespace \(namespace.id): a walk does not show keys \(lack)"
    }

    /// Live keys in the order of their last writes, both ways.
    func walkByWrites(_ engine: inout LogEngine) throws(Stop) {
        guard damaged.isEmpty, !hasLied, !isIndexDamaged, !engine.turnHasWrites,
            let namespace = model.visible.namespaces.randomElement(using: &random), !namespace.settings.isFrozen,
            !namespace.isUncertain, !damagedTables.contains(namespace.id)
        else { return }
        let isReverse = random.chance(50)
        var at: UInt64? = isReverse ? .max : 0
        var met: [Int] = []
        while let from = at {
            var found: [WrittenKey] = []
            do throws(LogError) {
                at = try engine.written(
                    namespace.id, from: from, isReverse: isReverse, limit: 1 + random.below(9),
                    visits: 1 + random.below(50), into: &found)
            } catch { throw error == .disk(.crashed) ? .crashed : .wrong("keys by writes: \(error)") }
            for key in found {
                guard let number = namespace.number(key.key), namespace[number].newest?.sequence == key.sequence else {
                    throw .wrong("namespace \(namespace.id): keys by writes show \(key)")
                }
                met.append(number)
            }
        }
        let expected = namespace.liveNumbers.sorted {
            (namespace[$0].newest?.sequence ?? 0) < (namespace[$1].newest?.sequence ?? 0)
        }
        if met != (isReverse ? expected.reversed() : expected) {
            throw .wrong("namespace \(namespace.id): keys by writes are \(met), not \(expected)")
        }
    }
}
