public import Crypto

/// Where something stands in the state tree.
public enum StateKey: Hashable, Sendable {
    /// The keys of an identity.
    case identity(PublicKey)
    /// How many records a key signed.
    case sequence(PublicKey)
    /// A contract.
    case contract(Digest)
    /// The placement of a contract.
    case placement(Digest)
    /// Who holds a name.
    case name(String)
    /// A reserved name.
    case commit(Digest)
    /// A node.
    case node(PublicKey)
    /// A farm.
    case farm(PublicKey)
    /// An image of an author.
    case image(PublicKey, String)
    /// A member of the ledger.
    case member(PublicKey)
    /// What a node did for a contract.
    case result(contract: Digest, node: PublicKey)

    /// The key as text; its SHA-256 is the leaf's path.
    public var text: String {
        switch self {
        case .identity(let key): "identity/\(key.address)"
        case .sequence(let key): "seq/\(key.address)"
        case .contract(let id): "contract/\(id.hex)"
        case .placement(let id): "placement/\(id.hex)"
        case .name(let name): "name/\(name)"
        case .commit(let hash): "commit/\(hash.hex)"
        case .node(let key): "node/\(key.address)"
        case .farm(let key): "farm/\(key.address)"
        case .image(let author, let name): "image/\(author.address)/\(name)"
        case .member(let key): "member/\(key.address)"
        case .result(let contract, let node): "result/\(contract.hex)/\(node.address)"
        }
    }

    /// The key of a text; nil where it is none.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 2, (parts.count == 3) == (parts[0] == "image" || parts[0] == "result") else { return nil }
        let key = try? PublicKey(address: parts[1])
        let digest = Digest(hex: parts[1])
        switch (parts[0], key, digest) {
        case ("identity", let key?, _): self = .identity(key)
        case ("seq", let key?, _): self = .sequence(key)
        case ("contract", _, let id?): self = .contract(id)
        case ("placement", _, let id?): self = .placement(id)
        case ("name", _, _): self = .name(parts[1])
        case ("commit", _, let hash?): self = .commit(hash)
        case ("node", let key?, _): self = .node(key)
        case ("farm", let key?, _): self = .farm(key)
        case ("image", let author?, _): self = .image(author, parts[2])
        case ("member", let key?, _): self = .member(key)
        case ("result", _, let id?):
            guard let node = try? PublicKey(address: parts[2]) else { return nil }
            self = .result(contract: id, node: node)
        default: return nil
        }
    }
}
