import Crypto
import ObjectIndex
import Objects
import Testing

@testable import ZeroStor

@Suite struct ZeroStoreTests {
    private let servers = FakeServers(8)

    private func settings(_ more: String = "") throws -> StoreSettings {
        let backends = (1...8).map { "backend 127.0.0.1:\($0)/s farm=f\(($0 - 1) / 2) node=n\($0)" }
        return try StoreSettings(
            "data 4\nparity 2\nsurvive-nodes 2\nsurvive-farms 1\ngrace 0\nchunk-least 4096\nchunk-usual 16384\nchunk-most 65536\n\(more)\n"
                + backends.joined(separator: "\n"))
    }

    private func open(_ more: String = "") throws -> ZeroStore {
        let store = try ZeroStore(
            try settings(more), FakeBackends(servers), try ObjectIndex(path: nil),
            secret: [UInt8](repeating: 3, count: 32), url: "")
        try store.open()
        return store
    }

    private func write(_ store: ZeroStore, _ bytes: [UInt8], customerKey: [UInt8]? = nil) throws -> any StoredData {
        let writer = try store.write(customerKey: customerKey)
        try bytes.withUnsafeBytes { try writer.write($0) }
        return try writer.finish()
    }

    @discardableResult
    private func put(_ store: ZeroStore, _ name: String, _ bytes: [UInt8], customerKey: [UInt8]? = nil) throws
        -> ObjectVersion
    {
        try store.put(
            "b", ObjectKey(name), try write(store, bytes, customerKey: customerKey), etag: "e", attributes: [:],
            check: { (_) throws(ObjectError) in })
    }

    private func get(_ store: ZeroStore, _ name: String, customerKey: [UInt8]? = nil) throws -> [UInt8] {
        let reader = try store.open("b", ObjectKey(name), nil, customerKey: customerKey)
        var bytes = [UInt8](repeating: 0, count: Int(reader.version.size))
        var done = 0
        while done < bytes.count {
            let count = try bytes.withUnsafeMutableBytes {
                try reader.read(at: Int64(done), into: UnsafeMutableRawBufferPointer(rebasing: $0[done...]))
            }
            if count == 0 { break }
            done += count
        }
        return bytes
    }

