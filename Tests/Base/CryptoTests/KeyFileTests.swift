import Bytes
import Linux
import Testing

@testable import Crypto

@Suite("Key files and envelopes")
struct KeyFileTests {
    static let passphrase = Array("correct horse battery staple".utf8)

    /// The vector of Documentation/formats/key-file.md, made by another implementation.
    static let vector =
        "{\"box\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXCSyIYf+4B3z6B6Ra+wuJJ6gAiJREVM0IaVVsfO4m5htRIOqX9u74nWJvHsx4lUvL\","
        + "\"kdf\":{\"memory\":8388608,\"name\":\"argon2id\",\"operations\":1,\"salt\":\"AAECAwQFBgcICQoLDA0ODw==\"},"
        + "\"v\":1}"

    @Test("The published file opens and is written the same again")
    func published() throws {
        let secret = Array(32..<64).map { UInt8($0) }
        #expect(try KeyFile.open(Array(Self.vector.utf8), passphrase: Self.passphrase) == secret)
        let written = try KeyFile.seal(
            secret, passphrase: Self.passphrase, cost: .least, salt: Array(0..<16).map { UInt8($0) },
            nonce: Array(0..<24).map { UInt8($0) })
        #expect(String(decoding: written, as: UTF8.self) == Self.vector)
    }

    @Test("Another passphrase, a changed box and changed cost do not open")
    func refused() throws {
        #expect(throws: CryptoError.wrongPassphrase(subject: "the key file")) {
            try KeyFile.open(Array(Self.vector.utf8), passphrase: Array("wrong".utf8))
        }
        let dearer = Self.vector.replacing("\"operations\":1", with: "\"operations\":2")
        #expect(throws: CryptoError.wrongPassphrase(subject: "the key file")) {
            try KeyFile.open(Array(dearer.utf8), passphrase: Self.passphrase)
        }
    }

    @Test(
        "Rubbish is refused with a reason",
        arguments: [
            "", "{}", "[]", "not json", "{\"v\":2}",
            vector.replacing("\"v\":1", with: "\"v\":2"), vector.replacing("argon2id", with: "scrypt"),
            vector.replacing("8388608", with: "8589934592"), vector.replacing("8388608", with: "-1"),
            vector.replacing("\"v\":1", with: "\"v\":1,\"w\":1"), vector.replacing("AAECAwQF", with: "AA?CAwQF"),
        ])
    func rubbish(text: String) {
        do {
            _ = try KeyFile.open(Array(text.utf8), passphrase: Self.passphrase)
            Issue.record("opened")
        } catch {
            #expect(!"\(error)".isEmpty)
            if case .wrongPassphrase = error { Issue.record("should say what is wrong with the file: \(text)") }
        }
    }

    @Test("A file on disk is for its owner only, and refused when others can read it")
    func modes() throws {
        let folder = "/tmp/zero-keyfile-\(Hex.encode(Random.bytes(6)))"
        try File.makeDirectories(folder, mode: 0o700)
        defer { try? File.removeTree(folder) }
        let path = folder + "/key.json"
        try KeyFile.write([1, 2, 3], passphrase: Self.passphrase, to: path, cost: .least)
        #expect(try File.status(path).permissions == 0o600)
        #expect(try KeyFile.read(path, passphrase: Self.passphrase) == [1, 2, 3])
        for mode: UInt32 in [0o640, 0o604, 0o644, 0o620] {
            try File.changeMode(path, mode)
            do {
                _ = try KeyFile.read(path, passphrase: Self.passphrase)
                Issue.record("read a file of mode \(String(mode, radix: 8))")
            } catch {
                #expect("\(error)".contains("chmod 600"))
            }
        }
        #expect(throws: CryptoError.self) { try KeyFile.read(folder, passphrase: Self.passphrase) }
        #expect(throws: CryptoError.self) { try KeyFile.read(folder + "/none", passphrase: Self.passphrase) }
    }

    @Test("A secret travels: box for all, key for the node, and only for this contract and name")
    func envelope() throws {
        let node = SigningKey.generate()
        let sealing = try SealingKey(from: node)
        let contract = SHA256.hash("contract").hex
        let (box, key) = try SecretEnvelope.seal(value: Array("hunter2".utf8))
        let sealed = try SecretEnvelope.sealKey(key, name: "token", contract: contract, to: sealing.publicKey)
        let opened = try SecretEnvelope.openKey(sealed, name: "token", contract: contract, with: sealing)
        #expect(try SecretEnvelope.open(box: box, key: opened) == Array("hunter2".utf8))
        #expect(throws: CryptoError.self) {
            try SecretEnvelope.openKey(sealed, name: "other", contract: contract, with: sealing)
        }
        #expect(throws: CryptoError.self) {
            try SecretEnvelope.openKey(sealed, name: "token", contract: SHA256.hash("b").hex, with: sealing)
        }
        let unbound = try SecretEnvelope.sealKey(key, name: "token", contract: nil, to: sealing.publicKey)
        #expect(try SecretEnvelope.readKey(unbound, with: sealing).key == key)
        #expect(throws: CryptoError.self) {
            try SecretEnvelope.openKey(unbound, name: "token", contract: contract, with: sealing)
        }
        let rubbish = try SealedBox.seal(Array("{\"key\": 1}".utf8), to: sealing.publicKey)
        #expect(throws: CryptoError.self) { try SecretEnvelope.readKey(rubbish, with: sealing) }
        #expect(throws: CryptoError.self) {
            try SecretEnvelope.seal(value: [UInt8](repeating: 0, count: SecretEnvelope.valueLimit + 1))
        }
    }

    @Test("The published envelope of Documentation/formats/secrets.md opens")
    func publishedEnvelope() throws {
        let node = try SigningKey(seed: Array(0..<32).map { UInt8($0) })
        let sealed =
            "/lp443RBcjNhit9CULr10N1fTtQD14F2mu6n9QI7TWyMKotZTbr3XtMQolwe3NDfJ5sj5H0PzEc+IaElvzPMuk0YUJ4duoBuNytdErA7rTPd"
            + "+8zqxPtnzt7VYvZnVQiSC725hlqGjtNlG0X2r+mVQZQ5PvCb1vauiOyuCo5U+unshuWE5crU3TKEpBYRJDWVwfN5h6N+pZWnGtXl/EWYKSVf"
            + "hH2JbKtSrSmfljK9YvzXG2hGukFAT9EgnOuNTjJXjA+z42J4cQ=="
        let key = try SecretEnvelope.openKey(
            #require(Base64.decode(sealed)), name: "api-token", contract: String(repeating: "ab", count: 32),
            with: SealingKey(from: node))
        #expect(key == Array(64..<96).map { UInt8($0) })
        let box = try #require(
            Base64.decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXo5sLsL+Ln3U9lRiC9JbUqo8kgTm3BpHuBLYutQ=="))
        #expect(try SecretEnvelope.open(box: box, key: key) == Array("s3cr3t-value".utf8))
    }
}
