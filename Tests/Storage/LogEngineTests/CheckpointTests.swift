import Simulation
import Testing

@testable import LogEngine

/// The checkpoint of the index: with it a start finds what it finds without it, and whatever is wrong with it costs time
/// only.
@Suite("Log engine: checkpoint")
struct CheckpointTests {
    /// All that can be asked of a device.
    struct Contents: Equatable {
        var names: [[UInt8]] = []
        var values: [[[UInt8]: [UInt8]]] = []
        var order: [[[UInt8]]] = []
        var counters: [[UInt64]] = []
        var next: UInt64 = 0
        /// What slots name of each segment, and what namespaces use of it.
        var space: [[UInt64]] = []
    }

    static let name = CheckpointHeader.name

    static func contents(_ engine: inout LogEngine) throws(LogError) -> Contents {
        var found = Contents()
        found.names = engine.namespaceNames
        found.next = engine.nextSequence
        #expect(engine.checkAccounts() == nil)
        for position in engine.order {
            let use = engine.segments[position].use
            found.space.append([engine.segments[position].number, use.live, use.dead])
            for (id, bytes) in use.usage.sorted(by: { $0.key < $1.key }) { found.space.append([UInt64(id), bytes]) }
        }
        for name in found.names {
            guard let id = engine.namespace(named: name), let told = engine.information(id) else { continue }
            found.counters.append([
                UInt64(id), told.entries, told.liveBytes, told.fence, told.settings.maxSize, UInt64(told.slots),
                told.space.history,
                told.space.overhead,
            ])
            if engine.isOrdered(id) {
                let keys = try Self.keys(&engine, id)
                found.order.append(keys)
                var values: [[UInt8]: [UInt8]] = [:]
                for key in keys { values[key] = try engine.get(key, namespace: id) }
                found.values.append(values)
            } else {
                found.values.append(try engine.everything(id))
            }
        }
        return found
    }

    static func keys(_ engine: inout LogEngine, _ id: UInt32) throws(LogError) -> [[UInt8]] {
        var page = KeyPage()
        var range = KeyRange()
        var keys: [[UInt8]] = []
        repeat {
            try engine.keys(id, in: range, limit: 50, visits: 1000, into: &page)
            for index in page.entries.indices { keys.append(Array(page.key(index))) }
            range.after = page.last
        } while !page.isEnd
        return keys
    }

    /// Three namespaces, one of each mode, some thousand writes of all kinds.
    static func fill(_ engine: inout LogEngine, _ random: inout SeededRandom, writes: Int) throws(LogError) {
        for (name, mode) in [("counted", NamespaceMode.sequential), ("sorted", NamespaceMode.ordered)]
        where engine.namespace(named: bytes(name)) == nil {
            var settings = NamespaceSettings()
            (settings.mode, settings.maxSize) = (mode, 1 << 30)
            _ = try engine.createNamespace(bytes(name), settings, time: 1)
        }
        guard let counted = engine.namespace(named: bytes("counted")),
            let sorted = engine.namespace(named: bytes("sorted"))
        else { throw .absent }
        for number in 0..<writes {
            let key = bytes("key \(random.below(writes / 2 + 1))")
            switch random.below(10) {
            case 0..<4: try engine.set(key, random.bytes(random.below(200)))
            case 4: do { try engine.delete(key) } catch { if error != .absent { throw error } }
            case 5..<8: try engine.set(key, random.bytes(random.below(100)), namespace: sorted)
            case 8: do { try engine.delete(key, namespace: sorted) } catch { if error != .absent { throw error } }
            default:
                var failure: LogError?
                let value = random.bytes(30)
                value.withUnsafeBytes { value in
                    do throws(LogError) { _ = try engine.add(counted, value, time: 7) } catch { failure = error }
                }
                if let failure { throw failure }
            }
            if number % 50 == 0 { try engine.commit(sync: true) }
        }
        let name = bytes("fenced-\(engine.namespaceNames.count)")
        try engine.fence(engine.createNamespace(name, NamespaceSettings(), time: 8), epoch: 7, time: 9)
        try engine.commit(sync: true)
    }