    private func bytes(_ count: Int, _ seed: UInt64) -> [UInt8] {
        var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
        return (0..<count).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state >> 24)
        }
    }

    private func bucket(_ store: ZeroStore) throws {
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 1))
    }

    @Test func objectsOfAllSizesComeBackAlsoFromAnEmptyMachine() throws {
        let store = try open()
        try bucket(store)
        let sizes = [0, 1, 100, 4096, 70_000, 300_000]
        for size in sizes { try put(store, "o\(size)", bytes(size, UInt64(size))) }
        for size in sizes { #expect(try get(store, "o\(size)") == bytes(size, UInt64(size))) }
        let another = try open()
        for size in sizes { #expect(try get(another, "o\(size)") == bytes(size, UInt64(size))) }
        // The first one was replaced as the writer. It notices, reads on, and is the writer again.
        try put(another, "new", [1, 2, 3])
        #expect(throws: ObjectError.self) { try put(store, "late", [4]) }
        try put(store, "later", [4])
        #expect(try get(store, "new") == [1, 2, 3])
    }

    @Test func anyTwoNodesOrOneFarmMayGo() throws {
        let store = try open()
        try bucket(store)
        let value = bytes(150_000, 9)
        try put(store, "o", value)
        try put(store, "small", [9, 9])
        for first in UInt16(1)...8 {
            for second in first..<9 where second != first {
                servers.set(.away, first, second)
                #expect(try get(store, "o") == value)
                #expect(try get(store, "small") == [9, 9])
                servers.set(.none, first, second)
            }
        }
        servers.set(.away, 1, 2, 3, 4)
        #expect(throws: ObjectError.self) { try get(store, "o") }
        servers.set(.none, 1, 2, 3, 4)
        #expect(try get(store, "o") == value)
    }

    @Test func lostShardsAreMadeAnew() throws {
        let store = try open()
        try bucket(store)
        let values = (0..<6).map { bytes($0 * 20_000 + 10, UInt64($0)) }
        for (number, value) in values.enumerated() { try put(store, "o\(number)", value) }
        servers.wipe(1, 2)
        servers.set(.away, 1, 2)
        for number in [UInt16(1), 2] { try store.setBackend(number, .lost) }
        #expect(try store.status().state == "degraded")
        while try store.repair(limit: 4).repaired > 0 {}
        #expect(try store.status().state == "whole")
        servers.set(.away, 3, 4)
        for (number, value) in values.enumerated() { #expect(try get(store, "o\(number)") == value) }
    }

    @Test func whatIsLostKeepsNoOtherFromRepair() throws {
        let store = try open("data 2\nparity 1\nsurvive-nodes 1\nsurvive-farms 0")
        try bucket(store)
        let values = (0..<24).map { bytes(40_000, UInt64($0)) }
        for (number, value) in values.enumerated() { try put(store, "o\(number)", value) }
        // Not of those that keep the log.
        for number in [UInt16(6), 8] {
            servers.wipe(number)
            servers.set(.away, number)
            try store.setBackend(number, .lost)
        }
        // One at a time: those of two lost shards come first, and cannot be made whole.
        var lost = Set<String>()
        var rounds = 0
        while rounds < 2 {
            let report = try store.repair(limit: 1)
            lost.formUnion(report.lost)
            if report.isAtEnd { rounds += 1 }
        }
        #expect(!lost.isEmpty)
        #expect(try store.status().repairs == Int64(lost.count))
        let readable = values.indices.count { (try? get(store, "o\($0)")) == values[$0] }
        #expect(readable > 0 && readable < values.count)
    }

    @Test func whatAnotherGatewaySaysOfBackendsIsLearned() throws {
        let store = try open()
        try bucket(store)
        try put(store, "a", bytes(20_000, 1))
        let other = try open()
        try other.setBackend(1, .draining)
        #expect(throws: ObjectError.self) { try put(store, "late", [4]) }
        try put(store, "later", [4])
        #expect(store.layout.backends.first { $0.number == 1 }?.state == .draining)
        while try store.repair(limit: 4).repaired > 0 {}
        #expect(try store.status().backends.first { $0.number == 1 }?.shards == 0)
    }

    @Test func liarsAreFoundAndHealed() throws {
        let store = try open()
        try bucket(store)
        servers.set(.forgets, 3)
        let value = bytes(100_000, 4)
        try put(store, "o", value)
        servers.set(.none, 3)
        servers.set(.flips, 5)
        #expect(try get(store, "o") == value)
        let (report, _) = try store.scrub(after: nil, limit: 100) { $0 / 2 }
        #expect(report.bad > 0 && report.shards > report.bad)
        servers.set(.none, 5)
        while try store.repair(limit: 10).repaired > 0 {}
        let (again, _) = try store.scrub(after: nil, limit: 100) { $0 / 2 }
        #expect(again.bad == 0)
        #expect(try store.status().state == "whole")
    }

    @Test func writesGoOnWithoutABackendAndLeaveANote() throws {
        let store = try open()
        try bucket(store)
        servers.set(.full, 2)
        servers.set(.away, 4)
        let value = bytes(60_000, 5)
        try put(store, "o", value)
        #expect(try get(store, "o") == value)
        servers.set(.full, 1, 2, 3, 4, 5, 6, 7, 8)
        #expect(throws: ObjectError.self) { try put(store, "full", value) }
        servers.set(.none, 1, 2, 3, 4, 5, 6, 7, 8)
        #expect(try get(store, "o") == value)
    }

    @Test func sameDataIsThereOnceAndGoesWithItsLastName() throws {
        let store = try open()
        try bucket(store)
        let value = bytes(200_000, 6)
        try put(store, "a", value)
        let before = try store.status().accounts.first { $0.name == "rawBytes" }?.value
        try put(store, "b", value)
        #expect(try store.status().accounts.first { $0.name == "rawBytes" }?.value == before)
        _ = try store.delete("b", ObjectKey("a"), nil, owner: "anna", check: { (_) throws(ObjectError) in })
        for _ in 0..<4 { _ = try store.collect() }
        #expect(try get(store, "b") == value)
        // Data that shares chunks is written, and the last object with them goes before it is put: it is refused, never half there.
        let data = try write(store, value)
        _ = try store.delete("b", ObjectKey("b"), nil, owner: "anna", check: { (_) throws(ObjectError) in })
        for _ in 0..<4 { _ = try store.collect() }
        #expect(throws: ObjectError.self) {
            try store.put("b", ObjectKey("c"), data, etag: "", attributes: [:], check: { (_) throws(ObjectError) in })
        }
        try put(store, "c", value)
        #expect(try get(store, "c") == value)
        _ = try store.delete("b", ObjectKey("c"), nil, owner: "anna", check: { (_) throws(ObjectError) in })
        withExtendedLifetime(data) {}
    }

    @Test func nothingIsLeftOfWhatWasDeletedOrGivenUp() throws {
        let store = try open()
        try bucket(store)
        for number in 0..<5 { try put(store, "o", bytes(50_000 * number + 3, UInt64(number))) }
        do {
            let writer = try store.write(customerKey: nil)
            try bytes(150_000, 77).withUnsafeBytes { try writer.write($0) }
            writer.abandon()
        }
        _ = try store.delete("b", ObjectKey("o"), nil, owner: "anna", check: { (_) throws(ObjectError) in })
        // A check that refuses comes after the data was written.
        #expect(throws: ObjectError.conditionFailed("If-Match")) {
            try store.put(
                "b", ObjectKey("never"), try write(store, bytes(90_000, 8)), etag: "", attributes: [:],
                check: { (_) throws(ObjectError) in throw .conditionFailed("If-Match") })
        }
        for _ in 0..<6 { _ = try store.collect() }
        #expect((1...8).flatMap { servers.names(UInt16($0), "s") }.isEmpty)
        #expect(
            try store.status().accounts.filter { ["chunks", "stripes", "rawBytes"].contains($0.name) }.map(\.value) == [
                0, 0, 0,
            ])
    }

    /// Shards of what was deleted are not forgotten because their backend is away.
    @Test func aBackendThatWasAwayGivesItsSpaceBackToo() throws {
        let store = try open()
        try bucket(store)
        try put(store, "o", bytes(150_000, 3))
        _ = try store.delete("b", ObjectKey("o"), nil, owner: "anna", check: { (_) throws(ObjectError) in })
        servers.set(.away, 2)
        for _ in 0..<3 { _ = try store.collect() }
        #expect(!servers.names(2, "s").isEmpty)
        servers.set(.none, 2)
        for _ in 0..<3 { _ = try store.collect() }
        #expect((1...8).flatMap { servers.names(UInt16($0), "s") }.isEmpty)
        #expect(try store.status().accounts.first { $0.name == "stripes" }?.value == 0)
    }

    /// More than fits in one value of a backend is several entries; who is refused in between disturbs nobody.
    @Test func aLargeGroupIsSeveralEntries() throws {
        let store = try open()
        try bucket(store)
        let before = try store.status().height
        let changes = (0..<8).map { number in
            Change { (_, apply) throws(ObjectError) in
                for part in 0..<3 {
                    let name = "s\(number)-\(part)"
                    _ = try apply(.bucketSetting(bucket: "b", name: name, value: [UInt8](repeating: 1, count: 1 << 20)))
                }
                if number == 3 { throw .refused("after it had begun") }
            }
        }
        store.committer.work(changes)
        #expect(changes.map { $0.failure == nil } == (0..<8).map { $0 != 3 })
        #expect(try store.status().height == before + 7)
        #expect(try store.bucket("b").settings.count == 21)
    }

    @Test func aCustomersKeyIsNeeded() throws {
        let store = try open()
        try bucket(store)
        let key = [UInt8](repeating: 1, count: 32), other = [UInt8](repeating: 2, count: 32)
        try put(store, "o", bytes(9000, 1), customerKey: key)
        #expect(try get(store, "o", customerKey: key) == bytes(9000, 1))
        #expect(throws: ObjectError.wrongKey(ObjectKey("o"))) { try get(store, "o", customerKey: other) }
        #expect(throws: ObjectError.wrongKey(ObjectKey("o"))) { try get(store, "o") }
    }

    @Test func aRefusedChangeDisturbsNobody() throws {
        let store = try open()
        try bucket(store)
        try put(store, "o", [1])
        #expect(throws: ObjectError.conditionFailed("If-None-Match")) {
            try store.put(
                "b", ObjectKey("o"), try write(store, [2]), etag: "", attributes: [:],
                check: { (present) throws(ObjectError) in if present != nil { throw .conditionFailed("If-None-Match") }
                })
        }
        #expect(throws: ObjectError.noSuchBucket("x")) { try store.deleteBucket("x") }
        #expect(throws: ObjectError.bucketNotEmpty("b")) { try store.deleteBucket("b") }
        #expect(try get(store, "o") == [1])
        servers.set(.away, 1, 3, 5)
        #expect(throws: ObjectError.self) { try put(store, "o", [3]) }
        servers.set(.none, 1, 3, 5)
        try put(store, "o", [4])
        #expect(try get(store, "o") == [4])
    }

    @Test func settingsThatAreWrongAreNamed() throws {
        func reason(_ text: String) -> String? {
            do {
                _ = try StoreSettings(text)
                return nil
            } catch { return "\(error)" }
        }
        #expect(reason("data 4\n") == "no backend is named")
        #expect(reason("dta 4\nbackend 1.1.1.1:1/s")?.hasPrefix("line 1: “dta”") == true)
        #expect(reason("\nbackend nowhere") == "line 2: a backend is host:port/namespace or unix:/path/namespace")
        #expect(reason("backend 1.1.1.1:1/s weigth=2")?.contains("weigth") == true)
        #expect(
            reason("log-unreachable 1\nbackend 1.1.1.1:1/s log\nbackend 1.1.1.1:2/s log")?.contains("it takes 4")
                == true)
        #expect(try settings().logMembers == [1, 3, 5, 7, 2, 4])
    }
}
