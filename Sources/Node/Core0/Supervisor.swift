/// What zero-core decides: which process starts when, what follows its end, in which order all of them stop.
///
/// A pure state machine: events and the time go in, actions come out. It owns no process, file or clock; chance is
/// seeded. `Core` carries the actions out and reports what came of them.
struct Supervisor {
    enum Event: Sendable {
        /// The units of the folder, at the start and at every reload.
        case units(UnitSet)
        /// A process (or the wish for one) that an earlier zero-core left.
        case adopted(ProcessKey, Adopted)
        /// Everything that was left is known: starting may begin.
        case begin
        case start(ProcessKey, token: Int?)
        case stop(ProcessKey, token: Int?)
        case restart(ProcessKey, token: Int?)
        case shutDown(token: Int?)
        /// The answer to `spawn`; `ready` follows when the program runs or says so itself.
        case started(ProcessKey, pid: Int32)
        case startFailed(ProcessKey, reason: String)
        case ready(ProcessKey)
        /// It ended; `said` is what it told of the reason before.
        case exited(ProcessKey, ExitStatus, said: String?)
        /// Nothing but the time.
        case tick
    }

    enum Action: Hashable, Sendable {
        case spawn(ProcessKey)
        case signal(ProcessKey, pid: Int32, number: Int32)
        /// Its state should survive zero-core.
        case record(ProcessKey)
        /// Nothing of it has to survive any more.
        case erase(ProcessKey)
        /// Who waits with this token is answered: with the state of the process, or when it is gone.
        case answer(token: Int)
        /// Every process ended: zero-core may end too.
        case finished
    }

    /// What a record of an earlier zero-core says.
    struct Adopted: Sendable {
        /// 0: it did not run when the record was written.
        var pid: Int32 = 0
        var isReady = false
        /// It had ended by itself and its unit says that this is all.
        var ended: ExitStatus?
        /// It was being stopped for good.
        var isStopping = false
        var row = 0
        var restarts = 0
        var started: UInt64 = 0
        var reason: String?
    }

    /// What follows when a process that is being stopped is gone.
    enum Afterwards: Hashable, Sendable { case nothing, start, backoff }

    enum Phase: Hashable, Sendable {
        /// Not wanted.
        case stopped
        /// Wanted; the units it comes after are not ready.
        case waiting
        case starting(deadline: UInt64)
        case running
        case backoff(until: UInt64)
        case stopping(deadline: UInt64, killed: Bool, then: Afterwards)
        /// It ended by itself and its unit says that this is all.
        case ended(ExitStatus)
    }

    struct Entry: Sendable {
        var phase = Phase.stopped
        var pid: Int32 = 0
        /// Failures in a row.
        var row = 0
        var restarts = 0
        var changed: UInt64 = 0
        var started: UInt64 = 0
        /// Why it is not running, or did not go on.
        var reason: String?
        var wasAdopted = false
        var waiters: [Int] = []

        /// Whether a process exists.
        var isLive: Bool { pid > 0 }
        /// Whether the state should be found again by the next zero-core.
        var isKept: Bool { if case .stopped = phase { false } else { true } }
    }

    private(set) var units = UnitSet()
    private(set) var entries: [ProcessKey: Entry] = [:]
    private(set) var isShuttingDown = false
    private var hasBegun = false
    private var shutdownTokens: [Int] = []
    private var random: UInt64
    private var actions: [Action] = []
    private(set) var now: UInt64 = 0

    init(seed: UInt64) { random = seed }

    /// Takes in what happened at `now` (monotonic nanoseconds) and returns what to do, in order.
    mutating func handle(_ event: Event, at now: UInt64) -> [Action] {
        self.now = now
        switch event {
        case .units(let set): load(set)
        case .adopted(let key, let found): adopt(key, found)
        case .begin: hasBegun = true
        case .start(let key, let token): start(key, token)
        case .stop(let key, let token): stop(key, token)
        case .restart(let key, let token): restart(key, token)
        case .shutDown(let token): shutDown(token)
        case .started(let key, let pid): started(key, pid)
        case .startFailed(let key, let reason): startFailed(key, reason)
        case .ready(let key): becameReady(key)
        case .exited(let key, let status, let said): exited(key, status, said)
        case .tick: break
        }
        passTime()
        if isShuttingDown { advanceShutdown() } else { startWhatCan() }
        defer { actions = [] }
        return actions
    }

