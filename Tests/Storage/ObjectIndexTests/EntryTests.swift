import Bytes
import ObjectIndex
import Objects
import Testing

@Suite struct EntryTests {
    /// Rubbish at random places: refused, or an entry that has exactly these bytes.
    @Test("Damaged entries are refused or read as what they say", arguments: 0..<8)
    func mutations(seed: UInt64) throws {
        var dice = Dice(seed)
        var refused = 0, accepted = 0
        for (name, operation) in Vectors.operations {
            let good = try Entry.encode([operation])
            for _ in 0..<400 {
                var bytes = good
                for _ in 0...dice.below(3) {
                    switch dice.below(5) {
                    case 0 where !bytes.isEmpty: bytes[dice.below(bytes.count)] = UInt8(dice.below(256))
                    case 1 where !bytes.isEmpty: bytes[dice.below(bytes.count)] ^= 1 << UInt8(dice.below(8))
                    case 2: bytes.insert(UInt8(dice.below(256)), at: dice.below(bytes.count + 1))
                    case 3 where !bytes.isEmpty: bytes.remove(at: dice.below(bytes.count))
                    default: bytes = Array(bytes.prefix(dice.below(bytes.count + 1)))
                    }
                }
                do {
                    let operations = try Entry.decode(bytes)
                    accepted += 1
                    #expect(try Entry.encode(operations) == bytes, "\(name)")
                } catch { refused += 1 }
            }
        }
        #expect(refused > 1000 && accepted > 100)
    }

    @Test("Every end that comes too early is refused, and every byte too many")
    func truncated() throws {
        for (name, operation) in Vectors.operations {
            let good = try Entry.encode([operation])
            for count in 0..<good.count {
                #expect(throws: OperationError.self, "\(name)") { try Entry.decode(Array(good.prefix(count))) }
            }
            #expect(throws: OperationError.bytes(.trailing(offset: good.count, count: 1)), "\(name)") {
                try Entry.decode(good + [0])
            }
            #expect(try operation.encodedCount() == good.count - 2)
        }
    }

    @Test("Unknown versions and operations are named; huge counts cost nothing")
    func unknown() {
        #expect(throws: OperationError.unknownVersion(2)) { try Entry.decode([2, 0]) }
        for tag in [UInt8(0), 28, 127, 255] {
            #expect(throws: OperationError.unknownTag(tag, offset: 2)) { try Entry.decode([1, 1, tag]) }
        }
        // 65536 operations in two bytes.
        #expect(throws: OperationError.bytes(.truncated(offset: 1, wanted: 65536))) {
            try Entry.decode([1, 0x80, 0x80, 0x04, 2, 0])
        }
        #expect(throws: OperationError.outOfRange("operations", offset: 1)) {
            try Entry.decode([1, 0x81, 0x80, 0x04, 2, 0])
        }
        // A name of 1025 bytes; one that is not UTF-8.
        #expect(throws: OperationError.bytes(.tooLong(offset: 3, length: 1025, limit: 1024))) {
            try Entry.decode([1, 1, 2, 0x81, 0x08] + [UInt8](repeating: 97, count: 1025))
        }
        #expect(throws: OperationError.badText(offset: 3)) { try Entry.decode([1, 1, 2, 2, 0xc3, 0x28]) }
        // A number in a longer form than it needs.
        #expect(throws: OperationError.bytes(.badVarint(offset: 3))) { try Entry.decode([1, 1, 13, 0x81, 0]) }
    }

    @Test("Names of a map stand in one order, each once")
    func order() throws {
        let head: [UInt8] = [1, 1, 9, 1, 98, 1, 97, 0]
        let a: [UInt8] = [1, 97, 0], b: [UInt8] = [1, 98, 0]
        #expect(try Entry.decode(head + [2] + a + b).count == 1)
        #expect(throws: OperationError.self) { try Entry.decode(head + [2] + b + a) }
        #expect(throws: OperationError.self) { try Entry.decode(head + [2] + a + a) }
        // The same letter, composed and not: one name to a String.
        let composed: [UInt8] = [2, 0xc3, 0xa9, 0], apart: [UInt8] = [3, 0x65, 0xcc, 0x81, 0]
        #expect(throws: OperationError.self) { try Entry.decode(head + [2] + apart + composed) }
    }

    @Test("What a reader refuses is not written")
    func limits() {
        let long = String(repeating: "x", count: 1025)
        for operation: Operation in [
            .bucketDelete(long), .uploadAbort(UInt64.max), .objectRemove(Vectors.name(.number(0))),
            .bucketCreate(Bucket(name: "a", owner: "o", created: -1)),
            .partPut(PartPut(upload: 1, number: 10001, segments: [], etag: "", time: 1)),
            .backendSet(Fixture.backend(Stripe.nowhere)),
            .objectAttributes(Vectors.name(.null), ["a": String(repeating: "x", count: 65537)]),
            .stripeAdd(
                Stripe(
                    id: StripeID(epoch: 1, counter: 1), k: 2, m: 1, length: 1, shardLength: 1, created: 1,
                    shards: [1, 2],
                    roots: [], chunks: [])),
        ] {
            #expect(throws: OperationError.self, "\(operation.name)") { try Entry.encode([operation]) }
            #expect(throws: OperationError.self, "\(operation.name)") { try operation.encodedCount() }
        }
    }
}
