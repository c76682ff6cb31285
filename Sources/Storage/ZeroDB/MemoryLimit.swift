import Glibc
import Linux

/// How much memory this process may have.
enum MemoryLimit {
    /// The smallest limit of its control groups (version 2), or the machine's memory.
    static var bytes: Int {
        var result = max(1, sysconf(Int32(_SC_PHYS_PAGES))) * max(1, sysconf(Int32(_SC_PAGESIZE)))
        guard let line = text("/proc/self/cgroup").split(separator: "\n").first(where: { $0.hasPrefix("0::/") }) else {
            return result
        }
        var path = String(line.dropFirst(3))
        while true {
            let limit = text("/sys/fs/cgroup\(path)/memory.max").split(separator: "\n").first.flatMap { Int($0) }
            if let limit { result = min(result, limit) }
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
