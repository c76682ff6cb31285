internal import Crypto
internal import Dispersal
internal import Linux
internal import ObjectIndex
internal import Objects
internal import Synchronization

/// Who there is to place shards on; as the log says, kept here for every stripe.
final class Layout: Sendable {
    private let state = Mutex<(backends: [Backend], policy: Policy?)>(([], nil))

    /// Takes over what the index says.
    func load(_ index: ObjectIndex) throws(ObjectError) {
        let (backends, policy) = try translate { () throws(IndexError) in
            try index.withReader { (view) throws(IndexError) in (try view.backends().map(\.backend), try view.policy())
            }
        }
        state.withLock { $0 = (backends, policy) }
    }

    var policy: Policy? { state.withLock { $0.policy } }
    var backends: [Backend] { state.withLock { $0.backends } }
}

/// Cuts stripes into shards and puts them on backends.
final class StripeWriter: Sendable {
    /// Milliseconds that shards may take.
    private static let patience: Int64 = 8000
    /// Milliseconds that are waited for the last shards once enough are there.
    private static let lingering: Int64 = 400

    let backends: any Backends
    let layout: Layout
    let health: Health
    let pins: Pins
    /// Called where a backend says that another gateway writes.
    private let wasFenced: @Sendable () -> Void

    init(
        _ backends: any Backends, _ layout: Layout, _ health: Health, _ pins: Pins,
        wasFenced: @escaping @Sendable () -> Void
    ) {
        (self.backends, self.layout, self.health, self.pins) = (backends, layout, health, pins)
        self.wasFenced = wasFenced
    }

    /// A stripe whose shards are on their way.
    struct Flight {
        let id: StripeID
        let code: ErasureCode
        let shape: StripeShape
        let policy: Policy
        let roots: [Digest]
        let buffer: Buffer
        let chunks: [Chunk]
        var shards: [UInt16?]
        let pending: any Pending
        let targets: [Int]
    }

    /// The name of a shard at its backend.
    static func name(_ stripe: StripeID, _ index: Int) -> [UInt8] {
        [UInt8(ascii: "s")] + stripe.bytes + [UInt8(truncatingIfNeeded: index)]
    }

    /// Room for a stripe of so many bytes and its parity.
    func buffer(length: Int, _ policy: Policy) -> Buffer {
        let shape = StripeShape(data: policy.k, parity: policy.m, length: length)
        return Buffer(capacity: shape.shardLength * (policy.k + policy.m))
    }

    /// Sends the shards of a stripe whose bytes are at the start of the buffer.
    func start(_ id: StripeID, _ buffer: Buffer, length: Int, chunks: [Chunk], _ policy: Policy) throws(ObjectError)
        -> Flight
    {
        let shape = StripeShape(data: policy.k, parity: policy.m, length: length)
        let code: ErasureCode
        do { code = try ErasureCode(data: policy.k, parity: policy.m) } catch { throw .refused("\(error)") }
        let size = shape.shardLength
        precondition(buffer.capacity >= size * (policy.k + policy.m) && length > 0)
        let padding = size * policy.k - length
        if padding > 0 { (buffer.base + length).initializeMemory(as: UInt8.self, repeating: 0, count: padding) }
        code.encode(
            (0..<policy.k).map { UnsafeRawPointer(buffer.base + $0 * size) },
            into: (0..<policy.m).map { buffer.base + (policy.k + $0) * size }, count: size)
        let roots = (0..<policy.k + policy.m).map { ShardRoot.of(buffer.slice($0 * size..<($0 + 1) * size)) }
        pins.begin(id)
        let choice = choose(id, policy, keeping: Array(repeating: nil, count: policy.k + policy.m), avoiding: [])
        let targets = choice.shards.indices.filter { choice.shards[$0] != nil }
        let requests = targets.compactMap { index in
            choice.shards[index].map { request($0, id, index, buffer, size) }
        }
        return Flight(
            id: id, code: code, shape: shape, policy: policy, roots: roots, buffer: buffer, chunks: chunks,
            shards: choice.shards, pending: backends.start(requests), targets: targets)
    }

