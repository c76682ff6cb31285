import CanonicalJSON
import Contracts
import Crypto
import Linux
import Testing

@Suite struct ContractTests {
    @Test func bodyReadsBackTheSame() throws {
        let contract = try contract(full)
        let read = try Contract(body: JSONValue(canonical: contract.body.canonicalBytes))
        #expect(read == contract)
        #expect(read.body == contract.body)
    }

    /// Every member of a valid body, taken away, renamed or made something else, is refused or reads back the same.
    @Test func changedBodiesAreRefusedOrTheSame() throws {
        let body = try contract(full).body
        for (path, changed) in mutations(of: body) {
            guard let read = try? Contract(body: changed) else { continue }
            #expect(read.body == changed, "\(path)")
        }
    }

    private func mutations(of value: JSONValue, _ path: String = "") -> [(String, JSONValue)] {
        var found: [(String, JSONValue)] = [(path, "x"), (path, 7), (path, -1), (path, [:]), (path, []), (path, true)]
        switch value {
        case .object(let fields):
            for (key, inner) in fields {
                for (place, changed) in mutations(of: inner, "\(path).\(key)") {
                    found.append((place, .object(fields.merging([key: changed]) { $1 })))
                }
                found.append(("\(path).-\(key)", .object(fields.filter { $0.key != key })))
            }
            found.append(("\(path).+", .object(fields.merging(["extra": 1]) { $1 })))
        case .array(let values):
            for (index, inner) in values.enumerated() {
                for (place, changed) in mutations(of: inner, "\(path)[\(index)]") {
                    var copy = values
                    copy[index] = changed
                    found.append((place, .array(copy)))
                }
                found.append(("\(path)[+\(index)]", .array(values + [inner])))
            }
        default: break
        }
        return found
    }

    @Test func unknownFieldOffersTheNearest() throws {
        guard case .object(var fields) = try contract(full).body else { return }
        fields["planer"] = fields.removeValue(forKey: "planner")
        let error = try #require(throws: ContractError.self) { _ = try Contract(body: .object(fields)) }
        #expect(error.code == .unknownField && error.path == "planer" && error.hint == "did you mean `planner`?")
    }

    @Test func aSecretWithoutValueOrWithoutUseIsRefused() throws {
        guard case .object(var fields) = try contract(full).body, var secrets = fields["secrets"]?.object else {
            return
        }
        secrets["other"] = secrets["api-token"]
        fields["secrets"] = .object(secrets)
        #expect(throws: ContractError.self) { _ = try Contract(body: .object(fields)) }
        fields["secrets"] = nil
        let error = try #require(throws: ContractError.self) { _ = try Contract(body: .object(fields)) }
        #expect(error.code == .badReference && error.path == "workloads[0].secrets.TOKEN")
    }

    @Test func versionsFollowEachOther() throws {
        let id = SHA256.hash([7])
        let first = try contract(full)
        let second = try contract(full, version: 2, id: id)
        try second.checkFollows(first, contract: id)
        #expect(throws: ContractError.self) { try second.checkFollows(first, contract: SHA256.hash([8])) }
        #expect(throws: ContractError.self) { try second.checkFollows(second, contract: id) }
        let renamed = try contract(full.replacing("contract: hello", with: "contract: other"), version: 2, id: id)
        #expect(throws: ContractError.self) { try renamed.checkFollows(first, contract: id) }
    }

    @Test func approvalsCountWeightsOnGuardedActions() throws {
        let (a, b, c) = (try identity("a"), try identity("b"), try identity("c"))
        let rule = ApprovalRule(need: 3, of: [a: 2, b: 1, c: 1], on: [.deploy, .cancel])
        #expect(!rule.isSatisfied(by: [], action: .deploy))
        #expect(!rule.isSatisfied(by: [b, c], action: .deploy))
        #expect(rule.isSatisfied(by: [a, b], action: .cancel))
        #expect(rule.isSatisfied(by: [], action: .update))
        #expect(!rule.isSatisfied(by: [try identity("stranger"), a], action: .deploy))
        #expect(rule.missing(after: [b]) == [a, c])
        #expect(rule.isReachable && !ApprovalRule(need: 5, of: [a: 2, b: 1, c: 1], on: [.deploy]).isReachable)
    }

    @Test func aVersionThatDropsItsApproverStillNeedsHim() throws {
        let old = try contract(full)
        let new = try contract(full.replacing("approvals: {", with: "# {").replacing("planner: alice", with: ""))
        let rules = Contract.rules(for: .cancel, previous: old, next: new)
        #expect(rules == [old.approvals].compactMap { $0 })
        #expect(Contract.rules(for: .update, previous: old, next: new).isEmpty)
    }
}

