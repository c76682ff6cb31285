import CanonicalJSON
import Glibc
import Linux
import RESP
import Synchronization
import Testing

@testable import Bus

/// A started server and its socket; stopped when the test lets it go.
private final class Toy {
    let path: String
    let server: BusServer
    let client: BusClient

    init(_ name: String, _ set: (BusServer) -> Void) throws {
        path = "/tmp/zg-bus-\(getpid())-\(name).sock"
        server = BusServer(service: "toy", socketPath: path)
        client = BusClient(path)
        set(server)
        try server.start()
    }

    func stop() {
        server.stop()
        unlink(path)
    }
}

@Test func callsAnswersAndErrors() async throws {
    let toy = try Toy("calls") { server in
        server.on("TOY.ECHO", from: []) { BusReply($0.body) }
        server.on("FAIL", from: []) { _ throws(BusError) in throw .notFound("no such toy") }
        server.on("READ", from: []) { request in
            let name = try request.read { reader throws(JSONError) in try reader.string("name") }
            return BusReply(["name": .string(name), "uid": .integer(Int64(request.peer.uid))])
        }
        server.provideStatus { ["fine": true] }
        server.provideMetrics { "toys 3\n" }
    }
    defer { toy.stop() }
    let client = toy.client
    #expect(try await client.call("TOY.ECHO", ["a": [1, true, "x"]]) == ["a": [1, true, "x"]])
    #expect(try await client.call("toy.echo") == [:])
    #expect(try await client.call("TOY.STATUS") == ["fine": true])
    #expect(try await client.text("TOY.METRICS").hasPrefix("toys 3\n# HELP"))
    await #expect(throws: BusError.notFound("no such toy")) { try await client.call("TOY.FAIL") }
    let unknown = await #expect(throws: BusError.self) { try await client.call("TOY.ECO") }
    #expect(unknown == .unknown("TOY.ECO is no verb of toy; did you mean TOY.ECHO?"))
    let bad = await #expect(throws: BusError.self) { try await client.call("TOY.READ", ["nam": "x"]) }
    #expect(bad?.code == "BADREQUEST")
    let read = try await runBlocking { try client.callBlocking("TOY.READ", ["name": "x"]).body }
    #expect(read["uid"]?.integer == Int64(getuid()))
}

private func sendRubbish(_ path: String) throws {
    let raw = RESPClient(unix: path)
    #expect(try raw.call("TOY.ECHO", "{nonsense").failure?.code == "BADREQUEST")
    #expect(try raw.call("TOY.ECHO", "{}", "{}").failure?.code == "BADREQUEST")
    #expect(try raw.call("TOY.ECHO", "").failure?.code == "BADREQUEST")
    #expect(try raw.call("PING") == .simple("PONG"))
    #expect(try raw.call("COMMAND", "DOCS") == .array([]))
    #expect(try raw.call("FLUSHALL").failure?.code == "UNKNOWN")
    #expect(try raw.call("HELLO", "9").failure?.code == "NOPROTO")
    guard case .map = try raw.call("HELLO", "3") else {
        Issue.record("HELLO 3 is answered by a map")
        return
    }
    // Refused while it is still being sent: the client sees the refusal or the closed connection.
    if let reply = try? raw.call([[UInt8](repeating: 0, count: 18 << 20)]) {
        #expect(reply.failure?.code == "BADREQUEST")
    }
    let socket = RESPClient(unix: path)
    let echo = [Array("TOY.ECHO".utf8), Array("[1]".utf8)]
    #expect(try socket.pipeline(Array(repeating: echo, count: 500)) == Array(repeating: .text("[1]"), count: 500))
}

@Test func rubbishIsRefusedAndTheServerGoesOn() async throws {
    let toy = try Toy("rubbish") { server in
        server.on("TOY.ECHO", from: []) { BusReply($0.body) }
    }
    defer { toy.stop() }
    let path = toy.path
    let client = toy.client
    try await runBlocking { try sendRubbish(path) }
    #expect(try await client.call("TOY.ECHO", ["still": "here"]) == ["still": "here"])
}

private func callSecret(_ path: String, as uid: UInt32) async throws -> String {
    try await runBlocking {
        try Subprocess.run(
            "setpriv", ["--reuid", "\(uid)", "--clear-groups", "redis-cli", "-s", path, "TOY.SECRET"]
        ).text
    }
}

