/// Completion scripts for shells, made from the table of commands.
public enum Shell: String, Sendable, CaseIterable {
    case bash, zsh, fish
}

extension ArgumentParser {
    /// A script for `shell` that completes commands, options and the values that the table knows.
    public func completion(_ shell: Shell) -> String {
        switch shell {
        case .bash: bash()
        case .zsh: zsh()
        case .fish: fish()
        }
    }

    /// Every command with its words, the program's own first.
    private var commands: [(path: [String], command: CommandSpec)] {
        func walk(_ command: CommandSpec, _ path: [String]) -> [(path: [String], command: CommandSpec)] {
            [(path, command)] + command.subcommands.flatMap { walk($0, path + [$0.name]) }
        }
        return walk(root, [])
    }

    private func options(of command: CommandSpec) -> [OptionSpec] {
        command.options + global + [OptionSpec("help", short: "h", "Show help.")]
    }

    private func bashWords(_ completion: Completion) -> String {
        switch completion {
        case .none: "COMPREPLY=()"
        case .file: "COMPREPLY=($(compgen -f -- \"$cur\"))"
        case .directory: "COMPREPLY=($(compgen -d -- \"$cur\"))"
        case .words(let words): "COMPREPLY=($(compgen -W \"\(words.joined(separator: " "))\" -- \"$cur\"))"
        case .command(let words):
            "COMPREPLY=($(compgen -W \"$(\(([root.name] + words).joined(separator: " ")) 2>/dev/null)\" -- \"$cur\"))"
        }
    }

    private func bash() -> String {
        let name = root.name
        var lines = [
            "# bash completion of \(name); put it where bash-completion looks, or: source <(\(name) completion bash)",
            "_\(name)() {", "  local cur prev path word index", "  cur=${COMP_WORDS[COMP_CWORD]}",
            "  prev=${COMP_WORDS[COMP_CWORD-1]}",
            "  path=''; index=0", "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do",
            "    case \"$path $word\" in",
        ]
        for (path, _) in commands where !path.isEmpty {
            lines.append("      ' \(path.joined(separator: " "))') path=' \(path.joined(separator: " "))'; index=0;;")
        }
        lines += [
            "      *' -'*) ;;", "      *) index=$((index+1));;", "    esac", "  done", "  case \"$path:$prev\" in",
        ]
        for (path, command) in commands where command.subcommands.isEmpty {
            let head = path.isEmpty ? "" : " " + path.joined(separator: " ")
            for option in options(of: command) where option.value != nil {
                var patterns = ["'\(head):--\(option.long)'"]
                if let short = option.short { patterns.append("'\(head):-\(short)'") }
                lines.append("    \(patterns.joined(separator: "|"))) \(bashWords(option.completion)); return;;")
            }
        }
        lines += ["  esac", "  if [[ $cur == -* ]]; then", "    case \"$path\" in"]
        for (path, command) in commands {
            let head = path.isEmpty ? "" : " " + path.joined(separator: " ")
            let words = options(of: command).map { "--" + $0.long }.joined(separator: " ")
            lines.append("      '\(head)') COMPREPLY=($(compgen -W \"\(words)\" -- \"$cur\"));;")
        }
        lines += ["    esac", "    return", "  fi", "  case \"$path:$index\" in"]
        for (path, command) in commands {
            let head = path.isEmpty ? "" : " " + path.joined(separator: " ")
            if !command.subcommands.isEmpty {
                lines.append("    '\(head):'*) \(bashWords(.words(command.subcommands.map(\.name))));;")
            }
            for (index, argument) in command.arguments.enumerated() where argument.completion != .none {
                lines.append(
                    "    '\(head):\(argument.isRest ? "'*" : "\(index)'")) \(bashWords(argument.completion));;")
            }
        }
        return (lines + ["  esac", "}", "complete -o filenames -o bashdefault -F _\(name) \(name)", ""]).joined(
            separator: "\n")
    }

