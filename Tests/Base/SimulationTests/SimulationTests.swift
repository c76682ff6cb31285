import Simulation
import Testing

@Suite("Simulation")
struct SimulationTests {
    /// First outputs of the reference implementation of SplitMix64 for seed 1234567.
    @Test("SplitMix64 gives the published numbers")
    func splitMix() {
        var random = SplitMix64(seed: 1_234_567)
        #expect(random.next() == 6_457_827_717_110_365_317)
        #expect(random.next() == 3_203_168_211_198_807_973)
        #expect(random.next() == 9_817_491_932_198_370_423)
    }

    @Test("The same seed gives the same run, another seed another")
    func repeatable() {
        var (a, b, c) = (SeededRandom(seed: 5), SeededRandom(seed: 5), SeededRandom(seed: 6))
        #expect(a.bytes(100) == b.bytes(100))
        #expect(a.bytes(100) != c.bytes(100))
    }

    @Test("What was synced survives a crash; what was not may not")
    func crash() throws {
        var lost = 0
        for seed in UInt64(0)..<50 {
            var random = SeededRandom(seed: seed)
            let disk = SimulatedDisk()
            let file = try disk.open("a", create: true)
            try disk.put(file, 0, [UInt8](repeating: 1, count: 1000))
            try disk.sync(file)
            try disk.put(file, 1000, [UInt8](repeating: 2, count: 2000))
            disk.crash(&random)
            #expect(throws: DiskError.crashed) { try disk.length(file) }
            disk.restart()
            let bytes = disk.bytes(of: "a")
            #expect(Array(bytes.prefix(1000)) == [UInt8](repeating: 1, count: 1000))
            if bytes != [UInt8](repeating: 1, count: 1000) + [UInt8](repeating: 2, count: 2000) { lost += 1 }
        }
        #expect(lost > 10)
    }

    @Test("A full disk writes what fits and says so; a reservation holds")
    func full() throws {
        let disk = SimulatedDisk()
        disk.capacity = 1000
        let file = try disk.open("a", create: true)
        try disk.reserve(file, length: 900)
        #expect(throws: DiskError.full) { try disk.reserve(file, length: 1001) }
        try disk.put(file, 0, [UInt8](repeating: 1, count: 900))
        #expect(throws: DiskError.full) { try disk.put(file, 900, [UInt8](repeating: 1, count: 101)) }
        #expect(try disk.length(file) == 1000)
    }

    @Test("Messages arrive in time, partitions lose them")
    func network() {
        var network = SimulatedNetwork(random: SeededRandom(seed: 1))
        network.send(.init(source: 1, target: 2, payload: [1]), at: 0)
        #expect(network.receive(at: 0) == nil)
        #expect(network.receive(at: 10_000_000)?.payload == [1])
        network.partition([2: 1])
        network.send(.init(source: 1, target: 2, payload: [2]), at: 0)
        #expect(network.receive(at: 10_000_000) == nil)
        network.heal()
        network.send(.init(source: 1, target: 2, payload: [3]), at: 0)
        #expect(network.receive(at: 10_000_000)?.payload == [3])
    }
}

extension SimulatedDisk {
    func put(_ file: DiskFile, _ offset: UInt64, _ bytes: [UInt8]) throws(DiskError) {
        try write(file, at: offset, bytes.span.bytes)
    }
}
