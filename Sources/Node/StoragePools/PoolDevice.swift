internal import CLinux
internal import Glibc
internal import Linux

/// The file system under a pool: a sparse file with btrfs on it, attached to a loop device and mounted.
public struct PoolDevice: Sendable {
    /// The daemon's folder: `<state>/storage`.
    public let folder: String

    /// The file of the pool.
    public var image: String { folder + "/pool.img" }
    /// Where it is mounted.
    public var mountPoint: String { folder + "/pool" }

    /// The device of a folder; nothing is touched.
    public init(folder: String) { self.folder = folder }

    /// Whether the pool is mounted.
    public var isMounted: Bool { zg_is_btrfs_mount(mountPoint) == 1 }

    /// What `--pool-size` means on this disk: a size, or `auto`.
    public func size(_ text: String) throws(StorageError) -> Int64 {
        if text == "auto" {
            let space = try space()
            // A pool that is there already keeps its size.
            if let present = try? File.status(image) { return present.size }
            return min(Limits.poolDefault, space.free / 100 * 80)
        }
        guard let size = SizeText.parse(text) else {
            throw .invalid("the pool's size “\(text)” is not like 20 GiB, 21474836480 or auto")
        }
        return size
    }

    /// Free and total bytes of the disk that holds the pool's file.
    public func space() throws(StorageError) -> (free: Int64, total: Int64) {
        do {
            let space = try File.space(folder)
            return (Int64(clamping: space.free), Int64(clamping: space.total))
        } catch {
            throw .system(error)
        }
    }

    /// Makes the pool where there is none, mounts it where it is not, and grows it where `size` is larger.
    public func open(size: Int64) throws(StorageError) {
        try storage {
            try File.makeDirectories(folder, mode: 0o711)
            try File.makeDirectories(mountPoint, mode: 0o711)
            if !File.exists(image) { try format(size: size) }
            if isMounted, isReadOnly {
                // It stopped at its last good state; mounted anew it goes on from there.
                do { try unmount(seconds: 0) } catch {
                    throw StorageError.damaged(
                        path: mountPoint, reason: "takes no writes since its disk failed, and is still used: \(error)")
                }
            }
            if !isMounted { try mount() }
            try reserveMetadata()
            try checked("quota enable", mountPoint, zg_quota_enable(mountPoint))
            try grow(to: size)
        }
    }

    /// A new file is complete before it gets its name, so that a crash leaves no half file system behind.
    private func format(size: Int64) throws {
        guard size >= Limits.poolMin else {
            throw StorageError.full(subject: folder, needs: Limits.poolMin, left: max(size, 0))
        }
        let fresh = image + ".new"
        try File.remove(fresh)
        do {
            try checked("truncate", fresh, zg_truncate(fresh, size))
            try Subprocess.check(
                "mkfs.btrfs", ["--quiet", "--label", "zero-pool", fresh], timeout: Limits.formatSeconds)
            let file = try Descriptor.open(fresh, O_RDWR)
            try checked("fsync", fresh, zg_fsync(file.raw))
            try File.rename(fresh, to: image)
            try File.syncDirectory(folder)
        } catch {
            try? File.remove(fresh)
            throw error
        }
    }

    private func mount() throws {
        var path = [CChar](repeating: 0, count: Int(ZG_DEVICE_PATH_MAX))
        let loop = Descriptor(try checked("attach", image, zg_loop_attach(image, &path)))
        let device = String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // Freed blocks go back to the disk by `returnFreed`; btrfs itself would also give away those of metadata.
        try checked("mount", "\(device) at \(mountPoint)", zg_mount_btrfs(device, mountPoint, "nodiscard"))
        // The mount holds the device now; it detaches itself when the pool is unmounted.
        _ = consume loop
    }

    private func grow(to size: Int64) throws {
        let present = try File.status(image).size
        if size <= present { return }
        guard let device = try mountedDevice() else { return }
        try checked("truncate", image, zg_truncate(image, size))
        try checked("resize", device, zg_loop_resize(device))
        try checked("resize", mountPoint, zg_btrfs_resize_max(mountPoint))
    }

    /// The loop device of the mounted pool.
    private func mountedDevice() throws -> String? {
        let name = image
        for loop in try File.list("/sys/block") where loop.hasPrefix("loop") {
            guard let file = try? File.readText("/sys/block/\(loop)/loop/backing_file", limit: 8192) else { continue }
            if file.hasSuffix("\n"), String(file.dropLast()) == name { return "/dev/\(loop)" }
        }
        return nil
    }

    /// Unmounts the pool; fine where it is not mounted. Waits up to `seconds` for those who still use it.
    public func unmount(seconds: Int = 10) throws(StorageError) {
        let end = Clock.monotonicNanoseconds() + Int64(seconds) * 1_000_000_000
        while isMounted {
            let result = zg_unmount(mountPoint)
            if result == 0 { continue }
            guard result == -EBUSY, Clock.monotonicNanoseconds() < end else {
                throw .system(SystemError("unmount", mountPoint, Errno(-result)))
            }
            usleep(50_000)
        }
    }
}
