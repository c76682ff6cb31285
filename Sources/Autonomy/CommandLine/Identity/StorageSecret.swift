import Bytes
import Crypto

/// What the passwords of an identity's zdbs derive from. It follows from the owner key, thus from the recovery words, and lies
/// beside the agent key, because deploying is daily work: from it nobody gets back to the owner key.
struct StorageSecret: Hashable, Sendable {
    let bytes: [UInt8]

    init?(_ bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        self.bytes = bytes
    }

    init(owner: SigningKey) { bytes = HMAC.sha256(key: owner.seed, Array("zero/passwords/1".utf8)) }

    /// The password behind a secret of a contract: 40 hexadecimal digits, the same as often as it is asked for.
    func password(contract: String, secret: String) -> String {
        Hex.encode(Array(HMAC.sha256(key: bytes, Array("zdb\n\(contract)\n\(secret)".utf8)).prefix(20)))
    }
}
