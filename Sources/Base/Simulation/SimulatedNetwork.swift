/// Datagrams between numbered members with delay, loss, repetition and partitions, in the order that the seed decides.
public struct SimulatedNetwork: Sendable {
    /// One message on its way.
    public struct Message: Hashable, Sendable {
        /// Who sent it.
        public let source: Int
        /// Whom it is for.
        public let target: Int
        /// What it says.
        public let payload: [UInt8]

        /// A message as a member hands it to the network.
        public init(source: Int, target: Int, payload: [UInt8]) {
            (self.source, self.target, self.payload) = (source, target, payload)
        }
    }

    private struct Entry: Sendable {
        let due: UInt64
        let order: UInt64
        let message: Message
    }

    /// The shortest and longest time on the way.
    public var delayNanoseconds: ClosedRange<UInt64> = 100_000...5_000_000
    /// Messages of a hundred that vanish.
    public var lossPercent = 0
    /// Messages of a hundred that arrive twice.
    public var repeatPercent = 0

    private var random: SeededRandom
    private var waiting: [Entry] = []
    private var order: UInt64 = 0
    private var groups: [Int: Int] = [:]

    /// A network whose every choice comes from one generator.
    public init(random: SeededRandom) { self.random = random }

    /// Splits members into groups that cannot reach each other; members not named are in group 0.
    public mutating func partition(_ groups: [Int: Int]) { self.groups = groups }

    /// Everybody reaches everybody.
    public mutating func heal() { groups = [:] }

    /// Sends a message at a moment.
    public mutating func send(_ message: Message, at now: UInt64) {
        guard !random.chance(lossPercent) else { return }
        enqueue(message, now)
        if random.chance(repeatPercent) { enqueue(message, now) }
    }

    /// The moment of the next arrival.
    public var nextArrival: UInt64? { waiting.first?.due }

    /// Takes the next message that has arrived by now; what would cross a partition is lost.
    public mutating func receive(at now: UInt64) -> Message? {
        while let first = waiting.first, first.due <= now {
            waiting.removeFirst()
            if groups[first.message.source, default: 0] == groups[first.message.target, default: 0] {
                return first.message
            }
        }
        return nil
    }

    private mutating func enqueue(_ message: Message, _ now: UInt64) {
        let spread = delayNanoseconds.upperBound - delayNanoseconds.lowerBound
        let due = now + delayNanoseconds.lowerBound + (spread == 0 ? 0 : random.next(upperBound: spread + 1))
        order += 1
        let entry = Entry(due: due, order: order, message: message)
        let place = waiting.firstIndex { $0.due > due } ?? waiting.count
        waiting.insert(entry, at: place)
    }
}
