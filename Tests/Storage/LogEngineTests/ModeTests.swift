import Simulation
import Testing

@testable import LogEngine

/// Ordered and sequential namespaces against a dictionary, with crashes at every kind of moment.
@Suite("Log engine: ordered and sequential namespaces")
struct ModeTests {
    typealias State = [[UInt8]: [UInt8]]
    typealias Step = ModelTests.Step

    /// What is durable, the steps since, and what is there with them.
    struct Model {
        private(set) var durable: State = [:]
        private(set) var since: [Step] = []
        private(set) var current: State = [:]

        mutating func append(_ changes: [(key: [UInt8], value: [UInt8]?)]) {
            since.append(Step(changes: changes))
            ModelTests.Model.apply(Step(changes: changes), &current)
        }

        func allows(_ found: State) -> Bool {
            var state = durable
            if state == found { return true }
            for step in since {
                ModelTests.Model.apply(step, &state)
                if state == found { return true }
            }
            return false
        }

        mutating func begin(_ found: State) { (durable, since, current) = (found, [], found) }
        mutating func settle() { (durable, since) = (current, []) }
    }

    static func options(_ random: inout SeededRandom) -> LogOptions {
        var options = smallOptions(
            16384 + 4096 * random.below(5), policy: random.chance(60) ? .always : .none)
        options.tablePages = 4
        return options
    }

    static func open(_ disk: SimulatedDisk, _ options: LogOptions, _ mode: UInt8) throws(LogError) -> LogEngine {
        var engine = try LogEngine.open(disk, options)
        if engine.namespace(named: bytes("mode")) == nil {
            var settings = NamespaceSettings()
            settings.mode = mode
            _ = try engine.createNamespace(bytes("mode"), settings, time: 1)
        }
        return engine
    }

    @Test("Whatever crashes, acknowledged writes are there in order and nothing else is", arguments: 0..<8)
    func crashes(group: Int) {
        for number in 0..<30 {
            let seed = ProcessInfo.seed + UInt64(group * 30 + number)
            do {
                if number % 2 == 0 { try ordered(seed: seed) } else { try sequential(seed: seed) }
            } catch { Issue.record("seed \(seed): \(error)") }
        }
    }

    /// Opens again and again, works, crashes; `work` and `check` are of the mode.
    func run(
        seed: UInt64, mode: UInt8, work: (inout LogEngine, inout Model, inout SeededRandom) throws(LogError) -> Void,
        read: (inout LogEngine) throws(LogError) -> State
    ) throws {
        var random = SeededRandom(seed: seed)
        let disk = SimulatedDisk(sectorBytes: random.chance(50) ? 512 : 64)
        let options = Self.options(&random)
        var model = Model()
        for _ in 0..<(2 + random.below(4)) {
            if random.chance(80) { disk.operationsBeforeCrash = 1 + random.below(80) }
            do {
                var engine = try Self.open(disk, options, mode)
                let found = try read(&engine)
                #expect(model.allows(found), "seed \(seed): a state that never was")
                guard model.allows(found) else { return }
                #expect(engine.report.damageCount == 0, "seed \(seed): damage where there is none")
                model.begin(found)
                for _ in 0..<random.below(40) {
                    for _ in 0..<(1 + random.below(6)) { try work(&engine, &model, &random) }
                    let sync = options.policy == .always || random.chance(5)
                    try engine.commit(sync: sync)
                    if sync { model.settle() }
                    if random.chance(10) { _ = engine.maintain(now: 1, budget: 4096 * (1 + random.below(3))) }
                    if random.chance(5) { try engine.checkpointTables() }
                }
                let all = try read(&engine)
                #expect(all == model.current, "seed \(seed): the index differs")
                try Self.counted(&engine, model.current, seed)
                if random.chance(30) {
                    try engine.close(time: 9)
                    model.settle()
                    if random.chance(70) { engine.writeCheckpoint() }
                }
            } catch LogError.disk(.crashed) {}
            random.chance(70) ? disk.crash(&random) : disk.kill()
            disk.restart()
            // What is derived may vanish.
            if mode == NamespaceMode.sequential, random.chance(10) { try? disk.remove(SequentialTable.name(2)) }
        }
        var engine = try Self.open(disk, options, mode)
        let last = try read(&engine)
        #expect(model.allows(last), "seed \(seed): the last state never was")
        try Self.counted(&engine, last, seed)
    }

