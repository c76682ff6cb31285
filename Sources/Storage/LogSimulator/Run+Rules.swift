import LogEngine
import Simulation

extension Run {
    /// Whether an error says that a write is not allowed, in difference to one that could not be done.
    static func isRefusal(_ error: LogError) -> Bool {
        switch error {
        case .full, .readOnly, .disk, .corrupt: false
        default: true
        }
    }

    /// Whether what the engine knows of a key may be less than what the model knows.
    func isUncertain(_ namespace: ModelNamespace, _ key: Int) -> Bool {
        namespace.isUncertain || namespace[key].isUncertain || namespace.mayBeForgotten(key)
    }

    /// Why no write may happen in a namespace.
    func refusalOfAny(_ namespace: ModelNamespace, _ epoch: UInt64) -> LogError? {
        if namespace.settings.isFrozen { return .frozen }
        if namespace.settings.isLocked { return .locked }
        if epoch < namespace.fence { return .fenced(epoch: namespace.fence) }
        return nil
    }

    /// Why a write must not happen; nil if it must.
    func refusal(
        _ namespace: ModelNamespace, _ key: Int, _ value: [UInt8]?, _ condition: WriteCondition, _ epoch: UInt64
    ) -> LogError? {
        if let refusal = refusalOfAny(namespace, epoch) { return refusal }
        let history = namespace[key]
        if value == nil, history.value == nil { return .absent }
        if let refusal = refusal(condition, history) { return refusal }
        if namespace.isSequential, history.value == nil { return .unknownId }
        if namespace.settings.isWorm, history.value != nil { return .worm }
        guard let value, namespace.settings.maxSize != 0 else { return nil }
        let length = namespace.bytes(key).count
        let before = history.value.map { UInt64($0.count + length) } ?? 0
        let after = namespace.live.bytes - before + UInt64(value.count + length)
        return after > namespace.settings.maxSize ? .quota : nil
    }

    private func refusal(_ condition: WriteCondition, _ history: KeyHistory) -> LogError? {
        switch condition {
        case .none: return nil
        case .absent: return history.value == nil ? nil : .exists
        case .present: return history.value == nil ? .absent : nil
        case .sequence(let wanted):
            let live = history.value == nil ? 0 : history.newest?.sequence ?? 0
            return wanted == live || wanted == history.newest?.sequence ?? 0 ? nil : .conflict(sequence: live)
        }
    }

    /// Whether damage explains an error at a place. Compaction copies damaged values as they are.
    func isExplained(_ segment: UInt64, _ range: Range<Int>) -> Bool {
        isDamaged(segment, range) || (copiesDamage && !damaged.isEmpty)
    }

    /// What follows from an error of a write; anything that no fault explains is wrong.
    ///
    /// Lack of space takes back what it concerns and nothing else. Everything else ends the process' writing, and the
    /// turn's records may be on the medium all the same.
    func accept(
        _ error: LogError, _ engine: inout LogEngine, doubtful: Step.Change? = nil, isTurnRefused: Bool = false
    ) throws(Stop) {
        switch error {
        case .full:
            guard faults.isSmall else { throw .wrong("no space on a disk that has space") }
            counts.faults += 1
            try takeBack(engine, isTurnRefused: isTurnRefused, keeps: false)
            if engine.readOnlyReason != nil {
                guard disk.failsSync || disk.failsWrites else { throw .wrong("lack of space ended all writing") }
                try readOnly(&engine)
                throw .readOnly
            }
            noteProgress(engine)
        case .readOnly:
            guard disk.failsSync || disk.failsWrites else { throw .wrong("read-only without a failure of the disk") }
            hasFailed = true
            try takeBack(engine, isTurnRefused: isTurnRefused, keeps: true)
            noteDoubtful(doubtful, engine)
            try readOnly(&engine)
            throw .readOnly
        case .disk(.crashed):
            noteDoubtful(doubtful, engine)
            throw .crashed
        default: throw .wrong("a write failed with \(error)")
        }
    }

    /// Where a part of the turn had to be written before its end, its first writes are gone: its end must say so.
    private func takeBack(_ engine: borrowing LogEngine, isTurnRefused: Bool, keeps: Bool) throws(Stop) {
        let isLost = model.hasSteps(from: engine.nextSequence)
        if isLost { model.takeBack(from: engine.nextSequence, keeps: keeps) }
        if isTurnRefused {
            isTurnLost = false
        } else if isLost {
            isTurnLost = true
            if !engine.turnHasWrites { throw .wrong("writes of this turn are gone, and its end will not say so") }
        }
    }

    private func noteDoubtful(_ change: Step.Change?, _ engine: borrowing LogEngine) {
        guard let change else { return }
        model.addDoubtful(Step(change: change, last: engine.nextSequence, place: engine.endOfLog))
    }

    /// After a failed sync there are no writes any more, whatever the disk does now, and reads go on.
    private func readOnly(_ engine: inout LogEngine) throws(Stop) {
        guard engine.readOnlyReason != nil else { throw .wrong("a failure of the disk did not end writing") }
        if random.chance(70) { (disk.failsSync, disk.failsWrites) = (false, false) }
        say("read-only")
        for namespace in model.visible.namespaces {
            let found = engine.put(namespace.id, [1], [2], .none, epoch: .max, time: clock())
            switch found {
            case .failure(.readOnly), .failure(.locked), .failure(.frozen): break
            default: throw .wrong("a write after a failed sync: \(found)")
            }
        }
        let before = disk.operations
        do throws(LogError) { try engine.commit(sync: true) } catch { if error != .readOnly { throw .crashed } }
        if disk.operations != before { throw .wrong("a failed sync was tried again") }
        try everything(&engine)
    }
}
