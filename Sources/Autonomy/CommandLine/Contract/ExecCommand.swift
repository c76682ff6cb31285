import CLinux
import CoreX
import Glibc
import Linux
import Terminal

/// `zero exec`.
struct ExecCommand {
    let context: Context

    init(_ context: Context) { self.context = context }

    /// The status of the command that ran.
    func run() async throws -> Int32 {
        let access = try await CoreXAccess(context)
        let hasTerminal = isatty(0) == 1 && isatty(1) == 1 && !context.invocation.has("no-tty")
        let term = Environment.value("TERM").map { ["TERM": $0] } ?? [:]
        let session: ExecSession
        do {
            session = try await access.client.exec(
                access.workload, context.invocation.rest("command"), environment: hasTerminal ? term : [:],
                user: context.invocation.option("user"), terminal: hasTerminal)
        } catch { throw access.explain(error) }
        do {
            return try await runBlocking {
                guard hasTerminal else { return try session.attach() }
                let raw = RawTerminal()
                defer { raw.restore() }
                let watch = SizeWatch(session)
                defer { watch.stop() }
                return try session.attach()
            }
        } catch { throw access.explain(error) }
    }
}

/// A terminal whose keys go through untouched until `restore`.
private struct RawTerminal {
    private var before = termios()
    private var isRaw = false

    init() {
        guard tcgetattr(0, &before) == 0 else { return }
        var raw = before
        cfmakeraw(&raw)
        isRaw = tcsetattr(0, TCSADRAIN, &raw) == 0
    }

    func restore() {
        guard isRaw else { return }
        var before = before
        _ = tcsetattr(0, TCSADRAIN, &before)
    }
}

/// Tells the program inside the size of the terminal, at the start and when it changes.
private final class SizeWatch: Sendable {
    private let source: Task<Void, Never>

    init(_ session: ExecSession) {
        source = Task.detached {
            var last: (UInt16, UInt16) = (0, 0)
            while !Task.isCancelled {
                var size = winsize()
                if ioctl(1, UInt(TIOCGWINSZ), &size) == 0, (size.ws_col, size.ws_row) != last {
                    last = (size.ws_col, size.ws_row)
                    do { try session.resize(columns: last.0, rows: last.1) } catch { return }
                }
                do { try await Task.sleep(for: .milliseconds(250)) } catch { return }
            }
        }
    }

    func stop() { source.cancel() }
}
