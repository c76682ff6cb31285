import Bytes
import CanonicalJSON
import Crypto
import HTTP
import LedgerClient
import LedgerState
import Merkle
import Records
import Synchronization

/// The ledger's door: HTTP requests to an engine (ARCHITECTURE.md, “The ledger from outside”).
struct LedgerService: Sendable {
    let engine: LedgerEngine

    /// Answers one request; never throws.
    func answer(_ request: HTTPRequest) async -> HTTPResponse {
        do {
            return try await route(request)
        } catch let error as LedgerError {
            return LedgerService.failure(error)
        } catch let damage as Damage {
            return LedgerService.failure(LedgerErrors.damaged(damage))
        } catch {
            return LedgerService.failure(
                LedgerError(LedgerError.unavailable, "ledger", "\(error)", status: 503))
        }
    }

    private static func failure(_ error: LedgerError) -> HTTPResponse {
        let value: JSONValue = [
            "code": .string(error.code), "message": .string(error.message), "subject": .string(error.subject),
        ]
        return .json(error.status == 0 ? 500 : error.status, value.canonicalBytes)
    }

    private func route(_ request: HTTPRequest) async throws -> HTTPResponse {
        let path = request.path
        let isPost = path == "/v1/records"
        let known = [
            "/v1/records", "/v1/genesis", "/v1/checkpoint", "/v1/blocks", "/v1/snapshot", "/v1/query",
            "/v1/proof/inclusion", "/v1/proof/consistency", "/v1/proof/state",
        ]
        guard known.contains(path) else {
            throw LedgerErrors.notFound(path, "no such resource: this ledger answers \(known.joined(separator: ", "))")
        }
        guard request.method == (isPost ? "POST" : "GET") else {
            throw LedgerError(
                LedgerError.badRequest, request.method, "\(path) is asked for with \(isPost ? "POST" : "GET")",
                status: 405)
        }
        switch path {
        case "/v1/records": return try await submit(request)
        case "/v1/genesis":
            try LedgerService.check(request, [])
            return .json(200, try published().chain.genesis.canonicalBytes)
        case "/v1/checkpoint":
            try LedgerService.check(request, [])
            return .json(200, try published().checkpoint.value.canonicalBytes)
        case "/v1/blocks": return try await blocks(request)
        case "/v1/snapshot":
            try LedgerService.check(request, [])
            let published = try published()
            return HTTPResponse(
                200, type: "application/jsonl", LedgerSnapshot.bytes(published.chain, published.checkpoint))
        case "/v1/query": return try await query(request)
        case "/v1/proof/inclusion": return try await inclusion(request)
        case "/v1/proof/consistency": return try consistency(request)
        default: return try state(request)
        }
    }

    private func published() throws(LedgerError) -> LedgerEngine.Published {
        guard let published = engine.shared.withLock({ $0.published }) else { throw engine.unavailable }
        return published
    }

    private func submit(_ request: HTTPRequest) async throws -> HTTPResponse {
        let record: Record
        do { record = try Record(canonical: request.body) } catch { throw LedgerError(AdmissionError(error)) }
        let receipt = try await engine.submit(record)
        let value: JSONValue = [
            "id": .digest(receipt.id), "height": .integer(receipt.height), "index": .integer(receipt.index),
        ]
        return .json(200, value.canonicalBytes)
    }

    private func blocks(_ request: HTTPRequest) async throws -> HTTPResponse {
        try LedgerService.check(request, ["from", "wait"])
        let from = try LedgerService.integer(request, "from", 1...JSONValue.integerLimit) ?? 1
        let wait = try LedgerService.integer(request, "wait", 0...StoreLimits.pollMilliseconds) ?? 0
        let lines = try await engine.blocks(from: from, wait: .milliseconds(wait))
        return LedgerService.lines(lines)
    }

