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
        let format: Console.Format = words.contains("json") || words.contains("-ojson") ? .json : .table
        let parser = CommandTable.parser
        do {
            switch try parser.parse(words) {
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

    private static func fail(_ error: CommandError, _ format: Console.Format) -> Int32 {
        let console = Console(format: format)
        if format == .json {
            var fields: [String: JSONValue] = [
                "error": .string(error.what), "exit": .integer(Int64(error.exit.rawValue)),
            ]
            if let why = error.why { fields["why"] = .string(why) }
            if let next = error.next { fields["next"] = .string(next) }
            console.note(JSONValue.object(fields).canonicalText)
        } else if !error.what.isEmpty {
            console.error("\(error)")
        }
        return error.exit.rawValue
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
