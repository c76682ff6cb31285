import CanonicalJSON
import Contracts
import Crypto
import Testing

@Suite struct ContractSourceTests {
    @Test func readsEveryFieldAndGivesItTypes() throws {
        let contract = try contract(full)
        #expect(contract.name == "hello")
        #expect(contract.version == 1 && contract.id == nil)
        #expect(contract.expires == 1_811_808_000_000)
        #expect(contract.range.description == "10.42.0.0/16")
        let web = try #require(contract.containers.first)
        #expect(web.cpu == 500 && web.memory == 128 << 20)
        #expect(web.args == ["nginx", "-g", "daemon off;"])
        #expect(web.env == ["GREETING": "hello", "PORT": "80"])
        #expect(web.secrets == ["TOKEN": "api-token"])
        #expect(web.volumes == [Mount(name: "pages", at: "/var/www", readOnly: true)])
        #expect(web.restart == .onFailure && web.partition == .keep)
        #expect(web.ready == ReadinessProbe(http: "/", port: 80))
        #expect(web.place?.country == "BE")
        #expect(contract.volumes.first?.size == 1 << 30)
        #expect(contract.gateways.first?.workload == "web" && contract.gateways.first?.port == 80)
        #expect(contract.approvals?.need == 2 && contract.approvals?.on == [.deploy, .cancel])
        #expect(try contract.planner == identity("alice"))
    }

    @Test func defaultsAreWrittenOutInWhatIsSigned() throws {
        let contract = try contract(
            "contract: c\nexpires: 2030-01-01\nworkloads: [ { container: web, image: nginx } ]\napprovals: { need: 1, of: { a: 1 } }\n"
        )
        let body = contract.body
        #expect(body["network"]?["range"]?.string == "10.42.0.0/16")
        let web = try #require(body["workloads"]?.array?.first)
        #expect(web["cpu"]?.integer == 500 && web["memory"]?.integer == 256 << 20)
        #expect(web["restart"]?.string == "always" && web["partition"]?.string == "keep")
        #expect(web["env"]?.object == [:] && web["volumes"]?.array == [])
        #expect(web["args"] == nil && web["ready"] == nil && web["place"] == nil)
        #expect(body["approvals"]?["on"]?.array == ["deploy", "update", "cancel"])
    }

    @Test func jsonSaysTheSameAsYAML() throws {
        let json = """
            {"contract": "hello", "expires": "2027-06-01", "workloads": [
              {"container": "web", "image": "examples/nginx", "cpu": 0.5, "memory": 134217728, "env": {"A": "\\u00e9\\ud83d\\ude00", "N": 80}},
              {"gateway": "hello", "to": "web:80"}]}
            """
        let yaml = """
            contract: hello
            expires: 2027-06-01
            workloads:
              - { container: web, image: examples/nginx, cpu: 0.5, memory: 128 MiB, env: { A: é😀, N: 80 } }
              - { gateway: hello, to: "web:80" }
            """
        #expect(try contract(json, file: "test.json").body == contract(yaml).body)
    }

    /// What a file says, where its error must point, and a part of what it must say.
    static let mistakes: [(String, Int, Int, String)] = [
        ("", 1, 1, "empty"),
        ("contract: hello\n", 1, 1, "`expires` is missing"),
        (head + "  - container: web\n    image: nginx\n    memroy: 1 GiB\n", 6, 5, "did you mean `memory`?"),
        (head + "  - container: web\n    image: nginx\n    memory: 512 MB\n", 6, 13, "did you mean `512 MiB`?"),
        (head + "  - container: web\n    image: nginx\n    memory: 1 MiB\n", 6, 13, "too small"),
        (head + "  - container: web\n    image: nginx\n    cpu: lots\n", 6, 10, "not a share of CPU"),
        (head + "  - container: web\n    image: nginx\n    restart: alway\n", 6, 14, "did you mean `always`?"),
        (head + "  - container: web\n    image: nginx\n    ready: { port: \"80\" }\n", 6, 20, "remove the quotes"),
        (head + "  - container: web\n    image: nginx\n    ready: { port: 0 }\n", 6, 20, "too small"),
        (head + "  - container: Web\n    image: nginx\n", 4, 16, "not of its form"),
        (head + "  - container: web\n", 4, 5, "`image` is missing"),
        (head + "  - conatiner: web\n    image: nginx\n", 4, 5, "did you mean `container`?"),
        (head + "  - container: web\n    image: nginx\n    env: { A: }\n", 6, 15, "nothing here"),
        (head + "  - container: web\n    image: nginx\n    env: { A: [x] }\n", 6, 15, "a list where a value belongs"),
        (head + "  - container: web\n    image: nginx\n    env: { 1A: x }\n", 6, 12, "not of its form"),
        (head + "  - container: web\n    image: nginx\n    image: other\n", 6, 5, "is here twice"),
        (head + "  - container: web\n    image: &a nginx\n", 5, 12, "an anchor"),
        (head + "  - container: web\n    image: *a\n", 5, 12, "an alias"),
        (head + "  - container: web\n    image: !!str nginx\n", 5, 12, "a tag"),
        (
            head + "  - container: web\n    image: nginx\n    volumes: [ { name: data, at: /d } ]\n", 6, 24,
            "no volume `data`"
        ),
        (head + "  - container: web\n    image: nginx\n  - volume: web\n    size: 1 GiB\n", 6, 13, "`web` is taken"),
        (head + "  - gateway: hello\n    to: web:80\n", 5, 9, "there is no container `web`"),
        (head + "  - gateway: hello\n    to: web\n", 5, 9, "not of its form"),
        (head + "  - archive: photos\n    size: 10 GiB\n", 4, 5, "not yet in force on this grid"),
        (head + "  - vm: box\n", 4, 5, "not yet in force on this grid"),
        (head + "  - volume: v\n    size: 1 GiB\n    place: { country: Belgium }\n", 6, 23, "two capital letters"),
        (head + "  - volume: v\n    size: 1 GiB\n    place: {}\n", 6, 12, "empty"),
        (
            head
                + "  - container: web\n    image: nginx\n    volumes: [ { name: v, at: /proc/x } ]\n  - volume: v\n    size: 1 GiB\n",
            6, 31, "kernel's"
        ),
        (head + "  - container: web\n    image: nginx\n    args: []\n", 6, 11, "empty"),
        (head + "  - container: web\n\timage: nginx\n", 5, 1, "indent with spaces"),
        ("contract: hello\nexpires: tomorrow\nworkloads: []\n", 2, 10, "not a time"),
        ("contract: hello\nexpires: 2027-02-29\nworkloads: []\n", 2, 10, "not a time"),
        ("contract: hello\nexpires: 2027-06-01\nworkloads: []\n", 3, 12, "no workloads"),
        ("contract: hello\nexpires: 2027-06-01\nworkloads: web\n", 3, 12, "where a list belongs"),
        (head + "  - volume: v\n    size: 1 GiB\nnetwork: { range: 8.8.0.0/16 }\n", 6, 19, "is public"),
        (head + "  - volume: v\n    size: 1 GiB\nnetwork: { range: 10.42.1.0/16 }\n", 6, 19, "not of its form"),
        (head + "  - volume: v\n    size: 1 GiB\nnetwork: { range: 10.42.1.0/25 }\n", 6, 19, "no room"),
        (
            head + "  - volume: v\n    size: 1 GiB\napprovals: { need: 3, of: { a: 1, b: 1 } }\n", 6, 20,
            "can never be reached"
        ),
        (head + "  - volume: v\n    size: 1 GiB\napprovals: { need: 1, of: { a: 1 }, on: [] }\n", 6, 41, "empty"),
        (head + "  - volume: v\n    size: 1 GiB\n---\ncontract: x\n", 6, 1, "second document"),
        ("{\"contract\": \"hello\", \"expires\": null}", 1, 38, "null"),
        ("[1]", 1, 1, "where fields belong"),
    ]
    static let head = "contract: hello\nexpires: 2027-06-01\nworkloads:\n"

