import Bytes
import Testing

@testable import S3

@Suite struct DocumentTests {
    @Test func readsWhatClientsSend() throws {
        let text =
            "<?xml version=\"1.0\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key> a&amp;b&#10;</Key></Object></Delete>"
        let document = try XMLElement.parse(Array(text.utf8), root: "Delete")
        #expect(document.child("Object")?.child("Key")?.text == " a&b\n")
    }

    @Test func refusesHostileDocuments() {
        let laughs = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><Delete>&c;</Delete>"
        let file = "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><Delete>&b;</Delete>"
        let deep = String(repeating: "<a>", count: 1000) + String(repeating: "</a>", count: 1000)
        let wide = "<Delete>" + String(repeating: "<a/>", count: 120_000) + "</Delete>"
        for text in [
            laughs, file, deep, wide, "", "<Delete>", "<Delete></Other>", "<Other/>", "\u{0}", "{}",
            "<Delete>\u{1}</Delete>",
        ] {
            let error = #expect(throws: S3Error.self) { try XMLElement.parse(Array(text.utf8), root: "Delete") }
            #expect(error?.code == "MalformedXML")
        }
    }

    @Test func escapesWhatItWrites() {
        var xml = XMLWriter("A", isPlain: true)
        xml.leaf("B", "<&>\"\u{1}ü")
        let text = String(decoding: xml.finished(), as: UTF8.self)
        #expect(text.hasSuffix("<A><B>&lt;&amp;&gt;&quot;&#x1;ü</B></A>"))
    }

    @Test func times() {
        #expect(CivilTime(seconds: 784_111_777).httpDate == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(CivilTime(http: "Sun, 06 Nov 1994 08:49:37 GMT")?.seconds == 784_111_777)
        #expect(CivilTime.iso(milliseconds: 1_369_353_600_123) == "2013-05-24T00:00:00.123Z")
        #expect(CivilTime(basic: "20130524T000000Z")?.seconds == 1_369_353_600)
        for day in stride(from: Int64(-200_000), to: 200_000, by: 37) {
            let time = CivilTime(seconds: day * 86400 + 5)
            #expect(time.seconds == day * 86400 + 5)
        }
    }

    @Test func ranges() throws {
        #expect(try ByteRange.parse("bytes=0-9", 100) == 0..<10)
        #expect(try ByteRange.parse("bytes=90-", 100) == 90..<100)
        #expect(try ByteRange.parse("bytes=-7", 100) == 93..<100)
        #expect(try ByteRange.parse("bytes=-700", 100) == 0..<100)
        #expect(try ByteRange.parse("bytes=5-9999", 100) == 5..<100)
        for ignored in ["bytes=5-4", "bytes=0-1,3-4", "bytes=a-b", "items=0-1"] {
            #expect(try ByteRange.parse(ignored, 100) == nil)
        }
        for behind in ["bytes=100-", "bytes=-0"] {
            let error = #expect(throws: S3Error.self) { try ByteRange.parse(behind, 100) }
            #expect(error?.status == 416)
        }
    }
}

@Suite struct ChecksumTests {
    @Test func checkValues() {
        let digits = Array("123456789".utf8)
        #expect(Hex.encode(ChecksumHasher.hash(.crc32, digits)) == "cbf43926")
        #expect(Hex.encode(ChecksumHasher.hash(.crc32c, digits)) == "e3069283")
        #expect(Hex.encode(ChecksumHasher.hash(.crc64nvme, digits)) == "ae8b14860a799888")
        #expect(Hex.encode(ChecksumHasher.hash(.sha1, digits)) == "f7c3bc1d808e04732adf679965ccc34ca7ae3441")
        #expect(Hex.encode(EVPHasher.md5(digits)) == "25f9e794323b453885f5181f1b624d0b")
    }

    @Test(arguments: [ChecksumAlgorithm.crc32, .crc32c, .crc64nvme])
    func joinedAndInPieces(_ algorithm: ChecksumAlgorithm) {
        var random = SeededGenerator(seed: 3)
        let bytes = (0..<5000).map { _ in UInt8.random(in: 0...255, using: &random) }
        let whole = ChecksumHasher.hash(algorithm, bytes)
        for cut in [0, 1, 7, 8, 9, 2500, 4999, 5000] {
            let first = Array(bytes[..<cut]), second = Array(bytes[cut...])
            let joined = CRCJoin.join(
                algorithm, CRCJoin.number(ChecksumHasher.hash(algorithm, first)),
                CRCJoin.number(ChecksumHasher.hash(algorithm, second)), length: Int64(second.count))
            #expect(CRCJoin.bytes(joined, algorithm.length) == whole)
            let hasher = ChecksumHasher(algorithm)
            for part in [first, second] { part.withUnsafeBytes { hasher.update($0) } }
            #expect(hasher.finish() == whole)
        }
    }
}

@Suite struct PolicyTests {
    @Test func wildcards() {
        #expect(BucketPolicy.like("arn:aws:s3:::a/b/c", "arn:aws:s3:::a/*"))
        #expect(BucketPolicy.like("abc", "a?c"))
        #expect(BucketPolicy.like("", "*"))
        #expect(!BucketPolicy.like("abc", "a*d"))
        #expect(!BucketPolicy.like("abc", "ab"))
    }

    @Test func whatIsNotServedIsNamed() {
        func code(_ text: String) -> String? {
            do { _ = try BucketPolicy(Array(text.utf8)) } catch { return (error as? S3Error)?.message }
            return nil
        }
        let base =
            "\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::a/*\""
        #expect(code("{\"Statement\":[{\(base)}]}") == nil)
        #expect(code("{\"Statement\":[{\(base),\"NotAction\":\"s3:*\"}]}")?.contains("NotAction") == true)
        let date = "\"Condition\":{\"DateLessThan\":{\"aws:CurrentTime\":\"x\"}}"
        #expect(code("{\"Statement\":[{\(base),\(date)}]}")?.contains("DateLessThan") == true)
        #expect(code("[]") != nil)
    }

    @Test func addresses() {
        #expect(AddressBlock("10.0.0.0/8")?.contains("10.200.3.4") == true)
        #expect(AddressBlock("10.0.0.0/8")?.contains("11.0.0.1") == false)
        #expect(AddressBlock("10.0.0.1")?.contains("10.0.0.1") == true)
        #expect(AddressBlock("10.0.0.0/33") == nil)
    }
}
