import Bus
import CanonicalJSON
import Testing

@testable import StoragePools

@Suite("Zdbs of contracts") struct ZDBTests {
    static let request: JSONValue = [
        "id": "0123456789abcdef-index", "contract": "ab", "workload": "index", "size": 1_048_576, "epoch": 3,
        "mode": "user", "public": false, "worm": false,
        "password": ["name": "key", "sealed": "Bw==", "box": "Ym94"],
    ]

    @Test("a request is read whole, and what would reach a command is checked")
    func requests() throws {
        let read = try ZDBRequest(Self.request)
        #expect(read.password?.box == "Ym94" && read.epoch == 3)
        let expected: JSONValue = [
            "contract": "ab", "workload": "index", "secrets": ["key": ["sealed": "Bw==", "box": "Ym94"]],
        ]
        #expect(try read.opening(#require(read.password)) == expected)
        let hostile: [(String, JSONValue)] = [
            ("id", "a b"), ("id", "../x"), ("id", ""), ("size", 1), ("epoch", -1), ("mode", "tree"), ("extra", 1),
            ("password", ["name": "key"]), ("public", 1),
        ]
        for (key, value) in hostile {
            var bad = Self.request
            bad[key] = value
            #expect(throws: JSONError.self, "\(key)") { try ZDBRequest(bad) }
        }
    }

    @Test("a record reads back the same; another version is refused")
    func records() throws {
        var record = ZDBRecord(id: "x", size: 5, epoch: 2, mode: "user", password: "ab")
        #expect(try ZDBRecord(record.canonicalBytes) == record)
        record.isRemoved = true
        #expect(try ZDBRecord(record.canonicalBytes).isRemoved)
        #expect(throws: JSONError.self) { try ZDBRecord(Array(#"{"v":2}"#.utf8)) }
    }

    @Test("a store that does not answer is told from one that refuses")
    func unreachable() throws {
        let folder = "/tmp/zero-zdb-test-\(UInt32.random(in: 0 ... .max))"
        let keeper = try ZDBKeeper(folder: folder, run: folder) { 1 << 40 }
        let error = try #require(throws: StorageError.self) { try keeper.ensure(ZDBRequest(Self.request)) }
        #expect(error.onBus.code == "UNREACHABLE" && error.onBus.isTransport)
        #expect(StorageError.refused("x", "QUOTA", "too small").onBus.code == "CONFLICT")
        #expect(StorageError.lostNamespace("x").onBus.code == "LOST")
    }
}
