import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: segments")
struct SegmentTests {
    @Test("A segment that nothing points to can be removed; positions of the others stay")
    func removal() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, smallOptions(16384))
        for number in 0..<200 {
            try engine.set(bytes("key-\(number % 20)"), [UInt8](repeating: UInt8(number), count: 300))
            try engine.commit(sync: true)
        }
        try #require(engine.segmentCount > 3)
        let (active, count, length) = (engine.active, engine.segmentCount, engine.logBytes)
        let removed = engine.segments[1]
        try engine.removeSegment(at: 1)
        #expect(engine.active == active && engine.segmentCount == count - 1)
        #expect(engine.logBytes == length - removed.length)
        #expect(throws: DiskError.failed(9)) { _ = try disk.length(removed.file) }
        #expect(try disk.list().contains(Format.name(segment: removed.number)) == false)
        for number in 180..<200 {
            #expect(try engine.get(bytes("key-\(number % 20)")) == [UInt8](repeating: UInt8(number), count: 300))
        }
        try engine.set(bytes("more"), [1])
        try engine.commit(sync: true)
        #expect(try engine.get(bytes("more")) == [1])
    }
}
