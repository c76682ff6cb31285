internal import Bytes
internal import Crypto
internal import HTTP
internal import Linux
internal import Synchronization

/// Checks the signature of every request: right key, right role, now, here, and only once.
final class Gatekeeper: Sendable {
    /// How far a request's time may be from ours.
    static let window: Int64 = 60_000
    /// Nonces that are remembered; more requests than this within two windows are refused.
    static let noncesMax = 20_000

    private let seen = Mutex<[String: Int64]>([:])

    /// Throws unless the request may be served.
    func check(_ request: HTTPRequest, _ access: Access, host: String, now: Int64) throws(Refusal) {
        let identity = try publicKey(request, SignatureHeader.identity)
        let key = try publicKey(request, SignatureHeader.key)
        guard let time = Int64(try header(request, SignatureHeader.time)) else {
            throw Refusal(400, "BADREQUEST", "\(SignatureHeader.time) must be Unix milliseconds")
        }
        let nonce = try header(request, SignatureHeader.nonce)
        guard nonce.utf8.count == SignedRequest.nonceBytes * 2, Hex.decode(nonce) != nil else {
            throw Refusal(400, "BADREQUEST", "\(SignatureHeader.nonce) must be 32 hexadecimal digits")
        }
        guard let signature = Base64.decode(try header(request, SignatureHeader.signature)), signature.count == 64
        else {
            throw Refusal(400, "BADREQUEST", "\(SignatureHeader.signature) must be a signature in base64")
        }
        let distance = time.subtractingReportingOverflow(now)
        guard !distance.overflow, distance.partialValue.magnitude <= Self.window else {
            throw Refusal(
                401, "SKEW",
                "the request says it is \(time), this node says \(now): more than 60 s apart; set the clock")
        }
        let context = RequestContext(ledger: access.ledger, contract: access.contract, host: host)
        let message = SignedRequest.message(
            context, method: request.method, target: request.target, body: SHA256.hash(request.body),
            identity: identity, key: key, time: time, nonce: nonce)
        guard key.verifies(signature, of: message) else {
            throw Refusal(401, "BADSIGNATURE", "the signature does not fit the request, its contract, grid and address")
        }
        guard identity == access.author, access.mayUse(key, at: now) else {
            throw Refusal(403, "DENIED", "this key has no role owner or deploy of the contract's author")
        }
        try remember("\(key.address) \(nonce)", now)
    }

    /// Only what was signed by a right key takes room here.
    private func remember(_ nonce: String, _ now: Int64) throws(Refusal) {
        let problem: Refusal? = seen.withLock { seen in
            if seen[nonce] != nil { return Refusal(401, "REPLAY", "this request was already served") }
            if seen.count >= Self.noncesMax {
                seen = seen.filter { now - $0.value <= 2 * Self.window }
                if seen.count >= Self.noncesMax { return Refusal(429, "BUSY", "too many requests in two minutes") }
            }
            seen[nonce] = now
            return nil
        }
        if let problem { throw problem }
    }

    private func header(_ request: HTTPRequest, _ name: String) throws(Refusal) -> String {
        guard let value = request.headers[name.lowercased()] else {
            throw Refusal(401, "UNSIGNED", "the request lacks \(name); every request is signed")
        }
        return value
    }

    private func publicKey(_ request: HTTPRequest, _ name: String) throws(Refusal) -> PublicKey {
        let text = try header(request, name)
        do { return try PublicKey(address: text) } catch {
            throw Refusal(400, "BADREQUEST", "\(name) must be an address G…")
        }
    }
}