    @Test(arguments: mistakes) func everyMistakeHasItsPlace(text: String, line: Int, column: Int, part: String) throws {
        let error = try #require(throws: ContractSourceError.self) {
            _ = try ContractSource.read(
                Array(text.utf8), file: "hello.yaml".replacing("yaml", with: text.first == "{" ? "json" : "yaml"))
        }
        let first = try #require(error.diagnostics.first)
        #expect(first.description.contains(part), "\(first)")
        #expect(first.position == SourcePosition(line: line, column: column), "\(first)")
        #expect(error.description.contains("^") || text.isEmpty || text.count < 3)
    }

    @Test func allMistakesAreReportedAtOnce() throws {
        let text = "contract: Hello\nexpires: 2027\nworkloads:\n  - container: web\n    imge: nginx\n"
        let error = try #require(throws: ContractSourceError.self) {
            _ = try ContractSource.read(Array(text.utf8), file: "x.yaml")
        }
        #expect(error.diagnostics.map(\.position.line) == [1, 2, 4, 5])
    }

    @Test func whatTheLedgerDoesNotKnowPointsAtItsLine() throws {
        let draft = try ContractSource.read(Array(full.utf8), file: "hello.yaml")
        #expect(draft.images.map(\.name) == ["examples/nginx"])
        #expect(draft.secrets == ["api-token"])
        #expect(draft.identities.map(\.name) == ["alice", "auditor", "legal"])
        let error = try #require(throws: ContractSourceError.self) { _ = try draft.resolve(images: [:]) }
        #expect(
            error.description.contains("hello.yaml:6:12: there is no image `examples/nginx`")
                || error.description.contains("nobody is known"))
    }

    @Test func badBytesAreErrorsNotCrashes() {
        for bytes: [UInt8] in [
            [0xFF, 0xFE, 0x00], [0xC3, 0x28], Array("a: \u{0}".utf8), Array(repeating: 0x5B, count: 5_000), [0x7B],
            Array("{\"a\":\"\\ud800\"}".utf8),
        ] {
            for file in ["x.yaml", "x.json"] {
                #expect(throws: ContractSourceError.self) { _ = try ContractSource.read(bytes, file: file) }
            }
        }
    }

    @Test func everyTruncationAndEveryFlippedByteIsReadOrRefused() {
        let bytes = Array(full.utf8)
        for end in bytes.indices { _ = try? ContractSource.read(Array(bytes[..<end]), file: "x.yaml") }
        for index in bytes.indices {
            var flipped = bytes
            flipped[index] ^= 0x15
            _ = try? ContractSource.read(flipped, file: "x.yaml")
            _ = try? ContractSource.read(flipped, file: "x.json")
        }
    }

    @Test func schemaNamesEveryField() throws {
        let schema = ContractSchema.document
        #expect(schema["properties"]?["workloads"]?["items"]?["oneOf"]?.array?.count == 4)
        #expect(schema["required"]?.array == ["contract", "expires", "workloads"])
        #expect(schema["additionalProperties"]?.bool == false)
    }
}
