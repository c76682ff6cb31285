/// Why something cryptographic was refused. Cases carry the subject, never a secret.
public enum CryptoError: Error, Equatable, Sendable {
    /// `subject` has `found` bytes where `wanted` are needed.
    case badLength(subject: String, wanted: Int, found: Int)
    /// A text that should be the address of a key is not one.
    case badAddress(text: String, reason: String)
    /// A public key that is not a point that keys can have (not on the curve, or of small order).
    case badKey(subject: String)
    /// Bytes did not open: wrong key, or changed since they were sealed.
    case notAuthentic(subject: String)
    /// A passphrase does not open the file, or the file was changed.
    case wrongPassphrase(subject: String)
    /// Recovery words that cannot be: an unknown word, a wrong count, a wrong checksum.
    case badWords(reason: String)
    /// A setting is outside what is allowed.
    case badParameter(subject: String, reason: String)
    /// A sealed document is not of the form or version that this program knows.
    case badFormat(subject: String, reason: String)
    /// A key file that others than its owner can read, or that cannot be read at all.
    case unsafeFile(path: String, reason: String)
    /// The library failed where it should not: memory is short.
    case failed(operation: String)
}

extension CryptoError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .badLength(let subject, let wanted, let found): "\(subject) has \(found) bytes, not \(wanted)"
        case .badAddress(let text, let reason): "\"\(text.prefix(80))\" is not the address of a key: \(reason)"
        case .badKey(let subject): "\(subject) is not a valid public key"
        case .notAuthentic(let subject): "\(subject) does not open: wrong key, or the bytes were changed"
        case .wrongPassphrase(let subject): "\(subject) does not open with this passphrase"
        case .badWords(let reason): "these recovery words are not valid: \(reason)"
        case .badParameter(let subject, let reason): "\(subject) \(reason)"
        case .badFormat(let subject, let reason): "\(subject) \(reason)"
        case .unsafeFile(let path, let reason): "\(path) \(reason)"
        case .failed(let operation): "\(operation) failed"
        }
    }
}
