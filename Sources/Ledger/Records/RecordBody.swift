public import CanonicalJSON

/// What a record says, by kind.
public enum RecordBody: Hashable, Sendable {
    /// The keys that act for the author.
    case identity(IdentityBody)
    /// The author's farm.
    case farm(FarmBody)
    /// The author is a node.
    case node(NodeBody)
    /// An image of the author.
    case image(ImageBody)
    /// A version of a contract; module Contracts reads it.
    case contract(JSONValue)
    /// Consent to one record of a contract.
    case approval(ApprovalBody)
    /// The end of a contract.
    case cancel(CancelBody)
    /// Which node runs which workload.
    case placement(PlacementBody)
    /// A step in the life of a name.
    case name(NameBody)
    /// What the author, a node, did.
    case result(ResultBody)
    /// The author, a node, came or went.
    case liveness(LivenessBody)

    /// The kind of record that this is the body of.
    public var kind: RecordKind {
        switch self {
        case .identity: .identity
        case .farm: .farm
        case .node: .node
        case .image: .image
        case .contract: .contract
        case .approval: .approval
        case .cancel: .cancel
        case .placement: .placement
        case .name: .name
        case .result: .result
        case .liveness: .liveness
        }
    }

    /// The body as a document.
    public var value: JSONValue {
        switch self {
        case .identity(let body): body.value
        case .farm(let body): body.value
        case .node(let body): body.value
        case .image(let body): body.value
        case .contract(let body): body
        case .approval(let body): body.value
        case .cancel(let body): body.value
        case .placement(let body): body.value
        case .name(let body): body.value
        case .result(let body): body.value
        case .liveness(let body): body.value
        }
    }

    /// Decodes a body. Unknown fields are refused, and so is a second way to write the same thing.
    public init(kind: RecordKind, _ value: JSONValue) throws(JSONError) {
        switch kind {
        case .identity: self = .identity(try IdentityBody(value))
        case .farm: self = .farm(try FarmBody(value))
        case .node: self = .node(try NodeBody(value))
        case .image: self = .image(try ImageBody(value))
        case .contract:
            guard case .object = value else {
                throw .unexpected(key: "body", subject: "a contract", expected: "an object", found: value.kind)
            }
            self = .contract(value)
        case .approval: self = .approval(try ApprovalBody(value))
        case .cancel: self = .cancel(try CancelBody(value))
        case .placement: self = .placement(try PlacementBody(value))
        case .name: self = .name(try NameBody(value))
        case .result: self = .result(try ResultBody(value))
        case .liveness: self = .liveness(try LivenessBody(value))
        }
        guard self.value == value else {
            throw .unexpected(
                key: "body", subject: "a \(kind.rawValue) record", expected: self.value.canonicalText,
                found: value.canonicalText)
        }
    }
}
