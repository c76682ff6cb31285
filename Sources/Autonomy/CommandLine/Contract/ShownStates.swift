import Synchronization
import Terminal

/// Shows each change of a workload's state once, and knows what is still open.
final class ShownStates: Sendable {
    private let progress: Progress
    private let last = Mutex<[WorkloadRow]>([])

    init(_ console: Console, _ progress: Progress) { self.progress = progress }

    func show(_ rows: [WorkloadRow]) {
        last.withLock { $0 = rows }
        let done = rows.count { $0.state == "running" || $0.state == "stopped" }
        let open = rows.filter { $0.state != "running" && $0.state != "stopped" }
        let list = open.map { "\($0.workload) \($0.state)" + ($0.reason.isEmpty ? "" : " (\($0.reason))") }
        progress.update("\(done) of \(rows.count) run" + (list.isEmpty ? "" : "; " + list.joined(separator: ", ")))
    }

    /// What does not run yet, a line each.
    var open: [String] {
        last.withLock { rows in
            rows.filter { $0.state != "running" && $0.state != "stopped" }
                .map { "\($0.workload) is \($0.state)" + ($0.reason.isEmpty ? "" : ": \($0.reason)") }
        }
    }
}
