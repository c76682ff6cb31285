/// Bounds of this module, with the reason of each.
enum Limits {
    /// Most letters of a volume's or snapshot's name: a container id (16 + 1 + 24) with room to spare.
    static let nameMax = 80
    /// Below this, btrfs's own first blocks would be most of a volume.
    static let volumeMin: Int64 = 1 << 20
    /// mkfs.btrfs refuses less than about 110 MiB; below this there is no room for volumes beside metadata.
    static let poolMin: Int64 = 256 << 20
    /// Size of a pool where nothing is said and the disk is large enough.
    static let poolDefault: Int64 = 20 << 30
    /// Hundredths of a pool that volumes may fill; the rest is for btrfs's metadata, which is kept twice.
    static let poolPercent: Int64 = 90
    /// Left free on the disk that holds the pool's file: a file system on a file that cannot grow stops with errors.
    static let diskReserve: Int64 = 256 << 20
    /// What a subvolume may hold that a workload made inside its volume, outside the volume's own account.
    static let strangerBytes: UInt64 = 1 << 20
    /// Freed bytes after which data blocks go back to the disk.
    static let returnBytes: Int64 = 16 << 20
    /// Volumes of one node.
    static let volumesMax = 4096
    /// Snapshots of one volume.
    static let snapshotsMax = 256
    /// Below this, the log's own overhead would be most of a zdb.
    static let zdbMin: Int64 = 1 << 20
    /// Bytes of a secret descriptor with one password; the longest value of a secret is 64 KiB.
    static let secretMax = (64 << 10) + 256
    /// Seconds for mkfs.btrfs.
    static let formatSeconds = 120
    /// Seconds for sending a volume.
    static let sendSeconds = 3600
}
