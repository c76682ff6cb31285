/// Colours, where they are wanted.
public struct Style: Sendable, Hashable {
    /// Whether escape sequences are written.
    public var isColoured: Bool

    /// With or without colours.
    public init(coloured: Bool) { isColoured = coloured }

    /// No colours.
    public static let plain = Style(coloured: false)

    /// Bold.
    public func bold(_ text: String) -> String { wrap("1", text) }
    /// Faint.
    public func dim(_ text: String) -> String { wrap("2", text) }
    /// Something that is well.
    public func green(_ text: String) -> String { wrap("32", text) }
    /// Something on its way.
    public func yellow(_ text: String) -> String { wrap("33", text) }
    /// Something that is wrong.
    public func red(_ text: String) -> String { wrap("31", text) }
    /// Something to follow.
    public func blue(_ text: String) -> String { wrap("34", text) }

    /// A state in the colour of what it means.
    public func state(_ text: String) -> String {
        switch text {
        case "running", "ready", "up", "deployed", "active", "ok": green(text)
        case "failed", "down", "lost", "dead": red(text)
        case "waiting", "preparing", "deploying", "proposed", "starting", "cancelling", "approved", "stopping",
            "backoff":
            yellow(text)
        default: text
        }
    }

    private func wrap(_ code: String, _ text: String) -> String {
        isColoured && !text.isEmpty ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
