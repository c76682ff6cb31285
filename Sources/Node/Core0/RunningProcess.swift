/// A process as the driver sees it.
struct RunningProcess {
    let pid: Int32
    let startTime: UInt64
    let uid: UInt32
    /// The path of what was to run, for messages.
    var program = ""
    /// Monotonic nanoseconds.
    let started: UInt64
    /// Reading end of its readiness pipe and its epoll token, while it is open.
    var notice: (fd: Int32, source: UInt32)?
    var noticeText: [UInt8] = []
    /// Only of an adopted process, which is not our child.
    var pidfd: (fd: Int32, source: UInt32)?
    /// Why it could not be started, as it said before it ended.
    var failure: String?
}
