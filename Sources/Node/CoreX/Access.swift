internal import CanonicalJSON
internal import Crypto
internal import Linux
internal import Shim

/// Who may reach which containers of a contract: what `zero-provision` took from the ledger and `zero-compute` wrote down.
struct Access: Sendable {
    struct Key: Sendable {
        let key: PublicKey
        let roles: Set<String>
        /// Unix milliseconds; nil is for ever.
        let until: Int64?
    }
    let contract: Digest
    let ledger: Digest
    let author: PublicKey
    let keys: [Key]
    /// Container ids by workload.
    let workloads: [String: String]
    /// Ids of namespaces of the node's Zero-DB by workload.
    let zdbs: [String: String]
    /// The address on which this contract's Core-X is reached.
    let link: String

    /// Roles whose keys may read logs and run programs.
    static let roles: Set<String> = ["owner", "deploy"]

    static func read(_ path: String) throws(Refusal) -> Access {
        do {
            return try Access(JSONValue(parsing: File.read(path, limit: 4 << 20)))
        } catch {
            throw Refusal(503, "UNAVAILABLE", "nobody has access to this contract yet, or not any more")
        }
    }

    init(_ value: JSONValue) throws {
        var reader = try ObjectReader(value, "access")
        let texts = (try reader.string("contract"), try reader.string("ledger"))
        guard let contract = Digest(hex: texts.0), let ledger = Digest(hex: texts.1) else {
            throw reader.refuse("contract", "64 hexadecimal digits", found: .string(texts.0))
        }
        (self.contract, self.ledger) = (contract, ledger)
        author = try PublicKey(address: reader.string("author"))
        keys = try reader.array("keys").map { entry in
            var key = try ObjectReader(entry, "key")
            return Key(
                key: try PublicKey(address: key.string("key")), roles: Set(try key.strings("roles")),
                until: try key.optionalInteger("until"))
        }
        workloads = try reader.object("workloads").compactMapValues { entry in
            guard let id = entry["id"]?.string, ContainerSpec.isIdentifier(id) else { return nil }
            return id
        }
        zdbs = (try reader.optionalObject("zdbs") ?? [:]).compactMapValues { $0["id"]?.string }
        link = try reader.string("link")
    }

    func mayUse(_ key: PublicKey, at now: Int64) -> Bool {
        keys.contains { entry in
            entry.key == key && !entry.roles.isDisjoint(with: Self.roles) && (entry.until.map { now < $0 } ?? true)
        }
    }
}
