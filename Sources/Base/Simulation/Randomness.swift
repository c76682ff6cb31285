/// SplitMix64: one multiplication a number, any seed is good. Used to seed and to derive; same seed, same numbers.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// A generator whose whole run is decided by the seed.
    public init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// xoshiro256**: the generator of simulations, seeded by SplitMix64. Not for secrets.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    /// What to print when a run fails.
    public let seed: UInt64
    private var a: UInt64
    private var b: UInt64
    private var c: UInt64
    private var d: UInt64

    /// A generator whose whole run is decided by the seed.
    public init(seed: UInt64) {
        var mixer = SplitMix64(seed: seed)
        self.seed = seed
        (a, b, c, d) = (mixer.next(), mixer.next(), mixer.next(), mixer.next())
    }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        let result = Self.rotate(b &* 5, 7) &* 9
        let t = b << 17
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= t
        d = Self.rotate(d, 45)
        return result
    }

    /// A number from 0 up to, not including, `bound`; 0 when the bound is not positive.
    public mutating func below(_ bound: Int) -> Int {
        bound <= 1 ? 0 : Int(next(upperBound: UInt64(bound)))
    }

    /// True in `percent` of a hundred cases.
    public mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// So many random bytes.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(count)
        while result.count < count {
            let word = next()
            for shift in 0..<min(8, count - result.count) {
                result.append(UInt8(truncatingIfNeeded: word >> (8 * shift)))
            }
        }
        return result
    }

    /// An independent generator, for a part of the simulation that must not disturb the others.
    public mutating func fork() -> SeededRandom { SeededRandom(seed: next()) }

    private static func rotate(_ value: UInt64, _ by: UInt64) -> UInt64 { (value << by) | (value >> (64 - by)) }
}
