import Bus
import Bytes
import CanonicalJSON
import Crypto
import Glibc
import Linux
import Records
import Synchronization
import Testing

@testable import Identity

/// A folder of its own for a test, removed at the end.
final class TestFolder: Sendable {
    let path: String
    init() throws {
        path = "/tmp/zero-identity-\(Hex.encode(Random.bytes(6)))"
        try File.makeDirectories(path, mode: 0o700)
    }
    deinit { try? File.removeTree(path) }
}

@Suite("The node's key")
struct NodeKeyTests {
    @Test("is made at the first start, 0600, and is the same at the next")
    func persistent() throws {
        let folder = try TestFolder()
        let path = folder.path + "/identity/node.key"
        let first = try NodeKey.load(path)
        #expect(try File.status(path).permissions == 0o600)
        #expect(try File.status(folder.path + "/identity").permissions == 0o700)
        #expect(try NodeKey.load(path).address == first.address)
    }

    @Test(
        "is never replaced when it cannot be read",
        arguments: ["", "{}", "{\"seed\":\"SAAA\",\"v\":1}", "not json", "{\"seed\":\"S\",\"v\":2}"])
    func damaged(content: String) throws {
        let folder = try TestFolder()
        let path = folder.path + "/node.key"
        try File.write(path, Array(content.utf8), mode: 0o600)
        #expect(throws: IdentityError.self) { try NodeKey.load(path) }
        #expect(try File.readText(path) == content)
    }

    @Test("is refused when others can read it, and errors never show it")
    func readable() throws {
        let folder = try TestFolder()
        let path = folder.path + "/node.key"
        let key = try NodeKey.load(path)
        try File.changeMode(path, 0o644)
        #expect(throws: IdentityError.self) { try NodeKey.load(path) }
        try File.changeMode(path, 0o600)
        let content = try File.readText(path)
        try File.write(path, Array(content.replacing("\"v\":1", with: "\"v\":[").utf8))
        do {
            _ = try NodeKey.load(path)
            Issue.record("loaded")
        } catch {
            #expect(!"\(error)".contains(key.signing.secretAddress.dropFirst(2).prefix(20)))
        }
    }
}

@Suite("What the node's key signs")
struct SigningPolicyTests {
    let key = SigningKey.generate()
    let ledger = SHA256.hash("genesis")
    var policy: SigningPolicy { SigningPolicy(node: key.publicKey) }

    func record(_ body: RecordBody, author: PublicKey? = nil, key other: PublicKey? = nil) -> JSONValue {
        RecordDraft(author: author ?? key.publicKey, key: other ?? key.publicKey, seq: 1, body: body).value
    }

    func liveness(of node: PublicKey) throws -> RecordBody {
        try RecordBody(kind: .liveness, ["node": .string(node.address), "state": "up"])
    }

    func code(
        _ purpose: String, _ document: JSONValue, ledger: String?, account: Account?
    ) -> String? {
        do {
            _ = try policy.message(purpose: purpose, document: document, ledger: ledger, account: account)
            return nil
        } catch {
            return error.code
        }
    }

    @Test("a record of the node itself, as the ledger verifies it")
    func own() throws {
        let document = record(try liveness(of: key.publicKey))
        let message = try policy.message(
            purpose: "record", document: document, ledger: ledger.hex, account: .provision)
        let draft = try RecordDraft(document)
        #expect(message == draft.signingMessage(ledger: ledger))
        let record = draft.signed([RecordSignature(by: key.publicKey, bytes: key.sign(message))])
        try record.verify(ledger: ledger)
    }

    @Test("not: other authors, other keys, other kinds, other callers, no ledger")
    func refused() throws {
        let stranger = SigningKey.generate().publicKey
        let body = try liveness(of: key.publicKey)
        let good = record(body)
        #expect(code("record", good, ledger: ledger.hex, account: .provision) == nil)
        #expect(code("record", good, ledger: ledger.hex, account: .ledger) == "DENIED")
        #expect(code("record", good, ledger: ledger.hex, account: .mount) == "DENIED")
        #expect(code("record", good, ledger: ledger.hex, account: nil) == "DENIED")
        #expect(code("record", good, ledger: nil, account: .provision) == "BADREQUEST")
        #expect(code("record", good, ledger: "ab", account: .provision) == "BADREQUEST")
        #expect(code("record", good, ledger: ledger.hex.uppercased(), account: .provision) == "BADREQUEST")
        #expect(code("record", record(body, author: stranger), ledger: ledger.hex, account: .provision) == "DENIED")
        #expect(code("record", record(body, key: stranger), ledger: ledger.hex, account: .provision) == "DENIED")
        let farm = record(.farm(FarmBody(name: "barn")))
        #expect(code("record", farm, ledger: ledger.hex, account: .provision) == "DENIED")
        #expect(code("checkpoint", good, ledger: ledger.hex, account: .ledger) == "BADREQUEST")
        #expect(code("transfer", good, ledger: ledger.hex, account: .root) == "BADREQUEST")
        #expect(code("record", "text", ledger: ledger.hex, account: .provision) == "BADREQUEST")
        var strange = good
        strange["extra"] = 1
        #expect(code("record", strange, ledger: ledger.hex, account: .provision) == "BADREQUEST")
    }

