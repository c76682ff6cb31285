import Bytes
import Crypto
import Testing

@testable import Flist

@Suite struct ChunkTests {
    static let privateSecret = ConvergenceSecret(Array(repeating: 7, count: 32)) ?? .publicImages

    @Test(arguments: [0, 1, 11, 4_096, 262_144, 1 << 20], ChunkKind.allCases)
    func comesBack(size: Int, kind: ChunkKind) throws {
        var random = Seeded(state: UInt64(size))
        for plain in [random.bytes(size), [UInt8](repeating: 65, count: size)] {
            let sealed = try ChunkCodec.seal(plain, kind, .publicImages)
            #expect(try ChunkCodec.open(sealed.stored, sealed.reference, kind, .publicImages) == plain)
            #expect(sealed.stored.count <= size + ChunkCodec.headerBytes + ChunkCodec.tagBytes)
            #expect(SHA256.hash(sealed.stored) == sealed.reference.id)
        }
    }

    @Test func compressesAndHides() throws {
        let plain = Array(String(repeating: "the same line again\n", count: 5_000).utf8)
        let sealed = try ChunkCodec.seal(plain, .content, .publicImages)
        #expect(sealed.stored.count < plain.count / 20)
        #expect(!String(decoding: sealed.stored, as: UTF8.self).contains("same"))
        #expect("\(sealed.reference.key)" == "(key)")
    }

    @Test func equalContentsConvergeUnderOneSecretOnly() throws {
        let plain = Array("contents".utf8)
        let one = try ChunkCodec.seal(plain, .content, .publicImages)
        #expect(try ChunkCodec.seal(plain, .content, .publicImages).reference == one.reference)
        #expect(try ChunkCodec.seal(plain, .content, Self.privateSecret).reference.id != one.reference.id)
        #expect(try ChunkCodec.seal(plain, .directory, .publicImages).reference.id != one.reference.id)
    }

    @Test func refusesEveryChangedByte() throws {
        let sealed = try ChunkCodec.seal(Array("some contents".utf8), .content, .publicImages)
        for index in sealed.stored.indices {
            var changed = sealed.stored
            changed[index] ^= 1
            #expect(throws: FlistError.wrongIdentifier(sealed.reference.id)) {
                try ChunkCodec.open(changed, sealed.reference, .content, nil)
            }
            // Even where the id was made to fit, the tag or the header does not.
            let forged = ChunkReference(id: SHA256.hash(changed), key: sealed.reference.key)
            #expect(throws: FlistError.self) { try ChunkCodec.open(changed, forged, .content, nil) }
        }
    }

    @Test func refusesWrongKeyKindAndSecret() throws {
        let sealed = try ChunkCodec.seal(Array("some contents".utf8), .content, Self.privateSecret)
        let other = try ChunkCodec.seal(Array("other".utf8), .content, Self.privateSecret)
        let id = sealed.reference.id
        #expect(throws: FlistError.wrongKey(id)) {
            try ChunkCodec.open(sealed.stored, ChunkReference(id: id, key: other.reference.key), .content, nil)
        }
        #expect(throws: FlistError.self) { try ChunkCodec.open(sealed.stored, sealed.reference, .directory, nil) }
        #expect(throws: FlistError.wrongConvergence(id)) {
            try ChunkCodec.open(sealed.stored, sealed.reference, .content, .publicImages)
        }
        #expect(throws: FlistError.self) {
            try ChunkCodec.seal([UInt8](repeating: 0, count: 1 << 20 + 1), .content, .publicImages)
        }
    }

    /// A stored chunk, with a key that fits, may still be made by somebody who lies about its size.
    @Test func refusesLiesAboutSize() throws {
        let key = [UInt8](repeating: 3, count: 32)
        for (codec, size, body) in [(0, 5, [1, 2, 3]), (1, 4, [1, 2, 3, 4]), (0, 1 << 21, [0]), (9, 1, [0])]
            as [(UInt8, Int, [UInt8])]
        {
            var header: [UInt8] = [0x5a, 0x46, 0x43, 1, 1, codec, 0, 0]
            header += (0..<4).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) }
            let stored =
                header
                + AESGCM.seal(key: key, nonce: Array(repeating: 0, count: 12), plaintext: body, authenticating: header)
            let id = SHA256.hash(stored)
            let chunkKey = try #require(ChunkKey(key))
            #expect(throws: FlistError.self) {
                try ChunkCodec.open(stored, ChunkReference(id: id, key: chunkKey), .content, nil)
            }
        }
    }

    /// The vectors of Documentation/formats/flist.md.
    @Test func publishedVectors() throws {
        let raw = try ChunkCodec.seal(Array("hello".utf8), .content, .publicImages)
        #expect(Hex.encode(raw.stored) == Vectors.helloStored)
        #expect(raw.reference.id.hex == Vectors.helloId)
        #expect(raw.reference.key.hex == Vectors.helloKey)
        let secret = try #require(ConvergenceSecret(Array(0..<32)))
        let kept = try ChunkCodec.seal(Array("hello".utf8), .content, secret)
        #expect(kept.reference.id.hex == Vectors.privateId)
        #expect(kept.reference.key.hex == Vectors.privateKey)
    }
}

