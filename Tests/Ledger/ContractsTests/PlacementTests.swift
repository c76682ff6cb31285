import Contracts
import Crypto
import Records
import Testing

@Suite struct PlacementTests {
    let id = SHA256.hash([9])

    func placed(_ contract: Contract, on nodes: [NodeDescription]) throws -> Placement {
        let bare = try Placer(nodes: nodes, used: [:]).place(contract, id: id)
        return sealed(bare, contract)
    }

    /// The placement with a content key for each secret.
    func sealed(_ bare: Placement, _ contract: Contract) -> Placement {
        var workloads = bare.workloads
        for container in contract.containers where !container.secrets.isEmpty {
            guard let old = workloads[container.name] else { continue }
            let keys = Dictionary(uniqueKeysWithValues: Set(container.secrets.values).map { ($0, [UInt8(1)]) })
            workloads[container.name] = PlacedWorkload(
                node: old.node, subnet: old.subnet, address: old.address, address6: old.address6, secrets: keys)
        }
        return Placement(contract: bare.contract, version: bare.version, epoch: bare.epoch, workloads: workloads)
    }

    @Test func aPlacedContractIsValid() throws {
        let contract = try contract(full)
        let nodes = [try node("n1", country: "FR"), try node("n2")]
        let placement = try placed(contract, on: nodes)
        try placement.validate(against: contract, id: id, lastEpoch: 0, nodes: nodes, used: [:])
        let web = try #require(placement.workloads["web"])
        #expect(try web.node == identity("n2"))
        #expect(web.subnet == "10.42.1.0/24" && web.address == "10.42.1.2")
        #expect(web.address6 == ContractPrefix(contract: id).address(subnet: 1, host: 2))
        #expect(placement.workloads["pages"]?.address == nil)
        #expect(try placement.demand(of: contract)[identity("n2")] == contract.demand)
    }

    @Test func theSameInputGivesTheSamePlacement() throws {
        let contract = try contract(full)
        let nodes = try (0..<5).map { try node("n\($0)") }
        let first = try Placer(nodes: nodes, used: [:]).place(contract, id: id)
        #expect(try Placer(nodes: nodes.reversed(), used: [:]).place(contract, id: id) == first)
    }

    @Test func anUpdateKeepsNodeSubnetAndAddresses() throws {
        let text =
            "contract: c\nexpires: 2030-01-01\nworkloads:\n  - { container: a, image: x }\n  - { container: b, image: x }\n"
        let nodes = try (0..<3).map { try node("n\($0)") }
        let old = try contract(text)
        let first = try Placer(nodes: nodes, used: [:]).place(old, id: id)
        let next = try contract(text.replacing("container: a", with: "container: z"), version: 2, id: id)
        let second = try Placer(nodes: nodes.reversed(), used: [:]).place(next, id: id, previous: first, old: old)
        #expect(second.epoch == 2 && second.version == 2)
        #expect(second.workloads["b"] == first.workloads["b"])
        #expect(second.workloads["z"]?.address == "10.42.1.4", "a still has .2 while z starts")
    }

    /// What changed and holds nothing gets another address, so that both instances can run; it is not one of late.
    @Test func aReplacedContainerGetsAFreshAddress() throws {
        func text(_ a: String, _ b: String) -> String {
            """
            contract: c
            expires: 2030-01-01
            workloads:
              - { volume: data, size: 1 GiB }
              - { container: a, image: x, env: { A: "\(a)" } }
              - { container: b, image: x, env: { A: "\(b)" }, volumes: [ { name: data, at: /data } ] }
            """
        }
        let nodes = [try node("n")]
        var version = try contract(text("0", "0"))
        var placement = try Placer(nodes: nodes, used: [:]).place(version, id: id)
        let stays = placement.workloads["b"]
        var late: [String] = []
        for number in 1...600 {
            let next = try contract(text("\(number)", "\(number)"), version: Int64(number) + 1, id: id)
            let old = number % 100 == 0 ? nil : version
            let placed = try Placer(nodes: nodes, used: [:]).place(next, id: id, previous: placement, old: old)
            try placed.validate(against: next, id: id, lastEpoch: placement.epoch, nodes: nodes, used: [:])
            #expect(placed.workloads["b"] == stays, "a volume has one container")
            let address = try #require(placed.workloads["a"]?.address)
            #expect(!late.contains(address))
            late = Array((late + [address]).suffix(100))
            (version, placement) = (next, placed)
        }
        let same = try contract(text("600", "600"), version: 700, id: id)
        let again = try Placer(nodes: nodes, used: [:]).place(same, id: id, previous: placement, old: version)
        #expect(again.workloads == placement.workloads)
    }

