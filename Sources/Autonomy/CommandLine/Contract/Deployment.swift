import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records

/// A contract file against the ledger of now: what would be signed, and what that would change.
struct Deployment: Sendable {
    let draft: ContractDraft
    let state: LedgerState
    let identity: LocalIdentity
    /// Names of identities that are known here.
    let keys: KeyRing
    /// The author's contract of that name, where there is one.
    let id: Digest?
    let entry: ContractEntry?
    /// What would be signed. Boxes of secrets in `fresh` are stand-ins until `sealed(_:)` replaces them.
    let contract: Contract
    let plan: ContractPlan
    /// Whether the file says what waits for approvals already.
    let isPending: Bool
    /// Images that are private, by workload: their keys travel with the placement.
    let privateImages: [String: ImageBody.Variant]
    /// Secrets whose values are given anew.
    let fresh: Set<String>

    var previous: Contract? { entry?.approved?.contract }
    /// Whether the version in force says what the file says.
    var isUnchanged: Bool { entry?.approved != nil && plan.isEmpty }

    /// Resolves everything that the file names. `given` are secrets whose values are at hand.
    init(
        _ draft: ContractDraft, in state: LedgerState, as identity: LocalIdentity, keys: KeyRing, given: Set<String>,
        now: Int64
    ) throws {
        (self.draft, self.state, self.identity, self.keys) = (draft, state, identity, keys)
        id = state.contract(of: identity.address, named: draft.name)
        let entry = id.flatMap { state.contract($0) }
        self.entry = entry
        guard draft.expires > now else {
            throw draft.locate(
                ContractError(
                    .outOfRange, "expires", "the contract ends in the past", why: "it is \(Units.timeText(now)) now",
                    hint: "choose a later day"))
        }
        let images = try Deployment.images(draft, ImageResolver(state: state, identity: identity, keys: keys))
        let known = try keys.addresses()
        let (version, id) = (entry?.approved.map { $0.version + 1 } ?? 1, entry?.approved == nil ? nil : id)
        func resolve(_ old: [String: SealedSecret]) throws -> (Contract, Set<String>) {
            let (secrets, fresh) = Deployment.secrets(draft, old, given)
            let contract = try draft.resolve(
                version: version, id: id, images: images.mapValues(\.reference), identities: known, secrets: secrets)
            return (contract, fresh)
        }
        (contract, fresh) = try resolve(entry?.approved?.contract.secrets ?? [:])
        plan = ContractPlan(from: entry?.approved?.contract, to: contract)
        if let previous = entry?.approved?.contract, let id {
            do { try contract.checkFollows(previous, contract: id) } catch { throw draft.locate(error) }
        }
        if let pending = entry?.pending?.contract {
            let (candidate, missing) = try resolve(pending.secrets)
            isPending = missing.isEmpty && ContractPlan(from: pending, to: candidate).isEmpty
            if !isPending, entry?.approved == nil { throw Deployment.blocked(draft, pending) }
        } else {
            isPending = false
        }
        var privateImages: [String: ImageBody.Variant] = [:]
        for container in contract.containers {
            let found = images.values.first { $0.reference == container.image }
            if let found, found.variant.key == nil { privateImages[container.name] = found.variant }
        }
        self.privateImages = privateImages
    }

    private static func blocked(_ draft: ContractDraft, _ pending: Contract) -> CommandError {
        CommandError(
            .waiting, "the first version of `\(pending.name)` waits for approvals",
            why: "\(draft.file) says something else by now",
            next: "`zero delete \(pending.name)` first, or deploy the file that was signed")
    }

    private static func images(_ draft: ContractDraft, _ resolver: ImageResolver) throws -> [String: ImageResolver
        .Found]
    {
        var images: [String: ImageResolver.Found] = [:]
        for (name, path) in draft.images {
            do { images[name] = try resolver.resolve(name) } catch let error as ImageResolver.Failure {
                throw draft.locate(ContractError(.badReference, path, error.what, why: error.why, hint: error.hint))
            }
        }
        return images
    }

    /// Sealed forms that are carried over, stand-ins for the rest, and which those are.
    private static func secrets(
        _ draft: ContractDraft, _ old: [String: SealedSecret], _ given: Set<String>
    ) -> (secrets: [String: SealedSecret], fresh: Set<String>) {
        var secrets: [String: SealedSecret] = [:]
        var fresh: Set<String> = []
        for name in draft.secrets {
            if let sealed = old[name], !given.contains(name) {
                secrets[name] = sealed
            } else {
                secrets[name] = SealedSecret(box: [0], keys: [:])
                fresh.insert(name)
            }
        }
        return (secrets, fresh)
    }

    /// Those of `fresh` that derive from the words if they are not given: passwords of zdbs.
    var derivable: Set<String> { fresh.intersection(contract.zdbs.compactMap(\.password)) }

    /// The contract with its new secrets sealed.
    func sealed(_ boxes: [String: SealedSecret]) -> Contract {
        var contract = contract
        contract.secrets.merge(boxes) { _, new in new }
        return contract
    }