    /// The same device without its checkpoint.
    static func without(_ disk: SimulatedDisk, _ options: LogOptions) throws -> Contents {
        try? disk.remove(name)
        var engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence == 0)
        return try contents(&engine)
    }

    @Test("A start finds the same with it and without it, whatever was written", arguments: 0..<12)
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = SimulatedDisk()
        let options = smallOptions(16384 + 8192 * random.below(5), policy: random.chance(50) ? .always : .none)
        var expected = Contents()
        for round in 0..<4 {
            var engine = try LogEngine.open(disk, options)
            if round > 0 {
                #expect(engine.report.checkpointSequence + 1 == engine.nextSequence && engine.report.wasClosed)
                #expect(try Self.contents(&engine) == expected)
            }
            try Self.fill(&engine, &random, writes: 100 + random.below(2000))
            try engine.close(time: 10)
            #expect(engine.writeCheckpoint() == UInt64(disk.bytes(of: Self.name).count))
            expected = try Self.contents(&engine)
        }
        var engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence + 1 == engine.nextSequence)
        #expect(try Self.contents(&engine) == expected)
        #expect(try Self.without(disk, options) == expected)
    }

    @Test("Behind a checkpoint the log goes on: only what is new is read", arguments: 0..<12)
    func tail(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = SimulatedDisk()
        let options = smallOptions(16384)
        var engine = try LogEngine.open(disk, options)
        try Self.fill(&engine, &random, writes: 1500)
        try engine.close(time: 10)
        #expect(engine.writeCheckpoint() > 0)
        let known = engine.nextSequence - 1
        engine = try LogEngine.open(disk, options)
        try Self.fill(&engine, &random, writes: random.below(1000))
        let expected = try Self.contents(&engine)
        disk.kill()
        disk.restart()
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence == known)
        #expect(try Self.contents(&engine) == expected)
        // It may go on for as long as it likes, and be killed again.
        try Self.fill(&engine, &random, writes: 300)
        let later = try Self.contents(&engine)
        disk.kill()
        disk.restart()
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence == known)
        #expect(try Self.contents(&engine) == later)
        #expect(try Self.without(disk, options) == later)
    }

    @Test("Segments that were compacted stand elsewhere in the next process; so do the keys", arguments: 0..<6)
    func compacted(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var now: UInt64 = 1_700_000_000_000_000_000
        let disk = SimulatedDisk()
        let options = compactingOptions(16384)
        var engine = try LogEngine.open(disk, options)
        try Self.fill(&engine, &random, writes: 1500)
        try engine.compactAll(now: &now)
        try Self.fill(&engine, &random, writes: 700)
        #expect(engine.order != Array(engine.segments.indices))
        try engine.close(time: now)
        #expect(engine.writeCheckpoint() == UInt64(disk.bytes(of: Self.name).count))
        var expected = try Self.contents(&engine)
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence + 1 == engine.nextSequence)
        #expect(try Self.contents(&engine) == expected)
        // Behind another compaction it is of no use any more.
        try Self.fill(&engine, &random, writes: 200)
        try engine.compactAll(now: &now)
        expected = try Self.contents(&engine)
        disk.kill()
        disk.restart()
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence == 0)
        #expect(try Self.contents(&engine).values == expected.values)
        #expect(try !disk.list().contains(Self.name))
    }

    /// A device with few keys, stopped in order, with a checkpoint.
    static func small(_ options: LogOptions) throws -> (disk: SimulatedDisk, expected: Contents) {
        let disk = SimulatedDisk()
        var random = SeededRandom(seed: 1)
        var engine = try LogEngine.open(disk, options)
        try fill(&engine, &random, writes: 30)
        try engine.close(time: 10)
        #expect(engine.writeCheckpoint() > 0)
        return (disk, try contents(&engine))
    }

    @Test("Any byte of it may change: the start does without it, and removes it")
    func damage() throws {
        let options = smallOptions()
        let (disk, expected) = try Self.small(options)
        let length = disk.bytes(of: Self.name).count
        #expect(length > 8000)
        var random = SeededRandom(seed: 5)
        let whole = disk.bytes(of: Self.name)
        for at in 0..<length {
            disk.flip(Self.name, at: at, mask: UInt8(1 << random.below(8)))
            var engine = try LogEngine.open(disk, options)
            #expect(engine.report.checkpointSequence == 0, "byte \(at)")
            if at % 16 == 0 || at > 4096 { #expect(try Self.contents(&engine) == expected, "byte \(at)") }
            #expect(try !disk.list().contains(Self.name))
            let file = try disk.open(Self.name, create: true)
            try disk.write(file, at: 0, whole.span.bytes)
            disk.close(file)
        }
        #expect(try LogEngine.open(disk, options).report.checkpointSequence > 0)
    }

    @Test("A torn one, a longer one and one of another device are not used")
    func torn() throws {
        let options = smallOptions()
        let (disk, expected) = try Self.small(options)
        let whole = disk.bytes(of: Self.name)
        func put(_ bytes: [UInt8]) throws {
            try? disk.remove(Self.name)
            let file = try disk.open(Self.name, create: true)
            if !bytes.isEmpty { try disk.write(file, at: 0, bytes.span.bytes) }
            disk.close(file)
        }
        var other = options
        other.fresh.0 += 1
        let (foreign, _) = try Self.small(other)
        let rest = [UInt8](repeating: 0, count: whole.count - 4096)
        for bytes in [
            [], Array(whole.prefix(4096)), Array(whole.dropLast()), whole + [0], Array(whole.prefix(4096)) + rest,
            foreign.bytes(of: Self.name),
        ] {
            try put(bytes)
            var engine = try LogEngine.open(disk, options)
            #expect(engine.report.checkpointSequence == 0)
            #expect(try Self.contents(&engine) == expected)
        }
        try put(whole)
        #expect(try LogEngine.open(disk, options).report.checkpointSequence > 0)
    }

    @Test("One that knows what the log does not have any more is not used")
    func ahead() throws {
        let options = smallOptions()
        let (disk, _) = try Self.small(options)
        let stale = disk.bytes(of: Self.name)
        let last = try #require(disk.list().last { $0.hasSuffix(".segment") })
        let file = try disk.open(last, create: false)
        try disk.truncate(file, length: UInt64(disk.bytes(of: last).count - 72))
        let engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence == 0 && engine.nextSequence > 20 && !stale.isEmpty)
    }

    @Test("Power may fail at any moment of writing it; nothing is lost")
    func crashes() throws {
        let options = smallOptions()
        var steps = 1
        while true {
            let disk = SimulatedDisk(sectorBytes: 64)
            var random = SeededRandom(seed: UInt64(steps))
            var engine = try LogEngine.open(disk, options)
            try Self.fill(&engine, &random, writes: 40)
            try engine.close(time: 10)
            let expected = try Self.contents(&engine)
            disk.operationsBeforeCrash = steps
            engine.writeCheckpoint()
            let wasCut = disk.isCrashed
            disk.crash(&random)
            disk.restart()
            engine = try LogEngine.open(disk, options)
            #expect(try Self.contents(&engine) == expected && engine.report.wasClosed)
            if !wasCut { break }
            steps += 1
        }
        #expect(steps > 3)
    }

    @Test("Without space there is none, and a write that lacks space gets what it takes")
    func space() throws {
        var options = smallOptions()
        options.scannedBytes = 0
        let disk = SimulatedDisk()
        var random = SeededRandom(seed: 3)
        var engine = try LogEngine.open(disk, options)
        try Self.fill(&engine, &random, writes: 300)
        try engine.close(time: 10)
        disk.capacity = disk.used + 5000
        #expect(engine.writeCheckpoint() == 0)
        #expect(try !disk.list().contains(Self.name))
        disk.capacity = .max
        let bytes = engine.writeCheckpoint()
        #expect(bytes > 10000)
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence > 0)
        // An eighth of a small disk is compaction's; of the rest the write lacks some, which the checkpoint has.
        disk.capacity = (disk.used + 500) * 8 / 7
        try engine.set(bytes0, [UInt8](repeating: 1, count: 1000))
        try engine.commit(sync: true)
        #expect(try !disk.list().contains(Self.name))
        let expected = try Self.contents(&engine)
        disk.kill()
        disk.restart()
        engine = try LogEngine.open(disk, options)
        #expect(try Self.contents(&engine) == expected)
    }

    private let bytes0 = Array("large".utf8)

    @Test("Known damage is looked for at every start, so it gets none")
    func damaged() throws {
        let options = smallOptions(16384)
        let disk = SimulatedDisk()
        var random = SeededRandom(seed: 4)
        var engine = try LogEngine.open(disk, options)
        try Self.fill(&engine, &random, writes: 500)
        try engine.close(time: 10)
        let first = try #require(disk.list().first { $0.hasSuffix(".segment") })
        disk.wipe(first, 6000..<6300)
        for name in try disk.list() where name.hasSuffix(".index") { try disk.remove(name) }
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.damageCount > 0)
        try engine.set(bytes("new"), bytes("value"))
        try engine.close(time: 11)
        #expect(engine.writeCheckpoint() == 0)
    }

    @Test("Nothing new, nothing written")
    func unchanged() throws {
        let options = smallOptions()
        let (disk, _) = try Self.small(options)
        var engine = try LogEngine.open(disk, options)
        try engine.close(time: 11)
        let before = disk.operations
        #expect(engine.writeCheckpoint() == 0 && disk.operations == before)
        #expect(try LogEngine.open(disk, options).report.checkpointSequence > 0)
    }

    @Test("Large indexes too: tables of all sizes, trees of several levels")
    func large() throws {
        let disk = SimulatedDisk()
        var options = LogOptions()
        options.fresh = (1, 2, 3)
        var engine = try LogEngine.open(disk, options)
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.ordered
        let sorted = try engine.createNamespace(bytes("sorted"), settings, time: 1)
        for number in 0..<60_000 {
            try engine.set(bytes("\(number &* 2_654_435_761)"), [1])
            if number % 3 == 0 { try engine.set(bytes("\(number &* 40_503)"), [2], namespace: sorted) }
            if number % 1000 == 0 { try engine.commit(sync: false) }
        }
        try engine.close(time: 10)
        #expect(engine.writeCheckpoint() > 60_000 * 32)
        let expected = try Self.contents(&engine)
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence > 60_000)
        #expect(try Self.contents(&engine) == expected)
        // And they are as good as others: they grow, shrink and are written again.
        for number in 60_000..<80_000 {
            try engine.set(bytes("\(number &* 2_654_435_761)"), [1])
            try engine.set(bytes("\(number &* 40_503)"), [2], namespace: sorted)
        }
        try engine.close(time: 11)
        #expect(engine.writeCheckpoint() > 0)
        let later = try Self.contents(&engine)
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.checkpointSequence > 80_000)
        #expect(try Self.contents(&engine) == later)
    }
}
