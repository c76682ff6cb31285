import Bytes
import Testing

@testable import Crypto

@Suite("Encryption")
struct CipherTests {
    @Test("AES-256-GCM: case 16 of the specification")
    func gcm() throws {
        let key = try #require(Hex.decode("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"))
        let nonce = try #require(Hex.decode("cafebabefacedbaddecaf888"))
        let header = try #require(Hex.decode("feedfacedeadbeeffeedfacedeadbeefabaddad2"))
        let plaintext = try #require(
            Hex.decode(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
                    + "b16aedf5aa0de657ba637b39"))
        let expected =
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
            + "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
        let sealed = AESGCM.seal(key: key, nonce: nonce, plaintext: plaintext, authenticating: header)
        #expect(Hex.encode(sealed) == expected)
        #expect(try AESGCM.open(key: key, nonce: nonce, ciphertext: sealed, authenticating: header) == plaintext)
    }

    @Test("AES-GCM refuses a changed byte anywhere, another header, nonce or key, and what is too short")
    func gcmTampered() throws {
        let key = Random.bytes(32)
        let nonce = Random.bytes(12)
        let sealed = AESGCM.seal(key: key, nonce: nonce, plaintext: [1, 2, 3], authenticating: [9])
        for index in sealed.indices {
            var changed = sealed
            changed[index] ^= 1
            #expect(throws: CryptoError.notAuthentic(subject: "an AES-GCM ciphertext")) {
                try AESGCM.open(key: key, nonce: nonce, ciphertext: changed, authenticating: [9])
            }
        }
        #expect(throws: CryptoError.self) {
            try AESGCM.open(key: key, nonce: nonce, ciphertext: sealed, authenticating: [8])
        }
        #expect(throws: CryptoError.self) {
            try AESGCM.open(key: key, nonce: Random.bytes(12), ciphertext: sealed, authenticating: [9])
        }
        #expect(throws: CryptoError.self) {
            try AESGCM.open(key: Random.bytes(32), nonce: nonce, ciphertext: sealed, authenticating: [9])
        }
        #expect(throws: CryptoError.self) {
            try AESGCM.open(key: [1], nonce: nonce, ciphertext: sealed, authenticating: [9])
        }
        #expect(throws: CryptoError.self) { try AESGCM.open(key: key, nonce: nonce, ciphertext: [1, 2]) }
    }

    @Test("AES-GCM of nothing, and of every length around a block", arguments: [0, 1, 15, 16, 17, 4096, 1 << 20])
    func gcmLengths(count: Int) throws {
        let key = Random.bytes(32)
        let nonce = [UInt8](repeating: 0, count: 12)
        let plaintext = Random.bytes(count)
        let sealed = AESGCM.seal(key: key, nonce: nonce, plaintext: plaintext)
        #expect(sealed.count == count + 16)
        #expect(try AESGCM.open(key: key, nonce: nonce, ciphertext: sealed) == plaintext)
    }

    @Test("A sealed box opens for its recipient only, also one made from an address")
    func sealedBox() throws {
        let identity = SigningKey.generate()
        let recipient = try SealingKey(from: identity)
        let address = try SealingPublicKey(from: PublicKey(address: identity.publicKey.address))
        #expect(address == recipient.publicKey)
        let box = try SealedBox.seal([4, 5, 6], to: address)
        #expect(box.count == 3 + SealedBox.overhead)
        #expect(try SealedBox.open(box, with: recipient) == [4, 5, 6])
        let stranger = try SealingKey.generate()
        #expect(throws: CryptoError.notAuthentic(subject: "a sealed box")) {
            try SealedBox.open(box, with: stranger)
        }
        var changed = box
        changed[50] ^= 1
        #expect(throws: CryptoError.self) { try SealedBox.open(changed, with: recipient) }
        #expect(throws: CryptoError.self) { try SealedBox.open([1, 2, 3], with: recipient) }
    }

    @Test("Nobody can be made to seal to a key of small order")
    func smallOrderRecipient() throws {
        let neutral = try PublicKey([1] + [UInt8](repeating: 0, count: 31))
        #expect(throws: CryptoError.self) { try SealingPublicKey(from: neutral) }
        let zero = try SealingPublicKey([UInt8](repeating: 0, count: 32))
        #expect(throws: CryptoError.self) { try SealedBox.seal([1], to: zero) }
    }

    @Test("A secretbox opens with its key only, and two boxes of one secret differ")
    func secretBox() throws {
        let key = SecretBox.newKey()
        let box = try SecretBox.seal([7], key: key)
        #expect(try SecretBox.open(box, key: key) == [7])
        #expect(try SecretBox.seal([7], key: key) != box)
        #expect(throws: CryptoError.self) { try SecretBox.open(box, key: SecretBox.newKey()) }
        #expect(throws: CryptoError.self) { try SecretBox.open(Array(box.dropLast()), key: key) }
        #expect(throws: CryptoError.self) { try SecretBox.open([], key: key) }
        #expect(throws: CryptoError.self) { try SecretBox.seal([], key: [1]) }
    }

    @Test("Argon2id agrees with another implementation and refuses settings outside its limits")
    func argon() throws {
        let password = Array("correct horse battery staple".utf8)
        let salt = Array(0..<16).map { UInt8($0) }
        let key = try Argon2id.derive(passphrase: password, salt: salt, memory: 8 << 20, operations: 1, length: 32)
        #expect(Hex.encode(key) == "9aeef75313e585f492c33c5e12d82e9ad253b7dd78632d537e899cd4eddd789c")
        for (memory, operations, secret) in [(1 << 20, 1, password), (2 << 30, 1, password), (8 << 20, 0, password)] {
            #expect(throws: CryptoError.self) {
                try Argon2id.derive(passphrase: secret, salt: salt, memory: memory, operations: operations, length: 32)
            }
        }
        #expect(throws: CryptoError.badParameter(subject: "a passphrase", reason: "is empty")) {
            try Argon2id.derive(passphrase: [], salt: salt, memory: 8 << 20, operations: 1, length: 32)
        }
    }
}
