import Crypto
import RESP
import Synchronization

@testable import ZeroStor

/// Zero-DBs in memory, as far as a store uses them, that can be away, wiped, full, or lie.
final class FakeServers: Sendable {
    /// What is wrong with one.
    enum Fault: Sendable { case none, away, full, forgets, flips }

    struct Server: Sendable {
        var values: [[UInt8]: [UInt8]] = [:]
        var fence: UInt64 = 0
        var fault = Fault.none
    }
    let servers: Mutex<[UInt16: Server]>

    init(_ count: Int) {
        servers = Mutex(
            Dictionary(uniqueKeysWithValues: (1...count).map { (UInt16($0), Server()) }))
    }

    func set(_ fault: Fault, _ numbers: UInt16...) {
        servers.withLock { for number in numbers { $0[number]?.fault = fault } }
    }

    func wipe(_ numbers: UInt16...) { servers.withLock { for number in numbers { $0[number]?.values = [:] } } }

    /// All names that a server has and that begin so.
    func names(_ number: UInt16, _ first: Character) -> [[UInt8]] {
        servers.withLock { ($0[number]?.values.keys).map(Array.init) ?? [] }.filter { $0.first == first.asciiValue }
    }

    func change(_ number: UInt16, _ body: (inout Server) -> Void) {
        servers.withLock { if var server = $0[number] { body(&server); $0[number] = server } }
    }

    fileprivate func answer(_ number: UInt16, _ words: [[UInt8]], _ epoch: UInt64) -> Outcome {
        servers.withLock { servers in
            guard var server = servers[number], server.fault != .away else { return .unreachable("away") }
            defer { servers[number] = server }
            return .reply(Self.execute(&server, words, epoch))
        }
    }

    private static func execute(_ server: inout Server, _ words: [[UInt8]], _ epoch: UInt64) -> RESPValue {
        let command = String(decoding: words[0], as: UTF8.self)
        if ["SET", "DEL", "BATCH"].contains(command) {
            if epoch < server.fence { return .error("FENCED writers below epoch \(server.fence) are refused") }
            if server.fault == .full, command != "DEL" { return .error("NOSPACE full") }
            if server.fault == .forgets { return .simple("OK") }
        }
        switch command {
        case "PING": return .simple("PONG")
        case "NSINFO": return .bulk(Array("name: store\nfence_epoch: \(server.fence)\n".utf8))
        case "NSFENCE":
            let wanted = UInt64(String(decoding: words[2], as: UTF8.self)) ?? 0
            if wanted < server.fence { return .error("FENCED") }
            server.fence = wanted
        case "SET": server.values[words[1]] = words[2]
        case "DEL": for name in words.dropFirst() { server.values[name] = nil }
        case "BATCH":
            for index in stride(from: 2, to: words.count, by: 3) { server.values[words[index + 1]] = words[index + 2] }
        case "GET":
            guard var value = server.values[words[1]] else { return .null }
            if server.fault == .flips, !value.isEmpty { value[value.count / 2] ^= 1 }
            guard words.count == 6 else { return .bulk(value) }
            let from = Int(String(decoding: words[3], as: UTF8.self)) ?? 0,
                to = Int(String(decoding: words[5], as: UTF8.self)) ?? 0
            return .bulk(Array(value[min(from, value.count)..<min(to, value.count)]))
        case "PROOF": return proof(server, words)
        default: return .error("ERR unknown \(command)")
        }
        return .simple("OK")
    }

    private static func proof(_ server: Server, _ words: [[UInt8]]) -> RESPValue {
        guard var value = server.values[words[1]], let leaf = Int(String(decoding: words[2], as: UTF8.self)) else {
            return .null
        }
        if server.fault == .flips { value[value.count / 2] ^= 1 }
        let tree = value.withUnsafeBytes { LeafTree($0) }
        let bytes = Array(value[LeafTree.range(leaf, value.count)])
        return .array([
            .bulk(tree.root.bytes), .integer(Int64(tree.leafCount)), .integer(Int64(value.count)),
            .array([.array([.integer(Int64(leaf)), .bulk(bytes), .array(tree.path(leaf).map { .bulk($0.bytes) })])]),
        ])
    }
}

/// One gateway's connections to them.
final class FakeBackends: Backends {
    private let servers: FakeServers
    private let epoch = Mutex<UInt64>(0)

    init(_ servers: FakeServers) { self.servers = servers }

    final class Done: Pending {
        let outcomes: [Outcome?]
        init(_ outcomes: [Outcome?]) { self.outcomes = outcomes }
        func wait(milliseconds: Int64, lingering: Int64, enough: ([Outcome?]) -> Bool) -> [Outcome?] { outcomes }
    }

    func start(_ requests: [ZeroStor.Request]) -> any Pending {
        let epoch = epoch.withLock { $0 }
        return Done(
            requests.map { request in
                var parser = RESPParser()
                parser.feed(request.head)
                if let payload = request.payload { parser.feed(payload.bytes) }
                parser.feed(request.tail)
                let words = ((try? parser.next()) ?? nil)?.items?.compactMap(\.bytes) ?? []
                return servers.answer(request.backend, words, epoch)
            })
    }

    func setEpoch(_ epoch: UInt64) { self.epoch.withLock { $0 = epoch } }
}
