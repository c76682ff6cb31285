import Crypto
import ObjectIndex
import Objects
import Synchronization
import Testing

@testable import ZeroStor

/// Copies of the index in the store, and a log whose beginning is gone.
@Suite struct SnapshotTests {
    private let servers = FakeServers(8)
    private let secret = [UInt8](repeating: 3, count: 32)

    private func settings() throws -> StoreSettings {
        let backends = (1...8).map { "backend 127.0.0.1:\($0)/s farm=f\(($0 - 1) / 2) node=n\($0)" }
        return try StoreSettings(
            "data 4\nparity 2\nsurvive-nodes 2\nsurvive-farms 1\ngrace 0\n" + backends.joined(separator: "\n"))
    }

    /// A gateway on an empty machine.
    private func open() throws -> ZeroStore {
        let settings = try settings(), backends = FakeBackends(servers)
        let keys = StoreKeys(secret: secret, store: settings.store)
        let index = try ZeroStore.index(settings, backends, keys, nil)
        let store = try ZeroStore(settings, backends, index, secret: secret, url: "")
        try store.open()
        return store
    }

    private func put(_ store: ZeroStore, _ names: [String]) throws {
        for name in names {
            let writer = try store.write(customerKey: nil)
            try Array("value of \(name)".utf8).withUnsafeBytes { try writer.write($0) }
            _ = try store.put(
                "b", ObjectKey(name), try writer.finish(), etag: "e", attributes: [:],
                check: { (_) throws(ObjectError) in })
        }
    }

    private func value(_ store: ZeroStore, _ name: String) throws -> String {
        let reader = try store.open("b", ObjectKey(name), nil, customerKey: nil)
        var bytes = [UInt8](repeating: 0, count: Int(reader.version.size))
        _ = try bytes.withUnsafeMutableBytes { try reader.read(at: 0, into: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func check(_ store: ZeroStore, _ names: [String]) throws {
        for name in names { #expect(try value(store, name) == "value of \(name)") }
    }

    private func entries(_ number: UInt16) -> Int { servers.names(number, "L").count }

    @Test func aGatewayWithoutIndexBeginsWithTheCopy() throws {
        var store = try open()
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 1))
        let first = (0..<20).map { "a\($0)" }, second = (0..<20).map { "b\($0)" }, third = ["c"]
        try put(store, first)
        let before = entries(1)
        let made = try store.takeSnapshot()
        #expect(made.trimmed == 0 && made.height > 20 && entries(1) >= before)
        try put(store, second)
        let next = try store.takeSnapshot()
        #expect(next.trimmed == made.height)
        try put(store, third)
        // The log's beginning is gone, on every backend that keeps it.
        for number in store.quorum.members { #expect(entries(number) < before + 25) }
        servers.set(.away, 2)
        servers.set(.flips, 1)
        store = try open()
        try check(store, first + second + third)
        try put(store, ["d"])
        servers.set(.none, 1, 2)
        try check(try open(), first + second + third + ["d"])
    }

    @Test func theCopyIsReadWhereItsShardsWereMoved() throws {
        let store = try open()
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 1))
        let names = (0..<10).map { "a\($0)" }
        try put(store, names)
        _ = try store.takeSnapshot()
        _ = try store.takeSnapshot()
        for number in [UInt16(7), 8] {
            servers.wipe(number)
            servers.set(.away, number)
            try store.setBackend(number, .lost)
        }
        while try store.repair(limit: 4).repaired > 0 {}
        // One of those that the record names as well, so that it takes the moved ones.
        servers.set(.away, 6)
        try check(try open(), names)
    }

    @Test func whatWasReleasedIsCollectedAndTheCopyStays() throws {
        let store = try open()
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 1))
        try put(store, ["a"])
        for _ in 0..<4 { _ = try store.takeSnapshot() }
        while try store.collect().gone > 0 {}
        // One object's stripe and the last copy's.
        #expect(Set((UInt16(1)...8).flatMap { servers.names($0, "s") }.map { $0.dropLast() }).count == 2)
        try check(try open(), ["a"])
    }

    /// A gateway that ended between the log's word for a copy and the record of it makes another before it collects.
    @Test func aRecordThatWasNotWrittenIsMadeUpFor() throws {
        var store = try open()
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 1))
        try put(store, ["a"])
        _ = try store.takeSnapshot()
        let record = servers.servers.withLock { servers in servers.mapValues { $0.values[Array("S".utf8)] } }
        try put(store, ["b"])
        _ = try store.takeSnapshot()
        for (number, bytes) in record { servers.change(number) { $0.values[Array("S".utf8)] = bytes } }
        store = try open()
        try check(store, ["a", "b"])
        #expect(try store.settleSnapshot() != nil)
        #expect(try store.settleSnapshot() == nil)
        while try store.collect().gone > 0 {}
        try check(try open(), ["a", "b"])
    }

    @Test func aRecordIsItsOwners() throws {
        let store = try open()
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 1))
        _ = try store.takeSnapshot()
        let keys = StoreKeys(secret: secret, store: "store"), others = StoreKeys(secret: secret, store: "other")
        let bytes = servers.servers.withLock { $0[1]?.values[Array("S".utf8)] } ?? []
        let record = try #require(SnapshotRecord.open(bytes, keys))
        #expect(SnapshotRecord.open(record.sealed(keys), keys) == record)
        #expect(SnapshotRecord.open(bytes, others) == nil)
        for at in [0, 5, 40, bytes.count - 1] {
            var changed = bytes
            changed[at] ^= 1
            #expect(SnapshotRecord.open(changed, keys) == nil)
        }
        #expect(SnapshotRecord.open(Array(bytes.dropLast()), keys) == nil && SnapshotRecord.open([], keys) == nil)
    }
}
