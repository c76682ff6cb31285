extension ArgumentParser {
    /// The help of the command `path`: usage, what it does, arguments, options, examples.
    public func help(_ command: CommandSpec, path: [String], style: Style) -> String {
        var lines = [style.bold(capitalized(command.about)), ""]
        lines += ["\(style.bold("Usage:")) \(usage(command, path: path))"]
        if !command.discussion.isEmpty { lines += ["", command.discussion] }
        if !command.subcommands.isEmpty {
            lines += ["", style.bold("Commands:")] + columns(command.subcommands.map { ($0.name, $0.about) }, style)
        }
        if !command.arguments.isEmpty {
            lines +=
                ["", style.bold("Arguments:")] + columns(command.arguments.map { ("<\($0.name)>", $0.about) }, style)
        }
        if !command.options.isEmpty {
            lines += ["", style.bold("Options:")] + columns(command.options.map { ($0.synopsis, $0.about) }, style)
        }
        let common = global.map { ($0.synopsis, $0.about) } + [("-h, --help", "Show this help.")]
        lines += ["", style.bold("Options of every command:")] + columns(common, style)
        if !command.examples.isEmpty {
            lines += ["", style.bold("Examples:")]
            lines += command.examples.flatMap { ["  # \($0.about)".dimmed(style), "  \($0.line)"] }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func usage(_ command: CommandSpec, path: [String]) -> String {
        var words = [root.name] + path
        if !command.subcommands.isEmpty { words.append("<command>") }
        for argument in command.arguments {
            let name = argument.isRest ? "<\(argument.name)>…" : "<\(argument.name)>"
            words.append(argument.isOptional ? "[\(name)]" : name)
        }
        return (words + ["[options]"]).joined(separator: " ")
    }

    private func columns(_ rows: [(String, String)], _ style: Style) -> [String] {
        let width = min(34, rows.map(\.0.count).max() ?? 0)
        return rows.map { name, about in
            let space = String(repeating: " ", count: max(2, width - name.count + 2))
            return "  " + style.bold(name) + space + about
        }
    }

    private func capitalized(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }
}

extension String {
    fileprivate func dimmed(_ style: Style) -> String { style.dim(self) }
}