    /// Where it would run; errors point into the file. `id` is any hash where the contract has none yet.
    func placement(of contract: Contract, id: Digest, in state: LedgerState) throws -> Placement {
        let previous = state.placement(id)?.body
        let old = previous.flatMap { state.contract(id)?.version($0.version)?.contract }
        do {
            return try Placer(nodes: state.nodes, used: state.used(except: id)).place(
                contract, id: id, previous: previous, old: old)
        } catch { throw draft.locate(error) }
    }

    /// What its gateways' names need first. A name that somebody else holds, or another contract of the author routes, is
    /// an error at its place.
    func names() throws -> (take: [String], renew: [String]) {
        var (take, renew): ([String], [String]) = ([], [])
        for (name, path) in draft.gateways {
            if let other = routing(name) {
                throw draft.locate(
                    ContractError(
                        .badReference, path, "the name `\(name)` is in use", why: "your contract `\(other)` routes it",
                        hint: "choose another name, or delete `\(other)`"))
            }
            guard let held = state.name(name), held.expires + state.genesis.rules.nameGrace > state.time else {
                take.append(name)
                continue
            }
            guard held.holder == identity.address else {
                throw draft.locate(
                    ContractError(
                        .badReference, path, "the name `\(name)` is taken",
                        why: "\(held.holder.address) holds it until \(Units.timeText(held.expires))",
                        hint: "choose another name"))
            }
            if held.expires < contract.expires { renew.append(name) }
        }
        return (take, renew)
    }

    /// Another open contract of the author that routes `name`.
    private func routing(_ name: String) -> String? {
        state.openContracts(of: identity.address).sorted { $0.key < $1.key }.first { other in
            guard other.value != id, let entry = state.contract(other.value) else { return false }
            let contracts = [entry.approved?.contract, entry.pending?.contract].compactMap { $0 }
            return contracts.contains { $0.gateways.contains { $0.name == name } }
        }?.key
    }
}

/// Finds images by the names that contracts use.
struct ImageResolver {
    let state: LedgerState
    let identity: LocalIdentity
    let keys: KeyRing

    struct Failure: Error {
        var what: String
        var why: String
        var hint: String?
    }

    struct Found {
        var reference: ImageReference
        var entry: ImageEntry
        var variant: ImageBody.Variant
    }

    /// Yours by its name; another's as `<address or identity>/<name>`; else the only public image of that name.
    func resolve(_ name: String) throws -> Found {
        if let entry = state.image(identity.address, name) { return try found(identity.address, entry) }
        if let slash = name.firstIndex(of: "/") {
            let (owner, rest) = (String(name[..<slash]), String(name[name.index(after: slash)...]))
            if let author = (try? PublicKey(address: owner)) ?? (try? keys.load(owner).address),
                let entry = state.image(author, rest)
            {
                return try found(author, entry)
            }
        }
        let others = ImageResolver.all(in: state).filter { $0.entry.body.isPublic && $0.entry.body.name == name }
        if others.count == 1 { return try found(others[0].author, others[0].entry) }
        if others.count > 1 {
            let list = others.map { "\($0.author.address)/\(name)" }.joined(separator: ", ")
            throw Failure(
                what: "the image `\(name)` is of several authors", why: "they are \(list)", hint: "write one of them")
        }
        let known = ImageResolver.all(in: state).filter { $0.author == identity.address || $0.entry.body.isPublic }.map(
            \.entry.body.name)
        let near = nearest(to: name, among: known).map { "did you mean `\($0)`?" }
        throw Failure(
            what: "there is no image `\(name)`", why: "the ledger has no record of it",
            hint: near ?? "import it with `zero image import <path> --name \(name)`")
    }

    private func found(_ author: PublicKey, _ entry: ImageEntry) throws -> Found {
        let wanted = Set(state.nodes.map(\.body.arch))
        guard let variant = entry.body.index.first(where: { wanted.contains($0.arch) || wanted.isEmpty }) else {
            let has = entry.body.index.map(\.arch).joined(separator: ", ")
            throw Failure(
                what: "the image `\(entry.body.name)` does not fit the grid's nodes",
                why: "it is for \(has), the nodes are \(wanted.sorted().joined(separator: ", "))",
                hint: "import it for that architecture")
        }
        let reference = ImageReference(name: entry.body.name, author: author, root: variant.root, record: entry.record)
        return Found(reference: reference, entry: entry, variant: variant)
    }

    /// Every image of the ledger, by author and name.
    static func all(in state: LedgerState) -> [(author: PublicKey, entry: ImageEntry)] {
        var images: [(author: PublicKey, entry: ImageEntry)] = []
        state.forEach { (leaf: StateLeaf) in
            if case .image(let author, _) = leaf.key, case .image(let entry) = leaf.entry {
                images.append((author, entry))
            }
        }
        return images.sorted { ($0.entry.body.name, $0.author) < ($1.entry.body.name, $1.author) }
    }
}