    /// When `tick` is due, if nothing happens before.
    var deadline: UInt64? {
        var soonest: UInt64?
        for entry in entries.values {
            switch entry.phase {
            case .starting(let time), .backoff(let time), .stopping(let time, false, _):
                soonest = min(soonest ?? time, time)
            default: break
            }
        }
        return soonest
    }

    /// Whether a process was stopped for good, or is about to be.
    func isStopping(_ key: ProcessKey) -> Bool {
        switch entries[key]?.phase {
        case .stopping(_, _, .nothing), .stopped: true
        default: false
        }
    }

    /// The unit of a process; a stand-in where its file is gone.
    func definition(_ key: ProcessKey) -> UnitDefinition {
        units.units[key.unit] ?? remembered[key.unit] ?? UnitDefinition(missing: key.unit)
    }

    /// Definitions of units whose file became invalid or went away while they ran.
    private var remembered: [String: UnitDefinition] = [:]

    private func isLive(unit name: String) -> Bool { entries.contains { $0.key.unit == name && $0.value.isLive } }
}

// MARK: Units and adoption

extension Supervisor {
    private mutating func load(_ set: UnitSet) {
        for (name, unit) in units.units where set.units[name] == nil { remembered[name] = unit }
        for name in set.units.keys { remembered[name] = nil }
        units = set
        remembered = remembered.filter { isLive(unit: $0.key) }
        for (name, unit) in set.units where !unit.isTemplate {
            let key = ProcessKey(name)
            if entries[key] == nil {
                entries[key] = Entry(phase: unit.isAsked ? .stopped : .waiting, changed: now)
            }
        }
        for (key, entry) in entries where set.units[key.unit] == nil && !entry.isLive { remove(key) }
    }

    private mutating func adopt(_ key: ProcessKey, _ found: Adopted) {
        var entry = Entry(phase: .waiting, changed: now)
        (entry.row, entry.restarts, entry.reason) = (found.row, found.restarts, found.reason)
        entry.started = found.started
        entry.wasAdopted = true
        if let status = found.ended {
            entry.phase = .ended(status)
        } else if found.pid > 0 {
            entry.pid = found.pid
            let timeout = definition(key).readyTimeout
            entry.phase = found.isReady ? .running : .starting(deadline: now + timeout)
            entry.changed = found.started
        } else if units.units[key.unit] == nil {
            actions.append(.erase(key))
            return
        }
        entries[key] = entry
        if found.isStopping { if entry.isLive { beginStop(key, then: .nothing) } else { settle(key) } }
    }

    private mutating func remove(_ key: ProcessKey) {
        for token in entries[key]?.waiters ?? [] { actions.append(.answer(token: token)) }
        entries[key] = nil
        actions.append(.erase(key))
    }
}

// MARK: Requests

extension Supervisor {
    private mutating func start(_ key: ProcessKey, _ token: Int?) {
        guard !isShuttingDown else { return answer(token) }
        var entry = entries[key] ?? Entry(changed: now)
        switch entry.phase {
        case .stopped, .ended:
            entry.phase = .waiting
            entry.changed = now
            (entry.row, entry.restarts, entry.started, entry.reason) = (0, 0, 0, nil)
            actions.append(.record(key))
        case .stopping(let deadline, let killed, .nothing):
            entry.phase = .stopping(deadline: deadline, killed: killed, then: .start)
        case .running, .backoff:
            // Who asks again and again for what fails must not defeat the backoff.
            entries[key] = entry
            return answer(token)
        default: break
        }
        if let token { entry.waiters.append(token) }
        entries[key] = entry
    }

    private mutating func stop(_ key: ProcessKey, _ token: Int?) {
        guard var entry = entries[key] else { return answer(token) }
        if entry.isLive {
            if let token { entry.waiters.append(token) }
            entries[key] = entry
            beginStop(key, then: .nothing)
        } else {
            if let token { entry.waiters.append(token) }
            entries[key] = entry
            settle(key)
        }
    }