    static func counted(_ engine: inout LogEngine, _ state: State, _ seed: UInt64) throws(LogError) {
        let info = engine.information(2)
        #expect(info?.entries ?? 0 == UInt64(state.count), "seed \(seed): entries")
        let bytes = state.reduce(0) { $0 + $1.key.count + $1.value.count }
        #expect(info?.liveBytes ?? 0 == UInt64(bytes), "seed \(seed): bytes")
    }

    // MARK: Ordered

    func ordered(seed: UInt64) throws {
        try run(
            seed: seed, mode: NamespaceMode.ordered,
            work: { (engine, model, random) throws(LogError) in
                let key = OrderedIndexTests.key(&random, random.chance(70) ? 0 : 3)
                let value = random.bytes(random.below(200))
                switch random.below(8) {
                case 0, 1:
                    let victim = random.chance(60) ? Self.someKey(model, &random) ?? key : key
                    try Self.delete(&engine, &model, victim, seed)
                case 2: try Self.batch(&engine, &model, &random)
                default:
                    model.append([(key, value)])
                    try engine.set(key, value, namespace: 2)
                }
            },
            read: { (engine) throws(LogError) in try Self.scanned(&engine, seed) })
    }

    static func someKey(_ model: Model, _ random: inout SeededRandom) -> [UInt8]? {
        model.since.isEmpty ? nil : model.since[random.below(model.since.count)].changes.first?.key
    }

    static func delete(
        _ engine: inout LogEngine, _ model: inout Model, _ key: [UInt8], _ seed: UInt64
    ) throws(LogError) {
        if model.current[key] != nil {
            model.append([(key, nil)])
            try engine.delete(key, namespace: 2)
        } else {
            do throws(LogError) {
                try engine.delete(key, namespace: 2)
                Issue.record("seed \(seed): an absent key was ended")
            } catch .absent {}
        }
    }

    /// Some writes that happen together, or are taken back.
    static func batch(
        _ engine: inout LogEngine, _ model: inout Model, _ random: inout SeededRandom
    ) throws(LogError) {
        let items = (0..<(1 + random.below(5))).map { _ in (OrderedIndexTests.key(&random, 0), random.bytes(20)) }
        let isAborted = random.chance(40)
        if !isAborted { model.append(items.map { ($0.0, $0.1) }) }
        let size = items.reduce(0) { $0 + $1.0.count + $1.1.count }
        try engine.openBatch(2, count: items.count, bytes: size, time: 1)
        for item in items { try engine.set(item.0, item.1, namespace: 2) }
        if isAborted { engine.abortBatch() } else { engine.closeBatch() }
    }

