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
            case .run(let invocation): return try await run(Context(invocation, parser: parser))
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
