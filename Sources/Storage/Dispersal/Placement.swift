internal import Crypto

/// A backend that shards may be placed on.
public struct PlaceCandidate: Sendable, Equatable {
    /// Its number.
    public let number: UInt16
    /// The machine it is on; unique over all farms.
    public let node: String
    /// The place that machine is in.
    public let farm: String
    /// Its share against others'.
    public let weight: Double
    /// Whether it takes shards now.
    public let hasRoom: Bool

    /// A candidate.
    public init(number: UInt16, node: String, farm: String, weight: Double, hasRoom: Bool = true) {
        (self.number, self.node, self.farm, self.weight, self.hasRoom) = (number, node, farm, weight, hasRoom)
    }
}

/// What may fall away without loss: any so many nodes; or all nodes of any so many farms.
public struct Promise: Sendable, Equatable {
    /// Nodes.
    public var nodes: Int
    /// Farms.
    public var farms: Int

    /// A promise.
    public init(nodes: Int, farms: Int) { (self.nodes, self.farms) = (nodes, farms) }
}

/// Where the shards of a stripe go: weighted rendezvous hashing, under a bound for each node and each farm that keeps the promise.
///
/// With m parity shards, any n nodes may go if none has more than m / n of a stripe's shards, and any f farms if none has more than m / f.
/// The bounds are sufficient, and a layout is possible exactly if the farms' bounds add up: nothing is enumerated.
public enum Placement {
    /// A choice of backends.
    public struct Choice: Sendable, Equatable {
        /// The backend of each shard; nil where none is left.
        public let shards: [UInt16?]
        /// Whether the promise is not kept: shards have no place, or a place beyond its bound.
        public let isDegraded: Bool
        /// Nodes and farms that may go, of those that hold shards now, and the data is still there.
        public let survivesNodes: Int, survivesFarms: Int
    }

    private static func bound(_ parity: Int, _ promised: Int, _ shards: Int) -> Int {
        promised > 0 ? parity / promised : shards
    }

    /// Throws where no placement on all candidates keeps the promise, and names the bound.
    public static func check(
        data: Int, parity: Int, promise: Promise, candidates: [PlaceCandidate]
    ) throws(DispersalError) {
        let shards = data + parity
        if promise.nodes > parity {
            throw .promiseTooHigh(
                "parity: \(promise.nodes) nodes are to be survived, and there are \(parity) parity shards")
        }
        if promise.farms > parity {
            throw .promiseTooHigh(
                "parity: \(promise.farms) farms are to be survived, and there are \(parity) parity shards")
        }
        let ofNode = bound(parity, promise.nodes, shards), ofFarm = bound(parity, promise.farms, shards)
        var nodes: [String: (farm: String, backends: Int)] = [:]
        for candidate in candidates { nodes[candidate.node, default: (candidate.farm, 0)].backends += 1 }
        var farms: [String: Int] = [:]
        var ofNodes = 0
        for node in nodes.values {
            let room = min(node.backends, ofNode)
            farms[node.farm, default: 0] += room
            ofNodes += room
        }
        if ofNodes < shards {
            throw .promiseTooHigh(
                "nodes: \(nodes.count) nodes with at most \(ofNode) shards each hold \(ofNodes), \(shards) are needed")
        }
        let ofFarms = farms.values.reduce(0) { $0 + min($1, ofFarm) }
        if ofFarms < shards {
            throw .promiseTooHigh(
                "farms: \(farms.count) farms with at most \(ofFarm) shards each hold \(ofFarms), \(shards) are needed")
        }
    }

