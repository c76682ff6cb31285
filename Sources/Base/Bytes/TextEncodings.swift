/// Lower-case hexadecimal.
public enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    /// Two digits a byte.
    public static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes, or nil where `text` is not an even number of lower-case digits.
    public static func decode(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in text.utf8 {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x61...0x66: value = digit - 0x61 + 10
            default: return nil
            }
            if let first = high {
                bytes.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return high == nil ? bytes : nil
    }
}

/// A power-of-two text encoding of RFC 4648.
private struct Radix: Sendable {
    let bits: Int
    let alphabet: [UInt8]
    let reverse: [UInt8]

    init(bits: Int, alphabet text: String) {
        self.bits = bits
        let alphabet = Array(text.utf8)
        var reverse = [UInt8](repeating: 255, count: 256)
        for (value, letter) in alphabet.enumerated() { reverse[Int(letter)] = UInt8(value) }
        (self.alphabet, self.reverse) = (alphabet, reverse)
    }

    func encode(_ bytes: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count * 8 / bits + 4)
        var buffer: UInt32 = 0
        var held = 0
        let mask = UInt32(1 << bits) - 1
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            held += 8
            while held >= bits {
                held -= bits
                text.append(alphabet[Int(buffer >> UInt32(held) & mask)])
            }
        }
        if held > 0 { text.append(alphabet[Int(buffer << UInt32(bits - held) & mask)]) }
        return text
    }

    /// Refuses letters outside the alphabet and left-over bits that are not zero, so that one value has one text.
    func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var held = 0
        for letter in text {
            let value = reverse[Int(letter)]
            guard value != 255 else { return nil }
            buffer = (buffer << UInt32(bits) | UInt32(value)) & 0xffff
            held += bits
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(held)))
            }
        }
        guard held < bits, buffer & (1 << UInt32(held) - 1) == 0 else { return nil }
        return bytes
    }
}

/// Base64 of RFC 4648 section 4, padded.
public enum Base64 {
    private static let radix = Radix(
        bits: 6, alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")

    /// The padded text.
    public static func encode(_ bytes: [UInt8]) -> String {
        var text = radix.encode(bytes)
        while text.count % 4 != 0 { text.append(0x3d) }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes, or nil where `text` is not the one padded encoding of any.
    public static func decode(_ text: String) -> [UInt8]? {
        let letters = Array(text.utf8)
        guard letters.count % 4 == 0 else { return nil }
        var body = letters[...]
        while letters.count - body.count < 2, body.last == 0x3d { body = body.dropLast() }
        return radix.decode(body)
    }
}

/// Base32 of RFC 4648 section 6, upper case, without padding.
public enum Base32 {
    private static let radix = Radix(bits: 5, alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")

    /// The unpadded text.
    public static func encode(_ bytes: [UInt8]) -> String { String(decoding: radix.encode(bytes), as: UTF8.self) }

    /// The bytes, or nil where `text` is not the one encoding of any.
    public static func decode(_ text: String) -> [UInt8]? { radix.decode(text.utf8) }
}
