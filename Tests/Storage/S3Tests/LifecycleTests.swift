import Objects
import Testing

@testable import S3

@Suite struct LifecycleTests {
    private let day = Lifecycle.day

    private func rules(_ body: String) throws -> Lifecycle {
        try Lifecycle(Array("<LifecycleConfiguration>\(body)</LifecycleConfiguration>".utf8))
    }

    private func rule(_ body: String, id: String = "r") -> String {
        "<Rule><ID>\(id)</ID><Status>Enabled</Status>\(body)</Rule>"
    }

    private func version(_ name: String, size: Int64 = 1, modified: Int64, tags: String? = nil) -> ObjectVersion {
        ObjectVersion(
            key: ObjectKey(name), id: .null, sequence: 1, isLatest: true, size: size, etag: "e", modified: modified,
            attributes: tags.map { [Attribute.tags: $0] } ?? [:])
    }

    @Test func daysEndAtTheMidnightBehind() throws {
        let found = try rules(rule("<Prefix>a/</Prefix><Expiration><Days>2</Days></Expiration>"))
        #expect(found.expiration(of: version("a/x", modified: 10 * day + 1))?.time == 13 * day)
        #expect(found.expiration(of: version("a/x", modified: 10 * day))?.time == 12 * day)
        #expect(found.expiration(of: version("b/x", modified: 10 * day)) == nil)
    }

    @Test func theEarliestRuleCountsAndDisabledOnesDoNot() throws {
        let found = try rules(
            rule("<Prefix/><Expiration><Days>9</Days></Expiration>", id: "late")
                + rule("<Prefix>x</Prefix><Expiration><Date>1970-01-03</Date></Expiration>", id: "early")
                + "<Rule><ID>off</ID><Status>Disabled</Status><Prefix/><Expiration><Days>1</Days></Expiration></Rule>")
        let expiration = try #require(found.expiration(of: version("x", modified: 0)))
        #expect(expiration.time == 2 * day && expiration.rule == "early")
        #expect(found.expiration(of: version("y", modified: 0))?.rule == "late")
    }

    @Test func filtersAreAllOfThem() throws {
        let found = try rules(
            rule(
                "<Filter><And><Prefix>a</Prefix><Tag><Key>k</Key><Value>v w</Value></Tag><ObjectSizeGreaterThan>10</ObjectSizeGreaterThan>"
                    + "<ObjectSizeLessThan>20</ObjectSizeLessThan></And></Filter><Expiration><Days>1</Days></Expiration>"
            ))
        func goes(_ name: String, _ size: Int64, _ tags: String?) -> Bool {
            found.expiration(of: version(name, size: size, modified: 0, tags: tags)) != nil
        }
        #expect(goes("ab", 15, "k=v%20w&o=1"))
        #expect(!goes("b", 15, "k=v%20w") && !goes("a", 10, "k=v%20w") && !goes("a", 20, "k=v%20w"))
        #expect(!goes("a", 15, "k=v") && !goes("a", 15, nil))
        // What is kept reads back as the same.
        #expect(try Lifecycle(found.document).document == found.document)
    }

    @Test func formerVersionsGoByAgeAndRank() throws {
        let found = try rules(
            rule(
                "<Prefix/><NoncurrentVersionExpiration><NewerNoncurrentVersions>2</NewerNoncurrentVersions><NoncurrentDays>3</NoncurrentDays>"
                    + "</NoncurrentVersionExpiration>"))
        let old = version("a", modified: 0)
        #expect(!found.letsGo(old, since: day, rank: 1, now: 100 * day, day: day))
        #expect(!found.letsGo(old, since: day, rank: 2, now: 4 * day - 1, day: day))
        #expect(found.letsGo(old, since: day, rank: 2, now: 4 * day, day: day))
    }

    @Test func wrongDocumentsAreRefused() {
        let expiration = "<Expiration><Days>1</Days></Expiration>"
        for (body, code) in [
            (rule("<Prefix/>"), "MalformedXML"), (rule(expiration), "MalformedXML"),
            (rule("<Prefix/><Filter/>" + expiration), "MalformedXML"),
            (rule("<Prefix/><Expiration><Days>0</Days></Expiration>"), "InvalidArgument"),
            (rule("<Prefix/><Expiration><Days>x</Days></Expiration>"), "MalformedXML"),
            (rule("<Prefix/><Expiration><Date>2020-01-01T01:00:00Z</Date></Expiration>"), "InvalidArgument"),
            (rule("<Prefix/><Transition><Days>1</Days></Transition>"), "NotImplemented"),
            (rule("<Prefix/>" + expiration) + rule("<Prefix>a</Prefix>" + expiration), "InvalidArgument"),
            ("<Rule><Status>on</Status><Prefix/>\(expiration)</Rule>", "MalformedXML"), ("", "MalformedXML"),
        ] {
            #expect { try rules(body) } throws: { ($0 as? S3Error)?.code == code }
        }
    }

    @Test func aBucketIsGoneThrough() throws {
        let store = MemoryObjectStore()
        try store.createBucket(Bucket(name: "b", owner: "anna", created: 0))
        try store.setVersioning("b", .enabled)
        func put(_ name: String, _ attributes: [String: String] = [:]) throws {
            let writer = try store.write(customerKey: nil)
            _ = try store.put(
                "b", ObjectKey(name), try writer.finish(), etag: "e", attributes: attributes,
                check: { (_) throws(ObjectError) in })
        }
        for name in ["a/1", "a/2", "keep"] { for _ in 0..<3 { try put(name) } }
        try put("a/held", [Attribute.legalHold: "ON"])
        try put("a/held")
        _ = try store.createUpload("b", ObjectKey("a/up"), attributes: [:], customerKey: nil)
        let bucket = try store.bucket("b")
        let found = try rules(
            rule(
                "<Prefix>a/</Prefix><Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>"
                    + "</NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>"
                    + "</AbortIncompleteMultipartUpload>"))
        let now = try #require(store.listVersions("b", ListQuery()).entries.map(\.modified).max())
        #expect(try LifecycleWorker.apply(found, bucket, store, now: now, day: day) == 0)
        let later = now + 3 * day
        // Three newest versions get markers, four former ones and an upload go; the held one stays.
        #expect(try LifecycleWorker.apply(found, bucket, store, now: later, day: day) == 8)
        #expect(try store.list("b", ListQuery()).entries.map(\.key.description) == ["keep"])
        #expect(try store.listUploads("b", ListQuery()).entries.isEmpty)
        // In time the versions behind the markers go, and the markers that hide nothing.
        for round in 2...5 {
            _ = try LifecycleWorker.apply(found, bucket, store, now: later + Int64(round) * 3 * day, day: day)
        }
        let left = try store.listVersions("b", ListQuery()).entries
        #expect(Set(left.map(\.key.description)) == ["keep", "a/held"])
        #expect(left.count { $0.key.description == "keep" } == 3)
    }
}
