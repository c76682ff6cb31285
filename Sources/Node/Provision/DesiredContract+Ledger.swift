internal import CanonicalJSON
internal import Contracts
public import Crypto
public import LedgerState
internal import Records
internal import Bytes

extension DesiredContract {
    /// What the verified state asks of `node` for one contract; nil where it asks for nothing: cancelled, expired, waiting for
    /// approvals, or placed elsewhere.
    ///
    /// Signatures, approvals, constraints and epochs were checked when the state was replayed; a placement that does not fit
    /// could not be in it.
    public init?(_ id: Digest, in state: LedgerState, node: PublicKey, arch: String, images known: ImageCatalogue) {
        guard let entry = state.contract(id), !entry.isOver, let placed = state.placement(id),
            placed.body.nodes.contains(node), let version = entry.version(placed.body.version),
            !version.contract.workloads.isEmpty
        else { return nil }
        var images: [String: RunnableImage] = [:]
        for container in version.contract.containers {
            let reference = container.image
            if let current = state.image(reference.author, reference.name)?.body,
                let variant = current.index.first(where: { $0.arch == arch }),
                current.index.contains(where: { $0.root == reference.root })
            {
                images[container.name] = known.remember(reference.root, RunnableImage(variant))
            } else {
                // The name has moved on to another image since; this contract keeps the one it was signed with.
                images[container.name] = known.image(reference.root)
            }
        }
        let keys = state.identity(entry.author)?.body.keys ?? []
        let owner = ContractOwner(
            identity: entry.author,
            keys: keys.map { .init(key: $0.key, roles: $0.roles.map(\.rawValue).sorted(), until: $0.until) })
        self.init(
            id: id, contract: version.contract, placement: placed.body, node: node, images: images, owner: owner)
    }
}

extension RunnableImage {
    init(_ variant: ImageBody.Variant) {
        self.init(root: variant.root, key: variant.key.map { Hex.encode($0) }, config: ImageConfig(variant.config))
    }

    var value: JSONValue {
        var value: JSONValue = ["root": .string(root.hex), "config": config.value]
        if let key { value["key"] = .string(key) }
        return value
    }

    init?(_ value: JSONValue) {
        guard let root = value["root"]?.string.flatMap({ Digest(hex: $0) }), let config = value["config"] else {
            return nil
        }
        self.init(root: root, key: value["key"]?.string, config: ImageConfig(config))
    }
}

extension ImageConfig {
    /// Reads what it needs and ignores the rest: an image's configuration is its author's, not ours to refuse.
    init(_ value: JSONValue) {
        self.init()
        func strings(_ key: String) -> [String] { value[key]?.array?.compactMap(\.string) ?? [] }
        (entrypoint, cmd, env) = (strings("entrypoint"), strings("cmd"), strings("env"))
        user = value["user"]?.string ?? ""
        cwd = value["cwd"]?.string ?? value["working_dir"]?.string ?? "/"
        stopSignal = value["stop_signal"]?.string ?? stopSignal
    }

    var value: JSONValue {
        func list(_ strings: [String]) -> JSONValue { .array(strings.map { .string($0) }) }
        return [
            "entrypoint": list(entrypoint), "cmd": list(cmd), "env": list(env), "user": .string(user),
            "cwd": .string(cwd),
            "stop_signal": .string(stopSignal),
        ]
    }
}
