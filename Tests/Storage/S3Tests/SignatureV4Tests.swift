import Bytes
import Crypto
import HTTP
import Objects
import Testing

@testable import S3

/// The examples that AWS publishes with the signature's definition.
private enum Example {
    static let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    static let credential = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
    static let now: Int64 = 1_369_353_600_000

    static func request(_ method: String, _ target: String, _ headers: [(name: String, value: String)]) -> S3Request {
        S3Request(
            HTTPHead(method: method, target: target, headers: headers), domain: nil, id: "test", now: now)
    }
    static func authorization(_ names: String, _ signature: String) -> (name: String, value: String) {
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=\(credential),SignedHeaders=\(names),Signature=\(signature)"
        )
    }
    static let get: [(name: String, value: String)] = [
        ("host", "examplebucket.s3.amazonaws.com"), ("range", "bytes=0-9"), ("x-amz-date", "20130524T000000Z"),
        ("x-amz-content-sha256", SignatureV4.emptyHash),
        authorization(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    ]
}

@Suite struct SignatureV4Tests {
    @Test func headerOfGetObject() throws {
        let request = Example.request("GET", "/test.txt", Example.get)
        let signature = try #require(try SignatureV4.read(request))
        #expect(signature.accessKey == "AKIAIOSFODNN7EXAMPLE")
        #expect(signature.matches(request, secret: Example.secret))
        #expect(!signature.matches(request, secret: Example.secret + "x"))
        let other = Example.request("GET", "/test2.txt", Example.get)
        #expect(try SignatureV4.read(other)?.matches(other, secret: Example.secret) == false)
    }

    @Test func headerOfPutObject() throws {
        let request = Example.request(
            "PUT", "/test%24file.text",
            [
                ("host", "examplebucket.s3.amazonaws.com"), ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-date", "20130524T000000Z"), ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
                Example.authorization(
                    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            ])
        #expect(try SignatureV4.read(request)?.matches(request, secret: Example.secret) == true)
    }

    @Test func parametersOfListing() throws {
        let request = Example.request(
            "GET", "/?max-keys=2&prefix=J",
            [
                ("host", "examplebucket.s3.amazonaws.com"), ("x-amz-date", "20130524T000000Z"),
                ("x-amz-content-sha256", SignatureV4.emptyHash),
                Example.authorization(
                    "host;x-amz-content-sha256;x-amz-date",
                    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            ])
        #expect(try SignatureV4.read(request)?.matches(request, secret: Example.secret) == true)
    }

    @Test func presigned() throws {
        let query =
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
            + "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
            + "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        let request = Example.request("GET", "/test.txt?\(query)", [("host", "examplebucket.s3.amazonaws.com")])
        #expect(try SignatureV4.read(request)?.matches(request, secret: Example.secret) == true)
        let late = S3Request(request.head, domain: nil, id: "test", now: Example.now + 86_401_000)
        #expect(throws: S3Error.self) { try SignatureV4.read(late) }
    }

    @Test func clocksMayDifferByFifteenMinutes() throws {
        func read(_ shift: Int64) throws -> SignatureV4? {
            let head = HTTPHead(method: "GET", target: "/test.txt", headers: Example.get)
            return try SignatureV4.read(S3Request(head, domain: nil, id: "test", now: Example.now + shift * 1000))
        }
        #expect(try read(900) != nil)
        #expect(try read(-900) != nil)
        for shift: Int64 in [901, -901] {
            let error = #expect(throws: S3Error.self) { try read(shift) }
            #expect(error?.code == "RequestTimeTooSkewed")
        }
    }

    @Test func versionTwoIsRefusedClearly() throws {
        let request = Example.request("GET", "/a/b", [("host", "h"), ("authorization", "AWS AKID:c2lnbmF0dXJl")])
        let error = #expect(throws: S3Error.self) { try SignatureV4.read(request) }
        #expect(error?.code == "InvalidRequest")
        #expect(error?.message.contains("AWS4-HMAC-SHA256") == true)
    }
}
