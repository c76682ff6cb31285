import CanonicalJSON
import Contracts
import Crypto
import Linux
import Terminal

/// What every command has at hand: the command line, the console, the user's folder.
struct Context: Sendable {
    let invocation: Invocation
    let parser: ArgumentParser
    let console: Console
    let home: Home

    init(_ invocation: Invocation, parser: ArgumentParser) throws {
        (self.invocation, self.parser) = (invocation, parser)
        let format = Console.Format(rawValue: invocation.option("output") ?? "table") ?? .table
        console = Console(format: format, quiet: invocation.has("quiet"))
        home = try Context.isHomeless(invocation) ? Home(path: "/nonexistent") : Home.find()
    }

    /// Whether the command works without anything of the user's.
    private static func isHomeless(_ invocation: Invocation) -> Bool {
        ["schema", "completion", "version"].contains(invocation.path.first)
    }

    /// The argument; the parser has seen to it that it is there.
    func argument(_ name: String) -> String { invocation.argument(name) ?? "" }

    /// Longest time that an option may say: ten years.
    private static let secondsMax: Int64 = 315_360_000

    /// The option as seconds: `30`, `30 s`, `5 m`.
    func seconds(_ option: String, default seconds: Int64) throws -> Int64 {
        guard let text = invocation.option(option) else { return seconds }
        if let number = Int64(text), (1...Context.secondsMax).contains(number) { return number }
        return try Self.duration(text, "--\(option)") / 1_000
    }
}

extension Context {
    private static func duration(_ text: String, _ option: String) throws -> Int64 {
        guard let milliseconds = Units.duration(text), (1_000...Context.secondsMax * 1_000).contains(milliseconds)
        else {
            throw CommandError(.usage, "`\(option) \(text)` is not a time", next: "write it as 30 s, 5 m or 2 h")
        }
        return milliseconds
    }
}
