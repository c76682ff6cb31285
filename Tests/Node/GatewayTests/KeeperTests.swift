import Bus
import CLinux
import CanonicalJSON
import Glibc
import Linux
import Service
import Synchronization
import Testing

@testable import Gateway

/// A small HTTP server on a thread of its own that says its name.
final class Backend: Sendable {
    let port: Int64
    private let listener: Int32
    private let isClosed = Atomic<Bool>(false)
    private let answered = Atomic<Int>(0)
    var count: Int { answered.load(ordering: .relaxed) }

    init(_ name: String, port: UInt16 = 0, delay milliseconds: UInt32 = 0) throws {
        let listener = try checked("listen", "backend", zg_tcp_listen("127.0.0.1", port, 64))
        self.listener = listener
        self.port = Int64(zg_tcp_port(listener))
        startThread { [self] in serve(name, milliseconds) }
    }

    private func serve(_ name: String, _ milliseconds: UInt32) {
        while !isClosed.load(ordering: .relaxed) {
            guard zg_poll_in(listener, 20) > 0 else { continue }
            let connection = zg_accept(listener)
            guard connection >= 0 else { continue }
            startThread { [self] in
                defer { close(connection) }
                _ = zg_socket_nonblocking(connection, 0)
                var buffer = [UInt8](repeating: 0, count: 8192)
                guard read(connection, &buffer, buffer.count) > 0 else { return }
                usleep(milliseconds * 1000)
                let text = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: \(name.utf8.count)\r\n\r\n\(name)"
                _ = write(connection, text, text.utf8.count)
                answered.add(1, ordering: .relaxed)
            }
        }
        close(listener)
    }

    func stop() {
        isClosed.store(true, ordering: .relaxed)
        usleep(60_000)
    }
    deinit { isClosed.store(true, ordering: .relaxed) }
}

/// Something that happens once.
final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

/// A gateway with a real HAProxy in a folder of its own.
final class TestGateway: Sendable {
    let folder: String
    let settings: ProxySettings
    let service: GatewayService
    let keeper: Keeper
    let contract = String(repeating: "ab", count: 32)

    init(folder old: String? = nil, port known: Int? = nil) throws {
        folder = old ?? "/tmp/zero-gateway-\(Clock.monotonicNanoseconds())"
        let free = try known ?? Int(Self.freePort())
        settings = try ProxySettings(folder: folder + "/run", address: "127.0.0.1", port: free, domain: "localhost")
        try File.makeDirectories(folder)
        keeper = try Keeper(folder: folder, settings: settings, proxy: 64109)
        let configuration = settings.configuration
        let holder = Holder()
        service = GatewayService(
            keeper,
            control: ProxyControl(
                start: { holder.start(configuration) }, reload: { holder.signal(SIGUSR2) }),
            log: Log(service: "gateway", level: .error))
        self.holder = holder
    }

    let holder: Holder

    /// The proxy's process.
    final class Holder: Sendable {
        private let pid = Mutex<Int32>(-1)
        func start(_ configuration: String) {
            pid.withLock { pid in
                var status: Int32 = 0
                if pid > 0, zg_wait(pid, 0, &status) == 0 { return }
                let null = open("/dev/null", O_RDWR)
                defer { close(null) }
                var arguments: [UnsafeMutablePointer<CChar>?] = []
                for word in ["/usr/sbin/haproxy", "-W", "-f", configuration] { arguments.append(strdup(word)) }
                arguments.append(nil)
                defer { for argument in arguments { free(argument) } }
                pid = zg_spawn_simple("/usr/sbin/haproxy", arguments, nil, null, null, null)
            }
        }
        func signal(_ number: Int32) { pid.withLock { if $0 > 0 { kill($0, number) } } }
        func stop() {
            pid.withLock { pid in
                guard pid > 0 else { return }
                kill(pid, SIGTERM)
                var status: Int32 = 0
                _ = zg_wait(pid, 1, &status)
                pid = -1
            }
        }
    }

