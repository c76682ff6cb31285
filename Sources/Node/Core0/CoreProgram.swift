import CLinux
import Glibc
import Linux

/// The program `zero-core`: its command line around `Core`.
public enum CoreProgram {
    /// What `--version` says.
    public static let version = "0.1.0"

    /// Runs the program to its end.
    public static func main() -> Never {
        let words = Array(CommandLine.arguments.dropFirst())
        do throws(CoreOptions.Fault) {
            let current = getcwd(nil, 0).map { pointer in
                defer { free(pointer) }
                return String(cString: pointer)
            }
            let executable = Core.executable() ?? CommandLine.arguments.first ?? ""
            switch try CoreOptions.parse(words, executable: executable, current: current ?? "/") {
            case .help: say(STDOUT_FILENO, CoreOptions.help)
            case .version: say(STDOUT_FILENO, "zero-core \(version)")
            case .run(let options) where options.onlyCheck: exit(check(options))
            case .run(let options) where options.printConfig: printConfig(options)
            case .run(let options): exit(run(options))
            }
            exit(0)
        } catch {
            say(STDERR_FILENO, "zero-core: \(error); see zero-core --help")
            exit(64)
        }
    }

    private static func say(_ fd: Int32, _ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(fd, $0.baseAddress, $0.count) }
    }

    private static func printConfig(_ options: CoreOptions) {
        for (name, value) in [
            ("state", options.state), ("run", options.run), ("units", options.units), ("bin", options.bin),
            ("share", options.share),
        ] { say(STDOUT_FILENO, "\(name) = \(value)") }
    }

    private static func check(_ options: CoreOptions) -> Int32 {
        let set = UnitFolder.read(options.units)
        for error in set.invalid.values.sorted(by: { "\($0)" < "\($1)" }) { say(STDERR_FILENO, "\(error)") }
        say(STDOUT_FILENO, "\(set.units.count) units, \(set.invalid.count) invalid")
        return set.invalid.isEmpty ? 0 : 1
    }

    private static func run(_ options: CoreOptions) -> Int32 {
        do throws(SystemError) {
            let core = try Core(options)
            if !options.logsToTerminal {
                let path = "\(options.state)/log/core.log"
                let file = Descriptor(try checked("open", path, zg_open_append(path)))
                try checked("dup2", path, zg_redirect_output(file.raw))
            }
            core.run()
            return 0
        } catch {
            say(STDERR_FILENO, "zero-core: \(error)")
            return 1
        }
    }
}
