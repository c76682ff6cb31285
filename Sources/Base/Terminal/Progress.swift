import Linux
import Synchronization

/// One line on standard error that changes while something goes on, and stays with its end. Silent on a pipe.
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
    }

    /// Changes the line; drawn at most 20 times a second.
    public func update(_ title: String) {
        let now = Clock.monotonicNanoseconds()
        let due = state.withLock { state in
            guard !state.isDone else { return false }
            let isNew = state.title != title
            state.title = title
            guard isNew || now - state.lastDrawn > 100_000_000 else { return false }
            guard now - state.lastDrawn > 50_000_000 else { return false }
            state.frame += 1
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
        let (title, frame) = state.withLock { ($0.title, $0.frame) }
        console.rawError(Array("\r\u{1B}[K\(console.errorStyle.blue(frames[frame % frames.count])) \(title)".utf8))
    }
}
