import CFuse
import Flist
import Glibc
import Linux
import RESP
public import Service

/// `zero-fs mount`: one mounted flist, until it is unmounted.
public enum MountProgram {
    /// Where a mount of a node finds what its order does not say.
    public struct Node: Sendable {
        /// The node's folder.
        public let state: String
        /// The node's folder of this boot.
        public let run: String
        /// The container's id.
        public let instance: String

        /// A mount of a node.
        public init(state: String, run: String, instance: String) {
            (self.state, self.run, self.instance) = (state, run, instance)
        }

        /// The order that `zero-compute` wrote.
        public var order: String { "\(state)/compute/containers/\(instance)/mount.json" }
    }

    /// Mounts as the order at `path` says and returns when the mount is over or left to a successor.
    ///
    /// `inherited` is a descriptor of /dev/fuse that `zero-core` kept. No other thread may be running yet.
    public static func run(order path: String, _ node: Node?, inherited: Int32?, log: Log) throws(MountError) {
        var signals = MountSession.signals
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
        zg_fuse_keep_memory()
        let defaults = node.map { node in
            MountOrder.Defaults(
                store: "\(node.run)/db.sock", cache: "\(node.state)/mount/cache",
                session: "\(node.run)/mount/\(node.instance).session", identity: "\(node.run)/identity.sock")
        }
        let order = try MountOrder(path: path, defaults ?? MountOrder.Defaults())
        let root = ChunkReference(id: order.root, key: try RootKey.get(order, log))
        let supply = supply(order, log)
        let reader: FlistReader
        do throws(FlistError) {
            reader = try FlistReader(root, supply)
            // A public image says so by its root's key; then every key can be checked.
            let plain = try supply.plaintext(root, .root)
            if try ChunkCodec.seal(plain, .root, .publicImages).reference == root { supply.requirePublicKeys() }
        } catch { throw .flist(error) }
        let keeper = node.map { node in
            MountSession.Keeper(socket: "\(node.run)/core.sock", unit: "mount@", instance: node.instance)
        }
        let session = try MountSession(order, inherited: inherited, keeper, log)
        let system = FileSystem(reader, supply, session: order.session, log: log)
        try session.run(system) { Daemon.ready() }
    }

    private static func supply(_ order: MountOrder, _ log: Log) -> ChunkSupply {
        let setup = order.namespace.map { [[Array("SELECT".utf8), Array($0.utf8)]] } ?? []
        let store = ZeroDBChunkStore(order.store, connections: 6, setup: setup, deadline: .seconds(10))
        var disk: DiskCache?
        if let folder = order.cache, !folder.isEmpty, order.cacheMax > 0 {
            do throws(SystemError) { disk = try DiskCache(folder, limit: order.cacheMax) } catch {
                log.warn("no cache", ["folder": folder, "reason": "\(error)"])
            }
        }
        return ChunkSupply(store, disk, waitMilliseconds: order.storeWaitMilliseconds, log: log)
    }

    /// The descriptor of this name that `zero-core` kept: `ZERO_FDS=name:number,…`.
    public static func inherited(_ name: String) -> Int32? {
        guard let text = getenv("ZERO_FDS").map({ String(cString: $0) }) else { return nil }
        for item in text.split(separator: ",") {
            let parts = item.split(separator: ":", maxSplits: 1)
            if parts.count == 2, parts[0] == name, let number = Int32(parts[1]), fcntl(number, F_GETFD) >= 0 {
                return number
            }
        }
        return nil
    }
}
