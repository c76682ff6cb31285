import Bytes
import CanonicalJSON
import Contracts
import CoreX
import Glibc
import Shim
import Synchronization
import Terminal

/// `zero logs`.
struct LogsCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    /// Records asked for where no number was given: as many as Core-X gives.
    private static let everything = 100_000

    func run() async throws {
        var tail = LogsCommand.everything
        if let text = context.invocation.option("tail") {
            guard let number = Int(text), (0...LogsCommand.everything).contains(number) else {
                throw CommandError(.usage, "`--tail \(text)` is not a number of lines")
            }
            tail = number
        }
        let access = try await CoreXAccess(context)
        let (console, withTime) = (context.console, context.invocation.has("timestamps"))
        let follows = context.invocation.has("follow")
        // What ends is one document; what goes on is one a line.
        let records = Mutex<[JSONValue]>([])
        do {
            try await access.client.logs(access.workload, tail: tail, follow: follows) { record in
                guard console.format == .json else { return LogsCommand.show(record, console, withTime: withTime) }
                let value = LogsCommand.json(record)
                if follows { return console.next(value.canonicalText) }
                records.withLock { $0.append(value) }
                return true
            }
        } catch {
            // A log that is followed ends with whoever serves it.
            if follows, error.code == "FAILED" {
                throw CommandError(
                    .unreachable, "the log cannot be followed any more", why: "the grid stopped, or the contract ended",
                    next: "`zero status`")
            }
            throw access.explain(error)
        }
        if console.format == .json, !follows { console.emit(["lines": .array(records.withLock { $0 })], "") }
    }

    private static func json(_ record: LogRecord) -> JSONValue {
        [
            "time": .integer(record.time / 1_000_000), "stream": record.stream == .output ? "stdout" : "stderr",
            "text": .string(String(decoding: record.text, as: UTF8.self)), "partial": .bool(record.isPartial),
        ]
    }

    /// False once nobody reads any more.
    private static func show(_ record: LogRecord, _ console: Console, withTime: Bool) -> Bool {
        var line = withTime ? Array((Units.timeText(record.time / 1_000_000) + " ").utf8) : []
        line += record.text
        if !record.isPartial { line.append(0x0A) }
        if record.stream == .output { return console.raw(line) }
        console.rawError(line)
        return true
    }
}
