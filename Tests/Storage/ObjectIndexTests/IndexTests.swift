import CSQLite
import Crypto
import Glibc
import ObjectIndex
import Objects
import Synchronization
import Testing

/// Says to other threads that it is over.
private final class Flag: Sendable {
    let value = Atomic(false)
}

@Suite struct IndexTests {
    private func path(_ name: String) -> String {
        let path = "/tmp/zero-index-test-\(getpid())-\(name)"
        ObjectIndex.remove(path)
        return path
    }

    @Test("An index that is opened again stands where it was committed")
    func reopen() throws {
        let path = path("reopen")
        defer { ObjectIndex.remove(path) }
        var accounts = Accounts()
        do {
            var fixture = try Fixture(path)
            try fixture.put("a")
            accounts = try fixture.writer.view.accounts()
            try fixture.writer.begin()
            try fixture.writer.apply(.bucketCreate(Bucket(name: "lost", owner: "o", created: 1)))
        }
        let index = try ObjectIndex(path: path)
        #expect(index.writer.height == 2)
        #expect(index.writer.nextSequence == 11)
        #expect(index.writer.chain == SHA256.hash("2").bytes)
        #expect(try index.writer.view.accounts() == accounts)
        try index.withReader { (view) throws(IndexError) in
            #expect(try view.position() == index.writer.view.position())
            #expect(try view.bucket("lost") == nil)
            #expect(try view.buckets().map(\.name) == ["bucket"])
            #expect(try view.verify() == [])
        }
    }

    @Test("A snapshot is what was committed, in a file of its own; it is restored over anything")
    func snapshot() throws {
        let (path, copy, target) = (path("whole"), path("copy"), path("target"))
        defer { for path in [path, copy, target] { ObjectIndex.remove(path) } }
        var fixture = try Fixture(path)
        try fixture.put("a")
        let accounts = try fixture.writer.view.accounts()
        try fixture.writer.begin()
        try fixture.writer.apply(.bucketVersioning("bucket", .enabled))
        try fixture.index.snapshot(to: copy)
        try fixture.writer.rollback()
        try fixture.put("b")
        for target in [nil, target, target] {
            let restored = try ObjectIndex(restoring: copy, path: target)
            #expect(restored.writer.height == 2)
            #expect(try restored.writer.view.accounts() == accounts)
            #expect(try restored.writer.view.bucket("bucket")?.versioning == .off)
            #expect(try restored.writer.view.verify() == [])
            try restored.writer.apply(
                entry: [.bucketVersioning("bucket", .suspended)], height: 3, chain: [UInt8](repeating: 3, count: 32))
            #expect(try restored.withReader { (view) throws(IndexError) in try view.position().height } == 3)
        }
    }

    @Test("Files that are no index, or another one, are refused and left alone")
    func otherFormat() throws {
        let path = path("other")
        defer { ObjectIndex.remove(path) }
        var handle: OpaquePointer?
        #expect(sqlite3_open(path, &handle) == SQLITE_OK)
        #expect(sqlite3_exec(handle, "CREATE TABLE t(a)", nil, nil, nil) == SQLITE_OK)
        sqlite3_close(handle)
        #expect(throws: IndexError.otherFormat("the file is not an index")) { try ObjectIndex(path: path) }
        ObjectIndex.remove(path)
        _ = try Fixture(path)
        #expect(sqlite3_open(path, &handle) == SQLITE_OK)
        #expect(sqlite3_exec(handle, "PRAGMA user_version=77", nil, nil, nil) == SQLITE_OK)
        sqlite3_close(handle)
        #expect(throws: IndexError.otherFormat("its version is 77")) { try ObjectIndex(path: path) }
        #expect(throws: IndexError.self) { try ObjectIndex(path: "/nowhere/at/all") }
    }

    @Test("Readers beside the writer see whole commits, each at one moment")
    func concurrent() async throws {
        var fixture = try Fixture()
        try fixture.put("a", bytes: 100)
        let index = fixture.index
        let done = Flag()
        let seen = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    var last: UInt64 = 0, reads = 0
                    while !done.value.load(ordering: .acquiring) || reads == 0 {
                        try index.withReader { (view) throws(IndexError) in
                            // Commit n leaves n - 1 objects, of 100 bytes each, and nothing half.
                            let height = try view.position().height
                            let objects = try view.list("bucket", ListQuery()).entries
                            #expect(objects.count == Int(height - 1))
                            #expect(try view.accounts().objectBytes == Int64(100 * objects.count))
                            #expect(try view.position().height == height)
                            #expect(height >= last)
                            last = height
                        }
                        reads += 1
                    }
                    return reads
                }
            }
            for number in 0..<200 { try fixture.put("b\(number)", bytes: 100) }
            done.value.store(true, ordering: .releasing)
            return try await group.reduce(0, +)
        }
        #expect(seen >= 3)
        #expect(try index.withReader { (view) throws(IndexError) in try view.verify() } == [])
    }

    @Test("A reader within a reader, and one whose body throws, do no harm")
    func nested() throws {
        let fixture = try Fixture()
        let count = try fixture.read { (outer) throws(IndexError) in
            try fixture.index.withReader { (inner) throws(IndexError) in
                try inner.buckets().count + (try outer.buckets().count)
            }
        }
        #expect(count == 2)
        for _ in 0..<20 {
            #expect(throws: IndexError.misuse("mine")) {
                try fixture.read { (_) throws(IndexError) in throw IndexError.misuse("mine") }
            }
        }
        #expect(try fixture.read { (view) throws(IndexError) in try view.buckets().count } == 1)
    }

    @Test("Calls out of order are refused")
    func misuse() throws {
        let writer = try Fixture().writer
        #expect(throws: IndexError.self) { try writer.apply(.bucketDelete("bucket")) }
        #expect(throws: IndexError.self) { try writer.commit(height: 9, chain: []) }
        try writer.begin()
        #expect(throws: IndexError.self) { try writer.begin() }
        #expect(throws: IndexError.self) { try writer.commit(height: 0, chain: []) }
        try writer.rollback()
        try writer.rollback()
        #expect(throws: IndexError.self) { try writer.apply(entry: [.bucketDelete("no")], height: 5, chain: []) }
        #expect(writer.height == 1)
        try writer.apply(entry: [.bucketDelete("bucket")], height: 5, chain: [])
        #expect(writer.height == 5)
    }
}
