/// What a contract may hold at most. One place, with the reason of each value.
public enum ContractLimits {
    /// Longest name of a contract; it is part of file names, log lines and tables.
    public static let contractNameLength = 40
    /// Longest name of a workload; ids of containers, network namespaces and interfaces are made of it.
    public static let workloadNameLength = 24
    /// Longest name of an image.
    public static let imageNameLength = 128
    /// Workloads in one contract: one node subnet has 253 addresses, and a person must be able to read the plan.
    public static let workloads = 64
    /// Environment variables (secrets included) of one container.
    public static let environment = 128
    /// Bytes of one environment value.
    public static let environmentValue = 16 << 10
    /// Arguments of one container.
    public static let arguments = 128
    /// Bytes of one argument.
    public static let argument = 4 << 10
    /// Volumes that one container mounts.
    public static let mounts = 16
    /// Bytes of a path in a container.
    public static let path = 512
    /// Secrets of one contract.
    public static let secrets = 32
    /// Bytes of a sealed secret's box: 64 KiB of text and its nonce and tag.
    public static let secretBox = (64 << 10) + 64
    /// Readers of one secret: owner, planner and whoever approves.
    public static let secretReaders = 16
    /// Bytes of one sealed content key.
    public static let sealedKey = 256
    /// Stakeholders in an approval rule.
    public static let approvers = 32
    /// Largest weight of one stakeholder; their sum stays far from overflow.
    public static let weight: Int64 = 1_000
    /// CPU of one container in thousandths of a core; below 10 the scheduler's period is too coarse.
    public static let cpu: ClosedRange<Int64> = 10...256_000
    /// Memory of one container in bytes; below 4 MiB no runtime starts.
    public static let memory: ClosedRange<Int64> = (4 << 20)...(4 << 40)
    /// Size of one volume in bytes; below 16 MiB a btrfs quota is mostly metadata.
    public static let volume: ClosedRange<Int64> = (16 << 20)...(64 << 40)
    /// Size of one zdb in bytes; below 1 MiB the log's own overhead is most of it.
    public static let zdb: ClosedRange<Int64> = (1 << 20)...(64 << 40)
    /// Prefix lengths of a contract's IPv4 range: room for one /24 a node at least.
    public static let rangePrefix: ClosedRange<Int> = 8...24
    /// Bytes of a contract file before it is even looked at.
    public static let sourceBytes = 256 << 10
    /// Nesting of a contract file.
    public static let sourceDepth = 16
    /// Times in Unix ms: 2020 to 2200. Anything else is a mistake of unit.
    public static let time: ClosedRange<Int64> = 1_577_836_800_000...7_258_118_400_000
}
