import CanonicalJSON
import Contracts
import Crypto
import LedgerState
import Linux
import Records
import Testing

@testable import CommandLine

/// A ledger in memory with one node, one author and an image.
private struct World {
    var state: LedgerState
    let keys: KeyRing
    let author: SigningKey
    let node: SigningKey
    let identity: LocalIdentity
    private var sequences: [PublicKey: Int64] = [:]
    private var time: Int64 = 1_800_000_000_000

    static func key(_ name: String) throws -> SigningKey { try SigningKey(seed: SHA256.hash(Array(name.utf8)).bytes) }

    init() throws {
        author = try World.key("author")
        node = try World.key("node")
        keys = KeyRing(folder: "/tmp/zero-none-\(Hex16.random())")
        identity = LocalIdentity(
            name: "author", address: author.publicKey, agent: author.publicKey, agentBox: .object([:]))
        state = LedgerState(genesis: Genesis(members: [node.publicKey], nonce: SHA256.hash([0])))
        try write(
            .identity(
                IdentityBody(keys: [AgentKey(key: author.publicKey, roles: [.owner, .deploy, .plan, .approve])])),
            author)
        try write(.identity(.node(node.publicKey)), node)
        let sealing = try SealingKey(from: node).publicKey.bytes
        try write(
            .node(
                NodeBody(
                    capacity: Capacity(cpu: 2_000, memory: 4 << 30, storage: 8 << 30), sealing: sealing, arch: "amd64")),
            node)
        try publish("examples/nginx", root: 1)
    }

    @discardableResult mutating func write(_ body: RecordBody, _ key: SigningKey) throws -> Record {
        time += 1_000
        try state.begin(time: time)
        let seq = sequences[key.publicKey, default: 0] + 1
        let record = RecordDraft(author: key.publicKey, seq: seq, body: body).signed(by: key, ledger: state.ledger)
        try state.apply(record)
        sequences[key.publicKey] = seq
        return record
    }

    mutating func publish(_ name: String, root: UInt8, isPublic: Bool = true, by key: SigningKey? = nil) throws {
        let key = key ?? author
        let sealed = try SecretEnvelope.sealKey(
            Array(repeating: 7, count: 32), name: "image", contract: nil, to: SealingPublicKey(from: key.publicKey))
        let variant = ImageBody.Variant(
            arch: "amd64", root: SHA256.hash([root]), key: isPublic ? SHA256.hash([3]).bytes : nil,
            sealed: isPublic ? nil : [key.publicKey: sealed], config: ["cmd": ["nginx"]], size: 1)
        try write(.image(ImageBody(name: name, isPublic: isPublic, index: [variant], stores: [])), key)
    }

    func deployment(_ text: String, given: Set<String> = []) throws -> Deployment {
        let draft = try ContractSource.read(Array(text.utf8), file: "shop.yaml")
        return try Deployment(draft, in: state, as: identity, keys: keys, given: given, now: time)
    }

    /// Signs and places what a file says, as the command does.
    mutating func deploy(_ text: String, secrets: [String: SealedSecret] = [:]) throws {
        let deployment = try deployment(text, given: Set(secrets.keys))
        for name in try deployment.names().take {
            let nonce = Array(repeating: UInt8(9), count: 16)
            let hash = NameBody.commitment(name: name, nonce: nonce, holder: author.publicKey)
            try write(.name(.commit(hash: hash)), author)
            try write(.name(.reveal(name: name, nonce: nonce, expires: deployment.contract.expires)), author)
        }
        let record = try write(.contract(deployment.sealed(secrets).body), author)
        let id = deployment.id ?? record.id
        guard let contract = state.contract(id)?.approved?.contract else { return }
        let sealer = PlacementSealer(
            contract: contract, known: [:], images: deployment.privateImages, readers: [author])
        try write(.placement(try sealer.seal(deployment.placement(of: contract, id: id, in: state), in: state)), author)
    }

