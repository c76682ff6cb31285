import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: keys in order")
struct OrderedIndexTests {
    static func slot(_ sequence: UInt64) -> Slot {
        Slot(
            hash: KeyHash(high: 0, low: 0), sequence: sequence, segment: Int(sequence % 2_000_000),
            offset: sequence * 8, valueLength: UInt32(sequence % 60_000_000), keyLength: 0, flags: UInt8(sequence % 32))
    }

    /// Keys that share much, little and nothing, short and as long as allowed.
    static func key(_ random: inout SeededRandom, _ kind: Int) -> [UInt8] {
        switch kind {
        case 0: return bytes("user:\(random.below(3000)):\(random.below(3))")
        case 1:
            return random.chance(70)
                ? random.bytes(1 + random.below(4)) : (0..<1 + random.below(5)).map { _ in UInt8(random.below(2)) }
        case 2: return [UInt8](repeating: 120, count: random.below(240)) + random.bytes(1 + random.below(15))
        default: return random.chance(50) ? key(&random, 0) : key(&random, 1 + random.below(2))
        }
    }

    @Test("A tree and a sorted array agree, whatever is put and taken out", arguments: 0..<8)
    func model(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed) + 100)
        var index = OrderedIndex()
        var model: [[UInt8]: UInt64] = [:]
        var put: [[UInt8]] = []
        for round in 0..<2400 {
            let key = Self.key(&random, seed % 4)
            let removes = round > 1200 ? 60 : 15
            if random.chance(removes), !put.isEmpty {
                let victim = random.chance(70) ? put[random.below(put.count)] : key
                model[victim] = nil
                victim.withUnsafeBytes { index.remove($0) }
            } else {
                model[key] = UInt64(round + 1)
                put.append(key)
                _ = key.withUnsafeBytes { index.put($0, Self.slot(UInt64(round + 1))) }
            }
            if round % 800 == 799 { check(&index, model, &random, seed) }
        }
        for key in model.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            key.withUnsafeBytes { index.remove($0) }
        }
        #expect(index.count == 0 && index.nodeCount == 1)
    }

    func check(_ index: inout OrderedIndex, _ model: [[UInt8]: UInt64], _ random: inout SeededRandom, _ seed: Int) {
        let sorted = model.keys.sorted { $0.lexicographicallyPrecedes($1) }
        #expect(index.count == sorted.count, "seed \(seed)")
        #expect(Self.walk(&index) == sorted, "seed \(seed): forward")
        #expect(Self.walkBack(&index) == sorted.reversed(), "seed \(seed): backward")
        for key in sorted {
            let found = key.withUnsafeBytes { index.find($0) }
            #expect(found?.sequence == model[key] && Int(found?.keyLength ?? 0) == key.count, "seed \(seed)")
            let wanted = Self.slot(model[key] ?? 0)
            #expect(found?.offset == wanted.offset && found?.segment == wanted.segment && found?.flags == wanted.flags)
            #expect(found?.valueLength == wanted.valueLength)
        }
        for _ in 0..<200 {
            let probe = Self.key(&random, 3)
            let above = sorted.first { !$0.lexicographicallyPrecedes(probe) }
            let below = sorted.last { $0.lexicographicallyPrecedes(probe) }
            let isThere = probe.withUnsafeBytes { index.seek($0, after: false) }
            #expect((isThere ? Self.current(index) : nil) == above, "seed \(seed): seek")
            let isBelow = probe.withUnsafeBytes { index.seekBack($0, including: false) }
            #expect((isBelow ? Self.current(index) : nil) == below, "seed \(seed): seekBack")
        }
    }

    static func current(_ index: borrowing OrderedIndex) -> [UInt8] {
        var key = [UInt8](repeating: 0, count: 256)
        let count = key.withUnsafeMutableBytes { bytes in bytes.baseAddress.map { index.copyKey(into: $0) } ?? 0 }
        return Array(key.prefix(count))
    }

    static func walk(_ index: inout OrderedIndex) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        var isThere = [UInt8(0)].withUnsafeBytes { index.seek(.init(rebasing: $0.prefix(0)), after: false) }
        while isThere {
            keys.append(current(index))
            isThere = index.next()
        }
        return keys
    }

    static func walkBack(_ index: inout OrderedIndex) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        var isThere = index.seekEnd()
        while isThere {
            keys.append(current(index))
            isThere = index.previous()
        }
        return keys
    }

    @Test("A key takes at most 32 bytes beside its own, in random order and in ascending order")
    func memory() {
        var random = SeededRandom(seed: 5)
        for isAscending in [false, true] {
            var index = OrderedIndex()
            for number in 0..<20_000 {
                let key = isAscending ? bytes("key:\(1_000_000_000_000 + number)") : random.bytes(16)
                _ = key.withUnsafeBytes { index.put($0, Self.slot(UInt64(number + 1))) }
            }
            let perKey = Double(index.memoryBytes) / Double(index.count)
            #expect(perKey <= 32 + 16, "\(perKey) bytes a key of 16 bytes")
        }
    }
}