    @Test func impossibleConstraintsAndCapacityNameTheWorkload() throws {
        let contract = try contract(full)
        func refusal(_ node: NodeDescription, used: Capacity = .zero) throws -> ContractError {
            try #require(throws: ContractError.self) {
                _ = try Placer(nodes: [node], used: [node.node: used]).place(contract, id: id)
            }
        }
        let country = try refusal(node("n", country: "FR"))
        #expect(country.path == "workloads[0].place" && country.what == "`web` wants country BE")
        let memory = try refusal(node("n", memory: 64 << 20))
        #expect(memory.code == .noCapacity && memory.path == "workloads[0].memory" && memory.why.contains("64 MiB"))
        let storage = try refusal(node("n", storage: 1 << 30), used: Capacity(storage: 1))
        #expect(storage.path == "workloads[1].size" && storage.what == "`pages` wants 1 GiB of storage")
        let none = try #require(throws: ContractError.self) {
            _ = try Placer(nodes: [], used: [:]).place(contract, id: id)
        }
        #expect(none.code == .badPlacement)
    }

    @Test func aVolumeStaysWhereItIs() throws {
        let contract = try contract(full)
        let nodes = [try node("n1"), try node("n2")]
        let first = try Placer(nodes: nodes, used: [:]).place(contract, id: id)
        let home = try #require(first.workloads["pages"]?.node)
        let full = Placer(nodes: nodes, used: [home: Capacity(cpu: 4_000)])
        #expect(throws: ContractError.self) { _ = try full.place(contract, id: id, previous: first) }
        #expect(throws: ContractError.self) {
            _ = try Placer(nodes: nodes.filter { $0.node != home }, used: [:]).place(contract, id: id, previous: first)
        }
    }

    /// Each way to leave the contract's constraints is refused.
    @Test func placementsThatDoNotKeepToTheContractAreRefused() throws {
        let contract = try contract(full)
        let nodes = [try node("n1"), try node("n2", country: "FR")]
        let good = try placed(contract, on: nodes)
        let web = try #require(good.workloads["web"])
        func refused(_ change: (inout [String: PlacedWorkload]) throws -> Void, _ part: String) throws {
            var workloads = good.workloads
            try change(&workloads)
            let bad = Placement(contract: good.contract, version: 1, epoch: 1, workloads: workloads)
            let error = try #require(throws: ContractError.self) {
                try bad.validate(against: contract, id: id, lastEpoch: 0, nodes: nodes, used: [:])
            }
            #expect(error.description.contains(part), "\(error)")
        }
        func place(
            _ node: PublicKey? = nil, subnet: String? = "10.42.1.0/24", address: String? = "10.42.1.2",
            address6: String? = nil,
            port: Int64? = nil, secrets: [String: [UInt8]]? = ["api-token": [1]]
        ) -> PlacedWorkload {
            PlacedWorkload(
                node: node ?? web.node, subnet: subnet, address: address, address6: address6 ?? web.address6,
                port: port, secrets: secrets)
        }
        try refused({ $0["web"] = nil }, "`web` is missing")
        try refused({ $0["more"] = place() }, "not in the contract")
        try refused({ $0["web"] = place(try identity("nobody")) }, "not a node")
        try refused({ $0["web"] = place(try identity("n2")) }, "wants country BE")
        try refused({ $0["pages"] = PlacedWorkload(node: try identity("n2")) }, "apart from its volume")
        try refused({ $0["web"] = place(subnet: nil) }, "no address")
        try refused({ $0["web"] = place(subnet: "10.43.1.0/24", address: "10.43.1.2") }, "is outside")
        try refused({ $0["web"] = place(address: "10.42.1.1") }, "not usable")
        try refused({ $0["web"] = place(address: "10.42.2.2") }, "not usable")
        try refused({ $0["web"] = place(address: "10.42.1.255") }, "not usable")
        try refused({ $0["web"] = place(address6: "fd00::2") }, "not its address")
        try refused({ $0["web"] = place(port: 80) }, "a fixed port")
        try refused({ $0["web"] = place(secrets: nil) }, "not the secrets")
        try refused({ $0["web"] = place(secrets: ["api-token": [1], "x": [1]]) }, "not the secrets")
        try refused({ $0["hello"] = PlacedWorkload(node: web.node, address: "10.42.1.9") }, "more than a node")
        for (epoch, version, contractId) in [(2, 1, id), (0, 1, id), (1, 2, id), (1, 1, zeroDigest)] {
            let bad = Placement(
                contract: contractId, version: Int64(version), epoch: Int64(epoch), workloads: good.workloads)
            #expect(throws: ContractError.self) {
                try bad.validate(against: contract, id: id, lastEpoch: 0, nodes: nodes, used: [:])
            }
        }
        #expect(throws: ContractError.self) {
            try good.validate(
                against: contract, id: id, lastEpoch: 0, nodes: nodes, used: [web.node: Capacity(memory: 8 << 30)])
        }
    }
}

