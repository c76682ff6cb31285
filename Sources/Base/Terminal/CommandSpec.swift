/// A command of a program: what parses its arguments, prints its help and completes it in shells.
public struct CommandSpec: Sendable {
    /// The word that chooses it.
    public var name: String
    /// One line.
    public var about: String
    /// Paragraphs below it in the help.
    public var discussion: String
    /// Positional arguments, in order.
    public var arguments: [ArgumentSpec]
    /// Options of this command.
    public var options: [OptionSpec]
    /// Lines to paste, each with what it does.
    public var examples: [Example]
    /// Commands below it.
    public var subcommands: [CommandSpec]

    /// A command.
    public init(
        _ name: String, _ about: String, discussion: String = "", arguments: [ArgumentSpec] = [],
        options: [OptionSpec] = [],
        examples: [Example] = [], subcommands: [CommandSpec] = []
    ) {
        (self.name, self.about, self.discussion) = (name, about, discussion)
        (self.arguments, self.options, self.examples) = (arguments, options, examples)
        self.subcommands = subcommands
    }

    /// The command below this one with that name.
    public func subcommand(_ name: String) -> CommandSpec? { subcommands.first { $0.name == name } }
}

/// A line to paste.
public struct Example: Sendable {
    /// The line.
    public var line: String
    /// What it does.
    public var about: String

    /// A line and what it does.
    public init(_ line: String, _ about: String) { (self.line, self.about) = (line, about) }
}

/// What a shell offers for a value.
public enum Completion: Sendable, Hashable {
    /// Nothing.
    case none
    /// Files.
    case file
    /// Directories.
    case directory
    /// A few words.
    case words([String])
    /// What the command `<program> <arguments>` prints, a word a line.
    case command([String])
}

/// A positional argument.
public struct ArgumentSpec: Sendable {
    /// How help and errors call it.
    public var name: String
    /// One line.
    public var about: String
    /// Whether it may be left out.
    public var isOptional: Bool
    /// Whether it takes everything that follows, options included.
    public var isRest: Bool
    /// What a shell offers.
    public var completion: Completion

    /// An argument.
    public init(
        _ name: String, _ about: String, optional: Bool = false, rest: Bool = false, completion: Completion = .none
    ) {
        (self.name, self.about, isOptional, isRest) = (name, about, optional, rest)
        self.completion = completion
    }
}

/// An option: a flag, or a name and a value.
public struct OptionSpec: Sendable {
    /// `name` of `--name`.
    public var long: String
    /// `n` of `-n`.
    public var short: Character?
    /// Placeholder of its value; nil for a flag.
    public var value: String?
    /// One line.
    public var about: String
    /// Whether it may stand several times.
    public var isRepeated: Bool
    /// What a shell offers; words are also all that is accepted.
    public var completion: Completion

    /// An option.
    public init(
        _ long: String, short: Character? = nil, value: String? = nil, repeated: Bool = false,
        completion: Completion = .none,
        _ about: String
    ) {
        (self.long, self.short, self.value, self.about) = (long, short, value, about)
        (isRepeated, self.completion) = (repeated, completion)
    }

    /// `-f, --follow` or `--since TIME`.
    var synopsis: String {
        let head = short.map { "-\($0), --\(long)" } ?? "    --\(long)"
        return value.map { "\(head) \($0)" } ?? head
    }
}
