import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Merkle
import Records
import Testing

/// A generator whose numbers are the same in every run.
private struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// People and nodes that do whatever comes to their mind, possible or not.
@Suite struct RandomTests {
    private struct World {
        var scenario: Scenario
        var people: [Scenario.Person]
        var nodes: [SigningKey]
        var numbers: Numbers
        var contracts: [Digest] = []
        var records: [Digest] = []

        init(_ seed: Int) throws {
            scenario = try Scenario(
                rules: LedgerRules(openContracts: 5, names: 4, images: 3, revealBlocks: 6, nameGrace: 20_000))
            people = []
            nodes = []
            numbers = Numbers(state: UInt64(seed))
            for name in ["alice", "bob", "carol"] { people.append(try scenario.person(name)) }
            for name in ["one", "two"] { nodes.append(try scenario.node(name)) }
        }

        mutating func pick<Item>(_ items: [Item]) -> Item? { items.randomElement(using: &numbers) }
        mutating func chance(_ n: UInt64) -> Bool { numbers.next() % n == 0 }

        /// Something that somebody tries.
        mutating func next() throws -> Record? {
            guard let person = pick(people), let node = pick(nodes) else { return nil }
            let id = pick(contracts) ?? SHA256.hash("none")
            let entry = scenario.state.contract(id)
            switch numbers.next() % 12 {
            case 0, 1: return scenario.record(person.id, person.agent, .contract(try contract(nil)))
            case 2: return scenario.record(person.id, person.agent, .contract(try contract(id)))
            case 3:
                let record = chance(4) ? id : entry?.pending?.record ?? entry?.cancel?.record ?? id
                return scenario.record(person.id, person.agent, .approval(ApprovalBody(record: record, contract: id)))
            case 4: return scenario.record(person.id, person.agent, .cancel(CancelBody(contract: id)))
            case 5, 6:
                guard let version = entry?.versions.last else { return nil }
                let epoch = (scenario.state.placement(id)?.body.epoch ?? 0) + (chance(5) ? 0 : 1)
                let body = try scenario.placement(
                    version.contract, id, on: node.publicKey, version: version.version, epoch: epoch)
                return scenario.record(person.id, person.agent, .placement(body))
            case 7, 8: return scenario.record(node.publicKey, node, .result(result(id, entry)))
            case 9: return scenario.record(person.id, person.agent, .name(name(person)))
            case 10:
                let state: LivenessBody.State = chance(2) ? .up : .down
                return scenario.record(
                    node.publicKey, node, .liveness(LivenessBody(node: node.publicKey, state: state)))
            default: return try identity(person)
            }
        }

        private mutating func contract(_ id: Digest?) throws -> JSONValue {
            var maker = ContractMaker(name: pick(["red", "green", "blue"]) ?? "red", cpu: chance(3) ? 3000 : 200)
            if let id, let entry = scenario.state.contract(id) {
                maker.id = id
                maker.name = entry.name
                maker.version = (entry.approved?.version ?? 1) + 1
            }
            maker.expires = scenario.time + 1000 + Int64(numbers.next() % 200_000)
            if chance(2) { maker.approvals = ContractMaker.rule(Int64(1 + numbers.next() % 2), people) }
            if chance(4) { maker.gateway = pick(["north", "south"]) }
            if chance(4) { maker.planner = pick(people)?.id }
            return try maker.body()
        }

        private mutating func result(_ id: Digest, _ entry: ContractEntry?) -> ResultBody {
            let placement = scenario.state.placement(id)?.body
            let state = pick(WorkloadResult.State.allCases) ?? .running
            return ResultBody(
                contract: id, version: placement?.version ?? 1, epoch: placement?.epoch ?? 1,
                workloads: ["web": WorkloadResult(state: state, since: scenario.time)])
        }

        private mutating func name(_ person: Scenario.Person) -> NameBody {
            let name = pick(["north", "south", "east"]) ?? "north"
            let nonce = [UInt8](repeating: 3, count: 16)
            let expires = scenario.time + 500 + Int64(numbers.next() % 100_000)
            switch numbers.next() % 4 {
            case 0: return .commit(hash: NameBody.commitment(name: name, nonce: nonce, holder: person.id))
            case 1: return .reveal(name: name, nonce: nonce, expires: expires)
            case 2: return .renew(name: name, expires: expires)
            default: return .transfer(name: name, to: pick(people)?.id ?? person.id)
            }
        }

        private mutating func identity(_ person: Scenario.Person) throws -> Record {
            var keys = [AgentKey(key: person.id, roles: [.owner])]
            let roles: Set<Role> = chance(4) ? [.plan] : [.approve, .deploy, .plan]
            if !chance(6) { keys.append(AgentKey(key: person.agent.publicKey, roles: roles)) }
            return scenario.record(person.id, person.owner, .identity(IdentityBody(keys: keys)))
        }
    }

    @Test(arguments: 0..<6) func whateverIsTriedTheStateHolds(seed: Int) throws {
        var world = try World(seed)
        var codes: [AdmissionError.Code: Int] = [:]
        for _ in 0..<150 {
            world.scenario.time += Int64(world.numbers.next() % 3000)
            let root = world.scenario.state.root
            guard let record = try world.next() else { continue }
            if let refusal = world.scenario.refusal(record) {
                codes[refusal.code, default: 0] += 1
                world.scenario.sequences[record.key, default: 1] -= 1
                #expect(world.scenario.state.root == root)
                continue
            }
            try world.scenario.block(record)
            if case .contract(let body) = record.body, body["id"] == nil { world.contracts.append(record.id) }
            try check(world.scenario.state, world.nodes)
        }
        #expect(codes.count > 8, "few ways to be refused: \(codes)")
        var chain = LedgerChain(genesis: world.scenario.chain.genesis)
        for block in world.scenario.blocks { try chain.replay(Block(canonical: block.canonicalBytes)) }
        #expect(chain.state.root == world.scenario.state.root)
        let key = world.scenario.member
        let checkpoint = chain.checkpoint.signed([
            RecordSignature(by: key.publicKey, bytes: key.sign(chain.checkpoint.signingMessage))
        ])
        let stored = LedgerSnapshot.bytes(chain, checkpoint)
        #expect(try LedgerSnapshot.read(stored, genesis: chain.genesis).0.state.root == chain.state.root)
    }

    /// What must hold in every state.
    private func check(_ state: LedgerState, _ nodes: [SigningKey]) throws {
        for node in nodes {
            let capacity = try #require(state.node(node.publicKey)).body.capacity
            let used = state.used(on: node.publicKey)
            #expect(used.cpu <= capacity.cpu && used.memory <= capacity.memory && used.storage <= capacity.storage)
        }
        for id in state.contracts {
            let entry = try #require(state.contract(id))
            if let placement = state.placement(id) {
                #expect(entry.state == .approved || entry.state == .cancelling)
                #expect(entry.version(placement.body.version) != nil)
            }
            #expect(entry.versions.count <= 2)
            #expect((entry.state == .proposed) == (entry.versions.isEmpty && !entry.isOver))
            if !entry.isOver { #expect(entry.expires ?? 0 > state.time || entry.state == .proposed) }
        }
    }
}
