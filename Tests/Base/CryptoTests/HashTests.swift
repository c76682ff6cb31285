import Bytes
import Testing

@testable import Crypto

@Suite("Hashes and keyed hashes")
struct HashTests {
    @Test(
        "SHA-256 of the published messages",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ])
    func sha256(message: String, expected: String) {
        #expect(SHA256.hash(message).hex == expected)
    }

    @Test("A hash in pieces is the hash of the whole, and a copied hasher goes its own way")
    func pieces() {
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        var hasher = SHA256Hasher()
        hasher.update(Array(bytes[..<77]))
        var other = hasher
        bytes[77...].withUnsafeBytes { hasher.update($0) }
        other.update([1])
        #expect(hasher.finish() == SHA256.hash(bytes))
        #expect(hasher.finish() == SHA256.hash(bytes), "finishing does not consume")
        #expect(other.finish() == SHA256.hash(Array(bytes[..<77]) + [1]))
    }

    @Test("Digests order as their bytes, and read back from hex and bytes only")
    func digests() throws {
        let low = try #require(Digest([UInt8](repeating: 0, count: 31) + [255]))
        let high = try #require(Digest([1] + [UInt8](repeating: 0, count: 31)))
        #expect(low < high && !(high < low))
        #expect(Digest(hex: high.hex) == high)
        #expect(Digest(hex: high.hex.uppercased() + "") == high, "all digits are decimal here")
        #expect(Digest(hex: "AB" + high.hex.dropFirst(2)) == nil, "upper case is not canonical")
        #expect(Digest([1, 2, 3]) == nil)
        #expect(Digest(hex: "00") == nil)
        #expect(high.bit(7) && !high.bit(6) && !high.bit(8))
        #expect(low.bit(255) && low.bit(248) && !low.bit(247))
    }

    @Test("HMAC-SHA-256 of RFC 4231")
    func hmac() {
        #expect(
            Hex.encode(HMAC.sha256(key: [UInt8](repeating: 0x0b, count: 20), Array("Hi There".utf8)))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        let long = Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8)
        #expect(
            Hex.encode(HMAC.sha256(key: [UInt8](repeating: 0xaa, count: 131), long))
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    }

    @Test("HKDF-SHA-256 of RFC 5869, case 1")
    func hkdf() {
        let output = HKDF.sha256(
            secret: [UInt8](repeating: 0x0b, count: 22), salt: Array(0...0x0c), info: Array(0xf0...0xf9), length: 42)
        #expect(
            Hex.encode(output)
                == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    }
}
