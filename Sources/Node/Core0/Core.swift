import Bus
import CLinux
import Glibc
import Linux

/// zero-core itself: carries out what `Supervisor` decides, and serves `<run>/core.sock`.
///
/// One thread, one epoll loop, no concurrency: forking is safe, and it could be process 1. After the start no error
/// ends it; what fails is logged and tried again.
final class Core {
    /// What an epoll token stands for.
    enum Source {
        case signals
        case listener
        case watch
        case connection(UInt32)
        case notice(ProcessKey)
        case adopted(ProcessKey)
    }

    let options: CoreOptions
    let log = CoreLog()
    let epoll: Int32
    let records: RecordStore
    let lock: Int32
    let signals: Int32
    let startedAt = Core.clock()
    var supervisor: Supervisor
    var processes: [ProcessKey: RunningProcess] = [:]
    var keysByPid: [Int32: ProcessKey] = [:]
    var sources: [UInt32: Source] = [:]
    var nextSource: UInt32 = 1
    var listener: Int32 = -1
    var connections: [UInt32: Connection] = [:]
    var pending: [Int: PendingAnswer] = [:]
    var nextToken = 1
    var stored = StoredDescriptors()
    var watch = Watch()
    /// Connections with requests that could not be taken before an earlier one was answered.
    var resumable: [UInt32] = []
    var nextLogCheck: UInt64 = 0
    var logChecks = 0
    /// Every process ended: leave once replies are out.
    var isFinished = false

    /// Takes the run folder over. Fails where another zero-core holds it.
    init(_ options: CoreOptions) throws(SystemError) {
        self.options = options
        try Core.prepareFolders(options)
        lock = try Core.takeLock("\(options.run)/core/lock")
        records = RecordStore(folder: "\(options.run)/core", boot: Clock.bootIdentity())
        epoll = try checked("epoll_create", "", zg_epoll_create())
        let wanted = [SIGCHLD, SIGTERM, SIGINT, SIGHUP]
        signals = try checked("signalfd", "", zg_signalfd(wanted, wanted.count))
        signal(SIGPIPE, SIG_IGN)
        supervisor = Supervisor(seed: UInt64(bitPattern: Clock.wallNanoseconds()) ^ UInt64(getpid()))
        try checked("prctl", "subreaper", zg_subreaper())
        _ = zg_raise_file_limit()
    }

    static func clock() -> UInt64 { UInt64(max(0, Clock.monotonicNanoseconds())) }

    private static func prepareFolders(_ options: CoreOptions) throws(SystemError) {
        try File.makeDirectories(File.parent(options.run))
        // Sticky and for the group of all accounts: each makes its socket here, none removes another's.
        try checked("mkdir", options.run, zg_directory(options.run, 0o1775, 0, Core.commonGroup))
        try checked("mkdir", "\(options.run)/core", zg_directory("\(options.run)/core", 0o700, 0, 0))
        for folder in ["core", "log"] { try File.makeDirectories("\(options.state)/\(folder)") }
        // Mounts run under their own account. udev gives everybody this device; a machine without udev does not.
        if (try? File.status("/dev/fuse"))?.permissions == 0o600 { try File.changeMode("/dev/fuse", 0o666) }
    }

    /// The group `zero`, in which every process of a unit is.
    static let commonGroup: UInt32 = 64100

    /// The lock ends with its holder; one that is just dying is waited for.
    private static func takeLock(_ path: String) throws(SystemError) -> Int32 {
        var result = zg_lock_file(path)
        for _ in 0..<40 where result == -EAGAIN {
            usleep(50_000)
            result = zg_lock_file(path)
        }
        return try checked("lock (another zero-core has it)", path, result)
    }

    // MARK: Sources of events

    /// Watches a descriptor; the result is what `unwatch` takes.
    func watchSource(_ fd: Int32, _ source: Source, _ events: Int = Core.readable) -> UInt32 {
        let id = nextSource
        nextSource &+= 1
        sources[id] = source
        let result = zg_epoll_control(epoll, 1, fd, UInt32(events), UInt64(id))
        if result < 0 { log.error("epoll", ("error", "\(Errno(-result))")) }
        return id
    }

    func unwatch(_ fd: Int32, _ id: UInt32) {
        sources[id] = nil
        _ = zg_epoll_control(epoll, 3, fd, 0, 0)
    }

    static let readable = Int(ZG_READABLE)
    static let writable = Int(ZG_WRITABLE)

    // MARK: The loop

