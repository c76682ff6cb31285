import Bytes
import Crypto
import Testing

@testable import S3

/// The example that AWS publishes: 66,560 times `a` in two chunks and an empty one.
private enum Example {
    static let body: [UInt8] = {
        var bytes = Array(
            "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n".utf8)
        bytes += [UInt8](repeating: 97, count: 65536)
        bytes += Array(
            "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n".utf8)
        bytes += [UInt8](repeating: 97, count: 1024)
        bytes += Array(
            "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n".utf8)
        return bytes
    }()

    static func decoder() -> ChunkedBody {
        var key = HMAC.sha256(key: Array("AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".utf8), Array("20130524".utf8))
        for part in ["us-east-1", "s3", "aws4_request"] { key = HMAC.sha256(key: key, Array(part.utf8)) }
        let signer = ChunkSigner(
            key: key, time: "20130524T000000Z", scope: "20130524/us-east-1/s3/aws4_request",
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
        return ChunkedBody(signer: signer, hasTrailer: false)
    }
}

/// Feeds a body in pieces; the data, or nil where it was refused or is not complete.
private func decode(_ body: [UInt8], _ decoder: ChunkedBody, pieces: () -> Int) -> [UInt8]? {
    var decoder = decoder
    var data: [UInt8] = []
    var at = 0
    do {
        while at < body.count {
            let count = min(max(1, pieces()), body.count - at)
            try body[at..<at + count].withUnsafeBytes { try decoder.take($0) { data.append(contentsOf: $0) } }
            at += count
        }
    } catch {
        return nil
    }
    return decoder.isDone ? data : nil
}

@Suite struct ChunkedBodyTests {
    @Test func publishedExampleInAnyPieces() {
        var random = SeededGenerator(seed: 7)
        let wanted = [UInt8](repeating: 97, count: 66560)
        #expect(decode(Example.body, Example.decoder()) { Example.body.count } == wanted)
        for _ in 0..<50 {
            #expect(decode(Example.body, Example.decoder()) { Int.random(in: 1...5000, using: &random) } == wanted)
        }
    }

    @Test func everyChangedByteIsNoticed() {
        var random = SeededGenerator(seed: 8)
        for _ in 0..<300 {
            var body = Example.body
            let at = Int.random(in: 0..<body.count, using: &random)
            body[at] ^= UInt8(1 << Int.random(in: 0..<8, using: &random))
            let data = decode(body, Example.decoder()) { 4096 }
            // What is let through is the same data: a letter's case in a length, or a line's end.
            #expect(data == nil || data == [UInt8](repeating: 97, count: 66560))
        }
    }

    @Test func everyCutIsNoticed() {
        for count in [0, 1, 85, 90, 30000, 65621, 65625, 66000, Example.body.count - 3] {
            #expect(decode(Array(Example.body.prefix(count)), Example.decoder()) { 1000 } == nil)
        }
    }

    @Test func trailersWithoutSignature() throws {
        var decoder = ChunkedBody(signer: nil, hasTrailer: true)
        var data: [UInt8] = []
        try Array("3\r\nabc\r\n0\r\nx-amz-checksum-crc32: NSRBwg==\r\n\r\n".utf8).withUnsafeBytes {
            try decoder.take($0) { data.append(contentsOf: $0) }
        }
        #expect(data == Array("abc".utf8))
        #expect(decoder.isDone)
        #expect(decoder.trailers.map(\.name) == ["x-amz-checksum-crc32"])
        #expect(decoder.trailers.map(\.value) == [" NSRBwg=="].map { SignatureV4.squeezed($0) })
    }

    @Test func hostileHeaders() {
        for text in [
            "ffffffffffffffff\r\n", "-1\r\n", ";chunk-signature=\r\n", "zz\r\n", "3\r\nabcd\r\n",
            "0\r\nno colon\r\n\r\n", String(repeating: "1", count: 20000),
        ] {
            #expect(
                decode(Array(text.utf8), ChunkedBody(signer: nil, hasTrailer: true)) { 7 } == nil, "\(text.prefix(20))")
        }
    }

    @Test func noiseNeverEndsWell() {
        var random = SeededGenerator(seed: 9)
        for _ in 0..<2000 {
            let noise = (0..<Int.random(in: 1...64, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            #expect(decode(noise, Example.decoder()) { 5 } == nil)
        }
    }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
