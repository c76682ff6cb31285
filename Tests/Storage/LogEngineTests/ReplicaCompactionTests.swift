import Simulation
import Testing

@testable import LogEngine

extension Copies {
    var follows: LogOptions {
        var follows = options
        follows.follows = true
        return follows
    }

    mutating func reopenReplica() throws {
        replica.closeFiles()
        replica = try LogEngine.open(disks.1, follows)
    }

    /// Connects as a server does: what the master has compacted meanwhile is given up first.
    mutating func meet() throws {
        for _ in 0..<4 {
            do throws(ReplicaRefusal) {
                try attempt()
                return
            } catch .compacted(let place) {
                try replica.discard(behind: place)
                try reopenReplica()
            }
        }
        Issue.record("the master never sends")
    }

    private mutating func attempt() throws(ReplicaRefusal) {
        var failure: ReplicaRefusal?
        do { try connect() } catch let refusal as ReplicaRefusal { failure = refusal } catch {
            failure = .failed(error as? LogError ?? .unknownFile)
        }
        if let failure { throw failure }
    }

    /// Tells the replica where the master is, if it was sent everything.
    mutating func tell() {
        guard !sender.isBehind(master) else { return }
        let count = sender.position(master, time: 1, token: 1, buffer)
        stream += UnsafeRawBufferPointer(start: buffer, count: count)
    }

    /// What a server does after each turn of a replica.
    mutating func tend(now: inout UInt64, slices: Int = 1) throws {
        for _ in 0..<slices {
            now += 2_000_000_000
            if !replica.maintain(now: now, budget: 4096) { break }
        }
        if let failure = replica.takeReplacementFailure() {
            Issue.record("a replacement failed: \(failure)")
            try meet()
        }
        if replica.needsReopening {
            try reopenReplica()
            try meet()
        }
    }

    /// Until nothing is left to do on either side.
    mutating func settle(now: inout UInt64) throws {
        for _ in 0..<5000 {
            do {
                try send()
                tell()
                let isQuiet = stream.isEmpty || !sender.isBehind(master)
                try arrive()
                try tend(now: &now, slices: 50)
                now += 2_000_000_000
                if master.maintain(now: now, budget: 64 << 10) || master.compaction.phase != .idle { continue }
                if isQuiet, !sender.isBehind(master), replica.replacementCounts.pending == 0,
                    replica.discarded.isEmpty, replica.ended.isEmpty, !replica.isIncomplete
                {
                    return
                }
            } catch ReplicaRefusal.moved { try meet() } catch ReplicaFailure.busy {
                try tend(now: &now, slices: 50)
                try meet()
            }
        }
        Issue.record("the copies never come to rest: \(replica.replacements.phase) \(replica.isIncomplete)")
    }
}

@Suite("Log engine: replicas and compaction")
struct ReplicaCompactionTests {
    let start: UInt64 = 1_700_000_000_000_000_000

    func load(_ engine: inout LogEngine, _ random: inout SeededRandom, rounds: Int, keys: Int = 20) throws {
        for _ in 0..<rounds {
            for number in 0..<keys {
                let key = bytes("key-\(number)")
                if random.chance(8) {
                    do throws(LogError) { try engine.delete(key) } catch .absent {}
                } else {
                    try engine.set(key, random.bytes(100 + random.below(300)))
                }
            }
            try engine.commit(sync: true)
        }
    }

    /// Every key that these tests write, asked for one by one: so it does not matter how a namespace keeps its keys.
    func contents(_ engine: inout LogEngine, _ id: UInt32) throws -> [[UInt8]: [UInt8]] {
        var found: [[UInt8]: [UInt8]] = [:]
        var keys = (0..<200).map { bytes("key-\($0)") } + (0..<200).map { bytes("k\($0)") } + [bytes("new")]
        if engine.isSequential(id) { keys = (0..<200).map { [UInt8($0), 0, 0, 0, 0, 0, 0, 0] } }
        for key in keys { if let value = try engine.get(key, namespace: id) { found[key] = value } }
        return found
    }

