/// Why a contract, a placement or a contract's body is refused.
///
/// `path` names the place inside the document (`workloads[0].memory`), `what` is wrong there, `why` is the rule it
/// breaks, and `hint`, if there is one, is what to write or do instead.
public struct ContractError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Stable codes; they cross the ledger's HTTP door and the bus.
    public enum Code: String, Sendable, CaseIterable {
        /// Not the shape that is expected: another type, not an object.
        case malformed
        /// A field that does not exist.
        case unknownField = "unknown-field"
        /// A field that must be there and is not.
        case missingField = "missing-field"
        /// A number, size, time or length outside its limits.
        case outOfRange = "out-of-range"
        /// A name or value that is not of its form.
        case badValue = "bad-value"
        /// The same name, path or address twice.
        case duplicate
        /// Points at something that is not in the contract.
        case badReference = "bad-reference"
        /// A type of workload that this grid does not make real yet.
        case notInForce = "not-in-force"
        /// An approval rule that cannot be met.
        case unreachableApproval = "unreachable-approval"
        /// A version that does not follow from the one before it.
        case badVersion = "bad-version"
        /// A placement that does not keep to the contract.
        case badPlacement = "bad-placement"
        /// More than a node has left.
        case noCapacity = "no-capacity"
    }

    /// The stable code.
    public var code: Code
    /// Where: `workloads[2].to`, or empty for the whole document.
    public var path: String
    /// What is wrong.
    public var what: String
    /// The rule that it breaks.
    public var why: String
    /// What to do about it.
    public var hint: String?

    /// An error at `path`.
    public init(_ code: Code, _ path: String, _ what: String, why: String, hint: String? = nil) {
        (self.code, self.path, self.what, self.why, self.hint) = (code, path, what, why, hint)
    }

    /// One line: place, what, why, hint.
    public var description: String {
        let place = path.isEmpty ? "" : path + ": "
        let rest = hint.map { "; " + $0 } ?? ""
        return place + what + ": " + why + rest
    }
}
