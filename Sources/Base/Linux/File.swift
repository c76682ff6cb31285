internal import CLinux
internal import Glibc

/// What `stat` says of a file.
public struct FileStatus: Sendable, Hashable {
    /// Type and permission bits.
    public let mode: UInt32
    /// Owner.
    public let uid: UInt32
    /// Group.
    public let gid: UInt32
    /// Hard links.
    public let links: UInt32
    /// Device and inode.
    public let device: UInt64
    /// Inode number.
    public let inode: UInt64
    /// The device that a device node names.
    public let rdev: UInt64
    /// 512-byte blocks in use.
    public let blocks: UInt64
    /// Bytes.
    public let size: Int64
    /// Time of the last change of content, nanoseconds since 1970.
    public let modified: Int64

    /// Whether it is a directory.
    public var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    /// Whether it is a regular file.
    public var isRegular: Bool { mode & S_IFMT == S_IFREG }
    /// Whether it is a symbolic link.
    public var isSymbolicLink: Bool { mode & S_IFMT == S_IFLNK }
    /// Permission bits alone.
    public var permissions: UInt32 { mode & 0o7777 }

    init(_ raw: zg_status_t) {
        (mode, uid, gid, links) = (raw.mode, raw.uid, raw.gid, raw.links)
        (device, inode, rdev, blocks, size) = (raw.device, raw.inode, raw.rdev, raw.blocks, raw.size)
        modified = raw.mtime_seconds * 1_000_000_000 + Int64(raw.mtime_nanoseconds)
    }
}

/// Whole files and folders. All calls block.
public enum File {
    /// The content of a file of at most `limit` bytes.
    public static func read(_ path: String, limit: Int = 64 << 20) throws(SystemError) -> [UInt8] {
        try Descriptor.open(path, O_RDONLY).readAll(limit: limit, path)
    }

    /// The content as text, invalid UTF-8 repaired.
    public static func readText(_ path: String, limit: Int = 64 << 20) throws(SystemError) -> String {
        String(decoding: try read(path, limit: limit), as: UTF8.self)
    }

    /// Writes a file in place, creating it with `mode`.
    public static func write(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o600) throws(SystemError) {
        try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: mode).writeAll(bytes, path)
    }

    /// Replaces a file so that after a crash either the old or the new content is there: temporary file, sync, rename,
    /// sync of the folder.
    public static func writeDurably(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o600) throws(SystemError) {
        try replace(path, bytes, mode: mode, sync: true)
    }

    /// Replaces a file at once for every reader, without waiting for the disk. For files of this boot.
    public static func writeAtomically(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o600) throws(SystemError) {
        try replace(path, bytes, mode: mode, sync: false)
    }

    private static func replace(_ path: String, _ bytes: [UInt8], mode: UInt32, sync: Bool) throws(SystemError) {
        let temporary = "\(path).new.\(getpid()).\(zg_clock_nanoseconds(CLOCK_MONOTONIC))"
        do throws(SystemError) {
            let file = try Descriptor.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
            try file.writeAll(bytes, temporary)
            if fchmod(file.raw, mode) < 0 { throw SystemError("fchmod", temporary, Errno(errno)) }
            if sync { try checked("fsync", temporary, zg_fsync(file.raw)) }
            try rename(temporary, to: path)
            if sync { try syncDirectory(parent(path)) }
        } catch {
            unlink(temporary)
            throw error
        }
    }

    /// Makes a folder's entries durable.
    public static func syncDirectory(_ path: String) throws(SystemError) {
        let folder = Descriptor(try checked("open", path, zg_open_directory(path)))
        try checked("fsync", path, zg_fsync(folder.raw))
    }

    /// The folder that holds `path`.
    public static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Makes a folder and those above it; those that exist stay as they are.
    public static func makeDirectories(_ path: String, mode: UInt32 = 0o755) throws(SystemError) {
        if path.isEmpty || exists(path) { return }
        try makeDirectories(parent(path), mode: mode)
        if mkdir(path, mode) < 0 {
            let error = errno
            if error != EEXIST { throw SystemError("mkdir", path, Errno(error)) }
        }
    }

    /// Removes a file or an empty folder; what is not there is no error.
    public static func remove(_ path: String) throws(SystemError) {
        guard let status = try? status(path, follow: false) else { return }
        if (status.isDirectory ? rmdir(path) : unlink(path)) < 0 {
            let error = errno
            if error != ENOENT { throw SystemError("remove", path, Errno(error)) }
        }
    }

    /// Removes a folder and everything in it, never through a symbolic link and never into another file system.
    public static func removeTree(_ path: String) throws(SystemError) {
        guard let top = try? status(path, follow: false) else { return }
        try removeTree(path, device: top.device)
    }

    private static func removeTree(_ path: String, device: UInt64) throws(SystemError) {
        guard let found = try? status(path, follow: false) else { return }
        if found.isDirectory {
            guard found.device == device else { throw SystemError("remove", path, Errno(EBUSY)) }
            for name in try list(path) { try removeTree("\(path)/\(name)", device: device) }
        }
        try remove(path)
    }

    /// Gives `path` the name `target`, replacing what is there.
    public static func rename(_ path: String, to target: String) throws(SystemError) {
        if Glibc.rename(path, target) < 0 { throw SystemError("rename", path, Errno(errno)) }
    }

    /// Whether something is at `path`, links followed.
    public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The names in a folder, in byte order.
    public static func list(_ path: String) throws(SystemError) -> [String] {
        var raw: UnsafeMutablePointer<CChar>?
        let count = Int(try checked("list", path, zg_list(path, &raw)))
        defer { free(raw) }
        guard let raw, count > 0 else { return [] }
        let bytes = UnsafeBufferPointer(start: raw, count: count).map { UInt8(bitPattern: $0) }
        return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// What is at `path`.
    public static func status(_ path: String, follow: Bool = true) throws(SystemError) -> FileStatus {
        var raw = zg_status_t()
        try checked("stat", path, zg_stat(path, follow ? 1 : 0, &raw))
        return FileStatus(raw)
    }

    /// What an open descriptor refers to.
    public static func status(of descriptor: Int32) throws(SystemError) -> FileStatus {
        var raw = zg_status_t()
        try checked("fstat", "descriptor \(descriptor)", zg_fstat(descriptor, &raw))
        return FileStatus(raw)
    }

    /// Changes owner and group of `path` itself, not of what a link names.
    public static func changeOwner(_ path: String, uid: UInt32, gid: UInt32) throws(SystemError) {
        if lchown(path, uid, gid) < 0 { throw SystemError("chown", path, Errno(errno)) }
    }

    /// Changes the permission bits.
    public static func changeMode(_ path: String, _ mode: UInt32) throws(SystemError) {
        if chmod(path, mode) < 0 { throw SystemError("chmod", path, Errno(errno)) }
    }

    /// Free and total bytes of the file system that holds `path`.
    public static func space(_ path: String) throws(SystemError) -> (free: UInt64, total: UInt64) {
        var free: UInt64 = 0
        var total: UInt64 = 0
        try checked("statvfs", path, zg_free_space(path, &free, &total))
        return (free, total)
    }
}