@Suite struct PlanTests {
    let base = """
        contract: c
        expires: 2030-01-01
        workloads:
          - { volume: data, size: 1 GiB }
          - { container: web, image: nginx, memory: 128 MiB, env: { A: one } }
          - { container: db, image: redis, volumes: [ { name: data, at: /data } ] }
          - { gateway: site, to: "web:80" }
        """

    @Test func theSameContractHasNoChanges() throws {
        let plan = ContractPlan(from: try contract(base), to: try contract(base, version: 2, id: SHA256.hash([1])))
        #expect(plan.isEmpty && plan.steps.count == 4)
    }

    @Test func aFirstVersionCreatesEverything() throws {
        let plan = ContractPlan(from: nil, to: try contract(base))
        #expect(plan.steps.allSatisfy { $0.change == .create } && !plan.isEmpty)
    }

    @Test func changesSayWhatAndHow() throws {
        let changed = base.replacing("128 MiB", with: "256 MiB").replacing("A: one", with: "B: two").replacing(
            "1 GiB", with: "2 GiB"
        )
        .replacing("image: redis", with: "image: valkey").replacing("gateway: site", with: "gateway: home")
        let plan = ContractPlan(from: try contract(base), to: try contract(changed, version: 2, id: zeroDigest))
        let steps = Dictionary(uniqueKeysWithValues: plan.steps.map { ($0.name, $0) })
        #expect(steps["web"]?.change == .update && steps["web"]?.method == .replace)
        #expect(
            steps["web"]?.reasons == [
                "memory: 128 MiB -> 256 MiB", "env A: \"one\" -> unset", "env B: unset -> \"two\"",
            ])
        #expect(steps["db"]?.method == .stopThenReplace && steps["db"]?.reasons == ["image: redis -> valkey"])
        #expect(steps["data"]?.method == .inPlace && steps["data"]?.reasons == ["size: 1 GiB -> 2 GiB"])
        #expect(steps["home"]?.change == .create && steps["site"]?.change == .remove)
    }

    @Test func aRebuiltImageIsAChange() throws {
        let plan = ContractPlan(
            from: try contract(base), to: try contract(base, version: 2, id: zeroDigest, root: SHA256.hash([5])))
        #expect(plan.steps.filter { $0.change == .update }.map(\.name) == ["web", "db"])
    }
}
