import CanonicalJSON
import Crypto
import Linux
import Records
import Terminal

/// `zero identity …`.
struct IdentityCommand {
    let context: Context
    let keys: KeyRing
    let passphrase: Passphrase

    init(_ context: Context) {
        self.context = context
        keys = KeyRing(folder: context.home.identities)
        passphrase = Passphrase(context)
    }

    func run() async throws {
        switch context.invocation.path.dropFirst().first {
        case "new": try await new()
        case "list": try list()
        case "show": try show()
        case "export": try await export()
        case "recover": try await recover()
        case "password": try await password()
        default: try await KeyCommand(context).run()
        }
    }

    private func new() async throws {
        let name = context.argument("name")
        let words = RecoveryWords.generate()
        let identity = try await IdentityCommand.create(name, words, keys, passphrase)
        let list = words.words
        context.console.emit(
            [
                "name": .string(name), "address": .string(identity.address.address),
                "agent": .string(identity.agent.address),
                "words": .array(list.map { .string($0) }),
            ],
            """
            Identity \(name)
              address  \(identity.address.address)
              agent    \(identity.agent.address)  (signs daily work on this machine)

            Recovery words. Write them on paper: whoever has them is you, and nothing else brings you back.

            \(IdentityCommand.grid(list))
            """ + "\n")
        context.console.progress("next: zero up, or zero deploy <contract>")
    }

    /// Makes an identity under a new passphrase.
    static func create(
        _ name: String, _ words: RecoveryWords, _ keys: KeyRing, _ passphrase: Passphrase, replacing: Bool = false
    ) async throws -> LocalIdentity {
        guard KeyRing.isName(name) else {
            throw CommandError(
                .usage, "`\(name)` is not a name",
                why: "names are 1 to \(LocalIdentity.nameLimit) of a-z, 0-9 and hyphens")
        }
        if !replacing, File.exists(keys.path(name)) || File.exists(keys.ownerPath(name)) {
            throw CommandError(
                .exists, "there is an identity `\(name)`", why: "\(keys.path(name)) exists", next: "choose another name"
            )
        }
        let secret = try passphrase.new(for: name)
        let owner = try passphrase.owner(for: name)
        return try await runBlocking {
            try keys.create(name, words: words, passphrase: secret, ownerPassphrase: owner, replacing: replacing)
        }
    }

    /// Four columns of numbered words.
    private static func grid(_ words: [String]) -> String {
        stride(from: 0, to: words.count, by: 4).map { start in
            (start..<min(start + 4, words.count)).map { index in
                let number = index + 1 < 10 ? " \(index + 1)" : "\(index + 1)"
                let space = String(repeating: " ", count: max(1, 10 - words[index].count))
                return "\(number) \(words[index])\(space)"
            }.joined(separator: " ")
        }.map { "  " + $0 }.joined(separator: "\n")
    }

    private func list() throws {
        let identities = try keys.names().map { try keys.load($0) }
        if context.invocation.has("names"), context.console.format == .table {
            return context.console.print(identities.map(\.name).joined(separator: "\n"))
        }
        let chosen = try? keys.choose(context.invocation.option("identity") ?? Environment.value("ZERO_IDENTITY")).name
        let rows = identities.map { identity in
            let owner = File.exists(keys.ownerPath(identity.name)) ? "here" : "elsewhere"
            return [identity.name == chosen ? "*" : "", identity.name, identity.address.address, owner]
        }
        context.console.emit(
            [
                "identities": .array(
                    identities.map {
                        [
                            "name": .string($0.name), "address": .string($0.address.address),
                            "agent": .string($0.agent.address),
                        ]
                    })
            ],
            Table("", "NAME", "ADDRESS", "OWNER KEY", rows: rows).text(context.console.style))
        if identities.isEmpty { context.console.progress("none yet; next: zero identity new default") }
    }

    private func chosen() throws -> LocalIdentity {
        try keys.choose(
            context.invocation.argument("name") ?? context.invocation.option("identity")
                ?? Environment.value("ZERO_IDENTITY"))
    }

    private func show() throws {
        let identity = try chosen()
        let owner = keys.ownerPath(identity.name)
        let isHere = File.exists(owner)
        context.console.emit(
            [
                "name": .string(identity.name), "address": .string(identity.address.address),
                "agent": .string(identity.agent.address),
                "roles": .array(LocalIdentity.roles.map(\.rawValue).sorted().map { .string($0) }),
                "owner_key_here": .bool(isHere),
            ],
            """
            Identity   \(identity.name)
            Address    \(identity.address.address)
            Agent key  \(identity.agent.address)  (\(LocalIdentity.roles.map(\.rawValue).sorted().joined(separator: ", ")))
            Owner key  \(isHere ? owner : "not on this machine")
            """ + "\n")
    }

    private func export() async throws {
        let identity = try chosen()
        let secret = try passphrase.owner(for: identity.name)
        let keys = keys
        let words = try await runBlocking { try keys.words(identity, passphrase: secret) }
        context.console.emit(
            ["name": .string(identity.name), "words": .array(words.words.map { .string($0) })], words.text + "\n")
    }

    /// The password that a zdb has if nobody gave it another: it needs neither the ledger nor the owner key.
    private func password() async throws {
        let identity = try keys.choose(context.invocation.option("identity") ?? Environment.value("ZERO_IDENTITY"))
        let (contract, name) = (context.argument("contract"), context.argument("secret"))
        let passphrase = try passphrase.daily(for: identity.name)
        guard let secret = try await runBlocking({ try identity.open(passphrase: passphrase).passwords }) else {
            throw CommandError(
                .locked, "`\(identity.name)` has nothing to derive passwords from", why: "its file is older than that",
                next: "`zero identity key rotate` adds it")
        }
        let value = secret.password(contract: contract, secret: name)
        context.console.emit(
            ["contract": .string(contract), "secret": .string(name), "password": .string(value)], value + "\n")
    }

    private func recover() async throws {
        let name = context.argument("name")
        let words = try RecoveryWords(words: readWords())
        let known = File.exists(keys.path(name)) ? try? keys.load(name) : nil
        if let known, known.address != words.signingKey().publicKey {
            throw CommandError(
                .exists, "these are not the words of `\(name)`", why: "`\(name)` is \(known.address.address)",
                next: "choose another name")
        }
        let identity = try await IdentityCommand.create(name, words, keys, passphrase, replacing: known != nil)
        context.console.note("identity `\(name)` is back: \(identity.address.address)")
        let added = try await KeyCommand(context).addRecovered(
            identity, owner: words.signingKey(), replaced: known?.agent,
            revokingOthers: context.invocation.has("revoke-others"))
        context.console.emit(
            [
                "name": .string(name), "address": .string(identity.address.address),
                "agent": .string(identity.agent.address), "added": .bool(added),
            ],
            "Identity   \(name)\nAddress    \(identity.address.address)\nAgent key  \(identity.agent.address)\n")
    }

    private func readWords() throws -> String {
        if let path = context.invocation.option("words-file") {
            return String(decoding: try KeyFile.readPrivate(Home.absolute(path), limit: 4_096), as: UTF8.self)
        }
        if let typed = context.console.secret("The 24 recovery words") { return String(decoding: typed, as: UTF8.self) }
        throw CommandError(
            .locked, "no words", why: "nobody is there to type them", next: "add --words-file FILE (mode 600)")
    }
}
