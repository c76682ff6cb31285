import Bytes
import Testing

@Suite("Bytes") struct BytesTests {
    @Test("integers and lengths read back as they were written")
    func roundTrip() throws {
        var writer = ByteWriter()
        writer.u8(7)
        writer.u16(0x0102)
        writer.u32(0x0102_0304)
        writer.u64(.max - 1)
        writer.varint(300)
        writer.lengthPrefixed([1, 2, 3])
        #expect(Array(writer.bytes[1...2]) == [2, 1])
        var reader = ByteReader(writer.bytes)
        #expect(try reader.u8() == 7)
        #expect(try reader.u16() == 0x0102)
        #expect(try reader.u32() == 0x0102_0304)
        #expect(try reader.u64() == .max - 1)
        #expect(try reader.varint() == 300)
        #expect(try reader.lengthPrefixed(limit: 3) == [1, 2, 3])
        try reader.finish()
    }

    @Test("varints", arguments: [0, 1, 127, 128, 16_383, 16_384, UInt64(1) << 63, .max])
    func varint(value: UInt64) throws {
        var writer = ByteWriter()
        writer.varint(value)
        var reader = ByteReader(writer.bytes)
        #expect(try reader.varint() == value)
        #expect(reader.isAtEnd)
    }

    @Test(
        "a varint has one form only",
        arguments: [[0x80, 0x00], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]])
    func badVarint(bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        #expect(throws: ByteError.badVarint(offset: 0)) { try reader.varint() }
    }

    @Test("short input names the offset")
    func truncated() throws {
        var reader = ByteReader([1, 2, 3])
        _ = try reader.u8()
        #expect(throws: ByteError.truncated(offset: 1, wanted: 4)) { try reader.u32() }
        #expect(throws: ByteError.truncated(offset: 1, wanted: 9)) { try reader.take(9) }
    }

    @Test("RFC 4648 vectors")
    func textEncodings() {
        let vectors = [
            ("", "", ""), ("f", "Zg==", "MY"), ("fo", "Zm8=", "MZXQ"), ("foo", "Zm9v", "MZXW6"),
            ("foob", "Zm9vYg==", "MZXW6YQ"), ("fooba", "Zm9vYmE=", "MZXW6YTB"), ("foobar", "Zm9vYmFy", "MZXW6YTBOI"),
        ]
        for (plain, base64, base32) in vectors {
            #expect(Base64.encode(Array(plain.utf8)) == base64)
            #expect(Base32.encode(Array(plain.utf8)) == base32)
            #expect(Base64.decode(base64) == Array(plain.utf8))
            #expect(Base32.decode(base32) == Array(plain.utf8))
        }
        #expect(Hex.encode([0, 255, 16]) == "00ff10")
        #expect(Hex.decode("00ff10") == [0, 255, 16])
    }

    @Test("a second spelling of the same bytes is refused", arguments: ["Zh==", "Zg=", "Zg", "Z===", "Zm9v\n", "===="])
    func strictBase64(text: String) { #expect(Base64.decode(text) == nil) }

    @Test("hexadecimal is lower case and even", arguments: ["0", "0G", "AB", "0x"])
    func strictHex(text: String) { #expect(Hex.decode(text) == nil) }
}
