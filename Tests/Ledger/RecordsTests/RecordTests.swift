import Bytes
import CanonicalJSON
import Crypto
import Records
import Testing

private func key(_ name: String) throws -> SigningKey { try SigningKey(seed: SHA256.hash("key of \(name)").bytes) }
private let ledger = SHA256.hash("a ledger")

@Suite struct RecordTests {
    private func sample(_ body: RecordBody? = nil, seq: Int64 = 7) throws -> RecordDraft {
        let author = try key("alice").publicKey
        let farm = RecordBody.farm(FarmBody(name: "attic", country: "BE"))
        return RecordDraft(author: author, key: try key("laptop").publicKey, seq: seq, body: body ?? farm)
    }

    @Test func aRecordSurvivesItsBytes() throws {
        let record = try sample().signed(by: key("laptop"), ledger: ledger)
        let again = try Record(canonical: record.canonicalBytes)
        #expect(again == record && again.id == record.id && again.body == record.body && again.seq == 7)
        #expect(again.draft == (try sample()))
        #expect(again.value.canonicalBytes == record.canonicalBytes)
        try again.verify(ledger: ledger)
        #expect(record.id == SHA256.hash(try sample().canonicalBytes))
    }

    @Test func signaturesAreOfOneKindAndOneLedger() throws {
        let laptop = try key("laptop")
        let record = try sample().signed(by: laptop, ledger: ledger)
        #expect(throws: RecordError.badSignature(by: laptop.publicKey)) {
            try record.verify(ledger: SHA256.hash("another"))
        }
        // The same bytes under another kind are another message.
        let message = SigningMessage.bytes(kind: "node", ledger: ledger, document: try sample().canonicalBytes)
        let crossed = try sample().signed([RecordSignature(by: laptop.publicKey, bytes: laptop.sign(message))])
        #expect(throws: RecordError.badSignature(by: laptop.publicKey)) { try crossed.verify(ledger: ledger) }
        let mallory = try key("mallory")
        let other = try sample().signed(by: mallory, ledger: ledger)
        #expect(throws: RecordError.unsigned(by: laptop.publicKey)) { try other.verify(ledger: ledger) }
    }

    @Test func moreSignaturesAreSorted() throws {
        let keys = try ["laptop", "one", "two", "three"].map(key)
        let message = try sample().signingMessage(ledger: ledger)
        let signatures = keys.map { RecordSignature(by: $0.publicKey, bytes: $0.sign(message)) }
        let record = try sample().signed(signatures.reversed())
        #expect(record == (try sample().signed(signatures)))
        #expect(record.signatures.map(\.by.address) == record.signatures.map(\.by.address).sorted())
        try record.verify(ledger: ledger)
        var value = record.value
        let list = try #require(value["signatures"]?.array)
        for wrong in [Array(list.reversed()), list + [list[3]], [list[0], list[0]]] {
            value["signatures"] = .array(wrong)
            #expect(throws: RecordError.self) { try Record(value) }
        }
        let added = try sample().signed([signatures[0]]).adding(signatures[1]).adding(signatures[1])
        #expect(added.signatures.count == 2)
    }

    @Test func everyByteCounts() throws {
        let record = try sample().signed(by: key("laptop"), ledger: ledger)
        for index in record.canonicalBytes.indices {
            for bit: UInt8 in [1, 0x20, 0x80] {
                var bytes = record.canonicalBytes
                bytes[index] ^= bit
                guard let changed = try? Record(canonical: bytes) else { continue }
                #expect(throws: RecordError.self, "byte \(index)") { try changed.verify(ledger: ledger) }
            }
        }
    }

    @Test func bytesThatAreNotCanonicalAreRefused() throws {
        let record = try sample().signed(by: key("laptop"), ledger: ledger)
        let text = String(decoding: record.canonicalBytes, as: UTF8.self)
        for wrong in [
            " " + text, text + "\n", text.replacing(":7,", with: ": 7,"), text.replacing(":7,", with: ":7.0,"),
        ] {
            let error = #expect(throws: RecordError.self) { try Record(canonical: Array(wrong.utf8)) }
            #expect(error?.code == "not-canonical")
        }
        let large = [UInt8](repeating: 32, count: RecordLimits.recordBytes + 1)
        #expect(throws: RecordError.tooLarge(bytes: large.count, limit: RecordLimits.recordBytes)) {
            try Record(canonical: large)
        }
    }

    @Test func unknownKindsAndFieldsAreRefused() throws {
        let good = try sample().signed(by: key("laptop"), ledger: ledger).value
        func error(_ change: (inout JSONValue) -> Void) -> RecordError? {
            var value = good
            change(&value)
            do {
                _ = try Record(value)
                return nil
            } catch { return error }
        }
        #expect(error { _ in } == nil)
        #expect(error { $0["kind"] = "farn" } == .unknownKind("farn", nearest: "farm"))
        for kind in RecordKind.notInForce { #expect(error { $0["kind"] = .string(kind) } == .notInForce(kind)) }
        #expect(error { $0["v"] = 2 } == .version(2))
        for field in ["author", "body", "key", "kind", "seq", "signatures", "v"] {
            #expect(error { $0[field] = nil }?.code == "schema", "\(field)")
            #expect(error { $0[field] = true }?.code == "schema", "\(field)")
        }
        #expect(error { $0["more"] = 1 }?.subject == "more")
        #expect(error { $0["seq"] = 0 }?.subject == "seq")
        #expect(error { $0["seq"] = -1 }?.subject == "seq")
        #expect(
            error { value in
                var body = value["body"]
                body?["contry"] = "BE"
                value["body"] = body
            }?.description == "a farm record has an unknown field “contry”, did you mean “country”?")
    }

    @Test func kindsInForceAndNotAreAllOfTheFormat() {
        let all = [
            "identity", "farm", "node", "member", "image", "recipe", "contract", "approval", "cancel", "claim",
            "placement", "netkey", "access", "name", "result", "liveness", "usage", "transfer", "price", "release",
            "upgrade",
        ]
        #expect(Set(RecordKind.allCases.map(\.rawValue)).union(RecordKind.notInForce) == Set(all))
        #expect(RecordKind.notInForce.isDisjoint(with: RecordKind.allCases.map(\.rawValue)))
    }
}
