public import CanonicalJSON
public import Crypto

/// What became of one workload.
public struct WorkloadResult: Hashable, Sendable {
    /// Where a workload is in its life.
    public enum State: String, CaseIterable, Hashable, Sendable {
        /// Something else has to come first.
        case waiting
        /// It is being made.
        case preparing
        /// It runs and is ready.
        case running
        /// The last try went wrong; `reason`, `attempt` and `next` say more.
        case failed
        /// It ended and is not to be started again.
        case stopped
        /// Nothing of it is left.
        case removed
    }

    /// Where it is in its life.
    public let state: State
    /// Why, where there is something to say.
    public let reason: String?
    /// How many times it was tried.
    public let attempt: Int64?
    /// Unix milliseconds of the next try.
    public let next: Int64?
    /// Unix milliseconds since when it is so.
    public let since: Int64
    /// How its owner reaches it: text, or named texts and numbers.
    public let access: JSONValue?

    /// A state of a workload.
    public init(
        state: State, reason: String? = nil, attempt: Int64? = nil, next: Int64? = nil, since: Int64,
        access: JSONValue? = nil
    ) {
        (self.state, self.reason, self.attempt) = (state, reason, attempt)
        (self.next, self.since, self.access) = (next, since, access)
    }

    /// The state as a document.
    public var value: JSONValue {
        .members([
            "state": .string(state.rawValue), "reason": reason.map { .string($0) },
            "attempt": attempt.map { .integer($0) }, "next": next.map { .integer($0) }, "since": .integer(since),
            "access": access,
        ])
    }

    /// Decodes a state.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a workload's result")
        state = try fields.word("state", State.self)
        reason = try fields.optionalText("reason", limit: RecordLimits.reasonBytes)
        attempt = try fields.optionalInteger("attempt", in: Bounds.amount)
        next = try fields.optionalInteger("next", in: Bounds.amount)
        since = try fields.integer("since", in: Bounds.amount)
        access = fields.optionalValue("access")
        try fields.finish()
        guard let access else { return }
        let plain: Bool
        switch access {
        case .string: plain = true
        case .object(let members): plain = members.values.allSatisfy { $0.string != nil || $0.integer != nil }
        default: plain = false
        }
        guard plain, access.canonicalBytes.count <= RecordLimits.reasonBytes else {
            throw fields.refuse("access", "text, or named texts and numbers, up to 1 KiB", found: access)
        }
    }
}

/// Body of a result record: what a node did for a placement.
public struct ResultBody: Hashable, Sendable {
    /// The contract.
    public let contract: Digest
    /// The version that the node acts on.
    public let version: Int64
    /// The placement that the node acts on.
    public let epoch: Int64
    /// By workload name: everything of the contract on this node.
    public let workloads: [String: WorkloadResult]

    /// A result.
    public init(contract: Digest, version: Int64, epoch: Int64, workloads: [String: WorkloadResult]) {
        (self.contract, self.version, self.epoch, self.workloads) = (contract, version, epoch, workloads)
    }

    /// The body as a document.
    public var value: JSONValue {
        [
            "contract": .digest(contract), "version": .integer(version), "epoch": .integer(epoch),
            "workloads": .object(workloads.mapValues(\.value)),
        ]
    }

    /// Decodes a body.
    public init(_ value: JSONValue) throws(JSONError) {
        var fields = try ObjectReader(value, "a result record")
        contract = try fields.digest("contract")
        version = try fields.integer("version", in: Bounds.positive)
        epoch = try fields.integer("epoch", in: Bounds.positive)
        workloads = try fields.workloads("workloads") { value throws(JSONError) in try WorkloadResult(value) }
        try fields.finish()
    }
}
