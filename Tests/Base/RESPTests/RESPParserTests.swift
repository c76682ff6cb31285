import Linux
import Testing

@testable import RESP

private func parseAll(
    _ text: String, inline: Bool = false, limits: RESPParser.Limits = .init()
) throws(RESPError) -> [RESPValue] {
    var parser = RESPParser(limits: limits, allowsInline: inline)
    parser.feed(Array(text.utf8))
    var values: [RESPValue] = []
    while let value = try parser.next() { values.append(value) }
    return values
}

private let samples: [(String, RESPValue)] = [
    ("+OK\r\n", .simple("OK")),
    ("-ERR no\r\n", .error("ERR no")),
    (":-42\r\n", .integer(-42)),
    ("$3\r\na\r\n\r\n", .bulk([97, 13, 10])),
    ("$0\r\n\r\n", .bulk([])),
    ("$-1\r\n", .null),
    ("*-1\r\n", .null),
    ("_\r\n", .null),
    ("*0\r\n", .array([])),
    ("*2\r\n$1\r\na\r\n*1\r\n:1\r\n", .array([.text("a"), .array([.integer(1)])])),
    ("%1\r\n+k\r\n*0\r\n", .map([(.simple("k"), .array([]))])),
    (">2\r\n+a\r\n+b\r\n", .push([.simple("a"), .simple("b")])),
    ("~1\r\n:1\r\n", .array([.integer(1)])),
    ("#t\r\n", .bool(true)),
    (",1.5\r\n", .double(1.5)),
    (",inf\r\n", .double(.infinity)),
    ("(3492890328409238509324850943850943825024385\r\n", .simple("3492890328409238509324850943850943825024385")),
    ("!5\r\nERR a\r\n", .error("ERR a")),
    ("=5\r\ntxt:a\r\n", .text("a")),
    ("|1\r\n+ttl\r\n:3\r\n*1\r\n:2\r\n", .array([.integer(2)])),
    ("*2\r\n|1\r\n+x\r\n:3\r\n:1\r\n|0\r\n:2\r\n", .array([.integer(1), .integer(2)])),
]

@Test(arguments: samples) func valueIsParsedWholeAndInPieces(sample: (String, RESPValue)) throws {
    let (text, expected) = sample
    #expect(try parseAll(text) == [expected])
    #expect(try parseAll(text + text) == [expected, expected])
    var parser = RESPParser()
    let bytes = Array(text.utf8)
    for (index, byte) in bytes.enumerated() {
        #expect(try parser.next() == nil, "byte \(index)")
        parser.feed([byte])
    }
    #expect(try parser.next() == expected)
    #expect(parser.isIdle)
}

@Test func inlineCommandsAndTheirQuotes() throws {
    #expect(try parseAll("\r\n\r\nPING\r\n", inline: true) == [.array([.text("PING")])])
    #expect(
        try parseAll("SET  a \"b \\n\\\"c\" 'd\\'e\\n'\n", inline: true) == [
            .array([.text("SET"), .text("a"), .text("b \n\"c"), .text("d'e\\n")])
        ])
    #expect(throws: RESPError.unbalancedQuotes) { try parseAll("SET \"a\r\n", inline: true) }
    #expect(throws: RESPError.unknownType(80)) { try parseAll("PING\r\n") }
}

private let refused: [(String, RESPError)] = [
    ("*9999999\r\n", .tooManyItems(9_999_999)),
    ("%40000\r\n", .tooManyItems(80_000)),
    ("$99999999999\r\n", .bulkTooLong(99_999_999_999)),
    ("$-2\r\n", .badNumber),
    ("*-2\r\n", .badNumber),
    (":12x\r\n", .badNumber),
    (":99999999999999999999\r\n", .badNumber),
    ("$1\r\nabc", .badBulkEnd),
    ("+OK\n", .badLine),
    ("#x\r\n", .badNumber),
    (",x\r\n", .badNumber),
    (String(repeating: "*1\r\n", count: 17), .tooDeep),
    ("+" + String(repeating: "x", count: 70_000), .badLine),
]

@Test(arguments: refused) func malformedBytesAreRefusedForGood(sample: (String, RESPError)) {
    var parser = RESPParser()
    parser.feed(Array(sample.0.utf8))
    #expect(throws: sample.1) { while try parser.next() != nil {} }
    parser.feed(Array("+OK\r\n".utf8))
    #expect(throws: sample.1) { try parser.next() }
}

@Test func oneMessageIsBounded() {
    let limits = RESPParser.Limits(bulkMax: 1000, messageMax: 2000)
    let one = "$900\r\n" + String(repeating: "x", count: 900) + "\r\n"
    #expect(throws: RESPError.messageTooLong) { try parseAll("*3\r\n" + one + one + one, limits: limits) }
    #expect((try? parseAll("*2\r\n" + one + one + "*2\r\n" + one + one, limits: limits))?.count == 2)
}

@Test func writtenValuesComeBack() throws {
    for (_, value) in samples {
        var writer = RESPWriter(.three)
        writer.value(value)
        var parser = RESPParser()
        parser.feed(writer.take())
        #expect(try parser.next() == value)
    }
    var writer = RESPWriter(.two)
    writer.value(.map([(.text("a"), .bool(true))]))
    writer.value(.null)
    writer.error("ERR", "a\r\nb")
    #expect(String(decoding: writer.bytes, as: UTF8.self) == "*2\r\n$1\r\na\r\n:1\r\n$-1\r\n-ERR a  b\r\n")
}

/// Any bytes in any pieces either parse the same as in one piece or fail the same; nothing traps.
@Test func anyBytesAreSurvived() async { await runBlocking(tryAnyBytes) }

private func tryAnyBytes() {
    var seed: UInt64 = 0x9E37_79B9_7F4A_7C15
    func random(_ bound: Int) -> Int {
        seed ^= seed << 13
        seed ^= seed >> 7
        seed ^= seed << 17
        return Int(seed % UInt64(bound))
    }
    func outcome(_ pieces: [[UInt8]], inline: Bool) -> ([RESPValue], RESPError?) {
        let limits = RESPParser.Limits(itemsMax: 20, bulkMax: 50, depthMax: 4, lineMax: 40, messageMax: 200)
        var parser = RESPParser(limits: limits, allowsInline: inline)
        var values: [RESPValue] = []
        do throws(RESPError) {
            for piece in pieces {
                parser.feed(piece)
                while let value = try parser.next() { values.append(value) }
            }
            return (values, nil)
        } catch {
            return (values, error)
        }
    }
    let alphabet = Array("+-:$*_#,(!=%~>|0123456789 \r\n\r\n\r\na\"'\\".utf8) + [0, 255]
    for round in 0..<30_000 {
        var bytes: [UInt8] = []
        if round % 2 == 0 {
            for _ in 0..<random(80) { bytes.append(alphabet[random(alphabet.count)]) }
        } else {
            for _ in 0..<3 { bytes += Array(samples[random(samples.count)].0.utf8) }
            if !bytes.isEmpty { bytes[random(bytes.count)] = alphabet[random(alphabet.count)] }
        }
        let whole = outcome([bytes], inline: round % 3 == 0)
        let cut = outcome(bytes.map { [$0] }, inline: round % 3 == 0)
        #expect(whole.0 == cut.0, "\(bytes)")
        #expect((whole.1 == nil) == (cut.1 == nil), "\(bytes)")
    }
}
