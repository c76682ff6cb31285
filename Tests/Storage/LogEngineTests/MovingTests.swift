import Simulation
import Testing

@testable import LogEngine

/// A namespace on one device, the one that follows it on another, and the stream between them.
struct Move: ~Copyable {
    let disks: (SimulatedDisk, SimulatedDisk)
    var source: LogEngine
    var target: LogEngine
    var sender: NamespaceSender
    var receiver: NamespaceReceiver
    let there: UInt32
    let here: UInt32
    var stream: [UInt8] = []
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 16)

    deinit { buffer.deallocate() }

    init(
        disks: (SimulatedDisk, SimulatedDisk), source: consuming LogEngine, target: consuming LogEngine,
        there: UInt32, here: UInt32
    ) {
        (self.disks, self.there, self.here) = (disks, there, here)
        self.source = source
        self.target = target
        sender = NamespaceSender(there, after: 0)
        receiver = NamespaceReceiver(here)
    }

    static func make(_ mode: UInt8) throws -> Move {
        let disks = (SimulatedDisk(), SimulatedDisk())
        var source = try LogEngine.open(disks.0, smallOptions(16384))
        var target = try LogEngine.open(disks.1, smallOptions(32768))
        var settings = NamespaceSettings()
        settings.mode = mode
        let there = try source.createNamespace(bytes("tenant"), settings, time: 1)
        let here = try target.follow(bytes("moved"), address: bytes("x:1"), source: bytes("tenant"), time: 1)
        var move = Move(disks: disks, source: source, target: target, there: there, here: here)
        try move.connect()
        return move
    }

    /// The connection is made again, as after a break.
    mutating func connect() throws {
        stream = []
        receiver = NamespaceReceiver(here)
        let following = target.following(here)
        sender = try source.beginSending(namespace: bytes("tenant"), to: try #require(following))
        let isSame = try target.meet(here, device: source.device, namespace: there, time: 1)
        #expect(isSame)
    }

    mutating func send(_ room: Int = 1 << 16, budget: Int = 1 << 16) throws {
        var budget = budget
        var count = try sender.fill(&source, buffer, room: max(room, NamespaceSender.roomMin), budget: &budget)
        count += sender.position(source, time: 7, buffer + count)
        stream += UnsafeRawBufferPointer(start: buffer, count: count)
    }

    mutating func arrive(_ count: Int = .max) throws {
        let count = min(count, stream.count)
        var used = 0
        try stream.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            used = try receiver.consume(&target, base, count, sync: true, time: 1_700_000_000_000_000_500)
        }
        stream.removeFirst(used)
    }

    /// One part more, from end to end.
    mutating func pass() throws(LogError) {
        var budget = 4000
        let count = try sender.fill(&source, buffer, room: NamespaceSender.roomMin, budget: &budget)
        stream += UnsafeRawBufferPointer(start: buffer, count: count)
        do { try arrive() } catch { Issue.record("\(error)") }
    }

    mutating func all() throws {
        for _ in 0..<2000 {
            try send()
            try arrive()
            if !sender.isBehind(source), stream.isEmpty { return }
        }
        Issue.record("what follows never has everything")
    }

    /// Versions of a key, oldest first: time, value (nil: deleted), number.
    static func history(
        _ engine: inout LogEngine, _ namespace: UInt32, _ key: [UInt8]
    ) throws -> [(time: UInt64, value: [UInt8]?, sequence: UInt64)] {
        var found: [(time: UInt64, value: [UInt8]?, sequence: UInt64)] = []
        try key.withUnsafeBytes { key in
            var next = try engine.version(namespace, key, before: nil)
            while let version = next {
                var value = [UInt8](repeating: 0, count: version.valueLength + 1)
                try value.withUnsafeMutableBytes { bytes in
                    try engine.readVersion(version, namespace, key, into: try #require(bytes.baseAddress))
                }
                value.removeLast()
                found.append((version.time, version.isTombstone ? nil : value, version.sequence))
                next = try engine.older(version, namespace, key)
            }
        }
        return found.reversed()
    }

    /// Both sides have the same history of every key, and the numbers here are higher.
    mutating func compare(_ keys: [[UInt8]]) throws {
        for key in keys {
            let (one, two) = (
                try Self.history(&source, there, key), try Self.history(&target, here, key)
            )
            #expect(one.map(\.time) == two.map(\.time))
            #expect(one.map(\.value) == two.map(\.value))
            for (a, b) in zip(one, two) { #expect(b.sequence > a.sequence) }
        }
        let (one, two) = (source.information(there), target.information(here))
        #expect(one?.entries == two?.entries && one?.liveBytes == two?.liveBytes)
        #expect(one?.fence == two?.fence)
    }
}

@Suite("Log engine: namespaces that move")
struct MovingTests {
    static let keys = (0..<30).map { bytes("key-\($0)") }

    /// Writes of the tenant and of others, with times of their own.
    func write(_ move: inout Move, _ random: inout SeededRandom, _ count: Int, _ clock: inout UInt64) throws {
        for _ in 0..<count {
            clock += UInt64(random.below(1000))
            let key = Self.keys[random.below(Self.keys.count)]
            let isLarge = random.chance(5)
            let value = random.bytes(random.below(isLarge ? 6000 : 200))
            try key.withUnsafeBytes { key in
                try value.withUnsafeBytes { value in
                    switch random.below(10) {
                    case 0, 1:
                        do throws(LogError) { try move.source.delete(move.there, key, time: clock) } catch .absent {}
                    case 2: try move.source.set(1, key, value, time: clock)
                    case 3 where !isLarge:
                        try move.source.openBatch(move.there, count: 3, bytes: 3 * (value.count + 20), time: clock)
                        for _ in 0..<3 { try move.source.set(move.there, key, value, time: clock) }
                        move.source.closeBatch()
                    default: try move.source.set(move.there, key, value, time: clock)
                    }
                }
            }
            if random.chance(30) { try move.source.commit(sync: true) }
        }
        try move.source.commit(sync: true)
    }

    @Test(
        "All versions come with their times, whatever the mode", arguments: [NamespaceMode.user, NamespaceMode.ordered])
    func everything(mode: UInt8) throws {
        var random = SeededRandom(seed: UInt64(mode))
        var clock: UInt64 = 1_600_000_000_000_000_000
        var move = try Move.make(mode)
        try write(&move, &random, 400, &clock)
        let segments = move.source.segmentCount
        #expect(segments > 3)
        try move.all()
        try move.compare(Self.keys)
        Self.refuses(&move, .refused(.following))
        try move.source.fence(move.there, epoch: 5, time: clock)
        try move.all()
        let position = move.receiver.position
        #expect(position?.isComplete == true && position?.fence == 5)
        try move.target.endFollowing(move.here, time: 3)
        try move.compare(Self.keys)
        Self.refuses(&move, .fenced(epoch: 5))
        try move.target.set(bytes("a"), [1], epoch: 5, namespace: move.here)
        try move.target.commit(sync: true)
        try move.target.close(time: 9)
        move.target = try LogEngine.open(move.disks.1, smallOptions(32768))
        let versions = try Move.history(&move.target, move.here, Self.keys[3]).map(\.time)
        let wanted = try Move.history(&move.source, move.there, Self.keys[3]).map(\.time)
        let value = try move.target.get(bytes("a"), namespace: move.here)
        let damages = move.target.report.damageCount
        #expect(versions == wanted && value == [1] && damages == 0)
    }

    static func refuses(_ move: inout Move, _ wanted: LogError) {
        do throws(LogError) {
            try move.target.set(bytes("a"), [1], namespace: move.here)
            Issue.record("a write was taken")
        } catch { #expect(error == wanted) }
    }

    @Test("Ids of a sequential namespace stay what they were")
    func ids() throws {
        var move = try Move.make(NamespaceMode.sequential)
        var given: [[UInt8]] = []
        for number in 0..<700 {
            try [UInt8(number & 255)].withUnsafeBytes { value in
                let id = try move.source.add(move.there, value, time: UInt64(number)).id
                given.append((0..<8).map { UInt8(truncatingIfNeeded: id >> (8 * UInt64($0))) })
            }
            if number % 3 == 0 { try move.source.delete(given[number / 2], namespace: move.there) }
            try move.source.commit(sync: true)
            if number % 50 == 0 { try move.all() }
        }
        try move.all()
        try move.compare(given)
        try move.target.endFollowing(move.here, time: 3)
        let next = try [UInt8(1)].withUnsafeBytes { try move.target.add(move.here, $0, time: 9).id }
        #expect(next == 700)
        try move.target.commit(sync: true)
    }

    @Test("Damage at the source is left out and counted, not hidden")
    func damage() throws {
        var random = SeededRandom(seed: 9)
        var clock: UInt64 = 5
        var move = try Move.make(NamespaceMode.user)
        try write(&move, &random, 100, &clock)
        let newest = try move.source.newest(move.there)
        let found = move.source.place(of: newest)
        let place = try #require(found)
        let name = Format.name(segment: move.source.segments[place.position].number)
        move.disks.0.flip(name, at: Int(place.offset) + 64 + 10, mask: 1)
        try move.all()
        let (said, kept) = (move.receiver.position?.missing, move.target.following(move.here)?.missing)
        #expect(said == 1 && kept == 1)
    }

    @Test("Damaged and repeated bytes of the stream are never taken")
    func damagedStream() throws {
        var random = SeededRandom(seed: 2)
        var clock: UInt64 = 5
        var move = try Move.make(NamespaceMode.user)
        try write(&move, &random, 200, &clock)
        var refusals = 0
        for _ in 0..<100 {
            try move.connect()
            try move.send(9000, budget: 5000)
            let at = random.below(move.stream.count)
            switch random.below(3) {
            case 0: move.stream[at] ^= UInt8(1 << random.below(8))
            case 1: move.stream.remove(at: at)
            default: move.stream.insert(contentsOf: move.stream.prefix(at), at: at)
            }
            do { try move.arrive() } catch is FollowFailure { refusals += 1 }
        }
        #expect(refusals > 20)
        try move.connect()
        try move.all()
        try move.compare(Self.keys)
    }

    @Test("What compaction let go before it was sent is gone; what is there is right, and accounted for")
    func compaction() throws {
        var random = SeededRandom(seed: 11)
        var clock: UInt64 = 1_600_000_000_000_000_000
        var move = try Move.make(NamespaceMode.user)
        move.source.closeFiles()
        move.source = try LogEngine.open(move.disks.0, compactingOptions())
        let known = move.source.information(move.there)?.settings
        var settings = try #require(known)
        settings.history = .last(1)
        try move.source.changeNamespace(move.there, settings, time: clock)
        for round in 0..<12 {
            try write(&move, &random, 60, &clock)
            try move.send(6000, budget: 9000)
            try move.arrive(random.below(8000))
            // In the middle of a value, too.
            if round % 2 == 1 { try move.source.compactAll(now: &clock) }
            if round % 5 == 4 { try move.connect() }
            do throws(LogError) { try move.pass() } catch .absent { try move.connect() }
        }
        do throws(LogError) { for _ in 0..<400 { try move.pass() } } catch .absent { try move.connect() }
        try move.all()
        let (one, two) = (
            try move.source.everything(move.there), try move.target.everything(move.here)
        )
        #expect(one == two && one.count > 10)
        for key in Self.keys {
            let (short, long) = (
                try Move.history(&move.source, move.there, key), try Move.history(&move.target, move.here, key)
            )
            #expect(long.map(\.time).suffix(short.count) == short.map(\.time)[...])
        }
        let problem = move.target.checkAccounts()
        #expect(problem == nil)
        move.target.closeFiles()
        move.target = try LogEngine.open(move.disks.1, smallOptions(32768))
        let again = move.target.checkAccounts()
        #expect(again == nil)
    }

    /// Cuts and crashes of either side after any step: no version is missing, none is there twice.
    @Test("After cuts and crashes of either side the histories are the same", arguments: 0..<4)
    func crashes(group: Int) {
        for number in 0..<50 {
            let seed = ModelTests.firstSeed + UInt64(group * 50 + number)
            do { try run(seed: seed) } catch { Issue.record("seed \(seed): \(error)") }
        }
    }

    func run(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var clock: UInt64 = 1_600_000_000_000_000_000
        var move = try Move.make(random.chance(50) ? NamespaceMode.user : NamespaceMode.ordered)
        for _ in 0..<(3 + random.below(5)) {
            let isSource = random.chance(40)
            let disk = isSource ? move.disks.0 : move.disks.1
            if random.chance(70) { disk.operationsBeforeCrash = 1 + random.below(40) }
            do {
                for _ in 0..<random.below(30) {
                    switch random.below(4) {
                    case 0: try write(&move, &random, 1 + random.below(4), &clock)
                    case 1: try move.send(random.below(20_000), budget: random.below(20_000))
                    case 2: try move.arrive(random.below(20_000))
                    default: if random.chance(20) { try move.connect() }
                    }
                }
            } catch LogError.disk(.crashed) {
            } catch FollowFailure.log(.disk(.crashed)) {
            } catch LogError.readOnly {
                let isCrashed = disk.isCrashed
                #expect(isCrashed, "seed \(seed): read-only without a crash")
            } catch FollowFailure.log(.readOnly) {
                let isCrashed = disk.isCrashed
                #expect(isCrashed, "seed \(seed): read-only without a crash")
            }
            if disk.isCrashed || random.chance(50) {
                random.chance(70) ? disk.crash(&random) : disk.kill()
                disk.restart()
                if isSource {
                    move.source = try LogEngine.open(disk, smallOptions(16384))
                } else {
                    move.target = try LogEngine.open(disk, smallOptions(32768))
                }
            }
            disk.operationsBeforeCrash = nil
            try move.connect()
        }
        try move.all()
        try move.compare(Self.keys)
    }
}

extension LogEngine {
    /// The number of the newest version of any of the test's keys.
    fileprivate mutating func newest(_ namespace: UInt32) throws -> UInt64 {
        var newest: UInt64 = 0
        for key in MovingTests.keys {
            try key.withUnsafeBytes { newest = max(newest, try version(namespace, $0, before: nil)?.sequence ?? 0) }
        }
        return newest
    }
}
