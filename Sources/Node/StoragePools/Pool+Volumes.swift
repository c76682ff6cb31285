internal import CLinux
internal import Glibc
internal import Linux
internal import Synchronization

extension Pool {
    /// Makes a volume, or makes it larger, or just finds it. Returns its path.
    ///
    /// A lower epoch than the recorded one is refused; so is a size below what the volume holds.
    public func ensure(
        id: String, size: Int64, epoch: Int64, uid: UInt32 = 0, gid: UInt32 = 0
    ) throws(StorageError) -> String {
        try Self.check(id, "volume")
        guard size >= Limits.volumeMin else {
            throw .invalid("volume \(id): \(size) bytes are too few, the least is \(Limits.volumeMin)")
        }
        guard epoch >= 0 else { throw .invalid("volume \(id): epoch \(epoch) is negative") }
        return try storage {
            try state.withLock { state in
                if let record = state.records[id] {
                    guard epoch >= record.epoch else {
                        throw StorageError.epoch(volume: id, asked: epoch, recorded: record.epoch)
                    }
                    if !record.isRemoved {
                        try update(record, size: size, epoch: epoch, &state)
                        return path(id)
                    }
                }
                try create(id: id, size: size, epoch: epoch, uid: uid, gid: gid, &state)
                return path(id)
            }
        }
    }

    static func check(_ name: String, _ what: String) throws(StorageError) {
        guard VolumeRecord.isName(name) else {
            throw .invalid("a \(what)'s name is 1 to \(Limits.nameMax) of a-z, 0-9, “-”, “.” and “_”")
        }
    }

    /// The record is written last: without it, the next try finds the subvolume and goes on from there.
    private func create(
        id: String, size: Int64, epoch: Int64, uid: UInt32, gid: UInt32, _ state: inout State
    ) throws {
        let live = state.records.values.count { !$0.isRemoved }
        guard live < Limits.volumesMax else {
            throw StorageError.full(subject: "the list of volumes", needs: 1, left: 0)
        }
        if state.records[id]?.isRemoved == true { try delete(id) }
        try requireRoom(id: id, more: size, state)
        if subvolume(path(id)) == nil {
            try checked("subvolume create", path(id), zg_subvolume_create(volumes, id))
        }
        guard let subvolume = subvolume(path(id)) else {
            throw StorageError.damaged(path: path(id), reason: "is not a subvolume")
        }
        try limit(subvolume, size)
        try File.changeOwner(path(id), uid: uid, gid: gid)
        try File.changeMode(path(id), 0o755)
        try checked("sync", root, zg_sync_filesystem(root))
        state.subvolumes[id] = subvolume
        try write(
            VolumeRecord(id: id, size: size, epoch: epoch, created: Clock.wallMilliseconds()), &state)
    }

    private func update(_ record: VolumeRecord, size: Int64, epoch: Int64, _ state: inout State) throws {
        guard let subvolume = subvolume(path(record.id)) else { throw StorageError.lost(volume: record.id) }
        state.subvolumes[record.id] = subvolume
        if size == record.size, epoch == record.epoch { return }
        if size > record.size { try requireRoom(id: record.id, more: size - record.size, state) }
        if size < record.size {
            try checked("sync", root, zg_sync_filesystem(root))
            let used = Int64(clamping: try accounts().list[subvolume]?.referenced ?? 0)
            guard used <= size else {
                throw StorageError.shrink(volume: record.id, asked: size, used: used)
            }
        }
        if size != record.size { try limit(subvolume, size) }
        var changed = record
        (changed.size, changed.epoch) = (size, epoch)
        try write(changed, &state)
    }

    /// Nothing is promised twice: neither of the pool nor of the disk under it.
    private func requireRoom(id: String, more: Int64, _ state: State) throws {
        let committed = Self.committed(state)
        let total = Int64(clamping: try File.space(root).total)
        let usable = total / 100 * Limits.poolPercent
        guard more <= usable - committed else {
            throw StorageError.full(subject: "the pool", needs: more, left: max(0, usable - committed))
        }
        let accounts = try accounts().list
        let held = state.subvolumes.values.reduce(Int64(0)) { $0 + Int64(clamping: accounts[$1]?.referenced ?? 0) }
        let left = try device.space().free - Limits.diskReserve - max(0, committed - held) - promisedElsewhere
        guard more <= left else {
            throw StorageError.full(subject: "the disk under the pool", needs: more, left: max(0, left))
        }
    }

