import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: which former versions compaction keeps")
struct HistoryPolicyTests {
    private static let second: UInt64 = 1_000_000_000

    /// One version of a key, as it was written.
    private struct Written {
        var sequence: UInt64
        var time: UInt64
        var value: [UInt8]?
    }

    private func write(
        _ engine: inout LogEngine, _ key: [UInt8], _ value: [UInt8]?, _ time: UInt64
    ) throws(LogError) -> UInt64 {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            (value ?? []).withUnsafeBytes { bytes in
                do throws(LogError) {
                    result = .success(
                        value == nil
                            ? try engine.delete(1, key, time: time) : try engine.set(1, key, bytes, time: time))
                } catch { result = .failure(error) }
            }
        }
        return try result.get()
    }

    /// What the engine still has of a key, newest first.
    private func chain(_ engine: inout LogEngine, _ key: [UInt8]) throws -> [Written] {
        var result: [Written] = []
        var before: UInt64?
        while let version = try key.withUnsafeBytes({ try engine.version(1, $0, before: before) }) {
            var value = [UInt8](repeating: 0, count: version.valueLength + 1)
            try value.withUnsafeMutableBytes { bytes in
                let base = try #require(bytes.baseAddress)
                try key.withUnsafeBytes { try engine.readVersion(version, 1, $0, into: base) }
            }
            result.append(
                Written(
                    sequence: version.sequence, time: version.time,
                    value: version.isTombstone ? nil : Array(value.dropLast())))
            before = version.sequence
        }
        return result
    }

    /// How many of a key's versions, newest first, the policy keeps.
    private func kept(_ versions: [Written], _ policy: HistoryPolicy, _ now: UInt64) -> Int {
        switch policy {
        case .all: return versions.count
        case .last(let count): return min(versions.count, Int(count))
        case .duration(let span):
            let since = now - min(now, span)
            guard let current = versions.firstIndex(where: { $0.time <= since }) else { return versions.count }
            return current + 1
        }
    }

    @Test(
        "What the policy keeps is there with its times, over slices, restarts and crashes; what it lets go goes",
        arguments: [
            HistoryPolicy.last(1), .last(2), .last(5), .duration(0), .duration(40 * second), .duration(400 * second),
        ], [UInt64(1), 2, 3, 4])
    func keeps(policy: HistoryPolicy, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = SimulatedDisk()
        let options = compactingOptions(16384, history: policy)
        var model: [[UInt8]: [Written]] = [:]
        var now: UInt64 = 1_700_000_000_000_000_000
        var engine = try LogEngine.open(disk, options)
        for step in 0..<900 {
            now += UInt64(random.below(Int(2 * Self.second)))
            let key = bytes("key-\(random.below(random.chance(50) ? 3 : 25))")
            let isLive = model[key]?.first?.value != nil
            let value = isLive && random.chance(15) ? nil : random.bytes(random.below(300))
            let sequence = try write(&engine, key, value, now)
            model[key, default: []].insert(Written(sequence: sequence, time: now, value: value), at: 0)
            try engine.commit(sync: true)
            if random.chance(40) { _ = engine.maintain(now: now, budget: 1 << random.below(16)) }
            if random.chance(1) { try engine.requestCompaction(time: now) }
            if random.chance(2) {
                if random.chance(50) { disk.crash(&random) } else { disk.kill() }
                disk.restart()
                engine = try LogEngine.open(disk, options)
            }
            if step % 90 == 89 { try compare(&engine, model, policy, now) }
        }
        let asked = now
        try engine.compactAll(now: &now)
        try compare(&engine, model, policy, now, compactAsOf: asked)
        #expect(engine.checkAccounts() == nil)
        var again = try LogEngine.open(disk, options)
        try compare(&again, model, policy, now, compactAsOf: asked)
        #expect(again.report.damageCount == 0)
        #expect(again.checkAccounts() == nil)
    }

    private func compare(
        _ engine: inout LogEngine, _ model: [[UInt8]: [Written]], _ policy: HistoryPolicy, _ now: UInt64,
        compactAsOf asked: UInt64? = nil
    ) throws {
        for (key, versions) in model.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let found = try chain(&engine, key)
            var least = kept(versions, policy, now)
            // A deletion that hides nothing any more may be gone with all that was before it.
            if found.count < least, versions[found.count].value == nil, policy.nanoseconds > 0 || policy.keepsNothing {
                least = found.count
            }
            #expect(found.count >= least, "\(String(decoding: key, as: UTF8.self)): \(found.count) of \(least)")
            for (one, other) in zip(found, versions) {
                #expect(one.sequence == other.sequence && one.time == other.time && one.value == other.value)
            }
            // Nothing more is left than the policy kept when it was asked for.
            if let asked {
                let most = kept(versions, policy, asked)
                #expect(found.count <= most, "\(String(decoding: key, as: UTF8.self)): \(found.count) of \(most)")
            }
        }
    }

    @Test("One key with very many versions inside the time that is kept: its older ones go all the same")
    func hotKey() throws {
        let disk = SimulatedDisk()
        let policy = HistoryPolicy.duration(1000 * Self.second)
        var engine = try LogEngine.open(disk, compactingOptions(65536, history: policy))
        var now: UInt64 = 1_700_000_000_000_000_000
        for _ in 0..<600 {
            now += Self.second
            _ = try write(&engine, bytes("hot"), [UInt8](repeating: 1, count: 100), now)
        }
        let middle = now
        for _ in 0..<1500 {
            now += Self.second / 2
            _ = try write(&engine, bytes("hot"), [UInt8](repeating: 2, count: 100), now)
        }
        try engine.commit(sync: true)
        now = middle + 1200 * Self.second
        try engine.requestCompaction(time: now)
        var slices = 0
        while engine.compaction.phase != .idle || engine.compaction.isRequested {
            _ = engine.maintain(now: now, budget: 64 << 10)
            slices += 1
            try #require(slices < 5000)
        }
        let found = try chain(&engine, bytes("hot"))
        // What was current 1000 s ago, and all that came later.
        #expect(found.count == 1500 - 400 + 1, "\(found.count)")
        #expect(found.last.map { $0.time <= now - 1000 * Self.second } == true)
    }

    @Test("A change of policy counts for what is there already")
    func change() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk, compactingOptions(history: .all))
        var now: UInt64 = 1_700_000_000_000_000_000
        for round in 0..<200 {
            now += Self.second
            for number in 0..<3 {
                _ = try write(
                    &engine, bytes("k\(number)"), [UInt8(round)] + bytes(String(repeating: "x", count: 90)), now)
            }
            try engine.commit(sync: true)
        }
        try engine.compactAll(now: &now)
        #expect(try chain(&engine, bytes("k1")).count == 200)
        for (policy, count) in [(HistoryPolicy.last(10), 10), (.last(20), 10), (.last(3), 3), (.none, 1)] {
            let information = engine.information(1)
            var settings = try #require(information).settings
            settings.history = policy
            try engine.changeNamespace(1, settings, time: now)
            try engine.compactAll(now: &now)
            #expect(try chain(&engine, bytes("k1")).count == count, "\(policy)")
            #expect(engine.checkAccounts() == nil)
        }
    }
}
