import CLinux
import Glibc
import Linux
import LogEngine
import Simulation

/// The store behind its sockets: one thread, one loop.
///
/// A turn of the loop reads every ready connection and executes what came, hands all new records to the disk with one
/// write, makes them durable with one sync if that is asked for, and only then sends the turn's replies.
struct Server: ~Copyable {
    /// What a listening socket lets in.
    struct Listener {
        enum Kind {
            case admin
            case peers
            case door(namespace: [UInt8], uid: UInt32?)
            /// Handed over with `LISTEN`.
            case handed(namespace: [UInt8], label: [UInt8])
        }
        var descriptor: Int32
        var kind: Kind
        var path: String?
        var isTCP: Bool
        var isTLS = false
    }

    /// Tokens of epoll: below this they are not connections.
    private static let signalToken: UInt64 = 1
    private static let syncToken: UInt64 = 2
    private static let listenerToken: UInt64 = 16
    static let connectionToken: UInt64 = 1 << 32
    /// Each arrival is told once (edge-triggered): who still has something to be read stands in a queue here.
    static let interest = UInt32(ZG_READABLE | ZG_PEER_CLOSED) | 1 << 31

    var settings: Settings
    var tls: TLSContext?
    let disk: FileDisk
    var engine: LogEngine
    let epoll: Int32
    let signals: Int32
    let syncWake: Int32
    /// Signalled by the threads beside the loop: passwords.
    let operationsWake: Int32
    var gate: PasswordGate
    var operations: Operations
    /// Of hard disks only.
    var readAhead: ReadAhead?
    let syncer: OpaquePointer?
    let table = CommandTable()
    let parser = RequestParser()
    let arguments: UnsafeMutablePointer<Argument>
    var listeners: [Listener] = []
    /// Connections by descriptor.
    var connections: UnsafeMutablePointer<UnsafeMutablePointer<Connection>?>
    let connectionCapacity: Int
    var connectionCount = 0
    var nextConnection: UInt64 = 1
    var names: [Int32: [UInt8]] = [:]
    var touched: [Int32] = []
    var replicas = ReplicaSet()
    /// Namespaces that follow others, or are followed.
    var moving = Moving()
    /// The connection to the master, of a replica.
    var upstream: Upstream?
    /// Namespaces by number: who has work, what it may take.
    var tenants: UnsafeMutablePointer<Tenant>
    var tenantCapacity = 0
    /// Namespaces with a connection.
    var tenantsConnected = 0
    var ringFirst = UInt32.max
    var ringLast = UInt32.max
    /// Namespaces that used up their rates.
    var sleepers: [UInt32] = []
    /// Nanoseconds that this turn's writes may wait for stable storage; 0 means: before they are answered.
    var turnSyncDelay = UInt64.max
    /// Whether a write of this turn may be answered before it is on stable storage.
    var turnIsRelaxed = false
    /// When the next background sync has to begin.
    var syncDueAt = UInt64.max
    var lastSyncTook: UInt64 = 0
    /// Replies that wait for a sync beside the loop.
    var unsynced = UnsyncedReplies()
    var observers = Observers()
    var isObserved = false
    /// What the last command cost beside its bytes, where that is much.
    var extraCost = 0
    var writtenKeys: [WrittenKey] = []
    var counters = Counters()
    var found: [Entry] = []
    var page = KeyPage()
    var scanCursors = ScanCursors()
    /// Commands that are not done, by their connections' descriptors.
    var longCommands: [Int32: LongCommand] = [:]
    var slice = Slice()
    /// Nanoseconds of this turn that went into such commands.
    var longSpent = 0
    /// Whether a command may be interrupted: not in a transaction.
    var maySuspend = true
    /// Bytes of the command that is being performed; they end where its connection's input begins.
    var commandBytes = 0
    /// Memory for the next page of keys.
    var spareBody = ReplyBody()
    /// What connections said since MULTI or WATCH, by descriptor.
    var transactions: [Int32: Transaction] = [:]
    let keyBuffer: UnsafeMutableRawPointer
    /// Keys of commands that wait, and where the records of those that are read lie.
    var ahead = LookAhead()
    let places: UnsafeMutablePointer<RecordPlace>
    /// Nanoseconds since 1970 at the start of this turn.
    var now: UInt64 = 0
    var monotonic: UInt64 = 0
    let started: UInt64
    var lastWrite: UInt64 = 0
    var lastSync: UInt64 = 0
    /// What had been written when a background sync was last begun.
    var syncedBytes: UInt64 = 0
    var lastMaintenance: UInt64 = 0
    /// Whether the engine has work that nobody waits for.
    var hasWork = false
    var syncingSequence: UInt64?
    var wasReadOnly = false
    var isStopping = false
    var spare: Int32

