import Bytes
import Testing

@testable import Crypto

@Suite("Keys, signatures, addresses")
struct KeyTests {
    @Test(
        "Ed25519 signatures of RFC 8032",
        arguments: [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
                    + "d25bf5f0595bbe24655141438e7a100b"
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
                    + "4a7c15e9716ed28dc027beceea1ec40a"
            ),
        ])
    func rfc8032(seed: String, publicKey: String, message: String, signature: String) throws {
        let key = try SigningKey(seed: #require(Hex.decode(seed)))
        let bytes = try #require(Hex.decode(message))
        #expect(Hex.encode(key.publicKey.bytes) == publicKey)
        #expect(Hex.encode(key.sign(bytes)) == signature)
        #expect(key.publicKey.verifies(key.sign(bytes), of: bytes))
        #expect(Hex.encode(key.seed) == seed)
    }

    @Test("A signature is refused for another message, key, a changed byte and a wrong length")
    func refused() {
        let key = SigningKey.generate()
        let signature = key.sign([1, 2, 3])
        #expect(!key.publicKey.verifies(signature, of: [1, 2, 4]))
        #expect(!SigningKey.generate().publicKey.verifies(signature, of: [1, 2, 3]))
        #expect(!key.publicKey.verifies(Array(signature.dropLast()), of: [1, 2, 3]))
        #expect(!key.publicKey.verifies(signature + [0], of: [1, 2, 3]))
        #expect(!key.publicKey.verifies([], of: [1, 2, 3]))
        for index in 0..<64 {
            var changed = signature
            changed[index] ^= 0x10
            #expect(!key.publicKey.verifies(changed, of: [1, 2, 3]))
        }
    }

    @Test("S plus the group's order is the same equation and still refused, so nobody can change a signature")
    func canonicalS() throws {
        let order = try #require(Hex.decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"))
        let key = SigningKey.generate()
        var signature = key.sign([5])
        var carry = 0
        for index in 0..<32 {
            let sum = Int(signature[32 + index]) + Int(order[index]) + carry
            signature[32 + index] = UInt8(sum & 255)
            carry = sum >> 8
        }
        #expect(carry == 0)
        #expect(!key.publicKey.verifies(signature, of: [5]))
    }

    @Test(
        "A key of small order signs nothing: R neutral and S zero would verify for every message",
        arguments: [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ])
    func smallOrder(point: String) throws {
        let key = try PublicKey(#require(Hex.decode(point)))
        let neutral = [1] + [UInt8](repeating: 0, count: 31)
        let signature = neutral + [UInt8](repeating: 0, count: 32)
        for message in [[], [1], [2, 3]] as [[UInt8]] { #expect(!key.verifies(signature, of: message)) }
    }

    @Test("Addresses: the account of SEP-23")
    func address() throws {
        let text = "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ"
        let key = try PublicKey(address: text)
        #expect(Hex.encode(key.bytes) == "3f0c34bf93ad0d9971d04ccc90f705511c838aad9734a4a2fb0d7a03fc7fe89a")
        #expect(key.address == text)
    }

    @Test(
        "Addresses: what SEP-23 says must be refused, and kinds of key that nobody has here",
        arguments: [
            "GAAAAAAAACGC6", "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUR",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZA",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUACUSI",
            "G47QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVP2I",
            "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVAAAAAAAAAAAAAAJLKA",
            "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVAAAAAAAAAAAAAAV75I",
            "M47QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ",
            "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUK===",
            "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUO",
            "CA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUWDA",
            "ga7qynf7sowq3glr2bgmzehxavirza4kvwltjjfc7mgxua74p7ujvsgz",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGA", "",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSG=",
        ])
    func badAddress(text: String) {
        #expect(throws: CryptoError.self) { try PublicKey(address: text) }
    }

    @Test("Keys never show their secret")
    func silent() throws {
        let key = SigningKey.generate()
        let words = RecoveryWords.generate()
        var text = "\(key) \(String(reflecting: key)) "
        dump(key, to: &text)
        text += "\(words) \(String(reflecting: words)) "
        dump(words, to: &text)
        #expect(!text.contains(Hex.encode(key.seed)) && !text.contains(key.secretAddress))
        #expect(!text.contains(words.words[0] + " " + words.words[1]))
        #expect(text.contains(key.publicKey.address))
        let mistyped = String(key.secretAddress.dropLast()) + "!"
        do {
            _ = try SigningKey(secretAddress: mistyped)
            Issue.record("accepted a mistyped seed")
        } catch {
            #expect(!"\(error)".contains(key.secretAddress.dropLast(20)))
        }
    }
}
