import Simulation
import Testing

@testable import LogEngine

/// A master and a replica on disks of their own, and the stream between them.
struct Copies: ~Copyable {
    let disks: (SimulatedDisk, SimulatedDisk)
    let options: LogOptions
    var master: LogEngine
    var replica: LogEngine
    var sender: ReplicaSender
    var receiver = ReplicaReceiver()
    /// Bytes that are on their way.
    var stream: [UInt8] = []
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 16)

    deinit { buffer.deallocate() }

    static func make(_ options: LogOptions = smallOptions(16384)) throws -> Copies {
        let disks = (SimulatedDisk(), SimulatedDisk())
        var follows = options
        follows.follows = true
        let master = try LogEngine.open(disks.0, options)
        let replica = try LogEngine.open(disks.1, follows)
        let sender = try master.beginSending(device: nil, epoch: 0, inventory: [])
        return Copies(disks: disks, options: options, master: master, replica: replica, sender: sender)
    }

    init(
        disks: (SimulatedDisk, SimulatedDisk), options: LogOptions, master: consuming LogEngine,
        replica: consuming LogEngine, sender: ReplicaSender
    ) {
        (self.disks, self.options, self.sender) = (disks, options, sender)
        self.master = master
        self.replica = replica
    }

    /// The connection is made again, as after a break.
    mutating func connect() throws {
        stream = []
        receiver = ReplicaReceiver()
        let inventory = try SegmentSummary.encode(replica.inventory()).withUnsafeBytes { SegmentSummary.decode($0) }
        sender = try master.beginSending(
            device: replica.segmentCount == 0 ? nil : replica.device, epoch: replica.epoch, inventory: inventory ?? [])
    }

    /// The master puts what there is on its way, up to so many bytes.
    mutating func send(_ room: Int = 1 << 20) throws {
        let count = try sender.fill(master, buffer, room: max(room, ReplicaSender.roomMin))
        stream += UnsafeRawBufferPointer(start: buffer, count: count)
    }

    /// So many bytes arrive.
    mutating func arrive(_ count: Int = .max) throws {
        let count = min(count, stream.count)
        var used = 0
        try stream.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            used = try receiver.consume(&replica, base, count)
        }
        stream.removeFirst(used)
        try replica.commit(sync: true)
    }

    mutating func sendAll() throws {
        for _ in 0..<1000 {
            let before = (sender.segment, sender.offset)
            try send()
            try arrive()
            if stream.isEmpty, before == (sender.segment, sender.offset) { return }
        }
        Issue.record("the replica never has everything")
    }

    /// Whether both have the same segments with the same records; reserved space behind the last one apart.
    func areEqual() throws -> Bool {
        func segments(_ disk: SimulatedDisk) throws -> [String: [UInt8]] {
            var result: [String: [UInt8]] = [:]
            for name in try disk.list() where name.hasSuffix(".segment") {
                var bytes = disk.bytes(of: name)
                while bytes.count > 4096, bytes.last == 0 { bytes.removeLast() }
                result[name] = bytes
            }
            return result
        }
        return try segments(disks.0) == segments(disks.1)
    }
}

@Suite("Log engine: replicas")
struct ReplicaTests {
    func write(_ engine: inout LogEngine, _ random: inout SeededRandom, _ count: Int) throws {
        for _ in 0..<count {
            let key = bytes("key-\(random.below(40))")
            switch random.below(12) {
            case 0: do throws(LogError) { try engine.delete(key) } catch .absent {}
            case 1:
                let items = (0..<(2 + random.below(4))).map { _ in
                    (bytes("key-\(random.below(40))"), random.bytes(random.below(900)))
                }
                try engine.beginBatch(
                    1, count: items.count, bytes: items.reduce(0) { $0 + $1.0.count + $1.1.count }, time: 1)
                for item in items { try engine.set(item.0, item.1) }
            case 2 where random.chance(20):
                try engine.fence(1, epoch: 0, time: 2)
                let name = bytes("ns-\(random.below(5))")
                do throws(LogError) {
                    _ = try engine.createNamespace(name, NamespaceSettings(), time: 3)
                } catch .namespaceExists {}
            default: try engine.set(key, random.bytes(random.chance(10) ? random.below(5000) : random.below(200)))
            }
            if random.chance(30) { try engine.commit(sync: true) }
        }
        try engine.commit(sync: true)
    }

