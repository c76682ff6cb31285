import CLinux
import CPrefetch
import Glibc
import Linux
import LogEngine
import Simulation

/// Segments as files of one directory. The number of a closed file is not used again.
final class FileDisk: Disk {
    private struct Open {
        var descriptor: Int32
        var name: String
        /// Whether the directory knows the name for certain.
        var isNamed: Bool
        /// A read-only view of the whole segment, for small reads.
        var mapped: UnsafeRawPointer?
    }

    /// Larger reads go through the system call, which copies as fast and reads ahead.
    private static let mappedReadMax = 16 << 10

    /// Bytes of a record that are asked for before it is read.
    private static let prefetchBytes = 256

    let directory: String
    private let mapBytes: Int
    /// What all views may have of memory: their pages count as this process's.
    private let mappedBytesMax: Int
    private var mappedCount = 0
    private var files: [Open] = []
    private var table: UnsafeMutablePointer<(descriptor: Int32, mapped: UnsafeRawPointer?)>
    private var tableCapacity = 16

    private let isReadOnly: Bool

    init(directory: String, segmentBytes: Int, isReadOnly: Bool = false) {
        self.directory = directory
        self.isReadOnly = isReadOnly
        mapBytes = segmentBytes
        mappedBytesMax = MemoryLimit.bytes / 4
        table = .allocate(capacity: tableCapacity)
    }

    /// Syncs beside the loop, one at a time.
    private var syncer: OpaquePointer?
    private var syncWake: Int32 = -1
    private var isSyncing = false

    deinit {
        for number in files.indices { close(DiskFile(number: number)) }
        table.deallocate()
    }

    /// The descriptor of a file, for the thread that syncs.
    func descriptor(_ file: DiskFile) -> Int32 { files[file.number].descriptor }

    func list() throws(DiskError) -> [String] {
        do { return try File.list(directory) } catch { throw .failed(error.errno.rawValue) }
    }

