import Contracts
import Crypto
import Glibc
import LedgerState
import Linux
import Records
import Terminal

/// Values of secrets as they are given, and what is made of them. Values never reach an argument list or a log.
struct SecretValues: Sendable {
    private var values: [String: [UInt8]] = [:]

    /// Values that are at hand without asking: `--secret NAME=@file`, `--secret NAME=-`, `$ZERO_SECRET_<NAME>`.
    init(_ context: Context, for names: [String]) throws {
        for option in context.invocation.all("secret") {
            let halves = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard halves.count == 2, halves[1] == "-" || halves[1].hasPrefix("@") else {
                throw CommandError(
                    .usage, "`--secret` wants NAME=@FILE or NAME=-",
                    why: "a value in an argument could be seen by every user of this machine")
            }
            guard names.contains(halves[0]) else {
                throw CommandError(
                    .usage, "the contract has no secret `\(halves[0])`",
                    why: names.isEmpty ? "it uses none" : "it uses \(names.joined(separator: ", "))")
            }
            values[halves[0]] =
                try halves[1] == "-"
                ? SecretValues.input()
                : File.read(Home.absolute(String(halves[1].dropFirst())), limit: SecretEnvelope.valueLimit)
        }
        for name in names where values[name] == nil {
            let variable = "ZERO_SECRET_" + name.uppercased().replacing("-", with: "_")
            if let value = Environment.value(variable) { values[name] = Array(value.utf8) }
        }
    }

    var names: Set<String> { Set(values.keys) }

    /// Derives what is missing from the identity's words; those that it cannot are left.
    mutating func derive(_ missing: Set<String>, of contract: String, from secret: StorageSecret?) {
        guard let secret else { return }
        for name in missing where values[name] == nil {
            values[name] = Array(secret.password(contract: contract, secret: name).utf8)
        }
    }

    /// Asks for what is missing.
    mutating func ask(_ missing: Set<String>, _ console: Console) throws {
        for name in missing.sorted() where values[name] == nil {
            guard let typed = console.secret("Value of the secret `\(name)`") else {
                throw CommandError(
                    .locked, "the secret `\(name)` has no value", why: "nobody is there to type it",
                    next:
                        "add --secret \(name)=@FILE, or set $ZERO_SECRET_\(name.uppercased().replacing("-", with: "_"))"
                )
            }
            values[name] = typed
        }
    }

    /// Seals each value once, and its content key to its author, the author's agent key, and the planner.
    func seal(_ names: Set<String>, for contract: Contract, by signer: Signer) throws -> (
        boxes: [String: SealedSecret], keys: [String: [UInt8]]
    ) {
        var boxes: [String: SealedSecret] = [:]
        var contentKeys: [String: [UInt8]] = [:]
        let readers = Set([signer.author, signer.agent.publicKey] + (contract.planner.map { [$0] } ?? []))
        for name in names {
            guard let value = values[name] else { continue }
            let (box, key) = try SecretEnvelope.seal(value: value)
            var keys: [PublicKey: [UInt8]] = [:]
            for reader in readers {
                keys[reader] = try SecretEnvelope.sealKey(
                    key, name: name, contract: contract.id?.hex, to: SealingPublicKey(from: reader))
            }
            boxes[name] = SealedSecret(box: box, keys: keys)
            contentKeys[name] = key
        }
        return (boxes, contentKeys)
    }

    private static func input() throws -> [UInt8] {
        let input = Descriptor(dup(0))
        return try input.readAll(limit: SecretEnvelope.valueLimit, "standard input")
    }
}
