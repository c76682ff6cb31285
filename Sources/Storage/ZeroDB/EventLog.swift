import CLinux
import Glibc
import Linux

/// One line an event on standard error: time, level, service, event, fields.
enum EventLog {
    /// What a pipe takes as a whole.
    private static let lineBytesMax = 4096

    static func info(_ event: StaticString, _ fields: String = "") { write("info", event, fields) }
    static func warning(_ event: StaticString, _ fields: String = "") { write("warning", event, fields) }
    static func error(_ event: StaticString, _ fields: String = "") { write("error", event, fields) }

    private static func write(_ level: StaticString, _ event: StaticString, _ fields: String) {
        let now = Clock.wallMilliseconds()
        var seconds = time_t(now / 1000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date = "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        let milliseconds = String(1000 + now % 1000).dropFirst()
        let clock = "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(milliseconds)Z"
        let text = Array("\(date)T\(clock) \(level) db \(event)\(fields.isEmpty ? "" : " ")\(fields)\n".utf8)
        // A log that cannot be written must not stop the store: a pipe that says it takes something takes one page.
        guard zg_poll(2, UInt32(ZG_WRITABLE), 0) != 0 else { return }
        let line = text.count <= lineBytesMax ? text : text.prefix(lineBytesMax - 1) + [10]
        _ = line.withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
