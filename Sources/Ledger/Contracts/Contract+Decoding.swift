import Bytes
public import CanonicalJSON
import Crypto

extension Contract {
    /// Reads and checks the body of a `contract` record: every field, every reference, every limit.
    public init(body: JSONValue) throws(ContractError) {
        var reader = try BodyReader(body, at: "")
        name = try reader.string("name")
        guard Names.isContract(name) else {
            throw reader.error(
                .badValue, "name", "`\(name)` is not a name", why: Contract.nameRule(ContractLimits.contractNameLength))
        }
        version = try reader.integer("version", in: 1...Int64(1) << 32)
        id = nil
        if version > 1 { id = try reader.digest("id") }
        expires = try reader.integer("expires", in: ContractLimits.time, Units.timeText)
        range = try Contract.range(try reader.required("network"))
        workloads = []
        for (index, value) in try reader.list("workloads", limit: ContractLimits.workloads).enumerated() {
            workloads.append(try Workload(value, at: "workloads[\(index)]"))
        }
        secrets = [:]
        if let value = reader.optional("secrets") {
            secrets = try Contract.sealed(try reader.entries(of: value, "secrets", limit: ContractLimits.secrets))
        }
        approvals = nil
        if let value = reader.optional("approvals") { approvals = try ApprovalRule(value, at: "approvals") }
        planner = try reader.optionalIdentity("planner")
        try reader.finish()
        try checkReferences()
        guard self.body == body else {
            throw ContractError(
                .malformed, "", "not in its one form", why: "the same contract is always written the same way")
        }
    }

    static func nameRule(_ limit: Int) -> String {
        "names are 1 to \(limit) of a-z, 0-9 and hyphens, with a letter or digit at both ends"
    }

    private static func range(_ value: JSONValue) throws(ContractError) -> IPv4Range {
        var reader = try BodyReader(value, at: "network")
        let text = try reader.string("range")
        try reader.finish()
        guard let range = IPv4Range(text) else {
            throw reader.error(
                .badValue, "range", "`\(text)` is not a range", why: "a range is `a.b.c.d/n` with zero host bits",
                hint: "for example 10.42.0.0/16")
        }
        guard ContractLimits.rangePrefix.contains(range.prefix) else {
            throw reader.error(
                .outOfRange, "range", "/\(range.prefix) has no room",
                why: "each node takes a /24 of it: /8 to /24 is allowed")
        }
        guard IPv4Range.allowed.contains(where: { $0.contains(range) }) else {
            let known = IPv4Range.allowed.map(\.description).joined(separator: ", ")
            throw reader.error(
                .badValue, "range", "\(range) is public", why: "a contract's network is private: inside \(known)")
        }
        return range
    }

    private static func sealed(_ entries: [(key: String, value: JSONValue)]) throws(ContractError) -> [String:
        SealedSecret]
    {
        var secrets: [String: SealedSecret] = [:]
        for (name, value) in entries {
            let path = "secrets.\(name)"
            guard Names.isWorkload(name), name != Placement.imageKey else {
                throw ContractError(
                    .badValue, path, "`\(name)` is not a name",
                    why: nameRule(ContractLimits.workloadNameLength)
                        + ", and not `\(Placement.imageKey)`")
            }
            var reader = try BodyReader(value, at: path)
            let box = try reader.base64("box", limit: ContractLimits.secretBox)
            var keys: [PublicKey: [UInt8]] = [:]
            for (address, sealed) in try reader.map("keys", limit: ContractLimits.secretReaders) {
                let entry = try BodyReader(.object([:]), at: path + ".keys")
                keys[try entry.identity(address, address)] = try entry.base64(
                    sealed, address, limit: ContractLimits.sealedKey)
            }
            try reader.finish()
            secrets[name] = SealedSecret(box: box, keys: keys)
        }
        return secrets
    }
}

extension BodyReader {
    mutating func base64(_ key: String, limit: Int) throws(ContractError) -> [UInt8] {
        try base64(try required(key), key, limit: limit)
    }

    func base64(_ value: JSONValue, _ key: String, limit: Int) throws(ContractError) -> [UInt8] {
        guard case .string(let text) = value, let bytes = Base64.decode(text), Base64.encode(bytes) == text else {
            throw error(.badValue, key, "not base64", why: "sealed bytes are standard base64 with padding")
        }
        guard (1...limit).contains(bytes.count) else {
            throw error(.outOfRange, key, "\(bytes.count) bytes", why: "1 to \(limit) bytes are allowed")
        }
        return bytes
    }

    mutating func label(_ key: String, limit: Int = ContractLimits.workloadNameLength) throws(ContractError) -> String {
        let text = try string(key)
        guard Names.isLabel(text, limit: limit) else {
            throw error(.badValue, key, "`\(text)` is not a name", why: Contract.nameRule(limit))
        }
        return text
    }
}

extension ApprovalRule {
    init(_ value: JSONValue, at path: String) throws(ContractError) {
        var reader = try BodyReader(value, at: path)
        need = try reader.integer("need", in: 1...ContractLimits.weight * Int64(ContractLimits.approvers))
        of = [:]
        for (address, weight) in try reader.map("of", limit: ContractLimits.approvers) {
            let entry = try BodyReader(.object([:]), at: path + ".of")
            guard case .integer(let number) = weight, (1...ContractLimits.weight).contains(number) else {
                throw entry.error(
                    .outOfRange, address, "not a weight", why: "weights are 1 to \(ContractLimits.weight)")
            }
            of[try entry.identity(address, address)] = number
        }
        on = []
        let actions = try reader.list("on", limit: ContractAction.allCases.count)
        for (index, value) in actions.enumerated() {
            guard case .string(let text) = value, let action = ContractAction(rawValue: text) else {
                throw reader.error(
                    .badValue, "on[\(index)]", "not an action", why: "actions are deploy, update and cancel")
            }
            guard on.isEmpty || action > (on.max() ?? .deploy) else {
                throw reader.error(
                    .duplicate, "on", "not in order", why: "actions are listed once, as deploy, update, cancel")
            }
            on.insert(action)
        }
        try reader.finish()
        guard !on.isEmpty else {
            throw reader.error(
                .badValue, "on", "empty", why: "a rule that guards nothing says nothing", hint: "name an action")
        }
        guard isReachable else {
            throw reader.error(
                .unreachableApproval, "need", "\(need) can never be reached",
                why: "the listed weights add up to \(of.values.reduce(0, +))", hint: "lower `need` or add stakeholders")
        }
    }
}
