public import Crypto

/// Whose signatures a contract needs: weights of stakeholders that must reach `need`, for the actions in `on`.
public struct ApprovalRule: Hashable, Sendable {
    /// The weight that is enough.
    public var need: Int64
    /// Stakeholders and their weights.
    public var of: [PublicKey: Int64]
    /// Actions that need it.
    public var on: Set<ContractAction>

    /// A rule; `Contract.init(body:)` refuses one that cannot be met.
    public init(need: Int64, of weights: [PublicKey: Int64], on actions: Set<ContractAction>) {
        (self.need, of, on) = (need, weights, actions)
    }

    /// Weight of those who approved.
    public func weight(of approvers: Set<PublicKey>) -> Int64 {
        of.reduce(0) { approvers.contains($1.key) ? $0 + $1.value : $0 }
    }

    /// Whether `approvers` are enough for `action`.
    public func isSatisfied(by approvers: Set<PublicKey>, action: ContractAction) -> Bool {
        !on.contains(action) || weight(of: approvers) >= need
    }

    /// Stakeholders who have not approved, heaviest first.
    public func missing(after approvers: Set<PublicKey>) -> [PublicKey] {
        of.filter { !approvers.contains($0.key) }.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
    }

    /// Whether all stakeholders together reach `need`.
    public var isReachable: Bool { need <= of.values.reduce(0, +) }
}
