import Contracts
import Crypto
import LedgerState
import Records

/// Seals what a placement hands to its nodes: content keys of secrets and keys of private images.
struct PlacementSealer {
    let contract: Contract
    /// Content keys of secrets that were sealed just now.
    let known: [String: [UInt8]]
    /// Private images by workload.
    let images: [String: ImageBody.Variant]
    /// Keys that may open what was sealed before: this machine's agent key, the owner key where it is needed.
    let readers: [SigningKey]

    /// Whether the agent key alone cannot open all of it: it was sealed before this machine's key was there.
    static func needsOwner(
        _ contract: Contract, known: [String: [UInt8]], images: [String: ImageBody.Variant], agent: PublicKey
    ) -> Bool {
        let secrets = contract.secrets.filter { known[$0.key] == nil }
        return secrets.values.contains { $0.keys[agent] == nil } || images.values.contains { $0.sealed?[agent] == nil }
    }

    /// The placement with everything sealed to the nodes that need it.
    func seal(_ placement: Placement, in state: LedgerState) throws -> Placement {
        var workloads = placement.workloads
        for workload in contract.workloads {
            guard let placed = workloads[workload.name], let node = state.node(placed.node) else { continue }
            let recipient = try SealingPublicKey(node.body.sealing)
            func sealed(_ key: [UInt8], _ name: String) throws -> [UInt8] {
                try SecretEnvelope.sealKey(key, name: name, contract: placement.contract.hex, to: recipient)
            }
            var keys: [String: [UInt8]] = [:]
            for name in workload.secretNames {
                keys[name] = try sealed(known[name] ?? secret(name), name)
            }
            if case .container(let container) = workload, let variant = images[container.name] {
                let key = try PlacementSealer.imageKey(variant, container.image.name, readers)
                keys[Placement.imageKey] = try sealed(key, Placement.imageKey)
            }
            guard !keys.isEmpty else { continue }
            workloads[workload.name] = PlacedWorkload(
                node: placed.node, subnet: placed.subnet, address: placed.address, address6: placed.address6,
                port: placed.port, secrets: keys)
        }
        return Placement(
            contract: placement.contract, version: placement.version, epoch: placement.epoch, workloads: workloads)
    }

    /// The content key of a secret that an earlier version sealed.
    private func secret(_ name: String) throws -> [UInt8] {
        let next = "give its value again: --secret \(name)=@FILE"
        guard let found = try PlacementSealer.open(contract.secrets[name]?.keys ?? [:], readers) else {
            throw CommandError(
                .locked, "the secret `\(name)` cannot be read by this machine's key",
                why: "it was sealed before this key was there", next: next)
        }
        guard found.name == name else {
            throw CommandError(.refused, "the secret `\(name)` was sealed as `\(found.name)`", next: next)
        }
        return found.key
    }

    /// The key of an image's root.
    static func imageKey(_ variant: ImageBody.Variant, _ image: String, _ readers: [SigningKey]) throws -> [UInt8] {
        if let key = variant.key { return key }
        guard let found = try open(variant.sealed ?? [:], readers) else {
            throw CommandError(
                .locked, "the private image `\(image)` cannot be read by this machine's key",
                why: "it is sealed to other keys",
                next: "import it again on this machine")
        }
        return found.key
    }

    private static func open(_ sealed: [PublicKey: [UInt8]], _ readers: [SigningKey]) throws -> SecretEnvelope
        .ContentKey?
    {
        for reader in readers {
            guard let bytes = sealed[reader.publicKey] else { continue }
            return try SecretEnvelope.readKey(bytes, with: SealingKey(from: reader))
        }
        return nil
    }
}
