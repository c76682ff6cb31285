import CanonicalJSON
import Contracts
import Crypto
import Records
import Testing

@Suite("Zdbs in contracts") struct ZDBTests {
    private let id = zeroDigest

    private func text(_ zdb: String = "", more: String = "") -> String {
        """
        contract: c
        expires: 2030-01-01
        workloads:
          - zdb: index
            size: 1 GiB
        \(zdb)
          - { container: web, image: nginx, env: { A: "1", P: { secret: key } } }
        \(more)
        """
    }

    @Test func defaultsAreWrittenOut() throws {
        let body = try contract(text()).body
        let zdb = try #require(body["workloads"]?.array?.first)
        let expected: JSONValue = [
            "type": "zdb", "name": "index", "size": 1_073_741_824, "mode": "user", "public": false, "worm": false,
        ]
        #expect(zdb == expected)
        #expect(try Contract(body: body).zdbs.first?.mode == .user)
        #expect(try Contract(body: body).demand.storage == 1 << 30)
    }

    @Test func everyFieldIsRead() throws {
        let contract = try contract(
            text(
                "    mode: ordered\n    password: { secret: key }\n    public: true\n    worm: true\n    place: { country: BE }"
            ))
        let zdb = try #require(contract.zdbs.first)
        #expect((zdb.mode, zdb.password, zdb.isPublic, zdb.isWORM) == (.ordered, "key", true, true))
        #expect(zdb.place?.country == "BE")
        #expect(try Contract(body: contract.body) == contract)
    }

    static let mistakes: [(String, Int, Int, String)] = [
        ("    mode: seqential", 6, 11, "did you mean `sequential`?"),
        ("    mode: hash", 6, 11, "user, sequential, ordered"),
        ("    pasword: { secret: key }", 6, 5, "did you mean `password`?"),
        ("    password: hunter2", 6, 15, "belong"),
        ("    password: { secret: key, value: x }", 6, 30, "unknown field"),
        ("    public: true", 6, 13, "public without a password"),
        ("    worm: maybe", 6, 11, "not true or false"),
        ("    size: 2 GiB", 6, 5, "is here twice"),
    ]

