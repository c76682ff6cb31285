import Simulation
import Testing

@testable import LogEngine

@Suite("Log engine: versions")
struct VersionTests {
    struct Past: Equatable {
        var sequence: UInt64
        var time: UInt64
        var value: [UInt8]?
    }

    private func history(_ engine: inout LogEngine, _ key: [UInt8]) throws -> [Past] {
        var result: [Past] = []
        var before: UInt64?
        while let version = try key.withUnsafeBytes({ try engine.version(1, $0, before: before) }) {
            result.append(
                Past(sequence: version.sequence, time: version.time, value: try value(&engine, version, key)))
            before = version.sequence
        }
        return result
    }

    private func value(_ engine: inout LogEngine, _ version: Version, _ key: [UInt8]) throws -> [UInt8]? {
        if version.isTombstone { return nil }
        var value = [UInt8](repeating: 0, count: version.valueLength + 1)
        try value.withUnsafeMutableBytes { bytes in
            let base = try #require(bytes.baseAddress)
            try key.withUnsafeBytes { try engine.readVersion(version, 1, $0, into: base) }
        }
        return value.dropLast()
    }

    @Test("All versions of all keys are there, newest first, over deletions, segments and restarts")
    func chains() throws {
        var random = SeededRandom(seed: 3)
        let disk = SimulatedDisk()
        var options = smallOptions(16384)
        options.scannedBytes = 0
        var model: [[UInt8]: [Past]] = [:]
        var time: UInt64 = 1_800_000_000_000_000_000
        for process in 0..<3 {
            var engine = try LogEngine.open(disk, options)
            for _ in 0..<150 {
                let key = bytes("key-\(random.below(8))")
                time += 10
                if random.chance(20) {
                    do throws(LogError) {
                        let sequence = try delete(&engine, key, time)
                        model[key, default: []].insert(Past(sequence: sequence, time: time, value: nil), at: 0)
                    } catch .absent {}
                } else {
                    let value = random.bytes(random.below(500))
                    let sequence = try set(&engine, key, value, time)
                    model[key, default: []].insert(Past(sequence: sequence, time: time, value: value), at: 0)
                }
                if random.chance(30) { try engine.commit(sync: true) }
            }
            for (key, past) in model { #expect(try history(&engine, key) == past) }
            try engine.commit(sync: true)
            if process == 1 { try engine.close(time: time) }
        }
        var engine = try LogEngine.open(disk, options)
        #expect(engine.segmentCount > 5)
        for (key, past) in model {
            #expect(try history(&engine, key) == past)
            for one in past {
                let found = try key.withUnsafeBytes { try engine.version(1, $0, at: one.time + 3) }
                #expect(found?.sequence == one.sequence)
            }
            #expect(try key.withUnsafeBytes { try engine.version(1, $0, at: 1) } == nil)
            // A number that is not one of the key's own.
            let middle = past[past.count / 2]
            let found = try key.withUnsafeBytes { try engine.version(1, $0, before: middle.sequence + 1) }
            #expect(found?.sequence == middle.sequence)
        }
        #expect(try history(&engine, bytes("never")) == [])
    }

    @Test("A lost older version ends the chain, a damaged one is an error that names the place")
    func broken() throws {
        let disk = SimulatedDisk()
        var engine = try LogEngine.open(disk)
        let first = try set(&engine, bytes("k"), [1, 1, 1], 5)
        let second = try set(&engine, bytes("k"), [2, 2, 2], 6)
        try set(&engine, bytes("k"), [3, 3, 3], 7)
        try engine.commit(sync: true)
        #expect(try history(&engine, bytes("k")).map(\.sequence) == [second + 1, second, first])
        let found = engine.place(of: second)
        let place = try #require(found)
        disk.flip(Format.name(segment: 1), at: Int(place.offset) + 17, mask: 1)
        #expect(throws: LogError.corrupt(segment: 1, offset: place.offset)) { try history(&engine, bytes("k")) }
        disk.flip(Format.name(segment: 1), at: Int(place.offset) + 17, mask: 1)
        disk.flip(Format.name(segment: 1), at: Int(place.offset) + 66, mask: 1)
        #expect(throws: LogError.corrupt(segment: 1, offset: place.offset)) { try history(&engine, bytes("k")) }
        #expect(try engine.get(bytes("k")) == [3, 3, 3])
    }

    @discardableResult
    private func set(
        _ engine: inout LogEngine, _ key: [UInt8], _ value: [UInt8], _ time: UInt64
    ) throws(LogError) -> UInt64 {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                do throws(LogError) { result = .success(try engine.set(1, key, value, time: time)) } catch {
                    result = .failure(error)
                }
            }
        }
        return try result.get()
    }

    private func delete(_ engine: inout LogEngine, _ key: [UInt8], _ time: UInt64) throws(LogError) -> UInt64 {
        var result: Result<UInt64, LogError> = .failure(.absent)
        key.withUnsafeBytes { key in
            do throws(LogError) { result = .success(try engine.delete(1, key, time: time)) } catch {
                result = .failure(error)
            }
        }
        return try result.get()
    }
}