    func secret(_ name: String, _ value: String) throws -> SealedSecret {
        let (box, key) = try SecretEnvelope.seal(value: Array(value.utf8))
        return SealedSecret(
            box: box,
            keys: [
                author.publicKey: try SecretEnvelope.sealKey(
                    key, name: name, contract: nil, to: SealingPublicKey(from: author.publicKey))
            ])
    }
}

@Suite struct DeploymentTests {
    let shop = """
        contract: shop
        expires: 2027-12-31
        workloads:
          - container: web
            image: examples/nginx
            memory: 128 MiB
          - gateway: shop
            to: web:80
        """

    @Test func theFirstTimeEverythingIsNewAndThenNothing() throws {
        var world = try World()
        let first = try world.deployment(shop)
        #expect(first.id == nil && !first.isUnchanged && first.contract.version == 1)
        #expect(try first.names().take == ["shop"])
        try world.deploy(shop)
        let second = try world.deployment(shop)
        #expect(second.isUnchanged && second.id != nil && second.contract.version == 2)
        #expect(try second.names() == ([], []))
    }

    @Test func aChangeIsVersionTwoOfTheSameContract() throws {
        var world = try World()
        try world.deploy(shop)
        let change = shop.replacing("128 MiB", with: "256 MiB")
        let deployment = try world.deployment(change)
        #expect(!deployment.isUnchanged && deployment.contract.id == deployment.id)
        try world.deploy(change)
        #expect(try world.deployment(change).isUnchanged)
        let id = try #require(deployment.id)
        #expect(world.state.placement(id)?.body.epoch == 2)
    }

    @Test func aRebuiltImageIsAChange() throws {
        var world = try World()
        try world.deploy(shop)
        try world.publish("examples/nginx", root: 2)
        #expect(!(try world.deployment(shop).isUnchanged))
        try world.write(.image(ImageBody(removing: "examples/nginx")), world.author)
        let error = #expect(throws: ContractSourceError.self) { _ = try world.deployment(shop) }
        #expect(error?.description.contains("shop.yaml:5:12: there is no image `examples/nginx`") == true)
    }

    @Test func aLongerContractRenewsItsNames() throws {
        var world = try World()
        try world.deploy(shop)
        #expect(try world.deployment(shop.replacing("2027-12-31", with: "2028-12-31")).names() == ([], ["shop"]))
    }

    @Test func namesThatOthersHoldPointAtTheirLine() throws {
        var world = try World()
        let other = try World.key("other")
        try world.write(
            .identity(IdentityBody(keys: [AgentKey(key: other.publicKey, roles: [.owner, .deploy])])), other)
        let nonce = Array(repeating: UInt8(1), count: 16)
        try world.write(
            .name(.commit(hash: NameBody.commitment(name: "shop", nonce: nonce, holder: other.publicKey))), other)
        try world.write(.name(.reveal(name: "shop", nonce: nonce, expires: 1_900_000_000_000)), other)
        let taken = #expect(throws: ContractSourceError.self) { _ = try world.deployment(shop).names() }
        #expect(taken?.description.contains("shop.yaml:7:14: the name `shop` is taken") == true)
        let own = shop.replacing("gateway: shop", with: "gateway: mine")
        try world.deploy(own)
        let second = own.replacing("contract: shop", with: "contract: shop2").replacing("128", with: "64")
        let inUse = #expect(throws: ContractSourceError.self) { _ = try world.deployment(second).names() }
        #expect(inUse?.description.contains("is in use") == true)
    }

