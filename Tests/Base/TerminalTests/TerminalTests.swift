import Linux
import Terminal
import Testing

private let parser = ArgumentParser(
    CommandSpec(
        "zero", "a grid",
        subcommands: [
            CommandSpec(
                "image", "images",
                subcommands: [
                    CommandSpec(
                        "import", "import an image",
                        arguments: [ArgumentSpec("path", "where it is", completion: .directory)],
                        options: [
                            OptionSpec("public", "for everybody"),
                            OptionSpec("tag", short: "t", value: "TAG", repeated: true, "tags"),
                        ],
                        examples: [Example("zero image import ./nginx", "imports nginx")])
                ]),
            CommandSpec(
                "exec", "run something",
                arguments: [
                    ArgumentSpec("contract", "which", completion: .command(["list", "-o", "name"])),
                    ArgumentSpec("command", "what", rest: true),
                ]),
            CommandSpec("status", "show the grid"),
        ]),
    global: [OptionSpec("output", short: "o", value: "FORMAT", completion: .words(["table", "json"]), "how")])

@Suite struct ArgumentParserTests {
    private func run(_ words: String...) throws -> Invocation {
        guard case .run(let invocation) = try parser.parse(words) else { throw UsageError("not a run") }
        return invocation
    }

    @Test func commandsArgumentsAndOptionsInAnyOrder() throws {
        let invocation = try run("-o", "json", "image", "import", "--tag=a", "./x", "-tb", "--public")
        #expect(invocation.path == ["image", "import"])
        #expect(invocation.argument("path") == "./x")
        #expect(
            invocation.all("tag") == ["a", "b"] && invocation.has("public") && invocation.option("output") == "json")
    }

    @Test func theRestIsTakenAsItStands() throws {
        let invocation = try run("exec", "hello", "ls", "-l", "--help", "--")
        #expect(invocation.rest("command") == ["ls", "-l", "--help", "--"])
        #expect(try run("exec", "hello", "--", "-x").rest("command") == ["-x"])
    }

    @Test(arguments: [
        (["imgae"], "did you mean `image`?"), (["image", "imprt"], "did you mean `import`?"),
        (["image", "import", "x", "--pubic"], "did you mean `--public`?"),
        (["image", "import"], "`<path>` is missing"),
        (["image", "import", "x", "y"], "one argument too many"), (["status", "-o", "jsn"], "did you mean `json`?"),
        (["status", "-o"], "wants a value"), (["image", "import", "x", "--public=1"], "takes no value"),
        (["status", "-x"], "unknown option `-x`"),
        (["status", "-o", "json", "-o", "table"], "twice"),
    ]) func mistakesSayWhatToDo(words: [String], part: String) {
        let error = #expect(throws: UsageError.self) { _ = try parser.parse(words) }
        #expect(error?.description.contains(part) == true, "\(String(describing: error))")
    }

    @Test func helpShowsUsageOptionsAndExamples() throws {
        guard case .help(let command, let path) = try parser.parse(["image", "import", "--help"]) else {
            throw UsageError("no help")
        }
        let help = parser.help(command, path: path, style: .plain)
        for part in [
            "Usage: zero image import <path> [options]", "--public", "-t, --tag TAG", "zero image import ./nginx",
            "-o, --output",
        ] {
            #expect(help.contains(part), "\(part)")
        }
        guard case .help(_, let bare) = try parser.parse(["image"]) else { throw UsageError("no help") }
        #expect(bare == ["image"])
    }

    @Test func tablesAlignAndCannotBeSpoofed() {
        let table = Table(
            columns: [.init("NAME"), .init("SIZE", right: true)], rows: [["é😀", "1"], ["\u{1B}[2Jx", "100"]])
        #expect(table.text() == "NAME   SIZE\né😀       1\n?[2Jx   100\n")
        #expect(Table("STATE", rows: [["running"]]).text(Style(coloured: true)).contains("\u{1B}[32mrunning"))
    }

    @Test(arguments: Shell.allCases) func completionScriptsLoadInTheirShell(shell: Shell) throws {
        let script = parser.completion(shell)
        #expect(script.contains("import") && script.contains("public"))
        let path = "/usr/bin/" + shell.rawValue
        guard File.exists(path) else { return }
        let output = try Subprocess.run(path, ["-n", "/dev/stdin"], input: Array(script.utf8))
        #expect(output.status == 0, "\(output.errorText)")
    }

    @Test func bashCompletesCommandsOptionsAndValues() throws {
        func complete(_ words: String...) throws -> Set<String> {
            let list = words.map { "'\($0)'" }.joined(separator: " ")
            let script =
                parser.completion(.bash)
                + "\nCOMP_WORDS=(\(list)); COMP_CWORD=\(words.count - 1); _zero; printf '%s\\n' \"${COMPREPLY[@]}\"\n"
            let output = try Subprocess.run("/bin/bash", ["--norc", "-s"], input: Array(script.utf8))
            #expect(output.errors.isEmpty, "\(output.errorText)")
            return Set(output.text.split(separator: "\n").map(String.init))
        }
        #expect(try complete("zero", "") == ["image", "exec", "status"])
        #expect(try complete("zero", "im") == ["image"])
        #expect(try complete("zero", "image", "") == ["import"])
        #expect(try complete("zero", "image", "import", "--p") == ["--public"])
        #expect(try complete("zero", "status", "-o", "") == ["table", "json"])
        #expect(try complete("zero", "image", "import", "/us") == ["/usr"])
    }
}
