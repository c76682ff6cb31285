import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Records
import Testing

@Suite struct ContractAdmissionTests {
    @Test func missingApprovalsKeepAContractFromBeingPlaced() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let (auditor, legal) = (try world.person("auditor"), try world.person("legal"))
        let node = try world.node("node-1")
        let maker = ContractMaker(approvals: ContractMaker.rule(2, [alice, auditor, legal]))
        let record = try world.write(alice, .contract(maker.body()))
        let id = record.id
        #expect(world.state.status(id) == .proposed)
        let contract = try Contract(body: maker.body())
        let placement = try world.placement(contract, id, on: node.publicKey, version: 1, epoch: 1)
        #expect(world.attempt(alice, .placement(placement))?.code == .notApproved)

        let approval = RecordBody.approval(ApprovalBody(record: id, contract: id))
        try world.write(auditor, approval)
        #expect(world.state.status(id) == .proposed)
        #expect(world.attempt(auditor, approval)?.code == .duplicate)
        let refusal = world.attempt(alice, .placement(placement))
        let error = try #require(refusal)
        #expect(error.message.contains(legal.id.address) && !error.message.contains(auditor.id.address))
        let mallory = try world.person("mallory")
        #expect(world.attempt(mallory, approval)?.code == .notStakeholder)
        let wrong = RecordBody.approval(ApprovalBody(record: SHA256.hash("other"), contract: id))
        #expect(world.attempt(legal, wrong)?.code == .notPending)

