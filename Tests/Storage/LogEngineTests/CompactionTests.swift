import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: compaction")
struct CompactionTests {
    let start: UInt64 = 1_700_000_000_000_000_000

    /// A device with many dead versions in several segments.
    func sample(
        _ options: LogOptions = compactingOptions(), rounds: Int = 12, keys: Int = 20
    ) throws -> (disk: SimulatedDisk, model: [[UInt8]: [UInt8]]) {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, options)
        var random = SeededRandom(seed: 5)
        var model: [[UInt8]: [UInt8]] = [:]
        for round in 0..<rounds {
            for number in 0..<keys where round == 0 || number % 7 != 3 {
                let key = bytes("key-\(number)")
                model[key] = random.bytes(100 + random.below(300))
                try engine.set(key, model[key] ?? [])
            }
            try engine.commit(sync: true)
        }
        try engine.delete(bytes("key-5"))
        model[bytes("key-5")] = nil
        try engine.commit(sync: true)
        return (disk, model)
    }

    @Test("Dead versions go, what lives stays where it is found, and a restart sees the same")
    func basics() throws {
        let (disk, model) = try sample()
        var engine = try LogEngine.open(disk, compactingOptions())
        var now = start
        let before = engine.logBytes
        let records = engine.records()
        #expect(engine.segmentCount > 4)
        #expect(engine.checkAccounts() == nil)
        try engine.compactAll(now: &now)
        #expect(engine.logBytes < before / 4)
        #expect(try engine.everything() == model)
        #expect(engine.checkAccounts() == nil)
        let kept = engine.records()
        #expect(Set(kept).isSubset(of: Set(records)))
        // Values by sequence number are the same bytes: nothing was written again.
        #expect(kept.filter { $0.type == RecordType.value }.count == model.count)
        #expect(try disk.list().filter { !$0.hasSuffix(".index") }.count == engine.segmentCount + 1)
        let info = engine.compactionInformation()
        #expect(info.statistics.runs > 0 && info.statistics.failures == 0 && info.lastFailure == nil)

        var again = try LogEngine.open(disk, compactingOptions())
        #expect(again.report.damageCount == 0, "\(again.report)")
        #expect(try again.everything() == model)
        #expect(again.checkAccounts() == nil)
        #expect(again.nextSequence == engine.nextSequence)
        try again.set(bytes("more"), [1])
        try again.commit(sync: true)
        #expect(try again.get(bytes("more")) == [1])
        var third = try LogEngine.open(disk, compactingOptions())
        #expect(try third.get(bytes("more")) == [1])
        #expect(third.report.damageCount == 0)
    }

    @Test("What too few replicas have acknowledged stays as it was written")
    func unconfirmed() throws {
        let (disk, model) = try sample()
        var engine = try LogEngine.open(disk, compactingOptions())
        var now = start
        let second = engine.segments[engine.order[1]]
        engine.note(confirmed: second.last - 1)
        try engine.compactAll(now: &now)
        #expect(engine.order.contains { engine.segments[$0].number == second.number })
        #expect(engine.compactionInformation().statistics.removedSegments <= 1)
        engine.note(confirmed: .max)
        try engine.compactAll(now: &now)
        #expect(!engine.order.contains { engine.segments[$0].number == second.number })
        #expect(try engine.everything() == model)
    }

    @Test("With the policy all, nothing of any key goes")
    func keepsHistory() throws {
        let (disk, model) = try sample(compactingOptions(history: .all))
        var engine = try LogEngine.open(disk, compactingOptions(history: .all))
        var now = start
        let records = engine.records().filter { $0.type == RecordType.value || $0.type == RecordType.tombstone }
        try engine.compactAll(now: &now)
        let kept = engine.records().filter { $0.type == RecordType.value || $0.type == RecordType.tombstone }
        #expect(kept == records)
        var settings = try #require(engine.information(1)?.settings)
        settings.history = .none
        try engine.changeNamespace(1, settings, time: now)
        let before = engine.logBytes
        try engine.compactAll(now: &now)
        #expect(engine.logBytes < before / 3)
        #expect(try engine.everything() == model)
        var again = try LogEngine.open(disk, compactingOptions())
        #expect(try again.everything() == model && again.report.damageCount == 0)
    }

    @Test("A worm, locked or frozen namespace is kept as it is", arguments: 0..<3)
    func protected(kind: Int) throws {
        let (disk, _) = try sample()
        var engine = try LogEngine.open(disk, compactingOptions())
        var now = start
        var settings = try #require(engine.information(1)?.settings)
        if kind == 0 { settings.isWorm = true }
        if kind == 1 { settings.isLocked = true }
        if kind == 2 { settings.isFrozen = true }
        try engine.changeNamespace(1, settings, time: now)
        let records = engine.records().filter { $0.type == RecordType.value || $0.type == RecordType.tombstone }
        try engine.compactAll(now: &now)
        #expect(engine.records().filter { $0.type == RecordType.value || $0.type == RecordType.tombstone } == records)
    }

    @Test("Power lost at every operation of a compaction, in any way: nothing is missing, nothing comes back")
    func crashEverywhere() throws {
        var operation = 0
        var hasEnded = false
        while !hasEnded {
            operation += 1
            for variant in 0..<2 {
                var (disk, model) = try sample(rounds: 6, keys: 12)
                var engine = try LogEngine.open(disk, compactingOptions())
                var random = SeededRandom(seed: UInt64(operation * 2 + variant))
                var now = start
                disk.operationsBeforeCrash = operation
                do { try engine.compactAll(now: &now) } catch LogError.disk(.crashed) {}
                if !disk.isCrashed { hasEnded = true }
                variant == 0 ? disk.crash(&random) : disk.kill()
                disk.restart()
                var again = try LogEngine.open(disk, compactingOptions())
                let found = try again.everything()
                #expect(found == model, "operation \(operation), variant \(variant)")
                #expect(again.report.damageCount == 0, "operation \(operation), variant \(variant): \(again.report)")
                #expect(again.checkAccounts() == nil, "operation \(operation), variant \(variant)")
                try again.compactAll(now: &now)
                try again.set(bytes("new"), [7])
                try again.commit(sync: true)
                model[bytes("new")] = [7]
                let names = try disk.list().filter { $0.hasSuffix(".segment") }
                #expect(names.count == again.segmentCount, "operation \(operation): strangers are left")
                var third = try LogEngine.open(disk, compactingOptions())
                #expect(try third.everything() == model, "operation \(operation), variant \(variant), later")
                #expect(third.report.damageCount == 0)
            }
        }
        #expect(operation > 15)
    }

    @Test("Killed at every operation of a compaction, and power lost after the next start: nothing is missing")
    func killedEverywhere() throws {
        for step in 1..<400 {
            var random = SeededRandom(seed: UInt64(step))
            let (disk, options, model) = try killed(at: step)
            guard disk.isCrashed else { return }
            disk.kill()
            disk.restart()
            _ = try LogEngine.open(disk, options)
            disk.crash(&random)
            disk.restart()
            var engine = try LogEngine.open(disk, options)
            #expect(engine.report.damageCount == 0, "step \(step)")
            for (key, value) in model { #expect(try engine.get(key) == value, "step \(step)") }
        }
    }

    private func killed(at step: Int) throws -> (SimulatedDisk, LogOptions, [[UInt8]: [UInt8]]) {
        let disk = SimulatedDisk()
        var options = smallOptions(16384)
        (options.compactionRate, options.history) = (1 << 40, .none)
        var engine = try LogEngine.open(disk, options)
        var model: [[UInt8]: [UInt8]] = [:]
        for number in 0..<60 {
            let key = bytes("key-\(number % 20)")
            model[key] = [UInt8](repeating: UInt8(number), count: 700)
            try engine.set(key, model[key] ?? [])
            try engine.commit(sync: true)
        }
        disk.operationsBeforeCrash = step
        var now: UInt64 = 1_700_000_000_000_000_000
        do throws(LogError) { try engine.requestCompaction(time: now) } catch { return (disk, options, model) }
        for _ in 0..<400 where !disk.isCrashed {
            now += 2_000_000_000
            if !engine.maintain(now: now, budget: 64 << 10) { break }
        }
        return (disk, options, model)
    }

    @Test("What was superseded by a write that is not yet durable does not go before that write is")
    func superseding() throws {
        for seed in UInt64(0)..<30 {
            let disk = SimulatedDisk()
            var random = SeededRandom(seed: seed)
            var engine = try LogEngine.open(disk, compactingOptions(policy: .none))
            for round in 0..<60 {
                for number in 0..<4 {
                    try engine.set(bytes("k\(number)"), [UInt8](repeating: UInt8(round), count: 200))
                }
                try engine.commit(sync: false)
            }
            try engine.rollActive()
            for number in 0..<4 { try engine.set(bytes("k\(number)"), [UInt8](repeating: 99, count: 200)) }
            try engine.commit(sync: false)
            var now = start
            for _ in 0..<(seed < 10 ? 5 : 200) {
                now += 1_000_000_000
                _ = engine.maintain(now: now, budget: 64 << 10)
            }
            disk.crash(&random)
            disk.restart()
            var again = try LogEngine.open(disk, compactingOptions(policy: .none))
            for number in 0..<4 {
                let value = try again.get(bytes("k\(number)"))
                #expect(value == [UInt8](repeating: 99, count: 200) || value == [UInt8](repeating: 59, count: 200))
            }
            #expect(again.report.damageCount == 0)
        }
    }

    @Test("Deleted keys do not come back, and their deletions go when nothing older is left")
    func tombstones() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, compactingOptions())
        var now = start
        for round in 0..<8 {
            for number in 0..<40 {
                try engine.set(bytes("key-\(number)"), [UInt8](repeating: UInt8(round), count: 300))
            }
            for number in 0..<40 where number % 2 == 0 || round == 7 { try engine.delete(bytes("key-\(number)")) }
            try engine.commit(sync: true)
            if round == 3 { try engine.compactAll(now: &now) }
            var again = try LogEngine.open(disk, compactingOptions())
            #expect(try again.everything() == engine.everything())
        }
        try engine.set(bytes("last"), [1])
        try engine.commit(sync: true)
        try engine.compactAll(now: &now)
        try engine.compactAll(now: &now)
        #expect(engine.records().allSatisfy { $0.type != RecordType.tombstone })
        #expect(engine.information(1)?.slots == 1)
        #expect(engine.information(1)?.space.history == 0)
        var again = try LogEngine.open(disk, compactingOptions())
        #expect(try again.everything() == [bytes("last"): [1]])
    }

    @Test("An ended namespace gives its space back; fences, definitions and numbers stay")
    func ended() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, compactingOptions(history: .all))
        var now = start
        let other = try engine.createNamespace(bytes("other"), NamespaceSettings(), time: 1)
        let third = try engine.createNamespace(bytes("third"), NamespaceSettings(), time: 1)
        for number in 0..<300 {
            try engine.set(bytes("k\(number)"), [UInt8](repeating: 1, count: 200), namespace: other)
            if number % 20 == 0 { try engine.set(bytes("k\(number)"), [2]) }
            if number % 50 == 0 { try engine.fence(third, epoch: UInt64(number + 1), time: now) }
            try engine.commit(sync: true)
        }
        try engine.removeNamespace(other, time: now)
        let before = engine.logBytes
        try engine.compactAll(now: &now)
        #expect(engine.logBytes < before / 4)
        #expect(engine.checkAccounts() == nil)
        var again = try LogEngine.open(disk, compactingOptions(history: .all))
        #expect(again.namespaceNames == [bytes("default"), bytes("third")])
        #expect(again.information(third)?.fence == 251)
        #expect(try again.everything().count == 15)
        #expect(again.report.damageCount == 0)
        #expect(again.checkAccounts() == nil)
        #expect(try again.createNamespace(bytes("new"), NamespaceSettings(), time: now) > third)
        #expect(again.records().filter { $0.type == RecordType.fence }.count == 1)
    }

    @Test("An ended namespace whose first definition was let go does not come back")
    func endedAfterChange() throws {
        let disk = SimulatedDisk()
        let options = compactingOptions()
        var engine = try LogEngine.open(disk, options)
        var now: UInt64 = 1_700_000_000_000_000_000
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.ordered
        let id = try engine.createNamespace(bytes("a"), settings, time: now)
        try engine.set(bytes("key"), [1], namespace: id)
        try engine.set(bytes("gone"), [1])
        try engine.set(bytes("gone"), [2])
        try engine.commit(sync: true)
        settings.maxSize = 1000
        try engine.changeNamespace(id, settings, time: now)
        try engine.compactAll(now: &now)
        try engine.removeNamespace(id, time: now)
        try engine.close(time: now)
        engine = try LogEngine.open(disk, options)
        #expect(engine.namespaceNames == [bytes("default")])
    }

    @Test("A flushed namespace holds nothing, and its space comes back")
    func flushed() throws {
        let (disk, _) = try sample(compactingOptions(history: .all))
        var engine = try LogEngine.open(disk, compactingOptions(history: .all))
        var now = start
        try engine.flush(1, time: now)
        #expect(try engine.everything().isEmpty)
        #expect(try engine.get(bytes("key-1")) == nil)
        try engine.set(bytes("key-1"), [5])
        try engine.commit(sync: true)
        var between = try LogEngine.open(disk, compactingOptions(history: .all))
        #expect(try between.everything() == [bytes("key-1"): [5]])
        #expect(between.checkAccounts() == nil)
        let before = engine.logBytes
        try engine.compactAll(now: &now)
        #expect(engine.logBytes < before / 4)
        #expect(engine.checkAccounts() == nil)
        var again = try LogEngine.open(disk, compactingOptions(history: .all))
        #expect(try again.everything() == [bytes("key-1"): [5]])
    }

    @Test("WIPE overwrites: no byte of the namespace's values is left on the disk")
    func wipe() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, compactingOptions(history: .all))
        var now = start
        let secret = try engine.createNamespace(bytes("secret"), NamespaceSettings(), time: 1)
        let mark = bytes("THIS-MUST-NOT-STAY")
        for number in 0..<200 {
            try engine.set(bytes("k\(number)"), mark + [UInt8](repeating: 1, count: 150), namespace: secret)
            if number % 10 == 0 { try engine.set(bytes("k\(number)"), [2]) }
            try engine.commit(sync: true)
        }
        try engine.removeNamespace(secret, wipes: true, time: now)
        #expect(engine.compactionInformation().wipesPending == 1)
        try engine.compactAll(now: &now, requested: false)
        #expect(engine.compactionInformation().wipesPending == 0)
        #expect(engine.compactionInformation().statistics.overwrittenBytes > 30_000)
        #expect(!disk.holdsAnywhere(mark))
        #expect(try engine.everything().count == 20)
        var again = try LogEngine.open(disk, compactingOptions(history: .all))
        #expect(try again.everything().count == 20)
    }

    @Test("A crash in the middle of a WIPE: the next start goes on with it")
    func wipeAfterCrash() throws {
        for operation in stride(from: 1, to: 60, by: 3) {
            let disk = SimulatedDisk()
            var random = SeededRandom(seed: UInt64(operation))
            var engine = try LogEngine.open(disk, compactingOptions(history: .all))
            var now = start
            let secret = try engine.createNamespace(bytes("secret"), NamespaceSettings(), time: 1)
            let mark = bytes("THIS-MUST-NOT-STAY")
            for number in 0..<100 {
                try engine.set(bytes("k\(number)"), mark + [UInt8](repeating: 1, count: 150), namespace: secret)
                if number % 10 == 0 { try engine.set(bytes("k\(number)"), [2]) }
            }
            try engine.removeNamespace(secret, wipes: true, time: now)
            disk.operationsBeforeCrash = operation
            try engine.compactAll(now: &now, requested: false)
            disk.crash(&random)
            disk.restart()
            var again = try LogEngine.open(disk, compactingOptions(history: .all))
            try again.compactAll(now: &now, requested: false)
            #expect(again.compactionInformation().wipesPending == 0)
            #expect(!disk.holdsAnywhere(mark), "operation \(operation)")
            #expect(try again.everything().count == 10)
        }
    }

    @Test("Ordered and sequential namespaces are compacted as well", arguments: [NamespaceMode.ordered, 2])
    func modes(mode: UInt8) throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, compactingOptions())
        var now = start
        var settings = NamespaceSettings()
        (settings.mode, settings.history) = (mode, .none)
        let id = try engine.createNamespace(bytes("other"), settings, time: 1)
        var model: [[UInt8]: [UInt8]] = [:]
        var random = SeededRandom(seed: 3)
        for number in 0..<30 {
            let value = random.bytes(200)
            if mode == NamespaceMode.sequential {
                var made: UInt64 = 0
                try value.withUnsafeBytes { made = try engine.add(id, $0, time: now).id }
                model[(0..<8).map { UInt8(truncatingIfNeeded: made >> (8 * $0)) }] = value
            } else {
                model[bytes("key-\(number)")] = value
                try engine.set(bytes("key-\(number)"), value, namespace: id)
            }
        }
        let keys = model.keys.sorted { $0.lexicographicallyPrecedes($1) }
        for round in 0..<8 {
            for key in keys where model[key] != nil && random.chance(70) {
                model[key] = random.bytes(200)
                try engine.set(key, model[key] ?? [], namespace: id)
            }
            try engine.delete(keys[round * 3], namespace: id)
            model[keys[round * 3]] = nil
            try engine.commit(sync: true)
            if round == 4 { try engine.compactAll(now: &now) }
            #expect(engine.checkAccounts() == nil)
        }
        try engine.compactAll(now: &now)
        #expect(engine.checkAccounts() == nil)
        #expect(engine.compactionInformation().statistics.failures == 0)
        #expect(engine.compactionInformation().deadBytes < 200)
        for key in keys { #expect(try engine.get(key, namespace: id) == model[key]) }
        try engine.close(time: now)
        var again = try LogEngine.open(disk, compactingOptions())
        #expect(again.report.damageCount == 0 && again.report.rebuiltTables == 0)
        #expect(again.checkAccounts() == nil)
        for key in keys { #expect(try again.get(key, namespace: id) == model[key]) }
        #expect(again.information(id)?.entries == UInt64(model.count))
        try again.flush(id, time: now)
        try again.compactAll(now: &now)
        #expect(again.checkAccounts() == nil)
        #expect(again.information(id)?.entries == 0)
        try again.removeNamespace(id, time: now)
        try again.compactAll(now: &now)
        #expect(again.checkAccounts() == nil)
        #expect(again.records().filter { $0.namespace == id && $0.type == RecordType.value }.isEmpty)
    }
}
