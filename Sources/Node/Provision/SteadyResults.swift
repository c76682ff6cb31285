public import Records

/// What is told of workloads, with those that fail again and again held back.
///
/// A container that crashes every half minute would write two records each time, for ever. From the fifth failure within an
/// hour on it is told as failed until it ran for a while without another; that while doubles. No clock, no I/O.
public struct SteadyResults: Sendable {
    /// Times in milliseconds.
    public enum Pace {
        /// Failures older than this are forgotten.
        public static let window: Int64 = 3_600_000
        /// So many failures are told as they come.
        public static let free = 5
        /// How long a workload has to run before that is told again.
        public static let firstHold: Int64 = 30_000
        /// At most so long.
        public static let longestHold: Int64 = 600_000
    }

    private var failures: [String: [Int64]] = [:]
    private var runningSince: [String: Int64] = [:]
    private var shown: [String: WorkloadResult] = [:]

    /// Nothing was told yet.
    public init() {}

    /// What to tell at `now`, given how the workloads are.
    public mutating func told(_ results: [String: WorkloadResult], at now: Int64) -> [String: WorkloadResult] {
        shown = shown.filter { results[$0.key] != nil }
        for (name, result) in results { take(name, result, now) }
        return shown
    }

    private mutating func take(_ name: String, _ result: WorkloadResult, _ now: Int64) {
        let isFailed = shown[name]?.state == .failed
        switch result.state {
        case .failed:
            runningSince[name] = nil
            if !isFailed { failures[name] = (failures[name] ?? []).filter { now - $0 < Pace.window } + [now] }
            shown[name] = result
        case .running where isFailed:
            let since = runningSince[name] ?? now
            runningSince[name] = since
            if now - since >= hold(name) { shown[name] = result }
        case .waiting where isFailed && hold(name) > 0, .preparing where isFailed && hold(name) > 0:
            runningSince[name] = nil
        default:
            shown[name] = result
        }
    }

    private func hold(_ name: String) -> Int64 {
        let count = failures[name]?.count ?? 0
        guard count >= Pace.free else { return 0 }
        return min(Pace.firstHold << Int64(min(count - Pace.free, 10)), Pace.longestHold)
    }
}
