public import CanonicalJSON
public import Crypto
import Records

/// Where a ledger is and by what it is recognised: `{url, pin, id}` as in `<run>/ledger.json` and `grid.json`.
public struct LedgerEndpoint: Hashable, Sendable {
    /// `https://host:port`, without a path.
    public let url: String
    /// Base64 of the SHA-256 of the certificate's public key (SubjectPublicKeyInfo).
    public let pin: String
    /// The ledger id.
    public let id: Digest

    /// A ledger.
    public init(url: String, pin: String, id: Digest) { (self.url, self.pin, self.id) = (url, pin, id) }

    /// The endpoint as a document.
    public var value: JSONValue { ["url": .string(url), "pin": .string(pin), "id": .digest(id)] }

    /// Decodes an endpoint.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a ledger's address")
        url = try fields.string("url")
        pin = try fields.string("pin")
        id = try fields.digest("id")
        try fields.finish()
        guard url.utf8.starts(with: "https://".utf8), url.utf8.last != UInt8(ascii: "/") else {
            throw fields.refuse("url", "https://host:port", found: .string(url))
        }
    }
}
