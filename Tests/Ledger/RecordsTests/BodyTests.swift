import Bytes
import CanonicalJSON
import Crypto
import Records
import Testing

private func address(_ name: String) throws -> String {
    try SigningKey(seed: SHA256.hash("key of \(name)").bytes).publicKey.address
}
private func digest(_ text: String) -> String { SHA256.hash(text).hex }

@Suite struct BodyTests {
    /// One body of each kind with everything that it can hold.
    private func samples() throws -> [(RecordKind, JSONValue)] {
        let (a, b) = (try address("alice"), try address("bob"))
        let placed: JSONValue = [
            "node": .string(a), "subnet": "10.42.1.0/24", "address": "10.42.1.2", "address6": "fd00::2", "port": 80,
            "secrets": ["token": .string(Base64.encode([1, 2, 3]))],
        ]
        let state: JSONValue = [
            "state": "failed", "reason": "no image", "attempt": 3, "next": 5, "since": 1,
            "access": ["url": "x", "port": 1],
        ]
        let keys: JSONValue = [
            ["key": .string(a), "roles": ["owner"]],
            ["key": .string(b), "roles": ["approve", "deploy"], "scope": "blog-*", "until": 99],
        ]
        return [
            (.identity, ["keys": keys, "name": "Zoë", "recovery": ["keys": [.string(a), .string(b)], "need": 2]]),
            (.farm, ["name": "attic", "country": "BE"]),
            (
                .node,
                [
                    "capacity": ["cpu": 4000, "memory": 8, "storage": 9], "country": "BE", "farm": .string(a),
                    "sealing": .string(digest("x25519")), "arch": "amd64",
                ]
            ),
            (
                .image,
                [
                    "name": "examples/nginx", "public": true, "stores": ["https://store.example"],
                    "index": [
                        [
                            "arch": "amd64", "root": .string(digest("r")), "key": .string(digest("k")), "config": [:],
                            "size": 1,
                        ]
                    ],
                ]
            ),
            (
                .image,
                [
                    "name": "examples/private", "public": false, "stores": [],
                    "index": [
                        [
                            "arch": "arm64", "root": .string(digest("r")), "config": ["Cmd": ["x"]], "size": 1,
                            "sealed": .object([b: .string(Base64.encode([9]))]),
                        ]
                    ],
                ]
            ),
            (.contract, ["anything": "module Contracts reads it"]),
            (.approval, ["record": .string(digest("r")), "contract": .string(digest("c"))]),
            (.cancel, ["contract": .string(digest("c"))]),
            (
                .placement,
                ["contract": .string(digest("c")), "version": 1, "epoch": 2, "workloads": ["web": placed]]
            ),
            (.name, ["action": "commit", "hash": .string(digest("h"))]),
            (
                .name,
                [
                    "action": "reveal", "name": "hello", "nonce": .string(String(repeating: "0a", count: 16)),
                    "expires": 9,
                ]
            ),
            (.name, ["action": "renew", "name": "hello", "expires": 9]),
            (.name, ["action": "transfer", "name": "hello", "to": .string(b)]),
            (.result, ["contract": .string(digest("c")), "version": 1, "epoch": 2, "workloads": ["web": state]]),
            (.liveness, ["node": .string(a), "state": "down"]),
        ]
    }

    @Test func everyKindComesBackAsItWas() throws {
        #expect(Set(try samples().map(\.0)) == Set(RecordKind.allCases))
        for (kind, value) in try samples() {
            let body = try RecordBody(kind: kind, value)
            #expect(body.kind == kind && body.value == value)
        }
    }