    func expectSame(_ copies: inout Copies, _ comment: String = "") throws {
        #expect(try copies.areEqual(), "the copies differ \(comment)")
        let names = copies.master.namespaceNames
        for name in names {
            guard let id = copies.master.namespace(named: name) else { continue }
            let other = copies.replica.namespace(named: name)
            #expect(other == id, "\(comment)")
            let (ours, theirs) = (try contents(&copies.master, id), try contents(&copies.replica, id))
            #expect(ours == theirs, "the indexes differ \(comment)")
            let counts = (copies.master.information(id)?.entries, copies.replica.information(id)?.entries)
            #expect(counts.0 == counts.1 && counts.0 == UInt64(ours.count), "\(counts) of \(ours.count) \(comment)")
        }
        #expect(copies.replica.namespaceNames == names, "\(comment)")
        let accounts = copies.replica.checkAccounts()
        #expect(accounts == nil, "\(comment)")
        #expect(copies.replica.report.damageCount == 0, "damage \(copies.replica.report) \(comment)")
        #expect(copies.replica.nextSequence == copies.master.nextSequence, "\(comment)")
    }

    @Test("An empty device becomes the copy of one that was compacted, and then has a manifest of its own")
    func copyOfCompacted() throws {
        var random = SeededRandom(seed: 1)
        var now = start
        var copies = try Copies.make(compactingOptions())
        try load(&copies.master, &random, rounds: 30)
        try copies.master.compactAll(now: &now)
        try load(&copies.master, &random, rounds: 4)
        let compacted = copies.master.order.count { copies.master.segments[$0].allowsGaps }
        #expect(compacted > 0)
        try copies.meet()
        // On the way it is no copy of any moment, says so, and does not become a master.
        try copies.send(12_000)
        try copies.arrive()
        #expect(copies.replica.isIncomplete == true)
        #expect(throws: LogError.incomplete) { _ = try copies.replica.get(bytes("key-1")) }
        #expect(throws: LogError.incomplete) { _ = try copies.replica.promote(time: 1) }
        try copies.reopenReplica()
        #expect(copies.replica.isIncomplete == true)
        try copies.meet()
        try copies.settle(now: &now)
        try expectSame(&copies)
        try copies.reopenReplica()
        try expectSame(&copies, "after a restart")
        try copies.meet()
        try load(&copies.master, &random, rounds: 10)
        try copies.master.compactAll(now: &now)
        try copies.settle(now: &now)
        try expectSame(&copies)
    }

    @Test("What compaction puts in the place of segments follows beside the log")
    func live() throws {
        var random = SeededRandom(seed: 2)
        var now = start
        var copies = try Copies.make(compactingOptions())
        for round in 0..<8 {
            try load(&copies.master, &random, rounds: 6)
            try copies.sendAll()
            try copies.master.requestCompaction(time: now)
            try copies.settle(now: &now)
            try expectSame(&copies, "round \(round)")
            let done = copies.replica.replacementCounts.done
            #expect(done > 0)
        }
        try copies.reopenReplica()
        try expectSame(&copies)
        #expect(try copies.replica.promote(time: 9) == 2)
        try copies.replica.set(bytes("new"), [1])
        try copies.replica.commit(sync: true)
        try copies.replica.compactAll(now: &now)
        let model = try copies.replica.everything()
        var again = try LogEngine.open(copies.disks.1, copies.options)
        #expect(try again.everything() == model && again.report.damageCount == 0)
    }

    @Test("A replica that was away while its last segment was compacted gives that up, and nothing else")
    func away() throws {
        var random = SeededRandom(seed: 3)
        var now = start
        var copies = try Copies.make(compactingOptions())
        try load(&copies.master, &random, rounds: 10)
        try copies.sendAll()
        for round in 0..<6 {
            try load(&copies.master, &random, rounds: 1 + random.below(8))
            try copies.master.compactAll(now: &now)
            try load(&copies.master, &random, rounds: random.below(3))
            if random.chance(50) { try copies.reopenReplica() }
            try copies.meet()
            try copies.settle(now: &now)
            try expectSame(&copies, "round \(round)")
        }
    }

    /// Everything that happens to logs, in an order that the seed decides.
    struct Steps {
        var random: SeededRandom
        var now: UInt64 = 1_700_000_000_000_000_000
        var made = 0
        /// Whether namespaces of all modes are made, and settings changed.
        var isFull = true

