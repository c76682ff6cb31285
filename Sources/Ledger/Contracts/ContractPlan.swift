import CanonicalJSON
import Crypto
public import Records

/// What deploying `next` would change about `previous`, workload by workload. Computing it changes nothing.
public struct ContractPlan: Hashable, Sendable {
    /// What happens to one workload.
    public enum Change: String, Sendable {
        /// It is new.
        case create
        /// It stays and becomes different.
        case update
        /// It goes.
        case remove
        /// Nothing happens.
        case unchanged
    }

    /// How an update is carried out.
    public enum Method: String, Sendable {
        /// Without a new instance.
        case inPlace = "in place"
        /// A new instance instead of the old one; it holds nothing exclusive.
        case replace = "replace"
        /// The old instance stops before the new one starts, because it holds a volume.
        case stopThenReplace = "stop, then replace"
    }

    /// One workload of the plan.
    public struct Step: Hashable, Sendable {
        /// Its name.
        public var name: String
        /// Its type.
        public var type: WorkloadType
        /// What happens.
        public var change: Change
        /// How, for an update.
        public var method: Method?
        /// Why, one field each: `memory: 128 MiB -> 256 MiB`.
        public var reasons: [String]
    }

    /// Every workload of either version: those of `next` in its order, then those that go.
    public var steps: [Step]
    /// Changes of the contract itself: `expires: 2027-06-01 -> 2028-06-01`.
    public var contract: [String]
    /// What it takes before and after.
    public var demand: (before: Capacity, after: Capacity) { (before, after) }

    private var before: Capacity
    private var after: Capacity

    /// Whether the versions mean the same. Sealed boxes count where `secretsChanged` says so.
    public var isEmpty: Bool { contract.isEmpty && steps.allSatisfy { $0.change == .unchanged } }

    /// The difference; `previous` is nil for a first version.
    ///
    /// A secret sealed again has other bytes and perhaps the same value: a plan trusts the bytes. Whoever wants "no
    /// changes" for an untouched secret carries its sealed form over from the previous version.
    public init(from previous: Contract?, to next: Contract) {
        before = previous?.demand ?? .zero
        after = next.demand
        contract = previous.map { ContractPlan.differences($0, next) } ?? []
        let moved = previous.map { $0.range != next.range } ?? false
        steps = next.workloads.map { workload in
            guard let old = previous?.workload(workload.name) else {
                return Step(name: workload.name, type: workload.type, change: .create, reasons: [])
            }
            return ContractPlan.step(from: old, to: workload, previous, next, moved: moved)
        }
        for old in previous?.workloads ?? [] where next.workload(old.name) == nil {
            steps.append(Step(name: old.name, type: old.type, change: .remove, reasons: ["no longer in the contract"]))
        }
    }

    private static func step(from old: Workload, to new: Workload, _ previous: Contract?, _ next: Contract, moved: Bool)
        -> Step
    {
        var reasons: [String] = []
        var method = Method.inPlace
        switch (old, new) {
        case (.container(let old), .container(let new)):
            reasons = differences(old, new)
            for name in Set(new.secrets.values).sorted() where previous?.secrets[name] != next.secrets[name] {
                reasons.append("secret \(name): sealed anew")
            }
            if moved { reasons.append("network: another range") }
            method = old.volumes.isEmpty && new.volumes.isEmpty ? .replace : .stopThenReplace
        case (.volume(let old), .volume(let new)):
            compare("size", Units.sizeText(old.size), Units.sizeText(new.size), &reasons)
            compare("place", text(old.place), text(new.place), &reasons)
        case (.gateway(let old), .gateway(let new)):
            compare("to", "\(old.workload):\(old.port)", "\(new.workload):\(new.port)", &reasons)
        case (.zdb(let old), .zdb(let new)):
            reasons = differences(old, new)
            if let name = new.password, previous?.secrets[name] != next.secrets[name] {
                reasons.append("secret \(name): sealed anew")
            }
            if moved { reasons.append("network: another range") }
        default:
            reasons = ["type: \(old.type.rawValue) -> \(new.type.rawValue)"]
            method = .stopThenReplace
        }
        let same = reasons.isEmpty
        return Step(
            name: new.name, type: new.type, change: same ? .unchanged : .update, method: same ? nil : method,
            reasons: reasons)
    }

