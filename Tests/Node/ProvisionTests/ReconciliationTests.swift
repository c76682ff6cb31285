import CanonicalJSON
import Contracts
import Crypto
import Records
import Testing

@testable import Provision

@Suite("Reconciliation of a contract") struct ReconciliationTests {
    static let node = SigningKey.generate().publicKey

    static func contract(
        volumes: [String] = ["pages"], gateways: [String] = ["hello"], version: Int64 = 1, host: Int = 2,
        port: Int64 = 80, probe: Bool = true
    ) throws -> DesiredContract {
        let root = SHA256.hash([1])
        let id = SHA256.hash([9])
        let mounts = volumes.map {
            JSONValue.object(["name": .string($0), "at": .string("/\($0)"), "read_only": false])
        }
        var web: JSONValue = [
            "type": "container", "name": "web", "cpu": 500, "memory": 134_217_728, "restart": "always",
            "partition": "keep", "env": [:], "secrets": [:],
            "image": [
                "name": "nginx", "author": .string(node.address), "root": .string(root.hex),
                "record": .string(root.hex),
            ],
            "volumes": .array(mounts),
        ]
        if probe { web["ready"] = ["http": "/", "port": 80] }
        let others =
            volumes.map { JSONValue.object(["type": "volume", "name": .string($0), "size": 16_777_216]) }
            + gateways.map {
                JSONValue.object([
                    "type": "gateway", "name": .string($0), "to": ["workload": "web", "port": .integer(port)],
                ])
            }
        var body: JSONValue = [
            "name": "hello", "version": .integer(version), "expires": 1_900_000_000_000,
            "network": ["range": "10.42.0.0/16"], "workloads": .array([web] + others),
        ]
        if version > 1 { body["id"] = .string(id.hex) }
        let placed = PlacedWorkload(
            node: node, subnet: "10.42.0.0/24", address: "10.42.0.\(host)", address6: "fd00::\(host)")
        let names = ["web"] + volumes + gateways
        let placement = PlacementBody(
            contract: id, version: version, epoch: version,
            workloads: Dictionary(names.map { ($0, placed) }) { first, _ in first })
        return DesiredContract(
            id: id, contract: try Contract(body: body), placement: placement, node: node,
            images: ["web": RunnableImage(root: root, key: "00", config: ImageConfig())],
            owner: ContractOwner(identity: node, keys: []))
    }

    static let ready = Outcome.container(ContainerStatus(state: "running", isReady: true))

    /// Does every due step until nothing is due, as a node on which all goes well.
    static func settle(_ core: inout Reconciliation, at now: Int64) -> [Step] {
        var order: [Step] = []
        for _ in 0..<20 {
            let due = core.due(at: now)
            if due.isEmpty { break }
            order += due
            for step in due {
                if case .container = step {
                    core.handle(step, ready, at: now)
                } else {
                    core.handle(step, .done("x"), at: now)
                }
            }
        }
        return order
    }

