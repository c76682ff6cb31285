public import Crypto
public import Records

/// What a contract says: workloads, the network they share, who must approve, and until when.
///
/// This is the body of a `contract` record. A value made by `init(body:)` keeps every rule of this module; what it
/// takes more (images that exist, names that are held, approvals that were given) is the ledger's to check.
public struct Contract: Hashable, Sendable {
    /// Name, unique among the author's contracts.
    public var name: String
    /// 1, 2, 3, …
    public var version: Int64
    /// The record id of version 1; absent in version 1 itself.
    public var id: Digest?
    /// Unix ms after which nothing of it runs.
    public var expires: Int64
    /// The IPv4 range that its workloads share.
    public var range: IPv4Range
    /// In the order of the author.
    public var workloads: [Workload]
    /// Sealed values by the name that workloads use.
    public var secrets: [String: SealedSecret]
    /// Whose approval it takes; nobody's where absent.
    public var approvals: ApprovalRule?
    /// Who may place it besides its author.
    public var planner: PublicKey?

    /// The workload of that name.
    public func workload(_ name: String) -> Workload? { workloads.first { $0.name == name } }

    /// Containers.
    public var containers: [Container] { workloads.compactMap { if case .container(let it) = $0 { it } else { nil } } }
    /// Volumes.
    public var volumes: [Volume] { workloads.compactMap { if case .volume(let it) = $0 { it } else { nil } } }
    /// Namespaces of Zero-DBs.
    public var zdbs: [ZDB] { workloads.compactMap { if case .zdb(let it) = $0 { it } else { nil } } }
    /// Gateways.
    public var gateways: [Gateway] { workloads.compactMap { if case .gateway(let it) = $0 { it } else { nil } } }

    /// What the contract takes in all.
    public var demand: Capacity { workloads.reduce(.zero) { $0 + $1.demand } }

    /// The approval rules that a version must satisfy: its predecessor's and its own, each for `action`.
    public static func rules(for action: ContractAction, previous: Contract?, next: Contract?) -> [ApprovalRule] {
        [previous?.approvals, next?.approvals].compactMap { $0 }.filter { $0.on.contains(action) }
    }
}

/// What somebody does to a contract.
public enum ContractAction: String, Sendable, CaseIterable, Comparable {
    /// Its first version.
    case deploy
    /// A later version.
    case update
    /// Its end.
    case cancel

    /// In the order of a contract's life.
    public static func < (left: ContractAction, right: ContractAction) -> Bool {
        (allCases.firstIndex(of: left) ?? 0) < (allCases.firstIndex(of: right) ?? 0)
    }
}

/// A secret as it stands in a contract: its value sealed once, its content key sealed to each reader.
public struct SealedSecret: Hashable, Sendable {
    /// Nonce and secretbox of the value.
    public var box: [UInt8]
    /// The content key, sealed to each reader's identity.
    public var keys: [PublicKey: [UInt8]]

    /// A sealed value and who can read it.
    public init(box: [UInt8], keys: [PublicKey: [UInt8]]) { (self.box, self.keys) = (box, keys) }
}