    /// Adopts what is there, starts what should be, and goes on until everything was shut down.
    func run() {
        _ = watchSource(signals, .signals)
        takeStoredDescriptors()
        reloadUnits()
        adoptProcesses()
        if watch.wasLeaving { shutDown("the zero-core before", .shutDown(token: nil)) } else { process(.begin) }
        listen()
        announceReady()
        var events = [zg_event_t](repeating: zg_event_t(), count: 64)
        while !isFinished {
            let count = zg_epoll_wait(epoll, &events, Int32(events.count), waitMilliseconds())
            if count < 0, count != -EINTR {
                log.error("epoll", ("error", "\(Errno(-count))"))
                usleep(100_000)
            }
            for event in events.prefix(max(0, Int(count))) {
                if let source = sources[UInt32(truncatingIfNeeded: event.token)] { handle(source, event.events) }
            }
            passTime()
            resumeConnections()
        }
        leave()
    }

    private func handle(_ source: Source, _ events: UInt32) {
        switch source {
        case .signals: takeSignals()
        case .listener: acceptConnections()
        case .watch: readWatch()
        case .connection(let id): serve(id, events)
        case .notice(let key): readNotice(key)
        case .adopted(let key): adoptedEnded(key)
        }
    }

    private func waitMilliseconds() -> Int32 {
        var soonest = nextLogCheck
        if let deadline = supervisor.deadline { soonest = min(soonest, deadline) }
        for answer in pending.values { if let deadline = answer.deadline { soonest = min(soonest, deadline) } }
        if let due = watch.respawnAt { soonest = min(soonest, due) }
        let now = Core.clock()
        guard soonest > now else { return 0 }
        return Int32(clamping: (soonest - now) / Time.millisecond + 1)
    }

    private func passTime() {
        let now = Core.clock()
        if let deadline = supervisor.deadline, deadline <= now { process(.tick) }
        for (token, answer) in pending { if let deadline = answer.deadline, deadline <= now { answerPending(token) } }
        if let due = watch.respawnAt, due <= now { respawnWatch() }
        if nextLogCheck <= now {
            nextLogCheck = now + Limits.logInterval
            checkLogs()
            if listener < 0 { listen() }
        }
    }

    private func takeSignals() {
        while true {
            let number = zg_signalfd_read(signals)
            guard number > 0 else { break }
            switch number {
            case SIGTERM, SIGINT: shutDown(Signals.name(number), .shutDown(token: nil))
            case SIGHUP: reloadUnits()
            default: break
            }
        }
        reap()
    }

    /// Begins to stop everything; should zero-core die meanwhile, the next one goes on with that.
    func shutDown(_ by: String, _ event: Supervisor.Event) {
        log.info("shutdown", ("by", by))
        sayToWatch("leaving")
        process(event)
    }

    /// Lets the supervisor take an event in and carries out what it decides.
    func process(_ event: Supervisor.Event) {
        for action in supervisor.handle(event, at: Core.clock()) {
            switch action {
            case .spawn(let key): spawn(key)
            case .signal(let key, let pid, let number): sendSignal(key, pid, number)
            case .record(let key): writeRecord(key)
            case .erase(let key): records.erase(key)
            case .answer(let token): answerPending(token)
            case .finished: isFinished = true
            }
        }
    }

    /// Reads the folder of units; returns how many there are and what is wrong with others.
    @discardableResult
    func reloadUnits() -> UnitSet {
        let set = UnitFolder.read(options.units)
        for (name, error) in set.invalid.sorted(by: { $0.key < $1.key }) {
            log.error("unit-invalid", ("unit", name), ("reason", "\(error)"))
        }
        process(.units(set))
        return set
    }

    private func announceReady() {
        log.info("ready", ("units", "\(supervisor.units.units.count)"), ("adopted", "\(processes.count)"))
        guard let text = getenv("ZERO_NOTIFY_FD"), let fd = Int32(String(cString: text)), fd > 2 else { return }
        _ = "READY=1\n".withCString { Glibc.write(fd, $0, 8) }
        close(fd)
    }

    /// The end: replies out, orphans away, the watcher told that this was meant.
    private func leave() {
        let until = Core.clock() + Time.second
        while Core.clock() < until, !flushAll() { usleep(5_000) }
        // Orphans of a process that an earlier zero-core started went to the watcher.
        let (own, above) = (getpid(), watch.pid)
        while Core.clock() < until,
            zg_kill_children(own, above, 0) + (above > 0 ? zg_kill_children(above, own, 0) : 0) > 0
        {
            usleep(5_000)
            reap()
        }
        unlink("\(options.run)/core.sock")
        log.info("finished")
        sayToWatch("bye")
    }
}
