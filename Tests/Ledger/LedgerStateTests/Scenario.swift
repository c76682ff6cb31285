import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records
import Testing

/// A key that is the same in every run.
func testKey(_ name: String) throws -> SigningKey { try SigningKey(seed: SHA256.hash("key of \(name)").bytes) }

/// A small world around a ledger: people with agent keys, a node, blocks made of their records.
struct Scenario {
    /// A person: the first key owns the identity, the agent key does the work.
    struct Person {
        let owner: SigningKey
        let agent: SigningKey
        var id: PublicKey { owner.publicKey }
    }

    static let start: Int64 = 1_800_000_000_000
    static let year: Int64 = 365 * 86_400_000

    let member: SigningKey
    var chain: LedgerChain
    var blocks: [Block] = []
    var time = start
    /// The last `seq` of each key, as its owner counts.
    var sequences: [PublicKey: Int64] = [:]

    init(rules: LedgerRules = .local, nonce: String = "nonce") throws {
        member = try testKey("member")
        chain = LedgerChain(
            genesis: Genesis(members: [member.publicKey], nonce: SHA256.hash(nonce), rules: rules))
    }

    var state: LedgerState { chain.state }
    var ledger: Digest { chain.state.ledger }

    /// The next record of a key, signed.
    mutating func record(_ author: PublicKey, _ key: SigningKey, _ body: RecordBody) -> Record {
        let seq = sequences[key.publicKey, default: 0] + 1
        sequences[key.publicKey] = seq
        return RecordDraft(author: author, key: key.publicKey, seq: seq, body: body).signed(by: key, ledger: ledger)
    }

    /// Makes a block of records; all of them must be admitted.
    mutating func block(_ records: Record...) throws { try block(records) }

    mutating func block(_ records: [Record]) throws {
        time += 1000
        let proposal = chain.propose(records, time: time)
        for outcome in proposal.outcomes { _ = try outcome.get() }
        let block = try #require(proposal.block)
        blocks.append(block)
        chain = proposal.chain
        #expect(chain.state.isConsistent)
    }

    /// Makes a block of one record of a person's agent key; returns the record.
    @discardableResult
    mutating func write(_ person: Person, _ body: RecordBody) throws -> Record {
        let record = record(person.id, person.agent, body)
        do { try block(record) } catch {
            sequences[person.agent.publicKey, default: 1] -= 1
            throw error
        }
        return record
    }

    /// What the ledger says to a record, without writing it.
    func refusal(_ record: Record) -> AdmissionError? {
        var state = chain.state
        do {
            try state.begin(time: time + 1000)
            try state.apply(record)
            return nil
        } catch { return error }
    }

    /// The next record of a person's agent key, which is not counted: it is going to be refused.
    mutating func attempt(_ person: Person, _ body: RecordBody) -> AdmissionError? {
        let record = record(person.id, person.agent, body)
        sequences[person.agent.publicKey, default: 1] -= 1
        return refusal(record)
    }

    /// A new identity whose agent key has every role but `owner`.
    mutating func person(_ name: String, roles: Set<Role> = [.deploy, .plan, .approve]) throws -> Person {
        let person = Person(owner: try testKey(name), agent: try testKey("\(name)'s laptop"))
        let body = IdentityBody(
            keys: [
                AgentKey(key: person.id, roles: [.owner]), AgentKey(key: person.agent.publicKey, roles: roles),
            ], name: name)
        try block(record(person.id, person.owner, .identity(body)))
        return person
    }

    /// A node of 4 cores, 8 GiB and 100 GiB.
    mutating func node(_ name: String, country: String? = "BE", farm: PublicKey? = nil) throws -> SigningKey {
        let key = try testKey(name)
        try block(record(key.publicKey, key, .identity(.node(key.publicKey, name: name))))
        let body = NodeBody(
            capacity: Capacity(cpu: 4000, memory: 8 << 30, storage: 100 << 30), country: country, farm: farm,
            sealing: SHA256.hash("\(name) sealing").bytes, arch: "amd64")
        try block(record(key.publicKey, key, .node(body)))
        return key
    }

    /// Reserves and reveals a name.
    mutating func name(_ name: String, _ person: Person) throws {
        let nonce = [UInt8](repeating: 7, count: 16)
        let hash = NameBody.commitment(name: name, nonce: nonce, holder: person.id)
        try write(person, .name(.commit(hash: hash)))
        try write(person, .name(.reveal(name: name, nonce: nonce, expires: time + Scenario.year)))
    }
}

/// A contract with one container.
struct ContractMaker {
    var name = "hello"
    var version: Int64 = 1
    var id: Digest?
    var expires = Scenario.start + Scenario.year
    var cpu: Int64 = 500
    var memory: Int64 = 128 << 20
    var place: JSONValue?
    var gateway: String?
    var approvals: JSONValue?
    var planner: PublicKey?

    func body() throws -> JSONValue {
        let author = try testKey("image author").publicKey
        var container: JSONValue = [
            "type": "container", "name": "web", "cpu": .integer(cpu), "memory": .integer(memory), "env": [:],
            "secrets": [:], "volumes": [], "restart": "always", "partition": "keep",
            "image": [
                "name": "examples/nginx", "author": .string(author.address), "root": .string(SHA256.hash("root").hex),
                "record": .string(SHA256.hash("image").hex),
            ],
        ]
        if let place { container["place"] = place }
        var workloads: [JSONValue] = [container]
        if let gateway {
            workloads.append(["type": "gateway", "name": .string(gateway), "to": ["workload": "web", "port": 80]])
        }
        var body: JSONValue = [
            "name": .string(name), "version": .integer(version), "expires": .integer(expires),
            "network": ["range": "10.42.0.0/16"], "workloads": .array(workloads),
        ]
        if let id { body["id"] = .string(id.hex) }
        if let approvals { body["approvals"] = approvals }
        if let planner { body["planner"] = .string(planner.address) }
        // What is signed is what module Contracts writes.
        return try Contract(body: body).body
    }

    static func rule(_ need: Int64, _ people: [Scenario.Person], on: [JSONValue] = ["deploy", "update", "cancel"])
        -> JSONValue
    {
        let weights = people.map { ($0.id.address, JSONValue.integer(1)) }
        return [
            "need": .integer(need), "of": .object(Dictionary(weights, uniquingKeysWith: { first, _ in first })),
            "on": .array(on),
        ]
    }
}

extension Scenario {
    /// A placement of everything on one node, as module Contracts chooses it.
    func placement(_ id: Digest, on node: PublicKey, version: Int64 = 1, epoch: Int64 = 1) throws -> PlacementBody {
        let contract = try #require(state.contract(id)?.versions.last ?? nil).contract
        return try placement(contract, id, on: node, version: version, epoch: epoch)
    }

    func placement(
        _ contract: Contract, _ id: Digest, on node: PublicKey, version: Int64, epoch: Int64
    ) throws -> PlacementBody {
        var workloads: [String: PlacedWorkload] = [:]
        let prefix = ContractPrefix(contract: id)
        let subnet = try #require(IPv4Range("10.42.1.0/24"))
        let index = try #require(contract.range.index(of: subnet))
        for workload in contract.workloads {
            guard case .container = workload else {
                workloads[workload.name] = PlacedWorkload(node: node)
                continue
            }
            workloads[workload.name] = PlacedWorkload(
                node: node, subnet: "10.42.1.0/24", address: "10.42.1.2",
                address6: prefix.address(subnet: index, host: 2))
        }
        return PlacementBody(contract: id, version: version, epoch: epoch, workloads: workloads)
    }
}
