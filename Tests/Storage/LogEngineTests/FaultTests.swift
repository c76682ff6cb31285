import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: faults")
struct FaultTests {
    /// A closed device with some keys, several versions, a tombstone and a batch, over two segments.
    func sample() throws -> (disk: SimulatedDisk, model: [[UInt8]: [UInt8]]) {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, smallOptions(16384))
        var random = SeededRandom(seed: 77)
        var model: [[UInt8]: [UInt8]] = [:]
        for round in 0..<5 {
            for number in 0..<12 {
                let key = bytes("key-\(number)")
                model[key] = random.bytes(20 + 30 * round + number * 20)
                try engine.set(key, model[key] ?? [])
            }
            try engine.commit(sync: true)
        }
        try engine.delete(bytes("key-3"))
        model[bytes("key-3")] = nil
        try engine.beginBatch(1, count: 2, bytes: 20, time: 1)
        for name in ["x", "y"] {
            try engine.set(bytes(name), [1, 2, 3])
            model[bytes(name)] = [1, 2, 3]
        }
        try engine.close(time: 2)
        #expect(engine.segmentCount == 2)
        return (disk, model)
    }

    @Test("One damaged byte, wherever it is: never a wrong or an old value, and every other key is served")
    func everyByte() throws {
        let (disk, model) = try sample()
        var unattributed = 0
        for name in try disk.list() {
            let length = disk.bytes(of: name).count
            for offset in stride(from: 0, to: length, by: 11) {
                disk.flip(name, at: offset, mask: 0xa5)
                defer { disk.flip(name, at: offset, mask: 0xa5) }
                var engine = try LogEngine.open(disk, smallOptions(16384))
                if !engine.report.damages.allSatisfy(\.isAttributed) { unattributed += 1 }
                var refused = 0
                for key in (0..<12).map({ bytes("key-\($0)") }) + [bytes("x"), bytes("y")] {
                    do {
                        let value = try engine.get(key)
                        #expect(value == model[key], "\(name) byte \(offset): a wrong value of \(key)")
                    } catch LogError.corrupt { refused += 1 }
                }
                #expect(refused <= 1, "\(name) byte \(offset): \(refused) keys refused")
            }
        }
        // Definitions and marks have no key that a reader could ask for.
        #expect(unattributed < 400)
    }

    @Test("A lost sector in the middle is reported with the sequence numbers that stood there; the rest is served")
    func lostSector() throws {
        let (disk, model) = try sample()
        let name = Format.name(segment: 1)
        disk.wipe(name, 8192..<9216)
        // Behind an index the damage would be found by reads only.
        try disk.remove(Format.name(index: 1))
        var engine = try LogEngine.open(disk, smallOptions(16384))
        #expect(engine.report.damageCount >= 1)
        let damage = try #require(engine.report.damages.first)
        #expect(damage.segment == 1 && damage.offset < 9216 && damage.offset + damage.length >= 9216)
        #expect(!damage.lost.isEmpty)
        var served = 0
        for (key, value) in model where try engine.get(key) == value { served += 1 }
        #expect(served >= model.count - damage.lost.count)
        #expect(try engine.set(bytes("new"), [9]) > 0)
        try engine.commit(sync: true)
        #expect(try engine.get(bytes("new")) == [9])
    }

    @Test("A read finds damage that came later, names the place, and a new write heals the key")
    func laterDamage() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        try engine.set(bytes("a"), [UInt8](repeating: 7, count: 100))
        try engine.set(bytes("b"), [8])
        try engine.commit(sync: true)
        let image = disk.bytes(of: Format.name(segment: 1))
        let at = try #require(image.indices.first { image[$0..<min($0 + 50, image.count)].allSatisfy { $0 == 7 } })
        disk.flip(Format.name(segment: 1), at: at + 10, mask: 1)
        #expect(throws: LogError.corrupt(segment: 1, offset: UInt64(at - 65 - 0))) { try engine.get(bytes("a")) }
        #expect(try engine.get(bytes("b")) == [8])
        try engine.set(bytes("a"), [1], .absent)
        try engine.commit(sync: true)
        #expect(try engine.get(bytes("a")) == [1])
    }

    @Test("A disk that cannot read a segment fails those reads only")
    func unreadable() throws {
        let (disk, _) = try sample()
        var engine = try LogEngine.open(disk, smallOptions(16384))
        disk.failReads(of: Format.name(segment: 1), true)
        var refused = 0
        for number in 0..<12 {
            do { _ = try engine.get(bytes("key-\(number)")) } catch LogError.corrupt { refused += 1 }
        }
        #expect(refused > 0)
        #expect(try engine.get(bytes("x")) == [1, 2, 3])
    }

    @Test("A full disk refuses the write, loses nothing, and goes on when there is space", arguments: [false, true])
    func full(liar: Bool) throws {
        let disk = SimulatedDisk()
        disk.capacity = 30_000
        disk.liesAboutReserve = liar
        var engine = try LogEngine.open(disk, smallOptions(16384))
        var model: [[UInt8]: [UInt8]] = [:]
        var refusals = 0
        for number in 0..<400 {
            let (key, value) = (bytes("key-\(number % 50)"), [UInt8](repeating: UInt8(number % 251), count: 100))
            do {
                try engine.set(key, value)
                try engine.commit(sync: true)
                model[key] = value
            } catch LogError.full {
                refusals += 1
                #expect(engine.readOnlyReason == nil)
            }
            #expect(try engine.get(key) == model[key])
        }
        #expect(refusals > 100)
        #expect(try engine.everything() == model)
        disk.capacity = 1_000_000
        try engine.set(bytes("more"), [1])
        try engine.commit(sync: true)
        var again = try LogEngine.open(disk, smallOptions(16384))
        model[bytes("more")] = [1]
        #expect(try again.everything() == model)
        #expect(again.report.damageCount == 0)
    }

    @Test("A failed sync takes the turn back and ends all writing; reads go on")
    func failedSync() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        try engine.set(bytes("a"), [1])
        try engine.commit(sync: true)
        disk.failsSync = true
        try engine.set(bytes("a"), [2])
        try engine.set(bytes("b"), [2])
        #expect(throws: LogError.readOnly) { try engine.commit(sync: true) }
        #expect(engine.readOnlyReason == .syncFailed(.failed(5)))
        disk.failsSync = false
        #expect(throws: LogError.readOnly) { try engine.set(bytes("c"), [2]) }
        #expect(try engine.get(bytes("a")) == [1])
        #expect(try engine.get(bytes("b")) == nil)
        #expect(try engine.entryCount(1) == 1)
    }

    @Test("A stop in order whose last sync failed leaves no hole behind it", arguments: [false, true])
    func failedClose(usesIndex: Bool) throws {
        let disk = SimulatedDisk()
        var options = smallOptions()
        if usesIndex { options.scannedBytes = 0 }
        var engine = try LogEngine.open(disk, options)
        try engine.set(bytes("a"), [1])
        try engine.commit(sync: true)
        try engine.close(time: 2)
        engine = try LogEngine.open(disk, options)
        try engine.set(bytes("b"), [2])
        try engine.commit(sync: true)
        disk.failsSync = true
        #expect(throws: LogError.readOnly) { try engine.close(time: 3) }
        disk.kill()
        disk.restart()
        engine = try LogEngine.open(disk, options)
        try engine.set(bytes("c"), [3])
        try engine.commit(sync: true)
        var random = SeededRandom(seed: 1)
        disk.crash(&random)
        disk.restart()
        engine = try LogEngine.open(disk, options)
        #expect(engine.report.damages.isEmpty)
        #expect(try engine.get(bytes("c")) == [3])
    }

    @Test("A torn end is cut; damage below the last watermark is not taken for one")
    func tornOrDamaged() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        let name = Format.name(segment: 1)
        try engine.set(bytes("a"), [UInt8](repeating: 1, count: 200))
        try engine.commit(sync: true)
        let first = engine.logBytes
        try engine.set(bytes("b"), [UInt8](repeating: 2, count: 200))
        try engine.commit(sync: true)
        // The last record, not yet covered by a watermark: as a write that never ended.
        disk.flip(name, at: Int(first) + 150, mask: 1)
        var torn = try LogEngine.open(disk)
        #expect(torn.report.cutBytes > 0 && torn.report.damageCount == 0)
        #expect(try torn.get(bytes("b")) == nil)
        #expect(try torn.get(bytes("a"))?.count == 200)
    }

    @Test("An end that cannot be read is reported, and numbers that stood there are not given again")
    func unreadableEnd() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        try engine.set(bytes("a"), [UInt8](repeating: 1, count: 4200))
        try engine.commit(sync: true)
        let seen = try engine.set(bytes("b"), [2])
        try engine.commit(sync: true)
        disk.failReads(of: LogEngine.fileName(segment: 1), in: 8192..<8704)
        engine = try LogEngine.open(disk)
        #expect(engine.report.damages.map(\.segment) == [1])
        #expect(engine.report.damages.first?.offset == 8192 && engine.report.damages.first?.isAttributed == false)
        #expect(try engine.set(bytes("c"), [3]) > seen + 1_000_000)
        try engine.close(time: 3)
        engine = try LogEngine.open(disk)
        #expect(engine.report.damageCount == 0)
        #expect(try engine.get(bytes("c")) == [3])
    }

    @Test("A mark makes damage of the last record known as damage")
    func mark() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        try engine.set(bytes("a"), [UInt8](repeating: 1, count: 200))
        try engine.commit(sync: true)
        let needed = engine.needsMark
        let end = engine.logBytes
        try engine.mark(time: 1)
        #expect(needed && engine.needsMark == false)
        disk.flip(Format.name(segment: 1), at: Int(end) - 20, mask: 1)
        var again = try LogEngine.open(disk)
        #expect(again.report.cutBytes == 0)
        #expect(throws: LogError.self) { try again.get(bytes("a")) }
    }

    @Test("Unknown required features, another version, another device and a manifest are refused")
    func refused() throws {
        let disk = SimulatedDisk()
        _ = try LogEngine.open(disk)
        let name = Format.name(segment: 1)
        let file = try disk.open(name, create: false)
        var header = SegmentHeader(block: Array(disk.bytes(of: name).prefix(4096))) ?? SegmentHeader()
        let good = header.block()
        header.requiredFeatures = 4
        try disk.write(file, at: 0, header.block().span.bytes)
        #expect(throws: LogError.unsupported(segment: 1, version: 1, features: 4)) { _ = try LogEngine.open(disk) }
        header.requiredFeatures = 0
        header.version = 2
        try disk.write(file, at: 0, header.block().span.bytes)
        #expect(throws: LogError.unsupported(segment: 1, version: 2, features: 0)) { _ = try LogEngine.open(disk) }
        try disk.write(file, at: 0, good.span.bytes)
        header.version = 1
        header.device.0 = 99
        header.number = 2
        let other = try disk.open(Format.name(segment: 2), create: true)
        try disk.write(other, at: 0, header.block().span.bytes)
        #expect(throws: LogError.foreign(segment: 1)) { _ = try LogEngine.open(disk) }
        try disk.remove(Format.name(segment: 2))
        _ = try LogEngine.open(disk)
        _ = try disk.open("manifest", create: true)
        #expect(throws: LogError.unknownFile) { _ = try LogEngine.open(disk) }
    }

    @Test("A sequence number that somebody may have seen is never given to another write")
    func sequences() throws {
        var random = SeededRandom(seed: 3)
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, smallOptions(policy: .none))
        var seen: UInt64 = 0
        for number in 0..<20 {
            seen = try engine.set(bytes("\(number)"), [1])
            try engine.commit(sync: false)
        }
        disk.crash(&random)
        disk.restart()
        var again = try LogEngine.open(disk, smallOptions(policy: .none))
        #expect(try again.set(bytes("new"), [1]) > seen)
        try again.commit(sync: true)
        var third = try LogEngine.open(disk, smallOptions(policy: .none))
        #expect(third.report.damageCount == 0)
        #expect(try third.get(bytes("new")) == [1])
    }
}
