import CLinux
import CanonicalJSON
import Glibc
import Linux
import RESP
import Shim

/// A node's folders in a temporary place, an image from this machine's own programs, and shims run by hand.
final class World {
    let folder: String
    private var shims: [Int32] = []
    var state: String { "\(folder)/state" }
    var run: String { "\(folder)/run" }

    /// Needs root: mounts, namespaces, control groups.
    static var isPossible: Bool {
        getuid() == 0 && File.exists("\(programs)/zero-shim") && File.exists("/usr/sbin/runc")
    }
    static let why: Comment = "needs root, runc and zero-shim (build with ZERO_TARGETS=zero-shim)"
    typealias Comment = String

    /// The folder with the programs that were built together with these tests.
    static let programs: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        return File.parent(String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }()

    /// The image, made once: a shell, some tools, and a static program for what a shell cannot do.
    static let image: Result<String, SubprocessError> = Result {
        () throws(SubprocessError) in
        // Kept between runs; two test modules may make theirs at the same time.
        let module = #fileID.prefix { $0 != "/" }
        let folder = "/tmp/zero-test-image-3-\(module)"
        if !File.exists("\(folder)/bin/guest") {
            _ = try Subprocess.check("/bin/sh", ["-ec", script, "image", folder, guest])
        }
        return folder
    }

    private static let script = """
        mkdir -p $1; cd $1; mkdir -p bin etc proc sys dev tmp run lib64 root var
        for b in dash cat ls sleep env id stat head yes touch rm mkdir tail wc grep unshare tty stty; do
          p=$(readlink -f $(command -v $b)); cp $p bin/$b
          for l in $(ldd $p | grep -oE '/[^ ]+'); do mkdir -p .$(dirname $l); cp -L $l .$l; done
        done
        mv bin/dash bin/sh
        printf 'root:x:0:0:root:/root:/bin/sh\\nweb:x:1000:1001:Web:/var:/bin/sh\\n' > etc/passwd
        printf 'root:x:0:\\nweb:x:1001:\\nextra:x:2000:web\\n' > etc/group
        chmod 1777 tmp
        printf '%s' "$2" > /tmp/zero-guest-$$.c; cc -static -O1 -o bin/guest /tmp/zero-guest-$$.c; rm /tmp/zero-guest-$$.c
        """

    private static let guest = """
        #include <arpa/inet.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <unistd.h>
        int main(int n, char **a) {
          if (!strcmp(a[1], "eat")) { for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 7, 1 << 20); } }
          if (!strcmp(a[1], "forks")) { int i = 0; while (fork() >= 0) { if (i++ > 1000) return 1; if (0) pause(); } return 42; }
          struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(a[2]))};
          int s = socket(AF_INET, SOCK_STREAM, 0), one = 1; setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
          if (bind(s, (void *)&at, sizeof at) || listen(s, 9)) return 1;
          for (;;) { int c = accept(s, 0, 0); char b[999]; read(c, b, 999);
            dprintf(c, "HTTP/1.1 %s\\r\\n\\r\\n", a[3]); close(c); }
        }
        """

