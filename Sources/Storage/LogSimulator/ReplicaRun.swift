import LogEngine
import Simulation

/// A master and its replicas over a network that cuts, delays, reorders and damages, on machines that die at any
/// operation; clients are answered when so many replicas have what they wrote, and an operator promotes.
final class ReplicaRun {
    /// A write that was committed and whose client waits.
    struct Waiting {
        let node: Int
        let last: UInt64
        let writes: [Write]
    }

    struct Write {
        let sequence: UInt64
        let key: Int
        let value: [UInt8]?
    }

    let seed: UInt64
    var random: SeededRandom
    var network: SimulatedNetwork
    var nodes: [ReplicaNode] = []
    var links: [ReplicaLink] = []
    var nextLink: UInt64 = 1
    let replicaCount: Int
    /// Replicas that must have a write before its client is answered.
    let required: Int
    let options: LogOptions
    /// The highest epoch that the operator gave, and the master that he knows.
    var epoch: UInt64 = 1
    var current = 0
    /// A device whose promotion was begun and did not end well: no other may be promoted.
    var unfinished: Int?
    var waiting: [Waiting] = []
    var acknowledged: [Write] = []
    var tried: [UInt64: [Write]] = [:]
    /// Numbers of records that belong together.
    var batches: [[UInt64]] = []
    var now: UInt64 = 1_700_000_000_000_000_000
    let isTraced: Bool
    let damages: Bool
    var counts = SimulationCounts()
    var trace: [String] = []

    init(seed: UInt64, options: LogOptions, isTraced: Bool) {
        (self.seed, self.isTraced) = (seed, isTraced)
        random = SeededRandom(seed: seed ^ 0x5eed_0f_c0_91_e5)
        network = SimulatedNetwork(random: random.fork())
        network.delayNanoseconds = 1_000...(random.chance(50) ? 50_000 : 2_000_000)
        if random.chance(30) { network.lossPercent = 2 }
        damages = random.chance(30)
        let replicas = 1 + random.below(2)
        let needed = 1 + random.below(replicas)
        var options = options
        options.segmentBytes = 16384 + 4096 * random.below(4)
        (options.reserveBytes, options.slackBytes, options.tablePages) = (4096, 512, 4)
        options.compactionRate = 0
        // A master that may lose what a replica has asks for the most advanced one to be promoted: any must be that.
        let isWeak = random.chance(30)
        options.policy = isWeak && needed == replicas ? .interval : .always
        options.fresh = (random.next(), random.next(), random.next())
        (self.options, required, replicaCount) = (options, needed, replicas)
    }

    func outcome() -> SimulationOutcome {
        var failure: String?
        do throws(Stop) { try run() } catch {
            if case .wrong(let what) = error { failure = what }
        }
        return SimulationOutcome(seed: seed, failure: failure, trace: trace, counts: counts)
    }

    private func run() throws(Stop) {
        say("\(replicaCount) replicas, \(required) required, policy \(options.policy)")
        do throws(LogError) {
            for number in 0...replicaCount {
                nodes.append(
                    try ReplicaNode(number, options, sectorBytes: random.chance(50) ? 512 : 64, time: now))
            }
        } catch { throw .wrong("a device could not be made: \(error)") }
        for _ in 0..<(60 + random.below(200)) { try step() }
        try calm()
        try judge()
    }

    private func step() throws(Stop) {
        now += UInt64(random.below(200_000))
        for node in nodes where node.disk.isCrashed { fall(node) }
        switch random.below(100) {
        case 0..<30: try write(random.chance(80) ? current : random.below(nodes.count))
        case 30..<55: try pump()
        case 55..<88: try deliver()
        case 88..<91: arm()
        case 91..<94: try restart()
        case 94..<96: disturb()
        default: try operate()
        }
        try connect()
    }

    /// Somebody's machine will die soon.
    private func arm() {
        let node = nodes[random.below(nodes.count)]
        if node.isUp { node.disk.operationsBeforeCrash = 1 + random.below(40) }
    }

    /// The network changes.
    private func disturb() {
        counts.faults += 1
        if random.chance(40) {
            network.heal()
            say("everybody reaches everybody")
        } else {
            let cut = random.below(nodes.count)
            network.partition([cut: 1])
            say("\(cut) is cut off")
        }
        if let link = links.randomElement(using: &random), random.chance(60) { end(link, "it broke") }
    }

    /// A machine died: what its clients wait for they never hear.
    func fall(_ node: ReplicaNode) {
        guard node.isUp else { return }
        counts.crashes += 1
        node.isUp = false
        waiting.removeAll { $0.node == node.number }
        for link in links where link.master == node.number || link.replica == node.number {
            end(link, "a machine died")
        }
        if random.chance(70) {
            say("\(node.number) lost power")
            node.disk.crash(&random)
        } else {
            say("\(node.number) was killed")
            node.disk.kill()
        }
    }

    private func restart() throws(Stop) {
        guard let node = nodes.filter({ !$0.isUp }).randomElement(using: &random) else { return }
        try start(node)
    }

    func start(_ node: ReplicaNode) throws(Stop) {
        node.disk.restart()
        counts.opens += 1
        do throws(LogError) {
            try node.open(time: now)
            say(
                "\(node.number) started: \(node.engine.role) epoch \(node.engine.epoch) next \(node.engine.nextSequence)"
            )
        } catch {
            if error == .disk(.crashed) { return }
            throw .wrong("device \(node.number) could not be opened: \(error)")
        }
        if node.engine.report.damageCount != 0 {
            throw .wrong("device \(node.number) is damaged: \(node.engine.report)")
        }
        guard node.engine.role == .master else { return }
        // A promotion that the operator did not hear of.
        if node.number != current, node.engine.epoch == epoch, epoch > 1 { settle(on: node) }
    }

    /// Everybody else gets his log from this one.
    func settle(on master: ReplicaNode) {
        current = master.number
        unfinished = nil
        master.upstream = nil
        for node in nodes where node.number != master.number {
            node.upstream = master.number
            if let link = node.link { end(link, "another master") }
        }
    }

    func end(_ link: ReplicaLink, _ why: String) {
        if link.isBroken { return }
        say("link \(link.id) of \(link.replica) to \(link.master) ended: \(why)")
        link.isBroken = true
        links.removeAll { $0.id == link.id }
        let node = nodes[link.replica]
        if node.link?.id == link.id { (node.link, node.input) = (nil, []) }
    }

    /// What an error of a device's engine means.
    func failed(_ node: ReplicaNode, _ error: LogError) throws(Stop) {
        if node.disk.isCrashed { return fall(node) }
        throw .wrong("device \(node.number): \(error)")
    }

    func say(_ line: @autoclosure () -> String) { if isTraced { trace.append(line()) } }
}
