import CanonicalJSON
import Crypto
import Glibc
import LedgerClient
import LedgerState
import Linux
import Merkle
import Records
import Synchronization
import Testing

/// The real programs in a folder of their own, killed at any moment.
private final class Programs: Sendable {
    let folder: String
    let port: Int
    private let pids = Mutex<[String: Int32]>([:])

    /// Where `swift build` put programs: beside these tests.
    static let built: String? = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, 4095)
        var candidates: [String] = []
        if count > 0 {
            let path = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            candidates.append(File.parent(path))
        }
        // The test runner is not in the build folder; its argument names the bundle.
        candidates += CommandLine.arguments.map { File.parent($0) }
        return candidates.first { folder in
            ["zero-db", "zero-identity", "zero-ledger"].allSatisfy { File.exists(folder + "/" + $0) }
        }
    }()

    init() throws {
        folder = try TestLedger.folder("crash")
        for name in ["db", "identity", "ledger"] { try File.makeDirectories("\(folder)/state/\(name)", mode: 0o700) }
        try File.makeDirectories(folder + "/run")
        port = Int.random(in: 20_000..<30_000)
    }

    private func arguments(_ name: String) -> String {
        let folders = "--state \(folder)/state --run \(folder)/run"
        switch name {
        case "db": return "--data \(folder)/state/db --socket \(folder)/run/db.sock"
        case "ledger": return "\(folders) --listen 127.0.0.1:\(port)"
        default: return folders
        }
    }

    func start(_ name: String) async throws {
        let bin = Programs.built ?? ""
        let program = "\(bin)/zero-\(name) \(arguments(name))"
        let script = "echo $$ > \(folder)/\(name).pid; exec \(program) >> \(folder)/\(name).log 2>&1"
        try? File.remove("\(folder)/\(name).pid")
        startThread { _ = try? Subprocess.run("/bin/sh", ["-c", script], timeout: 600) }
        for _ in 0..<200 {
            if let text = try? File.readText("\(folder)/\(name).pid"), let pid = Int32(text.dropLast()) {
                pids.withLock { $0[name] = pid }
                return
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("\(name) does not start")
    }

    func kill(_ name: String, _ signal: Int32 = SIGKILL) {
        if let pid = pids.withLock({ $0.removeValue(forKey: name) }) { Glibc.kill(pid, signal) }
    }

    func endpoint() async throws -> LedgerEndpoint {
        for _ in 0..<500 {
            if let bytes = try? File.read(folder + "/run/ledger.json") {
                return try LedgerEndpoint(JSONValue(parsing: bytes))
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw LedgerError(LedgerError.unreachable, folder, "no ledger.json")
    }
}

/// Records that go in, and what was answered.
private final class Load: Sendable {
    private let client: LedgerClient
    private let done = Atomic<Bool>(false)
    private let answered = Mutex<[Digest: RecordReceipt]>([:])

    init(_ client: LedgerClient) { self.client = client }

    var isDone: Bool { done.load(ordering: .relaxed) }
    var receipts: [Digest: RecordReceipt] { answered.withLock { $0 } }
    func finish() { done.store(true, ordering: .relaxed) }

    func submit(_ record: Record) async throws {
        let receipt = try await client.submit(record, deadline: .seconds(60))
        answered.withLock { $0[record.id] = receipt }
    }
}

@Suite struct CrashTests {
    @Test(
        .enabled(if: Programs.built != nil, "zero-db, zero-identity and zero-ledger are not built beside the tests"),
        .timeLimit(.minutes(3)))
    func bothAreKilledUnderLoadAndNothingIsLostOrDoubled() async throws {
        let programs = try Programs()
        for name in ["db", "identity", "ledger"] { try await programs.start(name) }
        let client = LedgerClient(try await programs.endpoint())
        let load = Load(client)
        let follower = LedgerFollower(client, folder: programs.folder + "/follower")
        let following = Task { await follower.run() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<6 {
                let person = try TestPerson("person \(number)", client.id)
                group.addTask {
                    try await load.submit(await person.identity())
                    for count in 0... where !load.isDone {
                        try await load.submit(await person.record(person.owner, .farm(FarmBody(name: "farm \(count)"))))
                        if load.isDone { break }
                    }
                }
            }
            for round in 0..<12 {
                try await Task.sleep(for: .milliseconds(700 + 53 * round))
                if round % 3 != 0 { programs.kill("db") }
                if round % 3 != 1 { programs.kill("ledger") }
                try await Task.sleep(for: .milliseconds(round * 15))
                if round % 3 != 0 { try await programs.start("db") }
                if round % 3 != 1 { try await programs.start("ledger") }
            }
            try await Task.sleep(for: .milliseconds(500))
            load.finish()
            try await group.waitForAll()
        }
        let wanted = load.receipts
        let checkpoint = try await client.checkpoint()
        #expect(checkpoint.size == Int64(wanted.count))
        var chain = LedgerChain(genesis: try await client.genesis())
        var found: [Digest: RecordReceipt] = [:]
        while chain.height < checkpoint.height {
            for signed in try await client.blocks(from: chain.height + 1) {
                try chain.replay(signed.block)
                try chain.check(signed.checkpoint)
                for (index, record) in signed.block.records.enumerated() {
                    let receipt = RecordReceipt(id: record.id, height: signed.block.height, index: Int64(index))
                    #expect(found.updateValue(receipt, forKey: record.id) == nil)
                }
            }
        }
        #expect(found == wanted)
        #expect(chain.checkpoint.unsignedValue == checkpoint.unsignedValue)
        let state = await follower.state(at: checkpoint.height, deadline: .seconds(20))
        #expect(state?.root == checkpoint.stateRoot)
        following.cancel()
        await following.value
        print("crash test: \(wanted.count) records in \(checkpoint.height) blocks")
        for name in ["ledger", "identity", "db"] { programs.kill(name, SIGTERM) }
    }
}
