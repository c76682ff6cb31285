import Testing

@testable import Core0

/// SplitMix64, for worlds that can be repeated.
private struct Chance {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// Processes that exist only in a table: starts, readiness, ends and a zero-core that dies, all by a seed.
private struct World {
    struct Process {
        let pid: Int32
        var isReady = false
        var diesAt: UInt64?
        var readyAt: UInt64?
        /// Its readiness may be assumed: the zero-core that it told is dead.
        var isAdopted = false
    }

    var supervisor: Supervisor
    let set: UnitSet
    var processes: [ProcessKey: Process] = [:]
    var kept: [ProcessKey: Supervisor.Adopted] = [:]
    var chance: Chance
    var now: UInt64 = Time.second
    var nextPid: Int32 = 100
    var isCalm = false
    var answered: Set<Int> = []
    var isFinished = false
    var failures: [String] = []
    var starts = 0

    init(_ texts: [String: String], seed: UInt64) {
        set = UnitSet(texts.mapValues { .success(Array(("exec = /x\naccount = root\n" + $0).utf8)) })
        chance = Chance(state: seed)
        supervisor = Supervisor(seed: seed)
        boot()
    }

    mutating func boot() {
        handle(.units(set))
        for (key, found) in kept.sorted(by: { $0.key < $1.key }) {
            var found = found
            found.pid = processes[key]?.pid ?? 0
            processes[key]?.isAdopted = true
            if found.pid == 0, found.ended == nil, found.started > 0 {
                // A record with a pid whose process died meanwhile.
                found.pid = 99
                handle(.adopted(key, found))
                handle(.exited(key, .unknown, said: nil))
            } else {
                handle(.adopted(key, found))
            }
        }
        handle(.begin)
    }

    mutating func handle(_ event: Supervisor.Event) {
        for action in supervisor.handle(event, at: now) { carryOut(action) }
    }

    mutating func carryOut(_ action: Supervisor.Action) {
        switch action {
        case .spawn(let key):
            if processes[key] != nil { failures.append("\(key) runs twice") }
            let unit = supervisor.definition(key)
            for name in unit.after where set.units[name]?.isAsked == false {
                let other = processes[ProcessKey(name)]
                if other?.isReady != true, other?.isAdopted != true {
                    failures.append("\(key) before \(name) is ready")
                }
            }
            starts += 1
            if !isCalm, chance.below(8) == 0 { return handle(.startFailed(key, reason: "no")) }
            nextPid += 1
            var process = Process(pid: nextPid)
            if !isCalm, chance.below(3) == 0 { process.diesAt = now + chance.next() % (40 * Time.second) }
            if isCalm || chance.below(10) > 0 { process.readyAt = now + chance.next() % (2 * Time.second) }
            processes[key] = process
            // As the driver: in a record before it runs.
            kept[key] = Supervisor.Adopted(pid: nextPid, started: now)
            handle(.started(key, pid: nextPid))
        case .signal(let key, let pid, let number):
            guard processes[key]?.pid == pid else { return failures.append("signal to a wrong process of \(key)") }
            if supervisor.isShuttingDown, number != 9 {
                for other in processes.keys where supervisor.definition(other).after.contains(key.unit) {
                    failures.append("\(key) is stopped before \(other)")
                }
            }
            let isStubborn = number != 9 && !isCalm && chance.below(4) == 0
            if !isStubborn { processes[key]?.diesAt = now + chance.next() % Time.second }
        case .record(let key):
            guard let entry = supervisor.entries[key] else { return }
            var found = Supervisor.Adopted()
            (found.row, found.restarts, found.started) = (entry.row, entry.restarts, entry.started)
            found.isReady = entry.phase == .running
            if case .ended(let status) = entry.phase { found.ended = status }
            found.isStopping = supervisor.isStopping(key)
            kept[key] = found
        case .erase(let key): kept[key] = nil
        case .answer(let token):
            if !answered.insert(token).inserted { failures.append("token \(token) answered twice") }
        case .finished:
            isFinished = true
            if !processes.isEmpty { failures.append("finished with processes alive") }
        }
    }

    /// Goes on to the next thing that happens, at most until `end`.
    mutating func step(until end: UInt64) {
        var next = end
        for process in processes.values {
            if let time = process.diesAt { next = min(next, time) }
            if let time = process.readyAt { next = min(next, time) }
        }
        if let time = supervisor.deadline { next = min(next, time) }
        now = max(now, next)
        for key in processes.keys.sorted() {
            guard let process = processes[key] else { continue }
            if let time = process.diesAt, time <= now {
                processes[key] = nil
                handle(.exited(key, chance.below(2) == 0 ? .code(0) : .signal(11), said: nil))
            } else if let time = process.readyAt, time <= now {
                processes[key]?.readyAt = nil
                processes[key]?.isReady = true
                handle(.ready(key))
            }
        }
        handle(.tick)
    }

