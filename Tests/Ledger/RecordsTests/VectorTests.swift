import Bytes
import CanonicalJSON
import Crypto
import Records
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// The vectors of Documentation/formats/vectors/ledger.json, made by another implementation.
enum Vectors {
    static func load(_ file: String = #filePath) throws -> JSONValue {
        let root = file.components(before: "/Tests/")
        guard let stream = fopen(root + "/Documentation/formats/vectors/ledger.json", "r") else { return [:] }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { bytes += buffer[..<count] }
        return try JSONValue(parsing: bytes)
    }
}

extension String {
    fileprivate func components(before part: String) -> String {
        firstRange(of: part).map { String(self[..<$0.lowerBound]) } ?? self
    }
}

@Suite struct VectorTests {
    @Test func recordsAgreeWithAnotherImplementation() throws {
        let vectors = try Vectors.load()
        let genesis = try Genesis(canonical: Array(try #require(vectors["genesis"]?["document"]?.string).utf8))
        #expect(genesis.id.hex == vectors["genesis"]?["ledger"]?.string)
        #expect(genesis.rules == .local && Genesis(members: genesis.members, nonce: genesis.nonce) == genesis)
        for (name, key) in try #require(vectors["keys"]?.object) {
            let seed = try #require(key["seed"]?.string.flatMap { Hex.decode($0) })
            #expect(try SigningKey(seed: seed).publicKey.address == key["address"]?.string, "\(name)")
        }
        let records = try #require(vectors["records"]?.array)
        #expect(records.count == 5)
        for vector in records {
            let bytes = Array(try #require(vector["canonical"]?.string).utf8)
            let record = try Record(canonical: bytes)
            #expect(record.id.hex == vector["id"]?.string)
            #expect(
                record.draft.signingMessage(ledger: genesis.id) == Array(try #require(vector["message"]?.string).utf8))
            try record.verify(ledger: genesis.id)
            // Ed25519 is deterministic: the same key makes the same bytes.
            let seed = try #require(vectors["keys"]?["alice"]?["seed"]?.string.flatMap { Hex.decode($0) })
            #expect(record.draft.signed(by: try SigningKey(seed: seed), ledger: genesis.id).canonicalBytes == bytes)
        }
    }

    @Test func checkpointsAndBlocksAgreeWithAnotherImplementation() throws {
        let vectors = try Vectors.load()
        let genesis = try Genesis(canonical: Array(try #require(vectors["genesis"]?["document"]?.string).utf8))
        for vector in try #require(vectors["blocks"]?.array) {
            let bytes = Array(try #require(vector["canonical"]?.string).utf8)
            let block = try Block(canonical: bytes)
            #expect(block.hash.hex == vector["hash"]?.string && block.canonicalBytes == bytes)
            let text = try #require(vector["checkpoint"]?.string)
            let checkpoint = try Checkpoint(JSONValue(canonical: Array(text.utf8)))
            #expect(checkpoint.block == block.hash && checkpoint.value.canonicalText == text)
            try checkpoint.verify(genesis)
            #expect(throws: CheckpointError.self) { try checkpoint.signed([]).verify(genesis) }
            let twisted = Checkpoint(
                ledger: checkpoint.ledger, height: checkpoint.height, time: checkpoint.time + 1,
                block: checkpoint.block,
                size: checkpoint.size, logRoot: checkpoint.logRoot, stateRoot: checkpoint.stateRoot,
                members: checkpoint.members, signatures: checkpoint.signatures)
            #expect(throws: CheckpointError.badSignature(genesis.members[0])) { try twisted.verify(genesis) }
        }
    }
}
