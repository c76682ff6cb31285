import CanonicalJSON
import Contracts
import Crypto
import Records
import Testing

@testable import Provision

@Suite("Reconciliation of zdbs") struct ZDBTests {
    private static let node = ReconciliationTests.node
    private static let id = SHA256.hash([9])

    /// A contract with one zdb, with a container beside it or not.
    static func contract(
        version: Int64 = 1, size: Int64 = 1 << 30, password: Bool = true, container: Bool = true, zdb: Bool = true
    ) throws -> DesiredContract {
        var index: JSONValue = [
            "type": "zdb", "name": "index", "size": .integer(size), "mode": "ordered", "public": false, "worm": false,
        ]
        if password { index["password"] = "key" }
        let digest = SHA256.hash([1]).hex
        let client: JSONValue = [
            "type": "container", "name": "web", "cpu": 500, "memory": 134_217_728, "restart": "always",
            "partition": "keep", "env": [:], "secrets": [:], "volumes": [],
            "image": [
                "name": "nginx", "author": .string(node.address), "root": .string(digest), "record": .string(digest),
            ],
        ]
        var body: JSONValue = [
            "name": "c", "version": .integer(version), "expires": 1_900_000_000_000,
            "network": ["range": "10.42.0.0/16"],
            "workloads": .array((zdb ? [index] : []) + (container ? [client] : [])),
        ]
        if version > 1 { body["id"] = .string(id.hex) }
        if password, zdb { body["secrets"] = ["key": ["box": "Ym94", "keys": [:]]] }
        func placed(_ host: Int, _ secrets: [String: [UInt8]]? = nil) -> PlacedWorkload {
            PlacedWorkload(
                node: node, subnet: "10.42.1.0/24", address: "10.42.1.\(host)", address6: "fd00::\(host)",
                secrets: secrets)
        }
        var workloads: [String: PlacedWorkload] = [:]
        if zdb { workloads["index"] = placed(2, password ? ["key": [7]] : nil) }
        if container { workloads["web"] = placed(3) }
        return DesiredContract(
            id: id, contract: try Contract(body: body),
            placement: PlacementBody(contract: id, version: version, epoch: version, workloads: workloads), node: node,
            images: ["web": RunnableImage(root: SHA256.hash([1]), key: "00", config: ImageConfig())],
            owner: ContractOwner(identity: node, keys: []))
    }

    @Test("a zdb stands on the network; Core-X is there for it alone, too")
    func order() throws {
        var core = Reconciliation()
        core.want(try Self.contract(container: false), at: 0)
        #expect(core.due(at: 0) == [.network])
        core.handle(.network, .done("100.64.0.2"), at: 0)
        #expect(core.due(at: 0) == [.zdb("index"), .access])
        #expect(core.results()["index"]?.state == .waiting)
        core.handle(.zdb("index"), .done(nil), at: 0)
        #expect(core.results()["index"]?.state == .running)
        #expect(core.results()["index"]?.access?["corex"]?.string == "100.64.0.2:7700")
        #expect(core.due(at: Reconciliation.Pace.recheck).contains(.zdb("index")), "drift is looked for")
    }

    @Test("a store that is being started again changes nothing that is known; a refusal does")
    func failures() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        _ = ReconciliationTests.settle(&core, at: 0)
        core.handle(.zdb("index"), .unreachable("UNREACHABLE"), at: 5_000)
        #expect(core.results()["index"]?.state == .running)
        #expect(core.due(at: 5_200).contains(.zdb("index")), "asked again soon")
        core.handle(.zdb("index"), .failed("LOST its data are gone"), at: 6_000)
        #expect(core.results()["index"]?.state == .failed)
        #expect(core.results()["index"]?.reason == "LOST its data are gone")
        #expect(core.results()["web"]?.state == .running, "a container is no part of it")
        var blocked = Reconciliation()
        blocked.want(try Self.contract(), at: 0)
        blocked.handle(.network, .failed("the link range is full"), at: 0)
        #expect(blocked.results()["index"]?.reason == "its network: the link range is full")
    }

    @Test("what a new version leaves out goes, after the containers that used it; what a cancelled one held goes, too")
    func removal() throws {
        var core = Reconciliation()
        core.want(try Self.contract(), at: 0)
        _ = ReconciliationTests.settle(&core, at: 0)
        #expect(core.inventory.zdbs == ["index"])
        core.want(try Self.contract(version: 2, zdb: false), at: 10)
        #expect(ReconciliationTests.settle(&core, at: 10).contains(.removeZDB("index")))
        #expect(core.inventory.zdbs.isEmpty && core.inventory.hasNetwork)
        var other = Reconciliation()
        other.want(try Self.contract(), at: 0)
        _ = ReconciliationTests.settle(&other, at: 0)
        other.want(nil, at: 10)
        let order = ReconciliationTests.settle(&other, at: 10)
        #expect(order.suffix(2) == [.removeNetwork, .removeZDB("index")])
        #expect(other.isFinished)
    }

    @Test("requests carry ciphertexts, an address and what was asked for")
    func requests() throws {
        let desired = try Self.contract()
        let zdb = try #require(desired.zdbs.first)
        let name = "\(desired.shortID)-index"
        #expect(
            try desired.zdbRequest(zdb) == [
                "id": .string(name), "contract": .string(desired.id.hex), "workload": "index", "size": 1_073_741_824,
                "epoch": 1, "mode": "ordered", "public": false, "worm": false,
                "password": ["name": "key", "sealed": "Bw==", "box": "Ym94"],
            ])
        var inventory = Inventory()
        inventory.add(desired)
        let network = try desired.networkRequest(inventory)
        #expect(
            network["stores"] == [["name": "index", "address": "10.42.1.2", "address6": "fd00::2", "port": 9_900]])
        #expect(network["members"]?.array?.count == 1)
        let access = desired.accessRequest(ledger: Self.id, link: "100.64.0.2", inventory)
        #expect(access["zdbs"] == ["index": ["id": .string(name)]])
        #expect(try Self.contract(container: false).networkRequest(Inventory())["subnet"] == "10.42.1.0/24")
        let plain = try Self.contract(zdb: false)
        #expect(try plain.networkRequest(inventory)["stores"] == nil)
    }
}