        mutating func write(_ engine: inout LogEngine) throws {
            for _ in 0..<(1 + random.below(12)) {
                let names = engine.namespaceNames
                let id = engine.namespace(named: names[random.below(names.count)]) ?? 1
                let key = bytes("key-\(random.below(30))")
                let value = random.bytes(random.chance(10) ? random.below(4000) : random.below(300))
                do throws(LogError) {
                    switch random.below(40) {
                    case 0: try engine.flush(id, time: now)
                    case 1 where id != 1: try engine.removeNamespace(id, wipes: random.chance(50), time: now)
                    case 2 where names.count < 5:
                        made += 1
                        var settings = NamespaceSettings()
                        settings.mode =
                            [NamespaceMode.user, NamespaceMode.ordered, NamespaceMode.sequential][
                                random.below(3)]
                        settings.history = random.chance(50) ? .none : .all
                        _ = try engine.createNamespace(bytes("ns-\(made)"), settings, time: now)
                    case 3 where isFull:
                        guard var settings = engine.information(id)?.settings else { break }
                        settings.history = random.chance(70) ? .none : .last(3)
                        try engine.changeNamespace(id, settings, time: now)
                    case 4: try engine.fence(id, epoch: 0, time: now)
                    case 5..<12:
                        try engine.delete(
                            engine.isSequential(id) ? [UInt8(random.below(12)), 0, 0, 0, 0, 0, 0, 0] : key,
                            namespace: id)
                    default:
                        if engine.isSequential(id), random.chance(50) {
                            var failure: LogError?
                            let time = now
                            value.withUnsafeBytes { bytes in
                                do throws(LogError) { _ = try engine.add(id, bytes, time: time) } catch {
                                    failure = error
                                }
                            }
                            if let failure { throw failure }
                        } else {
                            try engine.set(
                                engine.isSequential(id) ? [UInt8(random.below(12)), 0, 0, 0, 0, 0, 0, 0] : key,
                                value, namespace: id)
                        }
                    }
                } catch .absent {} catch .unknownId {} catch .namespaceExists {}
            }
            try engine.commit(sync: true)
        }

        mutating func maintain(_ engine: inout LogEngine, _ slices: Int) {
            for _ in 0..<slices {
                now += 1_000_000_000
                if !engine.maintain(now: now, budget: 1024 << random.below(6)) { return }
            }
        }
    }

    @Test("Cuts, crashes and restarts of either side while compaction runs: the copies are the same", arguments: 0..<4)
    func crashes(group: Int) {
        for number in 0..<40 {
            let seed = ModelTests.firstSeed + UInt64(group * 40 + number)
            do { try run(seed: seed, isFull: false) } catch { Issue.record("seed \(seed): \(error)") }
        }
    }

    @Test("So they are with namespaces of every mode and changes of settings", arguments: 0..<4)
    func crashesOfAll(group: Int) {
        for number in 0..<40 {
            let seed = ModelTests.firstSeed + UInt64(group * 40 + number)
            do { try run(seed: seed, isFull: true) } catch { Issue.record("seed \(seed): \(error)") }
        }
    }

    private func run(seed: UInt64, isFull: Bool) throws {
        var steps = Steps(random: SeededRandom(seed: seed), isFull: isFull)
        var copies = try Copies.make(compactingOptions(16384 + 4096 * steps.random.below(3)))
        for _ in 0..<(4 + steps.random.below(6)) {
            let isMasters = steps.random.chance(40)
            let disk = isMasters ? copies.disks.0 : copies.disks.1
            if steps.random.chance(60) { disk.operationsBeforeCrash = 1 + steps.random.below(120) }
            do { try some(&copies, &steps) } catch {
                // What a crash leaves behind in the process that died of it is no error.
                if !disk.isCrashed { throw error }
            }
            if disk.isCrashed || steps.random.chance(30) {
                steps.random.chance(70) ? disk.crash(&steps.random) : disk.kill()
                disk.restart()
                if isMasters {
                    copies.master = try LogEngine.open(disk, copies.options)
                } else {
                    copies.replica = try LogEngine.open(disk, copies.follows)
                }
            }
            disk.operationsBeforeCrash = nil
            // What was not ended is ended by the next slices, as a server does before it connects again.
            steps.maintain(&copies.replica, 4)
            try copies.meet()
        }
        try copies.settle(now: &steps.now)
        try expectSame(&copies, "seed \(seed)")
        try copies.reopenReplica()
        try expectSame(&copies, "seed \(seed), after a restart")
        try copies.meet()
        try steps.write(&copies.master)
        try copies.master.requestCompaction(time: steps.now)
        try copies.settle(now: &steps.now)
        try expectSame(&copies, "seed \(seed), later")
        // What the master let go is gone here as well, and it becomes a master.
        _ = try copies.replica.promote(time: steps.now)
        try copies.replica.set(bytes("new"), [1])
        try copies.replica.commit(sync: true)
        try copies.replica.compactAll(now: &steps.now)
        let model = try contents(&copies.replica, 1)
        var again = try LogEngine.open(copies.disks.1, copies.options)
        let found = try contents(&again, 1)
        #expect(found == model && again.report.damageCount == 0, "seed \(seed), as master")
    }

