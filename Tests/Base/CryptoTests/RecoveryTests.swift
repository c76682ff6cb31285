import Bytes
import Testing

@testable import Crypto

@Suite("Recovery words")
struct RecoveryTests {
    struct Vector: Sendable {
        let words: String
        let seed: String?
        let account: UInt32
        let address: String
        let secret: String
    }

    static let illness = "illness spike retreat truth genius clock brain pass fit cave bargain toe"
    static let vectors = [
        Vector(
            words: illness,
            seed: "e4a5a632e70943ae7f07659df1332160937fad82587216a4c64315a0fb39497ee4a01f76ddab4cba68147977f3a147b6"
                + "ad584c41808e8238a07f6cc4b582f186",
            account: 0, address: "GDRXE2BQUC3AZNPVFSCEZ76NJ3WWL25FYFK6RGZGIEKWE4SOOHSUJUJ6",
            secret: "SBGWSG6BTNCKCOB3DIFBGCVMUPQFYPA2G4O34RMTB343OYPXU5DJDVMN"),
        Vector(
            words: illness, seed: nil, account: 9,
            address: "GBTVYYDIYWGUQUTKX6ZMLGSZGMTESJYJKJWAATGZGITA25ZB6T5REF44",
            secret: "SCJGVMJ66WAUHQHNLMWDFGY2E72QKSI3XGSBYV6BANDFUFE7VY4XNXXR"),
        Vector(
            words: "resource asthma orphan phone ice canvas fire useful arch jewel impose vague theory cushion top",
            seed: "7b36d4e725b48695c3ffd2b4b317d5552cb157c1a26c46d36a05317f0d3053eb8b3b6496ba39ebd9312d10e3f9937b47"
                + "a6790541e7c577da027a564862e92811",
            account: 1, address: "GDFCYVCICATX5YPJUDS22KM2GW5QU2KKSPPPT2IC5AQIU6TP3BZSLR5K",
            secret: "SAZ2H5GLAVWCUWNPQMB6I3OHRI63T2ACUUAWSH7NAGYYPXGIOPLPW3Q4"),
        Vector(
            words: "bench hurt jump file august wise shallow faculty impulse spring exact slush thunder author capable"
                + " act festival slice deposit sauce coconut afford frown better",
            seed: nil, account: 0, address: "GC3MMSXBWHL6CPOAVERSJITX7BH76YU252WGLUOM5CJX3E7UCYZBTPJQ",
            secret: "SAEWIVK3VLNEJ3WEJRZXQGDAS5NVG2BYSYDFRSH4GKVTS5RXNVED5AX7"),
    ]

    @Test("SEP-5: words to seed to key", arguments: vectors)
    func published(vector: Vector) throws {
        let words = try RecoveryWords(words: vector.words)
        if let seed = vector.seed { #expect(Hex.encode(words.seed()) == seed) }
        let key = words.signingKey(account: vector.account)
        #expect(key.publicKey.address == vector.address)
        #expect(key.secretAddress == vector.secret)
        #expect(try SigningKey(secretAddress: vector.secret).publicKey == key.publicKey)
    }

    @Test("The word list is the published one")
    func list() {
        #expect(RecoveryWords.english.count == 2048)
        let text = RecoveryWords.english.joined(separator: "\n") + "\n"
        #expect(SHA256.hash(text).hex == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda")
        #expect(RecoveryWords.english == RecoveryWords.english.sorted())
    }

    @Test("BIP-39: entropy of zeros and of ones; the passphrase counts")
    func entropy() throws {
        let zeros = RecoveryWords(entropy: [UInt8](repeating: 0, count: 32))
        #expect(zeros.text == String(repeating: "abandon ", count: 23) + "art")
        #expect(
            Hex.encode(zeros.seed(passphrase: "TREZOR")).hasPrefix("bda85446c68413707090a52022edd26a1c9462295029f2e6"))
        let ones = RecoveryWords(entropy: [UInt8](repeating: 255, count: 16))
        #expect(ones.text == String(repeating: "zoo ", count: 11) + "wrong")
    }

    @Test("New words are 24, differ, and are read again however they were typed")
    func generated() throws {
        let words = RecoveryWords.generate()
        #expect(words.words.count == 24)
        #expect(words != RecoveryWords.generate())
        let typed = "  " + words.text.uppercased().split(separator: " ").joined(separator: "\n ") + "\n"
        #expect(try RecoveryWords(words: typed) == words)
    }

    @Test("Wrong words are refused with the reason")
    func wrong() throws {
        #expect(throws: CryptoError.badWords(reason: "there are 2, and 24 are needed")) {
            try RecoveryWords(words: "abandon art")
        }
        let unknown = String(repeating: "abandon ", count: 22) + "abandonn art"
        #expect(throws: CryptoError.badWords(reason: "word 23 is not in the list")) {
            try RecoveryWords(words: unknown)
        }
        let swapped = String(repeating: "abandon ", count: 23) + "zoo"
        #expect(throws: CryptoError.self) { try RecoveryWords(words: swapped) }
    }

    @Test("SLIP-10 for Ed25519, vector 1")
    func slip10() throws {
        let seed = try #require(Hex.decode("000102030405060708090a0b0c0d0e0f"))
        #expect(
            Hex.encode(SLIP10.signingKey(seed: seed, path: []).seed)
                == "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7")
        #expect(
            Hex.encode(SLIP10.signingKey(seed: seed, path: [0, 1, 2, 2, 1_000_000_000]).seed)
                == "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793")
    }
}
