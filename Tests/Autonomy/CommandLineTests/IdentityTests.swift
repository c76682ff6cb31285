import Bytes
import Crypto
import Linux
import Testing

@testable import CommandLine

@Suite struct IdentityTests {
    let folder: String
    let keys: KeyRing

    init() throws {
        folder = "/tmp/zero-keys-\(Hex16.random())"
        keys = KeyRing(folder: folder + "/identities", cost: .least)
    }

    private func remove() { try? File.removeTree(folder) }

    @Test func ownerAndAgentAreSealedApart() throws {
        defer { remove() }
        let words = RecoveryWords.generate()
        let made = try keys.create(
            "alice", words: words, passphrase: Array("daily work".utf8), ownerPassphrase: Array("in the safe".utf8))
        let loaded = try keys.load("alice")
        #expect(loaded.address == words.signingKey().publicKey && loaded.address == made.address)
        #expect(loaded.agent != loaded.address)
        #expect(try loaded.open(passphrase: Array("daily work".utf8)).key.publicKey == loaded.agent)
        #expect(throws: CryptoError.self) { _ = try loaded.open(passphrase: Array("in the safe".utf8)) }
        #expect(throws: CryptoError.self) { _ = try keys.owner(loaded, passphrase: Array("daily work".utf8)) }
        #expect(try keys.owner(loaded, passphrase: Array("in the safe".utf8)).publicKey == loaded.address)
        #expect(try keys.words(loaded, passphrase: Array("in the safe".utf8)) == words)
        // Daily work goes on without the owner's file.
        try File.remove(keys.ownerPath("alice"))
        #expect(try loaded.open(passphrase: Array("daily work".utf8)).key.publicKey == loaded.agent)
        let error = #expect(throws: CommandError.self) { _ = try keys.owner(loaded, passphrase: []) }
        #expect(error?.exit == .locked)
    }

    @Test func filesHoldNoSecretInClear() throws {
        defer { remove() }
        let words = RecoveryWords.generate()
        let identity = try keys.create(
            "bob", words: words, passphrase: Array("passphrase".utf8), ownerPassphrase: Array("passphrase".utf8))
        let agent = try identity.open(passphrase: Array("passphrase".utf8))
        for path in [keys.path("bob"), keys.ownerPath("bob")] {
            #expect(try File.status(path).permissions == 0o600)
            let text = try File.readText(path)
            #expect(!text.contains(words.words[0] + " ") && !text.contains("passphrase"))
            #expect(!text.contains(agent.key.secretAddress))
        }
    }

    @Test(arguments: [UInt32(0o644), 0o640, 0o604, 0o660]) func aFileThatOthersCanReadIsRefused(mode: UInt32) throws {
        defer { remove() }
        _ = try keys.create(
            "carol", words: .generate(), passphrase: Array("passphrase".utf8), ownerPassphrase: Array("passphrase".utf8)
        )
        try File.changeMode(keys.path("carol"), mode)
        let error = #expect(throws: CryptoError.self) { _ = try keys.load("carol") }
        #expect(error?.description.contains("chmod 600") == true)
    }

    @Test func damagedOrSwappedFilesAreRefused() throws {
        defer { remove() }
        let secret = Array("passphrase".utf8)
        let first = try keys.create("first", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        _ = try keys.create("second", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        try File.write(keys.ownerPath("first"), File.read(keys.ownerPath("second")))
        let swapped = #expect(throws: CommandError.self) { _ = try keys.owner(first, passphrase: secret) }
        #expect(swapped?.exit == .locked)
        let bytes = try File.read(keys.path("first"))
        for index in stride(from: 0, to: bytes.count, by: 7) {
            var changed = bytes
            changed[index] ^= 1
            try File.write(keys.path("first"), changed)
            guard let loaded = try? keys.load("first") else { continue }
            let opened = try? loaded.open(passphrase: secret)
            #expect(
                opened == nil || loaded.address != first.address || opened?.key.publicKey == first.agent,
                "byte \(index)")
        }
    }

    @Test func recoveryKeepsTheIdentityAndTheImageSecret() throws {
        defer { remove() }
        let (words, secret) = (RecoveryWords.generate(), Array("passphrase".utf8))
        let old = try keys.create("dora", words: words, passphrase: secret, ownerPassphrase: secret)
        let images = try old.open(passphrase: secret).images
        #expect(throws: CommandError.self) {
            _ = try keys.create("dora", words: words, passphrase: secret, ownerPassphrase: secret)
        }
        let new = try keys.create("dora", words: words, passphrase: secret, ownerPassphrase: secret, replacing: true)
        #expect(new.address == old.address && new.agent != old.agent)
        #expect(try new.open(passphrase: secret).images == images)
    }

