internal import Crypto
internal import Dispersal
internal import Linux
internal import ObjectIndex
internal import Objects
internal import RESP

/// Reads ranges of stripes, from the shards that answer first, and whole shards that are verified.
final class StripeReader: Sendable {
    /// Milliseconds after which others are asked as well.
    private static let hedge: Int64 = 100
    /// Milliseconds that a read may take.
    private static let patience: Int64 = 10_000

    let backends: any Backends
    let health: Health

    init(_ backends: any Backends, _ health: Health) { (self.backends, self.health) = (backends, health) }

    /// A range of a stripe that was asked for.
    struct Flight {
        let stripe: Stripe
        let range: Range<Int>
        let parts: [(shard: Int, range: Range<Int>)]
        let pending: (any Pending)?
        /// Which of `parts` each request is for.
        let asked: [Int]
    }

    /// Asks the data shards that hold the range.
    func start(_ stripe: Stripe, _ range: Range<Int>) -> Flight {
        let shape = StripeShape(data: stripe.k, parity: stripe.m, length: stripe.length)
        let parts = shape.locate(range)
        let asked = parts.indices.filter { stripe.shards[parts[$0].shard] != Stripe.nowhere }
        let requests = asked.map { request(stripe, parts[$0].shard, parts[$0].range) }
        return Flight(
            stripe: stripe, range: range, parts: parts, pending: requests.isEmpty ? nil : backends.start(requests),
            asked: asked)
    }

    private func request(_ stripe: Stripe, _ shard: Int, _ range: Range<Int>) -> Request {
        let name = StripeWriter.name(stripe.id, shard)
        return range == 0..<stripe.shardLength
            ? .get(stripe.shards[shard], name) : .get(stripe.shards[shard], name, range)
    }

    /// The bytes of the range; not verified, that is what sealing is for. Nil where too few shards answer.
    func settle(_ flight: Flight) -> [UInt8]? {
        var bytes = [[UInt8]?](repeating: nil, count: flight.parts.count)
        if let pending = flight.pending {
            let first = pending.wait(milliseconds: Self.hedge, lingering: 0) { _ in false }
            if take(first, flight, &bytes) { return Self.joined(bytes) }
        }
        return rebuild(flight, &bytes)
    }

    /// One after the other, as blocks: `joined` goes byte by byte.
    private static func joined(_ parts: [[UInt8]?]) -> [UInt8] {
        var whole: [UInt8] = []
        whole.reserveCapacity(parts.reduce(0) { $0 + ($1?.count ?? 0) })
        for case let part? in parts { whole += part }
        return whole
    }

    /// Whether all parts are there.
    private func take(_ outcomes: [Outcome?], _ flight: Flight, _ bytes: inout [[UInt8]?]) -> Bool {
        for (part, outcome) in zip(flight.asked, outcomes) where bytes[part] == nil {
            if let outcome { health.note(flight.stripe.shards[flight.parts[part].shard], outcome) }
            if let value = outcome?.bytes, value.count == flight.parts[part].range.count { bytes[part] = value }
        }
        return bytes.allSatisfy { $0 != nil }
    }

    /// Asks the other shards for what the slow or lost ones have.
    private func rebuild(_ flight: Flight, _ bytes: inout [[UInt8]?]) -> [UInt8]? {
        let stripe = flight.stripe
        let lower = flight.parts.map(\.range.lowerBound).min() ?? 0,
            upper = flight.parts.map(\.range.upperBound).max() ?? 0
        let range = lower..<upper
        let whole = Set(
            flight.parts.indices.filter { bytes[$0] != nil && flight.parts[$0].range == range }.map {
                flight.parts[$0].shard
            })
        var shards = [[UInt8]?](repeating: nil, count: stripe.k + stripe.m)
        for part in flight.parts.indices where whole.contains(flight.parts[part].shard) {
            shards[flight.parts[part].shard] = bytes[part]
        }
        let slow = Set(flight.parts.indices.filter { bytes[$0] == nil }.map { flight.parts[$0].shard })
        let others = stripe.shards.indices.filter {
            stripe.shards[$0] != Stripe.nowhere && shards[$0] == nil && !slow.contains($0)
        }
        // The slow ones are asked again only where the others do not suffice.
        let targets =
            others
            + (whole.count + others.count < stripe.k
                ? slow.sorted().filter { stripe.shards[$0] != Stripe.nowhere } : [])
        let outcomes = backends.perform(targets.map { request(stripe, $0, range) }, milliseconds: Self.patience) {
            outcomes in
            whole.count + outcomes.count(where: { $0?.bytes?.count == range.count }) >= stripe.k
        }
        for (shard, outcome) in zip(targets, outcomes) {
            if let outcome { health.note(stripe.shards[shard], outcome) }
            if let value = outcome?.bytes, value.count == range.count { shards[shard] = value }
        }
        let missing = Set(flight.parts.map(\.shard)).filter { shards[$0] == nil }.sorted()
        guard let rebuilt = Self.rebuild(stripe, shards, missing, count: range.count) else { return nil }
        for (shard, value) in zip(missing, rebuilt) { shards[shard] = value }
        var result: [UInt8] = []
        result.reserveCapacity(flight.range.count)
        for part in flight.parts {
            guard let shard = shards[part.shard] else { return nil }
            result += shard[part.range.lowerBound - lower..<part.range.upperBound - lower]
        }
        return result
    }

