public import Crypto

/// The bytes that a signature covers: `"zero/1\n" kind "\n" ledger id "\n" canonical bytes`.
///
/// The kind keeps a signature of one sort of document from counting as another's, the ledger id one grid's from
/// counting on another. See `Documentation/formats/records.md`.
public enum SigningMessage {
    /// The kind of a checkpoint's signature.
    public static let checkpoint = "checkpoint"

    /// The message for a document without its signatures. `kind` is a word of `[a-z-]`.
    public static func bytes(kind: String, ledger: Digest, document: [UInt8]) -> [UInt8] {
        precondition(!kind.isEmpty && kind.utf8.allSatisfy { (97...122).contains($0) || $0 == 45 })
        return Array("zero/1\n\(kind)\n\(ledger.hex)\n".utf8) + document
    }
}