    @Test func rotationIsAllOrNothing() throws {
        defer { remove() }
        let secret = Array("passphrase".utf8)
        let old = try keys.create("emil", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        let owner = try keys.owner(old, passphrase: secret)
        let new = try keys.rotated(old, owner: owner, passphrase: secret)
        try keys.stage(new.identity)
        #expect(try keys.load("emil").agent == old.agent)
        #expect(try keys.names() == ["emil"])
        try keys.commit(new.identity)
        #expect(try keys.load("emil").agent == new.key.publicKey)
        #expect(try keys.load("emil").open(passphrase: secret).images == old.open(passphrase: secret).images)
    }

    @Test func passwordsFollowFromTheWords() throws {
        defer { remove() }
        let words = try RecoveryWords(
            words: Array(repeating: "abandon", count: 23).joined(separator: " ") + " art")
        let secret = Array("passphrase".utf8)
        let first = try keys.create("first", words: words, passphrase: secret, ownerPassphrase: secret)
        let second = try keys.create("second", words: words, passphrase: secret, ownerPassphrase: secret)
        let storage = try #require(try first.open(passphrase: secret).passwords)
        #expect(try second.open(passphrase: secret).passwords == storage)
        // Computed with Python's hashlib and hmac.
        #expect(storage == StorageSecret(owner: words.signingKey()))
        #expect(Hex.encode(storage.bytes) == "21f5d1403776fd375a2b3b6854d86e2f71283a06b0fc70748cc1b06d1ad1ce3b")
        #expect(
            storage.password(contract: "counter", secret: "index-password")
                == "24cb6218528fd0f3d00180dc76e5f6c4832582da")
        #expect(
            Set(
                [("counter", "other"), ("other", "index-password"), ("counter", "index-password")].map {
                    storage.password(contract: $0.0, secret: $0.1)
                }
            ).count == 3)
    }

    @Test func aFileWithoutPasswordsGetsThemWhenTheOwnerIsThere() throws {
        defer { remove() }
        let secret = Array("passphrase".utf8)
        let made = try keys.create("old", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        let opened = try made.open(passphrase: secret)
        let box = try LocalIdentity.seal(
            .init(key: opened.key, images: opened.images, passwords: nil), passphrase: secret, cost: .least)
        let old = LocalIdentity(name: "old", address: made.address, agent: made.agent, agentBox: box)
        #expect(try old.open(passphrase: secret).passwords == nil)
        let new = try keys.rotated(old, owner: keys.owner(old, passphrase: secret), passphrase: secret)
        #expect(try new.identity.open(passphrase: secret).passwords == opened.passwords)
    }

    @Test func theIdentityToUse() throws {
        defer { remove() }
        let secret = Array("passphrase".utf8)
        #expect(throws: CommandError.self) { _ = try keys.choose(nil) }
        _ = try keys.create("only", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        #expect(try keys.choose(nil).name == "only")
        _ = try keys.create("more", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        let unclear = #expect(throws: CommandError.self) { _ = try keys.choose(nil) }
        #expect(unclear?.exit == .usage)
        _ = try keys.create("default", words: .generate(), passphrase: secret, ownerPassphrase: secret)
        #expect(try keys.choose(nil).name == "default")
        #expect(try keys.choose("more").name == "more")
        let missing = #expect(throws: CommandError.self) { _ = try keys.choose("mroe") }
        #expect(missing?.exit == .notFound && missing?.next?.contains("`more`") == true)
        for bad in ["", "-x", "A", "a/b", "../x", "a.owner", String(repeating: "a", count: 41)] {
            #expect(!KeyRing.isName(bad))
        }
    }
}

enum Hex16 {
    static func random() -> String { Random.bytes(8).map { String($0, radix: 16) }.joined() }
}
