import ObjectIndex
import Objects
import Testing

@Suite struct ListingTests {
    /// Versions without data, all in one commit.
    private func fixture(_ keys: [ObjectKey], versioning: Versioning = .off, deleted: Bool = false) throws -> Fixture {
        var fixture = try Fixture(versioning: versioning)
        try fixture.commit(
            keys.map { key in
                .objectPut(
                    ObjectPut(
                        bucket: "bucket", key: key, isDeleteMarker: deleted, etag: "e", time: 1, segments: [],
                        owner: "o"))
            })
        return fixture
    }

    private func query(_ prefix: String = "", _ delimiter: String = "", after: ObjectKey? = nil, limit: Int = 1000)
        -> ListQuery
    {
        var query = ListQuery()
        (query.prefix, query.delimiter) = (Array(prefix.utf8), Array(delimiter.utf8))
        (query.after, query.limit) = (after, limit)
        return query
    }

    private func microseconds(_ body: () throws -> Void) rethrows -> Int64 {
        let start = ContinuousClock.now
        try body()
        let took = start.duration(to: .now).components
        return took.seconds * 1_000_000 + took.attoseconds / 1_000_000_000_000
    }

    @Test("A common prefix of 100,000 keys is passed by seeking, not by walking")
    func largePrefix() throws {
        var keys = (0..<100_000).map { ObjectKey("big/\($0)") }
        keys += [ObjectKey("a"), ObjectKey("z/1")]
        let fixture = try fixture(keys)
        try fixture.read { (view) throws(IndexError) in
            let page = try view.list("bucket", self.query("", "/"))
            #expect(page.entries.map(\.key) == [ObjectKey("a")])
            #expect(page.prefixes == [Array("big/".utf8), Array("z/".utf8)])
            let next = try view.list("bucket", self.query("", "/", after: ObjectKey("big/")))
            #expect(next.prefixes == [Array("z/".utf8)])
            let versions = try view.listVersions("bucket", self.query("", "/", limit: 2))
            #expect(versions.prefixes == [Array("big/".utf8)])
            #expect(versions.isTruncated)
            // Walking takes thousands of times as long as one key does.
            let walked = self.microseconds { _ = try? view.list("bucket", self.query("big/", limit: 100_000)) }
            let passed = self.microseconds { _ = try? view.list("bucket", self.query("", "/")) }
            #expect(passed * 20 < walked, "\(passed) us beside \(walked)")
        }
    }

    @Test("Pages joined are the whole, for every limit", arguments: ["", "/", "//"])
    func pages(delimiter: String) throws {
        let keys = ["a", "a/1", "a/2", "a//3", "b", "c/", "c/1", "d", "\u{ff}", "e/x/y"].map { ObjectKey($0) }
        let fixture = try fixture(keys + [ObjectKey([255]), ObjectKey([255, 47, 1]), ObjectKey([0])])
        try fixture.read { (view) throws(IndexError) in
            let whole = try view.list("bucket", self.query("", delimiter))
            for limit in 1...(whole.entries.count + whole.prefixes.count) {
                var joined = ListPage<ObjectVersion>()
                var after: ObjectKey?
                repeat {
                    let page = try view.list("bucket", self.query("", delimiter, after: after, limit: limit))
                    #expect(page.entries.count + page.prefixes.count <= limit)
                    joined.entries += page.entries
                    joined.prefixes += page.prefixes
                    joined.isTruncated = page.isTruncated
                    let last = [page.entries.last?.key, page.prefixes.last.map { ObjectKey($0) }].compactMap { $0 }
                    after = last.max()
                } while joined.isTruncated
                #expect(joined.entries == whole.entries)
                #expect(joined.prefixes == whole.prefixes)
            }
            #expect(try view.list("bucket", self.query("", delimiter, limit: 0)).isTruncated == false)
        }
    }

    @Test("Deleted keys make neither entries nor common prefixes; former versions are passed by seeking")
    func markers() throws {
        var fixture = try fixture([ObjectKey("a/1"), ObjectKey("b/1"), ObjectKey("b/2")], versioning: .enabled)
        func put(_ key: String, marker: Bool) -> Operation {
            .objectPut(
                ObjectPut(
                    bucket: "bucket", key: ObjectKey(key), isDeleteMarker: marker, etag: "", time: 1, segments: [],
                    owner: "o"))
        }
        try fixture.commit([put("a/1", marker: true), put("b/1", marker: true)])
        try fixture.commit((0..<5000).map { _ in put("b/2", marker: false) })
        try fixture.read { (view) throws(IndexError) in
            #expect(try view.list("bucket", self.query("", "/")).prefixes == [Array("b/".utf8)])
            #expect(try view.list("bucket", self.query()).entries.map(\.key) == [ObjectKey("b/2")])
            let versions = try view.listVersions("bucket", self.query("", "", limit: 5))
            #expect(versions.entries.map(\.isDeleteMarker) == [true, false, true, false, false])
            #expect(versions.entries.map(\.isLatest) == [true, false, true, false, true])
            #expect(versions.isTruncated)
            var rest = self.query("", "", after: ObjectKey("b/2"), limit: 5000)
            rest.afterVersion = versions.entries.last?.id
            let others = try view.listVersions("bucket", rest)
            #expect(others.entries.count == 5000)
            #expect(others.entries.allSatisfy { !$0.isLatest })
            #expect(!others.isTruncated)
        }
    }

    @Test("Uploads by key, then by id, in pages")
    func uploads() throws {
        var fixture = try Fixture()
        let keys = ["a", "b/1", "b/1", "b/2", "c"]
        let numbers = try fixture.commit(
            keys.map { .uploadCreate(UploadCreate(bucket: "bucket", key: ObjectKey($0), time: 1, owner: "o")) }
        ).map(\.sequence)
        try fixture.read { (view) throws(IndexError) in
            let joined = try view.listUploads("bucket", self.query("", "/"))
            #expect(joined.entries.map(\.key) == [ObjectKey("a"), ObjectKey("c")])
            #expect(joined.prefixes == [Array("b/".utf8)])
            var query = self.query("b", "", limit: 1)
            (query.after, query.afterUpload) = (ObjectKey("b/1"), VersionID.number(numbers[1]).description)
            let page = try view.listUploads("bucket", query)
            #expect(page.entries.map(\.id) == [VersionID.number(numbers[2]).description])
            #expect(page.isTruncated)
            query.afterUpload = nil
            #expect(try view.listUploads("bucket", query).entries.map(\.key) == [ObjectKey("b/2")])
        }
    }
}