    init(settings: Settings, disk: FileDisk, engine: consuming LogEngine) throws(SystemError) {
        (self.settings, self.disk) = (settings, disk)
        self.engine = engine
        epoll = zg_epoll_create()
        signals = zg_db_signals()
        syncWake = zg_eventfd()
        operationsWake = zg_eventfd()
        operations = Operations(
            settings, device: self.engine.device, segment: self.engine.activeSegment, wake: operationsWake)
        readAhead = settings.profile == .hdd ? ReadAhead() : nil
        gate = PasswordGate(wake: operationsWake, secret: self.engine.secret, administrator: settings.administrator)
        spare = zg_open("/dev/null", O_RDONLY | O_CLOEXEC, 0)
        for descriptor in [epoll, signals, syncWake, operationsWake] where descriptor < 0 {
            throw SystemError("epoll", "", Errno(-descriptor))
        }
        let limit = zg_db_raise_files()
        connectionCapacity = Int(min(max(limit, 1024), 1 << 20))
        connections = .allocate(capacity: connectionCapacity)
        connections.initialize(repeating: nil, count: connectionCapacity)
        tenants = .allocate(capacity: 1)
        syncer = zg_db_syncer_start(syncWake)
        arguments = parser.arguments
        keyBuffer = .allocate(byteCount: 256, alignment: 16)
        places = .allocate(capacity: LookAhead.keysMax)
        started = UInt64(Clock.monotonicNanoseconds())
        touched.reserveCapacity(1024)
        _ = zg_epoll_control(epoll, 1, signals, UInt32(ZG_READABLE), Self.signalToken)
        _ = zg_epoll_control(epoll, 1, syncWake, UInt32(ZG_READABLE), Self.syncToken)
        watchOperations()
        tick()
        lastSync = monotonic
        ensureTenant(1)
    }

    deinit {
        connections.deallocate()
        tenants.deallocate()
        keyBuffer.deallocate()
        spareBody.base?.deallocate()
        places.deallocate()
        arguments.deallocate()
        parser.words.deallocate()
        table.free()
        readAhead?.free()
    }

    mutating func tick() {
        now = UInt64(max(0, Clock.wallNanoseconds()))
        monotonic = UInt64(max(0, Clock.monotonicNanoseconds()))
    }

    mutating func watch(_ listener: Listener) {
        let index = listeners.firstIndex { !$0.isOpen } ?? listeners.count
        if index < listeners.count { listeners[index] = listener } else { listeners.append(listener) }
        let token = Self.listenerToken + UInt64(index)
        _ = zg_epoll_control(epoll, 1, listener.descriptor, UInt32(ZG_READABLE), token)
    }

    /// Serves until a signal says to stop.
    mutating func run() {
        let events = UnsafeMutablePointer<zg_event_t>.allocate(capacity: 256)
        defer { events.deallocate() }
        while !isStopping {
            let count = gather(events)
            counters.turns += 1
            schedule()
            expireWaiting()
            endWaits()
            endTurn()
            tendReplicas()
            tendUpstream()
            tendMoving()
            housekeeping()
            maintain(isIdle: count == 0 && !hasReady)
            counters.turnNanosecondsMax = max(
                counters.turnNanosecondsMax, elapsed(Int64(truncatingIfNeeded: monotonic)))
        }
        stop()
    }

