import Linux
import Synchronization

/// One line on standard error that changes while something goes on, and stays with its end. Silent on a pipe. The line
/// turns by itself, and is cut to the terminal's width: a longer one would leave parts of itself behind.
public final class Progress: Sendable {
    private let console: Console
    private let state: Mutex<State>

    private struct State {
        var title: String
        var frame = 0
        var lastDrawn: Int64 = 0
        var isDone = false
    }

    /// Shows `title` until `finish` or `fail`.
    public init(_ title: String, on console: Console) {
        self.console = console
        state = Mutex(State(title: title))
        draw()
        guard console.showsProgress else { return }
        Task.detached { [weak self] in
            while true {
                do { try await Task.sleep(for: .milliseconds(100)) } catch { return }
                guard let self, self.turn() else { return }
            }
        }
    }

    /// The next frame; false at the end.
    private func turn() -> Bool {
        let goesOn = state.withLock { state in
            state.frame += 1
            return !state.isDone
        }
        if goesOn { draw() }
        return goesOn
    }

    /// Changes the line; drawn at most 20 times a second.
    public func update(_ title: String) {
        let now = Clock.monotonicNanoseconds()
        let due = state.withLock { state in
            guard !state.isDone, state.title != title else { return false }
            state.title = title
            guard now - state.lastDrawn > 50_000_000 else { return false }
            state.lastDrawn = now
            return true
        }
        if due { draw() }
    }

    /// The line stays, with a mark that it went well.
    public func finish(_ title: String? = nil) { end(title, console.errorStyle.green("✓")) }

    /// The line stays, with a mark that it did not.
    public func fail(_ title: String? = nil) { end(title, console.errorStyle.red("✗")) }

    private func end(_ title: String?, _ mark: String) {
        guard console.showsProgress else { return }
        let text = state.withLock { state -> String? in
            guard !state.isDone else { return nil }
            state.isDone = true
            return title ?? state.title
        }
        if let text { console.rawError(Array("\r\u{1B}[K\(mark) \(text)\n".utf8)) }
    }

    private func draw() {
        guard console.showsProgress else { return }
        let frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
        // Drawn under the lock: nothing may follow the line's end.
        state.withLock { state in
            guard !state.isDone else { return }
            let title = Progress.cut(state.title, to: console.width - 4)
            let mark = console.errorStyle.blue(frames[state.frame % frames.count])
            console.rawError(Array("\r\u{1B}[K\(mark) \(title)".utf8))
        }
    }

    /// The beginning that fits in `width` columns, with a sign where something is missing.
    static func cut(_ text: String, to width: Int) -> String {
        let line = text.replacing("\n", with: "; ")
        guard line.count > max(1, width) else { return line }
        return line.prefix(max(1, width) - 1) + "…"
    }
}
