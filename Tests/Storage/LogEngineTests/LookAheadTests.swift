import Simulation
import Testing

@testable import LogEngine

@Suite("Looking at commands that wait") struct LookAheadTests {
    @Test("says where the records of keys that are read lie, and changes nothing")
    func places() throws {
        var engine = try LogEngine.open(SimulatedDisk())
        let keys: [[UInt8]] = (0..<20).map { Array("key-\($0)".utf8) }
        for key in keys.prefix(10) { try engine.set(key, [UInt8](repeating: 7, count: 100)) }
        try engine.delete(keys[3])
        try engine.commit(sync: true)
        // Not on the disk yet: it is in memory anyway.
        try engine.set(keys[9], [1, 2, 3])
        let places = UnsafeMutablePointer<RecordPlace>.allocate(capacity: LookAhead.keysMax)
        defer { places.deallocate() }
        var ahead = LookAhead()
        let storage = keys.map { key in
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: key.count, alignment: 1)
            copy.copyBytes(from: key)
            return UnsafeRawBufferPointer(copy)
        }
        defer { for copy in storage { copy.deallocate() } }
        for (index, key) in storage.enumerated() { ahead.add(key, isRead: index != 5) }
        #expect(ahead.count == LookAhead.keysMax, "more are left for the next look")
        let before = engine.nextSequence
        let count = engine.lookAhead(1, ahead, into: places)
        var expected: [UInt64] = []
        for index in 0..<10 where ![3, 5, 9].contains(index) {
            let entry = try #require(try engine.find(1, storage[index]))
            expected.append(engine.place(of: entry).offset)
        }
        #expect((0..<count).map { places[$0].offset } == expected)
        #expect((0..<count).allSatisfy { places[$0].length > 100 })
        #expect(engine.nextSequence == before)
        #expect(try engine.get(keys[9]) == [1, 2, 3] && engine.get(keys[3]) == nil)
        ahead.clear()
        #expect(engine.lookAhead(1, ahead, into: places) == 0)
        ahead.add(storage[0], isRead: true)
        #expect(engine.lookAhead(99, ahead, into: places) == 0, "a namespace that is not there")
    }
}