    @Test("a checkpoint, for the ledger only, of a ledger of which this node is a member")
    func checkpoint() throws {
        func document(members: [PublicKey]) -> JSONValue {
            Checkpoint(
                ledger: ledger, height: 1, time: 1, block: ledger, size: 1, logRoot: ledger, stateRoot: ledger,
                members: members
            ).unsignedValue
        }
        let good = document(members: [key.publicKey])
        let message = try policy.message(purpose: "checkpoint", document: good, ledger: nil, account: .ledger)
        #expect(message == (try Checkpoint(good)).signingMessage)
        #expect(code("checkpoint", good, ledger: nil, account: .provision) == "DENIED")
        #expect(code("checkpoint", good, ledger: SHA256.hash("x").hex, account: .ledger) == "BADREQUEST")
        let others = document(members: [SigningKey.generate().publicKey])
        #expect(code("checkpoint", others, ledger: nil, account: .ledger) == "DENIED")
    }
}

@Suite("Secrets")
struct SecretTests {
    @Test("the descriptor has the published form")
    func descriptor() {
        let bytes = SecretDescriptor.encode(["TOKEN": [], "A": Array("xy".utf8)])
        #expect(Hex.encode(bytes) == "02000000010000004102000000787905000000544f4b454e00000000")
    }

    @Test("the memfd can be read from the start and not be changed")
    func memory() throws {
        let raw = try SecretDescriptor.make(["a": [1]])
        let memory = Descriptor(raw)
        #expect(try memory.readAll(limit: 100, "memory") == SecretDescriptor.encode(["a": [1]]))
        #expect(throws: SystemError.self) { try memory.writeAll([9], "memory") }
        #expect(ftruncate(raw, 0) < 0)
    }

    @Test("travel over the bus: opened for this contract and name, with a descriptor; refused otherwise, silently")
    func overTheBus() async throws {
        let folder = try TestFolder()
        let key = try NodeKey(SigningKey.generate())
        let events = Mutex<[String]>([])
        let server = BusServer(service: "identity", socketPath: folder.path + "/identity.sock")
        IdentityService(key) { event in events.withLock { $0.append("\(event)") } }.register(on: server)
        try server.start()
        defer { server.stop() }
        let client = BusClient(server.socketPath)
        let contract = SHA256.hash("contract").hex
        let (box, content) = try SecretEnvelope.seal(value: Array("hunter2".utf8))
        let sealed = try SecretEnvelope.sealKey(
            content, name: "token", contract: contract, to: SealingPublicKey(from: key.signing.publicKey))
        func request(_ name: String, _ contract: String) -> JSONValue {
            [
                "contract": .string(contract), "workload": "web",
                "secrets": [
                    "\(name)": ["sealed": .string(Base64.encode(sealed)), "box": .string(Base64.encode(box))]
                ],
            ]
        }
        let reply = try await client.receive("IDENTITY.OPEN", request("token", contract))
        #expect(reply.body == ["names": ["token"]])
        let memory = Descriptor(try #require(reply.descriptor))
        #expect(
            try memory.readAll(limit: 1000, "memory") == SecretDescriptor.encode(["token": Array("hunter2".utf8)]))
        for (name, contract) in [("other", contract), ("token", SHA256.hash("y").hex), ("token", "short")] {
            await #expect(throws: BusError.self) {
                try await client.call("IDENTITY.OPEN", request(name, contract))
            }
        }
        let node = try await client.call("IDENTITY.NODE")
        #expect(node["node"]?.string == key.address)
        #expect(node["sealing"]?.string == Hex.encode(key.sealing.publicKey.bytes))
        let log = events.withLock { $0.joined(separator: "\n") }
        #expect(log.contains("token") && log.contains("opened") && log.contains("refused"))
        #expect(!log.contains("hunter2") && !log.contains(Base64.encode(content)))
    }
}
