import RESP
import Testing

@testable import ZeroDB

@Suite("Pipelines that are looked at ahead") struct LookAheadTests {
    private static func command(_ words: [[UInt8]]) -> [UInt8] {
        words.reduce(Array("*\(words.count)\r\n".utf8)) { $0 + Array("$\($1.count)\r\n".utf8) + $1 + [13, 10] }
    }

    /// A random pipeline answers as the same commands one at a time do: reads see the writes before them, whatever stands
    /// between.
    @Test("give the replies that the commands give alone", arguments: [1, 2, 3])
    func same(seed: UInt64) throws {
        let instance = try Instance(["--sync", "none"])
        let (one, many) = (instance.client(), instance.client())
        for name in ["one", "many"] { _ = try one.text("NSNEW", name) }
        _ = try one.text("SELECT", "one")
        _ = try many.text("SELECT", "many")
        var state = seed &* 0x9e37_79b9_7f4a_7c15
        func next(_ bound: UInt64) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % bound)
        }
        for _ in 0..<40 {
            let commands: [[[UInt8]]] = (0..<next(60) + 1).map { _ in
                let key = Array("k\(next(30))".utf8) + [UInt8](repeating: 0, count: next(20) == 0 ? 250 : 0)
                switch next(12) {
                case 0...4: return [Array((next(2) == 0 ? "GET" : "get").utf8), key]
                case 5...8: return [Array("SET".utf8), key, [UInt8](repeating: UInt8(next(256)), count: next(3000))]
                case 9: return [Array("DEL".utf8), key]
                case 10: return [Array("SET".utf8), key, [], Array("IFABSENT".utf8)]
                default: return [Array(["PING", "GET", "MGET", "DBSIZE"][next(4)].utf8)]
                }
            }
            let expected = try commands.map { try one.call($0) }
            #expect(try many.pipeline(commands) == expected)
        }
    }

    @Test("what looks like a GET or SET and is none is left to the parser")
    func odd() throws {
        let instance = try Instance(["--sync", "none"])
        let good = Self.command([Array("SET".utf8), [97], [98]])
        func after(_ text: String) -> String { instance.raw(good + good + Array(text.utf8), milliseconds: 150) }
        for text in [
            "*2\r\n$3\r\nGET\r\n$", "*2\r\n$3\r\nGET\r\n$5\r\nab", "*2\r\n$3\r\nGET\r\n$1\r\n",
            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nab", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n", "*2\r\n$3\r\nGE",
            "*9\r\n$3\r\nSET\r\n$1\r\na",
        ] {
            #expect(after(text) == "+OK\r\n+OK\r\n", "\(text)")
        }
        #expect(after("*2\r\n$3\r\nGET\r\n$x\r\n").contains("-ERR Protocol error"))
        #expect(after("*2\r\n$3\r\nGET\r\n$-1\r\nabcdefgh").contains("-ERR Protocol error"))
        #expect(after("*2\r\n$3\r\nGET\r\n$99999999999999999999\r\n").contains("-ERR Protocol error"))
        #expect(
            after("*2\r\n$3\r\nGET\r\n$300\r\n" + String(repeating: "x", count: 300) + "\r\n").hasPrefix(
                "+OK\r\n+OK\r\n"))
        #expect(after("*1\r\n$3\r\nGET\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n").hasSuffix("$1\r\nb\r\n"))
    }
}
