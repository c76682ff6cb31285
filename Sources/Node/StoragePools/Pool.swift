internal import CLinux
internal import Glibc
internal import Linux
internal import Synchronization

/// Volumes on one mounted pool. Every call blocks and is safe from any thread; changes run one after the other.
///
/// On the pool: `volumes/<id>` a subvolume each, `snapshots/<id>/<name>`, `records/<id>.json`.
public final class Pool: Sendable {
    /// A volume as it is.
    public struct Volume: Sendable, Equatable {
        /// Its id.
        public let id: String
        /// Its root.
        public let path: String
        /// The most it may hold, bytes.
        public let size: Int64
        /// What it holds, bytes, as of the last commit.
        public let used: Int64
        /// The highest epoch that asked for it.
        public let epoch: Int64
        /// Names of its snapshots.
        public let snapshots: [String]
    }

    struct State {
        var records: [String: VolumeRecord] = [:]
        /// Subvolume ids of volumes.
        var subvolumes: [String: UInt64] = [:]
    }

    let root: String
    let device: PoolDevice
    let state: Mutex<State>
    /// Bytes of the disk under the pool that are promised to others, who do not fill them yet.
    private let elsewhere = Mutex<Int64>(0)

    var volumes: String { root + "/volumes" }
    var snapshots: String { root + "/snapshots" }
    var records: String { root + "/records" }
    func path(_ id: String) -> String { "\(volumes)/\(id)" }

    /// Opens a mounted pool: reads its records, finishes what a crash interrupted, sets every limit again.
    public init(_ device: PoolDevice) throws(StorageError) {
        self.device = device
        root = device.mountPoint
        state = Mutex(State())
        guard device.isMounted else { throw .missing("pool at \(device.mountPoint)") }
        try storage {
            for (folder, mode) in [(root, 0o711), (volumes, 0o711), (snapshots, 0o700), (records, 0o700)]
                as [(String, UInt32)]
            {
                try File.makeDirectories(folder, mode: mode)
                try File.changeMode(folder, mode)
            }
            let found = try readRecords()
            try state.withLock { state in
                state.records = found
                for record in found.values.sorted(by: { $0.id < $1.id }) { try settle(record, &state) }
            }
        }
    }

    private func readRecords() throws -> [String: VolumeRecord] {
        var found: [String: VolumeRecord] = [:]
        for name in try File.list(records) where name.hasSuffix(".json") {
            let path = "\(records)/\(name)"
            do {
                let record = try VolumeRecord(try File.read(path, limit: 4096))
                guard name == record.id + ".json" else {
                    throw StorageError.damaged(path: path, reason: "is the record of volume \(record.id)")
                }
                found[record.id] = record
            } catch let error as StorageError {
                throw error
            } catch {
                throw StorageError.damaged(path: path, reason: "is not a volume record: \(error)")
            }
        }
        return found
    }

    /// Brings one recorded volume to what its record says.
    private func settle(_ record: VolumeRecord, _ state: inout State) throws {
        if record.isRemoved {
            try delete(record.id)
        } else if let subvolume = subvolume(path(record.id)) {
            state.subvolumes[record.id] = subvolume
            try limit(subvolume, record.size)
        }
    }

    func subvolume(_ path: String) -> UInt64? {
        let id = zg_subvolume_id(path)
        return id < 0 ? nil : UInt64(id)
    }

    func limit(_ subvolume: UInt64, _ size: Int64) throws(SystemError) {
        try checked("quota limit", "subvolume \(subvolume)", zg_quota_limit(root, subvolume, UInt64(size)))
    }

    func write(_ record: VolumeRecord, _ state: inout State) throws {
        try File.writeDurably("\(records)/\(record.id).json", record.canonicalBytes, mode: 0o600)
        state.records[record.id] = record
    }

