import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: index files")
struct IndexFileTests {
    /// All that can be seen of an engine.
    struct Face: Equatable {
        var keys: [[UInt8]: [[UInt8]: [UInt8]]] = [:]
        var fences: [[UInt8]: UInt64] = [:]
        var counts: [[UInt8]: [UInt64]] = [:]
        var sequences: [UInt64] = []
        var next: UInt64
        var time: UInt64
        var wasClosed: Bool
        var records: UInt64
    }

    private func options(_ segmentBytes: Int = 16384, policy: SyncPolicy = .always) -> LogOptions {
        var options = smallOptions(segmentBytes, policy: policy)
        options.scannedBytes = 0
        return options
    }

    private func face(_ engine: inout LogEngine) throws -> Face {
        var face = Face(
            next: engine.nextSequence, time: engine.lastTime, wasClosed: engine.report.wasClosed,
            records: engine.report.records)
        for name in engine.namespaceNames {
            let id = engine.namespace(named: name) ?? 0
            guard let info = engine.information(id) else { continue }
            face.keys[name] = try keys(&engine, id)
            face.fences[name] = info.fence
            face.counts[name] = [info.entries, info.liveBytes, UInt64(info.slots), info.settings.maxSize]
            for number in 0..<30 {
                let key = bytes("key-\(number)")
                face.sequences.append(try key.withUnsafeBytes { try engine.version(id, $0) })
            }
        }
        return face
    }

