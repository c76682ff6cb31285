/// The largest things that a record may hold, whatever a grid's rules allow.
public enum RecordLimits {
    /// One record with its signatures: a contract of 64 workloads with environments and secrets fits well.
    public static let recordBytes = 128 << 10
    /// Signatures of one record: the key's, a member's and a recovery of up to 14 friends.
    public static let signatures = 16
    /// Keys of one identity: every device and agent of a small organisation.
    public static let identityKeys = 32
    /// Workloads of one contract, placement or result.
    public static let workloads = 64
    /// Architectures or variants of one image.
    public static let imageVariants = 8
    /// Places that serve one image.
    public static let imageStores = 8
    /// Readers that one private image's key is sealed to.
    public static let imageReaders = 64
    /// Secrets that one placement hands to a node for one workload.
    public static let placedSecrets = 64
    /// Letters of a name that people read, in bytes of UTF-8.
    public static let textBytes = 64
    /// Letters of a reason in a result, in bytes of UTF-8.
    public static let reasonBytes = 1024
    /// Bytes of one sealed value.
    public static let sealedBytes = 8 << 10
}