        try world.write(legal, approval)
        #expect(world.state.status(id) == .approved)
        try world.write(alice, .placement(placement))
        #expect(world.attempt(alice, approval)?.code == .notPending)
    }

    @Test func aVersionThatDropsItsOwnApproverNeedsThatApprover() throws {
        var world = try Scenario()
        let (alice, auditor) = (try world.person("alice"), try world.person("auditor"))
        let node = try world.node("node-1")
        let maker = ContractMaker(approvals: ContractMaker.rule(1, [auditor]))
        let id = try world.write(alice, .contract(maker.body())).id
        try world.write(auditor, .approval(ApprovalBody(record: id, contract: id)))
        try world.write(alice, .placement(world.placement(id, on: node.publicKey)))

        var second = ContractMaker(version: 2, id: id, cpu: 700)
        second.approvals = ContractMaker.rule(1, [alice])
        let update = try world.write(alice, .contract(second.body()))
        // Alice alone satisfies the new rule, not the one in force.
        try world.write(alice, .approval(ApprovalBody(record: update.id, contract: id)))
        #expect(world.state.contract(id)?.approved?.version == 1)
        let placement = try world.placement(
            Contract(body: second.body()), id, on: node.publicKey, version: 2, epoch: 2)
        #expect(world.attempt(alice, .placement(placement))?.code == .notApproved)
        try world.write(auditor, .approval(ApprovalBody(record: update.id, contract: id)))
        #expect(world.state.contract(id)?.approved?.version == 2)
        // The node still runs version 1 until version 2 is placed.
        #expect(world.state.contract(id)?.versions.map(\.version) == [1, 2])
        try world.write(alice, .placement(placement))
        #expect(world.state.contract(id)?.versions.map(\.version) == [2])
        #expect(world.state.used(on: node.publicKey).cpu == 700)
    }

    @Test func versionsFollowWithoutGapsAndByTheirAuthor() throws {
        var world = try Scenario()
        let (alice, bob) = (try world.person("alice"), try world.person("bob"))
        let id = try world.write(alice, .contract(ContractMaker().body())).id
        func update(_ version: Int64, name: String = "hello") throws -> RecordBody {
            .contract(try ContractMaker(name: name, version: version, id: id).body())
        }
        var first = try ContractMaker(version: 2, id: id).body()
        first["version"] = 1
        #expect(world.attempt(alice, .contract(first))?.code == .badContract)
        #expect(world.attempt(alice, try update(3))?.code == .badVersion)
        #expect(world.attempt(alice, try update(2, name: "other"))?.code == .badVersion)
        #expect(world.attempt(bob, try update(2))?.code == .notAuthor)
        #expect(world.attempt(alice, .contract(try ContractMaker().body()))?.code == .nameTaken)
        let elsewhere = RecordBody.contract(try ContractMaker(version: 2, id: SHA256.hash("x")).body())
        #expect(world.attempt(alice, elsewhere)?.code == .unknownContract)
        try world.write(alice, update(2))
        #expect(world.attempt(alice, try update(2))?.code == .badVersion)
        try world.write(alice, update(3))
        #expect(world.state.contract(id)?.approved?.version == 3)
    }

    @Test func aCancelNeedsItsApprovals() throws {
        var world = try Scenario()
        let (alice, auditor) = (try world.person("alice"), try world.person("auditor"))
        let maker = ContractMaker(approvals: ContractMaker.rule(1, [auditor], on: ["cancel"]))
        let id = try world.write(alice, .contract(maker.body())).id
        #expect(world.state.status(id) == .approved)
        #expect(world.attempt(auditor, .cancel(CancelBody(contract: id)))?.code == .notAuthor)
        let cancel = try world.write(alice, .cancel(CancelBody(contract: id)))
        #expect(world.state.status(id) == .approved)
        #expect(world.attempt(alice, .cancel(CancelBody(contract: id)))?.code == .duplicate)
        try world.write(auditor, .approval(ApprovalBody(record: cancel.id, contract: id)))
        #expect(world.state.status(id) == .cancelled)
    }

    @Test func placementsKeepToConstraintsEpochsAndCapacity() throws {
        var world = try Scenario()
        let (alice, bob) = (try world.person("alice"), try world.person("bob"))
        let node = try world.node("node-1", country: "BE")
        let far = try world.node("node-2", country: "ZA")
        let id = try world.write(alice, .contract(ContractMaker(place: ["country": "BE"]).body())).id
        #expect(world.attempt(alice, .placement(try world.placement(id, on: far.publicKey)))?.code == .badPlacement)
        let stranger = try testKey("no node").publicKey
        #expect(world.attempt(alice, .placement(try world.placement(id, on: stranger)))?.code == .badPlacement)
        let good = try world.placement(id, on: node.publicKey)
        #expect(world.attempt(bob, .placement(good))?.code == .notAuthor)
        let skipping = try world.placement(id, on: node.publicKey, epoch: 2)
        #expect(world.attempt(alice, .placement(skipping))?.code == .skippedEpoch)
        try world.write(alice, .placement(good))
        #expect(world.attempt(alice, .placement(good))?.code == .oldEpoch)
        let later = try world.placement(id, on: node.publicKey, version: 2, epoch: 2)
        #expect(world.attempt(alice, .placement(later))?.code == .notApproved)

        let big = try world.write(alice, .contract(ContractMaker(name: "big", cpu: 3600).body())).id
        #expect(world.attempt(alice, .placement(try world.placement(big, on: node.publicKey)))?.code == .noCapacity)
        try world.write(alice, .placement(world.placement(big, on: far.publicKey)))
        // Moving it frees what it had.
        let other = try world.write(alice, .contract(ContractMaker(name: "other", cpu: 3000).body())).id
        #expect(world.attempt(alice, .placement(try world.placement(other, on: far.publicKey)))?.code == .noCapacity)
        try world.write(alice, .cancel(CancelBody(contract: big)))
        #expect(world.attempt(alice, .placement(try world.placement(other, on: far.publicKey)))?.code == .noCapacity)
        let removed = ResultBody(
            contract: big, version: 1, epoch: 1, workloads: ["web": WorkloadResult(state: .removed, since: 1)])
        try world.block(world.record(far.publicKey, far, .result(removed)))
        #expect(world.attempt(alice, .placement(try world.placement(other, on: far.publicKey))) == nil)
    }

    @Test func aPlannerMayPlaceAndNothingElse() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let robot = try world.person("robot", roles: [.plan])
        let node = try world.node("node-1")
        let id = try world.write(alice, .contract(ContractMaker(planner: robot.id).body())).id
        try world.write(robot, .placement(world.placement(id, on: node.publicKey)))
        #expect(world.state.placement(id)?.body.epoch == 1)
        #expect(world.attempt(robot, .cancel(CancelBody(contract: id)))?.code == .wrongRole)
    }

    @Test func movedWorkloadsAreRemovedFromTheirOldNodes() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let (one, two) = (try world.node("node-1"), try world.node("node-2"))
        let id = try world.write(alice, .contract(ContractMaker().body())).id
        try world.write(alice, .placement(world.placement(id, on: one.publicKey)))
        try world.write(alice, .placement(world.placement(id, on: two.publicKey, epoch: 2)))
        #expect(world.state.placement(id)?.leaving == [one.publicKey])
        #expect(world.state.contracts(on: one.publicKey) == [id])
        func result(_ epoch: Int64, _ state: WorkloadResult.State) -> RecordBody {
            let workloads = ["web": WorkloadResult(state: state, since: 1)]
            return .result(ResultBody(contract: id, version: 1, epoch: epoch, workloads: workloads))
        }
        try world.block(world.record(one.publicKey, one, result(1, .removed)))
        #expect(world.state.placement(id)?.leaving == [])
        #expect(world.state.contracts(on: one.publicKey) == [])
        let late = world.record(one.publicKey, one, result(1, .running))
        #expect(world.refusal(late)?.code == .notPlaced)
        try world.block(world.record(two.publicKey, two, result(2, .running)))
        let old = world.record(two.publicKey, two, result(1, .running))
        #expect(world.refusal(old)?.code == .oldEpoch)
    }

    @Test func contractsExpireWithoutAnyRecord() throws {
        var world = try Scenario()
        let alice = try world.person("alice")
        let node = try world.node("node-1")
        let id = try world.write(alice, .contract(ContractMaker(expires: world.time + 60_000).body())).id
        try world.write(alice, .placement(world.placement(id, on: node.publicKey)))
        #expect(world.state.due == world.state.contract(id)?.expires)
        #expect(world.chain.propose([], time: world.time + 1).block == nil)
        world.time += 100_000
        try world.block()
        #expect(world.state.status(id) == .cancelling)
        #expect(world.blocks.last?.records == [])
        #expect(world.state.due == nil)
        let past = RecordBody.contract(try ContractMaker(name: "past", expires: world.time).body())
        #expect(world.attempt(alice, past)?.code == .badTime)
        let far = RecordBody.contract(try ContractMaker(name: "far", expires: world.time + 9 * Scenario.year).body())
        #expect(world.attempt(alice, far)?.code == .badTime)
    }

    @Test func namesAreReservedRevealedRenewedAndTransferred() throws {
        var world = try Scenario(rules: LedgerRules(revealBlocks: 3, nameGrace: 10_000))
        let (alice, bob) = (try world.person("alice"), try world.person("bob"))
        let nonce = [UInt8](repeating: 1, count: 16)
        let end = world.time + 100_000
        func reveal(_ name: String, _ expires: Int64) -> RecordBody {
            .name(.reveal(name: name, nonce: nonce, expires: expires))
        }
        func commit(_ name: String, _ person: Scenario.Person) -> RecordBody {
            .name(.commit(hash: NameBody.commitment(name: name, nonce: nonce, holder: person.id)))
        }
        #expect(world.attempt(alice, reveal("hello", end))?.code == .unknownCommit)
        try world.write(alice, commit("hello", alice))
        #expect(world.attempt(bob, reveal("hello", end))?.code == .unknownCommit)
        try world.write(alice, reveal("hello", end))
        #expect(world.state.holds("hello", alice.id))
        // Commits are kept for as many blocks as the rules say.
        try world.write(bob, commit("later", bob))
        for number in 0..<4 { try world.write(alice, .contract(ContractMaker(name: "c\(number)").body())) }
        #expect(world.attempt(bob, reveal("later", end))?.code == .unknownCommit)
        // A gateway routes a name that its author holds.
        let routed = RecordBody.contract(try ContractMaker(name: "routed", gateway: "hello").body())
        #expect(world.attempt(bob, routed)?.code == .nameNotHeld)
        try world.write(alice, routed)
        let again = RecordBody.contract(try ContractMaker(name: "again", gateway: "hello").body())
        #expect(world.attempt(alice, again)?.code == .nameTaken)
        // Taken while it is held, and in its grace.
        try world.write(bob, commit("hello", bob))
        #expect(world.attempt(bob, reveal("hello", end))?.code == .nameTaken)
        #expect(world.attempt(bob, .name(.renew(name: "hello", expires: end + 1)))?.code == .nameNotHeld)
        try world.write(alice, .name(.renew(name: "hello", expires: end + 50_000)))
        try world.write(alice, .name(.transfer(name: "hello", to: bob.id)))
        #expect(world.attempt(alice, .name(.transfer(name: "hello", to: alice.id)))?.code == .nameNotHeld)
        #expect(world.state.holds("hello", bob.id))
        world.time = end + 55_000
        try world.write(alice, commit("hello", alice))
        #expect(!world.state.holds("hello", bob.id))
        #expect(world.attempt(alice, reveal("hello", end + 200_000))?.code == .nameTaken)
        #expect(world.attempt(bob, .name(.renew(name: "hello", expires: end + 200_000))) == nil)
        world.time = end + 61_000
        try world.write(alice, reveal("hello", end + 200_000))
        #expect(world.state.holds("hello", alice.id))
    }
}
