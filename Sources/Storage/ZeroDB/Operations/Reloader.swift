import CLinux
import Linux
import Synchronization

/// Reads the settings again on a thread of its own: files may be slow, and a password takes time to derive.
final class Reloader: Sendable {
    /// Settings that are right in themselves, with what was read for them.
    struct Prepared: Sendable {
        let settings: Settings
        let tls: TLSContext?
    }

    private let result = Mutex<Result<Prepared, SettingsError>?>(nil)
    private let wake: Int32

    init(wake: Int32) { self.wake = wake }

    func begin(_ arguments: [String]) {
        startThread {
            let made = Self.prepare(arguments)
            self.result.withLock { $0 = made }
            _ = zg_eventfd_signal(self.wake)
        }
    }

    func take() -> Result<Prepared, SettingsError>? {
        result.withLock { result in
            defer { result = nil }
            return result
        }
    }

    private static func prepare(_ arguments: [String]) -> Result<Prepared, SettingsError> {
        do throws(SettingsError) {
            let settings = try Settings.load(arguments)
            return .success(
                Prepared(
                    settings: settings, tls: try settings.tls.map { (tls) throws(SettingsError) in try TLSContext(tls) }
                ))
        } catch {
            return .failure(error)
        }
    }
}

extension Settings {
    /// Flags that may change while the server runs.
    static let changeable: Set<String> = [
        "--admin-password-file", "--allow", "--admin", "--tls-cert", "--tls-key", "--tls-client-ca", "--tls-allow",
        "--sync-interval", "--max-clients", "--idle-timeout", "--slow-timeout", "--output-limit", "--query-limit",
        "--client-memory", "--hook", "--hook-timeout", "--hooks-at-once", "--idle-flush",
    ]

    /// The settings of a command line, the file that it names included, and what other files they name.
    static func load(_ arguments: [String]) throws(SettingsError) -> Settings {
        var all = arguments
        if let index = arguments.firstIndex(where: { $0 == "--config" || $0.hasPrefix("--config=") }) {
            let isWhole = arguments[index] != "--config"
            guard isWhole || index + 1 < arguments.count else { throw wrong("--config", "needs a value") }
            let path = isWhole ? String(arguments[index].dropFirst(9)) : arguments[index + 1]
            all.removeSubrange(index...(isWhole ? index : index + 1))
            all = try file(path) + all
        }
        var settings = try Settings(arguments: all)
        settings.arguments = arguments
        if let path = settings.adminPasswordFile { settings.administrator = try PasswordFile.verifier(path) }
        if let path = settings.replicaPasswordFile { settings.replicaPassword = try Program.firstLine(path) }
        return settings
    }

    /// A file's settings as flags: lines `name value` or `name = value`, `#` begins a comment.
    private static func file(_ path: String) throws(SettingsError) -> [String] {
        let text: String
        do throws(SystemError) { text = try File.readText(path, limit: 1 << 20) } catch {
            throw SettingsError(description: "--config: \(error)")
        }
        var flags: [String] = []
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let bare = trimmed(line)
            if bare.isEmpty || bare.hasPrefix("#") { continue }
            let end = bare.firstIndex { $0 == "=" || $0 == " " || $0 == "\t" } ?? bare.endIndex
            let name = bare[..<end]
            var value = trimmed(bare[end...])
            if value.hasPrefix("=") { value = trimmed(value.dropFirst()) }
            guard !value.isEmpty, !name.hasPrefix("-"), name != "config" else {
                throw SettingsError(description: "\(path) line \(number + 1): 'name value' is expected, not '\(bare)'")
            }
            flags += ["--" + name, String(value)]
            do throws(SettingsError) { _ = try Settings(partial: ["--" + name, String(value)]) } catch {
                throw SettingsError(description: "\(path) line \(number + 1): \(error)")
            }
        }
        return flags
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }

    /// The names of the flags in which two settings differ, sorted.
    func differences(from other: Settings) -> [String] {
        func flags(_ settings: Settings) -> [String: [String]] {
            var found: [String: [String]] = [:]
            for line in settings.text.split(separator: "\n") {
                let parts = line.split(separator: " ", maxSplits: 1)
                found[String(parts[0]), default: []].append(parts.count > 1 ? String(parts[1]) : "")
            }
            return found
        }
        let (one, two) = (flags(self), flags(other))
        return Set(one.keys).union(two.keys).filter { one[$0] != two[$0] }.sorted()
    }
}
