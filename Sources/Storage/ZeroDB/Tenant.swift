/// What the scheduler knows of one namespace (of 0: of the connections that are in none yet): its connections that have something to do, and what it may take.
///
/// Costs are in units of about a nanosecond of the loop's time; see `Limits`.
struct Tenant {
    /// The first and the last of its connections that wait for their turn; linked through the connections.
    var first: Int32 = -1
    var last: Int32 = -1
    /// The next namespace of the ring.
    var next = UInt32.max
    /// It stands in the ring of namespaces that have work.
    var isInRing = false
    /// It used up its rate and waits until `wakeAt`.
    var isAsleep = false
    /// It has a rate at all.
    var isLimited = false
    /// What it may still use in this round; below zero it pays back what a large command took.
    var deficit = 0
    /// The turn of the loop in which it was served last.
    var servedTurn: UInt64 = 0
    var connections = 0
    var connectionsMax = Limits.namespaceConnectionsMax
    /// Nanoseconds until a write has to be on stable storage: 0 before it is answered, `max` when the kernel likes.
    var syncDelay: UInt64 = 0
    var operations = Bucket()
    var bytes = Bucket()
    var wakeAt: UInt64 = 0
}

/// A token bucket: so many a second, saved up for at most a second; it may be overdrawn by one command.
struct Bucket {
    /// Tokens a second; 0 is no limit.
    var rate: UInt64 = 0
    private var tokens: Double = 0
    private var filledAt: UInt64 = 0

    /// Sets the rate; what was saved up is kept within the new one.
    mutating func set(rate: UInt64, now: UInt64) {
        if self.rate == rate { return }
        tokens = self.rate == 0 ? Double(rate) : min(tokens, Double(rate))
        (self.rate, filledAt) = (rate, now)
    }

    /// Whether something may happen at a time.
    mutating func isOpen(_ now: UInt64) -> Bool {
        if rate == 0 { return true }
        if now > filledAt {
            tokens = min(Double(rate), tokens + Double(now - filledAt) * Double(rate) / 1e9)
            filledAt = now
        }
        return tokens > 0
    }

    mutating func take(_ count: Int) { if rate != 0 { tokens -= Double(count) } }

    /// When something may happen again.
    func opensAt(_ now: UInt64) -> UInt64 {
        if rate == 0 || tokens > 0 { return now }
        let wait = (1 - tokens) / Double(rate) * 1e9
        return now &+ UInt64(min(max(wait, 0), 3.6e12)) &+ 1
    }
}
