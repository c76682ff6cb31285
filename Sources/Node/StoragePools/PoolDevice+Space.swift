internal import CLinux
internal import Glibc
internal import Linux

/// Where a pool lies on the disk under it.
///
/// The file is sparse where data go: a full disk fails the write of who fills it, and nobody else. What btrfs keeps about
/// itself has its place for good, because a file system that cannot write that stops until everybody left it.
extension PoolDevice {
    /// Whether the mounted pool stopped taking writes, after a failure of its disk.
    public var isReadOnly: Bool { zg_is_read_only(mountPoint) == 1 }

    /// Gives everything that is not data its place on the disk. Quick where it has it already.
    func reserveMetadata() throws(StorageError) {
        try storage {
            for extent in try extents() where extent.is_data == 0 {
                for copy in [extent.copies.0, extent.copies.1].prefix(Int(extent.count)) {
                    try checked("fallocate", image, zg_reserve(image, Int64(copy), Int64(extent.length)))
                }
            }
        }
    }

    /// Gives blocks of data that are free in the pool back to the disk; those of metadata keep their place.
    func returnFreed() throws(StorageError) {
        try storage {
            for extent in try extents() where extent.is_data != 0 {
                try checked("trim", mountPoint, zg_btrfs_trim(mountPoint, extent.logical, extent.length))
            }
        }
    }

    private func extents() throws -> [zg_extent_t] {
        var raw: UnsafeMutablePointer<zg_extent_t>?
        let count = Int(try checked("chunk list", mountPoint, zg_btrfs_extents(mountPoint, &raw)))
        defer { free(raw) }
        return Array(UnsafeBufferPointer(start: raw, count: raw == nil ? 0 : count))
    }
}
