import LogEngine
import Simulation

extension Run {
    /// Compares what a started engine holds with what it may hold, and goes on from there.
    func recovered(_ engine: inout LogEngine) throws(Stop) {
        let report = engine.report
        (damagedTables, isIndexDamaged) = ([], false)
        say("opened: next \(engine.nextSequence) cut \(report.cutBytes) damages \(report.damages)")
        counts.rebuiltTables += Int(report.rebuiltTables)
        if hasLied { return try afterLies(&engine) }
        counts.reportedDamages += Int(report.damageCount)
        dropDamageBehind(engine.endOfLog)
        for damage in report.damages {
            let range = Int(damage.offset)..<Int(damage.offset + max(damage.length, 8))
            guard
                isDamaged(damage.segment, range) || (range == 0..<4096 && isDamaged(damage.segment, 0..<Int.max))
                    || (damage.length == 0 && !damaged.isEmpty)
            else {
                throw .wrong("damage is reported where there is none: \(damage)")
            }
            // The header of a segment that was being made stays as it is, for ever.
            if range == 0..<4096 { noteDamage(damage.segment, range) }
        }
        if wasClosed, damaged.isEmpty, !report.wasClosed || report.cutBytes != 0 {
            throw .wrong("a stop in order was not recognized: \(report)")
        }
        let promised =
            damaged.filter { $0.segment == engine.endOfLog.segment || $0.segment == lastBefore }
            .map { model.promised(before: ($0.segment, UInt64($0.range.lowerBound))) }.min() ?? model.durableCount
        let own = ownStep(engine)
        ownTimes = []
        let count = own == nil ? model.count(before: engine.nextSequence) : 0
        // The definition of `default` was destroyed, and its keys go on under another name.
        if own != nil, promised > 0, report.damages.contains(where: { !$0.lost.isEmpty }) { throw .ended }
        // Without its flush a namespace holds what was before.
        if model.hasFlush(among: report.damages.map(\.lost)) { throw .ended }
        guard count >= promised else {
            throw .wrong("\(promised - count) promised writes are lost: the log goes on with \(engine.nextSequence)")
        }
        var state = model.state(count: count)
        if let own { state.apply(own) }
        var adopted = count
        var difference = try compare(&engine, &state)
        if difference != nil, count < model.steps.count, model.steps[count].isDoubtful {
            state = model.state(count: count + 1)
            adopted = count + 1
            difference = try compare(&engine, &state)
        }
        if let difference { throw .wrong("after the start: \(difference)") }
        // What damage cut is gone with its numbers.
        if adopted < model.durableCount || !damaged.isEmpty { model.seen = engine.nextSequence - 1 }
        model.adopt(count: adopted, own, state, next: engine.nextSequence)
    }

    private var lastBefore: UInt64 { model.steps.last?.place.segment ?? 1 }

    /// What was cut is written anew.
    private func dropDamageBehind(_ end: (segment: UInt64, offset: UInt64)) {
        // Reported damage of the part that was cut still explains what is missing, so only later openings forget it.
        damagedBehind.forEach { index in damaged.removeAll { $0.number == index.number } }
        damagedBehind = damaged.filter {
            $0.segment == end.segment && $0.range.lowerBound >= Int(end.offset) && !$0.isUnreadable
        }
    }

    /// The namespace that an engine makes when it finds none; nothing comes before it.
    private func ownStep(_ engine: borrowing LogEngine) -> Step? {
        guard let id = engine.namespace(named: Array("default".utf8)), let found = engine.information(id),
            ownTimes.contains(found.settings.created) || model.steps.isEmpty
        else { return nil }
        return Step(
            change: .namespace(id: id, name: found.name, found.settings), last: engine.nextSequence - 1,
            place: engine.endOfLog)
    }

    /// The first difference between an engine and a state; with damage, keys that may differ become uncertain.
    private func compare(_ engine: inout LogEngine, _ state: inout ModelState) throws(Stop) -> String? {
        let names = state.namespaces.map(\.name).sorted { $0.lexicographicallyPrecedes($1) }
        let lost = engine.report.damages.filter { !$0.isAttributed && !$0.lost.isEmpty }
        if names != engine.namespaceNames {
            if !lost.isEmpty { throw .ended }
            return "namespaces are \(engine.namespaceNames), not \(names)"
        }
        for index in state.namespaces.indices {
            let namespace = state.namespaces[index]
            guard engine.namespace(named: namespace.name) == namespace.id, let found = engine.information(namespace.id),
                found.settings.encoding == namespace.settings.encoding, found.fence == namespace.fence
            else {
                if !lost.isEmpty { throw .ended }
                return "namespace \(namespace.id) has other settings or another fence"
            }
            for key in namespace.numbers {
                if namespace.settings.isFrozen {
                    // What cannot be read now may be read later.
                    let newest = namespace[key].newest?.sequence ?? 0
                    if engine.report.damages.contains(where: { $0.lost.contains(newest) }) {
                        state.namespaces[index][key].isUncertain = true
                    }
                    continue
                }
                switch try check(&engine, namespace, key) {
                case .same, .unavailable: break
                case .damaged: state.namespaces[index][key].isUncertain = true
                case .different(let what):
                    guard isExplained(what.sequence, namespace[key], lost) else {
                        return "namespace \(namespace.id) key \(key): \(what.text)"
                    }
                    state.namespaces[index][key].isUncertain = true
                }
            }
            if state.namespaces[index].hasUncertainKeys { state.namespaces[index].isUncertain = true }
            if namespace.settings.isFrozen { continue }
            if let difference = try counts(&engine, state.namespaces[index]) { return difference }
        }
        return nil
    }

