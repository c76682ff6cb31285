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

    /// The placement with each secret's content key, and each private image's key, sealed to the node that needs it.
    static func seal(
        _ placement: Placement, of contract: Contract, known: [String: [UInt8]], images: [String: ImageBody.Variant],
        by signer: Signer,
        in state: LedgerState
    ) throws -> Placement {
        var workloads = placement.workloads
        for container in contract.containers {
            guard let placed = workloads[container.name], let node = state.node(placed.node) else { continue }
            let recipient = try SealingPublicKey(node.body.sealing)
            var sealed: [String: [UInt8]] = [:]
            for name in Set(container.secrets.values) {
                let key = try known[name] ?? contentKey(name, contract.secrets[name], by: signer)
                sealed[name] = try SecretEnvelope.sealKey(
                    key, name: name, contract: placement.contract.hex, to: recipient)
            }
            if let variant = images[container.name] {
                let key = try imageKey(variant, container.image.name, by: signer)
                sealed[Placement.imageKey] = try SecretEnvelope.sealKey(
                    key, name: Placement.imageKey, contract: placement.contract.hex, to: recipient)
            }
            guard !sealed.isEmpty else { continue }
            workloads[container.name] = PlacedWorkload(
                node: placed.node, subnet: placed.subnet, address: placed.address, address6: placed.address6,
                port: placed.port, secrets: sealed)
        }
        return Placement(
            contract: placement.contract, version: placement.version, epoch: placement.epoch, workloads: workloads)
    }

    /// A secret that was sealed in an earlier version.
    private static func contentKey(_ name: String, _ secret: SealedSecret?, by signer: Signer) throws -> [UInt8] {
        guard let sealed = secret?.keys[signer.agent.publicKey] else {
            throw CommandError(
                .locked, "the secret `\(name)` cannot be read by this machine's key",
                why: "it was sealed before this key was there",
                next: "give its value again: --secret \(name)=@FILE")
        }
        let found = try SecretEnvelope.readKey(sealed, with: SealingKey(from: signer.agent))
        guard found.name == name else {
            throw CommandError(
                .refused, "the secret `\(name)` was sealed as `\(found.name)`",
                next: "give its value again: --secret \(name)=@FILE")
        }
        return found.key
    }

    /// The key of a private image, as it was sealed to this machine's key.
    static func imageKey(_ variant: ImageBody.Variant, _ image: String, by signer: Signer) throws -> [UInt8] {
        if let key = variant.key { return key }
        guard let sealed = variant.sealed?[signer.agent.publicKey] else {
            throw CommandError(
                .locked, "the private image `\(image)` cannot be read by this machine's key",
                why: "it is sealed to other keys",
                next: "import it again on this machine")
        }
        return try SecretEnvelope.readKey(sealed, with: SealingKey(from: signer.agent)).key
    }

    private static func input() throws -> [UInt8] {
        let input = Descriptor(dup(0))
        return try input.readAll(limit: SecretEnvelope.valueLimit, "standard input")
    }
}