    /// Takes in what happened, all of it, so that who has work is known before anybody is served.
    private mutating func gather(_ events: UnsafeMutablePointer<zg_event_t>) -> Int {
        var count = max(0, Int(zg_epoll_wait(epoll, events, 256, timeout())))
        tick()
        var total = 0
        while true {
            if readAhead != nil { readAhead(events, count) }
            var position = 0
            while position < count {
                handle(events[position])
                position += 1
            }
            total += count
            // As many as there was room for: there may be more. So many arrivals are enough for a turn.
            guard count == 256, total < Limits.arrivalsMax else { return total }
            count = max(0, Int(zg_epoll_wait(epoll, events, 256, 0)))
        }
    }

    private func timeout() -> Int32 { min(ownTimeout(), replicationTimeout()) }

    private func ownTimeout() -> Int32 {
        if hasReady || !touched.isEmpty { return 0 }
        var until: UInt64 = 60_000_000_000
        if engine.needsMark || engine.isDirty { until = settings.sync == .none ? 5_000_000_000 : 100_000_000 }
        if hasWork { until = min(until, engine.workDelay) }
        if syncDueAt != .max, syncingSequence == nil {
            until = min(until, syncDueAt > monotonic ? syncDueAt - monotonic : 0)
        }
        if let wait = observers.nextTimeout { until = min(until, wait > monotonic ? wait - monotonic : 0) }
        if let wake = nextWake { until = min(until, wake > monotonic ? wake - monotonic : 0) }
        return Int32((until + 999_999) / 1_000_000)
    }

    private mutating func handle(_ event: zg_event_t) {
        if event.token >= Self.replicaToken {
            handleReplica(Int32(truncatingIfNeeded: event.token), event.events)
        } else if event.token == Self.upstreamToken {
            handleUpstream(event.events)
        } else if event.token >= Self.connectionToken {
            let descriptor = Int32(truncatingIfNeeded: event.token)
            guard let connection = connections[Int(descriptor)] else { return }
            if event.events & UInt32(ZG_WRITABLE) != 0 { touch(connection) }
            if event.events & ~UInt32(ZG_WRITABLE) != 0 {
                connection.pointee.mayRead = true
                if event.events & ~UInt32(ZG_WRITABLE | ZG_READABLE) != 0 {
                    connection.pointee.hasPeerClosed = true
                    if connection.pointee.isPaused, isWaiting(connection) {
                        close(connection)
                        return
                    }
                }
                enqueue(connection)
            }
        } else if event.token == Self.signalToken {
            handleSignal()
        } else if event.token == Self.syncToken {
            _ = zg_eventfd_clear(syncWake)
            collectSync()
        } else if event.token < Self.listenerToken {
            handleOperations(event.token)
        } else {
            let listener = listeners[Int(event.token - Self.listenerToken)]
            if listener.isOpen { accept(listener) }
        }
    }

    // MARK: The end of a turn, bytes out

    @inline(__always)
    mutating func touch(_ connection: UnsafeMutablePointer<Connection>) {
        if connection.pointee.isTouched { return }
        connection.pointee.isTouched = true
        touched.append(connection.pointee.descriptor)
    }

    /// Who only read is answered at once, who wrote when that is as safe as its namespace wants it.
    mutating func endTurn() {
        if engine.turnHasWrites {
            flushTouched(where: .certain)
            commit()
        }
        if !unsynced.isEmpty { holdUnsynced() }
        holdUncertain()
        flushTouched(where: .all)
        touched.removeAll(keepingCapacity: true)
        (turnSyncDelay, turnIsRelaxed) = (.max, false)
    }

    private enum Answerable {
        case certain, relaxed, all
    }

    private mutating func flushTouched(where which: Answerable) {
        var index = 0
        while index < touched.count {
            if let connection = connections[Int(touched[index])], connection.pointee.isTouched {
                let isNow =
                    switch which {
                    case .all: true
                    case .certain: connection.pointee.uncertain < 0
                    case .relaxed: connection.pointee.uncertain < 0 || !connection.pointee.awaitsSync
                    }
                if isNow {
                    connection.pointee.isTouched = false
                    connection.pointee.uncertain = -1
                    connection.pointee.awaitsSync = false
                    flush(connection)
                }
            }
            index += 1
        }
    }

