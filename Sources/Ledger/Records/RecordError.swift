public import CanonicalJSON
public import Crypto

/// Why bytes are not an acceptable record, or its signatures not good.
public enum RecordError: Error, Equatable, Sendable {
    /// The record is longer than `limit` bytes.
    case tooLarge(bytes: Int, limit: Int)
    /// The bytes are not canonical JSON.
    case encoding(JSONError)
    /// The envelope or the body is not of the shape that the kind asks for.
    case schema(JSONError)
    /// The envelope's version is not 1.
    case version(Int64)
    /// No such kind exists.
    case unknownKind(String, nearest: String?)
    /// The kind exists and no rule for it is in force.
    case notInForce(String)
    /// There is no signature of this key.
    case unsigned(by: PublicKey)
    /// The signature of this key does not verify over this record for this ledger.
    case badSignature(by: PublicKey)

    /// A stable code of the reason.
    public var code: String {
        switch self {
        case .tooLarge: "too-large"
        case .encoding: "not-canonical"
        case .schema, .version: "schema"
        case .unknownKind: "unknown-kind"
        case .notInForce: "not-in-force"
        case .unsigned: "unsigned"
        case .badSignature: "bad-signature"
        }
    }

    /// What the reason is about: a key, a kind, a field.
    public var subject: String {
        switch self {
        case .tooLarge, .encoding, .version: "record"
        case .schema(let error):
            switch error {
            case .missing(let key, _), .unknown(let key, _, _): key
            case .unexpected(let key, let subject, _, _): key.isEmpty ? subject : key
            case .syntax, .notCanonical: "record"
            }
        case .unknownKind(let kind, _), .notInForce(let kind): kind
        case .unsigned(let key), .badSignature(let key): key.address
        }
    }
}

extension RecordError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .tooLarge(let bytes, let limit): "a record of \(bytes) bytes is over the limit of \(limit)"
        case .encoding(let error), .schema(let error): error.description
        case .version(let version): "a record of version \(version) is not known here, only version 1"
        case .unknownKind(let kind, let nearest):
            "unknown kind of record “\(kind)”" + (nearest.map { ", did you mean “\($0)”?" } ?? "")
        case .notInForce(let kind): "records of kind “\(kind)” are not in force"
        case .unsigned(let key): "the signature of \(key.address) is missing"
        case .badSignature(let key): "the signature of \(key.address) is not one over these bytes for this ledger"
        }
    }
}
