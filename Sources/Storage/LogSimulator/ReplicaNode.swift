import LogEngine
import Simulation

/// One device among its copies: its disk, its engine, and whom it gets its log from.
final class ReplicaNode {
    let number: Int
    let disk: SimulatedDisk
    var options: LogOptions
    var engine: LogEngine
    var isUp = true
    /// The device that it is to follow; nil of a master.
    var upstream: Int?
    /// The connection to it.
    var link: ReplicaLink?
    var receiver = ReplicaReceiver()
    /// What came and was not taken yet.
    var input: [UInt8] = []
    var acknowledged: UInt64 = 0
    /// It was told of a higher epoch: its writes are refused from then on.
    var isSuperseded = false

    init(_ number: Int, _ options: LogOptions, sectorBytes: Int, time: UInt64) throws(LogError) {
        (self.number, self.options) = (number, options)
        self.options.follows = number > 0
        upstream = number > 0 ? 0 : nil
        disk = SimulatedDisk(sectorBytes: sectorBytes)
        engine = try LogEngine.open(disk: disk, options: self.options, time: time)
    }

    var isMaster: Bool { isUp && engine.role == .master }

    /// The device is opened after its machine or its process ended.
    func open(time: UInt64) throws(LogError) {
        options.follows = upstream != nil && engine.role == .replica
        engine = try LogEngine.open(disk: disk, options: options, time: time)
        (isUp, link, input, acknowledged) = (true, nil, [], 0)
        receiver = ReplicaReceiver()
    }

    /// What it has is cut, and it is opened again.
    func discard(behind place: LogPosition, time: UInt64) throws(LogError) {
        try engine.discard(behind: place)
        engine.closeFiles()
        options.follows = true
        engine = try LogEngine.open(disk: disk, options: options, time: time)
    }

    /// Makes durable what was received, and says up to where.
    func settle() throws(LogError) -> UInt64 {
        let received = engine.nextSequence - 1
        if engine.isPlanted(.acknowledgeReceived) { return received }
        try engine.commit(sync: true)
        return engine.durableSequence
    }

    /// Takes whole frames of what came.
    func take() throws(ReplicaFailure) {
        var used = 0
        var failure: ReplicaFailure?
        input.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(ReplicaFailure) { used = try receiver.consume(&engine, base, bytes.count) } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        input.removeFirst(used)
    }
}

/// A connection of a replica to a master: bytes in order both ways, or its end.
final class ReplicaLink {
    let id: UInt64
    let replica: Int
    let master: Int
    var sender: ReplicaSender?
    /// The next message that is sent, and the next that is taken, for each direction.
    var sent: [UInt64] = [0, 0]
    var taken: [UInt64] = [0, 0]
    /// Messages that overtook others.
    var early: [[UInt64: [UInt8]]] = [[:], [:]]
    /// What the replica says to have, durably.
    var acknowledged: UInt64 = 0
    var lastHeard: UInt64
    var isBroken = false
    /// Bytes of it were changed on the way.
    var isDamaged = false

    init(id: UInt64, replica: Int, master: Int, now: UInt64) {
        (self.id, self.replica, self.master, lastHeard) = (id, replica, master, now)
    }
}

/// What the two ends of a connection say to each other.
enum ReplicaMessage {
    case hello(device: [UInt8], epoch: UInt64, segments: [UInt8])
    case superseded
    case diverged(LogPosition)
    case accepted
    case frames([UInt8])
    case acknowledgement(UInt64)

    func bytes(_ link: UInt64, _ index: UInt64, _ direction: Int) -> [UInt8] {
        var result = Self.encode(link) + Self.encode(index) + [UInt8(direction)]
        switch self {
        case .hello(let device, let epoch, let segments):
            result += [0, UInt8(device.count)] + device + Self.encode(epoch) + segments
        case .superseded: result += [1]
        case .diverged(let place): result += [2] + Self.encode(place.segment) + Self.encode(place.offset)
        case .accepted: result += [3]
        case .frames(let bytes): result += [4] + bytes
        case .acknowledgement(let sequence): result += [5] + Self.encode(sequence)
        }
        return result
    }

    static func header(_ bytes: [UInt8]) -> (link: UInt64, index: UInt64, direction: Int) {
        (decode(bytes[0..<8]), decode(bytes[8..<16]), Int(bytes[16]))
    }

    init(body bytes: ArraySlice<UInt8>) {
        let at = bytes.startIndex + 1
        switch bytes.first {
        case 0:
            let count = Int(bytes[at])
            let epoch = at + 1 + count
            self = .hello(
                device: Array(bytes[at + 1..<epoch]), epoch: Self.decode(bytes[epoch..<epoch + 8]),
                segments: Array(bytes[(epoch + 8)...]))
        case 1: self = .superseded
        case 2:
            self = .diverged(
                LogPosition(segment: Self.decode(bytes[at..<at + 8]), offset: Self.decode(bytes[at + 8..<at + 16])))
        case 3: self = .accepted
        case 4: self = .frames(Array(bytes[at...]))
        default: self = .acknowledgement(Self.decode(bytes[at..<at + 8]))
        }
    }

    private static func encode(_ number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }

    private static func decode(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