    private func request(_ backend: UInt16, _ id: StripeID, _ index: Int, _ buffer: Buffer, _ size: Int) -> Request {
        .set(backend, Self.name(id, index), Payload(buffer, index * size..<(index + 1) * size))
    }

    /// Where shards go, by the promise of the policy.
    func choose(_ id: StripeID, _ policy: Policy, keeping: [UInt16?], avoiding: Set<UInt16>) -> Placement.Choice {
        let candidates = layout.backends.map { backend in
            PlaceCandidate(
                number: backend.number, node: backend.farm + "/" + backend.node, farm: backend.farm,
                weight: Double(backend.weight),
                hasRoom: backend.state == .active && !avoiding.contains(backend.number)
                    && health.takesShards(backend.number))
        }
        return Placement.choose(
            stripe: id.bytes, data: policy.k, parity: policy.m,
            promise: Promise(nodes: policy.surviveNodes, farms: policy.surviveFarms), candidates: candidates,
            keeping: keeping)
    }

    /// Waits until the shards are durable; where some are not, others take them.
    func settle(_ flight: Flight) throws(ObjectError) -> Stripe {
        let enough = min(flight.policy.k + flight.policy.margin, flight.policy.k + flight.policy.m)
        var shards = flight.shards
        var failed = Set<UInt16>()
        var problem = "no backend has room"
        func take(_ outcomes: [Outcome?], _ targets: [Int]) {
            for (index, outcome) in zip(targets, outcomes) {
                guard let backend = shards[index] else { continue }
                health.note(backend, outcome)
                if outcome?.isDone == true { continue }
                if !problem.hasPrefix("FENCED") { problem = outcome?.problem ?? "backend \(backend) is late" }
                failed.insert(backend)
                shards[index] = nil
            }
        }
        take(
            flight.pending.wait(milliseconds: Self.patience, lingering: Self.lingering) {
                $0.count(where: { $0?.isDone == true }) >= enough
            }, flight.targets)
        if shards.contains(nil) {
            let choice = choose(flight.id, flight.policy, keeping: shards, avoiding: failed)
            let targets = shards.indices.filter { shards[$0] == nil && choice.shards[$0] != nil }
            let requests = targets.compactMap { index in
                choice.shards[index].map { request($0, flight.id, index, flight.buffer, flight.shape.shardLength) }
            }
            for index in targets { shards[index] = choice.shards[index] }
            let done = shards.count(where: { $0 != nil }) - targets.count
            take(
                backends.perform(requests, milliseconds: Self.patience, lingering: Self.lingering) {
                    done + $0.count(where: { $0?.isDone == true }) >= enough
                }, targets)
        }
        let done = shards.count(where: { $0 != nil })
        guard done >= enough else {
            giveUp(flight)
            remove(flight.id, shards.map { $0 ?? Stripe.nowhere })
            if problem.hasPrefix("FENCED") {
                wasFenced()
                throw .notWriter("another gateway took over")
            }
            let reason = "\(done) of \(enough) shards could be placed: \(problem)"
            throw problem.hasPrefix("NOSPACE") || problem.hasPrefix("QUOTA") ? .full(reason) : .unavailable(reason)
        }
        return Stripe(
            id: flight.id, k: flight.policy.k, m: flight.policy.m, length: flight.shape.length,
            shardLength: flight.shape.shardLength, created: Clock.wallMilliseconds(),
            shards: shards.map { $0 ?? Stripe.nowhere }, roots: flight.roots, chunks: flight.chunks)
    }

    /// Removes what was sent of a stripe that nothing will be made of.
    func giveUp(_ flight: Flight) {
        remove(flight.id, flight.shards.map { $0 ?? Stripe.nowhere })
        pins.end(flight.id)
    }

    /// Asks for the removal of shards and does not wait: connections keep their order, so it comes after what is still on its way.
    func remove(_ id: StripeID, _ shards: [UInt16]) {
        _ = backends.start(
            shards.indices.filter { shards[$0] != Stripe.nowhere }.map { .delete(shards[$0], [Self.name(id, $0)]) })
    }
}
