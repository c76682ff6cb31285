import CanonicalJSON
public import Contracts
public import Crypto
public import Records

/// An approved version of a contract.
public struct ContractVersion: Hashable, Sendable {
    /// The version's record.
    public var record: Digest
    /// What it says.
    public var contract: Contract
    /// Its number.
    public var version: Int64 { contract.version }

    var value: JSONValue { ["body": contract.body, "record": .digest(record)] }

    init(record: Digest, contract: Contract) { (self.record, self.contract) = (record, contract) }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a version's state")
        record = try fields.digest("record")
        contract = try ContractVersion.contract(fields.value("body"))
        try fields.finish()
    }

    static func contract(_ body: JSONValue) throws(JSONError) -> Contract {
        do { return try Contract(body: body) } catch {
            throw .unexpected(
                key: "body", subject: "a version's state", expected: "a contract", found: error.description)
        }
    }
}

/// A version or a cancel that waits for approvals.
public struct PendingAction: Hashable, Sendable {
    /// The record that approvals name.
    public var record: Digest
    /// The version; absent for a cancel.
    public var contract: Contract?
    /// Who approved, sorted.
    public var approvals: [PublicKey]

    var value: JSONValue {
        .members([
            "approvals": .array(approvals.map { .key($0) }), "body": contract?.body, "record": .digest(record),
        ])
    }

    init(record: Digest, contract: Contract?, approvals: [PublicKey] = []) {
        (self.record, self.contract, self.approvals) = (record, contract, approvals)
    }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a pending record's state")
        approvals = try fields.publicKeys("approvals", limit: 1024)
        record = try fields.digest("record")
        contract = try fields.optionalValue("body").map { body throws(JSONError) in
            try ContractVersion.contract(body)
        }
        try fields.finish()
    }
}

/// A contract as the ledger has it.
public struct ContractEntry: Hashable, Sendable {
    /// Where a contract is in its life, as far as records decide.
    public enum State: String, CaseIterable, Hashable, Sendable {
        /// Its first version waits for approvals.
        case proposed
        /// A version is in force.
        case approved
        /// It is over; nodes have not removed everything yet.
        case cancelling
        /// It is over and nothing is left.
        case cancelled
    }

    /// Whose it is.
    public var author: PublicKey
    /// Its name, unique among the author's contracts that are not over.
    public var name: String
    /// Where it is in its life.
    public var state: State
    /// Versions in force: the one that is placed where it is an older one, then the last that was approved.
    public var versions: [ContractVersion]
    /// A version that waits for approvals.
    public var pending: PendingAction?
    /// A cancel that waits for approvals.
    public var cancel: PendingAction?
    /// Unix milliseconds of the block that ended it.
    public var ended: Int64?

    /// The last version that was approved.
    public var approved: ContractVersion? { versions.last }
    /// The approved version of that number, while it is in force.
    public func version(_ number: Int64) -> ContractVersion? { versions.first { $0.version == number } }
    /// Whether it is cancelled or expired.
    public var isOver: Bool { state == .cancelling || state == .cancelled }
    /// When it expires: as the version in force says, or the first one that waits.
    public var expires: Int64? { approved?.contract.expires ?? pending?.contract?.expires }

    var value: JSONValue {
        .members([
            "author": .key(author), "name": .string(name), "state": .string(state.rawValue),
            "versions": .array(versions.map(\.value)), "pending": pending?.value, "cancel": cancel?.value,
            "ended": ended.map { .integer($0) },
        ])
    }

    init(author: PublicKey, name: String, state: State, pending: PendingAction) {
        (self.author, self.name, self.state, self.pending) = (author, name, state, pending)
        versions = []
    }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a contract's state")
        author = try fields.publicKey("author")
        name = try fields.string("name")
        state = try fields.word("state", State.self)
        var versions: [ContractVersion] = []
        for element in try fields.array("versions") { versions.append(try ContractVersion(element)) }
        self.versions = versions
        pending = try fields.optionalValue("pending").map { value throws(JSONError) in try PendingAction(value) }
        cancel = try fields.optionalValue("cancel").map { value throws(JSONError) in try PendingAction(value) }
        ended = try fields.optionalInteger("ended")
        try fields.finish()
    }
}

/// The placement in force of a contract.
public struct PlacementEntry: Hashable, Sendable {
    /// Where each workload runs.
    public var body: PlacementBody
    /// The record that said so.
    public var record: Digest
    /// What it takes from each node.
    public var demand: [PublicKey: Capacity]
    /// Nodes of earlier placements that have not said that everything is removed, sorted.
    public var leaving: [PublicKey]

    var value: JSONValue {
        [
            "body": body.value, "record": .digest(record),
            "demand": .object(
                Dictionary(demand.map { ($0.address, $1.value) }, uniquingKeysWith: { first, _ in first })),
            "leaving": .array(leaving.map { .key($0) }),
        ]
    }

    init(body: PlacementBody, record: Digest, demand: [PublicKey: Capacity], leaving: [PublicKey]) {
        (self.body, self.record, self.demand, self.leaving) = (body, record, demand, leaving)
    }

    init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a placement's state")
        body = try PlacementBody(fields.value("body"))
        record = try fields.digest("record")
        leaving = try fields.publicKeys("leaving", limit: Int.max)
        var demand: [PublicKey: Capacity] = [:]
        for (address, amount) in try fields.object("demand") {
            demand[try fields.publicKey(address, of: "demand")] = try Capacity(amount)
        }
        self.demand = demand
        try fields.finish()
    }
}
