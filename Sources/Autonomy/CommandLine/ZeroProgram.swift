import CanonicalJSON
import Contracts
import Glibc
import Terminal

/// The program `zero`.
public enum ZeroProgram {
    /// What `zero version` says.
    public static let version = "0.1.0"

    /// Runs the command line `words` (without the program's name) and returns the exit status.
    @concurrent public static func run(_ words: [String]) async -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        openStandardStreams()
        if isatty(2) == 1, let command = words.first, ["up", "down", "deploy", "delete"].contains(command) {
            sayWhenInterrupted()
        }
        let format: Console.Format = asksForJSON(words) ? .json : .table
        let parser = CommandTable.parser
        do {
            // `zero help deploy` as well as `zero deploy --help`.
            switch try parser.parse(words.first == "help" ? words.dropFirst() + ["--help"] : words) {
            case .version: Console(format: .table).print("zero \(version)")
            case .help(let command, let path):
                let console = Console(format: .table)
                console.print(parser.help(command, path: path, style: console.style))
            case .run(let invocation):
                let status = try await run(Context(invocation, parser: parser))
                if status != 0 { return status }
            }
            if let reason = Console.lostOutput {
                throw CommandError(
                    .failed, "the result could not be written", why: "standard output: \(reason)",
                    next: "what the command did is done; ask for it again")
            }
            return ExitCode.ok.rawValue
        } catch let error as UsageError {
            return fail(CommandError(.usage, error.what, next: error.hint), format)
        } catch {
            return fail(CommandError(error), format)
        }
    }

    /// Whether errors are to be JSON, also where the rest of the command line is not understood.
    private static func asksForJSON(_ words: [String]) -> Bool {
        let options = words.prefix { $0 != "--" }
        return options.contains { $0 == "-ojson" || $0 == "-o=json" || $0 == "--output=json" }
            || zip(options, options.dropFirst()).contains { ($0 == "-o" || $0 == "--output") && $1 == "json" }
    }

    /// A stream that the caller closed would otherwise be the number of the next file or socket that is opened. Reading a
    /// closed input, and writing a closed output, fail as before.
    private static func openStandardStreams() {
        for (descriptor, flags) in [(Int32(0), O_RDONLY), (1, O_RDONLY), (2, O_WRONLY)]
        where fcntl(descriptor, F_GETFD) < 0 {
            _ = open("/dev/null", flags)
        }
    }

    /// Ctrl-C ends a command that waits, not what it began; whoever presses it should know.
    private static func sayWhenInterrupted() {
        signal(SIGINT) { number in
            let text: StaticString = "\ninterrupted; what was begun goes on by itself, see `zero status`\n"
            _ = write(2, text.utf8Start, text.utf8CodeUnitCount)
            signal(number, SIG_DFL)
            raise(number)
        }
    }

    private static func fail(_ error: CommandError, _ format: Console.Format) -> Int32 {
        let console = Console(format: format)
        let status = error.status ?? error.exit.rawValue
        if format == .json {
            var fields: [String: JSONValue] = [
                "error": .string(error.what), "exit": .integer(Int64(status)),
            ]
            if let why = error.why { fields["why"] = .string(why) }
            if let next = error.next { fields["next"] = .string(next) }
            console.note(JSONValue.object(fields).canonicalText)
        } else if !error.what.isEmpty {
            console.error("\(error)")
        }
        return status
    }

    private static func run(_ context: Context) async throws -> Int32 {
        let path = context.invocation.path
        switch path.first {
        case "up": try await UpCommand(context).run()
        case "down": try await DownCommand(context).run()
        case "status": try await StatusCommand(context).run()
        case "identity": try await IdentityCommand(context).run()
        case "image": try await ImageCommand(context).run()
        case "plan": try await DeployCommand(context).plan()
        case "deploy": try await DeployCommand(context).run()
        case "approve": try await ApproveCommand(context).run()
        case "list": try await ListCommand(context).run()
        case "describe": try await DescribeCommand(context).run()
        case "events": try await EventsCommand(context).run()
        case "delete": try await DeleteCommand(context).run()
        case "logs": try await LogsCommand(context).run()
        case "exec": return try await ExecCommand(context).run()
        case "schema": context.console.print(ContractSchema.document.canonicalText)
        case "completion": try completion(context)
        default: context.console.emit(["version": .string(version)], "zero \(version)\n")
        }
        return ExitCode.ok.rawValue
    }

    private static func completion(_ context: Context) throws {
        let name = context.argument("shell")
        guard let shell = Shell(rawValue: name) else {
            throw CommandError(.usage, "`\(name)` is not a shell that is known", why: "known are bash, zsh and fish")
        }
        context.console.print(context.parser.completion(shell))
    }
}
