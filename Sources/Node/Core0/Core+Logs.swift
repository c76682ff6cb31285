import CLinux
import Linux

// MARK: Logs

extension Core {
    func logPath(_ key: ProcessKey) -> String { "\(options.state)/log/\(key).log" }

    /// Keeps every log under its limit.
    func checkLogs() {
        rotate("\(options.state)/log/core.log", Limits.ownLogMax)
        for key in processes.keys { rotate(logPath(key), supervisor.definition(key).logMax) }
        logChecks += 1
        if logChecks % 300 == 1 { dropOldLogs() }
    }

    private func rotate(_ path: String, _ max: UInt64) {
        let result = zg_log_rotate(path, path + ".1", max)
        if result < 0, result != -Errno.notFound.rawValue {
            log.error("log", ("path", path), ("error", "\(Errno(-result))"))
        }
    }

    /// Removes the logs of an instance that is forgotten.
    func removeLogs(_ key: ProcessKey) {
        for path in [logPath(key), logPath(key) + ".1"] { try? File.remove(path) }
    }

    /// Of instances that are gone only the youngest logs stay.
    private func dropOldLogs() {
        let folder = "\(options.state)/log"
        var old: [(key: ProcessKey, modified: Int64)] = []
        for name in (try? File.list(folder)) ?? [] where name.hasSuffix(".log") && name.contains("@") {
            guard let key = ProcessKey(text: String(name.dropLast(4))), supervisor.entries[key] == nil,
                let status = try? File.status("\(folder)/\(name)", follow: false)
            else { continue }
            old.append((key, status.modified))
        }
        guard old.count > Limits.oldLogsMax else { return }
        old.sort { $0.modified < $1.modified }
        for entry in old.prefix(old.count - Limits.oldLogsMax) { removeLogs(entry.key) }
    }
}
