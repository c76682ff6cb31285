internal import Records
internal import Linux

/// What this machine can give away.
enum NodeCapacity {
    /// Memory that stays with the node's own daemons: a tenth, at least 512 MiB (the originals kept a tenth or 2 GiB; ours are
    /// smaller).
    private static let reservedMemoryMin: Int64 = 512 << 20

    /// Measures it; `pool` is a folder on the disk that volumes come from.
    static func measure(pool: String) -> Capacity {
        let text = (try? File.readText("/proc/meminfo", limit: 65_536)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("MemTotal:") }
        let kibibytes = line?.split(separator: " ").dropFirst().first.flatMap { Int64($0) } ?? 0
        let memory = kibibytes << 10
        let processors = (try? File.readText("/proc/stat", limit: 1 << 20))?.split(separator: "\n").filter {
            $0.hasPrefix("cpu") && !$0.hasPrefix("cpu ")
        }.count
        let space = (try? File.space(pool))?.total ?? 0
        // Rounded down, so that a few pages more or less after a kernel update are no change worth a record.
        let step: Int64 = 64 << 20
        let usable = max(0, memory - max(reservedMemoryMin, memory / 10)) / step * step
        return Capacity(
            cpu: Int64(processors ?? 1) * 1_000, memory: usable, storage: Int64(clamping: space / 2) / step * step)
    }

    /// This machine's architecture as OCI images and the ledger name it.
    static var arch: String {
        #if arch(arm64)
        "arm64"
        #else
        "amd64"
        #endif
    }
}
