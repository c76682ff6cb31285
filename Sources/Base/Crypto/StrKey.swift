internal import Bytes

/// Text form of keys as in Stellar's SEP-23: Base32 of version byte, 32 bytes and CRC-16, without padding.
enum StrKey {
    /// What the bytes are.
    enum Version: UInt8 {
        case publicKey = 0x30  // 6 << 3, the text starts with G
        case seed = 0x90  // 18 << 3, the text starts with S
    }

    static func encode(_ version: Version, _ payload: [UInt8]) -> String {
        var bytes = [version.rawValue] + payload
        let checksum = crc16(bytes)
        bytes.append(UInt8(checksum & 0xff))
        bytes.append(UInt8(checksum >> 8))
        return Base32.encode(bytes)
    }

    static func decode(_ version: Version, _ text: String) throws(CryptoError) -> [UInt8] {
        // A seed must never be repeated in an error message.
        let shown = version == .seed ? "S…" : text
        guard text.utf8.count == 56 else {
            throw .badAddress(text: shown, reason: "it has \(text.utf8.count) characters, not 56")
        }
        guard let bytes = Base32.decode(text), bytes.count == 35 else {
            throw .badAddress(text: shown, reason: "it is not base32")
        }
        guard bytes[0] == version.rawValue else {
            let letter = version == .publicKey ? "G" : "S"
            throw .badAddress(text: shown, reason: "it does not start with \(letter)")
        }
        let checksum = UInt16(bytes[33]) | UInt16(bytes[34]) << 8
        guard crc16(Array(bytes[..<33])) == checksum else {
            throw .badAddress(text: shown, reason: "its checksum is wrong, so a character was mistyped")
        }
        return Array(bytes[1..<33])
    }

    /// CRC-16/XMODEM: polynomial 0x1021, start 0.
    private static func crc16(_ bytes: [UInt8]) -> UInt16 {
        var value: UInt16 = 0
        for byte in bytes {
            value ^= UInt16(byte) << 8
            for _ in 0..<8 { value = value & 0x8000 != 0 ? value << 1 ^ 0x1021 : value << 1 }
        }
        return value
    }
}
