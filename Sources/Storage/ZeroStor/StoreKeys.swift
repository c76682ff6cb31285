internal import Crypto

/// The keys of a store, all from the owner's secret: whoever has that can read everything, nobody else anything.
struct StoreKeys: Sendable {
    /// Seals the entries of the log; a key for each epoch derives from it.
    let log: [UInt8]
    /// Seals the record of the last copy of the index.
    let snapshot: [UInt8]
    /// Wraps the keys of manifests.
    let wrap: [UInt8]
    /// Makes fingerprints of chunks.
    let fingerprint: [UInt8]
    /// Decides where chunks are cut.
    let cutting: [UInt8]

    /// The keys of the store of that name, of 32 secret bytes.
    init(secret: [UInt8], store: String) {
        let root = HKDF.sha256(secret: secret, info: Array("zero/stor/1/\(store)".utf8), length: 32)
        func key(_ purpose: String) -> [UInt8] { HKDF.sha256(secret: root, info: Array(purpose.utf8), length: 32) }
        (log, wrap, fingerprint) = (key("log"), key("wrap/1"), key("fingerprint"))
        (cutting, snapshot) = (key("cutting"), key("snapshot"))
    }

    /// The key of entries that a writer of this epoch seals; one height is written once in an epoch, so the height is the nonce.
    func entryKey(epoch: UInt64) -> [UInt8] {
        HKDF.sha256(secret: log, info: Array("epoch/\(epoch)".utf8), length: 32)
    }

    /// Wraps a manifest's key: nonce and sealed key. With a customer's key it takes both keys to open it.
    func wrap(_ key: [UInt8], customer: [UInt8]?) -> [UInt8] {
        let nonce = Random.bytes(12)
        return nonce + AESGCM.seal(key: wrapping(customer), nonce: nonce, plaintext: key)
    }

    /// The manifest's key; nil where it was wrapped with another.
    func unwrap(_ wrapped: [UInt8], customer: [UInt8]?) -> [UInt8]? {
        guard wrapped.count == 12 + 32 + 16 else { return nil }
        return try? AESGCM.open(
            key: wrapping(customer), nonce: Array(wrapped[..<12]), ciphertext: Array(wrapped[12...]))
    }

    private func wrapping(_ customer: [UInt8]?) -> [UInt8] {
        guard let customer else { return wrap }
        return HKDF.sha256(secret: wrap + customer, info: Array("customer".utf8), length: 32)
    }
}
