internal import Bus
internal import CanonicalJSON
internal import Linux
internal import Shim

/// The folder of each container under `<state>/compute/containers`: the order for its shim and the order for its mount. It is
/// the only memory of `zero-compute`; a new process finds there what was wanted.
struct ContainerStore: Sendable {
    let state: String
    let run: String

    var folder: String { "\(state)/compute/containers" }

    func paths(_ id: String) -> ShimPaths { ShimPaths(state: state, run: run, id: id) }

    /// Makes the folders that others go through: shims and mounts read below them, listing is not allowed.
    func prepare() throws(SystemError) {
        for path in ["\(state)/compute", folder] {
            try File.makeDirectories(path, mode: 0o711)
            try File.changeMode(path, 0o711)
        }
    }

    /// Ids of every container that has a folder.
    func ids() -> [String] { ((try? File.list(folder)) ?? []).filter(ContainerSpec.isIdentifier) }

    /// The order that was written last; nil where there is none or it cannot be read.
    func order(_ id: String) -> ShimOrder? {
        guard let bytes = try? File.read(paths(id).specFile, limit: 4 << 20),
            let value = try? JSONValue(parsing: bytes), let order = try? ShimOrder(value), order.spec.id == id
        else { return nil }
        return order
    }

    /// Writes what a container should be, for its mount first and then for its shim.
    func write(_ order: ShimOrder) throws(SystemError) {
        let paths = paths(order.spec.id)
        for path in [paths.input, paths.image] { try File.makeDirectories(path, mode: 0o711) }
        // The umask of a service is 0077.
        try File.changeMode(paths.input, 0o711)
        try File.writeDurably(mountFile(order.spec.id), mountOrder(order.spec).canonicalBytes, mode: 0o644)
        try File.writeDurably(paths.specFile, order.json.canonicalBytes, mode: 0o600)
    }

    /// What `zero-fs` reads, as `mount@<id>`.
    func mountFile(_ id: String) -> String { "\(paths(id).input)/mount.json" }

    private func mountOrder(_ spec: ContainerSpec) -> JSONValue {
        var order: [String: JSONValue] = [
            "format": 1, "root": .string(spec.imageRoot), "at": .string(paths(spec.id).image),
        ]
        order["key"] = spec.imageKey.map { .string($0) }
        if let sealed = spec.imageSealed {
            order["sealed"] = [
                "key": .string(sealed), "contract": .string(spec.contract), "workload": .string(spec.workload),
            ]
        }
        return .object(order)
    }

    /// Removes the folder; what others still use makes it fail, and it is tried again.
    func remove(_ id: String) throws(SystemError) {
        let input = paths(id).input
        // The mount point first: it cannot go while something is mounted there.
        try File.remove(paths(id).image)
        try File.removeTree(input)
    }
}
