internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux

/// Starts programs and calls the OCI runtime. For a process with one thread.
struct Runtime {
    /// Path of runc or crun.
    let program: String
    /// Where it keeps its state.
    let root: String

    private static let environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"]

    /// The runtime of this node: crun where all control groups are of version 2 and it is there, else runc.
    static func choose() -> String {
        let isUnified = File.exists("/sys/fs/cgroup/cgroup.controllers")
        let crun = ["/usr/bin/crun", "/usr/local/bin/crun"].first(where: File.exists)
        if isUnified, let crun { return crun }
        return ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"].first(where: File.exists) ?? "/usr/sbin/runc"
    }

    /// Starts the runtime with a command and returns its pid.
    func begin(_ command: [String], log: String, descriptors: [Int32]) throws(ShimError) -> Int32 {
        let words = [program, "--root", root, "--log", log, "--log-format", "json"] + command
        let pid = Self.start(words, descriptors)
        if pid < 0 { throw ShimError(command[0], "cannot start \(program): \(Errno(-pid))") }
        return pid
    }

    /// Runs a command to its end; its output goes nowhere.
    func run(_ command: [String], log: String, seconds: Int32 = 10) throws(ShimError) {
        let pid = try begin(command, log: log, descriptors: [-1, -1, -1])
        var status: Int32 = 0
        let result = zg_container_wait(pid, seconds * 1000, &status)
        if result < 0 {
            _ = zg_kill(pid, SIGKILL)
            _ = zg_container_wait(pid, 1000, &status)
            throw ShimError(command[0], "\(program) did not end within \(seconds) s")
        }
        if status != 0 { throw ShimError(command[0], Self.complaint(log) ?? "\(program) ended with status \(status)") }
    }

    private static func start(_ words: [String], _ descriptors: [Int32]) -> Int32 {
        withStrings(words) { arguments in
            withStrings(environment) { variables in
                zg_container_start(words[0], arguments, variables, descriptors, descriptors.count)
            }
        }
    }

    private static func withStrings<Result>(
        _ words: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = words.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        return pointers.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("an array with a nil at its end is empty") }
            return body(base)
        }
    }

    /// The last error that the runtime wrote into its log.
    static func complaint(_ log: String) -> String? {
        guard let text = try? File.readText(log, limit: 1 << 20) else { return nil }
        var found: String?
        for line in text.split(separator: "\n") {
            guard let value = try? JSONValue(parsing: Array(line.utf8)), value["level"]?.string == "error" else {
                continue
            }
            found = value["msg"]?.string
        }
        return found.map { String($0.prefix(400)) }
    }
}

/// Control groups of a container, version 1 or 2: what runc does not tell.
enum ControlGroup {
    /// Whether a limit of memory can cover swap too.
    static var countsSwap: Bool {
        if File.exists("/sys/fs/cgroup/cgroup.controllers") { return File.exists("/proc/swaps") }
        return File.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
    }

    /// How often the kernel killed a process of the group because of its memory limit.
    static func memoryKills(_ group: String) -> Int64 {
        for path in ["/sys/fs/cgroup/memory\(group)/memory.oom_control", "/sys/fs/cgroup\(group)/memory.events"] {
            guard let text = try? File.readText(path, limit: 4096) else { continue }
            for line in text.split(separator: "\n") where line.hasPrefix("oom_kill ") {
                return Int64(line.dropFirst("oom_kill ".count)) ?? 0
            }
        }
        return 0
    }
}

/// One line an event on standard error.
func report(_ level: String, _ event: String, _ fields: KeyValuePairs<String, String>) {
    var line = "\(Clock.wallMilliseconds()) \(level) shim \(event)"
    for (key, value) in fields {
        let isPlain = !value.isEmpty && value.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != 34 && $0 != 61 }
        line += " \(key)=" + (isPlain ? value : JSONValue.string(value).canonicalText)
    }
    line += "\n"
    _ = line.withCString { Glibc.write(2, $0, strlen($0)) }
}