    @Test("what stands on something waits for it")
    func order() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        #expect(core.due(at: 0) == [.network, .volume("pages")])
        core.handle(.network, .done("100.64.0.2"), at: 0)
        #expect(core.due(at: 0) == [.volume("pages"), .access])
        core.handle(.volume("pages"), .done("/pool/x"), at: 0)
        #expect(core.due(at: 0) == [.container("web"), .access])
        core.handle(.container("web"), .container(ContainerStatus(state: "preparing", isReady: false)), at: 0)
        #expect(!core.due(at: 10_000).contains(.gateway("hello")))
        core.handle(.container("web"), Self.ready, at: 100)
        #expect(core.due(at: 100).contains(.gateway("hello")))
    }

    @Test("everything is looked at again, so drift is found")
    func recheck() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        _ = Self.settle(&core, at: 0)
        #expect(core.wake(after: 0) == Reconciliation.Pace.youngLook, "what was just started may end at once")
        #expect(Self.settle(&core, at: Reconciliation.Pace.young) == [.container("web")])
        #expect(core.due(at: 4_999).isEmpty)
        #expect(core.wake(after: 0) == Reconciliation.Pace.recheck)
        #expect(
            Set(core.due(at: Reconciliation.Pace.young + 5_000)) == [
                .network, .volume("pages"), .container("web"), .access, .gateway("hello"),
            ])
    }

    @Test("failures are tried again ever more slowly and stay visible")
    func backoff() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        var now: Int64 = 0
        var pauses: [Int64] = []
        for _ in 0..<12 {
            core.handle(.volume("pages"), .failed("the pool is full"), at: now)
            let next =
                stride(from: now, through: now + 100_000, by: 250).first { core.due(at: $0).contains(.volume("pages")) }
                ?? -1
            pauses.append(next - now)
            now = next
        }
        #expect(pauses.prefix(4) == [250, 500, 1_000, 2_000])
        #expect(pauses.last == 60_000)
        core.handle(.network, .done("l"), at: now)
        #expect(core.results()["pages"]?.state == .failed)
        #expect(core.results()["pages"]?.attempt == 12)
        #expect(core.results()["web"]?.reason == "pages: the pool is full")
    }

    @Test("a daemon that does not answer changes nothing that is known")
    func unreachable() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        _ = Self.settle(&core, at: 0)
        let before = core.results()
        core.handle(.container("web"), .unreachable("compute"), at: 5_000)
        core.handle(.gateway("hello"), .unreachable("gateway"), at: 5_000)
        #expect(core.results().mapValues(\.state) == before.mapValues(\.state))
        #expect(core.due(at: 5_200).contains(.container("web")))
    }

    @Test("a cancelled contract goes in reverse order and leaves nothing")
    func removal() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        _ = Self.settle(&core, at: 0)
        core.want(nil, at: 10)
        let order = Self.settle(&core, at: 10)
        #expect(
            order == [
                .removeGateway("hello"), .removeContainer(Instance("web", host: 2)), .removeAccess, .removeNetwork,
                .removeVolume("pages"),
            ])
        #expect(core.isFinished)
    }

    @Test("an update removes what the new version left out, and keeps the rest")
    func update() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        _ = Self.settle(&core, at: 0)
        core.want(try Self.contract(volumes: [], gateways: [], version: 2), at: 10)
        let order = Self.settle(&core, at: 10)
        #expect(order.contains(.removeGateway("hello")))
        #expect(order.contains(.removeVolume("pages")))
        #expect(!order.contains(.removeNetwork))
        #expect(core.inventory.containers == [Instance("web", host: 2)])
    }

    @Test("a process that starts later removes what an earlier one left")
    func inherited() {
        var left = Inventory()
        left.containers = [Instance("old", host: 7)]
        left.hasNetwork = true
        var core = Reconciliation(inventory: left)
        #expect(core.due(at: 0) == [.removeContainer(Instance("old", host: 7))])
        _ = Self.settle(&core, at: 0)
        #expect(core.isFinished)
    }

    @Test("a container's request: entry point, environment, limits")
    func request() throws {
        var desired = try Self.contract()
        var config = ImageConfig()
        (config.entrypoint, config.cmd, config.env) = (["/entry"], ["serve"], ["A=1", "B=x=y"])
        desired = DesiredContract(
            id: desired.id, contract: desired.contract, placement: desired.placement, node: desired.node,
            images: ["web": RunnableImage(root: SHA256.hash([1]), key: "ab", config: config)], owner: desired.owner)
        let request = try desired.containerRequest(desired.containers[0], volumes: ["pages": "/p"], namespace: "/run/n")
        #expect(request["args"] == ["/entry", "serve"])
        #expect(request["env"] == ["A": "1", "B": "x=y"])
        #expect(request["limits"]?["cpu_milli"] == 500)
        #expect(request["dns"] == "10.42.0.1")
        #expect(throws: ProvisionError.self) {
            try desired.containerRequest(desired.containers[0], volumes: [:], namespace: nil)
        }
    }
}

@Suite("What is told of workloads that fail again and again") struct SteadyResultsTests {
    private static func result(_ state: WorkloadResult.State) -> [String: WorkloadResult] {
        ["web": WorkloadResult(state: state, reason: state == .failed ? "ended with status 3" : nil, since: 0)]
    }

    /// Crashes after `up` milliseconds, again and again for an hour; how often something else was told.
    private static func changes(up: Int64, down: Int64) -> Int {
        var steady = SteadyResults()
        var (now, changes) = (Int64(0), 0)
        var last: WorkloadResult.State?
        while now < 3_600_000 {
            for (state, time) in [(WorkloadResult.State.running, up), (.failed, down)] {
                for step in stride(from: Int64(0), to: time, by: 1_000) {
                    let told = steady.told(result(state), at: now + step)["web"]?.state
                    if told != last { changes += 1 }
                    last = told
                }
                now += time
            }
        }
        return changes
    }

    @Test("a crash is told at once, and that it runs again")
    func once() {
        var steady = SteadyResults()
        for time in [Int64(0), 100, 200] {
            #expect(steady.told(Self.result(.failed), at: time)["web"]?.state == .failed)
            #expect(steady.told(Self.result(.preparing), at: time + 10)["web"]?.state == .preparing)
            #expect(steady.told(Self.result(.running), at: time + 20)["web"]?.state == .running)
        }
    }

    @Test("an hour of crashes is told in a few changes")
    func loops() {
        #expect(Self.changes(up: 5_000, down: 25_000) <= 2 * SteadyResults.Pace.free)
        #expect(Self.changes(up: 45_000, down: 5_000) <= 2 * SteadyResults.Pace.free + 2)
    }

    @Test("what holds for long is told as running, and what ends well or is no longer there at once")
    func heals() {
        var steady = SteadyResults()
        for time in 0..<10 {
            _ = steady.told(Self.result(.failed), at: Int64(time) * 2_000)
            _ = steady.told(Self.result(.running), at: Int64(time) * 2_000 + 1_000)
        }
        #expect(steady.told(Self.result(.running), at: 20_000)["web"]?.state == .failed)
        let later = 20_000 + SteadyResults.Pace.longestHold
        #expect(steady.told(Self.result(.running), at: later)["web"]?.state == .running)
        #expect(steady.told(Self.result(.failed), at: later + 1)["web"]?.state == .failed)
        #expect(steady.told(Self.result(.stopped), at: later + 2)["web"]?.state == .stopped)
        #expect(steady.told([:], at: later + 3).isEmpty)
    }
}
