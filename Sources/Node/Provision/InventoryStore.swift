internal import CanonicalJSON
public import Crypto
internal import Linux
internal import Service

/// Which parts of which contract exist on this node, one durable file a contract.
public struct InventoryStore: Sendable {
    private let folder: String

    /// Keeps its files in `folder`.
    public init(folder: String) { self.folder = folder }

    /// Contracts that have parts here.
    public func contracts() -> [Digest] {
        let names = (try? File.list(folder)) ?? []
        return names.filter { $0.hasSuffix(".json") }.compactMap { Digest(hex: String($0.dropLast(5))) }
    }

    private func path(_ id: Digest) -> String { "\(folder)/\(id.hex).json" }

    /// What is known; nothing where the file is absent or not readable (the daemons' own lists still hold the parts).
    public func load(_ id: Digest) -> Inventory {
        var inventory = Inventory()
        guard let bytes = try? File.read(path(id), limit: 1 << 20), let value = try? JSONValue(canonical: bytes) else {
            return inventory
        }
        func names(_ key: String) -> Set<String> { Set(value[key]?.array?.compactMap(\.string) ?? []) }
        (inventory.containers, inventory.volumes, inventory.gateways) =
            (names("containers"), names("volumes"), names("gateways"))
        inventory.hasNetwork = value["network"]?.bool ?? false
        inventory.hasAccess = value["access"]?.bool ?? false
        return inventory
    }

    /// Keeps it; a full disk is logged and tried again with the next change.
    func save(_ id: Digest, _ inventory: Inventory, _ log: Log) {
        func list(_ names: Set<String>) -> JSONValue { .array(names.sorted().map { .string($0) }) }
        let value: JSONValue = [
            "v": 1, "containers": list(inventory.containers), "volumes": list(inventory.volumes),
            "gateways": list(inventory.gateways), "network": .bool(inventory.hasNetwork),
            "access": .bool(inventory.hasAccess),
        ]
        do throws(SystemError) {
            try File.makeDirectories(folder, mode: 0o700)
            try File.writeDurably(path(id), value.canonicalBytes)
        } catch {
            log.error("inventory-not-saved", ["contract": id.hex, "reason": "\(error)"])
        }
    }

    /// Forgets a contract of which nothing is left.
    func remove(_ id: Digest) { try? File.remove(path(id)) }
}
