import CanonicalJSON
import Testing

@Suite("Canonical JSON") struct CanonicalJSONTests {
    @Test("one encoding: sorted keys, no space, minimal escapes")
    func encoding() throws {
        let value: JSONValue = ["b": [1, true, "x\n\u{1}\"\\é€😀/"], "a": ["z": -5, "A": 0]]
        let text = "{\"a\":{\"A\":0,\"z\":-5},\"b\":[1,true,\"x\\n\\u0001\\\"\\\\é€😀/\"]}"
        #expect(value.canonicalText == text)
        #expect(try JSONValue(canonical: Array(text.utf8)) == value)
    }

    @Test(
        "what is not canonical is refused",
        arguments: ["{ }", "{\"b\":1,\"a\":1}", "\"\\u0041\"", "\"\\/\"", "[1, 2]", "\"\\u000A\""])
    func notCanonical(text: String) throws {
        _ = try JSONValue(parsing: text)
        #expect(throws: JSONError.self) { try JSONValue(canonical: Array(text.utf8)) }
    }

    @Test(
        "what is outside the model is refused",
        arguments: [
            "null", "1.0", "1e3", "-0", "01", "9007199254740992", "{\"a\":1,\"a\":2}", "\"\u{1}\"", "\"\\ud800\"",
            "[1,]",
            "{\"é\":1}", "", "tru", "\"abc", "[[", "{\"a\" 1}", "1 2", "\"\\x\"",
        ])
    func refused(text: String) { #expect(throws: JSONError.self) { try JSONValue(parsing: text) } }

    @Test("invalid UTF-8 is refused")
    func invalidText() { #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xff, 0x22]) } }

    @Test("deep nesting is refused, not fatal")
    func deep() {
        let text = String(repeating: "[", count: 100_000)
        #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
    }

    @Test("errors name line and column")
    func position() {
        #expect(throws: JSONError.syntax("null is not allowed; leave the field out", line: 2, column: 7)) {
            try JSONValue(parsing: "{\n \"a\": null}")
        }
    }

    @Test("random bytes never crash the parser")
    func fuzz() {
        var random = SystemRandomNumberGenerator()
        let seedBytes = Array("{\"a\":[1,\"\\u00e9\",true],\"b\":{\"c\":-7}}".utf8)
        for _ in 0..<2_000 {
            var bytes = seedBytes
            for _ in 0..<3 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            if let value = try? JSONValue(parsing: bytes) {
                #expect((try? JSONValue(canonical: value.canonicalBytes)) == value)
            }
        }
    }

    @Test("an object reader refuses strangers and names the nearest field")
    func reader() throws {
        var reader = try ObjectReader(["naem": "x", "size": 3], "the volume")
        #expect(try reader.integer("size") == 3)
        #expect(try reader.optionalString("name") == nil)
        #expect(throws: JSONError.unknown(key: "naem", subject: "the volume", nearest: "name")) { try reader.finish() }
        #expect(throws: JSONError.missing(key: "at", subject: "the volume")) { try reader.string("at") }
        #expect(throws: JSONError.self) { try reader.string("size") }
    }
}