    /// One write, and one sync if anything of it is to be durable before it is answered.
    private mutating func commit() {
        lastWrite = monotonic
        // A write that nobody spoke for is on the safe side.
        let sync = turnSyncDelay == 0 || !turnIsRelaxed
        do throws(LogError) {
            if !sync || turnIsRelaxed {
                try engine.commit(sync: false)
                if !sync {
                    syncDueAt = min(syncDueAt, turnSyncDelay == .max ? .max : monotonic &+ turnSyncDelay)
                    return
                }
                holdUncertain()
                flushTouched(where: .relaxed)
            }
            if defersSync {
                try engine.commit(sync: false)
                deferSync()
                return
            }
            let begun = Clock.monotonicNanoseconds()
            try engine.commit(sync: true)
            countSync(begun)
        } catch {
            refuseTurn(error)
        }
    }

    func elapsed(_ begun: Int64) -> UInt64 { UInt64(max(0, Clock.monotonicNanoseconds() - begun)) }

    private mutating func countSync(_ begun: Int64) {
        let took = elapsed(begun)
        counters.syncs += 1
        counters.syncNanoseconds += took
        counters.syncNanosecondsMax = max(counters.syncNanosecondsMax, took)
        lastSyncTook = took
        if !engine.isDirty { syncDueAt = .max }
    }

    /// None of the turn's writes happened: instead of replies that would be lies, an error and the end.
    mutating func refuseTurn(_ error: LogError) {
        if error == .full { counters.refusedFull += 1 }
        EventLog.error("commit_failed", "error=\(error)")
        for descriptor in touched {
            guard let connection = connections[Int(descriptor)], connection.pointee.uncertain >= 0 else { continue }
            connection.pointee.outputEnd = connection.pointee.uncertain
            connection.pointee.heldFrom = -1
            connection.pointee.error(Self.message(error))
            connection.pointee.isClosing = true
            connection.pointee.inputStart = connection.pointee.inputEnd
        }
    }

    private mutating func flush(_ connection: UnsafeMutablePointer<Connection>) {
        let descriptor = connection.pointee.descriptor
        while connection.pointee.sendableOutput > 0 {
            let sent = connection.pointee.send()
            if sent == -Int(EAGAIN) {
                // From now on it is waited for.
                if !connection.pointee.awaitsWritable { connection.pointee.sentAt = monotonic }
                break
            }
            if sent < 0 {
                close(connection)
                return
            }
            counters.bytesOut += UInt64(sent)
            connection.pointee.outputStart += sent
            connection.pointee.sentAt = monotonic
        }
        if connection.pointee.waitingOutput == 0, connection.pointee.isClosing {
            close(connection)
            return
        }
        connection.pointee.shrink()
        let awaits = connection.pointee.sendableOutput > 0
        // A connection that does not take its replies is not read either: its own buffers fill, and it waits.
        if connection.pointee.isHeld, connection.pointee.waitingOutput <= Limits.outputBytes {
            connection.pointee.isHeld = false
            enqueue(connection)
        }
        if awaits != connection.pointee.awaitsWritable {
            connection.pointee.awaitsWritable = awaits
            let interest = Self.interest | (awaits ? UInt32(ZG_WRITABLE) : 0)
            _ = zg_epoll_control(epoll, 2, descriptor, interest, Self.connectionToken | UInt64(descriptor))
        }
    }

    mutating func close(_ connection: UnsafeMutablePointer<Connection>) {
        let descriptor = connection.pointee.descriptor
        detach(connection)
        if isObserved { stopObserving(connection) }
        stopWaiting(connection)
        connections[Int(descriptor)] = nil
        names[descriptor] = nil
        transactions[descriptor] = nil
        dropLongCommand(connection)
        gate.forget(descriptor)
        connectionCount -= 1
        connection.pointee.free()
        connection.deallocate()
    }

