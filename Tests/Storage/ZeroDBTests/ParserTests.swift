import Simulation
import Testing

@testable import ZeroDB

@Suite("Zero-DB: requests, patterns, settings")
struct ParserTests {
    func parse(_ text: [UInt8]) -> (Request, [String]) {
        let parser = RequestParser()
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: text.count + 1, alignment: 16)
        defer {
            buffer.deallocate()
            parser.arguments.deallocate()
            parser.words.deallocate()
        }
        text.withUnsafeBytes { if let base = $0.baseAddress { buffer.copyMemory(from: base, byteCount: $0.count) } }
        let request = parser.parse(buffer, text.count)
        guard case .command(let count, _) = request else { return (request, []) }
        return (request, (0..<count).map { parser.arguments[$0].text })
    }

    @Test("Whole requests are read, and every part of one is incomplete")
    func whole() {
        let text = Array("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\r\nbc\r\n".utf8)
        let (request, arguments) = parse(text + Array("*1\r\n".utf8))
        guard case .command(3, let bytes) = request else {
            Issue.record("\(request)")
            return
        }
        #expect(bytes == text.count && arguments == ["SET", "", "a\r\nbc"])
        for end in 0..<text.count {
            guard case .incomplete(let more) = parse(Array(text.prefix(end))).0 else {
                Issue.record("a part of \(end) bytes is not incomplete")
                continue
            }
            #expect(more > 0 && more <= text.count - end)
        }
    }

    @Test("Lines of words")
    func lines() {
        #expect(parse(Array("SET  'a b' \"c d\" e\r\n".utf8)).1 == ["SET", "a b", "c d", "e"])
        guard case .empty(2) = parse(Array("\r\n".utf8)).0 else {
            Issue.record("an empty line")
            return
        }
        guard case .invalid = parse(Array("GET \"a\r\n".utf8)).0 else {
            Issue.record("unbalanced quotes")
            return
        }
    }

    @Test("Escapes in quotes, in place")
    func escapes() {
        #expect(
            parse(Array(#"SET "\x41\n\"\\" 'it\'s \n' "" x"#.utf8) + [10]).1 == ["SET", "A\n\"\\", "it's \\n", "", "x"])
        for wrong in [#""a"b"#, #""a\""#, #"'a"#, #""\x4"#, #"""#] {
            guard case .invalid = parse(Array(wrong.utf8) + [10]).0 else {
                Issue.record("\(wrong)")
                continue
            }
        }
        #expect(parse(Array(#""\x4g" "\q""#.utf8) + [10]).1 == ["x4g", "q"])
    }

    @Test("What the parser says of limits has their numbers")
    func limits() {
        #expect("\(RequestParser.tooManyArguments)".contains(" \(Limits.argumentsMax) "))
        #expect("\(RequestParser.tooManyBytes)".contains(" \(Limits.commandBytesMax) "))
        #expect("\(RequestParser.lineTooLong)".contains(" \(Limits.inlineBytesMax) "))
    }

    @Test("Random bytes never do harm", arguments: 0..<8)
    func random(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let pieces = ["*", "$", "\r\n", "1", "9999999", "-", "GET", "\"", " ", "\0"].map { Array($0.utf8) }
        for _ in 0..<3000 {
            var text: [UInt8] = random.chance(50) ? [] : random.bytes(random.below(40))
            for _ in 0..<random.below(12) { text += pieces[random.below(pieces.count)] }
            if case .command(_, let bytes) = parse(text).0 { #expect(bytes <= text.count) }
        }
    }

    @Test(
        "Patterns",
        arguments: [
            ("*", "", true), ("*", "abc", true), ("a*c", "abbc", true), ("a*c", "abcd", false), ("?", "", false),
            ("a?c", "abc", true), ("[a-c]x", "bx", true), ("[^a-c]x", "bx", false), ("\\*", "*", true),
            ("\\*", "a", false), ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false), ("key-*", "key-1", true),
            ("abc", "ab", false), ("[", "a", false), ("**a", "ba", true),
        ])
    func patterns(pattern: String, text: String, expected: Bool) {
        let found = Array(pattern.utf8).withUnsafeBytes { p in
            Array(text.utf8).withUnsafeBytes { Pattern.matches(p, $0) }
        }
        #expect(found == expected)
    }

    @Test("Settings are read and wrong ones named")
    func settings() throws {
        let settings = try Settings(arguments: [
            "--data", "/x", "--socket=/s", "--allow", "64103:ledger", "--allow", "64110:images:ro", "--door",
            "images=/d:0600:5", "--sync", "interval", "--segment-size", "64M",
        ])
        #expect(settings.port == nil && settings.socket == "/s" && settings.segmentBytes == 64 << 20)
        #expect(settings.allowances.map(\.isReadOnly) == [false, true])
        #expect(settings.doors == [.init(namespace: "images", path: "/d", mode: 0o600, uid: 5)])
        #expect(try Settings(arguments: ["--data", "/x"]).port == 9900)
        for wrong in [
            [], ["--data"], ["--data", "x", "--sync", "often"], ["--data", "x", "--allow", "root:x"],
            ["--data", "x", "--door", "x"], ["--data", "x", "--port", "99999"], ["--data", "x", "--sokcet", "y"],
            ["--data", "x", "--segment-size", "1K"],
        ] {
            #expect(throws: SettingsError.self) { try Settings(arguments: wrong) }
        }
        let again = try Settings(arguments: settings.text.split(whereSeparator: \.isWhitespace).map(String.init))
        #expect(again.doors == settings.doors && again.allowances == settings.allowances)
    }

    @Test("Every command is found by its name in either case")
    func table() {
        let table = CommandTable()
        defer { table.free() }
        for command in Command.allCases where command != .unknown {
            for name in ["\(command.name)", "\(command.name)".lowercased()] {
                let found = Array(name.utf8).withUnsafeBytes { bytes in
                    bytes.baseAddress.map { table.find(Argument(base: $0, count: bytes.count)) }
                }
                #expect(found == command)
            }
        }
        let prefix = Array("GE".utf8).withUnsafeBytes { bytes in
            bytes.baseAddress.map { table.find(Argument(base: $0, count: 2)) }
        }
        #expect(prefix == .unknown)
    }
}