    /// Missing shards (or the same range of them) from k others; nil where there are fewer.
    static func rebuild(_ stripe: Stripe, _ shards: [[UInt8]?], _ missing: [Int], count: Int) -> [[UInt8]]? {
        if missing.isEmpty { return [] }
        guard shards.count(where: { $0 != nil }) >= stripe.k,
            let code = try? ErasureCode(data: stripe.k, parity: stripe.m)
        else { return nil }
        let sources = shards.map { shard -> Buffer? in
            guard let shard else { return nil }
            let buffer = Buffer(capacity: count)
            shard.withUnsafeBytes { buffer.bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            return buffer
        }
        let targets = missing.map { _ in Buffer(capacity: count) }
        do {
            try code.rebuild(
                sources.map { $0.map { UnsafeRawPointer($0.base) } }, missing: missing, into: targets.map(\.base),
                count: count)
        } catch { return nil }
        return withExtendedLifetime(sources) { targets.map { Array($0.slice(0..<count)) } }
    }

    /// All bytes of a stripe, from shards that match their roots. Where those that are known of are too few, `everywhere` names the
    /// backends that are asked for the others.
    func whole(_ stripe: Stripe, everywhere: [UInt16] = []) -> [UInt8]? {
        var (shards, _, _) = verified(stripe)
        if shards.count(where: { $0 != nil }) < stripe.k {
            for backend in everywhere {
                let missing = shards.indices.filter { shards[$0] == nil }
                let outcomes = backends.perform(
                    missing.map { Request.get(backend, StripeWriter.name(stripe.id, $0)) }, milliseconds: Self.patience)
                for (index, outcome) in zip(missing, outcomes) {
                    guard let bytes = outcome?.bytes, bytes.count == stripe.shardLength,
                        bytes.withUnsafeBytes({ ShardRoot.of($0) }) == stripe.roots[index]
                    else { continue }
                    shards[index] = bytes
                }
                if shards.count(where: { $0 != nil }) >= stripe.k { break }
            }
        }
        let missing = (0..<stripe.k).filter { shards[$0] == nil }
        guard let rebuilt = Self.rebuild(stripe, shards, missing, count: stripe.shardLength) else { return nil }
        for (index, shard) in zip(missing, rebuilt) { shards[index] = shard }
        return Self.joined(Array(shards[..<stripe.k]))
    }

    /// Whole shards that match their roots, by index; those that do not, or are not there, are named.
    func verified(_ stripe: Stripe) -> (shards: [[UInt8]?], bad: [Int], silent: [Int]) {
        let present = stripe.shards.indices.filter { stripe.shards[$0] != Stripe.nowhere }
        let outcomes = backends.perform(
            present.map { request(stripe, $0, 0..<stripe.shardLength) }, milliseconds: Self.patience)
        var shards = [[UInt8]?](repeating: nil, count: stripe.shards.count)
        var bad: [Int] = []
        var silent: [Int] = []
        for (index, outcome) in zip(present, outcomes) {
            health.note(stripe.shards[index], outcome)
            guard let outcome, case .reply(let value) = outcome else {
                silent.append(index)
                continue
            }
            if let bytes = value.bytes, bytes.count == stripe.shardLength,
                bytes.withUnsafeBytes({ ShardRoot.of($0) }) == stripe.roots[index]
            {
                shards[index] = bytes
            } else {
                if value.bytes != nil { health.noteLie(stripe.shards[index]) }
                bad.append(index)
            }
        }
        return (shards, bad, silent)
    }
}
