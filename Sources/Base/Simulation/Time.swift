/// Where a core gets its time from, so that a simulation can give it another.
public protocol TimeSource: AnyObject {
    /// Nanoseconds since 1970; may jump.
    var wallNanoseconds: UInt64 { get }
    /// Nanoseconds since some start; never goes back.
    var monotonicNanoseconds: UInt64 { get }
}

/// Time that only moves when it is told to.
public final class SimulatedTime: TimeSource {
    /// Nanoseconds since 1970; a test may set it back, as an administrator would.
    public var wallNanoseconds: UInt64
    /// Nanoseconds since the simulation's start.
    public private(set) var monotonicNanoseconds: UInt64 = 0

    /// A clock that starts at a given wall time.
    public init(wallNanoseconds: UInt64 = 1_700_000_000_000_000_000) { self.wallNanoseconds = wallNanoseconds }

    /// Lets time pass.
    public func advance(nanoseconds: UInt64) {
        wallNanoseconds += nanoseconds
        monotonicNanoseconds += nanoseconds
    }
}