    // MARK: Beside the requests

    private mutating func housekeeping() {
        if engine.readOnlyReason != nil, !wasReadOnly {
            wasReadOnly = true
            EventLog.error("read_only", "reason=\(Self.reason(engine.readOnlyReason))")
            hook("read-only", [Self.reason(engine.readOnlyReason)])
        }
        noticeEvents()
        guard engine.readOnlyReason == nil else { return }
        // The end of a segment or a mark may have synced what somebody waits for.
        releaseSynced()
        backgroundSync()
        if engine.needsMark, monotonic &- lastWrite > markDelay {
            do throws(LogError) { try engine.mark(time: now) } catch {
                lastWrite = monotonic
                if error != .full { EventLog.warning("mark_failed", "error=\(error)") }
            }
        }
    }

    /// One slice of what nobody waits for: at once when nobody does, and under load now and then, because a log that
    /// is only written to needs it most.
    private mutating func maintain(isIdle: Bool) {
        guard isIdle || monotonic &- lastMaintenance >= Limits.maintenanceNanoseconds || engine.isShortOfSpace else {
            return
        }
        lastMaintenance = monotonic
        hasWork = engine.maintain(now: now, budget: Limits.maintenanceBytes)
    }

    private mutating func backgroundSync() {
        // Much that is not on stable storage makes the end of a segment slow, which waits for all of it.
        let isMuch =
            engine.writtenBytes &- syncedBytes
            >= (engine.roomInSegment < Limits.unsyncedBytes ? Limits.unsyncedBytes / 8 : Limits.unsyncedBytes)
        guard syncingSequence == nil, engine.isDirty, !engine.turnHasWrites,
            isMuch || !unsynced.isEmpty || monotonic >= syncDueAt || monotonic &- lastSync >= Limits.lazySyncNanoseconds
        else { return }
        guard let wanted = engine.backgroundSync, let syncer,
            zg_db_syncer_submit(syncer, disk.descriptor(wanted.file)) == 0
        else { return }
        (lastSync, syncDueAt, syncedBytes) = (monotonic, .max, engine.writtenBytes)
        syncingSequence = wanted.sequence
    }

    private mutating func collectSync() {
        var result: Int32 = 0
        guard let syncer, zg_db_syncer_result(syncer, &result) == 1, let sequence = syncingSequence else { return }
        syncingSequence = nil
        counters.syncs += 1
        counters.syncNanoseconds += monotonic &- lastSync
        counters.syncNanosecondsMax = max(counters.syncNanosecondsMax, monotonic &- lastSync)
        if result == 0 {
            engine.noteSynced(sequence)
            releaseSynced()
        } else {
            engine.noteSyncFailed(.failed(-result))
            refuseUnsynced()
        }
    }

    /// Nobody waits any more and everything is on stable storage: the rest only makes the next start quick.
    private mutating func checkpoint() {
        let begun = Clock.monotonicNanoseconds()
        let bytes = engine.writeCheckpoint()
        if bytes > 0 { EventLog.info("checkpoint", "bytes=\(bytes) took_ms=\(elapsed(begun) / 1_000_000)") }
    }

    /// Stops in order: what was executed is durable and answered.
    private mutating func stop() {
        tick()
        EventLog.info("stopping")
        hook("closing")
        operations.metrics?.stop()
        do throws(LogError) {
            try engine.close(time: now)
            releaseSynced()
        } catch {
            EventLog.error("close_failed", "error=\(error)")
            refuseUnsynced()
        }
        drainReplicas()
        dropFollowers()
        for listener in listeners where listener.isOpen {
            _ = Glibc.close(listener.descriptor)
            if let path = listener.path { unlink(path) }
        }
        for index in 0..<connectionCapacity {
            guard let connection = connections[index] else { continue }
            connection.pointee.isClosing = true
            flush(connection)
            if let left = connections[index] { close(left) }
        }
        checkpoint()
        EventLog.info("stopped")
    }
}
