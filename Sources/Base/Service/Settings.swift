import CanonicalJSON

/// One setting that a program takes.
public struct Option: Sendable {
    enum Kind: Sendable {
        case text
        case integer(ClosedRange<Int>)
        case flag
        case choice([String])
    }
    let name: String
    let help: String
    let kind: Kind
    let fallback: String?
    let isRequired: Bool
    let isRepeated: Bool

    /// A text; nil default means that it may be absent.
    public static func text(_ name: String, _ help: String, default fallback: String? = nil) -> Option {
        Option(name: name, help: help, kind: .text, fallback: fallback, isRequired: false, isRepeated: false)
    }
    /// A text that must be given.
    public static func required(_ name: String, _ help: String) -> Option {
        Option(name: name, help: help, kind: .text, fallback: nil, isRequired: true, isRepeated: false)
    }
    /// A text that may be given several times.
    public static func list(_ name: String, _ help: String) -> Option {
        Option(name: name, help: help, kind: .text, fallback: nil, isRequired: false, isRepeated: true)
    }
    /// A whole number; nil default means that it may be absent.
    public static func integer(
        _ name: String, _ help: String, default fallback: Int? = nil, in range: ClosedRange<Int> = 0...Int.max
    ) -> Option {
        let text = fallback.map { String($0) }
        return Option(
            name: name, help: help, kind: .integer(range), fallback: text, isRequired: false, isRepeated: false)
    }
    /// One of a few words.
    public static func choice(
        _ name: String, _ help: String, of words: [String], default fallback: String
    ) -> Option {
        Option(
            name: name, help: help, kind: .choice(words), fallback: fallback, isRequired: false, isRepeated: false)
    }
    /// On or off; off unless given.
    public static func flag(_ name: String, _ help: String) -> Option {
        Option(name: name, help: help, kind: .flag, fallback: "no", isRequired: false, isRepeated: false)
    }

    /// What is wrong with a value, or nil.
    func problem(_ value: String) -> String? {
        switch kind {
        case .text: return nil
        case .flag: return ["yes", "no"].contains(value) ? nil : "is “\(value)”; say yes or no"
        case .choice(let words):
            return words.contains(value) ? nil : "is “\(value)”; say one of \(words.joined(separator: ", "))"
        case .integer(let range):
            guard let number = Int(value) else { return "is “\(value)”, which is no whole number" }
            if range.contains(number) { return nil }
            return range.upperBound == .max
                ? "is \(number); at least \(range.lowerBound)"
                : "is \(number); between \(range.lowerBound) and \(range.upperBound)"
        }
    }

    var placeholder: String {
        switch kind {
        case .text: " TEXT"
        case .integer: " NUMBER"
        case .choice(let words): " " + words.joined(separator: "|")
        case .flag: ""
        }
    }
}

/// What is wrong with a program's settings.
public struct SettingsError: Error, Sendable, Hashable, CustomStringConvertible {
    /// One sentence that names the setting and where it came from.
    public let description: String
}

/// A program's settings: flags over environment over file over default.
public struct Settings: Sendable {
    /// Where a value came from.
    enum Source: String, Sendable { case flag, environment, file, fallback = "default" }

    private var values: [String: (texts: [String], source: Source)] = [:]
    let options: [Option]

    /// The value of a setting that is required or has a default.
    public func text(_ name: String) -> String {
        guard let value = optional(name) else { preconditionFailure("setting \(name) may be absent") }
        return value
    }

    /// The value of a setting that may be absent.
    public func optional(_ name: String) -> String? {
        precondition(options.contains { $0.name == name }, "setting \(name) is not declared")
        return values[name]?.texts.last
    }

    /// Every value of a setting that may be repeated.
    public func list(_ name: String) -> [String] { values[name]?.texts ?? [] }

    /// The value of a whole number that has a default.
    public func integer(_ name: String) -> Int { Int(text(name)) ?? 0 }

    /// The value of a whole number that may be absent.
    public func optionalInteger(_ name: String) -> Int? { optional(name).flatMap { Int($0) } }

    /// Whether a flag is on.
    public func isOn(_ name: String) -> Bool { optional(name) == "yes" }

    /// All settings as a file that `--config` takes, each with its source.
    func printed() -> String {
        var text = ""
        for option in options where option.name != "config" {
            guard let value = values[option.name] else {
                text += "# \(option.name) is not set\n"
                continue
            }
            for one in value.texts { text += "\(option.name) = \(one)  # \(value.source.rawValue)\n" }
        }
        return text
    }