    private func query(_ request: HTTPRequest) async throws -> HTTPResponse {
        try LedgerService.check(request, ["id", "kind", "author", "contract", "name", "after", "limit"])
        guard let index = engine.index else { throw LedgerErrors.notFound("index", "this ledger has no index") }
        var query = LedgerClient.Query()
        query.id = try LedgerService.parsed(request, "id", "64 hexadecimal digits") { Digest(hex: $0) }
        query.contract = try LedgerService.parsed(request, "contract", "64 hexadecimal digits") { Digest(hex: $0) }
        query.author = try LedgerService.parsed(request, "author", "an address") { try? PublicKey(address: $0) }
        query.kind = try LedgerService.parsed(request, "kind", "a kind of record") { RecordKind(rawValue: $0) }
        query.name = request.query["name"]
        query.after = try LedgerService.integer(request, "after", -1...JSONValue.integerLimit)
        query.limit = try LedgerService.integer(request, "limit", 1...StoreLimits.queryLimit)
        let rows: [RecordIndex.Row]
        do { rows = try await index.query(query) } catch {
            throw LedgerError(LedgerError.unavailable, "index", "\(error)", status: 503)
        }
        let lines = rows.map { row in
            let head = #"{"height":\#(row.height),"index":\#(row.index),"position":\#(row.position),"record":"#
            return Array(head.utf8) + row.record + Array(#","time":\#(row.time)}"#.utf8)
        }
        return LedgerService.lines(lines)
    }

    private func inclusion(_ request: HTTPRequest) async throws -> HTTPResponse {
        try LedgerService.check(request, ["id"])
        let id = try LedgerService.parsed(request, "id", "64 hexadecimal digits") { Digest(hex: $0) }
        guard let id else { throw LedgerErrors.badRequest("id", "“id” is missing") }
        guard let row = try await engine.index?.position(of: id) else {
            throw LedgerErrors.notFound(id.hex, "record \(id.hex) is not in this ledger")
        }
        let (checkpoint, proof) = try engine.shared.withLock { shared throws -> (Checkpoint, [Digest]?) in
            guard let published = shared.published else { throw LedgerErrors.starting }
            let size = Int(published.checkpoint.size)
            guard row.position < size else { return (published.checkpoint, nil) }
            return (published.checkpoint, published.tree.inclusionProof(index: Int(row.position), size: size))
        }
        guard let proof else { throw LedgerErrors.notFound(id.hex, "record \(id.hex) is not in this ledger") }
        let value: JSONValue = [
            "checkpoint": checkpoint.value, "index": .integer(row.position), "proof": .array(proof.map { .digest($0) }),
        ]
        return .json(200, value.canonicalBytes)
    }

    private func consistency(_ request: HTTPRequest) throws -> HTTPResponse {
        try LedgerService.check(request, ["from", "to"])
        let from = try LedgerService.integer(request, "from", 0...JSONValue.integerLimit) ?? 0
        let wanted = try LedgerService.integer(request, "to", 0...JSONValue.integerLimit)
        let value = try engine.shared.withLock { shared throws -> JSONValue in
            guard let published = shared.published else { throw LedgerErrors.starting }
            let to = wanted ?? published.checkpoint.size
            guard from <= to, to <= published.checkpoint.size else {
                throw LedgerErrors.badRequest("from", "sizes grow from “from” to “to” to \(published.checkpoint.size)")
            }
            let proof = published.tree.consistencyProof(from: Int(from), to: Int(to))
            return [
                "checkpoint": published.checkpoint.value, "from": .integer(from), "to": .integer(to),
                "proof": .array(proof.map { .digest($0) }),
            ]
        }
        return .json(200, value.canonicalBytes)
    }

    private func state(_ request: HTTPRequest) throws -> HTTPResponse {
        try LedgerService.check(request, ["key"])
        guard let key = request.query["key"], !key.isEmpty, key.utf8.count <= 256 else {
            throw LedgerErrors.badRequest("key", "“key” is missing")
        }
        let published = try published()
        let value: JSONValue = .members([
            "checkpoint": published.checkpoint.value, "key": .string(key),
            "value": published.chain.state.entry(of: key)?.value, "proof": published.chain.state.proof(of: key).value,
        ])
        return .json(200, value.canonicalBytes)
    }

    // MARK: Parameters

    private static func check(_ request: HTTPRequest, _ known: [String]) throws(LedgerError) {
        guard let stranger = request.query.keys.sorted().first(where: { !known.contains($0) }) else { return }
        let hint = nearest(to: stranger, among: known).map { ", did you mean “\($0)”?" } ?? ""
        throw LedgerErrors.badRequest(stranger, "unknown parameter “\(stranger)”\(hint)")
    }

    private static func integer(
        _ request: HTTPRequest, _ name: String, _ range: ClosedRange<Int64>
    ) throws(LedgerError) -> Int64? {
        try parsed(request, name, "a number from \(range.lowerBound) to \(range.upperBound)") { text in
            Int64(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    private static func parsed<Value>(
        _ request: HTTPRequest, _ name: String, _ expected: String, _ parse: (String) -> Value?
    ) throws(LedgerError) -> Value? {
        guard let text = request.query[name] else { return nil }
        guard let value = parse(text) else { throw LedgerErrors.badRequest(name, "“\(name)” is not \(expected)") }
        return value
    }

    private static func lines(_ lines: [[UInt8]]) -> HTTPResponse {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(lines.reduce(0) { $0 + $1.count + 1 })
        for line in lines {
            bytes += line
            bytes.append(10)
        }
        return HTTPResponse(200, type: "application/jsonl", bytes)
    }
}
