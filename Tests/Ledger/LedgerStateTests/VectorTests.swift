import CanonicalJSON
import Crypto
import Glibc
import LedgerState
import Merkle
import Records
import Testing

@Suite struct VectorTests {
    private func vectors(_ file: String = #filePath) throws -> JSONValue {
        let end = try #require(file.firstRange(of: "/Tests/"))
        let path = file[..<end.lowerBound] + "/Documentation/formats/vectors/ledger.json"
        let stream = try #require(fopen(String(path), "r"))
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { bytes += buffer[..<count] }
        return try JSONValue(parsing: bytes)
    }

    /// Blocks, roots and proofs that a second implementation made out of the documents alone.
    @Test func replayAgreesWithAnotherImplementation() throws {
        let vectors = try vectors()
        let genesis = try Genesis(canonical: Array(try #require(vectors["genesis"]?["document"]?.string).utf8))
        var chain = LedgerChain(genesis: genesis)
        for vector in try #require(vectors["blocks"]?.array) {
            try chain.replay(Block(canonical: Array(try #require(vector["canonical"]?.string).utf8)))
            let checkpoint = try Checkpoint(JSONValue(parsing: try #require(vector["checkpoint"]?.string)))
            try chain.check(checkpoint)
        }
        #expect(chain.height == 3)
        for vector in try #require(vectors["state"]?.array) {
            let key = try #require(vector["key"]?.string)
            #expect(chain.state.entry(of: key)?.value.canonicalText ?? "" == vector["value"]?.string)
            #expect(chain.state.proof(of: key).value.canonicalText == vector["proof"]?.string)
        }
    }
}
