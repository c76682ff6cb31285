import CanonicalJSON
import Contracts
import Crypto
import Linux
import Records
import Service
import Testing

@testable import Provision

@Suite("Update of a contract") struct UpdateTests {
    static let old = Instance("web", host: 2)
    static let new = Instance("web", host: 3)
    static let failed = Outcome.container(
        ContainerStatus(state: "failed", reason: "ended with status 1", isReady: false))

    static func contract(_ version: Int64, host: Int, port: Int64 = 80, probe: Bool = true) throws -> DesiredContract {
        try ReconciliationTests.contract(volumes: [], version: version, host: host, port: port, probe: probe)
    }

    /// A node on which version 1 runs.
    static func running(probe: Bool = true) throws -> Reconciliation {
        var core = Reconciliation()
        core.want(try contract(1, host: 2, probe: probe), at: 0)
        _ = ReconciliationTests.settle(&core, at: 0)
        return core
    }

    static func door(_ core: Reconciliation, _ link: String = "l") throws -> Int64? {
        let desired = try #require(core.desired)
        let request = try desired.gatewayRequest(desired.gateways[0], link: link, core.inventory)
        return request["backends"]?.array?.first?["port"]?.integer
    }

    static func member(_ core: Reconciliation, _ name: String) throws -> JSONValue? {
        try core.desired?.networkRequest(core.inventory)["members"]?.array?.first { $0["instance"]?.string == name }
    }

    @Test("new, ready, switch, retire: in this order")
    func order() throws {
        var core = try Self.running()
        let before = try Self.door(core)
        core.want(try Self.contract(2, host: 3), at: 10)
        #expect(core.inventory.containers == [Self.old, Self.new])
        #expect(try Self.member(core, "web-2")?["named"] == true)
        #expect(try Self.member(core, "web-3")?["named"] == false)
        core.handle(.network, .done("l"), at: 10)
        core.handle(.container("web"), .container(ContainerStatus(state: "preparing", isReady: false)), at: 10)
        #expect(!core.due(at: 100_000).contains(.gateway("hello")), "the route stays")
        #expect(!core.due(at: 100_000).contains(.removeContainer(Self.old)))
        #expect(core.inventory.serving == ["web": 2])

        core.handle(.container("web"), ReconciliationTests.ready, at: 20)
        #expect(core.inventory.serving == ["web": 3])
        #expect(try Self.member(core, "web-3")?["named"] == true)
        #expect(Set(core.due(at: 20)) == [.network, .access, .gateway("hello")])
        #expect(try Self.door(core) != before, "another door, so that requests in the old one end in peace")
        core.handle(.gateway("hello"), .done(nil), at: 30)
        #expect(core.results()["web"]?.state == .preparing, "somebody may still see the old one")
        #expect(!core.due(at: 4_000).contains(.removeContainer(Self.old)), "its name still leads to the old one")
        core.handle(.network, .done("l"), at: 40)
        #expect(core.results()["web"]?.state == .running)
        #expect(!core.due(at: 40 + Reconciliation.Pace.drain - 1).contains(.removeContainer(Self.old)))
        #expect(core.due(at: 40 + Reconciliation.Pace.drain).contains(.removeContainer(Self.old)))
        core.handle(.removeContainer(Self.old), .done(nil), at: 2_000)
        #expect(core.inventory.containers == [Self.new])
        #expect(core.inventory.doors.map(\.host) == [3])
        #expect(core.due(at: 2_000).contains(.network), "its place in the network goes, too")
    }

    @Test("what never becomes ready leaves the old one serving, and makes room for what comes next")
    func neverReady() throws {
        var core = try Self.running()
        core.want(try Self.contract(2, host: 3), at: 10)
        for now in stride(from: Int64(10), to: 100_000, by: 500) {
            for step in core.due(at: now) {
                if case .container = step {
                    core.handle(step, Self.failed, at: now)
                } else {
                    core.handle(step, .done("x"), at: now)
                }
            }
        }
        #expect(core.inventory.containers == [Self.old, Self.new])
        #expect(core.inventory.serving == ["web": 2])
        #expect(core.results()["web"]?.state == .failed)
        #expect(core.results()["web"]?.reason == "ended with status 1")
        core.want(try Self.contract(3, host: 4), at: 100_000)
        #expect(core.due(at: 100_000).contains(.removeContainer(Self.new)))
        #expect(!core.due(at: 100_000).contains(.removeContainer(Self.old)))
        _ = ReconciliationTests.settle(&core, at: 100_000)
        _ = ReconciliationTests.settle(&core, at: 101_000)
        #expect(core.inventory.containers == [Instance("web", host: 4)])
        #expect(core.inventory.doors.count == 1)
    }

