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
        (inventory.volumes, inventory.gateways) = (names("volumes"), names("gateways"))
        inventory.zdbs = names("zdbs")
        inventory.containers = instances(value["containers"])
        inventory.retiring = instances(value["retiring"])
        inventory.serving = value["serving"]?.object?.compactMapValues { $0.integer.map { Int($0) } } ?? [:]
        inventory.doors =
            value["doors"]?.array?.compactMap { door in
                guard let host = door["host"]?.integer, let target = door["to_port"]?.integer,
                    let port = door["port"]?.integer
                else { return nil }
                return Door(host: Int(host), target: target, port: port)
            } ?? []
        inventory.hasNetwork = value["network"]?.bool ?? false
        inventory.hasAccess = value["access"]?.bool ?? false
        return inventory
    }

    /// In version 1 a container was its workload's name alone.
    private func instances(_ value: JSONValue?) -> Set<Instance> {
        let list = value?.array?.compactMap { entry -> Instance? in
            if let workload = entry.string { return Instance(workload, host: nil) }
            guard let workload = entry["workload"]?.string else { return nil }
            return Instance(workload, host: entry["host"]?.integer.map { Int($0) })
        }
        return Set(list ?? [])
    }

    /// Keeps it; a full disk is logged and tried again with the next change.
    func save(_ id: Digest, _ inventory: Inventory, _ log: Log) {
        func list(_ names: Set<String>) -> JSONValue { .array(names.sorted().map { .string($0) }) }
        func list(_ instances: Set<Instance>) -> JSONValue {
            .array(
                instances.sorted().map { instance in
                    var entry: JSONValue = ["workload": .string(instance.workload)]
                    if let host = instance.host { entry["host"] = .integer(Int64(host)) }
                    return entry
                })
        }
        let doors = inventory.doors.map { door -> JSONValue in
            ["host": .integer(Int64(door.host)), "to_port": .integer(door.target), "port": .integer(door.port)]
        }
        let value: JSONValue = [
            "v": 2, "containers": list(inventory.containers), "retiring": list(inventory.retiring),
            "serving": .object(inventory.serving.mapValues { .integer(Int64($0)) }), "doors": .array(doors),
            "volumes": list(inventory.volumes), "gateways": list(inventory.gateways),
            "zdbs": list(inventory.zdbs),
            "network": .bool(inventory.hasNetwork), "access": .bool(inventory.hasAccess),
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
