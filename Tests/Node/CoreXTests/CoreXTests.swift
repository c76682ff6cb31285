import CLinux
import CanonicalJSON
import Crypto
import Glibc
import Linux
import Service
import Shim
import Synchronization
import Testing

@testable import CoreX

/// A real Core-X beside a real container.
@Suite(.serialized, .enabled(if: World.isPossible, "\(World.why)"))
struct CoreXTests {
    private let identity = SigningKey.generate()
    private let ledger = SHA256.hash("ledger")
    private let contract = SHA256.hash("contract")
    private let strange = SigningKey.generate().publicKey.address
    private static let port: UInt16 = 17_700

    private func inWorld(_ script: String, _ body: (World, String, CoreXClient) async throws -> Void) async throws {
        let world = try World()
        defer { world.end() }
        let short = String(contract.hex.prefix(16))
        let id = "\(short)-web"
        try world.order(world.spec(id, script))
        try world.start(id)
        #expect(world.isRunning(id))
        let access: JSONValue = [
            "contract": .string(contract.hex), "ledger": .string(ledger.hex),
            "author": .string(identity.publicKey.address), "link": "127.0.0.1",
            "keys": [["key": .string(identity.publicKey.address), "roles": ["owner"]]],
            "workloads": ["web": ["id": .string(id)]],
        ]
        try File.makeDirectories("\(world.run)/compute/access")
        try File.write("\(world.run)/compute/access/\(short).json", access.canonicalBytes)
        let server = try CoreXServer(
            state: world.state, run: world.run, contract: short, listen: "127.0.0.1:\(Self.port)",
            log: Log(service: "corex", level: .error))
        defer { server.stop() }
        try await body(world, id, client(identity))
    }

    private func client(_ key: SigningKey) -> CoreXClient {
        CoreXClient(
            address: "127.0.0.1", port: Self.port, contract: contract, ledger: ledger, identity: identity.publicKey,
            key: key)
    }

    @Test("logs: the last ones, then what comes")
    func logs() async throws {
        try await inWorld("n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done") { world, id, client in
            #expect(world.until { world.log(id).count > 12 })
            let last = Mutex<[String]>([])
            try await client.logs("web", tail: 5) { record in
                last.withLock { $0.append(String(decoding: record.text, as: UTF8.self)) }
                return true
            }
            #expect(last.withLock { $0 }.count == 5)
            let followed = Mutex<[Int]>([])
            try await client.logs("web", tail: 0, follow: true) { record in
                let number = String(decoding: record.text, as: UTF8.self).split(separator: " ").last.flatMap { Int($0) }
                return followed.withLock {
                    $0.append(number ?? -1); return $0.count < 20
                }
            }
            let numbers = followed.withLock { $0 }
            #expect(numbers.count == 20 && numbers == Array(numbers[0]..<numbers[0] + 20))
            let listed = try await client.workloads()
            #expect(listed.map(\.name) == ["web"] && listed[0].state == "running" && listed[0].ready)
        }
    }

    @Test("exec: both directions, status, a terminal with its size, a client that goes")
    func execs() async throws {
        try await inWorld("while :; do sleep 1; done") { world, id, client in
            let session = try await client.exec("web", ["/bin/sh", "-c", "cat; echo err >&2; exit 3"])
            let big = [UInt8](repeating: 0x61, count: 300_000)
            startThread {
                try? session.send(big)
                try? session.endInput()
            }
            var output = 0
            var errors: [UInt8] = []
            let status = try session.receive { event in
                if case .output(let bytes) = event { output += bytes.count }
                if case .errors(let bytes) = event { errors += bytes }
            }
            #expect(status == 3 && output == big.count && errors == Array("err\n".utf8))

            let terminal = try await client.exec(
                "web", ["/bin/sh", "-c", "read x; echo got $x; stat -c %F /dev/tty; tty; stty size"], terminal: true)
            try terminal.resize(columns: 99, rows: 33)
            try terminal.send(Array("hi\n".utf8))
            var text = ""
            let end = try terminal.receive { event in
                if case .output(let bytes) = event { text += String(decoding: bytes, as: UTF8.self) }
            }
            #expect(end == 0 && text.contains("got hi") && text.contains("/dev/pts/"), "\(text)")
            #expect(text.contains("33 99"), "told before the program has its terminal: \(text)")

            let missing = try await client.exec("web", ["/no/such"])
            #expect { try missing.receive { _ in } } throws: { ($0 as? CoreXError)?.code == "NOPROGRAM" }
            let useless = try await client.exec("web", ["/etc/passwd"])
            #expect { try useless.receive { _ in } } throws: { ($0 as? CoreXError)?.code == "NOEXEC" }
            var pipe: [Int32] = [-1, -1]
            #expect(Glibc.pipe(&pipe) == 0)
            let unread = try await client.exec("web", ["yes"])
            close(pipe[0])
            signal(SIGPIPE, SIG_IGN)
            #expect(try unread.attach(input: -1, output: pipe[1]) == 141)
            close(pipe[1])

            let gone = try await client.exec("web", ["/bin/sleep", "778"])
            let find = ["/bin/sh", "-c", "grep -l '77[8]' /proc/[0-9]*/cmdline"]
            #expect(try world.until { try world.exec(id, find).0 == 0 })
            gone.close()
            #expect(try world.until { try world.exec(id, find).1 == "" })
        }
    }

    @Test("who follows a log sees the next instance, and nothing once the key lost its role")
    func followsOn() async throws {
        try await inWorld("echo first; while :; do sleep 1; done") { world, id, client in
            let path = "\(world.run)/compute/access/\(contract.hex.prefix(16)).json"
            let before = try File.readText(path)
            let other = "\(world.state)/shim/other-web/logs"
            try File.makeDirectories(other, mode: 0o755)
            try File.write("\(other)/current", Array("1 o F second\n".utf8), mode: 0o644)
            let seen = Mutex<[String]>([])
            let (own, strange) = (identity.publicKey.address, strange)
            try await client.logs("web", follow: true) { record in
                let text = String(decoding: record.text, as: UTF8.self)
                seen.withLock { $0.append(text) }
                if text == "first" {
                    try? File.writeAtomically(path, Array(before.replacing(id, with: "other-web").utf8), mode: 0o644)
                } else {
                    // The key is no longer in the list: the server ends the stream by itself.
                    let address = own
                    let keys = before.replacing("\"key\":\"\(address)\"", with: "\"key\":\"\(strange)\"")
                    try? File.writeAtomically(path, Array(keys.replacing(id, with: "other-web").utf8), mode: 0o644)
                }
                return true
            }
            #expect(seen.withLock { $0 } == ["first", "second"])
        }
    }

    @Test("strangers and wrong names are told why")
    func refuses() async throws {
        try await inWorld("while :; do sleep 1; done") { world, id, client in
            let stranger = self.client(.generate())
            await #expect { try await stranger.workloads() } throws: { ($0 as? CoreXError)?.code == "DENIED" }
            await #expect { try await stranger.exec("web", ["id"]) } throws: { ($0 as? CoreXError)?.code == "DENIED" }
            await #expect { try await client.exec("db", ["id"]) } throws: { ($0 as? CoreXError)?.code == "NOTFOUND" }
            await #expect { try await client.logs("../x") { _ in true } } throws: {
                ($0 as? CoreXError)?.code == "NOTFOUND"
            }
            // The key is taken away: the next request is refused, without a restart.
            try File.remove("\(world.run)/compute/access/\(contract.hex.prefix(16)).json")
            await #expect { try await client.workloads() } throws: { ($0 as? CoreXError)?.code == "UNAVAILABLE" }
        }
    }
}
