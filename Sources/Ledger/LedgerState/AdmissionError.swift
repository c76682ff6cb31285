public import CanonicalJSON
import Contracts
public import Records

/// Why the ledger refuses a record; the same in the ledger and in everybody who follows it.
public struct AdmissionError: Error, Hashable, Sendable {
    /// Stable codes; they cross the HTTP door.
    public enum Code: String, CaseIterable, Hashable, Sendable {
        // What the bytes alone show.
        case tooLarge = "too-large"
        case notCanonical = "not-canonical"
        case schema
        case unknownKind = "unknown-kind"
        case notInForce = "not-in-force"
        // Signatures and keys.
        case unsigned
        case badSignature = "bad-signature"
        case straySignature = "stray-signature"
        case unknownIdentity = "unknown-identity"
        case notAdmitted = "not-admitted"
        case wrongSigner = "wrong-signer"
        case revokedKey = "revoked-key"
        case expiredKey = "expired-key"
        case wrongRole = "wrong-role"
        case outOfScope = "out-of-scope"
        // Sequence.
        case replayed
        case skipped
        // Limits: the first three pass with the next block.
        case blockFull = "block-full"
        case identityBlockFull = "identity-block-full"
        case identitiesFull = "identities-full"
        case limit
        // What the kind asks for.
        case badTime = "bad-time"
        case unknownContract = "unknown-contract"
        case contractOver = "contract-over"
        case notAuthor = "not-author"
        case nameTaken = "name-taken"
        case nameNotHeld = "name-not-held"
        case unknownImage = "unknown-image"
        case notStakeholder = "not-stakeholder"
        case notPending = "not-pending"
        case duplicate
        case notApproved = "not-approved"
        case oldEpoch = "old-epoch"
        case skippedEpoch = "skipped-epoch"
        case unknownCommit = "unknown-commit"
        case unknownFarm = "unknown-farm"
        case unknownNode = "unknown-node"
        case notPlaced = "not-placed"
        // What module Contracts found.
        case badContract = "bad-contract"
        case badVersion = "bad-version"
        case unreachableApproval = "unreachable-approval"
        case badPlacement = "bad-placement"
        case noCapacity = "no-capacity"

        /// Whether the same record may be good in the next block.
        public var passes: Bool { self == .blockFull || self == .identityBlockFull || self == .identitiesFull }
    }

    /// The stable code.
    public let code: Code
    /// What it is about: a key, an id, a name, a field.
    public let subject: String
    /// One line for people.
    public let message: String

    /// A reason.
    public init(_ code: Code, _ subject: String, _ message: String) {
        (self.code, self.subject, self.message) = (code, subject, message)
    }

    /// What a record's own bytes or signatures lack.
    public init(_ error: RecordError) {
        self.init(Code(rawValue: error.code) ?? .schema, error.subject, error.description)
    }

    init(_ error: ContractError, in kind: RecordKind) {
        let general: Code = kind == .placement ? .badPlacement : .badContract
        self.init(Code(rawValue: error.code.rawValue) ?? general, error.path, error.description)
    }

    /// The error as a document, as the HTTP door gives it.
    public var value: JSONValue {
        ["code": .string(code.rawValue), "message": .string(message), "subject": .string(subject)]
    }
}

extension AdmissionError: CustomStringConvertible {
    /// Code and message.
    public var description: String { "\(code.rawValue): \(message)" }
}
