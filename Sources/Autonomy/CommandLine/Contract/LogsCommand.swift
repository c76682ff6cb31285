import Bytes
import CanonicalJSON
import Contracts
import CoreX
import Glibc
import Shim
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
        do {
            try await access.client.logs(access.workload, tail: tail, follow: context.invocation.has("follow")) {
                record in
                LogsCommand.show(record, console, withTime: withTime)
                return true
            }
        } catch { throw CoreXAccess.explain(error) }
    }

    private static func show(_ record: LogRecord, _ console: Console, withTime: Bool) {
        if console.format == .json {
            let value: JSONValue = [
                "time": .integer(record.time / 1_000_000), "stream": record.stream == .output ? "stdout" : "stderr",
                "text": .string(String(decoding: record.text, as: UTF8.self)), "partial": .bool(record.isPartial),
            ]
            return console.print(value.canonicalText)
        }
        var line = withTime ? Array((Units.timeText(record.time / 1_000_000) + " ").utf8) : []
        line += record.text
        if !record.isPartial { line.append(0x0A) }
        if record.stream == .output { console.raw(line) } else { console.rawError(line) }
    }
}
