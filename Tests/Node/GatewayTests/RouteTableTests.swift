import Testing

@testable import Gateway

@Suite("Table of routes")
struct RouteTableTests {
    let contract = String(repeating: "ab", count: 32)

    func server(_ number: Int) throws -> Server { try Server(address: "10.0.0.\(number)", port: 80) }

    func servers(_ numbers: [Int]) throws -> [Server] { try numbers.map { try server($0) } }

    @Test("Backends keep their places; new ones take free places first")
    func places() throws {
        var table = RouteTable()
        try table.ensure(contract: contract, name: "a", backends: servers([1, 2]), isBusy: { _ in false })
        #expect(table.routes["a"]?.servers == [try server(1), try server(2), nil, nil])
        try table.ensure(contract: contract, name: "a", backends: servers([3, 2]), isBusy: { _ in false })
        #expect(table.routes["a"]?.servers == [nil, try server(2), try server(3), nil])
        try table.ensure(contract: contract, name: "a", backends: servers([4, 5, 6, 2]), isBusy: { _ in false })
        #expect(table.routes["a"]?.servers == [try server(4), try server(2), try server(6), try server(5)])
        try table.ensure(contract: contract, name: "a", backends: [], isBusy: { _ in false })
        #expect(table.routes["a"]?.backends == [])
    }

    @Test("A slot is not used again while its former route's requests run; more slots come when all are used")
    func slots() throws {
        var table = RouteTable()
        try table.ensure(contract: contract, name: "a", backends: [], isBusy: { _ in false })
        #expect(table.routes["a"]?.slot == 0)
        _ = table.remove(contract: contract, name: "a")
        try table.ensure(contract: contract, name: "b", backends: [], isBusy: { $0 == 0 })
        #expect(table.routes["b"]?.slot == 1)
        for number in 0..<511 {
            try table.ensure(contract: contract, name: "n\(number)", backends: [], isBusy: { _ in false })
        }
        #expect(table.slots == 512)
        try table.ensure(contract: contract, name: "more", backends: [], isBusy: { _ in false })
        #expect(table.slots == 1024 && table.routes["more"]?.slot == 512)
    }

    @Test("A name belongs to one contract")
    func taken() throws {
        var table = RouteTable()
        try table.ensure(contract: contract, name: "a", backends: [], isBusy: { _ in false })
        let other = String(repeating: "cd", count: 32)
        #expect(throws: GatewayError.self) {
            try table.ensure(contract: other, name: "a", backends: [], isBusy: { _ in false })
        }
        #expect(table.remove(contract: other, name: "a") == nil)
        #expect(table.remove(contract: contract, name: "a") != nil)
        try table.ensure(contract: other, name: "a", backends: [], isBusy: { _ in false })
    }

    @Test("The file reads back, places included")
    func file() throws {
        var table = RouteTable()
        try table.ensure(contract: contract, name: "a", backends: servers([1, 2]), isBusy: { _ in false })
        try table.ensure(contract: contract, name: "a", backends: servers([2]), isBusy: { _ in false })
        try table.ensure(contract: contract, name: "b", backends: [], isBusy: { _ in false })
        #expect(try RouteTable(table.canonicalBytes) == table)
    }

    @Test(
        "A damaged file is refused",
        arguments: [
            "", "[]", "{\"v\":2}", "{\"routes\":[],\"slots\":3,\"v\":1}",
            "{\"routes\":[{\"contract\":\"\",\"name\":\"A\",\"servers\":[],\"slot\":0}],\"slots\":512,\"v\":1}",
            "{\"routes\":[{\"contract\":\"\",\"name\":\"a\",\"servers\":[],\"slot\":512}],\"slots\":512,\"v\":1}",
        ])
    func damaged(text: String) {
        #expect(throws: (any Error).self) { try RouteTable(Array(text.utf8)) }
    }

    @Test(
        "Backends that are no literal address and port are refused",
        arguments: [
            ("localhost", 80), ("10.0.0.1; show info", 80), ("", 80), ("10.0.0.1", 0), ("10.0.0.1", 65536),
            ("10.0.0.1\n", 80), ("fe80::1%eth0", 80), ("10.0.0", 80),
        ] as [(String, Int64)])
    func addresses(address: String, port: Int64) {
        #expect(throws: GatewayError.self) { try Server(address: address, port: port) }
    }

    @Test("An IPv6 address has one spelling, which is the proxy's")
    func spelling() throws {
        #expect(try Server(address: "FD00:0:0::0001", port: 1).address == "fd00::1")
    }

    @Test("Names and domains", arguments: ["", "-a", "a-", "A", "a.b", "a b", "ä", String(repeating: "a", count: 64)])
    func names(name: String) {
        #expect(!RouteTable.isName(name))
    }

    @Test("Domains are labels with dots")
    func domains() {
        #expect(RouteTable.isDomain("localhost") && RouteTable.isDomain("grid.example.org"))
        for text in ["", ".", "a.", "a..b", "a b", "a\nb"] { #expect(!RouteTable.isDomain(text)) }
    }
}