    @Test(arguments: mistakes) func everyMistakeHasItsPlace(zdb: String, line: Int, column: Int, part: String) throws {
        let source = Array(text(zdb).utf8)
        let error = try #require(throws: ContractSourceError.self) {
            _ = try ContractSource.read(source, file: "x.yaml")
        }
        let first = try #require(error.diagnostics.first)
        #expect(first.description.contains(part), "\(first)")
        #expect(first.position == SourcePosition(line: line, column: column), "\(first)")
    }

    @Test func sizesHaveBounds() throws {
        for (size, part) in [("1 KiB", "too small"), ("1000 TiB", "too large")] {
            let source = text().replacing("1 GiB", with: size)
            let error = try #require(throws: ContractSourceError.self) { try contract(source) }
            #expect(error.diagnostics.first?.position == SourcePosition(line: 5, column: 11))
            #expect("\(error)".contains(part))
        }
    }

    @Test func bodiesThatAFileCouldNotMakeAreRefused() throws {
        let good = try contract(text("    password: { secret: key }")).body
        func refused(_ key: String, _ value: JSONValue?, _ code: ContractError.Code) throws {
            var body = good
            var workloads = try #require(body["workloads"]?.array)
            workloads[0][key] = value
            body["workloads"] = .array(workloads)
            let error = try #require(throws: ContractError.self, "\(key)") { try Contract(body: body) }
            #expect(error.code == code, "\(error)")
        }
        try refused("mode", nil, .missingField)
        try refused("mode", "tree", .badValue)
        try refused("size", 1, .outOfRange)
        try refused("password", "Key", .badValue)
        try refused("password", "other", .badReference)
        try refused("public", nil, .missingField)
        try refused("to", "web", .unknownField)
    }

    @Test func aModeStaysAndWrittenOnceStays() throws {
        let first = try contract(text("    worm: true"))
        func refusal(_ zdb: String) throws -> ContractError {
            let next = try contract(text(zdb), version: 2, id: id)
            return try #require(throws: ContractError.self) { try next.checkFollows(first, contract: id) }
        }
        #expect(try refusal("    mode: ordered\n    worm: true").path == "workloads[0].mode")
        #expect(try refusal("").path == "workloads[0].worm")
        let larger = try contract(text("    worm: true").replacing("1 GiB", with: "2 GiB"), version: 2, id: id)
        try larger.checkFollows(first, contract: id)
        let plan = ContractPlan(from: first, to: larger)
        #expect(plan.steps.first?.reasons == ["size: 1 GiB -> 2 GiB"])
        #expect(plan.steps.first?.method == .inPlace)
    }

    @Test func aPasswordThatIsSealedAnewChangesIt() throws {
        let first = try contract(text("    password: { secret: key }"))
        var next = try contract(text("    password: { secret: key }"), version: 2, id: id)
        #expect(ContractPlan(from: first, to: next).isEmpty)
        next.secrets["key"] = SealedSecret(box: [9], keys: [:])
        let steps = ContractPlan(from: first, to: next).steps
        #expect(steps.map(\.change) == [.update, .update])
        #expect(steps.first?.reasons == ["secret key: sealed anew"])
        let open = try contract(text(), version: 2, id: id)
        #expect(ContractPlan(from: first, to: open).steps.first?.reasons == ["password: secret key -> not secret"])
    }

    @Test func itHasAnAddressThatStaysAndKeepsTheContractOnItsNode() throws {
        let nodes = [try node("n"), try node("m")]
        let first = try contract(text("    password: { secret: key }"))
        let bare = try Placer(nodes: nodes, used: [:]).place(first, id: id)
        let placement = Placement(
            contract: id, version: 1, epoch: 1,
            workloads: bare.workloads.mapValues { placed in
                PlacedWorkload(
                    node: placed.node, subnet: placed.subnet, address: placed.address, address6: placed.address6,
                    secrets: ["key": [1]])
            })
        try placement.validate(against: first, id: id, lastEpoch: 0, nodes: nodes, used: [:])
        let changed = text("    password: { secret: key }").replacing("\"1\"", with: "\"2\"")
        let second = try contract(changed, version: 2, id: id)
        let moved = try Placer(nodes: nodes, used: [:]).place(second, id: id, previous: placement, old: first)
        #expect(moved.workloads["index"]?.address == placement.workloads["index"]?.address)
        #expect(moved.workloads["web"]?.address != placement.workloads["web"]?.address)
        let home = try #require(placement.workloads["index"]?.node)
        let gone = nodes.filter { $0.node != home }
        let error = try #require(throws: ContractError.self) {
            try Placer(nodes: gone, used: [:]).place(second, id: id, previous: placement, old: first)
        }
        #expect(error.what.contains("`index`"))
    }

    @Test func aPlacementKeepsToIt() throws {
        let nodes = [try node("n")]
        let contract = try contract(text("    password: { secret: key }"))
        let good = try Placer(nodes: nodes, used: [:]).place(contract, id: id)
        let web = try #require(good.workloads["web"]), index = try #require(good.workloads["index"])
        func refusal(_ secrets: [String: [UInt8]]?, address: String? = nil) throws -> ContractError {
            func sealed(_ placed: PlacedWorkload, _ secrets: [String: [UInt8]]?) -> PlacedWorkload {
                PlacedWorkload(
                    node: placed.node, subnet: placed.subnet, address: address ?? placed.address,
                    address6: placed.address6, secrets: secrets)
            }
            let workloads = ["web": sealed(web, ["key": [1]]), "index": sealed(index, secrets)]
            let bad = Placement(contract: id, version: 1, epoch: 1, workloads: workloads)
            return try #require(throws: ContractError.self) {
                try bad.validate(against: contract, id: id, lastEpoch: 0, nodes: nodes, used: [:])
            }
        }
        #expect(try refusal(nil).what == "not the secrets it uses")
        #expect(try refusal(["key": [1], "image": [1]]).what == "not the secrets it uses")
        #expect(try refusal(["key": [1]], address: index.address).what.contains("'s"))
    }

    @Test func whatDoesNotFitIsRefusedAtItsLine() throws {
        let contract = try contract(text("", more: "  - { zdb: second, size: 9 GiB }\n  - { zdb: third, size: 1 GiB }"))
        let error = try #require(throws: ContractError.self) {
            try Placer(nodes: [node("n", storage: 10 << 30)], used: [:]).place(contract, id: id)
        }
        #expect(error.code == .noCapacity && error.path == "workloads[3].size", "\(error)")
        let draft = try ContractSource.read(Array(text().utf8), file: "x.yaml")
        let located = draft.locate(ContractError(.noCapacity, "workloads[0].size", "too much", why: "full"))
        #expect(located.diagnostics.first?.position == SourcePosition(line: 5, column: 11))
    }

    @Test func theSchemaKnowsIt() throws {
        let workloads = ContractSchema.document["properties"]?["workloads"]?["items"]?["oneOf"]?.array ?? []
        let zdb = try #require(workloads.first { $0["properties"]?["zdb"] != nil })
        let fields = zdb["properties"]?.object?.keys.sorted()
        #expect(fields == ["mode", "password", "place", "public", "size", "worm", "zdb"])
        #expect(zdb["required"] == ["zdb", "size"])
    }
}
