import LogEngine
import Testing

@testable import LogSimulator

#if canImport(Glibc)
import Glibc
#endif

@Suite("Log simulator")
struct SimulatorTests {
    /// `ZERO_SEED=…` runs 2000 others.
    static let first = getenv("ZERO_SEED").flatMap { UInt64(String(cString: $0)) } ?? 0

    @Test("2,000 runs on disks that fail: nothing promised is lost, nothing wrong is served", arguments: 0..<8)
    func seeds(group: UInt64) {
        var counts = SimulationCounts()
        for seed in Self.first + group * 250..<Self.first + group * 250 + 250 {
            let outcome = LogSimulation.run(seed: seed)
            counts.add(outcome.counts)
            if let failure = outcome.failure {
                Issue.record("seed \(seed): \(failure). zero-db-simulate --seed \(seed) --trace shows all of it")
            }
        }
        // A simulator that does nothing finds nothing.
        #expect(counts.writes > 10_000 && counts.faults > 100 && counts.crashes > 400)
        #expect(counts.reportedDamages > 10)
    }

    @Test("2,000 runs with replicas: the copies end the same, and no write that was answered is lost", arguments: 0..<8)
    func replicas(group: UInt64) {
        var counts = SimulationCounts()
        for seed in Self.first + group * 250..<Self.first + group * 250 + 250 {
            let outcome = LogSimulation.runReplicas(seed: seed)
            counts.add(outcome.counts)
            if let failure = outcome.failure {
                Issue.record(
                    "seed \(seed): \(failure). zero-db-simulate --replicas --seed \(seed) --trace shows all of it")
            }
        }
        #expect(counts.acknowledged > 1000 && counts.crashes > 200)
    }

    @Test("2,000 runs that compact: what lives and what policies keep is there, nothing comes back", arguments: 0..<8)
    func compaction(group: UInt64) {
        var counts = SimulationCounts()
        for seed in Self.first + group * 250..<Self.first + group * 250 + 250 {
            let outcome = LogSimulation.run(seed: seed, compacts: true)
            counts.add(outcome.counts)
            if let failure = outcome.failure {
                Issue.record(
                    "seed \(seed): \(failure). zero-db-simulate --compaction --seed \(seed) --trace shows all of it")
            }
        }
        #expect(counts.writes > 10_000 && counts.crashes > 400)
    }

    @Test("A seed decides everything", arguments: [3, 19, 60, 217, 931])
    func repeatable(seed: UInt64) {
        let first = LogSimulation.run(seed: seed, isTraced: true)
        let second = LogSimulation.run(seed: seed, isTraced: true)
        #expect(first.trace.count > 3 && first.trace == second.trace)
        #expect(first.counts == second.counts)
    }

    #if DEBUG
    @Test(
        "Each planted bug of the engine is found within 2,000 seeds",
        arguments: PlantedBug.allCases)
    func proof(bug: PlantedBug) throws {
        let found = try #require(LogSimulation.seed(finding: bug, in: 0..<2000), "no seed finds \(bug)")
        print("\(bug): seed \(found.seed): \(found.failure ?? "")")
    }
    #endif
}
