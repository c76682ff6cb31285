import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: index")
struct IndexTests {
    @Test("CRC-32C of the standard's check string")
    func checksum() {
        let text = bytes("123456789")
        #expect(text.withUnsafeBytes { $0.baseAddress.map { Format.checksum($0, 9) } } == 0xe306_9283)
    }

    /// From the reference implementation of SipHash: key 00…0f, input 00…(n-1), 128 bits of output.
    @Test(
        "SipHash-2-4-128 gives the published outputs",
        arguments: [
            (0, "a3817f04ba25a8e66df67214c7550293"), (1, "da87c1d86b99af44347659119b22fc45"),
            (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
        ])
    func sipHash(count: Int, expected: String) {
        let hasher = KeyHasher(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
        let hash = (0..<count).map { UInt8($0) }.withUnsafeBytes { hasher.output($0) }
        let found = [hash.0, hash.1].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
        }
        let text = found.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(text == expected)
    }

    @Test("The index agrees with a dictionary over random inserts, changes and removals", arguments: 0..<4)
    func model(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        var index = KeyIndex()
        var model: [UInt64: UInt64] = [:]
        // An expectation takes longer than a thousand look-ups: one at the end for all.
        var wrong = 0
        for step in 1...60_000 {
            let number = UInt64(random.below(30_000))
            let hash = hashed(number)
            if random.chance(25) {
                index.remove(hash)
                model[number] = nil
            } else if let found = index.find(hash) {
                if model[number] != found.pointee.sequence { wrong += 1 }
                found.pointee.sequence = UInt64(step)
                model[number] = UInt64(step)
            } else {
                if model[number] != nil { wrong += 1 }
                index.insert(slot(hash, UInt64(step)))
                model[number] = UInt64(step)
            }
        }
        #expect(index.count == model.count)
        for number in UInt64(0)..<30_000 where index.find(hashed(number))?.pointee.sequence != model[number] {
            wrong += 1
        }
        #expect(wrong == 0)
    }

    @Test("A scan sees every key that stays exactly once while the index grows under it")
    func scan() {
        var index = KeyIndex()
        for number in UInt64(0)..<20_000 { insert(&index, number) }
        var seen: [UInt64: Int] = [:]
        var cursor: UInt64 = 0
        var found: [Slot] = []
        var added: UInt64 = 1_000_000
        repeat {
            cursor = index.scan(from: cursor, count: 100, into: &found)
            for slot in found { seen[slot.sequence, default: 0] += 1 }
            for _ in 0..<200 {
                insert(&index, added)
                added += 1
            }
        } while cursor != 0
        #expect((UInt64(0)..<20_000).allSatisfy { seen[$0 + 1] == 1 })
        #expect(seen.values.allSatisfy { $0 == 1 })
    }

    @Test("Slots keep every field at its largest and smallest")
    func slots() {
        for (sequence, segment, offset, value, key) in [
            (UInt64(1), 0, UInt64(4096), UInt32(0), UInt8(0)),
            (LogLimits.sequenceMax, LogLimits.positionsMax - 1, UInt64(LogLimits.segmentBytesMax) - 8, 64 << 20, 255),
        ] {
            let hash = KeyHash(high: ~sequence, low: sequence >> 16)
            var slot = Slot(
                hash: hash, sequence: sequence, segment: segment, offset: offset, valueLength: value, keyLength: key,
                flags: Slot.damaged)
            for _ in 0..<2 {
                #expect(slot.hash == hash && slot.sequence == sequence && slot.segment == segment)
                #expect(slot.offset == offset && slot.valueLength == value && slot.keyLength == key)
                #expect(slot.isDamaged && !slot.isTombstone && !slot.isEmpty && !slot.isExtended)
                (slot.sequence, slot.segment, slot.offset) = (sequence, segment, offset)
                slot.flags |= Slot.damaged
            }
        }
        #expect(MemoryLayout<Slot>.stride == 32)
    }

    @Test("Removing most keys gives memory back and keeps the others")
    func shrinking() {
        var index = KeyIndex()
        for number in UInt64(0)..<20_000 { insert(&index, number) }
        #expect(index.displacement < 6)
        for number in UInt64(0)..<20_000 where number % 10 != 0 { index.remove(hashed(number)) }
        #expect(index.count == 2000 && index.displacement < 6)
        var wrong = 0
        for number in UInt64(0)..<20_000
        where index.find(hashed(number))?.pointee.sequence != (number % 10 == 0 ? number + 1 : nil) {
            wrong += 1
        }
        for number in UInt64(0)..<20_000 where number % 10 != 0 { insert(&index, number) }
        for number in UInt64(0)..<20_000 where index.find(hashed(number))?.pointee.sequence != number + 1 { wrong += 1 }
        #expect(wrong == 0)
    }

    private func hashed(_ number: UInt64) -> KeyHash {
        var mixer = SplitMix64(seed: number)
        return KeyHash(high: mixer.next(), low: mixer.next() >> 24)
    }

    private func slot(_ hash: KeyHash, _ sequence: UInt64) -> Slot {
        Slot(hash: hash, sequence: sequence, segment: 1, offset: 8, valueLength: 1, keyLength: 1, flags: 0)
    }

    private func insert(_ index: inout KeyIndex, _ number: UInt64) {
        index.insert(slot(hashed(number), number + 1))
    }
}
