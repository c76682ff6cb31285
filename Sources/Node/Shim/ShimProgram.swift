internal import Glibc

/// The program `zero-shim`: reads its options and runs a shim.
public enum ShimProgram {
    private static let usage = """
        Usage: zero-shim --state DIR --run DIR --instance ID [--share DIR] [--seccomp FILE] [--init FILE]

        Keeps one container: starts it with the OCI runtime, watches it, starts it again, collects its log.
        Started by zero-core as shim@ID. SIGTERM stops the container and ends; SIGHUP reads its order again.

          --state DIR     the node's folder
          --run DIR       the node's folder of this boot
          --instance ID   the container's id
          --seccomp FILE  seccomp profile, OCI JSON (default: seccomp.json in --share, or beside the program's folder)
          --init FILE     the start helper zero-init (default: beside this program)
          --share DIR     shared files
          --help          this text
          --version       the version
        """
    /// The version of the control protocol and of the files.
    public static let version = "zero-shim 0.1.0"

    /// Runs with the arguments of the process and ends it.
    public static func main() -> Never {
        var options: [String: String] = [:]
        let known = ["--state", "--run", "--instance", "--seccomp", "--init", "--share"]
        var arguments = CommandLine.arguments.dropFirst()
        while let name = arguments.popFirst() {
            if name == "--help" { say(usage, to: 1, status: 0) }
            if name == "--version" { say(version, to: 1, status: 0) }
            guard known.contains(name) else {
                say("zero-shim: unknown option \(name); --help lists them", to: 2, status: 64)
            }
            guard let value = arguments.popFirst() else { say("zero-shim: \(name) needs a value", to: 2, status: 64) }
            options[name] = value
        }
        guard let state = options["--state"], let run = options["--run"], let id = options["--instance"] else {
            say("zero-shim: --state, --run and --instance are needed", to: 2, status: 64)
        }
        guard state.hasPrefix("/"), run.hasPrefix("/"), ContainerSpec.isIdentifier(id) else {
            say("zero-shim: folders are absolute paths, an id is letters, digits and dashes", to: 2, status: 64)
        }
        start(ShimPaths(state: state, run: run, id: id), options)
    }

    private static func start(_ paths: ShimPaths, _ options: [String: String]) -> Never {
        let folder = programFolder()
        let settings = ShimSettings(
            paths: paths,
            seccomp: options["--seccomp"] ?? "\(options["--share"] ?? "\(folder)/../share")/seccomp.json",
            initHelper: options["--init"] ?? "\(folder)/zero-init",
            notify: getenv("ZERO_NOTIFY_FD").flatMap { Int32(String(cString: $0)) })
        unsetenv("ZERO_NOTIFY_FD")
        do {
            try Shim(settings).run()
        } catch {
            report("error", "failed", ["id": paths.id, "error": "\(error)"])
            exit(1)
        }
        exit(0)
    }

    private static func programFolder() -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return "/usr/lib/zero" }
        let path = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    }

    private static func say(_ text: String, to descriptor: Int32, status: Int32) -> Never {
        _ = (text + "\n").withCString { write(descriptor, $0, strlen($0)) }
        exit(status)
    }
}