    private mutating func restart(_ key: ProcessKey, _ token: Int?) {
        guard !isShuttingDown, var entry = entries[key] else { return answer(token) }
        if let token { entry.waiters.append(token) }
        entry.row = 0
        if !entry.isLive {
            entry.phase = .waiting
            entry.changed = now
            actions.append(.record(key))
        }
        entries[key] = entry
        if entry.isLive { beginStop(key, then: .start) }
    }

    private mutating func answer(_ token: Int?) {
        if let token { actions.append(.answer(token: token)) }
    }

    private mutating func answerWaiters(_ key: ProcessKey) {
        for token in entries[key]?.waiters ?? [] { actions.append(.answer(token: token)) }
        entries[key]?.waiters = []
    }
}

// MARK: Life of a process

extension Supervisor {
    private mutating func started(_ key: ProcessKey, _ pid: Int32) {
        guard var entry = entries[key] else { return }
        if entry.started > 0 { entry.restarts += 1 }
        (entry.pid, entry.started, entry.changed, entry.wasAdopted) = (pid, now, now, false)
        entry.phase = .starting(deadline: now + definition(key).readyTimeout)
        entries[key] = entry
    }

    private mutating func startFailed(_ key: ProcessKey, _ reason: String) {
        guard entries[key] != nil else { return }
        fail(key, reason)
    }

    private mutating func becameReady(_ key: ProcessKey) {
        guard var entry = entries[key], case .starting = entry.phase else { return }
        (entry.phase, entry.changed, entry.reason) = (.running, now, nil)
        entries[key] = entry
        actions.append(.record(key))
        answerWaiters(key)
    }

    private mutating func exited(_ key: ProcessKey, _ status: ExitStatus, _ said: String?) {
        guard var entry = entries[key], entry.isLive else { return }
        let phase = entry.phase
        entry.pid = 0
        if case .running = phase, now - min(now, entry.changed) >= Limits.steady { entry.row = 0 }
        entries[key] = entry
        if case .stopping(_, _, let then) = phase { return stopped(key, then) }
        let unit = definition(key)
        let isKnown = units.units[key.unit] != nil || remembered[key.unit] != nil
        let again = unit.restart == .always || (unit.restart == .onFailure && !status.isSuccess)
        if again, isKnown, !isShuttingDown { return fail(key, said ?? status.description) }
        entry.reason = said ?? status.description
        (entry.phase, entry.changed) = (.ended(status), now)
        entries[key] = entry
        actions.append(.record(key))
        answerWaiters(key)
        dropOldEnded()
    }

    /// What was being stopped is gone.
    private mutating func stopped(_ key: ProcessKey, _ then: Afterwards) {
        switch then {
        case .nothing: settle(key)
        case .start:
            entries[key]?.phase = .waiting
            entries[key]?.changed = now
            actions.append(.record(key))
        case .backoff: fail(key, entries[key]?.reason ?? "was not ready in time")
        }
    }

    /// Not wanted and not alive: a plain unit stays in the table, an instance goes.
    private mutating func settle(_ key: ProcessKey) {
        answerWaiters(key)
        if let unit = units.units[key.unit], !unit.isTemplate {
            entries[key] = Entry(phase: .stopped, changed: now)
            // A unit that starts by itself and was stopped stays so until the node is shut down.
            actions.append(unit.isAsked || isShuttingDown ? .erase(key) : .record(key))
        } else {
            remove(key)
        }
    }

    /// It did not start, or ended and has to go on: again later, and later each time.
    private mutating func fail(_ key: ProcessKey, _ reason: String) {
        guard var entry = entries[key] else { return }
        entry.row += 1
        entry.reason = reason
        entry.phase = .backoff(until: now + delay(row: entry.row))
        entry.changed = now
        entries[key] = entry
        actions.append(.record(key))
        answerWaiters(key)
    }

    private mutating func delay(row: Int) -> UInt64 {
        let doubled = Limits.backoffFirst << UInt64(min(row - 1, 16))
        let whole = min(doubled, Limits.backoffLongest)
        return whole / 2 + nextRandom() % (whole / 2 + 1)
    }