    private func keys(_ engine: inout LogEngine, _ id: UInt32) throws -> [[UInt8]: [UInt8]] {
        if !engine.isOrdered(id), !engine.isSequential(id) { return try engine.everything(id) }
        var result: [[UInt8]: [UInt8]] = [:]
        for number in 0..<UInt64(100) {
            let key =
                engine.isOrdered(id)
                ? bytes("key-\(number)") : (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
            result[key] = try engine.get(key, namespace: id)
        }
        return result
    }

    /// Random writes over a few processes, with namespaces, fences, flushes, ends, batches and deletions.
    private func history(_ random: inout SeededRandom, _ disk: SimulatedDisk, closes: Bool) throws {
        let policy: SyncPolicy = random.chance(50) ? .always : .none
        for process in 0..<(1 + random.below(3)) {
            var engine = try LogEngine.open(disk, options(policy: policy))
            for step in 0..<(40 + random.below(300)) {
                let names = engine.namespaceNames
                let id = engine.namespace(named: names[random.below(names.count)]) ?? 1
                let key = bytes("key-\(random.below(30))")
                switch random.below(60) {
                case 0:
                    var settings = NamespaceSettings()
                    settings.mode =
                        [NamespaceMode.user, NamespaceMode.ordered, NamespaceMode.sequential][random.below(3)]
                    _ = try engine.createNamespace(bytes("n-\(process)-\(step)"), settings, time: 7)
                case _ where engine.isSequential(id):
                    let epoch = engine.information(id)?.fence ?? 0
                    let value = random.bytes(random.below(100))
                    try add(&engine, id, value, epoch)
                case 1 where id != 1: try engine.removeNamespace(id, time: 8)
                case 2: try engine.fence(id, epoch: (engine.information(id)?.fence ?? 0) + 1, time: 9)
                case 3:
                    var settings = engine.information(id)?.settings ?? NamespaceSettings()
                    settings.maxSize = UInt64(1_000_000 + step)
                    try engine.changeNamespace(id, settings, time: 10)
                case 4: try engine.mark(time: 11)
                case 5...14:
                    do { try engine.delete(key, namespace: id) } catch LogError.absent {} catch LogError.fenced {}
                case 15...18:
                    let epoch = engine.information(id)?.fence ?? 0
                    try engine.beginBatch(id, count: 3, bytes: 100, epoch: epoch, time: 1)
                    for number in 0..<3 {
                        try engine.set(bytes("key-\(number)"), random.bytes(20), epoch: epoch, namespace: id)
                    }
                default:
                    let epoch = engine.information(id)?.fence ?? 0
                    try engine.set(key, random.bytes(random.below(400)), epoch: epoch, namespace: id)
                }
                if random.chance(40) { try engine.commit(sync: policy == .always) }
            }
            try engine.commit(sync: true)
            if closes || random.chance(50) { try engine.close(time: 99) }
        }
    }

    private func add(_ engine: inout LogEngine, _ id: UInt32, _ value: [UInt8], _ epoch: UInt64) throws(LogError) {
        var failure: LogError?
        value.withUnsafeBytes { value in
            do throws(LogError) { _ = try engine.add(id, value, epoch: epoch, time: 1) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    @Test("Recovery through indexes gives what recovery through segments gives", arguments: UInt64(0)..<24)
    func same(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = SimulatedDisk()
        try history(&random, disk, closes: seed % 2 == 0)
        let indexes = try disk.list().filter { $0.hasSuffix(".index") }
        if seed % 2 == 0 { #expect(indexes.count == (try disk.list().count { $0.hasSuffix(".segment") })) }
        var through = try LogEngine.open(disk, options())
        let found = try face(&through)
        let used = through.order.filter { through.segments[$0].index == .verified }.count
        #expect(used >= indexes.count - 1 && (seed % 2 == 1 || used == indexes.count))
        for name in indexes { try disk.remove(name) }
        var without = try LogEngine.open(disk, options())
        #expect(without.order.allSatisfy { without.segments[$0].index != .verified })
        #expect(try face(&without) == found)
        #expect(without.segments.map(\.firstSequence) == through.segments.map(\.firstSequence))
        #expect(without.segments.map(\.last) == through.segments.map(\.last))
        // The indexes that recovery made anew are as good as the first ones.
        try without.set(bytes("one-more"), [1], epoch: UInt64.max)
        try without.close(time: 100)
        var again = try LogEngine.open(disk, options())
        var expected = found
        expected.keys[bytes("default")]?[bytes("one-more")] = [1]
        #expect(try face(&again).keys == expected.keys)
    }

    @Test("A damaged, cut or foreign index is never believed", arguments: [0, 1, 2])
    func damaged(kind: Int) throws {
        var random = SeededRandom(seed: 5)
        let disk = SimulatedDisk()
        try history(&random, disk, closes: true)
        var engine = try LogEngine.open(disk, options())
        let expected = try face(&engine)
        let names = try disk.list().filter { $0.hasSuffix(".index") }
        let image = disk.bytes(of: names[0])
        for offset in stride(from: 0, to: image.count, by: kind == 0 ? 61 : 997) {
            let file = try disk.open(names[0], create: false)
            switch kind {
            case 0: disk.flip(names[0], at: offset, mask: 0x10)
            case 1: try disk.truncate(file, length: UInt64(offset))
            default: try disk.write(file, at: 0, disk.bytes(of: names[1]).span.bytes)
            }
            var again = try LogEngine.open(disk, options())
            #expect(try face(&again) == expected, "offset \(offset)")
            let whole = try disk.open(names[0], create: false)
            try disk.truncate(whole, length: 0)
            try disk.write(whole, at: 0, image.span.bytes)
        }
    }

    @Test("Every record is found by its number: in files, in memory, without an index; others are not")
    func places() throws {
        var random = SeededRandom(seed: 9)
        let disk = SimulatedDisk()
        for _ in 0..<3 { try history(&random, disk, closes: false) }
        var engine = try LogEngine.open(disk, options())
        for number in 0..<5 { try engine.set(bytes("late-\(number)"), [1], epoch: .max) }
        #expect(try everyPlace(&engine) > 100)
        for position in engine.order where position % 2 == 0 { engine.segments[position].index = .refused }
        #expect(try everyPlace(&engine) > 100)
        #expect(engine.place(of: engine.nextSequence) == nil && engine.place(of: 0) == nil)
    }

    private func everyPlace(_ engine: inout LogEngine) throws -> Int {
        var count = 0
        for position in engine.order {
            let segment = engine.segments[position]
            var walker = SegmentWalker(
                disk: engine.disk, file: segment.file, length: segment.length, seed: engine.seed,
                expected: segment.firstSequence, allowsGaps: false)
            while case .record(let header, let offset) = walker.next() {
                let place = engine.place(of: header.sequence)
                #expect(place?.position == position && place?.offset == offset, "\(header.sequence)")
                count += 1
            }
        }
        #expect(engine.place(of: engine.nextSequence - 1)?.position == engine.active)
        return count
    }

    @Test("Indexes that are missing are built in slices, those of no segment are removed")
    func built() throws {
        let disk = SimulatedDisk()
        var random = SeededRandom(seed: 4)
        try history(&random, disk, closes: true)
        let names = try disk.list().filter { $0.hasSuffix(".index") }
        let images = names.map { disk.bytes(of: $0) }
        var options = options()
        options.compactionRate = 0
        var engine = try LogEngine.open(disk, options)
        for name in names.dropLast() { try disk.remove(name) }
        for position in engine.order.dropLast() { engine.segments[position].index = .missing }
        var slices = 0
        while engine.maintain(now: 1, budget: 2000) { slices += 1 }
        #expect(slices > names.count)
        for (name, image) in zip(names, images).dropLast() { #expect(disk.bytes(of: name) == image, "\(name)") }
        _ = try disk.open("00000000000000ff.index", create: true)
        _ = try LogEngine.open(disk, options)
        #expect(try disk.list().filter { $0.hasSuffix(".index") } == names)
    }

    @Test("A disk without space costs the index, not the log")
    func full() throws {
        let disk = SimulatedDisk()
        disk.capacity = 60_000
        var engine = try LogEngine.open(disk, options())
        var last = 0
        for number in 0..<300 {
            do {
                try engine.set(bytes("key-\(number)"), [UInt8](repeating: 1, count: 300))
                try engine.commit(sync: true)
                last = number
            } catch LogError.full {}
        }
        disk.capacity = 10_000_000
        try engine.set(bytes("more"), [1])
        try engine.close(time: 1)
        var again = try LogEngine.open(disk, options())
        #expect(again.report.damageCount == 0)
        for number in 0...last {
            #expect(try again.get(bytes("key-\(number)")) == [UInt8](repeating: 1, count: 300))
        }
    }

    @Test("Damage behind an index is found by the read, and names the key even if the whole head is gone")
    func attributed() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, options())
        for number in 0..<100 { try engine.set(bytes("key-\(number)"), [UInt8](repeating: 1, count: 300)) }
        try engine.close(time: 1)
        disk.wipe(Format.name(segment: 1), 8192..<8704)
        var again = try LogEngine.open(disk, options())
        var refused = 0
        for number in 0..<100 {
            do {
                #expect(try again.get(bytes("key-\(number)"))?.count == 300)
            } catch LogError.corrupt(let segment, _) {
                #expect(segment == 1)
                refused += 1
            }
        }
        #expect((1...3).contains(refused))
    }

    @Test("A segment read after its index could be followed only half: names of namespaces are right")
    func namesAfterDamage() throws {
        let disk = SimulatedDisk()
        let options = smallOptions(16384)
        var engine = try LogEngine.open(disk, options)
        var settings = NamespaceSettings()
        let first = try engine.createNamespace(bytes("again"), settings, time: 1)
        try engine.removeNamespace(first, time: 2)
        settings.mode = NamespaceMode.ordered
        let second = try engine.createNamespace(bytes("again"), settings, time: 3)
        let place = engine.endOfLog
        for number in 0..<40 {
            try engine.set(bytes("key-\(number)"), [UInt8](repeating: 7, count: 1000), namespace: second)
        }
        #expect(engine.segmentCount > 2)
        try engine.close(time: 4)
        // One byte of a head: the index leads to it, and the key that an ordered namespace needs is not there.
        disk.flip(LogEngine.fileName(segment: place.segment), at: Int(place.offset) + 58, mask: 8)
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.damageCount == 1)
        #expect(engine.namespace(named: bytes("again")) == second)
        #expect(try engine.get(bytes("key-7"), namespace: second)?.count == 1000)
    }

    @Test("History is whole when the segment behind an indexed one was only being made")
    func unbornBehindIndex() throws {
        let disk = SimulatedDisk()
        let options = smallOptions(16384)
        var engine = try LogEngine.open(disk, options)
        let first = try engine.set(bytes("key"), [1])
        while engine.segmentCount < 2 { try engine.set(bytes("other"), [UInt8](repeating: 1, count: 1000)) }
        try engine.commit(sync: true)
        try engine.close(time: 2)
        // As a crash leaves it that came before the header of the second one was there.
        try disk.remove(LogEngine.fileName(segment: 2))
        let file = try disk.open(LogEngine.fileName(segment: 2), create: true)
        try disk.sync(file)
        engine = try LogEngine.open(disk, options)
        #expect(engine.segmentCount == 1)
        try engine.set(bytes("key"), [2])
        try engine.commit(sync: true)
        var found: Version?
        try bytes("key").withUnsafeBytes { key in
            let newest = try engine.version(1, key, before: nil)
            found = try newest.flatMap { try engine.older($0, 1, key) }
        }
        #expect(found?.sequence == first)
    }
}
