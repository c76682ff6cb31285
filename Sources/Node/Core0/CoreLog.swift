import CLinux
import Glibc
import Linux

/// Lines `time level core event key=value…` on standard error.
struct CoreLog: Sendable {
    enum Level: String { case info, warning, error }

    func write(_ level: Level, _ event: StaticString, _ fields: [(String, String)] = []) {
        var line = CoreLog.time(Clock.wallMilliseconds()) + " \(level.rawValue) core \(event)"
        for (key, value) in fields { line += " \(key)=" + CoreLog.quoted(value) }
        let bytes = Array((line + "\n").utf8)
        // One write a line, so that lines of several processes do not mix. A log that cannot be written is no reason
        // to stop anything.
        _ = bytes.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    func info(_ event: StaticString, _ fields: (String, String)...) { write(.info, event, fields) }
    func warning(_ event: StaticString, _ fields: (String, String)...) { write(.warning, event, fields) }
    func error(_ event: StaticString, _ fields: (String, String)...) { write(.error, event, fields) }

    private static func quoted(_ value: String) -> String {
        let isPlain = value.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x3d && $0 != 0x5c }
        if isPlain, !value.isEmpty { return value }
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"", "\\": text += "\\" + String(scalar)
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar.value < 0x20 || scalar.value == 0x7f ? " " : scalar)
            }
        }
        return text + "\""
    }

    /// `2027-01-31T12:00:00.123Z`.
    static func time(_ milliseconds: Int64) -> String {
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let fraction = String(1000 + milliseconds % 1000).dropFirst()
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
            + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)Z"
    }
}