@Test func onlyListedAccountsMay() async throws {
    try #require(getuid() == 0, "needs root to be another account")
    let toy = try Toy("accounts") { server in
        server.on("TOY.SECRET", from: [.provision]) { request in BusReply(["uid": .integer(Int64(request.peer.uid))]) }
    }
    defer { toy.stop() }
    let path = toy.path
    let client = toy.client
    #expect(try await client.call("TOY.SECRET") == ["uid": 0])
    let provision = try await callSecret(path, as: Account.provision.uid)
    #expect(provision == "{\"uid\":64108}\n")
    let ledger = try await callSecret(path, as: Account.ledger.uid)
    #expect(ledger.hasPrefix("DENIED uid 64103"))
    let stranger = try await callSecret(path, as: 1000)
    #expect(stranger.hasPrefix("DENIED"))
}

@Test func redisCliIsAtHome() async throws {
    let toy = try Toy("cli") { server in
        server.provideStatus { ["units": []] }
    }
    defer { toy.stop() }
    let path = toy.path
    for options in [["-s", path], ["-3", "-s", path]] {
        let output = try await runBlocking { try Subprocess.run("redis-cli", options + ["TOY.STATUS"], timeout: 10) }
        #expect(output.text.contains(#"{"units":[]}"#))
    }
    let typed = try await runBlocking {
        try Subprocess.run("redis-cli", ["-s", path], input: Array("TOY.STATUS\nPING\n".utf8), timeout: 10)
    }
    #expect(typed.text == "{\"units\":[]}\nPONG\n")
}

@Test func handlersRunTogetherAndDeadlinesHold() async throws {
    let active = Mutex((now: 0, most: 0))
    let toy = try Toy("together") { server in
        server.on("TOY.WAIT", from: []) { _ in
            active.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            try await Task.sleep(for: .milliseconds(300))
            active.withLock { $0.now -= 1 }
            return .ok
        }
        server.on("TOY.HANG", from: [], deadline: .milliseconds(100)) { _ in
            try await Task.sleep(for: .seconds(100))
            return .ok
        }
    }
    defer { toy.stop() }
    let client = toy.client
    let clock = ContinuousClock()
    let took = try await clock.measure {
        try await withThrowingTaskGroup(of: JSONValue.self) { group in
            for _ in 0..<20 { group.addTask { try await client.call("TOY.WAIT") } }
            try await group.waitForAll()
        }
    }
    #expect(took < .seconds(10), "one after the other they would take 20 s")
    #expect(active.withLock { $0.most } > 5)
    let late = await #expect(throws: BusError.self) { try await client.call("TOY.HANG") }
    #expect(late?.code == "DEADLINE")
    let impatient = await #expect(throws: BusError.self) {
        try await client.call("TOY.WAIT", deadline: .milliseconds(50))
    }
    #expect(impatient?.code == "DEADLINE")
    #expect(try await client.call("TOY.WAIT") == [:])
}

@Test func aDescriptorComesWithTheReply() async throws {
    let toy = try Toy("descriptor") { server in
        server.on("TOY.OPEN", from: []) { _ in
            var ends: [Int32] = [-1, -1]
            guard pipe(&ends) == 0 else { throw BusError.failed("pipe") }
            #expect(write(ends[1], "hey", 3) == 3)
            close(ends[1])
            return BusReply(["names": ["TOKEN"]], descriptor: ends[0])
        }
    }
    defer { toy.stop() }
    let client = toy.client
    for _ in 0..<600 {
        let (body, descriptor) = try await client.receive("TOY.OPEN")
        #expect(body == ["names": ["TOKEN"]])
        let file = Descriptor(try #require(descriptor))
        #expect(try file.readAll(limit: 10, "pipe") == Array("hey".utf8))
    }
    #expect(try await client.call("TOY.OPEN") == ["names": ["TOKEN"]])
    #expect(try File.list("/proc/self/fd").count < 500)
}

@Test func aClientFindsARestartedServer() async throws {
    let path = "/tmp/zg-bus-\(getpid())-restart.sock"
    defer { unlink(path) }
    let client = BusClient(path)
    for round in 0..<5 {
        let server = BusServer(service: "toy", socketPath: path)
        server.on("TOY.ROUND", from: []) { _ in ["round": .integer(Int64(round))] }
        startThread {
            usleep(100_000)
            try? server.start()
        }
        let answer = try await client.call("TOY.ROUND")
        #expect(answer == ["round": .integer(Int64(round))])
        server.stop()
        try await Task.sleep(for: .milliseconds(50))
    }
    let gone = BusClient("/tmp/zg-bus-none.sock", patience: .milliseconds(50))
    let error = await #expect(throws: BusError.self) { try await gone.call("PING.X") }
    #expect(error?.code == "UNREACHABLE")
}