    func open(_ name: String, create: Bool) throws(DiskError) -> DiskFile {
        let path = directory + "/" + name
        if create, isReadOnly { throw .readOnly }
        var descriptor =
            isReadOnly
            ? -EROFS
            : zg_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0), 0o600)
        if descriptor == -EROFS || descriptor == -EACCES, !create {
            descriptor = zg_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        }
        if descriptor < 0 { throw Self.error(descriptor) }
        let mapped = name.hasSuffix(".segment") ? map(descriptor) : nil
        files.append(Open(descriptor: descriptor, name: name, isNamed: !create, mapped: mapped))
        if files.count > tableCapacity { growTable() }
        (table + files.count - 1).initialize(to: (descriptor, mapped))
        return DiskFile(number: files.count - 1)
    }

    /// A view, if views may have so much memory; the oldest one makes room. What has none is read by system calls.
    private func map(_ descriptor: Int32) -> UnsafeRawPointer? {
        guard mapBytes <= mappedBytesMax else { return nil }
        while (mappedCount + 1) * mapBytes > mappedBytesMax,
            let oldest = files.firstIndex(where: { $0.mapped != nil })
        {
            unmap(oldest)
        }
        guard let mapped = zg_db_map(descriptor, mapBytes) else { return nil }
        mappedCount += 1
        return mapped
    }

    private func unmap(_ number: Int) {
        guard let mapped = files[number].mapped else { return }
        zg_db_unmap(mapped, mapBytes)
        files[number].mapped = nil
        table[number].mapped = nil
        mappedCount -= 1
    }

    func remove(_ name: String) throws(DiskError) {
        guard unlink(directory + "/" + name) == 0 else { throw .failed(errno) }
        do { try File.syncDirectory(directory) } catch { throw .failed(error.errno.rawValue) }
    }

    func close(_ file: DiskFile) {
        guard files[file.number].descriptor >= 0 else { return }
        unmap(file.number)
        _ = Glibc.close(files[file.number].descriptor)
        files[file.number].descriptor = -1
        table[file.number] = (-1, nil)
    }

    func length(_ file: DiskFile) throws(DiskError) -> UInt64 {
        var status = zg_status_t()
        let code = zg_fstat(files[file.number].descriptor, &status)
        if code < 0 { throw Self.error(code) }
        return UInt64(status.size)
    }

    func reserve(_ file: DiskFile, length: UInt64) throws(DiskError) {
        let have = try self.length(file)
        guard length > have else { return }
        let code = zg_fallocate(files[file.number].descriptor, Int64(have), Int64(length - have))
        // A file system that cannot promise space lets the write itself find out.
        if code == -EOPNOTSUPP { return }
        if code < 0 { throw Self.error(code) }
    }

    func write(_ file: DiskFile, at offset: UInt64, _ bytes: borrowing RawSpan) throws(DiskError) {
        let descriptor = files[file.number].descriptor
        let code = bytes.withUnsafeBytes { zg_db_write(descriptor, offset, $0.baseAddress, $0.count) }
        if code < 0 { throw Self.error(code) }
    }

    func read(
        _ file: DiskFile, at offset: UInt64, _ first: inout MutableRawSpan, _ second: inout MutableRawSpan
    ) throws(DiskError) {
        let entry = table[file.number]
        let code = first.withUnsafeMutableBytes { one in
            second.withUnsafeMutableBytes { two -> Int32 in
                if let mapped = entry.mapped, one.count + two.count <= Self.mappedReadMax,
                    Int(offset) + one.count + two.count <= mapBytes, let base = one.baseAddress,
                    zg_db_copy_mapped(base, mapped + Int(offset), one.count) == 0
                {
                    guard let base = two.baseAddress, !two.isEmpty else { return 0 }
                    if zg_db_copy_mapped(base, mapped + Int(offset) + one.count, two.count) == 0 { return 0 }
                }
                return zg_db_read(entry.descriptor, offset, one.baseAddress, one.count, two.baseAddress, two.count)
            }
        }
        if code < 0 { throw Self.error(code) }
    }

    /// Asks for the memory of a record that is read soon: its beginning, from where on the processor follows by itself.
    @inline(__always)
    func prefetch(_ place: RecordPlace) {
        guard place.length <= Self.mappedReadMax, Int(place.offset) + place.length <= mapBytes,
            let mapped = table[place.file.number].mapped
        else { return }
        let first = mapped + Int(place.offset)
        var line = 0
        while line < min(place.length, Self.prefetchBytes) {
            zg_prefetch(first + line)
            line += 64
        }
    }

    func truncate(_ file: DiskFile, length: UInt64) throws(DiskError) {
        while ftruncate(files[file.number].descriptor, Int(length)) != 0 {
            let code = errno
            if code != EINTR { throw Self.error(-code) }
        }
    }

    func sync(_ file: DiskFile) throws(DiskError) {
        let code = zg_fdatasync(files[file.number].descriptor)
        if code < 0 { throw Self.error(code) }
        if !files[file.number].isNamed {
            do { try File.syncDirectory(directory) } catch { throw .failed(error.errno.rawValue) }
            files[file.number].isNamed = true
        }
    }

    func beginSync(_ file: DiskFile) throws(DiskError) {
        if syncer == nil {
            if syncWake < 0 { syncWake = zg_eventfd() }
            if syncWake >= 0 { syncer = zg_db_syncer_start(syncWake) }
        }
        // The thread only knows contents: the name is made durable here.
        if !files[file.number].isNamed {
            do { try File.syncDirectory(directory) } catch { throw .failed(error.errno.rawValue) }
            files[file.number].isNamed = true
        }
        guard let syncer else { return try sync(file) }
        let code = zg_db_syncer_submit(syncer, files[file.number].descriptor)
        if code < 0 { throw Self.error(code) }
        isSyncing = true
    }

    func endSync() throws(DiskError) -> Bool {
        guard isSyncing, let syncer else { return true }
        var result: Int32 = 0
        guard zg_db_syncer_result(syncer, &result) == 1 else { return false }
        isSyncing = false
        _ = zg_eventfd_clear(syncWake)
        if result < 0 { throw Self.error(result) }
        return true
    }

    func space() throws(DiskError) -> (free: UInt64, total: UInt64) {
        do { return try File.space(directory) } catch { throw .failed(error.errno.rawValue) }
    }

    private func growTable() {
        let larger = UnsafeMutablePointer<(descriptor: Int32, mapped: UnsafeRawPointer?)>.allocate(
            capacity: tableCapacity * 2)
        larger.moveInitialize(from: table, count: files.count - 1)
        table.deallocate()
        table = larger
        tableCapacity *= 2
    }

    private static func error(_ code: Int32) -> DiskError {
        switch -code {
        case ENOSPC, EDQUOT: return .full
        case ENOENT: return .missing
        case ENODATA: return .short
        case EROFS, EACCES, EPERM, EBADF: return .readOnly
        default: return .failed(-code)
        }
    }
}