    @Test func impossibleCapacityPointsAtTheWorkload() throws {
        let world = try World()
        let deployment = try world.deployment(shop.replacing("128 MiB", with: "5 GiB"))
        let error = #expect(throws: ContractSourceError.self) {
            _ = try deployment.placement(of: deployment.contract, id: SHA256.hash([]), in: world.state)
        }
        #expect(error?.description.contains("shop.yaml:6:13: `web` wants 5 GiB of memory") == true)
    }

    @Test func aContractThatEndsInThePastIsRefused() throws {
        let error = #expect(throws: ContractSourceError.self) {
            _ = try World().deployment(shop.replacing("2027", with: "2026"))
        }
        #expect(error?.description.contains("shop.yaml:2:10: the contract ends in the past") == true)
    }

    @Test func secretsStayAsTheyAreUntilTheyAreGivenAgain() throws {
        var world = try World()
        let text = shop.replacing("memory: 128 MiB", with: "env: { A: { secret: key } }")
        #expect(try world.deployment(text).fresh == ["key"])
        let secret = try world.secret("key", "planted")
        try world.deploy(text, secrets: ["key": secret])
        let again = try world.deployment(text)
        #expect(again.isUnchanged && again.fresh.isEmpty && again.contract.secrets == ["key": secret])
        let given = try world.deployment(text, given: ["key"])
        #expect(!given.isUnchanged && given.fresh == ["key"])
        let id = try #require(again.id)
        let placed = try #require(world.state.placement(id)?.body.workloads["web"]?.secrets?["key"])
        let opened = try SecretEnvelope.openKey(
            placed, name: "key", contract: id.hex, with: SealingKey(from: world.node))
        #expect(try SecretEnvelope.open(box: secret.box, key: opened) == Array("planted".utf8))
    }

    @Test func aVersionThatWaitsIsRecognised() throws {
        var world = try World()
        let guarded = shop + "\napprovals: { need: 1, of: { \(world.author.publicKey.address): 1 } }"
        try world.deploy(guarded)
        let waiting = try world.deployment(guarded)
        #expect(waiting.isPending && !waiting.isUnchanged)
        let changed = #expect(throws: CommandError.self) {
            _ = try world.deployment(guarded.replacing("128", with: "64"))
        }
        #expect(changed?.exit == .waiting)
        let id = try #require(waiting.id)
        let record = try #require(world.state.contract(id)?.pending?.record)
        try world.write(.approval(ApprovalBody(record: record, contract: id)), world.author)
        #expect(try world.deployment(guarded).isUnchanged)
        let update = guarded.replacing("128", with: "64")
        #expect(!(try world.deployment(update).isPending))
        try world.deploy(update)
        #expect(try world.deployment(update).isPending)
        #expect(try world.deployment(guarded).isUnchanged)
    }

    @Test func privateImagesTravelWithThePlacement() throws {
        var world = try World()
        try world.publish("mine", root: 4, isPublic: false)
        let text = shop.replacing("examples/nginx", with: "mine")
        #expect(try world.deployment(text).privateImages.keys.sorted() == ["web"])
        try world.deploy(text)
        let id = try #require(try world.deployment(text).id)
        let sealed = try #require(world.state.placement(id)?.body.workloads["web"]?.secrets?["image"])
        #expect(
            try SecretEnvelope.openKey(sealed, name: "image", contract: id.hex, with: SealingKey(from: world.node))
                == Array(repeating: 7, count: 32))
        let stranger = try World.key("stranger")
        #expect(throws: CommandError.self) {
            _ = try PlacementSealer.imageKey(
                try #require(world.state.image(world.author.publicKey, "mine")?.body.index.first), "mine", [stranger])
        }
    }

    @Test func imagesOfOthersByNameOrAuthor() throws {
        var world = try World()
        let other = try World.key("other")
        try world.write(
            .identity(IdentityBody(keys: [AgentKey(key: other.publicKey, roles: [.owner, .deploy])])), other)
        try world.publish("tools/redis", root: 5, by: other)
        for name in ["tools/redis", "\(other.publicKey.address)/tools/redis"] {
            let deployment = try world.deployment(shop.replacing("examples/nginx", with: name))
            #expect(deployment.contract.containers.first?.image.author == other.publicKey)
            #expect(deployment.contract.containers.first?.image.name == "tools/redis")
        }
        try world.publish("hidden", root: 6, isPublic: false, by: other)
        #expect(throws: ContractSourceError.self) {
            _ = try world.deployment(shop.replacing("examples/nginx", with: "hidden"))
        }
        let near = #expect(throws: ContractSourceError.self) {
            _ = try world.deployment(shop.replacing("examples/nginx", with: "tools/reddis"))
        }
        #expect(near?.description.contains("did you mean `tools/redis`?") == true)
    }
}