    /// Whether reported losses explain that a version with this number is the newest.
    private func isExplained(_ sequence: UInt64, _ history: KeyHistory, _ lost: [Damage]) -> Bool {
        guard sequence == 0 || history.versions.contains(where: { $0.sequence == sequence }) else { return false }
        return history.versions.allSatisfy { version in
            // Compaction may have let go what is not the newest.
            version.sequence <= sequence || lost.contains { $0.lost.contains(version.sequence) }
                || (compacts && version != history.newest)
        }
    }

    /// Counters and a scan against what keys there are.
    private func counts(_ engine: inout LogEngine, _ namespace: ModelNamespace) throws(Stop) -> String? {
        guard !namespace.isUncertain, let found = engine.information(namespace.id) else { return nil }
        let live = namespace.live
        if found.entries != live.entries || found.liveBytes != live.bytes {
            return "namespace \(namespace.id) counts \(found.entries) keys and \(found.liveBytes) bytes, not \(live)"
        }
        return try pages(&engine, namespace)
    }

    enum Verdict {
        case same
        /// An error that damage explains.
        case damaged
        /// The namespace's table was changed while it is in use.
        case unavailable
        case different((sequence: UInt64, text: String))
    }

    /// Reads one key.
    func check(_ engine: inout LogEngine, _ namespace: ModelNamespace, _ key: Int) throws(Stop) -> Verdict {
        counts.reads += 1
        let history = namespace[key]
        let bytes = namespace.bytes(key)
        let entry: Entry?
        switch engine.current(namespace.id, bytes) {
        case .success(let found): entry = found
        case .failure(let error):
            if isExplained(error, namespace) { return .unavailable }
            throw stop(error)
        }
        guard let entry else {
            var sequence: UInt64 = 0
            if case .success(let last) = engine.lastVersion(namespace.id, bytes) { sequence = last }
            if history.value == nil, sequence == history.newest?.sequence ?? 0 { return .same }
            if sequence == 0, namespace.mayBeForgotten(key) { return .same }
            return .different((sequence, "absent (\(sequence)), not \(history.newest?.sequence ?? 0)"))
        }
        switch engine.value(entry, namespace.id, bytes) {
        case .success(let value):
            guard let version = history.versions.last(where: { $0.sequence == entry.sequence }), version.value == value
            else {
                let known = history.versions.map { "\($0.sequence): \($0.value?.count ?? -1)" }
                throw .wrong(
                    "namespace \(namespace.id) key \(key): a value that never was: \(entry.sequence), \(value.count) bytes; "
                        + "there were \(known)")
            }
            if entry.sequence == history.newest?.sequence { return .same }
            return .different((entry.sequence, "version \(entry.sequence), not \(history.newest?.sequence ?? 0)"))
        case .failure(let error):
            guard case .corrupt(let segment, let offset) = error else { throw stop(error) }
            let length = 64 + bytes.count + entry.valueLength + 7
            guard hasLied || isExplained(segment, Int(offset)..<Int(offset) + length) else {
                throw .wrong("namespace \(namespace.id) key \(key): \(error), where nothing was damaged")
            }
            return .damaged
        }
    }

    func stop(_ error: LogError) -> Stop {
        error == .disk(.crashed) ? .crashed : .wrong("a read failed with \(error)")
    }

    // MARK: In between

    /// Reads some keys while the engine runs.
    func look(_ engine: inout LogEngine) throws(Stop) {
        guard let index = model.visible.namespaces.indices.randomElement(using: &random) else { return }
        try look(&engine, index, pick(model.visible.namespaces[index]))
    }

    private func look(_ engine: inout LogEngine, _ index: Int, _ key: Int) throws(Stop) {
        let namespace = model.visible.namespaces[index]
        if namespace.settings.isFrozen {
            guard case .failure(.frozen) = engine.current(namespace.id, namespace.bytes(key)) else {
                throw .wrong("a frozen namespace was read")
            }
            return
        }
        switch try check(&engine, namespace, key) {
        case .same, .unavailable: break
        case .damaged:
            say("\(namespace.id) key \(key) is damaged")
            model.visible.namespaces[index][key].isUncertain = true
            model.visible.namespaces[index].isUncertain = true
        case .different(let what):
            if !isUncertain(namespace, key) { throw .wrong("namespace \(namespace.id) key \(key): \(what.text)") }
        }
    }

    /// Reads all keys while the engine runs.
    func everything(_ engine: inout LogEngine) throws(Stop) {
        let names = model.visible.namespaces.map(\.name).sorted { $0.lexicographicallyPrecedes($1) }
        if names != engine.namespaceNames { throw .wrong("namespaces are \(engine.namespaceNames), not \(names)") }
        for index in model.visible.namespaces.indices {
            for key in model.visible.namespaces[index].numbers { try look(&engine, index, key) }
            if model.visible.namespaces[index].settings.isFrozen { continue }
            if let difference = try counts(&engine, model.visible.namespaces[index]) { throw .wrong(difference) }
        }
    }

    /// Nothing was promised; but all that is served must once have been written under that key.
    private func afterLies(_ engine: inout LogEngine) throws(Stop) {
        for name in engine.namespaceNames {
            guard let id = engine.namespace(named: name) else { continue }
            let isSequential = engine.isSequential(id)
            for key in 0..<(isSequential ? 200 : Keys.count) {
                let bytes = isSequential ? Keys.id(key) : Keys.bytes(key)
                guard case .success(let found) = engine.current(id, bytes), let entry = found else { continue }
                guard case .success(let value) = engine.value(entry, id, bytes) else { continue }
                guard model.tried[entry.sequence]?.value == value else {
                    throw .wrong("namespace \(id) key \(key): a value that never was (\(entry.sequence))")
                }
            }
        }
        throw .ended
    }
}