    init() throws {
        var template = Array("/tmp/zero-world-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp", "/tmp", Errno(errno)) }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        chmod(folder, 0o755)
        for path in [state, run] { try File.makeDirectories(path) }
    }

    /// Stops what runs, takes away what is mounted.
    func end() {
        for pid in shims { zg_kill(pid, SIGTERM) }
        for pid in shims {
            var status: Int32 = 0
            if zg_container_wait(pid, 15_000, &status) < 0 { zg_kill(pid, SIGKILL) }
        }
        _ = try? Subprocess.run("/bin/sh", ["-c", "grep -o '\(folder)/[^ ]*' /proc/mounts | tac | xargs -r umount -l"])
        _ = try? Subprocess.run("/bin/rm", ["-rf", folder])
    }

    func paths(_ id: String) -> ShimPaths { ShimPaths(state: state, run: run, id: id) }

    /// A spec with what tests change on top.
    func spec(_ id: String, _ script: String, _ more: [String: JSONValue] = [:]) -> JSONValue {
        var value: [String: JSONValue] = [
            "id": .string(id), "contract": "00", "workload": "web", "version": 1, "epoch": 1, "image": ["root": "00"],
            "args": ["/bin/sh", "-c", .string(script)], "restart": "always", "hostname": "web", "stop_seconds": 1,
        ]
        value.merge(more) { _, new in new }
        return .object(value)
    }

    /// Mounts the image and writes an order.
    func order(_ spec: JSONValue, desired: String = "run", generation: Int64 = 1) throws {
        let paths = paths(spec["id"]?.string ?? "")
        if !File.exists(paths.image) {
            try File.makeDirectories(paths.image)
            try mountImage(paths)
        }
        let order: JSONValue = [
            "format": 1, "desired": .string(desired), "generation": .integer(generation), "spec": spec,
        ]
        try File.writeDurably(paths.specFile, order.canonicalBytes)
    }

    func mountImage(_ paths: ShimPaths) throws {
        // Mounting the image over another would be seen as one; a bind mount of the same folder has the same device, so
        // a tmpfs overlay gives each mount a device of its own, as FUSE does.
        let image = try Self.image.get()
        let make = """
            mkdir -p $2.w; mount -t tmpfs none $2.w; mkdir $2.w/u $2.w/w
            mount -t overlay none -o lowerdir=$1,upperdir=$2.w/u,workdir=$2.w/w $2
            """
        _ = try Subprocess.check("/bin/sh", ["-ec", make, "mount", image, paths.image])
    }

    /// Starts a shim and waits for its socket.
    @discardableResult
    func start(_ id: String, initHelper: String = "/nonexistent") throws -> Int32 {
        let words = [
            "\(Self.programs)/zero-shim", "--state", state, "--run", run, "--instance", id, "--seccomp", Self.seccomp,
            "--init", initHelper,
        ]
        let log = try Descriptor.open("\(folder)/shim.log", O_WRONLY | O_CREAT | O_APPEND)
        var pointers = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        unlink(paths(id).socket)
        var variables: [UnsafeMutablePointer<CChar>?] = [nil]
        let pid = zg_container_start(words[0], &pointers, &variables, [-1, log.raw, log.raw], 3)
        try checked("start", words[0], pid)
        shims.append(pid)
        _ = until { File.exists(paths(id).socket) }
        return pid
    }

    /// The profile of this checkout.
    static var seccomp: String {
        let parts = #filePath.split(separator: "/")
        let top = parts.firstIndex(of: "Tests").map { "/" + parts[..<$0].joined(separator: "/") } ?? "."
        return "\(top)/Packaging/seccomp.json"
    }

    static var sources: String { File.parent(File.parent(seccomp)) }

    func kill(_ pid: Int32) {
        zg_kill(pid, SIGKILL)
        var status: Int32 = 0
        zg_container_wait(pid, 5000, &status)
        shims.removeAll { $0 == pid }
    }

    /// The exit status of a shim that ends by itself.
    func wait(_ pid: Int32) -> Int32 {
        var status: Int32 = -1
        zg_container_wait(pid, 20_000, &status)
        shims.removeAll { $0 == pid }
        return status
    }

    func call(_ id: String, _ verb: String, _ body: JSONValue = .object([:])) throws -> JSONValue {
        let client = RESPClient(unix: paths(id).socket)
        let reply = try client.call([Array(verb.utf8), body.canonicalBytes], deadline: .seconds(30))
        if let failure = reply.failure { return ["error": .string("\(failure.code) \(failure.message)")] }
        return try JSONValue(parsing: reply.bytes ?? [])
    }

    func state(_ id: String) -> ShimState? {
        guard let value = try? call(id, "SHIM.STATE") else { return nil }
        return try? ShimState(value)
    }

    /// Waits until a condition holds; whether it came to that.
    func until(_ seconds: Double = 15, _ condition: () throws -> Bool) rethrows -> Bool {
        for _ in 0..<Int(seconds * 50) {
            if try condition() { return true }
            usleep(20_000)
        }
        return try condition()
    }

    func isRunning(_ id: String) -> Bool { until { state(id)?.name == .running } }

    /// The lines of a container's log.
    func log(_ id: String) -> [String] {
        var reader = LogReader(folder: paths(id).logs)
        return ((try? reader.tail(10_000)) ?? []).map { String(decoding: $0.text, as: UTF8.self) }
    }

    /// Runs a program with `SHIM.EXEC` and gives status, output and errors.
    func exec(_ id: String, _ arguments: [String], _ more: [String: JSONValue] = [:], input: String = "") throws -> (
        Int64, String, String
    ) {
        var ends: [[Int32]] = []
        for _ in 0..<3 {
            var pair: [Int32] = [-1, -1]
            pipe(&pair)
            for end in pair { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            ends.append(pair)
        }
        _ = input.withCString { write(ends[0][1], $0, strlen($0)) }
        close(ends[0][1])
        var body: [String: JSONValue] = ["args": .array(arguments.map { .string($0) })]
        body.merge(more) { _, new in new }
        let client = RESPClient(unix: paths(id).socket)
        let words = [Array("SHIM.EXEC".utf8), JSONValue.object(body).canonicalBytes]
        let reply = try client.exchange(words, sending: [ends[0][0], ends[1][1], ends[2][1]], deadline: .seconds(20))
        for end in [ends[0][0], ends[1][1], ends[2][1]] { close(end) }
        let output = String(
            decoding: (try? Descriptor(ends[1][0]).readAll(limit: 1 << 20, "output")) ?? [], as: UTF8.self)
        let errors = String(
            decoding: (try? Descriptor(ends[2][0]).readAll(limit: 1 << 20, "errors")) ?? [], as: UTF8.self)
        if let failure = reply.value.failure { return (-1, "", "\(failure.code) \(failure.message)") }
        let value = try JSONValue(parsing: reply.value.bytes ?? [])
        return (value["exit"]?.integer ?? -2, output, errors)
    }

    /// What is left on this machine's tables of a container.
    func leftovers(_ id: String) -> [String] {
        var found: [String] = []
        let mounts = (try? File.readText("/proc/mounts")) ?? ""
        found += mounts.split(separator: "\n").filter { $0.contains("\(run)/shim/\(id)") }.map(String.init)
        for controller in (try? File.list("/sys/fs/cgroup")) ?? [] {
            let path = "/sys/fs/cgroup/\(controller)/zero/\(id)"
            if File.exists(path) { found.append(path) }
        }
        if File.exists("\(run)/runc/\(id)") { found.append("\(run)/runc/\(id)") }
        return found
    }
}
