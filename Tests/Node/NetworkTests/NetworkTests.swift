import CanonicalJSON
import Linux
import Testing

@testable import Network

@Suite("A contract's network") struct NetworkTests {
    static func request() -> JSONValue {
        [
            "contract": .string(String(repeating: "ab", count: 32)), "range": "10.42.0.0/16", "subnet": "10.42.3.0/24",
            "prefix6": "fd00:1:2:3::/64",
            "members": [["name": "web", "address": "10.42.3.2", "address6": "fd00:1:2:3::2"]],
            "ingress": [["port": 10_000, "address": "10.42.3.2", "to_port": 80]],
        ]
    }

    @Test("a request is read, and its bridge follows from the subnet")
    func reads() throws {
        let network = try ContractNetwork(request: Self.request())
        #expect(network.bridgeAddress == "10.42.3.1")
        #expect(network.bridgeAddress6 == "fd00:1:2:3::1")
        #expect(network.hostInterface.utf8.count <= 15)
        #expect(network.request == Self.request())
    }

    @Test("what would reach a command line or a rule is checked")
    func refuses() {
        let hostile: [(String, JSONValue)] = [
            ("contract", "ab; reboot"), ("subnet", "10.42.3.1/24"), ("prefix6", "fd00::/64 dev eth0"),
            ("members", [["name": "web x", "address": "10.42.3.2", "address6": "fd00::2"]]),
            ("members", [["name": "web", "address": "10.42.3.2 dev eth0", "address6": "fd00::2"]]),
            ("members", [["name": "web", "address": "10.42.3.2", "address6": "fd00::2\naddress"]]),
            ("ingress", [["port": 0, "address": "10.42.3.2", "to_port": 80]]),
            ("ingress", [["port": 7700, "address": "10.42.3.2", "to_port": 80]]),
            ("ingress", [["port": 1, "address": "10.42.3.2 }", "to_port": 80]]), ("extra", 1),
        ]
        for (key, value) in hostile {
            var request = Self.request()
            request[key] = value
            #expect(throws: JSONError.self, "\(key)") { try ContractNetwork(request: request) }
        }
    }

    @Test("two instances of a workload have namespaces of their own, and the name leads to one of them")
    func instances() throws {
        var request = Self.request()
        request["members"] = [
            ["name": "web", "instance": "web-2", "named": false, "address": "10.42.3.2", "address6": "fd00:1:2:3::2"],
            ["name": "web", "instance": "web-3", "address": "10.42.3.3", "address6": "fd00:1:2:3::3"],
        ]
        let network = try ContractNetwork(request: request)
        #expect(network.request == request)
        #expect(network.members.map { network.namespace(of: $0) } == ["zw-abababab-web-2", "zw-abababab-web-3"])
        #expect(Rules.hosts(network) == "10.42.3.3 web\nfd00:1:2:3::3 web\n")
        for (key, value) in [("instance", "web-2"), ("instance", "../x"), ("address", "10.42.3.2")] {
            var other = try #require(request["members"]?.array)
            other[1][key] = .string(value)
            var bad = request
            bad["members"] = .array(other)
            #expect(throws: JSONError.self, "\(key)") { try ContractNetwork(request: bad) }
        }
    }

    @Test("a store has an address of the bridge, a name, a way in and doors of its own")
    func stores() throws {
        var request = Self.request()
        request["stores"] = [["name": "index", "address": "10.42.3.9", "address6": "fd00:1:2:3::9", "port": 9_900]]
        let network = try ContractNetwork(request: request)
        #expect(network.request == request)
        #expect(Rules.hosts(network).hasSuffix("10.42.3.9 index\nfd00:1:2:3::9 index\n"))
        let rules = Rules.contract(network, link: "100.64.0.2")
        #expect(rules.contains("iifname \"br0\" ip daddr 10.42.3.9 tcp dport 9900 accept\n"))
        #expect(rules.contains("iifname \"br0\" ip6 daddr fd00:1:2:3::9 tcp dport 9900 accept\n"))
        let store = try #require(network.stores.first)
        let doors = network.doors(of: store, to: "n", inode: 7)
        #expect(doors.map(\.label) == ["abababababababab/index/4/7", "abababababababab/index/6/7"])
        #expect(doors.allSatisfy { $0.label.hasPrefix(network.doorPrefix) })
        #expect(network.doors(of: store, to: "n", inode: 8).map(\.label) != doors.map(\.label))
        let hostile: [(String, JSONValue)] = [
            ("name", "index x"), ("address", "10.42.3.2"), ("address", "10.42.3.9 dev lo"), ("address6", "fd00::9 x"),
            ("port", 0), ("port", 65_536), ("extra", 1),
        ]
        for (key, value) in hostile {
            var bad = try #require(request["stores"]?.array)
            bad[0][key] = value
            var other = request
            other["stores"] = .array(bad)
            #expect(throws: JSONError.self, "\(key)") { try ContractNetwork(request: other) }
        }
    }

    @Test("links are given once, kept over restarts and given back")
    func allocations() throws {
        let path = "/tmp/zero-links-\(Clock.monotonicNanoseconds()).json"
        defer { try? File.remove(path) }
        let range = try #require(NetworkRange("100.64.0.0/28"))
        var links = try LinkAllocations(range: range, path: path)
        #expect(try links.index(of: "a") == 0)
        #expect(try links.index(of: "b") == 1)
        #expect(links.linkAddress(1) == "100.64.0.6")
        var again = try LinkAllocations(range: range, path: path)
        #expect(try again.index(of: "b") == 1)
        try again.release("a")
        #expect(try again.index(of: "c") == 0)
        #expect(try again.index(of: "d") == 2)
        #expect(try again.index(of: "e") == 3)
        #expect(throws: NetworkError.self) { try again.index(of: "f") }
    }

    @Test("ranges", arguments: ["10.0.0.0/33", "10.0.0.1/24", "10.0.0/8", "010.0.0.0/8", "10.0.0.0", "a/8", ""])
    func badRange(text: String) { #expect(NetworkRange(text) == nil) }

    @Test("doors become translations, everything else from the node is dropped")
    func rules() throws {
        let rules = Rules.contract(try ContractNetwork(request: Self.request()), link: "100.64.0.2")
        #expect(rules.contains("iifname \"link0\" ip daddr 100.64.0.2 tcp dport 10000 dnat ip to 10.42.3.2:80"))
        #expect(rules.contains("policy drop"))
    }
}
