internal import CLinux
internal import Glibc

/// One process, told apart from a later one with the same number by its start time.
public struct ProcessIdentity: Sendable, Hashable {
    /// The process number.
    public let pid: Int32
    /// Clock ticks from boot to its start (field 22 of `/proc/<pid>/stat`).
    public let startTime: UInt64

    /// A process known from a record.
    public init(pid: Int32, startTime: UInt64) { (self.pid, self.startTime) = (pid, startTime) }

    /// The process that has the number now; nil where there is none or it is a zombie.
    public init?(pid: Int32) {
        guard pid > 0, let text = try? File.readText("/proc/\(pid)/stat", limit: 4096),
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X", let start = UInt64(fields[19]) else { return nil }
        self.init(pid: pid, startTime: start)
    }

    /// Whether it still runs.
    public var isAlive: Bool { ProcessIdentity(pid: pid) == self }

    /// Sends a signal, only to this very process; false where it is gone.
    @discardableResult
    public func signal(_ number: Int32) -> Bool { isAlive && zg_kill(pid, number) == 0 }
}