    /// Reads settings. `prefix` is that of the environment, such as `ZERO_LEDGER_`; `readFile` reads what `--config` names.
    init(
        options: [Option], arguments: [String], environment: [String: String], prefix: String,
        readFile: (String) throws(SettingsError) -> String
    ) throws(SettingsError) {
        self.options = options
        let flags = try Self.flags(arguments, options)
        let variables = try Self.variables(environment, prefix, options)
        var file: [String: [String]] = [:]
        if let path = flags["config"]?.last ?? variables["config"]?.last {
            file = try Self.parseFile(try readFile(path), path, options)
        }
        for option in options {
            if let texts = flags[option.name] {
                values[option.name] = (texts, .flag)
            } else if let texts = variables[option.name] {
                values[option.name] = (texts, .environment)
            } else if let texts = file[option.name] {
                values[option.name] = (texts, .file)
            } else if let fallback = option.fallback {
                values[option.name] = ([fallback], .fallback)
            } else if option.isRequired {
                throw SettingsError(description: "--\(option.name) is missing: \(option.help)")
            }
        }
    }

    private static func unknown(_ what: String, _ name: String, _ known: [String]) -> SettingsError {
        let near = nearest(to: name, among: known).map { "; did you mean “\($0)”?" } ?? ""
        return SettingsError(description: "unknown \(what) “\(name)”\(near)")
    }

    private static func add(
        _ value: String, _ option: Option, _ origin: String, _ values: inout [String: [String]]
    ) throws(SettingsError) {
        if let problem = option.problem(value) { throw SettingsError(description: "\(origin) \(problem)") }
        if values[option.name] != nil, !option.isRepeated {
            throw SettingsError(description: "\(origin) is given twice")
        }
        values[option.name, default: []].append(value)
    }

    private static func flags(_ arguments: [String], _ options: [Option]) throws(SettingsError) -> [String: [String]] {
        var values: [String: [String]] = [:]
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            guard argument.hasPrefix("--"), argument.count > 2 else {
                throw SettingsError(description: "unexpected argument “\(argument)”")
            }
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0].dropFirst(2))
            guard let option = options.first(where: { $0.name == name }) else {
                throw unknown(
                    "option", "--\(name)", options.map { "--\($0.name)" } + ["--help", "--version", "--print-config"])
            }
            if parts.count == 2 {
                try add(String(parts[1]), option, "--\(name)", &values)
            } else if case .flag = option.kind {
                try add("yes", option, "--\(name)", &values)
            } else {
                guard index < arguments.count else { throw SettingsError(description: "--\(name) needs a value") }
                try add(arguments[index], option, "--\(name)", &values)
                index += 1
            }
        }
        return values
    }

    private static func variables(
        _ environment: [String: String], _ prefix: String, _ options: [Option]
    ) throws(SettingsError) -> [String: [String]] {
        var values: [String: [String]] = [:]
        func variable(_ option: Option) -> String {
            prefix + String(option.name.uppercased().map { $0 == "-" ? "_" : $0 })
        }
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) where name.hasPrefix(prefix) {
            guard let option = options.first(where: { variable($0) == name }) else {
                throw unknown("environment variable", name, options.map(variable))
            }
            try add(value, option, name, &values)
        }
        return values
    }

    private static func parseFile(
        _ text: String, _ path: String, _ options: [Option]
    ) throws(SettingsError) -> [String: [String]] {
        var values: [String: [String]] = [:]
        for (number, raw) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let line = trimmed(withoutComment(raw))
            if line.isEmpty { continue }
            guard let equals = line.firstIndex(of: "=") else {
                throw SettingsError(description: "\(path) line \(number + 1): “\(line)” is not “key = value”")
            }
            let name = String(trimmed(line[..<equals]))
            guard let option = options.first(where: { $0.name == name && name != "config" }) else {
                throw unknown("key in \(path) line \(number + 1)", name, options.map(\.name))
            }
            let value = String(trimmed(line[line.index(after: equals)...]))
            try add(value, option, "\(path) line \(number + 1): \(name)", &values)
        }
        return values
    }

    /// A comment is a `#` at the start or after white space.
    private static func withoutComment(_ line: Substring) -> Substring {
        var previous: Character = " "
        for index in line.indices {
            if line[index] == "#", previous == " " || previous == "\t" { return line[..<index] }
            previous = line[index]
        }
        return line
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0 == " " || $0 == "\t" || $0 == "\r" }
        while let last = text.last, last == " " || last == "\t" || last == "\r" { text.removeLast() }
        return text
    }
}