    private func zsh() -> String {
        let name = root.name
        var lines = [
            "#compdef \(name)",
            "# zsh completion of \(name); put it in $fpath as _\(name), or: source <(\(name) completion zsh)",
            "_\(name)() {", "  local path word index cur prev", "  local -a reply",
            "  path=''; index=0; cur=$words[CURRENT]; prev=$words[CURRENT-1]",
            "  for word in ${words[2,CURRENT-1]}; do", "    case \"$path $word\" in",
        ]
        for (path, _) in commands where !path.isEmpty {
            lines.append("      ' \(path.joined(separator: " "))') path=' \(path.joined(separator: " "))'; index=0;;")
        }
        lines += [
            "      *' -'*) ;;", "      *) index=$((index+1));;", "    esac", "  done", "  case \"$path:$prev\" in",
        ]
        for (path, command) in commands where command.subcommands.isEmpty {
            let head = path.isEmpty ? "" : " " + path.joined(separator: " ")
            for option in options(of: command) where option.value != nil {
                var patterns = ["'\(head):--\(option.long)'"]
                if let short = option.short { patterns.append("'\(head):-\(short)'") }
                lines.append("    \(patterns.joined(separator: "|"))) \(zshWords(option.completion)); return;;")
            }
        }
        lines += ["  esac", "  if [[ $cur == -* ]]; then", "    case \"$path\" in"]
        for (path, command) in commands {
            let head = path.isEmpty ? "" : " " + path.joined(separator: " ")
            let words = options(of: command).map { described("--" + $0.long, $0.about) }.joined(separator: " ")
            lines.append("      '\(head)') reply=(\(words)); _describe option reply;;")
        }
        lines += ["    esac", "    return", "  fi", "  case \"$path:$index\" in"]
        for (path, command) in commands {
            let head = path.isEmpty ? "" : " " + path.joined(separator: " ")
            if !command.subcommands.isEmpty {
                let words = command.subcommands.map { described($0.name, $0.about) }.joined(separator: " ")
                lines.append("    '\(head):'*) reply=(\(words)); _describe command reply;;")
            }
            for (index, argument) in command.arguments.enumerated() where argument.completion != .none {
                lines.append("    '\(head):\(argument.isRest ? "'*" : "\(index)'")) \(zshWords(argument.completion));;")
            }
        }
        lines += [
            "  esac", "}",
            "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _\(name) \"$@\"; else compdef _\(name) \(name); fi",
        ]
        return (lines + [""]).joined(separator: "\n")
    }

    private func zshWords(_ completion: Completion) -> String {
        switch completion {
        case .none: ":"
        case .file: "_files"
        case .directory: "_files -/"
        case .words(let words): "compadd -- \(words.joined(separator: " "))"
        case .command(let words): "compadd -- ${(f)\"$(\(([root.name] + words).joined(separator: " ")) 2>/dev/null)\"}"
        }
    }

    private func described(_ word: String, _ about: String) -> String {
        quoted("\(word):\(about.replacing(":", with: "\\:"))")
    }

    private func quoted(_ text: String) -> String { "'\(text.replacing("'", with: "'\\''"))'" }

    private func fish() -> String {
        let name = root.name
        var lines = [
            "# fish completion of \(name): \(name) completion fish > ~/.config/fish/completions/\(name).fish",
            "function __\(name)_at; set -l words (commandline -opc | string match -v -- '-*'); set -e words[1]",
            "  set -l wanted (string split ' ' -- $argv[1]); test \"$argv[1]\" = ''; and set wanted",
            "  test (count $words) -ge (count $wanted); or return 1",
            "  for index in (seq (count $wanted)); test $words[$index] = $wanted[$index]; or return 1; end",
            "  test -z \"$argv[2]\"; or test (count $words) -eq (math (count $wanted) + $argv[2]); end",
            "complete -c \(name) -f",
        ]
        for (path, command) in commands {
            let head = path.joined(separator: " ")
            for sub in command.subcommands {
                lines.append(
                    "complete -c \(name) -n \"__\(name)_at '\(head)' 0\" -a \(sub.name) -d \(quoted(sub.about))")
            }
            for option in command.subcommands.isEmpty ? options(of: command) : [] {
                let short = option.short.map { " -s \($0)" } ?? ""
                let value = option.value == nil ? "" : fishWords(option.completion, isOption: true)
                lines.append(
                    "complete -c \(name) -n \"__\(name)_at '\(head)'\" -l \(option.long)\(short)\(value) -d \(quoted(option.about))"
                )
            }
            for (index, argument) in command.arguments.enumerated() where argument.completion != .none {
                let count = argument.isRest ? "" : " \(index)"
                lines.append(
                    "complete -c \(name) -n \"__\(name)_at '\(head)'\(count)\"\(fishWords(argument.completion, isOption: false))"
                )
            }
        }
        return (lines + [""]).joined(separator: "\n")
    }

    private func fishWords(_ completion: Completion, isOption: Bool) -> String {
        let need = isOption ? " -r" : ""
        return switch completion {
        case .none: need
        case .file: need + " -F"
        case .directory: need + " -a \"(__fish_complete_directories)\""
        case .words(let words): need + " -a '\(words.joined(separator: " "))'"
        case .command(let words): need + " -a \"(\(([root.name] + words).joined(separator: " ")) 2>/dev/null)\""
        }
    }
}