    mutating func pass(_ duration: UInt64) {
        let end = now + duration
        while now < end, !isFinished { step(until: end) }
    }
}

private let grid = [
    "identity": "ready = notify\n", "db": "kind = data\nready = notify\n",
    "ledger": "after = identity db\nready = notify\n",
    "storage": "ready = notify\n", "compute": "after = identity storage shim@ mount@\nready = notify\n",
    "mount@": "after = db\nstarted_by = compute\n", "shim@": "after = mount@\nstarted_by = compute\nrestart = never\n",
    "proxy": "started_by = gateway\nrestart = on-failure\n", "gateway": "after = proxy\n",
]

@Suite struct Supervision {
    @Test(arguments: 0..<60) func anythingMayHappen(_ seed: Int) {
        var world = World(grid, seed: UInt64(seed))
        var token = 0
        for _ in 0..<120 {
            world.pass(world.chance.next() % (3 * Time.second))
            token += 1
            let instance = ["a", "b", "c"][world.chance.below(3)]
            let key = [
                ProcessKey("mount@", instance), ProcessKey("shim@", instance), ProcessKey("proxy"),
                ProcessKey("storage"),
            ][world.chance.below(4)]
            switch world.chance.below(6) {
            case 0, 1: world.handle(.start(key, token: token))
            case 2: world.handle(.stop(key, token: token))
            case 3: world.handle(.restart(key, token: token))
            case 4: world.handle(.units(world.set))
            default:
                // zero-core dies and another one takes over.
                world.supervisor = Supervisor(seed: UInt64(token))
                world.boot()
            }
        }
        world.isCalm = true
        for key in world.processes.keys { world.processes[key]?.diesAt = nil }
        for name in world.set.units.keys where !(world.set.units[name]?.isTemplate ?? true) {
            world.handle(.start(ProcessKey(name), token: nil))
        }
        world.pass(200 * Time.second)
        for (name, unit) in world.set.units where !unit.isTemplate {
            #expect(world.processes[ProcessKey(name)] != nil, "\(name) should run in the end, seed \(seed)")
        }
        let starts = world.starts
        world.pass(100 * Time.second)
        #expect(world.starts == starts, "nothing restarts in a calm world, seed \(seed)")
        world.handle(.shutDown(token: 1_000_000))
        world.pass(100 * Time.second)
        #expect(world.isFinished && world.answered.contains(1_000_000), "seed \(seed)")
        #expect(world.failures == [], "seed \(seed)")
    }

    @Test func backoffGrowsWithinItsBoundsAndNeverGivesUp() {
        var supervisor = Supervisor(seed: 3)
        var now = Time.second
        let set = UnitSet(["a": .success(Array("exec = /x\naccount = root\n".utf8))])
        let key = ProcessKey("a")
        _ = supervisor.handle(.units(set), at: now)
        var actions = supervisor.handle(.begin, at: now)
        var waits: [UInt64] = []
        for pid in Int32(1)...40 {
            #expect(actions.contains(.spawn(key)))
            _ = supervisor.handle(.started(key, pid: pid), at: now)
            _ = supervisor.handle(.ready(key), at: now)
            _ = supervisor.handle(.exited(key, .code(1), said: nil), at: now)
            let deadline = supervisor.deadline ?? 0
            #expect(supervisor.handle(.tick, at: deadline - 1) == [])
            waits.append(deadline - now)
            now = deadline
            actions = supervisor.handle(.tick, at: now)
        }
        for (index, wait) in waits.enumerated() {
            let whole = min(Limits.backoffFirst << UInt64(min(index, 20)), Limits.backoffLongest)
            #expect(wait >= whole / 2 && wait <= whole)
        }
        #expect(Set(waits.suffix(20)).count > 15, "chance spreads them")
        // Steady for long enough: a new row.
        _ = supervisor.handle(.started(key, pid: 77), at: now)
        _ = supervisor.handle(.ready(key), at: now)
        now += Limits.steady
        _ = supervisor.handle(.exited(key, .signal(9), said: nil), at: now)
        #expect((supervisor.deadline ?? 0) - now <= Limits.backoffFirst)
        #expect(supervisor.entries[key]?.reason == "was ended by SIGKILL")
    }

    @Test func whatIsNeverReadyIsStoppedAndStartedAgain() {
        var supervisor = Supervisor(seed: 3)
        let text = "exec = /x\naccount = root\nready = notify\nready_timeout = 2 s\nstop_timeout = 1 s\n"
        let key = ProcessKey("a")
        _ = supervisor.handle(.units(UnitSet(["a": .success(Array(text.utf8))])), at: 0)
        #expect(supervisor.handle(.begin, at: 0) == [.spawn(key)])
        _ = supervisor.handle(.started(key, pid: 5), at: 0)
        #expect(supervisor.handle(.tick, at: 2 * Time.second - 1) == [])
        #expect(
            supervisor.handle(.tick, at: 2 * Time.second) == [.record(key), .signal(key, pid: 5, number: 15)])
        #expect(supervisor.handle(.tick, at: 3 * Time.second) == [.signal(key, pid: 5, number: 9)])
        #expect(supervisor.handle(.exited(key, .signal(9), said: nil), at: 3 * Time.second) == [.record(key)])
        #expect(supervisor.entries[key]?.reason == "was not ready within 2 s")
        #expect(supervisor.handle(.tick, at: 4 * Time.second) == [.spawn(key)])
    }