@Suite struct CutterTests {
    private func cuts(_ bytes: [UInt8], pieces: Int) -> [[UInt8]] {
        var cutter = ContentCutter()
        var chunks: [[UInt8]] = []
        bytes.withUnsafeBytes { all in
            for start in stride(from: 0, to: all.count, by: pieces) {
                cutter.add(UnsafeRawBufferPointer(rebasing: all[start..<min(start + pieces, all.count)])) {
                    chunks.append($0)
                }
            }
        }
        cutter.finish { chunks.append($0) }
        return chunks
    }

    @Test func keepsLimitsAndLosesNothing() {
        var random = Seeded(state: 1)
        for bytes in [random.bytes(9_000_000), [UInt8](repeating: 0, count: 5_000_000), random.bytes(65_536), [], [1]] {
            let chunks = cuts(bytes, pieces: 100_000)
            #expect(Array(chunks.joined()) == bytes)
            #expect(chunks.dropLast().allSatisfy { (ContentCutter.least...ContentCutter.most).contains($0.count) })
            #expect(chunks.allSatisfy { !$0.isEmpty && $0.count <= ContentCutter.most })
        }
    }

    @Test func averageIsAQuarterOfAMebibyte() {
        var random = Seeded(state: 2)
        let average = 60_000_000 / cuts(random.bytes(60_000_000), pieces: 1 << 20).count
        #expect((200_000...340_000).contains(average), "\(average)")
    }

    @Test func doesNotDependOnHowBytesArrive() {
        var random = Seeded(state: 3)
        let bytes = random.bytes(6_000_000)
        let whole = cuts(bytes, pieces: bytes.count)
        for pieces in [4_096, 65_536, 1_000_003] { #expect(cuts(bytes, pieces: pieces) == whole) }
    }

    @Test func aChangeMovesOnlyNearCuts() {
        var random = Seeded(state: 4)
        var bytes = random.bytes(12_000_000)
        let before = Set(cuts(bytes, pieces: 1 << 20))
        bytes.insert(contentsOf: [1, 2, 3], at: 3_000_000)
        let after = cuts(bytes, pieces: 1 << 20)
        #expect(after.filter { !before.contains($0) }.count <= 3)
    }

    /// The vector of Documentation/formats/flist.md: bytes are SHA-256 of 0, 1, 2, ... as decimal text, one after another.
    @Test func publishedVector() {
        var bytes: [UInt8] = []
        for number in 0..<65_536 { bytes += SHA256.hash("\(number)").bytes }
        #expect(cuts(bytes, pieces: 1 << 20).map(\.count) == Vectors.cuts)
    }
}
