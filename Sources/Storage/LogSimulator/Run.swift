import LogEngine
import Simulation

/// One run of the simulator.
final class Run {
    /// What the disk does in this run.
    struct Faults {
        /// Power is lost with a torn and reordered end; else only the process dies.
        var losesPower = false
        /// Bytes change on the medium.
        var rots = false
        /// Syncs and writes fail.
        var fails = false
        /// Syncs that make nothing durable, writes that are lost or go astray: nothing is promised then.
        var lies = false
        /// There is little space.
        var isSmall = false
    }

    /// Bytes of a file that were changed behind the engine's back.
    struct Damaged {
        let segment: UInt64
        let range: Range<Int>
        let number: Int
        /// A sector that cannot be read stays so until it is written, and takes its page with it.
        let isUnreadable: Bool
    }

    let seed: UInt64
    var random: SeededRandom
    let disk: SimulatedDisk
    var options: LogOptions
    let faults: Faults
    let isTraced: Bool
    var model = Model()
    var damaged: [Damaged] = []
    /// Damage of what the last opening cut.
    var damagedBehind: [Damaged] = []
    /// When engines were opened since the last one that was compared: a namespace of such a time is the engine's own.
    var ownTimes: Set<UInt64> = []
    /// Namespaces whose tables were changed behind the engine's back since it was opened.
    var damagedTables: Set<UInt32> = []
    /// An index of a segment was changed behind the engine's back since it was opened.
    var isIndexDamaged = false
    /// Segments are compacted in this run.
    let compacts: Bool
    /// Somebody asked for a compaction in this process.
    var isCompacting = false
    /// A compaction may have copied damaged values, so that damage is where nothing was damaged.
    var copiesDamage = false
    /// The latest time that the engine was told: what it let go then stays gone when the clock goes back.
    var latest: UInt64 = 0
    /// Values of namespaces that ended and were to be overwritten.
    var wipes: [[UInt8]] = []
    /// A walk through a namespace that goes on over several turns.
    var walk: Walk?
    /// A sync lied or a write went astray: from the next loss of power on nothing is promised.
    var hasLied = false
    /// A sync or a write failed in this process.
    var hasFailed = false
    /// Writes of this turn were taken back in its middle.
    var isTurnLost = false
    /// The last process said that it stopped in order.
    var wasClosed = false
    var now: UInt64 = 1_700_000_000_000_000_000
    /// A sync that a thread of its own does: what it covers, and whether the disk has done it.
    var background: (sequence: UInt64, isDone: Bool)?
    var counts = SimulationCounts()
    var trace: [String] = []

    init(seed: UInt64, options: LogOptions, compacts: Bool, isTraced: Bool) {
        (self.seed, self.options, self.compacts, self.isTraced) = (seed, options, compacts, isTraced)
        random = SeededRandom(seed: seed)
        disk = SimulatedDisk(sectorBytes: random.chance(50) ? 512 : 64)
        var faults = Faults()
        faults.losesPower = random.chance(75)
        switch random.below(10) {
        case 0, 1: faults.rots = true
        case 2: faults.fails = true
        case 3: faults.lies = true
        case 4: faults.isSmall = true
        case 5: (faults.fails, faults.isSmall) = (true, true)
        default: break
        }
        // Which records damage reached is only known while they stand where they were written.
        if compacts { faults.rots = false }
        self.faults = faults
        self.options.segmentBytes = 16384 + 4096 * random.below(4)
        self.options.reserveBytes = 4096
        self.options.slackBytes = 512
        self.options.compactionRate = compacts && random.chance(50) ? 1 << 40 : 0
        if compacts { self.options.history = random.chance(50) ? .all : .none }
        self.options.tablePages = 4
        self.options.tableRecords = UInt64(1 + random.below(60))
        self.options.policy = random.chance(60) ? .always : (random.chance(50) ? .interval : .none)
        self.options.fresh = (random.next(), random.next(), random.next())
    }

    func outcome() -> SimulationOutcome {
        var failure: String?
        do throws(Stop) { try run() } catch {
            if case .wrong(let what) = error { failure = what }
        }
        return SimulationOutcome(seed: seed, failure: failure, trace: trace, counts: counts)
    }

    private func run() throws(Stop) {
        say("policy \(options.policy) segments of \(options.segmentBytes) \(faults)")
        for _ in 0..<(2 + random.below(4)) {
            if random.chance(80) { disk.operationsBeforeCrash = 1 + random.below(random.chance(35) ? 12 : 80) }
            do throws(Stop) { try live() } catch {
                switch error {
                case .crashed, .readOnly: break
                case .ended, .wrong: throw error
                }
            }
            fall()
        }
        try live(isLast: true)
    }

    /// One process, from its start to its end.
    private func live(isLast: Bool = false) throws(Stop) {
        counts.opens += 1
        (hasFailed, isTurnLost, background, walk, isCompacting) = (false, false, nil, nil, false)
        if isLast { disk.operationsBeforeCrash = nil }
        now += UInt64(random.below(1_000_000_000))
        // A manifest has 135 KB.
        let smallest = compacts ? 200_000 : 24_000
        if faults.isSmall { disk.capacity = max(disk.used, smallest) + random.below(40_000) }
        disk.liesAboutReserve = faults.isSmall && random.chance(60)
        ownTimes.insert(now)
        say("open")
        var engine: LogEngine
        do throws(LogError) { engine = try LogEngine.open(disk: disk, options: options, time: now) } catch {
            throw refusalOfOpen(error)
        }
        try recovered(&engine)
        wasClosed = false
        if isLast {
            if compacts { try settleCompaction(&engine) }
            return
        }
        for _ in 0..<random.below(40) { try turn(&engine) }
        try everything(&engine)
        if random.chance(30) { try stopInOrder(&engine) }
    }

    private func refusalOfOpen(_ error: LogError) -> Stop {
        say("open: \(error)")
        if error == .disk(.crashed) { return .crashed }
        if faults.isSmall, error == .full { return .crashed }
        if hasLied { return .ended }
        if case .headerDamaged(let segment) = error, isDamaged(segment, 0..<(model.steps.isEmpty ? .max : 4096)) {
            return .ended
        }
        return .wrong("the device could not be opened: \(error)")
    }

    /// The end of a process: of its machine too, or not.
    private func fall() {
        counts.crashes += 1
        if faults.losesPower && random.chance(80) {
            say("power lost")
            disk.crash(&random)
        } else {
            say("killed")
            disk.kill()
        }
        disk.restart()
        disk.capacity = .max
        if !faults.lies, random.chance(4) { removeDerived() }
        if faults.rots, random.chance(60) { for _ in 0..<(1 + random.below(3)) { rot() } }
    }

    /// A byte of the checkpoint changes; nothing may come of that.
    func rotCheckpoint() {
        let length = disk.bytes(of: "checkpoint").count
        guard length > 0 else { return }
        let at = random.chance(10) || length <= 4096 ? random.below(length) : 4096 + random.below(length - 4096)
        let mask = UInt8(1 << random.below(8))
        say("bit flipped: checkpoint \(at) \(mask)")
        disk.flip("checkpoint", at: at, mask: mask)
    }

    /// Time passes; sometimes somebody sets the clock back.
    func clock() -> UInt64 {
        now += UInt64(random.below(1000))
        if random.chance(2) { now -= 1_000_000_000 }
        latest = max(latest, now)
        return now
    }

    /// Puts a line into the trace.
    func say(_ line: @autoclosure () -> String) { if isTraced { trace.append(line()) } }
}
