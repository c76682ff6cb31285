import Dispersal
import Testing

@Suite struct ErasureCodeTests {
    /// Any k shards of a stripe give it back, whichever they are.
    @Test(arguments: [(1, 0), (1, 2), (2, 1), (4, 2), (6, 3), (10, 4), (16, 4)])
    func anySufficientShardsGiveEverythingBack(data: Int, parity: Int) throws {
        var numbers = Numbers(UInt64(data * 100 + parity))
        let code = try ErasureCode(data: data, parity: parity)
        let count = 640
        var shards =
            (0..<data).map { _ in numbers.bytes(count) } + (0..<parity).map { _ in [UInt8](repeating: 0, count: count) }
        let memory = shards.map { shard -> UnsafeMutableRawPointer in
            let pointer = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
            shard.withUnsafeBytes {
                pointer.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(pointer), byteCount: count)
            }
            return pointer
        }
        defer { for pointer in memory { pointer.deallocate() } }
        code.encode(memory[..<data].map { UnsafeRawPointer($0) }, into: Array(memory[data...]), count: count)
        for index in data..<data + parity {
            shards[index] = Array(UnsafeRawBufferPointer(start: memory[index], count: count))
        }
        for _ in 0..<20 {
            let lost = Array((0..<data + parity).shuffled(using: &numbers).prefix(parity)).sorted()
            let range = Int.random(in: 0..<300, using: &numbers)..<Int.random(in: 300...count, using: &numbers)
            let targets = lost.map { _ in UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64) }
            defer { for pointer in targets { pointer.deallocate() } }
            let sources = memory.indices.map {
                lost.contains($0) ? nil : UnsafeRawPointer(memory[$0] + range.lowerBound)
            }
            try code.rebuild(sources, missing: lost, into: targets, count: range.count)
            for (index, target) in zip(lost, targets) {
                #expect(Array(UnsafeRawBufferPointer(start: target, count: range.count)) == Array(shards[index][range]))
            }
        }
        let tooFew = memory.indices.map { $0 < data - 1 ? UnsafeRawPointer(memory[$0]) : nil }
        let target = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
        defer { target.deallocate() }
        #expect(throws: DispersalError.tooFewShards(have: data - 1, need: data)) {
            try code.rebuild(tooFew, missing: [data - 1], into: [target], count: count)
        }
    }

    @Test func impossibleShapesAreRefused() {
        for (data, parity) in [(0, 1), (-1, 2), (200, 56), (1, -1)] {
            #expect(throws: DispersalError.badShape(data: data, parity: parity)) {
                try ErasureCode(data: data, parity: parity)
            }
        }
    }

    /// The parts of a range, put behind each other, are the range.
    @Test func aRangeIsFoundInItsShards() {
        var numbers = Numbers(7)
        for _ in 0..<300 {
            let shape = StripeShape(
                data: Int.random(in: 1...9, using: &numbers), parity: 2,
                length: Int.random(in: 1...5000, using: &numbers))
            #expect(shape.shardLength % 64 == 0 && shape.shardLength * shape.data >= shape.length)
            let low = Int.random(in: 0..<shape.length, using: &numbers)
            let range = low..<Int.random(in: low + 1...shape.length, using: &numbers)
            var at = range.lowerBound
            for (shard, part) in shape.locate(range) {
                #expect(shard * shape.shardLength + part.lowerBound == at && part.upperBound <= shape.shardLength)
                at += part.count
            }
            #expect(at == range.upperBound)
        }
    }
}