    @Test("a new one that fails in its first moments is gone back from while the old one is there")
    func failsAfterwards() throws {
        var core = try Self.running()
        core.want(try Self.contract(2, host: 3), at: 10)
        _ = ReconciliationTests.settle(&core, at: 10)
        core.handle(.container("web"), Self.failed, at: 500)
        #expect(!core.due(at: 60_000).contains(.removeContainer(Self.old)), "not retired while nothing else works")
    }

    @Test("without a probe it has to run for a moment first")
    func proof() throws {
        var core = try Self.running(probe: false)
        core.want(try Self.contract(2, host: 3, probe: false), at: 10)
        core.handle(.network, .done("l"), at: 10)
        core.handle(.container("web"), ReconciliationTests.ready, at: 10)
        #expect(core.inventory.serving == ["web": 2])
        #expect(core.due(at: 200).contains(.container("web")), "it is asked again soon")
        core.handle(.container("web"), Self.failed, at: 200)
        core.handle(.container("web"), ReconciliationTests.ready, at: 1_100)
        #expect(core.inventory.serving == ["web": 2])
        core.handle(.container("web"), ReconciliationTests.ready, at: 2_100)
        #expect(core.inventory.serving == ["web": 3])
    }

    @Test("a process that starts in the middle goes on where the last one was")
    func restart() throws {
        let folder = "/tmp/zero-inventory-\(Clock.monotonicNanoseconds())"
        defer { try? File.removeTree(folder) }
        let store = InventoryStore(folder: folder)
        var core = try Self.running()
        let next = try Self.contract(2, host: 3, port: 8080)
        core.want(next, at: 10)
        store.save(next.id, core.inventory, Log(service: "test"))
        #expect(store.load(next.id) == core.inventory)
        core = Reconciliation(inventory: store.load(next.id))
        core.want(next, at: 20)
        #expect(core.inventory.serving == ["web": 2])
        #expect(core.inventory.doors.contains { $0.host == 2 && $0.target == 80 }, "the route of version 1 still leads")
        #expect(!core.due(at: 20).contains(.removeContainer(Self.old)))
        core.handle(.network, .done("l"), at: 20)
        core.handle(.container("web"), ReconciliationTests.ready, at: 30)
        store.save(next.id, core.inventory, Log(service: "test"))
        core = Reconciliation(inventory: store.load(next.id))
        core.want(next, at: 40)
        #expect(core.inventory.serving == ["web": 3])
        #expect(!core.due(at: 40).contains(.removeContainer(Self.old)), "where its routes lead is not known yet")
        _ = ReconciliationTests.settle(&core, at: 40)
        _ = ReconciliationTests.settle(&core, at: 40 + Reconciliation.Pace.drain)
        #expect(core.inventory.containers == [Self.new])
    }

    @Test("what cannot stand beside the new one goes first")
    func exclusive() throws {
        // Of a version without instances: it has the address of the new one.
        var left = Inventory()
        left.containers = [Instance("web", host: nil)]
        var core = Reconciliation(inventory: left)
        core.want(try Self.contract(1, host: 2), at: 0)
        core.handle(.network, .done("l"), at: 0)
        #expect(core.due(at: 0).contains(.removeContainer(Instance("web", host: nil))))
        #expect(!core.due(at: 0).contains(.container("web")))
        _ = ReconciliationTests.settle(&core, at: 0)
        #expect(core.inventory.containers == [Self.old] && core.inventory.serving == ["web": 2])
        // One with a volume that was placed anew all the same.
        core = Reconciliation()
        core.want(try ReconciliationTests.contract(), at: 0)
        _ = ReconciliationTests.settle(&core, at: 0)
        core.want(try ReconciliationTests.contract(version: 2, host: 3), at: 10)
        core.handle(.network, .done("l"), at: 10)
        core.handle(.volume("pages"), .done("/p"), at: 10)
        #expect(core.due(at: 10).contains(.removeContainer(Self.old)))
        #expect(!core.due(at: 10).contains(.container("web")))
    }

    @Test("the form without instances is still read")
    func formerInventory() throws {
        let folder = "/tmp/zero-inventory-\(Clock.monotonicNanoseconds())"
        defer { try? File.removeTree(folder) }
        let id = SHA256.hash([9])
        let text: JSONValue = [
            "v": 1, "containers": ["web"], "volumes": ["data"], "gateways": [], "network": true, "access": false,
        ]
        try File.makeDirectories(folder, mode: 0o700)
        try File.writeDurably("\(folder)/\(id.hex).json", text.canonicalBytes)
        let inventory = InventoryStore(folder: folder).load(id)
        #expect(inventory.containers == [Instance("web", host: nil)] && inventory.volumes == ["data"])
        #expect(inventory.containers.first?.name == "web" && inventory.hasNetwork)
    }
}