    /// Everything forward and backward, in pages, with their order checked.
    static func scanned(_ engine: inout LogEngine, _ seed: UInt64) throws(LogError) -> State {
        var state: State = [:]
        var keys: [[UInt8]] = []
        for isReverse in [false, true] {
            var range = KeyRange()
            range.isReverse = isReverse
            var page = KeyPage()
            var found: [[UInt8]] = []
            repeat {
                try engine.keys(2, in: range, limit: 7, visits: 11, into: &page)
                for index in page.entries.indices { found.append(Array(page.key(index))) }
                range.after = page.last
            } while !page.isEnd
            if isReverse { #expect(found.reversed() == keys, "seed \(seed): backwards differs") } else { keys = found }
        }
        #expect(keys == keys.sorted { $0.lexicographicallyPrecedes($1) }, "seed \(seed): not in order")
        for key in keys { state[key] = try engine.get(key, namespace: 2) }
        #expect(state.count == keys.count, "seed \(seed): a key twice")
        return state
    }

    // MARK: Sequential

    static func key(_ id: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) } }

    func sequential(seed: UInt64) throws {
        // The highest id that was durable: none up to it may be given again.
        var given: UInt64 = 0
        try run(
            seed: seed, mode: NamespaceMode.sequential,
            work: { (engine, model, random) throws(LogError) in
                let value = random.bytes(random.below(60))
                let next = engine.namespaces[2]?.pointee.table?.nextId ?? 0
                let known = Self.key(UInt64(random.below(Int(next) + 2)))
                switch random.below(8) {
                case 0:
                    try Self.delete(&engine, &model, known, seed)
                case 1, 2:
                    if model.current[known] != nil {
                        model.append([(known, value)])
                        try engine.set(known, value, namespace: 2)
                    } else {
                        do throws(LogError) {
                            try engine.set(known, value, namespace: 2)
                            Issue.record("seed \(seed): an id of nobody was set")
                        } catch .unknownId {}
                    }
                default:
                    for _ in 0..<(1 + random.below(100)) {
                        let expected = engine.namespaces[2]?.pointee.table?.nextId ?? 0
                        model.append([(Self.key(expected), value)])
                        let id = try Self.add(&engine, value)
                        #expect(id == expected && id >= given, "seed \(seed): id \(id)")
                    }
                }
            },
            read: { (engine) throws(LogError) in
                given = 0
                var state: State = [:]
                var found: [Entry] = []
                var next: UInt64? = 0
                while let from = next {
                    next = try engine.ids(2, from: from, isReverse: false, count: 9, into: &found)
                    for entry in found {
                        var name = [UInt8](repeating: 0, count: 256)
                        var failure: LogError?
                        name.withUnsafeMutableBytes { bytes in
                            guard let base = bytes.baseAddress else { return }
                            do throws(LogError) { try engine.readKey(entry, 2, into: base) } catch { failure = error }
                        }
                        if let failure { throw failure }
                        let key = Array(name.prefix(8))
                        #expect(state[key] == nil, "seed \(seed): an id twice")
                        state[key] = try engine.get(key, namespace: 2)
                    }
                }
                return state
            })
    }

    static func add(_ engine: inout LogEngine, _ value: [UInt8]) throws(LogError) -> UInt64 {
        var result: Result<UInt64, LogError> = .failure(.absent)
        value.withUnsafeBytes { value in
            do throws(LogError) { result = .success(try engine.add(2, value, time: 7).id) } catch {
                result = .failure(error)
            }
        }
        return try result.get()
    }

    @Test("Ids that a refused write would have skipped are given")
    func skipped() throws {
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.sequential
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        _ = try engine.createNamespace(bytes("ids"), settings, time: 1)
        #expect(try Self.add(&engine, [1]) == 0)
        try engine.openBatch(2, count: 1, bytes: 64, time: 2)
        Self.key(500).withUnsafeBytes { key in
            _ = try? engine.restore(2, key, key, time: 3)
        }
        engine.abortBatch()
        #expect(try Self.add(&engine, [2]) == 1)
    }

    @Test("A device on a full disk is opened although a table has no room there")
    func fullTable() throws {
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.sequential
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        _ = try engine.createNamespace(bytes("ids"), settings, time: 1)
        for number in 0..<200 { #expect(try Self.add(&engine, [UInt8(number)]) == number) }
        try engine.close(time: 2)
        try disk.remove(SequentialTable.name(2))
        disk.capacity = disk.used
        engine = try LogEngine.open(disk)
        for number in 0..<200 { #expect(try engine.get(Self.key(UInt64(number)), namespace: 2) == [UInt8(number)]) }
        disk.capacity = .max
        #expect(try Self.add(&engine, [1]) == 200)
        try engine.close(time: 3)
        engine = try LogEngine.open(disk)
        #expect(engine.report.rebuiltTables == 0)
        #expect(try engine.get(Self.key(200), namespace: 2) == [1])
    }

    @Test("A table made anew from a damaged segment: what is missing is reported, although an index knew its key")
    func rebuiltFromDamage() throws {
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.sequential
        let disk = SimulatedDisk()
        let options = smallOptions(16384)
        var engine = try LogEngine.open(disk, options)
        _ = try engine.createNamespace(bytes("ids"), settings, time: 1)
        #expect(try Self.add(&engine, [1]) == 0)
        try engine.set(Self.key(0), [2], namespace: 2)
        let place = engine.endOfLog
        for number in 1..<200 { #expect(try Self.add(&engine, [UInt8](repeating: 1, count: 100)) == number) }
        #expect(engine.segmentCount > 2)
        try engine.close(time: 2)
        // The head of the second version: it ends where the third record begins.
        disk.wipe(LogEngine.fileName(segment: 1), Int(place.offset) - 80..<Int(place.offset))
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.damageCount == 0)
        #expect(throws: LogError.corrupt(segment: 1, offset: place.offset - 80)) {
            try engine.get(Self.key(0), namespace: 2)
        }
        try engine.close(time: 3)
        try disk.remove(SequentialTable.name(2))
        engine = try LogEngine.open(disk, options)
        // Either the key is known to be damaged, or it is said that something of its segment is missing.
        do {
            _ = try engine.get(Self.key(0), namespace: 2)
            #expect(engine.report.damages.map(\.offset) == [place.offset - 80])
        } catch LogError.corrupt {}
    }

    @Test("A page that is lost as a whole is missed, although a record behind the checkpoint was put in it again")
    func lostPage() throws {
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.sequential
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        _ = try engine.createNamespace(bytes("ids"), settings, time: 1)
        for number in 0..<3 { #expect(try Self.add(&engine, [UInt8(number)]) == number) }
        try engine.close(time: 2)
        engine = try LogEngine.open(disk)
        #expect(try Self.add(&engine, [3]) == 3)
        try engine.commit(sync: true)
        disk.kill()
        disk.restart()
        disk.wipe(SequentialTable.name(2), 4096..<8192)
        engine = try LogEngine.open(disk)
        for number in 0..<4 { #expect(try engine.get(Self.key(UInt64(number)), namespace: 2) == [UInt8(number)]) }
    }

    @Test("A table that was damaged, cut or exchanged is made anew from the log", arguments: 0..<4)
    func rebuilt(kind: Int) throws {
        let disk = SimulatedDisk()
        var options = smallOptions()
        options.tablePages = 4
        var engine = try Self.open(disk, options, NamespaceMode.sequential)
        for number in 0..<2000 { _ = try Self.add(&engine, bytes("value \(number)")) }
        try engine.delete(Self.key(5), namespace: 2)
        try engine.close(time: 1)
        #expect(engine.tables.memoryBytes == 4 * 4096)
        let name = SequentialTable.name(2)
        switch kind {
        case 0: disk.flip(name, at: 3 * 4096 + 100, mask: 4)
        case 1: disk.wipe(name, 2 * 4096..<3 * 4096)
        case 2: try disk.truncate(try disk.open(name, create: false), length: 6 * 4096)
        default: try disk.remove(name)
        }
        var again = try Self.open(disk, options, NamespaceMode.sequential)
        #expect(again.report.rebuiltTables == (kind == 3 ? 0 : 1))
        for number in 0..<2000 where number != 5 {
            #expect(try again.get(Self.key(UInt64(number)), namespace: 2) == bytes("value \(number)"))
        }
        #expect(try again.get(Self.key(5), namespace: 2) == nil)
        #expect(again.information(2)?.entries == 1999)
        #expect(try Self.add(&again, [1]) == 2000)
    }

    @Test("After a stop in order a start puts nothing again; a namespace that ends takes its table along")
    func checkpoint() throws {
        let disk = SimulatedDisk()
        var engine = try Self.open(disk, smallOptions(), NamespaceMode.sequential)
        for number in 0..<500 { _ = try Self.add(&engine, bytes("value \(number)")) }
        try engine.close(time: 1)
        var again = try Self.open(disk, smallOptions(), NamespaceMode.sequential)
        #expect(again.tables.dirtyCount == 0)
        #expect(again.namespaces[2]?.pointee.table?.checkpoint.nextId == 500)
        try again.removeNamespace(2, time: 1)
        #expect(try !disk.list().contains(SequentialTable.name(2)))
        _ = try LogEngine.open(disk)
    }

    @Test("A mode is chosen while the namespace is fresh, and is kept")
    func modes() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        var settings = NamespaceSettings()
        settings.mode = NamespaceMode.ordered
        try engine.changeNamespace(1, settings, time: 1)
        try engine.set(bytes("b"), [2])
        try engine.set(bytes("a"), [1])
        try engine.commit(sync: true)
        settings.mode = NamespaceMode.user
        #expect(throws: LogError.modeFixed) { try engine.changeNamespace(1, settings, time: 1) }
        settings.mode = NamespaceMode.ordered
        settings.maxSize = 4
        try engine.changeNamespace(1, settings, time: 1)
        #expect(throws: LogError.quota) { try engine.set(bytes("c"), [3]) }
        var again = try LogEngine.open(disk)
        var page = KeyPage()
        try again.keys(1, in: KeyRange(prefix: bytes("a")), limit: 9, visits: 9, into: &page)
        #expect(page.entries.count == 1 && page.isEnd && Array(page.key(0)) == bytes("a"))
        var found: [Entry] = []
        #expect(throws: LogError.notOrdered) { try again.scan(1, from: 0, count: 1, into: &found) }
    }
}