    /// Every member of every object, at any depth, taken away, replaced by rubbish, or joined by a stranger.
    @Test func everyOtherShapeIsRefused() throws {
        for (kind, value) in try samples() where kind != .contract {
            for (path, changed) in mutations(value, path: kind.rawValue) {
                guard let body = try? RecordBody(kind: kind, changed) else { continue }
                // What is still taken says exactly what it says.
                #expect(body.value == changed, "\(path)")
            }
            var stranger = value
            stranger["stranger"] = 1
            #expect(throws: JSONError.self, "\(kind)") { try RecordBody(kind: kind, stranger) }
            #expect(throws: JSONError.self, "\(kind)") { try RecordBody(kind: kind, []) }
        }
    }

    private func mutations(_ value: JSONValue, path: String) -> [(String, JSONValue)] {
        var found: [(String, JSONValue)] = []
        switch value {
        case .object(let members):
            for (key, member) in members {
                var without = value
                without[key] = nil
                found.append(("\(path) without \(key)", without))
                for (inner, changed) in mutations(member, path: "\(path).\(key)") {
                    var copy = value
                    copy[key] = changed
                    found.append((inner, copy))
                }
            }
            var more = value
            more["zzz"] = 1
            found.append(("\(path) with zzz", more))
        case .array(let elements):
            for index in elements.indices {
                for (inner, changed) in mutations(elements[index], path: "\(path)[\(index)]") {
                    var copy = elements
                    copy[index] = changed
                    found.append((inner, .array(copy)))
                }
                found.append(("\(path) doubled", .array(elements + [elements[index]])))
            }
        default: break
        }
        let rubbish: [JSONValue] = [
            true, -1, 0, "", "Ω", "../x", .string(String(repeating: "a", count: 5000)), [], [:], "AAAA",
            9_007_199_254_740_991,
        ]
        return found + rubbish.map { (path, $0) }
    }

    @Test func whatCannotBeMeantIsRefused() throws {
        let (a, b) = (try address("alice"), try address("bob"))
        let wrong: [(RecordKind, JSONValue)] = [
            // Nobody is left who can change it.
            (.identity, ["keys": [["key": .string(a), "roles": ["deploy"]]]]),
            (.identity, ["keys": [["key": .string(a), "roles": ["owner"], "until": 5]]]),
            (.identity, ["keys": []]),
            (.identity, ["keys": [["key": .string(a), "roles": ["owner", "deploy"]]]]),
            (.identity, ["keys": [["key": .string(a), "roles": ["owner", "owner"]]]]),
            (.identity, ["keys": [["key": .string(a), "roles": ["king", "owner"]]]]),
            (
                .identity,
                ["keys": [["key": .string(a), "roles": ["owner"]], ["key": .string(a), "roles": ["deploy"]]]]
            ),
            // Recovery that cannot be reached.
            (
                .identity,
                ["keys": [["key": .string(a), "roles": ["owner"]]], "recovery": ["keys": [.string(b)], "need": 2]]
            ),
            (.identity, ["keys": [["key": .string(a), "roles": ["owner"]]], "recovery": ["keys": [], "need": 1]]),
            (.farm, ["name": "attic", "country": "be"]),
            (.farm, ["name": "two\nlines"]),
            (.name, ["action": "renew", "name": "-hello", "expires": 9]),
            (.name, ["action": "renew", "name": "Hello", "expires": 9]),
            (.name, ["action": "renew", "name": "hello", "expires": 9, "nonce": "00"]),
            (.name, ["action": "steal", "name": "hello"]),
            (.liveness, ["node": .string(a), "state": "sleeping"]),
            (.liveness, ["node": "GABC", "state": "up"]),
        ]
        for (kind, value) in wrong {
            #expect(throws: JSONError.self, "\(value.canonicalText)") { try RecordBody(kind: kind, value) }
        }
        // A private image whose key stands in clear, and a public one whose key does not.
        for (isPublic, field) in [(false, "key"), (true, "sealed")] {
            for (kind, value) in try samples() where kind == .image && value["public"]?.bool != isPublic {
                var image = value
                image["public"] = .bool(isPublic)
                #expect(throws: JSONError.self, "\(field)") { try RecordBody(kind: .image, image) }
            }
        }
    }
}
