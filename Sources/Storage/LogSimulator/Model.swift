import LogEngine

/// One version of a key as it was asked for; no value is a tombstone.
struct KeyVersion: Equatable {
    var sequence: UInt64
    var value: [UInt8]?
    /// The clock when it was asked for.
    var time: UInt64
}

/// What the model knows of one key: every version, oldest first.
struct KeyHistory {
    var versions: [KeyVersion] = []
    /// Damage was put where its newest versions stand, so an error or, where it was reported, an older version is right.
    var isUncertain = false

    var newest: KeyVersion? { versions.last }
    /// The value that a reader must get.
    var value: [UInt8]? { versions.last?.value }
}

/// Something that happens as a whole or not at all.
struct Step {
    enum Change {
        case versions(namespace: UInt32, [(key: Int, version: KeyVersion)])
        case namespace(id: UInt32, name: [UInt8], NamespaceSettings)
        case end(UInt32)
        case flush(UInt32)
        case fence(UInt32, UInt64)
    }

    var change: Change
    /// The sequence number of its last record.
    var last: UInt64
    /// Where its last record ends.
    var place: (segment: UInt64, offset: UInt64)
    /// The call failed in a way that leaves open whether its record exists, so its number is a guess.
    var isDoubtful = false
}

/// What a device holds.
struct ModelState {
    /// Namespaces that exist, by number.
    var namespaces: [ModelNamespace] = []
    /// The number of the next namespace.
    var nextId: UInt32 = 1

    func index(_ id: UInt32) -> Int? { namespaces.firstIndex { $0.id == id } }

    mutating func apply(_ step: Step) {
        switch step.change {
        case .versions(let id, let versions):
            guard let index = index(id) else { return }
            for (key, version) in versions {
                namespaces[index][key].versions.append(version)
                namespaces[index][key].isUncertain = false
            }
        case .namespace(let id, let name, let settings):
            if let index = index(id) {
                namespaces[index].change(to: settings, at: step.last)
            } else {
                namespaces.append(ModelNamespace(id: id, name: name, settings: settings))
                nextId = max(nextId, id + 1)
            }
        case .end(let id): namespaces.removeAll { $0.id == id }
        case .flush(let id):
            guard let index = index(id) else { return }
            namespaces[index].clear()
        case .fence(let id, let epoch):
            guard let index = index(id) else { return }
            namespaces[index].fence = max(namespaces[index].fence, epoch)
        }
    }
}

/// The oracle: all that was asked for in its order, how much of it is promised, and what readers must see now.
struct Model {
    private(set) var steps: [Step] = []
    /// Steps that are promised to survive.
    private(set) var durableCount = 0
    private var durable = ModelState()
    /// What readers of the running engine see.
    var visible = ModelState()
    /// The highest sequence number that somebody may have seen.
    var seen: UInt64 = 0
    /// All that was ever tried of a key: with lies and damage nothing else may be served.
    private(set) var tried: [UInt64: KeyVersion] = [:]

    private var highestIds: [UInt32: UInt64] = [:]

    var pendingCount: Int { steps.count - durableCount }

    /// Something was done and is seen; it is not promised yet.
    mutating func add(_ step: Step) {
        steps.append(step)
        visible.apply(step)
        note(step)
    }

    /// Something may have been done and is not seen.
    mutating func addDoubtful(_ step: Step) {
        var step = step
        step.isDoubtful = true
        steps.append(step)
        note(step)
    }

    private mutating func note(_ step: Step) {
        guard case .versions(let namespace, let versions) = step.change else { return }
        for (key, version) in versions {
            tried[version.sequence] = version
            highestIds[namespace] = max(highestIds[namespace] ?? 0, UInt64(key))
        }
    }

    /// The highest key that was ever written in a namespace.
    func highestId(_ namespace: UInt32) -> UInt64 { highestIds[namespace] ?? 0 }

    /// Everything up to a sequence number is promised.
    mutating func promise(upTo sequence: UInt64) {
        while durableCount < steps.count, steps[durableCount].last <= sequence, !steps[durableCount].isDoubtful {
            durable.apply(steps[durableCount])
            durableCount += 1
        }
    }

    /// Whether readers see something from a sequence number on.
    func hasSteps(from sequence: UInt64) -> Bool { steps.last.map { $0.last >= sequence && !$0.isDoubtful } ?? false }

    /// The turn was refused; `keeps` are those that may be on the medium all the same.
    mutating func takeBack(from sequence: UInt64, keeps: Bool) {
        if !keeps {
            while let step = steps.last, steps.count > durableCount, step.last >= sequence { steps.removeLast() }
        }
        visible = state(count: steps.firstIndex { $0.last >= sequence } ?? steps.count)
    }

    /// Whether one of some numbers is that of a flush.
    func hasFlush(among lost: [Range<UInt64>]) -> Bool {
        steps.contains { step in
            guard case .flush = step.change else { return false }
            return lost.contains { $0.contains(step.last) }
        }
    }

    /// How many steps are promised when damage was put at a place of the last segment: those before it.
    func promised(before place: (segment: UInt64, offset: UInt64)) -> Int {
        let first = steps.firstIndex {
            $0.place.segment > place.segment || ($0.place.segment == place.segment && $0.place.offset > place.offset)
        }
        return min(durableCount, first ?? durableCount)
    }

    /// Steps whose numbers an engine has that goes on with `next`.
    func count(before next: UInt64) -> Int { steps.firstIndex { $0.last >= next || $0.isDoubtful } ?? steps.count }

    /// The state after the first steps.
    func state(count: Int) -> ModelState {
        var (state, from) = (ModelState(), 0)
        if count >= durableCount { (state, from) = (durable, durableCount) }
        for step in steps[from..<count] { state.apply(step) }
        return state
    }

    /// A restarted engine that goes on with `next` was found to hold the first steps and what it did itself, and what
    /// it holds is durable.
    mutating func adopt(count: Int, _ own: Step?, _ state: ModelState, next: UInt64) {
        steps.removeLast(steps.count - count)
        for index in steps.indices where steps[index].isDoubtful {
            steps[index].isDoubtful = false
            steps[index].last = min(steps[index].last, next - 1)
        }
        if let own { steps.append(own) }
        (durableCount, durable, visible) = (steps.count, state, state)
    }
}
