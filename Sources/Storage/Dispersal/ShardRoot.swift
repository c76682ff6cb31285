public import Crypto

/// The hash by which a shard is known, whoever keeps it: what Zero-DB's `PROOF` shows parts of.
public enum ShardRoot {
    /// Of a whole shard.
    public static func of(_ shard: UnsafeRawBufferPointer) -> Digest { LeafTree(shard).root }

    /// Whether a leaf that a server shows belongs to the shard of that root and length.
    public static func accepts(
        root: Digest, length: Int, leaf: Int, bytes: UnsafeRawBufferPointer, path: [Digest]
    ) -> Bool {
        LeafTree.accepts(root: root, length: length, leaf: leaf, bytes: bytes, path: path)
    }
}