    /// What every subvolume holds, by its id; also whether the numbers are to be trusted.
    func accounts() throws(SystemError) -> (list: [UInt64: zg_quota_t], isConsistent: Bool) {
        var raw: UnsafeMutablePointer<zg_quota_t>?
        var flags: UInt32 = 0
        let count = try checked("quota list", root, zg_quota_list(root, &raw, &flags))
        defer { free(raw) }
        var list: [UInt64: zg_quota_t] = [:]
        for account in UnsafeBufferPointer(start: raw, count: raw == nil ? 0 : Int(count)) {
            list[account.id] = account
        }
        return (list, flags & 1 == 0)
    }

    /// Every volume with what it holds.
    public func list() throws(StorageError) -> [Volume] {
        try storage {
            let accounts = try accounts().list
            return try state.withLock { state in
                try state.records.values.filter { !$0.isRemoved }.sorted { $0.id < $1.id }.map { record in
                    let account = state.subvolumes[record.id].flatMap { accounts[$0] }
                    return Volume(
                        id: record.id, path: path(record.id), size: record.size,
                        used: Int64(clamping: account?.referenced ?? 0), epoch: record.epoch,
                        snapshots: try snapshotNames(record.id))
                }
            }
        }
    }

    func snapshotNames(_ id: String) throws(SystemError) -> [String] {
        let folder = "\(snapshots)/\(id)"
        return File.exists(folder) ? try File.list(folder) : []
    }

    /// Bytes of the pool: its size, what volumes may fill, what was promised to them, what is free.
    public func space() throws(StorageError) -> (size: Int64, usable: Int64, committed: Int64, free: Int64) {
        try storage {
            let space = try File.space(root)
            let total = Int64(clamping: space.total)
            let committed = state.withLock { Self.committed($0) }
            return (total, total / 100 * Limits.poolPercent, committed, Int64(clamping: space.free))
        }
    }

    /// Reserves what metadata took since, gives back data blocks that were freed. `room` is what was free last time;
    /// returns what is free now.
    func tidy(since room: Int64) throws(StorageError) -> Int64 {
        try device.reserveMetadata()
        let free = try space().free
        if free >= room + Limits.returnBytes { try device.returnFreed() }
        return free
    }

    /// Takes note of what others were promised of the disk under the pool.
    func promiseElsewhere(_ bytes: Int64) { elsewhere.withLock { $0 = max(0, bytes) } }

    var promisedElsewhere: Int64 { elsewhere.withLock { $0 } }

    /// Bytes of the disk under the pool that no volume was promised and that are not kept free.
    public func diskLeft() throws(StorageError) -> Int64 {
        try storage {
            try state.withLock { state in
                let accounts = try accounts().list
                let held = state.subvolumes.values.reduce(Int64(0)) {
                    $0 + Int64(clamping: accounts[$1]?.referenced ?? 0)
                }
                return try device.space().free - Limits.diskReserve - max(0, Self.committed(state) - held)
            }
        }
    }

    static func committed(_ state: State) -> Int64 {
        state.records.values.reduce(0) { $1.isRemoved ? $0 : $0 + $1.size }
    }

    /// Bounds what workloads hide from their volume's account, and drops accounts of what is gone.
    ///
    /// Anybody may make a subvolume inside a volume, and what it holds counts for itself. Such strangers get a small
    /// limit of their own. Returns how many were found.
    @discardableResult
    public func guardQuotas() throws(StorageError) -> Int {
        try storage {
            let (accounts, isConsistent) = try accounts()
            let known = try state.withLock { state in try knownSubvolumes(state) }
            var strangers = 0
            for account in accounts.values where !known.contains(account.id) {
                if account.referenced == 0, zg_quota_forget(root, account.id) == 0 { continue }
                strangers += 1
                if account.limit != Limits.strangerBytes {
                    _ = zg_quota_limit(root, account.id, Limits.strangerBytes)
                }
            }
            if !isConsistent { try checked("quota rescan", root, zg_quota_rescan(root)) }
            return strangers
        }
    }

    private func knownSubvolumes(_ state: State) throws -> Set<UInt64> {
        var known = Set(state.subvolumes.values)
        for volume in try File.list(snapshots) {
            for name in try snapshotNames(volume) {
                if let id = subvolume("\(snapshots)/\(volume)/\(name)") { known.insert(id) }
            }
        }
        return known
    }
}
