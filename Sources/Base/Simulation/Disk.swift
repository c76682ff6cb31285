/// Why an operation on a disk failed.
public enum DiskError: Error, Hashable, Sendable {
    /// No space is left (ENOSPC, EDQUOT); nothing else is wrong.
    case full
    /// There is no such file.
    case missing
    /// The file ends before the last byte that was asked for.
    case short
    /// The medium may only be read (EROFS, EACCES).
    case readOnly
    /// The device failed, with the system's error number.
    case failed(Int32)
    /// The simulated machine has lost power; only `SimulatedDisk.restart` brings it back.
    case crashed
}

/// A file that a disk opened; valid for that disk only.
public struct DiskFile: Hashable, Sendable {
    /// The number that the disk gave.
    public let number: Int

    /// A handle with the disk's own number.
    public init(number: Int) { self.number = number }
}

/// A flat folder of files, as a storage core sees it: real, or simulated with every way in which disks fail.
public protocol Disk: AnyObject {
    /// Names of all files, in no order.
    func list() throws(DiskError) -> [String]
    /// Opens a file; with `create` it must not exist yet and is empty.
    func open(_ name: String, create: Bool) throws(DiskError) -> DiskFile
    /// Removes a file's name, durably; who has it open can use it until `close`.
    func remove(_ name: String) throws(DiskError)
    /// Ends the use of a file; nothing of it becomes durable by that.
    func close(_ file: DiskFile)
    /// The file's length in bytes.
    func length(_ file: DiskFile) throws(DiskError) -> UInt64
    /// Makes sure that writes below `length` cannot lack space; the file then is at least so long, filled with zeros.
    func reserve(_ file: DiskFile, length: UInt64) throws(DiskError)
    /// Writes all bytes at an offset; they are durable only after `sync`.
    func write(_ file: DiskFile, at offset: UInt64, _ bytes: borrowing RawSpan) throws(DiskError)
    /// Fills both buffers, one after the other, from an offset.
    func read(
        _ file: DiskFile, at offset: UInt64, _ first: inout MutableRawSpan, _ second: inout MutableRawSpan
    ) throws(DiskError)
    /// Cuts a file.
    func truncate(_ file: DiskFile, length: UInt64) throws(DiskError)
    /// Makes everything of a file durable: contents, length and its name.
    func sync(_ file: DiskFile) throws(DiskError)
    /// Begins a sync that need not have ended at return; one at a time.
    func beginSync(_ file: DiskFile) throws(DiskError)
    /// Whether the sync that was begun has ended; throws, once, if it failed.
    func endSync() throws(DiskError) -> Bool
    /// Free and total bytes.
    func space() throws(DiskError) -> (free: UInt64, total: UInt64)
}

extension Disk {
    /// For disks that cannot sync beside other work.
    public func beginSync(_ file: DiskFile) throws(DiskError) { try sync(file) }

    /// A sync that did not return before it ended.
    public func endSync() throws(DiskError) -> Bool { true }
}