    static func freePort() throws -> Int32 {
        let listener = try checked("listen", "port", zg_tcp_listen("127.0.0.1", 0, 1))
        defer { close(listener) }
        return zg_tcp_port(listener)
    }

    func ensure(_ name: String, _ backends: [Backend]) throws {
        try keeper.ensure(contract: contract, name: name, backends: backends.map { ("127.0.0.1", $0.port) })
    }

    /// Status and body of one request; 0 where there was no answer.
    func get(_ host: String, path: String = "/") -> (status: Int, body: String) {
        let connection = zg_tcp_connect("127.0.0.1", UInt16(settings.port), 2000)
        guard connection >= 0 else { return (0, "") }
        defer { close(connection) }
        let request = "GET \(path) HTTP/1.1\r\nhost: \(host)\r\nconnection: close\r\n\r\n"
        _ = write(connection, request, request.utf8.count)
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while zg_poll_in(connection, 15_000) > 0 {
            let count = read(connection, &buffer, buffer.count)
            if count <= 0 { break }
            answer += buffer[..<count]
        }
        let text = String(decoding: answer, as: UTF8.self)
        guard let end = text.firstRange(of: "\r\n\r\n") else { return (0, text) }
        return (Int(text.dropFirst(9).prefix(3)) ?? 0, String(text[end.upperBound...]))
    }

    deinit { holder.stop() }

    func remove() {
        holder.stop()
        try? File.removeTree(folder)
    }
}

@Suite(
    "Gateway with a real HAProxy", .serialized, .enabled(if: File.exists("/usr/sbin/haproxy"), "needs HAProxy"))
