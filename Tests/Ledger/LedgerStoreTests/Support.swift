import Crypto
import HTTP
import LedgerClient
import Linux
import Records
import Service
import Synchronization
import Testing

@testable import LedgerStore

/// A ledger in this process: an engine over a store in memory, behind a real HTTPS door.
final class TestLedger: Sendable {
    let storage: MemoryStorage
    let engine: LedgerEngine
    let genesis: Genesis
    let client: LedgerClient
    let endpoint: LedgerEndpoint
    let folder: String
    private let server: HTTPServer
    private let work: Task<Void, Never>
    private let failure: Failure

    private final class Failure: Sendable {
        let error = Mutex<(any Error)?>(nil)
    }

    /// What ended the engine.
    var error: (any Error)? { failure.error.withLock { $0 } }

    static func folder(_ name: String) throws -> String {
        let path = "/tmp/zero-ledger-tests/\(name)-\(Hex8.random())"
        try File.makeDirectories(path, mode: 0o700)
        return path
    }

    init(_ storage: MemoryStorage = MemoryStorage(), folder: String? = nil, signer: (any CheckpointSigner)? = nil)
        async throws
    {
        let member = try testKey("member")
        let folder = try folder ?? TestLedger.folder("ledger")
        let log = Log(service: "ledger", level: .error)
        let keySigner: any CheckpointSigner = signer ?? KeySigner(member)
        let setup = LedgerSetup(storage: storage, signer: keySigner, folder: folder, log: log, admission: .open)
        let genesis = try await setup.run()
        let engine = LedgerEngine(
            storage: storage, signer: keySigner, index: RecordIndex(path: folder + "/index.sqlite", log: log), log: log)
        let tls = try await runBlocking { try TLSIdentity.load(folder: folder) }
        server = try HTTPServer(.init(port: 0, tls: (tls.certificate, tls.key), bodyMax: 1 << 20)) { request in
            await LedgerService(engine: engine).answer(request)
        }
        let failure = Failure()
        work = Task {
            do { try await engine.run(genesis: genesis) } catch { failure.error.withLock { $0 = error } }
        }
        endpoint = LedgerEndpoint(url: "https://127.0.0.1:\(server.port)", pin: tls.pin, id: genesis.id)
        client = LedgerClient(endpoint)
        (self.storage, self.engine, self.genesis, self.folder, self.failure) = (
            storage, engine, genesis, folder, failure
        )
    }

    /// What it answers to paths.
    func answers(_ paths: [String]) async throws -> [String: [UInt8]] {
        let pinned = HTTPClient(pin: "sha256//" + endpoint.pin)
        var answers: [String: [UInt8]] = [:]
        for path in paths { answers[path] = try await pinned.get(endpoint.url + path).body }
        return answers
    }

    /// Waits until it serves, or cannot.
    func ready() async throws {
        for _ in 0..<500 {
            switch engine.phase {
            case .serving, .damaged: return
            default: try await Task.sleep(for: .milliseconds(10))
            }
        }
        Issue.record("the ledger does not start: \(engine.phase) \(String(describing: error))")
    }

    func stop() async {
        work.cancel()
        await work.value
        await runBlocking { [server] in server.stop() }
    }
}

enum Hex8 {
    static func random() -> String { SHA256.hash(Random.bytes(16)).hex.prefix(8).description }
}

/// A person whose records are made for a ledger that exists.
actor TestPerson {
    let owner: SigningKey
    let agent: SigningKey
    let ledger: Digest
    private var next: [PublicKey: Int64] = [:]

    init(_ name: String, _ ledger: Digest) throws {
        (owner, agent, self.ledger) = (try testKey(name), try testKey("\(name)'s laptop"), ledger)
    }

    func identity() -> Record {
        let keys = [
            AgentKey(key: owner.publicKey, roles: [.owner]),
            AgentKey(key: agent.publicKey, roles: [.deploy, .plan, .approve]),
        ]
        return record(owner, .identity(IdentityBody(keys: keys)))
    }

    func contract(_ name: String) throws -> Record { record(agent, .contract(try ContractMaker(name: name).body())) }

    func record(_ key: SigningKey, _ body: RecordBody) -> Record {
        let seq = next[key.publicKey, default: 0] + 1
        next[key.publicKey] = seq
        return RecordDraft(author: owner.publicKey, key: key.publicKey, seq: seq, body: body)
            .signed(by: key, ledger: ledger)
    }
}