    private func some(_ copies: inout Copies, _ steps: inout Steps) throws {
        for _ in 0..<steps.random.below(60) {
            do {
                switch steps.random.below(8) {
                case 0, 1: try steps.write(&copies.master)
                case 2: try copies.send(steps.random.below(20_000))
                case 3: try copies.arrive(steps.random.below(30_000))
                case 4:
                    if steps.random.chance(20) { try copies.master.requestCompaction(time: steps.now) }
                    steps.maintain(&copies.master, steps.random.below(12))
                case 5: try copies.tend(now: &steps.now, slices: steps.random.below(6))
                case 6: copies.tell()
                default: if steps.random.chance(15) { try copies.meet() }
                }
            } catch ReplicaRefusal.moved { try copies.meet() } catch ReplicaFailure.busy { try copies.meet() }
        }
    }

    @Test("WIPE: no byte of the namespace's values is left on the replica's disk")
    func wipe() throws {
        var copies = try Copies.make(compactingOptions(history: .all))
        var now = start
        let secret = try copies.master.createNamespace(bytes("secret"), NamespaceSettings(), time: 1)
        let mark = bytes("THIS-MUST-NOT-STAY")
        for number in 0..<200 {
            try copies.master.set(bytes("k\(number)"), mark + [UInt8](repeating: 1, count: 150), namespace: secret)
            if number % 10 == 0 { try copies.master.set(bytes("k\(number)"), [2]) }
            try copies.master.commit(sync: true)
        }
        try copies.sendAll()
        #expect(copies.disks.1.holdsAnywhere(mark))
        try copies.master.removeNamespace(secret, wipes: true, time: now)
        try copies.settle(now: &now)
        #expect(!copies.disks.0.holdsAnywhere(mark) && !copies.disks.1.holdsAnywhere(mark))
        try expectSame(&copies)
    }

    @Test("A former master that compacted by itself takes the new one's segments, and gives up only its tail")
    func formerMaster() throws {
        var random = SeededRandom(seed: 6)
        var now = start
        var copies = try Copies.make(compactingOptions())
        try load(&copies.master, &random, rounds: 12)
        try copies.sendAll()
        // What the new master never gets, on which the former one's compaction decides.
        try load(&copies.master, &random, rounds: 3)
        try copies.master.compactAll(now: &now)
        _ = try copies.replica.promote(time: 5)
        try load(&copies.replica, &random, rounds: 2, keys: 5)
        #expect(try copies.master.supersede(by: 2))
        try copies.master.follow()
        // They change their places.
        var swapped = Copies(
            disks: (copies.disks.1, copies.disks.0), options: copies.options,
            master: try LogEngine.open(copies.disks.1, copies.options),
            replica: try LogEngine.open(copies.disks.0, copies.follows),
            sender: ReplicaSender(having: [], at: nil))
        var fork: LogPosition?
        do { try swapped.meet() } catch ReplicaRefusal.diverged(let place) { fork = place }
        let place = try #require(fork)
        #expect(try swapped.replica.isWithoutChanges(behind: place) == false)
        try swapped.replica.discard(behind: place)
        try swapped.reopenReplica()
        #expect(swapped.replica.isIncomplete == true || swapped.replica.segmentCount == 0)
        try swapped.meet()
        try swapped.settle(now: &now)
        try expectSame(&swapped)
    }
}
