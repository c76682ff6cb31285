/// Which former versions of its keys a namespace keeps when the log is compacted.
public enum HistoryPolicy: Hashable, Sendable {
    /// Every version.
    case all
    /// The newest so many versions, the current one and deletions counted; 1 is no history.
    case last(UInt64)
    /// What was the current version at some time in the last so many nanoseconds.
    case duration(UInt64)

    /// No former versions.
    public static let none = HistoryPolicy.last(1)

    /// Whether no former version is kept, whatever its age.
    var keepsNothing: Bool { self == .last(1) || self == .duration(0) }

    /// The time for which versions are kept; 0 where that is not what decides.
    var nanoseconds: UInt64 {
        if case .duration(let nanoseconds) = self { return nanoseconds }
        return 0
    }

    /// The setting's bytes: kind u8 (0 all, 1 last, 2 duration), number u64.
    var encoded: [UInt8] {
        let (kind, number): (UInt8, UInt64) =
            switch self {
            case .all: (0, 0)
            case .last(let count): (1, count)
            case .duration(let nanoseconds): (2, nanoseconds)
            }
        return [kind] + (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }

    /// Nil of what only a newer version understands.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == 9 else { return nil }
        let number = bytes[1...].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        switch bytes[0] {
        case 0: self = .all
        case 1 where number > 0: self = .last(number)
        case 2: self = .duration(number)
        default: return nil
        }
    }

    /// `all`, `none`, `last:N`, `for:SECONDS`.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        switch (parts.first, parts.count) {
        case ("all", 1): self = .all
        case ("none", 1): self = .none
        case ("last", 2):
            guard let count = UInt64(parts[1]), count > 0 else { return nil }
            self = .last(count)
        case ("for", 2):
            guard let seconds = UInt64(parts[1]), seconds <= UInt64.max / 1_000_000_000 else { return nil }
            self = .duration(seconds * 1_000_000_000)
        default: return nil
        }
    }

    /// What `init` reads.
    public var text: String {
        switch self {
        case .all: "all"
        case .last(1): "none"
        case .last(let count): "last:\(count)"
        case .duration(let nanoseconds): "for:\(nanoseconds / 1_000_000_000)"
        }
    }
}
