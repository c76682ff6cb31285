import Bytes
import CanonicalJSON
import Crypto
import HTTP
import Linux
import Testing

@testable import CoreX

/// Who gets in: a table of requests that are right but for one thing.
@Suite struct GatekeeperTests {
    static let now: Int64 = 1_800_000_000_000
    let identity = SigningKey.generate()
    let laptop = SigningKey.generate()
    let planner = SigningKey.generate()
    let old = SigningKey.generate()
    let stranger = SigningKey.generate()
    let context: RequestContext
    let access: Access

    init() throws {
        context = RequestContext(
            ledger: SHA256.hash("ledger"), contract: SHA256.hash("contract"), host: "100.64.0.2:7700")
        let keys: [(SigningKey, [JSONValue], Int64?)] = [
            (identity, ["owner"], nil), (laptop, ["deploy", "approve"], nil), (planner, ["plan"], nil),
            (old, ["deploy"], Self.now - 1),
        ]
        let list = keys.map { key, roles, until -> JSONValue in
            var entry: JSONValue = ["key": .string(key.publicKey.address), "roles": .array(roles)]
            entry["until"] = until.map { .integer($0) }
            return entry
        }
        access = try Access([
            "contract": .string(context.contract.hex), "ledger": .string(context.ledger.hex),
            "author": .string(identity.publicKey.address), "keys": .array(list), "link": "100.64.0.2",
            "workloads": ["web": ["id": "0123456789abcdef-web"]],
        ])
    }

    private func request(
        _ key: SigningKey, _ context: RequestContext? = nil, author: SigningKey? = nil, time: Int64 = now,
        target: String = "/v1/workloads", as sent: String? = nil, body: [UInt8] = [],
        change: (inout [String: String]) -> Void = { _ in }
    ) -> HTTPRequest {
        let nonce = Hex.encode(Random.bytes(16))
        let author = (author ?? identity).publicKey
        let message = SignedRequest.message(
            context ?? self.context, method: "GET", target: target, body: SHA256.hash(body), identity: author,
            key: key.publicKey, time: time, nonce: nonce)
        var headers = [
            "zero-identity": author.address, "zero-key": key.publicKey.address, "zero-time": "\(time)",
            "zero-nonce": nonce, "zero-signature": Base64.encode(key.sign(message)),
        ]
        change(&headers)
        return HTTPRequest(method: "GET", target: sent ?? target, headers: headers)
    }

    private func code(_ request: HTTPRequest, _ gate: Gatekeeper = Gatekeeper()) -> String {
        do throws(Refusal) {
            try gate.check(request, access, host: context.host, now: Self.now)
            return "OK"
        } catch {
            return error.code
        }
    }

    @Test func ownerAndDeployGetIn() {
        #expect(code(request(identity)) == "OK" && code(request(laptop)) == "OK")
        #expect(code(request(laptop, time: Self.now - 59_999)) == "OK")
    }

    @Test func othersDoNot() {
        #expect(code(request(planner)) == "DENIED")
        #expect(code(request(old)) == "DENIED", "its time is over")
        #expect(code(request(stranger)) == "DENIED")
        #expect(code(request(stranger, author: stranger)) == "DENIED", "another identity's key")
    }

    @Test func aSignatureCountsOnlyForWhatItCovers() {
        let other = SHA256.hash("other")
        let host = context.host
        for wrong in [
            RequestContext(ledger: other, contract: context.contract, host: host),
            RequestContext(ledger: context.ledger, contract: other, host: host),
            RequestContext(ledger: context.ledger, contract: context.contract, host: "100.64.0.6:7700"),
        ] {
            #expect(code(request(laptop, wrong)) == "BADSIGNATURE")
        }
        #expect(code(request(laptop, as: "/v1/workloads/web/logs")) == "BADSIGNATURE")
        #expect(code(request(laptop, body: [1])) == "BADSIGNATURE")
        let key = stranger.publicKey.address
        #expect(code(request(laptop) { $0["zero-key"] = key }) == "BADSIGNATURE")
        #expect(code(request(laptop) { $0["zero-time"] = "\(Self.now + 1)" }) == "BADSIGNATURE")
        #expect(
            code(request(laptop) { $0["zero-nonce"] = Hex.encode([UInt8](repeating: 0, count: 16)) }) == "BADSIGNATURE")
    }

    @Test func onlyNowAndOnlyOnce() {
        #expect(code(request(laptop, time: Self.now - 60_001)) == "SKEW")
        #expect(code(request(laptop, time: Self.now + 60_001)) == "SKEW")
        #expect(code(request(laptop, time: .min)) == "SKEW")
        let gate = Gatekeeper()
        let one = request(laptop)
        #expect(code(one, gate) == "OK" && code(one, gate) == "REPLAY" && code(request(laptop), gate) == "OK")
    }

    @Test(arguments: ["zero-identity", "zero-key", "zero-time", "zero-nonce", "zero-signature"])
    func everyHeaderIsNeeded(_ name: String) {
        #expect(code(request(laptop) { $0[name] = nil }) == "UNSIGNED")
        #expect(code(request(laptop) { $0[name] = "rubbish!" }) == "BADREQUEST")
    }

    @Test("the message is what Documentation/formats/corex.md says")
    func vector() throws {
        let key = try SigningKey(seed: [UInt8](repeating: 7, count: 32))
        let context = RequestContext(
            ledger: try #require(Digest([UInt8](repeating: 1, count: 32))),
            contract: try #require(Digest([UInt8](repeating: 2, count: 32))), host: "100.64.0.2:7700")
        let message = SignedRequest.message(
            context, method: "GET", target: "/v1/workloads/web/logs?tail=5", body: SHA256.hash([]),
            identity: key.publicKey, key: key.publicKey, time: 1_800_000_000_000,
            nonce: String(repeating: "ab", count: 16))
        #expect(SHA256.hash(message).hex == Self.vectorHash)
        #expect(Base64.encode(key.sign(message)) == Self.vectorSignature)
    }
    static let vectorSignature =
        "v8PVRl/S6Z6yf9M3+99Xrm5Xg6hWiLAJFfcQjz3EYEXQtDXdVmfFGjHcKexa1E1L18xozc9VCEGtwQ+/tqHpCA=="
    static let vectorHash = "40c2ae5242f9ece6fb5dfb00ba1505d4afd7abf504cc7af805f6fe8484e3dc3e"

    @Test func frames() throws {
        let frames = [
            ExecFrame(.input, [1, 2]), ExecFrame(.input), ExecFrame.exit(137), ExecFrame.exit(-1),
            ExecFrame(.resize, [80, 0, 24, 0]), ExecFrame(.output, [UInt8](repeating: 9, count: ExecFrame.payloadMax)),
        ]
        var parser = ExecFrameParser()
        var found: [ExecFrame] = []
        for piece in frames.flatMap(\.bytes).chunked(7) {
            parser.feed(piece)
            while let frame = try parser.next() { found.append(frame) }
        }
        #expect(found == frames && found[2].status == 137 && found[3].status == -1)
        #expect(found[4].size.map { [$0.columns, $0.rows] } == [80, 24])
        var bad = ExecFrameParser()
        bad.feed([9, 0, 0, 0, 0])
        #expect(throws: ExecFrameError.self) { try bad.next() }
        var long = ExecFrameParser()
        long.feed([0, 1, 0, 1, 0])
        #expect(throws: ExecFrameError.self) { try long.next() }
    }
}

extension Array {
    func chunked(_ size: Int) -> [[Element]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min(count, $0 + size)]) }
    }
}
