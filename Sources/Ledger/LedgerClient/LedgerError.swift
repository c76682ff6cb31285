import Bytes
import CanonicalJSON
public import LedgerState

/// Why a request to a ledger did not succeed.
public struct LedgerError: Error, Hashable, Sendable {
    /// A stable code: one of `AdmissionError.Code`, or one of the constants here.
    public let code: String
    /// What it is about.
    public let subject: String
    /// One line for people.
    public let message: String
    /// The HTTP status that carried it; 0 where no answer came.
    public let status: Int

    /// Nothing answers at the ledger's address.
    public static let unreachable = "unreachable"
    /// The ledger answers and cannot serve at the moment.
    public static let unavailable = "unavailable"
    /// The answer came too late.
    public static let deadline = "deadline"
    /// Who answers does not have the pinned key.
    public static let wrongPin = "wrong-pin"
    /// The answer is not of the form that it must have.
    public static let malformed = "malformed"
    /// The answer does not verify: the ledger is not believed.
    public static let unproved = "unproved"
    /// What was asked for is not there.
    public static let notFound = "not-found"
    /// The request is not of the form that it must have.
    public static let badRequest = "bad-request"
    /// Stored bytes of the ledger are damaged.
    public static let damaged = "damaged"
    /// The caller knows blocks that this ledger does not have.
    public static let ahead = "ahead"

    /// An error.
    public init(_ code: String, _ subject: String, _ message: String, status: Int = 0) {
        (self.code, self.subject, self.message, self.status) = (code, subject, message, status)
    }

    /// The reason for which the ledger refused a record; nil for anything else.
    public var admission: AdmissionError.Code? { AdmissionError.Code(rawValue: code) }

    /// Whether the same request may succeed later, and whether it took effect is not known.
    public var isPassing: Bool {
        [LedgerError.unreachable, LedgerError.unavailable, LedgerError.deadline].contains(code) || status >= 500
    }

    /// The error of an answer's body `{code, message, subject}`.
    init(status: Int, body: [UInt8]) {
        let value = try? JSONValue(parsing: body)
        self.init(
            value?["code"]?.string ?? (status >= 500 ? LedgerError.unavailable : LedgerError.malformed),
            value?["subject"]?.string ?? "ledger",
            value?["message"]?.string ?? "the ledger answered with status \(status)", status: status)
    }

    static func malformed(_ what: String, _ reason: any Error) -> LedgerError {
        LedgerError(malformed, what, "\(what) of the ledger cannot be read: \(reason)")
    }

    static func unproved(_ what: String, _ reason: String) -> LedgerError {
        LedgerError(unproved, what, "\(what) of the ledger is not believed: \(reason)")
    }
}

extension LedgerError: CustomStringConvertible {
    /// Code and message.
    public var description: String { "\(code): \(message)" }
}
