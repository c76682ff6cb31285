import Glibc
import Linux

/// How much memory this process may have.
enum MemoryLimit {
    /// The smallest limit of its control groups (version 1 or 2), or the machine's memory.
    static var bytes: Int {
        var result = max(1, sysconf(Int32(_SC_PHYS_PAGES))) * max(1, sysconf(Int32(_SC_PAGESIZE)))
        for line in text("/proc/self/cgroup").split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            if fields[1].isEmpty {
                result = min(result, limit("/sys/fs/cgroup", String(fields[2]), "memory.max"))
            } else if fields[1].split(separator: ",").contains("memory") {
                result = min(result, limit("/sys/fs/cgroup/memory", String(fields[2]), "memory.limit_in_bytes"))
            }
        }
        return result
    }

    /// The smallest limit of a group and those above it.
    private static func limit(_ root: String, _ path: String, _ file: String) -> Int {
        var path = path
        var result = Int.max
        while true {
            let found = text(root + path + "/" + file).split(separator: "\n").first.flatMap { Int($0) }
            if let found, found > 0 { result = min(result, found) }
            guard path.count > 1, let slash = path.lastIndex(of: "/") else { return result }
            path = String(path[..<slash])
        }
    }

    /// A small file of the kernel; empty if there is none.
    private static func text(_ path: String) -> String {
        guard let bytes = try? File.read(path, limit: 65536) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
}