    /// Removes a volume and its snapshots; fine where there is none.
    public func remove(id: String, epoch: Int64? = nil) throws(StorageError) {
        try Self.check(id, "volume")
        try storage {
            try state.withLock { state in
                guard var record = state.records[id] else {
                    // Left behind by a crash between making it and recording it.
                    if subvolume(path(id)) != nil { try delete(id) }
                    return
                }
                if let epoch, epoch < record.epoch {
                    throw StorageError.epoch(volume: id, asked: epoch, recorded: record.epoch)
                }
                if !record.isRemoved {
                    record.isRemoved = true
                    try write(record, &state)
                }
                try delete(id)
                state.subvolumes[id] = nil
            }
        }
    }

    /// Deletes a volume's snapshots and itself from the pool.
    func delete(_ id: String) throws {
        for name in try snapshotNames(id) { try delete(name, in: "\(snapshots)/\(id)") }
        try File.remove("\(snapshots)/\(id)")
        if subvolume(path(id)) != nil { try delete(id, in: volumes) }
    }

    private func delete(_ name: String, in folder: String) throws {
        let result = zg_subvolume_delete(folder, name)
        if result != -ENOTEMPTY {
            try checked("subvolume delete", "\(folder)/\(name)", result)
            return
        }
        guard let top = subvolume("\(folder)/\(name)") else { return }
        // A workload made subvolumes inside. They are found by id, because it also chose their names.
        var open = [top]
        while let last = open.last {
            var children = [UInt64](repeating: 0, count: 64)
            let count = try checked(
                "subvolume list", "subvolume \(last)", zg_subvolume_children(root, last, &children, 64))
            if count > 0 {
                open += children[..<Int(count)]
            } else {
                open.removeLast()
                if last == top { break }
                try checked("subvolume delete", "subvolume \(last)", zg_subvolume_delete_id(root, last))
            }
        }
        try checked("subvolume delete", "\(folder)/\(name)", zg_subvolume_delete(folder, name))
    }

    /// Makes a read-only snapshot; fine where it is there already. Returns its path.
    public func snapshot(id: String, name: String) throws(StorageError) -> String {
        try Self.check(id, "volume")
        try Self.check(name, "snapshot")
        return try storage {
            try state.withLock { state in
                guard let record = state.records[id], !record.isRemoved, subvolume(path(id)) != nil else {
                    throw StorageError.missing("volume \(id)")
                }
                let folder = "\(snapshots)/\(id)"
                let target = "\(folder)/\(name)"
                if subvolume(target) != nil { return target }
                guard try snapshotNames(id).count < Limits.snapshotsMax else {
                    throw StorageError.full(subject: "the list of snapshots of \(id)", needs: 1, left: 0)
                }
                try File.makeDirectories(folder, mode: 0o700)
                try checked("snapshot", target, zg_subvolume_snapshot(path(id), folder, name))
                try checked("sync", root, zg_sync_filesystem(root))
                return target
            }
        }
    }

    /// Removes one snapshot; fine where there is none.
    public func removeSnapshot(id: String, name: String) throws(StorageError) {
        try Self.check(id, "volume")
        try Self.check(name, "snapshot")
        try storage {
            try state.withLock { _ in
                let folder = "\(snapshots)/\(id)"
                if subvolume("\(folder)/\(name)") != nil { try delete(name, in: folder) }
            }
        }
    }

    /// Writes a snapshot as a stream that `btrfs receive` reads, whole or as the difference to an older snapshot.
    public func send(
        id: String, snapshot: String, parent: String?
    ) throws(StorageError) -> (path: String, size: Int64) {
        try Self.check(id, "volume")
        try Self.check(snapshot, "snapshot")
        if let parent { try Self.check(parent, "snapshot") }
        return try storage {
            for name in [snapshot, parent].compactMap({ $0 }) {
                guard subvolume("\(snapshots)/\(id)/\(name)") != nil else {
                    throw StorageError.missing("snapshot \(name) of volume \(id)")
                }
            }
            let folder = device.folder + "/export"
            try File.makeDirectories(folder, mode: 0o700)
            let target = "\(folder)/\(id)@\(snapshot)\(parent.map { "-from-" + $0 } ?? "").btrfs"
            let fresh = "\(target).\(Clock.monotonicNanoseconds()).new"
            var arguments = ["--quiet", "send", "-f", fresh]
            if let parent { arguments += ["-p", "\(snapshots)/\(id)/\(parent)"] }
            do {
                try Subprocess.check(
                    "btrfs", arguments + ["\(snapshots)/\(id)/\(snapshot)"], timeout: Limits.sendSeconds)
                let file = try Descriptor.open(fresh, O_RDWR)
                try checked("fsync", fresh, zg_fsync(file.raw))
                try File.rename(fresh, to: target)
                try File.syncDirectory(folder)
            } catch {
                try? File.remove(fresh)
                throw error
            }
            return (target, try File.status(target).size)
        }
    }
}