    /// Chooses a backend for each shard that has none in `keeping`. First within the bounds; what then has no place goes wherever a
    /// backend is left that has no shard of the stripe, and the choice is degraded.
    public static func choose(
        stripe: [UInt8], data: Int, parity: Int, promise: Promise, candidates: [PlaceCandidate], keeping: [UInt16?]
    ) -> Choice {
        precondition(keeping.count == data + parity)
        var state = State(candidates: candidates, keeping: keeping)
        let order = ranked(stripe, candidates.filter { $0.hasRoom && !state.used.contains($0.number) })
        let ofNode = bound(parity, promise.nodes, keeping.count), ofFarm = bound(parity, promise.farms, keeping.count)
        var shards = keeping
        var open = shards.indices.filter { shards[$0] == nil }[...]
        // One for a node as long as there are nodes, then up to the bound. Where that is not enough the farms' bound is given up first: nodes
        // fail by themselves more often than farms do.
        let any = Int.max
        for (node, farm) in [(min(1, ofNode), ofFarm), (ofNode, ofFarm), (1, any), (ofNode, any), (any, any)] {
            for candidate in order where !open.isEmpty && state.take(candidate, node, farm) {
                shards[open.removeFirst()] = candidate.number
            }
        }
        let survives = survived(shards, data: data, candidates: candidates)
        let isDegraded = !open.isEmpty || survives.nodes < promise.nodes || survives.farms < promise.farms
        return Choice(
            shards: shards, isDegraded: isDegraded, survivesNodes: survives.nodes, survivesFarms: survives.farms)
    }

    /// What is taken of each node and farm.
    private struct State {
        var used = Set<UInt16>()
        private var nodes: [String: Int] = [:]
        private var farms: [String: Int] = [:]

        init(candidates: [PlaceCandidate], keeping: [UInt16?]) {
            used = Set(keeping.compactMap { $0 })
            for candidate in candidates where used.contains(candidate.number) { count(candidate) }
        }

        private mutating func count(_ candidate: PlaceCandidate) {
            nodes[candidate.node, default: 0] += 1
            farms[candidate.farm, default: 0] += 1
        }

        mutating func take(_ candidate: PlaceCandidate, _ ofNode: Int, _ ofFarm: Int) -> Bool {
            guard !used.contains(candidate.number), nodes[candidate.node, default: 0] < ofNode,
                farms[candidate.farm, default: 0] < ofFarm
            else { return false }
            used.insert(candidate.number)
            count(candidate)
            return true
        }
    }

    /// Candidates by their score for the stripe, best first: -weight / ln(u), u a hash of stripe and backend in (0, 1).
    private static func ranked(_ stripe: [UInt8], _ candidates: [PlaceCandidate]) -> [PlaceCandidate] {
        var seed: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in stripe { seed = mixed(seed ^ UInt64(byte)) }
        let scored = candidates.map { candidate -> (score: Double, candidate: PlaceCandidate) in
            let hash = mixed(seed ^ UInt64(candidate.number) &* 0x9e37_79b9_7f4a_7c15)
            let uniform = (Double(hash >> 11) + 0.5) / Double(UInt64(1) << 53)
            return (-max(candidate.weight, 1e-9) / logarithm(uniform), candidate)
        }
        return scored.sorted { $0.score != $1.score ? $0.score > $1.score : $0.candidate.number < $1.candidate.number }
            .map(\.candidate)
    }

    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// How many nodes, and how many farms, may go from a stripe whose shards are so placed.
    public static func survived(
        _ shards: [UInt16?], data: Int, candidates: [PlaceCandidate]
    ) -> (nodes: Int, farms: Int) {
        let placed = Set(shards.compactMap { $0 })
        var nodes: [String: Int] = [:]
        var farms: [String: Int] = [:]
        for candidate in candidates where placed.contains(candidate.number) {
            nodes[candidate.node, default: 0] += 1
            farms[candidate.farm, default: 0] += 1
        }
        let spare = nodes.values.reduce(0, +) - data
        func worst(_ counts: some Sequence<Int>) -> Int {
            var left = spare, number = 0
            for count in counts.sorted(by: >) {
                left -= count
                if left < 0 { break }
                number += 1
            }
            return number
        }
        return spare < 0 ? (-1, -1) : (worst(nodes.values), worst(farms.values))
    }
}