struct KeeperTests {
    @Test("Requests go where their host says; unknown hosts get 404, hosts without a backend 503, each a page")
    func routes() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let one = try Backend("one")
        let two = try Backend("two")
        try test.ensure("alpha", [one])
        try test.ensure("beta", [two])
        try test.ensure("empty", [])
        #expect(test.get("alpha.localhost").body == "one")
        #expect(test.get("ALPHA.localhost:8080").body == "one")
        #expect(test.get("beta.localhost").body == "two")
        let unknown = test.get("gamma.localhost")
        #expect(unknown.status == 404 && unknown.body.contains("<title>404 Not Found</title>"))
        #expect(test.get("alpha").status == 404)
        #expect(test.get("x\"y").status == 404)
        let down = test.get("empty.localhost")
        #expect(down.status == 503 && down.body.contains("not ready"))
        try test.ensure("alpha", [two])
        #expect(test.get("alpha.localhost").body == "two")
        try test.keeper.remove(contract: test.contract, name: "alpha")
        try test.keeper.remove(contract: test.contract, name: "alpha")
        #expect(test.get("alpha.localhost").status == 404)
        #expect(test.get("beta.localhost").body == "two")
    }

    @Test("Routes are there again after the proxy died, and after the gateway and the proxy were started anew")
    func restarts() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let one = try Backend("one")
        try test.ensure("alpha", [one])
        test.holder.stop()
        #expect(test.get("alpha.localhost").status == 0)
        // While the proxy is away: kept, and said so.
        do {
            try test.ensure("beta", [one])
            Issue.record("said done without a proxy")
        } catch {
            #expect((error as? GatewayError)?.onBus.code == "UNAVAILABLE")
        }
        await test.service.settle(.seconds(10))
        #expect(test.get("alpha.localhost").body == "one")
        #expect(test.get("beta.localhost").body == "one")
        #expect(try test.keeper.compare() == .same)
        test.holder.stop()
        try File.removeTree(test.folder + "/run")
        let again = try TestGateway(folder: test.folder, port: test.settings.port)
        await again.service.settle(.seconds(10))
        #expect(again.get("alpha.localhost").body == "one")
        #expect(try again.keeper.compare() == .same)
        again.holder.stop()
    }

    @Test("What somebody changes in the running proxy is put right")
    func repairs() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let one = try Backend("one")
        try test.ensure("alpha", [one])
        try test.ensure("beta", [one])
        let admin = ProxyAdmin(socket: test.settings.socket)
        let map = test.settings.map
        try admin.run([
            "del map \(map) alpha.localhost", "add map \(map) ghost.localhost slot-9",
            "add map \(map) beta.localhost slot-7", "set server slot-1/a addr 127.0.0.1 port 2",
            "set server slot-0/a state maint", "set server slot-5/b addr 127.0.0.1 port 3",
            "set server slot-5/b state ready",
        ])
        #expect(test.get("alpha.localhost").status == 404)
        guard case .repaired = try test.keeper.compare() else {
            Issue.record("did not notice")
            return
        }
        #expect(try test.keeper.compare() == .same)
        #expect(test.get("alpha.localhost").body == "one")
        #expect(test.get("beta.localhost").body == "one")
        #expect(test.get("ghost.localhost").status == 404)
        // Also where a server of a used slot is all that differs, which is looked at in every comparison.
        try admin.run(["set server slot-1/a addr 127.0.0.1 port 2"])
        #expect(try test.keeper.compare() == .repaired(1))
        #expect(try test.keeper.compare() == .same)
        #expect(test.get("beta.localhost").body == "one")
    }

    @Test("A route that is made is served at once, whatever was found of a server at its place before")
    func heldAgainst() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let one = try Backend("one")
        try test.ensure("alpha", [one])
        let admin = ProxyAdmin(socket: test.settings.socket)
        // It would be up again after the next check, 250 ms later.
        try admin.run(["set server slot-0/a health down"])
        try test.ensure("alpha", [one, try Backend("two")])
        let servers = try admin.servers(["slot-0"])
        #expect(servers["slot-0/a"]?.isDown == false && servers["slot-0/b"]?.isDown == false)
        #expect(test.get("alpha.localhost").status == 200)
    }

    @Test("A request that runs is served to its end when its route goes, and its slot is free only then")
    func drains() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let slow = try Backend("slow", delay: 1500)
        try test.ensure("alpha", [slow])
        async let answer = runBlocking { test.get("alpha.localhost") }
        try await Task.sleep(for: .milliseconds(500))
        try test.keeper.remove(contract: test.contract, name: "alpha")
        _ = try test.keeper.compare()
        try test.ensure("beta", [try Backend("other")])
        #expect(test.keeper.routes().first?.slot == 1, "slot 0 still serves")
        #expect(await answer.body == "slow")
        _ = try test.keeper.compare()
        try test.ensure("gamma", [])
        #expect(test.keeper.routes().first { $0.name == "gamma" }?.slot == 0)
    }

    @Test("A backend that is restarted within moments fails no request")
    func restartedBackend() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let first = try Backend("one")
        try test.ensure("alpha", [first])
        #expect(test.get("alpha.localhost").body == "one")
        first.stop()
        async let answer = runBlocking { test.get("alpha.localhost") }
        try await Task.sleep(for: .milliseconds(700))
        let second = try Backend("two", port: UInt16(first.port))
        #expect(await answer.body == "two")
        second.stop()
    }

    @Test("A route that was made before its backend listens waits for it")
    func early() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let gone = try Backend("gone")
        gone.stop()
        try test.ensure("alpha", [gone])
        try await Task.sleep(for: .milliseconds(2500))
        async let answer = runBlocking { test.get("alpha.localhost") }
        try await Task.sleep(for: .milliseconds(500))
        let late = try Backend("late", port: UInt16(gone.port))
        #expect(await answer.body == "late")
        late.stop()
    }

    @Test("Routes change 20 times a second while requests run, and none fails")
    func changesUnderLoad() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        await test.service.settle(.seconds(10))
        let one = try Backend("one")
        let two = try Backend("two")
        try test.ensure("alpha", [one])
        let isDone = Flag()
        let results = await withTaskGroup(of: [Int: Int].self) { group in
            for _ in 0..<4 {
                group.addTask {
                    await runBlocking {
                        var statuses: [Int: Int] = [:]
                        while !isDone.isSet {
                            let (status, body) = test.get("alpha.localhost")
                            statuses[["one", "two"].contains(body) ? status : -1, default: 0] += 1
                        }
                        return statuses
                    }
                }
            }
            for round in 0..<60 {
                do {
                    try test.ensure("alpha", round % 2 == 0 ? [two] : [one])
                    try test.ensure("other-\(round % 7)", [one])
                    if round % 3 == 0 {
                        try test.keeper.remove(contract: test.contract, name: "other-\(round % 7)")
                    }
                } catch {
                    Issue.record("\(error)")
                }
                try? await Task.sleep(for: .milliseconds(50))
            }
            isDone.set()
            var all: [Int: Int] = [:]
            for await statuses in group { all.merge(statuses) { $0 + $1 } }
            return all
        }
        #expect(results.keys.sorted() == [200], "\(results)")
        #expect(results[200, default: 0] > 100)
        #expect(one.count > 10 && two.count > 10)
    }

    @Test("More routes than there were slots: the proxy is reloaded, and no request is lost")
    func grows() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        let one = try Backend("one")
        for number in 0..<512 { try? test.ensure("n\(number)", [one]) }
        await test.service.settle(.seconds(10))
        #expect(test.get("n511.localhost").body == "one")
        do {
            try test.ensure("more", [one])
            Issue.record("no reload")
        } catch {
            #expect((error as? GatewayError)?.onBus.code == "UNAVAILABLE")
        }
        async let statuses = runBlocking { (0..<200).map { _ in test.get("n1.localhost").status } }
        await test.service.settle(.seconds(10))
        #expect(test.get("more.localhost").body == "one")
        #expect(Set(await statuses) == [200])
        try test.ensure("more", [one])
    }

    @Test("The verbs: made, listed, counted, removed; bad requests are refused with a reason")
    func verbs() async throws {
        let test = try TestGateway()
        defer { test.remove() }
        let server = BusServer(service: "gateway", socketPath: test.folder + "/gateway.sock")
        test.service.register(on: server, Metrics())
        try server.start()
        defer { server.stop() }
        await test.service.settle(.seconds(10))
        let client = BusClient(server.socketPath)
        let one = try Backend("one")
        let contract = JSONValue.string(test.contract)
        let route: JSONValue = [
            "contract": contract, "name": "alpha",
            "backends": [["address": "127.0.0.1", "port": .integer(one.port)]],
        ]
        for _ in 0..<2 { #expect(try await client.call("GATEWAY.ENSURE", route) == [:]) }
        #expect(test.get("alpha.localhost").body == "one")
        let list = try await client.call("GATEWAY.LIST")
        #expect(list["routes"]?.array?.first?["host"]?.string == "alpha.localhost")
        let metrics = try await client.text("GATEWAY.METRICS")
        #expect(metrics.contains("zero_gateway_requests_total{route=\"alpha\"} 1"))
        #expect(metrics.contains("zero_gateway_responses_total{route=\"alpha\",class=\"2xx\"} 1"))
        #expect(try await client.call("GATEWAY.STATUS")["synced"]?.bool == true)
        let bad: [JSONValue] = [
            ["contract": contract, "name": "a.b", "backends": []], ["contract": "x", "name": "a", "backends": []],
            ["contract": contract, "name": "a"], ["contract": contract, "name": "a", "backends": [1]],
            ["contract": contract, "name": "a", "backends": [["address": "evil", "port": 1]]],
        ]
        for request in bad {
            do {
                _ = try await client.call("GATEWAY.ENSURE", request)
                Issue.record("accepted \(request.canonicalText)")
            } catch {
                #expect(error.code == "BADREQUEST")
            }
        }
        _ = try await client.call("GATEWAY.REMOVE", ["contract": contract, "name": "alpha"])
        #expect(try await client.call("GATEWAY.LIST") == ["routes": []])
    }
}
