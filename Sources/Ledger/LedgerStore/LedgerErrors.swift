import LedgerClient
import LedgerState

/// Errors of the ledger's door that are not about a record.
enum LedgerErrors {
    static let starting = LedgerError(
        LedgerError.unavailable, "ledger", "the ledger is reading its store", status: 503)
    static func ahead(height: Int64, top: Int64) -> LedgerError {
        LedgerError(
            LedgerError.ahead, "\(height)", "this ledger has \(top) blocks, block \(height) is asked for", status: 409)
    }
    static func badRequest(_ subject: String, _ message: String) -> LedgerError {
        LedgerError(LedgerError.badRequest, subject, message, status: 400)
    }
    static func notFound(_ subject: String, _ message: String) -> LedgerError {
        LedgerError(LedgerError.notFound, subject, message, status: 404)
    }
    static func damaged(_ damage: Damage) -> LedgerError {
        LedgerError(LedgerError.damaged, damage.place, damage.description, status: 500)
    }
}

extension AdmissionError.Code {
    /// The HTTP status of the reason.
    var status: Int {
        switch self {
        case .notCanonical, .schema, .unknownKind, .notInForce: 400
        case .unsigned, .badSignature, .straySignature, .notAdmitted, .wrongSigner, .revokedKey, .expiredKey,
            .wrongRole,
            .outOfScope, .notAuthor, .notStakeholder, .nameNotHeld:
            403
        case .unknownIdentity, .unknownContract, .unknownCommit, .unknownFarm, .unknownNode, .unknownImage: 404
        case .replayed, .skipped, .contractOver, .nameTaken, .notPending, .duplicate, .notApproved, .oldEpoch,
            .skippedEpoch, .notPlaced, .badVersion, .noCapacity:
            409
        case .tooLarge: 413
        case .badTime, .badContract, .unreachableApproval, .badPlacement: 422
        case .blockFull, .identityBlockFull, .identitiesFull, .limit: 429
        }
    }
}