    /// SplitMix64: enough to spread restarts, the same for the same seed.
    private mutating func nextRandom() -> UInt64 {
        random &+= 0x9e37_79b9_7f4a_7c15
        var mixed = random
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    private mutating func dropOldEnded() {
        let ended = entries.filter { if case .ended = $0.value.phase { $0.key.instance != nil } else { false } }
        guard ended.count > Limits.endedMax, let oldest = ended.min(by: { $0.value.changed < $1.value.changed }) else {
            return
        }
        remove(oldest.key)
    }

    private mutating func beginStop(_ key: ProcessKey, then: Afterwards) {
        guard var entry = entries[key], entry.isLive else { return }
        if case .stopping(let deadline, let killed, _) = entry.phase {
            entry.phase = .stopping(deadline: deadline, killed: killed, then: then)
            entries[key] = entry
            return actions.append(.record(key))
        }
        let unit = definition(key)
        entry.phase = .stopping(deadline: now + unit.stopTimeout, killed: false, then: then)
        entry.changed = now
        entries[key] = entry
        actions.append(.record(key))
        // Where another process follows, this one may leave to it what it holds.
        let number = then == .nothing ? unit.stopSignal : unit.replaceSignal ?? unit.stopSignal
        actions.append(.signal(key, pid: entry.pid, number: number))
    }
}

// MARK: Time and order

extension Supervisor {
    private mutating func passTime() {
        guard let deadline, deadline <= now else { return }
        for key in entries.keys.sorted() {
            guard var entry = entries[key] else { continue }
            switch entry.phase {
            case .starting(let deadline) where deadline <= now:
                if entry.wasAdopted {
                    // Its word may have reached a zero-core that is dead. It lives, so it is left alone.
                    becameReady(key)
                } else {
                    let time = definition(key).readyTimeout
                    let text = time < Time.second ? "\(time / Time.millisecond) ms" : "\(time / Time.second) s"
                    entry.reason = "was not ready within \(text)"
                    entries[key] = entry
                    beginStop(key, then: .backoff)
                }
            case .stopping(let deadline, false, let then) where deadline <= now:
                entry.phase = .stopping(deadline: deadline, killed: true, then: then)
                entries[key] = entry
                actions.append(.signal(key, pid: entry.pid, number: 9))
            case .backoff(let until) where until <= now:
                entry.phase = .waiting
                entries[key] = entry
            default: break
            }
        }
    }

    private mutating func startWhatCan() {
        guard hasBegun else { return }
        let waiting = entries.filter { $0.value.phase == .waiting }
        for key in waiting.keys.sorted() {
            guard let unit = units.units[key.unit] ?? remembered[key.unit] else { continue }
            guard unit.after.allSatisfy(allowsStart) else { continue }
            entries[key]?.phase = .starting(deadline: now + unit.readyTimeout)
            actions.append(.spawn(key))
        }
    }

    /// Whether what comes after this unit may start. Templates and units that somebody has to ask for order only stops.
    private func allowsStart(_ name: String) -> Bool {
        guard let unit = units.units[name], !unit.isAsked else { return true }
        switch entries[ProcessKey(name)]?.phase {
        case .running: return true
        case .ended(let status): return status.isSuccess
        default: return false
        }
    }

    private mutating func shutDown(_ token: Int?) {
        if let token { shutdownTokens.append(token) }
        guard !isShuttingDown else { return }
        isShuttingDown = true
        for (key, entry) in entries where !entry.isLive { settle(key) }
    }

    /// Stops whatever nothing alive comes after.
    private mutating func advanceShutdown() {
        var needed: Set<String> = []
        for (key, entry) in entries where entry.isLive { needed.formUnion(definition(key).after) }
        var anyAlive = false
        for key in entries.keys.sorted() {
            guard let entry = entries[key], entry.isLive else { continue }
            anyAlive = true
            if !needed.contains(key.unit) { beginStop(key, then: .nothing) }
        }
        guard !anyAlive else { return }
        for token in shutdownTokens { actions.append(.answer(token: token)) }
        shutdownTokens = []
        actions.append(.finished)
    }
}