@Suite struct UnitTests {
    @Test func sizes() {
        #expect(Units.size("512 MiB") == 512 << 20 && Units.size("1TiB") == 1 << 40 && Units.size("1.5 GiB") == 3 << 29)
        #expect(Units.size("134217728") == 128 << 20 && Units.size("7 B") == 7)
        for bad in [
            "", "MiB", "1 MB", "1  MiB", "-1 MiB", "1.3 B", "0x10", "1e3", "99999999999 TiB", "1. MiB", "١ MiB",
        ] {
            #expect(Units.size(bad) == nil, "\(bad)")
        }
        #expect(Units.sizeText(128 << 20) == "128 MiB" && Units.sizeText(1) == "1 B" && Units.sizeText(0) == "0 B")
    }

    @Test func cpu() {
        #expect(
            Units.cpu("0.5") == 500 && Units.cpu("2") == 2_000 && Units.cpu("250m") == 250 && Units.cpu("0.001") == 1)
        for bad in ["", "m", "0.0001", "-1", "1.5.2", "half", "0.5m"] { #expect(Units.cpu(bad) == nil, "\(bad)") }
        #expect(Units.cpuText(500) == "0.5" && Units.cpuText(2_000) == "2" && Units.cpuText(1_250) == "1.25")
    }

    @Test func times() {
        #expect(Units.time("1970-01-01") == 0 && Units.time("2027-06-01") == 1_811_808_000_000)
        #expect(Units.time("2028-02-29T23:59:59Z").map(Units.timeText) == "2028-02-29T23:59:59Z")
        for bad in [
            "2027-13-01", "2027-02-29", "2100-02-29", "27-06-01", "2027-6-1", "2027-06-01T24:00:00Z",
            "2027-06-01 00:00",
        ] {
            #expect(Units.time(bad) == nil, "\(bad)")
        }
        for day in stride(from: Int64(0), to: 80_000, by: 37) {
            #expect(Units.time(Units.timeText(day * 86_400_000)) == day * 86_400_000)
        }
        #expect(
            Units.duration("30 s") == 30_000 && Units.duration("90 d") == 7_776_000_000 && Units.duration("5") == nil)
    }

    @Test func ranges() throws {
        let range = try #require(IPv4Range("10.42.0.0/16"))
        #expect(
            range.nodeSubnets == 256 && range.nodeSubnet(1)?.description == "10.42.1.0/24"
                && range.nodeSubnet(256) == nil)
        #expect(IPv4Range("10.42.1.0/24").flatMap(range.index) == 1)
        #expect(IPv4Range("10.43.1.0/24").flatMap(range.index) == nil)
        for bad in [
            "10.42.0.1/16", "10.42.0.0", "10.42.0/16", "10.42.0.0/33", "010.0.0.0/8", "a.b.c.d/8", "10.0.0.0/+8",
        ] {
            #expect(IPv4Range(bad) == nil, "\(bad)")
        }
        #expect(ContractPrefix(contract: zeroDigest).bytes.first == 0xFD)
        #expect(ContractPrefix(contract: zeroDigest).address(subnet: 1, host: 10).hasSuffix(":1::a"))
    }
}

@Suite struct VectorTests {
    /// The vector of Documentation/formats/contract.md.
    @Test func theDocumentedVector() throws {
        let contract = try contract(
            """
            contract: hello
            expires: 2027-06-01
            workloads:
              - { container: web, image: nginx, memory: 128 MiB }
              - { gateway: hello, to: "web:80" }
            """)
        let path = #filePath.replacing(
            "Tests/Ledger/ContractsTests/ContractTests.swift", with: "Documentation/formats/contract.md")
        let document = try File.readText(path)
        let text = contract.body.canonicalText
        #expect(document.contains(text), "\(text)")
        #expect(document.contains("`\(SHA256.hash(Array(text.utf8)).hex)`"), "\(SHA256.hash(Array(text.utf8)).hex)")
        #expect(
            document.contains("`\(ContractPrefix(contract: zeroDigest))`"), "\(ContractPrefix(contract: zeroDigest))")
    }
}

@Suite struct SecretRuleTests {
    @Test func aSecretMayStandInSeveralVariables() throws {
        let text = full.replacing(
            "TOKEN: { secret: api-token }", with: "TOKEN: { secret: api-token }, AGAIN: { secret: api-token }")
        #expect(try contract(text).containers.first?.secrets == ["TOKEN": "api-token", "AGAIN": "api-token"])
    }

    @Test func theNameOfAnImagesKeyIsNoSecret() throws {
        let error = #expect(throws: ContractSourceError.self) {
            _ = try contract(full.replacing("secret: api-token", with: "secret: image"))
        }
        #expect(error?.description.contains("`image` is not a name") == true, "\(String(describing: error))")
    }
}
