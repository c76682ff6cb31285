/// What a flist of format version 1 may hold. A decoder refuses more, so that no bytes make it use more memory.
public enum FlistLimits {
    /// Bytes of a chunk before compression; also the largest content chunk that the cutter makes.
    public static let chunkBytes: Int = 1 << 20
    /// Bytes of a chunk as stored: compression never makes it larger, the header and tag come on top.
    public static let storedBytes: Int = chunkBytes + ChunkCodec.headerBytes + ChunkCodec.tagBytes
    /// Bytes of a name, as on every Linux file system.
    public static let nameBytes = 255
    /// Bytes of a symbolic link's target: PATH_MAX without its NUL.
    public static let targetBytes = 4_095
    /// Bytes of an extended attribute's name (XATTR_NAME_MAX).
    public static let attributeNameBytes = 255
    /// Bytes of an extended attribute's value (XATTR_SIZE_MAX).
    public static let attributeValueBytes = 65_536
    /// Bytes of all extended attributes of one entry: one entry must fit in a chunk with room to spare.
    public static let attributesBytes = 131_072
    /// References in one entry; more go to list chunks.
    public static let directReferences = 512
    /// References in one list chunk: 8,192 of 70 bytes stay well below `chunkBytes`.
    public static let listReferences = 8_192
    /// Levels of list chunks: 512 * 8,192 chunks of at least 64 KiB are 256 GiB at one level, 2 PiB at two.
    public static let treeDepth = 2
    /// Parts of one directory: at 128 KiB or more a part, more than a million entries.
    public static let directoryParts = 1_024
    /// Bytes of entries after which a directory part may end.
    public static let partBytesMin = 131_072
    /// Bytes of entries after which a directory part must end.
    public static let partBytesMax = 524_288
    /// Bytes of all first names in a directory's list of parts, so that the list fits in its parent's chunk.
    public static let partNamesBytes = 262_144
    /// Bytes of one encoded entry: the attributes, the longest list of parts, a name and a target.
    public static let entryBytes = 500_000
    /// Directories below each other: readers and writers go down recursively, on threads of 1 MiB of stack.
    public static let depth = 256
    /// Inode numbers of names count up from 1 to below this.
    public static let slots: UInt64 = 1 << 40
    /// Groups of hard-linked names: their table must fit in the root chunk.
    public static let hardLinks: UInt64 = 100_000
}
