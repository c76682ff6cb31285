import CanonicalJSON
import Glibc

/// How much it matters.
public enum LogLevel: Int, CaseIterable, Sendable, Comparable {
    /// For whoever works on the program.
    case debug
    /// What happened.
    case info
    /// Something is wrong and is dealt with.
    case warn
    /// Something failed.
    case error

    /// Ordered by weight.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }

    /// The level of that name.
    public init?(name: String) {
        guard let level = LogLevel.allCases.first(where: { "\($0)" == name }) else { return nil }
        self = level
    }
}

/// Writes one line an event to standard error: `time level service event key=value…`.
///
/// Events are static texts; values are names, numbers and reasons, never secrets or a user's bytes.
public struct Log: Sendable {
    /// Values longer than this are cut: a line stays a line.
    private static let valueMax = 1024

    /// The service's name.
    public let service: String
    /// Events below it are dropped.
    public let level: LogLevel
    /// Whether lines are JSON objects.
    public let isJSON: Bool
    private let context: [(String, String)]
    private let descriptor: Int32

    /// A log to standard error.
    public init(service: String, level: LogLevel = .info, isJSON: Bool = false) {
        self.init(service, level, isJSON, [], 2)
    }

    init(_ service: String, _ level: LogLevel, _ isJSON: Bool, _ context: [(String, String)], _ descriptor: Int32) {
        (self.service, self.level, self.isJSON) = (service, level, isJSON)
        (self.context, self.descriptor) = (context, descriptor)
    }

    /// A log whose lines also carry these fields.
    public func with(_ fields: KeyValuePairs<String, any CustomStringConvertible>) -> Log {
        Log(service, level, isJSON, context + fields.map { ($0.key, $0.value.description) }, descriptor)
    }

    /// Writes at level debug.
    public func debug(_ event: StaticString, _ fields: KeyValuePairs<String, any CustomStringConvertible> = [:]) {
        write(.debug, event, fields)
    }

    /// Writes at level info.
    public func info(_ event: StaticString, _ fields: KeyValuePairs<String, any CustomStringConvertible> = [:]) {
        write(.info, event, fields)
    }

    /// Writes at level warn.
    public func warn(_ event: StaticString, _ fields: KeyValuePairs<String, any CustomStringConvertible> = [:]) {
        write(.warn, event, fields)
    }

    /// Writes at level error.
    public func error(_ event: StaticString, _ fields: KeyValuePairs<String, any CustomStringConvertible> = [:]) {
        write(.error, event, fields)
    }

    private func write(
        _ level: LogLevel, _ event: StaticString, _ fields: KeyValuePairs<String, any CustomStringConvertible>
    ) {
        guard level >= self.level else { return }
        let all = context + fields.map { ($0.key, $0.value.description) }
        let text = line(level, event.description, all, time: Self.timestamp())
        // One write a line, so that lines of threads and processes do not mix.
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }

    func line(_ level: LogLevel, _ event: String, _ fields: [(String, String)], time: String) -> String {
        if isJSON {
            var object: [String: JSONValue] = [:]
            for (key, value) in fields { object[key] = .string(String(value.prefix(Self.valueMax))) }
            object["time"] = .string(time)
            object["level"] = .string("\(level)")
            object["service"] = .string(service)
            object["event"] = .string(event)
            return JSONValue.object(object).canonicalText + "\n"
        }
        var text = "\(time) \(level) \(service) \(Self.quoted(event))"
        for (key, value) in fields { text += " \(key)=\(Self.quoted(value))" }
        return text + "\n"
    }

    /// A value as it is, or in double quotes where it holds spaces, quotes or control characters.
    static func quoted(_ value: String) -> String {
        let isPlain =
            !value.isEmpty && value.unicodeScalars.allSatisfy { $0.value > 32 && $0 != "\"" && $0 != "\u{7F}" }
        if isPlain, value.utf8.count <= valueMax { return value }
        var text = "\""
        for scalar in value.unicodeScalars.prefix(valueMax) {
            switch scalar {
            case "\"", "\\": text += "\\\(scalar)"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            default:
                if scalar.value >= 32, scalar != "\u{7F}" { text.unicodeScalars.append(scalar) } else { text += "?" }
            }
        }
        return text + (value.unicodeScalars.count > valueMax ? "…\"" : "\"")
    }

    /// The time now as `2026-01-31T12:00:00.000Z`.
    static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func pad(_ number: Int32, _ width: Int = 2) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let day = "\(pad(parts.tm_year + 1900, 4))-\(pad(parts.tm_mon + 1))-\(pad(parts.tm_mday))"
        let clock = "\(pad(parts.tm_hour)):\(pad(parts.tm_min)):\(pad(parts.tm_sec))"
        return "\(day)T\(clock).\(pad(Int32(now.tv_nsec / 1_000_000), 3))Z"
    }
}