    @Test("An empty device becomes a copy, follows, and serves reads but no writes")
    func copy() throws {
        var random = SeededRandom(seed: 1)
        var copies = try Copies.make()
        try write(&copies.master, &random, 300)
        #expect(copies.master.segmentCount > 2)
        try copies.sendAll()
        #expect(try copies.areEqual())
        #expect(try copies.replica.everything() == copies.master.everything())
        #expect(throws: LogError.refused(.replica)) { try copies.replica.set(bytes("a"), [1]) }
        #expect(throws: LogError.refused(.replica)) {
            _ = try copies.replica.createNamespace(bytes("n"), NamespaceSettings(), time: 1)
        }
        for _ in 0..<50 {
            try write(&copies.master, &random, 3)
            try copies.sendAll()
            #expect(try copies.replica.everything() == copies.master.everything())
        }
        #expect(copies.replica.nextSequence == copies.master.nextSequence)
        #expect(copies.replica.namespaceNames == copies.master.namespaceNames)
        #expect(copies.replica.needsMark == false)
        try copies.master.close(time: 9)
        try copies.sendAll()
        try copies.replica.close(time: 9)
        #expect(try copies.areEqual())
        let name = Format.name(segment: 1)
        #expect(copies.disks.0.bytes(of: name) == copies.disks.1.bytes(of: name))
    }

    @Test("Damaged, missing and repeated bytes of the stream are never taken")
    func damagedStream() throws {
        var random = SeededRandom(seed: 2)
        var copies = try Copies.make()
        try write(&copies.master, &random, 200)
        var refusals = 0
        for _ in 0..<200 {
            try copies.connect()
            try copies.send(3000)
            guard !copies.stream.isEmpty else { break }
            let at = random.below(copies.stream.count)
            switch random.below(3) {
            case 0: copies.stream[at] ^= UInt8(1 << random.below(8))
            case 1: copies.stream.remove(at: at)
            default: copies.stream.insert(contentsOf: copies.stream.prefix(at), at: at)
            }
            do { try copies.arrive() } catch is ReplicaFailure { refusals += 1 }
        }
        #expect(refusals > 50)
        try copies.connect()
        try copies.sendAll()
        #expect(try copies.areEqual())
    }

    /// Cuts, slow links and crashes of either side after any step; what is left is one log.
    @Test("After cuts and crashes of either side the copies are the same", arguments: 0..<8)
    func crashes(group: Int) {
        for number in 0..<60 {
            let seed = ModelTests.firstSeed + UInt64(group * 60 + number)
            do { try run(seed: seed) } catch { Issue.record("seed \(seed): \(error)") }
        }
    }

    func run(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var copies = try Copies.make(smallOptions(16384 + 4096 * random.below(4)))
        var follows = copies.options
        follows.follows = true
        for _ in 0..<(3 + random.below(5)) {
            let isMasters = random.chance(40)
            let disk = isMasters ? copies.disks.0 : copies.disks.1
            if random.chance(70) { disk.operationsBeforeCrash = 1 + random.below(40) }
            do {
                for _ in 0..<random.below(30) {
                    switch random.below(4) {
                    case 0: try write(&copies.master, &random, 1 + random.below(4))
                    case 1: try copies.send(random.below(20_000))
                    case 2: try copies.arrive(random.below(20_000))
                    default: if random.chance(20) { try copies.connect() }
                    }
                }
            } catch LogError.disk(.crashed) {
            } catch ReplicaFailure.log(.disk(.crashed)) {
            } catch ReplicaRefusal.failed(.disk(.crashed)) {
            } catch LogError.readOnly {
                // The turn that the crash broke was noted as failed before its end.
                #expect(disk.isCrashed, "seed \(seed): read-only without a crash")
            } catch ReplicaFailure.log(.readOnly) {
                #expect(disk.isCrashed, "seed \(seed): read-only without a crash")
            }
            if disk.isCrashed || random.chance(50) {
                random.chance(70) ? disk.crash(&random) : disk.kill()
                disk.restart()
                if isMasters {
                    copies.master = try LogEngine.open(disk, copies.options)
                } else {
                    copies.replica = try LogEngine.open(disk, follows)
                }
            }
            disk.operationsBeforeCrash = nil
            try copies.connect()
        }
        try copies.sendAll()
        #expect(try copies.areEqual(), "seed \(seed): the copies differ")
        let (ours, theirs) = (try copies.master.everything(), try copies.replica.everything())
        #expect(ours == theirs, "seed \(seed): the indexes differ")
        #expect(copies.replica.report.damageCount == 0 && copies.master.report.damageCount == 0, "seed \(seed): damage")
    }

    @Test("A promoted replica writes on under a higher epoch; the former master refuses and follows after a cut")
    func promotion() throws {
        var random = SeededRandom(seed: 4)
        var copies = try Copies.make()
        try write(&copies.master, &random, 100)
        try copies.sendAll()
        let last = copies.replica.nextSequence
        // Written, but not sent.
        try copies.master.set(bytes("lost"), [1])
        try copies.master.commit(sync: true)
        #expect(try copies.replica.promote(time: 5) == 2)
        let number = try copies.replica.set(bytes("new"), [2])
        try copies.replica.commit(sync: true)
        #expect(number > last + 1000 && copies.replica.epoch == 2 && copies.replica.role == .master)
        // The former master is told, and remembers it.
        #expect(try copies.master.supersede(by: 2))
        #expect(throws: LogError.refused(.superseded(epoch: 2))) { try copies.master.set(bytes("a"), [1]) }
        copies.master = try LogEngine.open(copies.disks.0, copies.options)
        #expect(throws: LogError.refused(.superseded(epoch: 2))) { try copies.master.set(bytes("a"), [1]) }
        #expect(copies.master.role == .superseded && copies.master.needsMark == false)
        // The promoted one stays what it is when it is opened again.
        copies.replica = try LogEngine.open(copies.disks.1, copies.options)
        #expect(copies.replica.role == .master && copies.replica.epoch == 2)
        #expect(copies.replica.report.damageCount == 0)
        // It becomes the other's replica, but holds what the other does not.
        try copies.master.follow()
        let inventory = try copies.master.inventory()
        var fork: LogPosition?
        do {
            _ = try copies.replica.beginSending(
                device: copies.master.device, epoch: copies.master.epoch, inventory: inventory)
        } catch ReplicaRefusal.diverged(let position) { fork = position }
        let position = try #require(fork)
        #expect(try copies.master.isWithoutChanges(behind: position) == false)
        try copies.master.discard(behind: position)
        var follows = copies.options
        follows.follows = true
        copies.master.closeFiles()
        copies.master = try LogEngine.open(copies.disks.0, follows)
        try follow(&copies.master, &copies.replica)
        #expect(try copies.areEqual())
        #expect(try copies.master.everything() == copies.replica.everything())
        #expect(try copies.master.get(bytes("lost")) == nil && copies.master.get(bytes("new")) == [2])
    }

    @Test("A promoted replica that is started again before it wrote gives no number that the former master gave")
    func numbersAfterPromotion() throws {
        var random = SeededRandom(seed: 6)
        var copies = try Copies.make()
        try write(&copies.master, &random, 20)
        try copies.sendAll()
        // Written and answered, but not sent.
        let seen = try copies.master.set(bytes("lost"), [1])
        try copies.master.commit(sync: true)
        _ = try copies.replica.promote(time: 5)
        copies.replica = try LogEngine.open(copies.disks.1, copies.options)
        #expect(try copies.replica.set(bytes("new"), [2]) > seen + 1000)
    }

    /// One goes on from where it is with what the other has.
    func follow(_ target: inout LogEngine, _ source: inout LogEngine) throws {
        var sender = try source.beginSending(
            device: target.device, epoch: target.epoch, inventory: try target.inventory())
        var receiver = ReplicaReceiver()
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        while true {
            let count = try sender.fill(source, buffer, room: 1 << 20)
            if count == 0 { break }
            #expect(try receiver.consume(&target, buffer, count) == count)
            try target.commit(sync: true)
        }
    }

    @Test("A replica of a higher epoch ends the lower one's mastery; of another device it is refused")
    func refusals() throws {
        var random = SeededRandom(seed: 5)
        var copies = try Copies.make()
        try write(&copies.master, &random, 20)
        #expect(throws: ReplicaRefusal.superseded(epoch: 7)) {
            _ = try copies.master.beginSending(device: copies.master.device, epoch: 7, inventory: [])
        }
        #expect(throws: ReplicaRefusal.foreign) {
            _ = try copies.master.beginSending(device: [1], epoch: 1, inventory: [])
        }
        #expect(SegmentSummary.decode(.init(start: nil, count: 0))?.isEmpty == true)
    }

    @Test("The file of the role is whole or as before at every crash")
    func role() throws {
        for step in 1..<30 {
            var random = SeededRandom(seed: UInt64(step))
            let disk = SimulatedDisk(sectorBytes: 64)
            var file = RoleFile()
            disk.operationsBeforeCrash = step
            var stored: UInt64 = 0
            var tried: UInt64 = 0
            do {
                while true {
                    tried += 1
                    (file.role, file.epoch) = (.superseded, tried)
                    try file.store(disk)
                    stored = tried
                }
            } catch LogError.disk(.crashed) {}
            disk.crash(&random)
            disk.restart()
            let found = try RoleFile.load(disk)
            #expect(found.epoch == stored || found.epoch == tried, "step \(step)")
            #expect(!found.isDamaged, "step \(step)")
        }
    }
}
