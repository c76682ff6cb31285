internal import COpenSSL

/// A secret as words that people can write down: BIP-39, English list.
public struct RecoveryWords: Sendable, Equatable {
    /// The words, all of the list.
    public let words: [String]

    /// 24 new random words (256 bits).
    public static func generate() -> RecoveryWords { RecoveryWords(entropy: Random.bytes(32)) }

    /// Words that somebody typed: 12, 15, 18, 21 or 24 of them, checked against list and checksum.
    public init(words text: String) throws(CryptoError) {
        let words = text.lowercased().split(whereSeparator: \.isWhitespace).map { String($0) }
        guard [12, 15, 18, 21, 24].contains(words.count) else {
            throw .badWords(reason: "there are \(words.count), and 24 are needed")
        }
        var bits: [Bool] = []
        for (position, word) in words.enumerated() {
            guard let index = Self.index(of: word) else {
                throw .badWords(reason: "word \(position + 1) is not in the list")
            }
            for bit in (0..<11).reversed() { bits.append(index >> bit & 1 == 1) }
        }
        let entropyBits = bits.count * 32 / 33
        var entropy: [UInt8] = []
        for start in stride(from: 0, to: entropyBits, by: 8) {
            entropy.append(bits[start..<start + 8].reduce(0) { $0 << 1 | ($1 ? 1 : 0) })
        }
        guard RecoveryWords(entropy: entropy).words == words else {
            throw .badWords(reason: "the checksum is wrong, so a word is wrong or out of its place")
        }
        self.words = words
    }

    init(entropy: [UInt8]) {
        let checksum = SHA256.hash(entropy).bytes[0]
        var words: [String] = []
        var buffer: UInt32 = 0
        var held = 0
        // Of the checksum, only as many bits count as fill the last word; the loop never reaches the others.
        for byte in entropy + [checksum] {
            buffer = buffer << 8 | UInt32(byte)
            held += 8
            guard held >= 11 else { continue }
            held -= 11
            words.append(Self.english[Int(buffer >> UInt32(held) & 2047)])
        }
        self.words = words
    }

    /// The words with a space between.
    public var text: String { words.joined(separator: " ") }

    /// BIP-39's 64-byte seed. `passphrase` is an additional secret, plain ASCII.
    public func seed(passphrase: String = "") -> [UInt8] {
        let password = Array(text.utf8)
        let salt = Array("mnemonic\(passphrase)".utf8)
        var seed = [UInt8](repeating: 0, count: 64)
        _ = password.withUnsafeBytes { bytes in
            PKCS5_PBKDF2_HMAC(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count), salt, Int32(salt.count),
                2048, EVP_sha512(), 64, &seed)
        }
        return seed
    }

    /// The signing key `m/44'/148'/account'` of these words (SEP-5). An identity's first key is account 0.
    public func signingKey(account: UInt32 = 0, passphrase: String = "") -> SigningKey {
        SLIP10.signingKey(seed: seed(passphrase: passphrase), path: [44, 148, account])
    }

    private static func index(of word: String) -> Int? {
        var low = 0
        var high = english.count
        while low < high {
            let middle = (low + high) / 2
            if english[middle] < word { low = middle + 1 } else { high = middle }
        }
        return low < english.count && english[low] == word ? low : nil
    }
}

extension RecoveryWords: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// How many words; never the words.
    public var description: String { "RecoveryWords(\(words.count))" }
    /// How many words; never the words.
    public var debugDescription: String { description }
    /// Shows the count only.
    public var customMirror: Mirror { Mirror(self, children: ["count": words.count]) }
}

/// Derives Ed25519 keys from one seed: SLIP-10, where every step is hardened.
public enum SLIP10 {
    /// The key at `path`, for instance `[44, 148, 0]` for `m/44'/148'/0'`.
    public static func signingKey(seed: [UInt8], path: [UInt32]) -> SigningKey {
        var node = HMAC.sha512(key: Array("ed25519 seed".utf8), seed)
        defer { Sodium.wipe(&node) }
        for step in path {
            let hardened = step | 0x8000_0000
            let index = (0..<4).map { UInt8(truncatingIfNeeded: hardened >> UInt32(24 - 8 * $0)) }
            node = HMAC.sha512(key: Array(node[32...]), [0] + node[..<32] + index)
        }
        return SigningKey(checkedSeed: Array(node[..<32]))
    }
}
