/// A modification time.
public struct FileTime: Hashable, Sendable {
    /// Seconds since 1970, negative before.
    public var seconds: Int64
    /// Nanoseconds after that, below 10^9.
    public var nanoseconds: UInt32

    /// A time.
    public init(seconds: Int64, nanoseconds: UInt32 = 0) { (self.seconds, self.nanoseconds) = (seconds, nanoseconds) }
}

/// One extended attribute.
public struct ExtendedAttribute: Hashable, Sendable {
    /// Such as `security.capability`.
    public let name: [UInt8]
    /// Any bytes.
    public let value: [UInt8]

    /// An attribute.
    public init(name: [UInt8], value: [UInt8]) { (self.name, self.value) = (name, value) }
}

/// What every file has, whatever its type.
public struct FileAttributes: Hashable, Sendable {
    /// The twelve permission bits.
    public var mode: UInt16
    /// The owner.
    public var uid: UInt32
    /// The group.
    public var gid: UInt32
    /// When it was last changed.
    public var modified: FileTime
    /// Sorted by name, each name once.
    public var extended: [ExtendedAttribute]

    /// Attributes.
    public init(mode: UInt16, uid: UInt32, gid: UInt32, modified: FileTime, extended: [ExtendedAttribute] = []) {
        (self.mode, self.uid, self.gid, self.modified, self.extended) = (mode, uid, gid, modified, extended)
    }
}

/// One chunk of a directory's entries, as its parent knows it.
public struct DirectoryPartReference: Hashable, Sendable {
    /// The name of its first entry.
    public let firstName: [UInt8]
    /// How many entries it holds.
    public let entries: UInt64
    /// How many inode numbers its entries and all below them take.
    public let slots: UInt64
    /// The chunk.
    public let chunk: ChunkReference
}

/// A directory, as its parent knows it.
public struct DirectoryReference: Hashable, Sendable {
    /// How many of its entries are directories.
    public let subdirectories: UInt64
    /// Its entries in order of names; none for an empty directory.
    public let parts: [DirectoryPartReference]

    /// How many inode numbers it and all below it take.
    public var slots: UInt64 { parts.reduce(1) { $0 &+ $1.slots } }
    /// How many entries it has.
    public var entries: UInt64 { parts.reduce(0) { $0 &+ $1.entries } }
}

/// One name in a directory.
public struct Entry: Hashable, Sendable {
    /// What the name stands for.
    public enum Content: Hashable, Sendable {
        /// A regular file.
        case file(size: UInt64, ChunkTree)
        /// A directory.
        case directory(DirectoryReference)
        /// A symbolic link and its target.
        case symbolicLink([UInt8])
        /// A character device.
        case characterDevice(major: UInt32, minor: UInt32)
        /// A block device.
        case blockDevice(major: UInt32, minor: UInt32)
        /// A named pipe.
        case pipe
        /// A Unix socket's name.
        case socket
    }

    /// Any bytes but `/` and NUL; empty for the root.
    public let name: [UInt8]
    /// Owner, mode, time, extended attributes.
    public let attributes: FileAttributes
    /// Which group of hard-linked names it belongs to, counted from 1; 0 for none.
    public let hardLink: UInt64
    /// How many names the group has; 1 where there is no group.
    public let links: UInt64
    /// What it is.
    public let content: Content

    /// How many inode numbers it takes.
    public var slots: UInt64 { if case .directory(let directory) = content { directory.slots } else { 1 } }

    /// Inode numbers of hard-linked files start after this.
    public static let hardLinkBase = FlistLimits.slots

    /// The inode number of this entry where its place in the numbering is `slot`.
    public func inode(slot: UInt64) -> UInt64 { hardLink == 0 ? slot : Self.hardLinkBase + hardLink }

    /// The length that `stat` reports.
    public var size: UInt64 {
        switch content {
        case .file(let size, _): size
        case .directory: 4_096
        case .symbolicLink(let target): UInt64(target.count)
        default: 0
        }
    }

    /// The type bits of `st_mode`.
    public var typeBits: UInt32 {
        switch content {
        case .file: 0o100000
        case .directory: 0o040000
        case .symbolicLink: 0o120000
        case .characterDevice: 0o020000
        case .blockDevice: 0o060000
        case .pipe: 0o010000
        case .socket: 0o140000
        }
    }
}
