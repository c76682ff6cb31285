import CLinux
import Glibc
import Linux
import LogEngine

/// What runs beside the loop, and what the loop remembers of it.
struct Operations {
    /// Runs once a second while there is a connection or a hook.
    let timer: Int32
    var isTimerArmed = false
    /// The highest descriptor that a connection had.
    var descriptorMax = 0
    /// Bytes of the buffers of all connections at the last look.
    var clientMemory = 0
    var hooks: HookRunner
    /// The segment that was written to at the last turn.
    var noticedSegment: UInt64
    let reloader: Reloader
    var isReloading = false
    /// Who asked for the settings to be read again and waits.
    var reloadedBy: (descriptor: Int32, id: UInt64)?
    var metrics: MetricsServer?

    init(_ settings: Settings, device: [UInt8], segment: UInt64, wake: Int32) {
        timer = zg_db_timer()
        let digits = device.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        hooks = HookRunner(settings.hooks, device: digits)
        noticedSegment = segment
        reloader = Reloader(wake: wake)
    }
}

extension Server {
    /// Tokens of epoll for what is beside the loop.
    static let wakeToken: UInt64 = 3
    static let timerToken: UInt64 = 4
    static let hookToken: UInt64 = 5

    func watchOperations() {
        _ = zg_epoll_control(epoll, 1, operationsWake, UInt32(ZG_READABLE), Self.wakeToken)
        _ = zg_epoll_control(epoll, 1, operations.timer, UInt32(ZG_READABLE), Self.timerToken)
    }

    mutating func handleOperations(_ token: UInt64) {
        switch token {
        case Self.wakeToken:
            _ = zg_eventfd_clear(operationsWake)
            finishDerivations()
            finishReload()
            answerMetrics()
        case Self.timerToken:
            // A timer's descriptor is read like an eventfd's.
            _ = zg_eventfd_clear(operations.timer)
            if operations.hooks.isBusy { lookAfterHooks() }
            sweep()
        default: lookAfterHooks()
        }
    }

    /// How long after the last write everything is made durable, the log says so, and the disk is left alone.
    var markDelay: UInt64 {
        if let seconds = settings.idleFlushSeconds { return seconds * 1_000_000_000 }
        return settings.sync == .none ? .max : Limits.markNanoseconds
    }

    /// TERM and INT stop, HUP reads the settings again.
    mutating func handleSignal() {
        let signal = zg_db_signal(signals)
        if signal == SIGHUP { reload(nil) } else if signal != 0 { isStopping = true }
    }

    /// Begins what was asked for beside the sockets.
    mutating func startOperations() throws(SystemError) {
        if let wanted = settings.metrics {
            let made = MetricsServer(wake: operationsWake)
            try made.start(wanted.address, wanted.port)
            operations.metrics = made
        }
    }

    /// Room for more of a command, unless it is larger than a client may send.
    @inline(never)
    mutating func makeRoom(_ connection: UnsafeMutablePointer<Connection>, _ more: Int) {
        let have = connection.pointee.inputEnd - connection.pointee.inputStart
        guard have + more > settings.limits.queryBytes else {
            connection.pointee.reserveInput(min(more, max(have, Limits.bufferStepBytes)))
            return
        }
        counters.protocolErrors += 1
        fail(
            connection,
            "ERR Protocol error: a command is larger than --query-limit (\(settings.limits.queryBytes) bytes)")
        connection.pointee.isClosing = true
        connection.pointee.inputStart = connection.pointee.inputEnd
    }
}