    private static func differences(_ old: Contract, _ new: Contract) -> [String] {
        var reasons: [String] = []
        compare("expires", Units.timeText(old.expires), Units.timeText(new.expires), &reasons)
        compare("network", old.range.description, new.range.description, &reasons)
        compare("approvals", text(old.approvals), text(new.approvals), &reasons)
        compare("planner", old.planner?.address ?? "none", new.planner?.address ?? "none", &reasons)
        let order = new.workloads.map(\.name).filter { old.workload($0) != nil }
        if order != old.workloads.map(\.name).filter({ new.workload($0) != nil }) {
            reasons.append("order of workloads")
        }
        return reasons
    }

    private static func differences(_ old: Container, _ new: Container) -> [String] {
        var reasons: [String] = []
        compare("image", text(old.image, beside: new.image), text(new.image, beside: old.image), &reasons)
        compare(
            "args", old.args?.joined(separator: " ") ?? "image's", new.args?.joined(separator: " ") ?? "image's",
            &reasons)
        if reasons.isEmpty && old.args != new.args { reasons.append("args: split differently") }
        compare("cpu", Units.cpuText(old.cpu), Units.cpuText(new.cpu), &reasons)
        compare("memory", Units.sizeText(old.memory), Units.sizeText(new.memory), &reasons)
        for name in Set(old.env.keys).union(new.env.keys).sorted() {
            compare("env \(name)", quoted(old.env[name]), quoted(new.env[name]), &reasons)
        }
        for name in Set(old.secrets.keys).union(new.secrets.keys).sorted() {
            compare("env \(name)", text(secret: old.secrets[name]), text(secret: new.secrets[name]), &reasons)
        }
        compare("volumes", text(old.volumes), text(new.volumes), &reasons)
        compare("restart", old.restart.rawValue, new.restart.rawValue, &reasons)
        compare("ready", text(old.ready), text(new.ready), &reasons)
        compare("partition", old.partition.rawValue, new.partition.rawValue, &reasons)
        compare("place", text(old.place), text(new.place), &reasons)
        return reasons
    }

    private static func differences(_ old: ZDB, _ new: ZDB) -> [String] {
        var reasons: [String] = []
        compare("size", Units.sizeText(old.size), Units.sizeText(new.size), &reasons)
        compare("mode", old.mode.rawValue, new.mode.rawValue, &reasons)
        compare("password", text(secret: old.password), text(secret: new.password), &reasons)
        compare("public", "\(old.isPublic)", "\(new.isPublic)", &reasons)
        compare("worm", "\(old.isWORM)", "\(new.isWORM)", &reasons)
        compare("place", text(old.place), text(new.place), &reasons)
        return reasons
    }

    private static func compare(_ field: String, _ old: String, _ new: String, _ reasons: inout [String]) {
        if old != new { reasons.append("\(field): \(old) -> \(new)") }
    }

    private static func quoted(_ value: String?) -> String { value.map { "\"\($0)\"" } ?? "unset" }
    private static func text(secret name: String?) -> String { name.map { "secret \($0)" } ?? "not secret" }
    private static func text(_ volumes: [Mount]) -> String {
        volumes.isEmpty
            ? "none"
            : volumes.map { "\($0.name) at \($0.at)\($0.readOnly ? " read-only" : "")" }.joined(separator: ", ")
    }
    private static func text(_ ready: ReadinessProbe?) -> String {
        ready.map { "\($0.http ?? "tcp") on \($0.port)" } ?? "at start"
    }
    private static func text(_ place: PlaceConstraint?) -> String { place?.body.canonicalText ?? "anywhere" }
    private static func text(_ rule: ApprovalRule?) -> String {
        guard let rule else { return "none" }
        let list = rule.of.sorted { $0.key < $1.key }.map { key, weight in
            key.address + (weight == 1 ? "" : " (\(weight))")
        }
        let actions = rule.on.sorted().map(\.rawValue).joined(separator: ", ")
        return "\(rule.need) of \(list.joined(separator: ", ")), to \(actions)"
    }

    /// An image by name, with its hashes where the name alone would not show the difference.
    private static func text(_ image: ImageReference, beside other: ImageReference) -> String {
        if image.author != other.author { return "\(image.author.address)/\(image.name)" }
        if image.name != other.name { return image.name }
        if image.root != other.root { return "\(image.name)@\(image.root.hex.prefix(12))" }
        return image == other ? image.name : "\(image.name) of record \(image.record.hex.prefix(12))"
    }
}
