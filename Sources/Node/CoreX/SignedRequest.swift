internal import Bytes
internal import CanonicalJSON
public import Crypto
internal import HTTP
internal import Linux
internal import Records

/// What a signature on a request to Core-X covers, beside method, target and body.
public struct RequestContext: Sendable, Equatable {
    /// The grid: a signature of one does not count on another.
    public let ledger: Digest
    /// The contract whose containers are asked for.
    public let contract: Digest
    /// `address:port` of the Core-X that is asked: what is meant for one node is not taken by another.
    public let host: String

    /// A context.
    public init(ledger: Digest, contract: Digest, host: String) {
        (self.ledger, self.contract, self.host) = (ledger, contract, host)
    }
}

/// Names of the headers that carry a signature. The format is `Documentation/formats/corex.md`.
enum SignatureHeader {
    static let identity = "Zero-Identity"
    static let key = "Zero-Key"
    static let time = "Zero-Time"
    static let nonce = "Zero-Nonce"
    static let signature = "Zero-Signature"
}

/// Signs requests and checks signatures.
enum SignedRequest {
    /// The kind in the signed message.
    static let kind = "corex"
    /// Bytes of a nonce.
    static let nonceBytes = 16

    static func message(
        _ context: RequestContext, method: String, target: String, body: Digest, identity: PublicKey, key: PublicKey,
        time: Int64, nonce: String
    ) -> [UInt8] {
        let document: JSONValue = [
            "body": .string(body.hex), "contract": .string(context.contract.hex), "host": .string(context.host),
            "identity": .string(identity.address), "key": .string(key.address), "method": .string(method),
            "nonce": .string(nonce), "target": .string(target), "time": .integer(time),
        ]
        return SigningMessage.bytes(kind: kind, ledger: context.ledger, document: document.canonicalBytes)
    }

    /// The headers that make a request one of `identity`, signed by its agent `key`.
    static func headers(
        _ context: RequestContext, method: String, target: String, body: [UInt8] = [], identity: PublicKey,
        key: SigningKey
    ) -> [(name: String, value: String)] {
        let time = Clock.wallMilliseconds()
        let nonce = Hex.encode(Random.bytes(nonceBytes))
        let message = message(
            context, method: method, target: target, body: SHA256.hash(body), identity: identity, key: key.publicKey,
            time: time, nonce: nonce)
        return [
            (SignatureHeader.identity, identity.address), (SignatureHeader.key, key.publicKey.address),
            (SignatureHeader.time, "\(time)"), (SignatureHeader.nonce, nonce),
            (SignatureHeader.signature, Base64.encode(key.sign(message))),
        ]
    }
}

/// Why a request is not served.
struct Refusal: Error, Equatable {
    let status: Int
    let code: String
    let message: String

    init(_ status: Int, _ code: String, _ message: String) {
        (self.status, self.code, self.message) = (status, code, message)
    }

    var response: HTTPResponse {
        let document: JSONValue = ["code": .string(code), "message": .string(message)]
        return .json(status, document.canonicalBytes)
    }
}
