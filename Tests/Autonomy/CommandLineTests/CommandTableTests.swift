import CanonicalJSON
import Crypto
import Glibc
import Linux
import Terminal
import Testing

@testable import CommandLine

@Suite struct CommandTableTests {
    private func all(_ command: CommandSpec, _ path: [String] = []) -> [(path: [String], command: CommandSpec)] {
        [(path, command)] + command.subcommands.flatMap { all($0, path + [$0.name]) }
    }

    @Test func everyCommandHasHelpWithExamplesThatParse() throws {
        for (path, command) in all(CommandTable.root) {
            #expect(!command.about.isEmpty && !command.about.hasSuffix("."), "\(path)")
            let help = CommandTable.parser.help(command, path: path, style: .plain)
            #expect(help.split(separator: "\n").allSatisfy { $0.count <= 132 }, "\(path)")
            #expect(!command.examples.isEmpty, "\(path) has no example")
            for example in command.examples where example.line.hasPrefix("zero ") {
                let words = example.line.split(separator: " ").map(String.init).prefix { $0 != ">" && $0 != "|" }
                let request = try CommandTable.parser.parse(Array(words.dropFirst()))
                guard case .run(let invocation) = request else { throw UsageError("\(example.line) runs nothing") }
                #expect(invocation.path.starts(with: path), "\(example.line)")
            }
        }
    }

    @Test func everyLeafIsDispatched() async {
        // What is not known to the dispatcher would print the version.
        let known = [
            "up", "down", "status", "identity", "image", "plan", "deploy", "approve", "list", "describe", "events",
            "delete",
        ]
        #expect(
            Set(CommandTable.root.subcommands.map(\.name))
                == Set(known + ["logs", "exec", "schema", "completion", "version"]))
    }

    @Test func optionsDoNotCollideWithTheCommonOnes() {
        for (path, command) in all(CommandTable.root) {
            let names = (command.options + CommandTable.global).map(\.long)
            #expect(Set(names).count == names.count, "\(path)")
            let letters = (command.options + CommandTable.global).compactMap(\.short)
            #expect(Set(letters).count == letters.count, "\(path)")
        }
    }

    @Test func exitCodesAreWhatTheGuideSays() throws {
        let path = #filePath.replacing(
            "Tests/Autonomy/CommandLineTests/CommandTableTests.swift", with: "Documentation/guides/command-line.md")
        let guide = try File.readText(path)
        for code in ExitCode.allCases { #expect(guide.contains("| \(code.rawValue) |"), "\(code)") }
        for (path, command) in all(CommandTable.root) where command.subcommands.isEmpty {
            #expect(guide.contains("`zero \(path.joined(separator: " "))"), "\(path)")
        }
    }

    @Test func errorsSayWhatWhyAndWhatNext() {
        let error = CommandError(.refused, "it was refused", why: "a reason\nof two lines", next: "`zero list`")
        #expect(error.description == "it was refused\n  why:  a reason\n        of two lines\n  next: `zero list`")
    }

    @Test func gridConfigurationReadsBackAndRefusesRubbish() throws {
        let grid = GridConfiguration(
            ledgerURL: "https://127.0.0.1:7600", ledgerPin: "cGlu", ledgerID: SHA256.hash([1]), store: "/run/x.sock",
            domain: "localhost",
            httpPort: 8080, node: try SigningKey(seed: SHA256.hash([2]).bytes).publicKey, folder: "/var/lib/zero")
        #expect(try GridConfiguration(grid.value.canonicalBytes, path: "grid.json") == grid)
        #expect(grid.url("hello") == "http://hello.localhost:8080/")
        for bad in ["", "{}", "[]", "{\"ledger\":1}", grid.value.canonicalText.replacing("store", with: "stroe")] {
            let error = #expect(throws: CommandError.self) {
                _ = try GridConfiguration(Array(bad.utf8), path: "grid.json")
            }
            #expect(error?.exit == .invalid)
        }
    }

    @Test func aClosedFolderOnTheWayIsFoundBeforeAnythingStarts() throws {
        let top = "/tmp/zero-preflight.\(getpid())"
        defer { try? File.removeTree(top) }
        try File.makeDirectories(top + "/open/closed", mode: 0o755)
        try Preflight.checkReachable(top + "/open/new/grid")
        try File.changeMode(top + "/open", 0o700)
        let error = #expect(throws: CommandError.self) { try Preflight.checkReachable(top + "/open/closed/grid") }
        #expect(error?.why?.contains("\(top)/open is closed") == true && error?.next?.contains("chmod") == true)
        try File.changeMode(top + "/open", 0o755)
        try File.write(top + "/file", [])
        #expect(throws: CommandError.self) { try Preflight.checkReachable(top + "/file/grid") }
    }

    @Test func pathsAndAmounts() {
        #expect(Home.absolute("/a/./b/../c//d/") == "/a/c/d")
        #expect(Home.absolute("/../..") == "/")
        #expect(
            Amount.text(0) == "0" && Amount.text(1536) == "1.5 KiB" && Amount.text(20 << 30) == "20 GiB"
                && Amount.text(999) == "999 B")
        #expect(Amount.age(5_000) == "5 s" && Amount.age(600_000) == "10 m" && Amount.age(200_000_000) == "2 d")
    }
}
