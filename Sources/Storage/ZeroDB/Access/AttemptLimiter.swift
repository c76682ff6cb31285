/// Who may try a password again: a bucket of attempts for each address (IPv6: each /64) and each uid.
struct AttemptLimiter {
    /// Attempts that may come at once; a person mistypes three times, a pool of connections starts together.
    static let burst = 20.0
    /// Failed attempts that are forgotten each second.
    static let refill = 0.5
    /// Addresses that are remembered; more share one bucket.
    static let addressesMax = 4096

    private struct Bucket {
        var left = burst
        var at: UInt64
    }
    private var buckets: [[UInt8]: Bucket] = [:]

    /// Takes an attempt; nil if it may be made, else the seconds to wait.
    mutating func take(_ address: [UInt8], now: UInt64) -> UInt64? {
        let key = place(address, now)
        var bucket = refilled(key, now)
        defer { buckets[key] = bucket }
        guard bucket.left >= 1 else { return UInt64(((1 - bucket.left) / Self.refill).rounded(.up)) }
        bucket.left -= 1
        return nil
    }

    /// The attempt was right: it does not count.
    mutating func giveBack(_ address: [UInt8], now: UInt64) {
        let key = place(address, now)
        var bucket = refilled(key, now)
        bucket.left = min(Self.burst, bucket.left + 1)
        buckets[key] = bucket
    }

    private func refilled(_ key: [UInt8], _ now: UInt64) -> Bucket {
        guard var bucket = buckets[key] else { return Bucket(at: now) }
        bucket.left = min(Self.burst, bucket.left + Double(now &- min(now, bucket.at)) / 1e9 * Self.refill)
        bucket.at = now
        return bucket
    }

    /// Where an address is counted. A full table forgets who has nothing to be remembered for.
    private mutating func place(_ address: [UInt8], _ now: UInt64) -> [UInt8] {
        if buckets[address] != nil || buckets.count < Self.addressesMax { return address }
        let full = buckets.keys.filter { refilled($0, now).left >= Self.burst }
        for key in full { buckets[key] = nil }
        return buckets.count < Self.addressesMax ? address : []
    }
}
