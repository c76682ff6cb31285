import CanonicalJSON

/// A command line that was understood.
public struct Invocation: Sendable {
    /// Words that chose the command, the program's name left out.
    public var path: [String]
    /// The command.
    public var command: CommandSpec
    /// Options with their values; a flag has one empty value each time it stands.
    public var options: [String: [String]]
    /// Positional arguments by name.
    public var arguments: [String: [String]]

    /// Whether the option is there.
    public func has(_ option: String) -> Bool { options[option] != nil }
    /// The option's last value.
    public func option(_ name: String) -> String? { options[name]?.last }
    /// Every value of a repeated option.
    public func all(_ option: String) -> [String] { options[option] ?? [] }
    /// The argument's value.
    public func argument(_ name: String) -> String? { arguments[name]?.first }
    /// Everything that a rest argument took.
    public func rest(_ name: String) -> [String] { arguments[name] ?? [] }
}

/// A command line that was not understood.
public struct UsageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public var what: String
    /// What to try.
    public var hint: String?
    /// Words of the command whose help is nearest.
    public var path: [String]

    /// A mistake at the command `path`.
    public init(_ what: String, hint: String? = nil, path: [String] = []) {
        (self.what, self.hint, self.path) = (what, hint, path)
    }

    /// One line.
    public var description: String { what + (hint.map { "; " + $0 } ?? "") }
}

/// What a command line asks for.
public enum Request: Sendable {
    /// To run a command.
    case run(Invocation)
    /// To show the help of the command with these words.
    case help(CommandSpec, path: [String])
    /// To show the version.
    case version
}

/// Understands command lines by a tree of commands.
public struct ArgumentParser: Sendable {
    /// The program.
    public let root: CommandSpec
    /// Options that every command takes.
    public let global: [OptionSpec]

    /// A parser; `--help` and `--version` need no entry.
    public init(_ root: CommandSpec, global: [OptionSpec]) { (self.root, self.global) = (root, global) }

    /// What `words` (without the program's name) ask for.
    public func parse(_ words: [String]) throws(UsageError) -> Request {
        var state = State(program: root.name, command: root)
        var index = 0
        while index < words.count {
            let word = words[index]
            index += 1
            if state.isVerbatim || word == "-" || !word.hasPrefix("-") {
                try state.positional(word, parser: self)
            } else if word == "--" {
                state.isVerbatim = true
            } else if word == "--help" || word == "-h" {
                return .help(state.command, path: state.path)
            } else if word == "--version", state.path.isEmpty {
                return .version
            } else if word.hasPrefix("--") {
                try long(word, words, &index, &state)
            } else {
                try short(word, words, &index, &state)
            }
        }
        return try state.finish()
    }

    private func options(of state: State) -> [OptionSpec] { state.command.options + global }

    private func long(_ word: String, _ words: [String], _ index: inout Int, _ state: inout State) throws(UsageError) {
        let body = word.dropFirst(2)
        let end = body.firstIndex(of: "=")
        let name = String(body[..<(end ?? body.endIndex)])
        guard let option = options(of: state).first(where: { $0.long == name }) else {
            let known = options(of: state).map(\.long) + ["help"]
            throw state.error(
                "unknown option `--\(name)`", hint: nearest(to: name, among: known).map { "did you mean `--\($0)`?" })
        }
        let given = end.map { String(body[body.index(after: $0)...]) }
        guard option.value != nil else {
            if given != nil { throw state.error("`--\(name)` takes no value") }
            try state.add(option, "")
            return
        }
        if let given { return try state.add(option, given) }
        guard index < words.count else { throw state.error("`--\(name)` wants a value: \(option.value ?? "")") }
        index += 1
        try state.add(option, words[index - 1])
    }

    private func short(_ word: String, _ words: [String], _ index: inout Int, _ state: inout State) throws(UsageError) {
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
            guard let option = options(of: state).first(where: { $0.short == letter }) else {
                throw state.error("unknown option `-\(letter)`")
            }
            guard option.value != nil else {
                try state.add(option, "")
                continue
            }
            if !letters.isEmpty { return try state.add(option, String(letters)) }
            guard index < words.count else { throw state.error("`-\(letter)` wants a value: \(option.value ?? "")") }
            index += 1
            return try state.add(option, words[index - 1])
        }
    }
}

/// A command line that is being read.
private struct State {
    var program: String
    var command: CommandSpec
    var path: [String] = []
    var options: [String: [String]] = [:]
    var positionals: [String] = []
    /// After `--`, or in an argument that takes the rest.
    var isVerbatim = false

    func error(_ what: String, hint: String? = nil) -> UsageError {
        let help = "see `\(([program] + path).joined(separator: " ")) --help`"
        return UsageError(what, hint: hint ?? help, path: path)
    }

    mutating func add(_ option: OptionSpec, _ value: String) throws(UsageError) {
        if case .words(let words) = option.completion, !words.contains(value) {
            let near = nearest(to: value, among: words).map { "did you mean `\($0)`?" }
            throw error("`--\(option.long)` is one of \(words.joined(separator: ", ")), not `\(value)`", hint: near)
        }
        if options[option.long] != nil && !option.isRepeated && option.value != nil {
            throw error("`--\(option.long)` is here twice")
        }
        options[option.long, default: []].append(value)
    }

    mutating func positional(_ word: String, parser: ArgumentParser) throws(UsageError) {
        guard command.subcommands.isEmpty else {
            guard let next = command.subcommand(word) else {
                let known = command.subcommands.map(\.name)
                let near = nearest(to: word, among: known).map { "did you mean `\($0)`?" }
                throw error("unknown command `\((path + [word]).joined(separator: " "))`", hint: near)
            }
            command = next
            path.append(word)
            return
        }
        let index = positionals.count
        positionals.append(word)
        if command.arguments.indices.contains(index), command.arguments[index].isRest { isVerbatim = true }
        guard index < command.arguments.count || command.arguments.last?.isRest == true else {
            throw error("`\(word)` is one argument too many")
        }
    }

    func finish() throws(UsageError) -> Request {
        guard command.subcommands.isEmpty else { return .help(command, path: path) }
        var arguments: [String: [String]] = [:]
        for (index, spec) in command.arguments.enumerated() {
            let values =
                spec.isRest ? Array(positionals.dropFirst(index)) : Array(positionals.dropFirst(index).prefix(1))
            if values.isEmpty {
                guard spec.isOptional else { throw error("`<\(spec.name)>` is missing: \(spec.about)") }
                continue
            }
            arguments[spec.name] = values
        }
        return .run(Invocation(path: path, command: command, options: options, arguments: arguments))
    }
}