    @Test func repeatedStartsDoNotDefeatTheBackoff() {
        var supervisor = Supervisor(seed: 1)
        let text = "exec = /x\naccount = root\nstarted_by = compute\n"
        let key = ProcessKey("t@", "x")
        _ = supervisor.handle(.units(UnitSet(["t@": .success(Array(text.utf8))])), at: 0)
        _ = supervisor.handle(.begin, at: 0)
        #expect(supervisor.handle(.start(key, token: 1), at: 0) == [.record(key), .spawn(key)])
        #expect(supervisor.handle(.startFailed(key, reason: "no program"), at: 0) == [.record(key), .answer(token: 1)])
        #expect(supervisor.handle(.start(key, token: 2), at: 1) == [.answer(token: 2)])
        #expect(supervisor.entries[key]?.reason == "no program")
        #expect(supervisor.handle(.stop(key, token: 3), at: 2) == [.answer(token: 3), .erase(key)])
        #expect(supervisor.entries[key] == nil && supervisor.deadline == nil)
    }

    @Test func whatEndsForGoodIsRememberedButNotWithoutBound() {
        var supervisor = Supervisor(seed: 1)
        let text = "exec = /x\naccount = root\nstarted_by = compute\nrestart = never\n"
        _ = supervisor.handle(.units(UnitSet(["t@": .success(Array(text.utf8))])), at: 0)
        _ = supervisor.handle(.begin, at: 0)
        for index in 0..<(Limits.endedMax + 50) {
            let key = ProcessKey("t@", "i\(index)")
            _ = supervisor.handle(.start(key, token: nil), at: UInt64(index))
            _ = supervisor.handle(.started(key, pid: 7), at: UInt64(index))
            _ = supervisor.handle(.exited(key, .code(3), said: nil), at: UInt64(index))
            #expect(supervisor.entries[key]?.phase == .ended(.code(3)))
        }
        #expect(supervisor.entries.count == Limits.endedMax)
        #expect(supervisor.entries[ProcessKey("t@", "i0")] == nil)
    }

    /// A process that another one follows is asked to make way; one that is to go is asked to stop.
    @Test func replacedAndStoppedProcessesGetTheirOwnSignals() {
        var supervisor = Supervisor(seed: 1)
        let text = "exec = /x\naccount = root\nstop_signal = INT\nreplace_signal = USR2\nready = notify\n"
        let key = ProcessKey("a")
        _ = supervisor.handle(.units(UnitSet(["a": .success(Array(text.utf8))])), at: 0)
        _ = supervisor.handle(.begin, at: 0)
        _ = supervisor.handle(.started(key, pid: 7), at: 0)
        _ = supervisor.handle(.ready(key), at: 0)
        #expect(supervisor.handle(.restart(key, token: nil), at: 1).contains(.signal(key, pid: 7, number: 12)))
        _ = supervisor.handle(.exited(key, .code(0), said: nil), at: 2)
        _ = supervisor.handle(.started(key, pid: 8), at: 2)
        // Not ready in time: another one follows here too.
        #expect(supervisor.handle(.tick, at: 60 * Time.second).contains(.signal(key, pid: 8, number: 12)))
        _ = supervisor.handle(.exited(key, .code(0), said: nil), at: 60 * Time.second)
        _ = supervisor.handle(.tick, at: 70 * Time.second)
        _ = supervisor.handle(.started(key, pid: 9), at: 70 * Time.second)
        _ = supervisor.handle(.ready(key), at: 70 * Time.second)
        let stopped = supervisor.handle(.stop(key, token: nil), at: 71 * Time.second)
        #expect(stopped.contains(.signal(key, pid: 9, number: 2)))
    }

    @Test func aUnitThatBecomesInvalidGoesOnAsItWas() {
        var supervisor = Supervisor(seed: 1)
        let key = ProcessKey("a")
        let good = UnitSet(["a": .success(Array("exec = /x\naccount = root\nstop_signal = INT\n".utf8))])
        _ = supervisor.handle(.units(good), at: 0)
        _ = supervisor.handle(.begin, at: 0)
        _ = supervisor.handle(.started(key, pid: 7), at: 0)
        _ = supervisor.handle(.ready(key), at: 0)
        #expect(supervisor.handle(.units(UnitSet(["a": .success(Array("exec".utf8))])), at: 1) == [])
        _ = supervisor.handle(.exited(key, .code(1), said: nil), at: 2)
        #expect(supervisor.handle(.tick, at: Time.second) == [.spawn(key)])
        _ = supervisor.handle(.started(key, pid: 8), at: Time.second)
        let actions = supervisor.handle(.stop(key, token: nil), at: 2 * Time.second)
        #expect(actions.contains(.signal(key, pid: 8, number: 2)))
    }
}
