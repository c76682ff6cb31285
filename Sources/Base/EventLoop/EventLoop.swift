import CLinux
import Glibc
public import Linux

/// What a descriptor is ready for, or is watched for.
public struct Readiness: OptionSet, Sendable, Hashable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// From the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Bytes can be read, or the end; or a connection accepted.
    public static let readable = Readiness(rawValue: UInt32(ZG_READABLE))
    /// Bytes can be written.
    public static let writable = Readiness(rawValue: UInt32(ZG_WRITABLE))
    /// The other side sends no more. Must be watched for.
    public static let peerClosed = Readiness(rawValue: UInt32(ZG_PEER_CLOSED))
    /// Both directions are closed. Told without being watched for.
    public static let hangup = Readiness(rawValue: UInt32(ZG_HANGUP))
    /// The descriptor failed. Told without being watched for.
    public static let failed = Readiness(rawValue: UInt32(ZG_FAULT))
    /// Told only when the state changes; read or write until it would block.
    public static let edge = Readiness(rawValue: 1 << 31)
}

/// One descriptor that became ready.
public struct Event: Sendable, Hashable {
    /// The token that it was added with.
    public let token: UInt64
    /// What it is ready for.
    public let readiness: Readiness
}

/// Wakes a loop from any thread. A wake-up is never lost; several may become one.
public final class Wakeup: Sendable {
    let descriptor: Int32

    init() throws(SystemError) { descriptor = try checked("eventfd", "wake-up", zg_eventfd()) }

    deinit { close(descriptor) }

    /// Ends the loop's wait, the one that runs or the next.
    public func signal() { _ = zg_eventfd_signal(descriptor) }
}

/// Waits for many descriptors on one thread (`epoll`). Owned by that thread; allocates nothing after it is made.
///
/// Events of one wait are read by index, so that handling one may add and remove others. A descriptor must be removed
/// before it is closed.
public struct EventLoop: ~Copyable {
    /// Events taken in one wait; more come with the next.
    public static let eventsMax = 256
    private static let wakeToken = UInt64.max

    private let epoll: Descriptor
    private let events: UnsafeMutablePointer<zg_event_t>
    private var count = 0

    /// How other threads wake this loop.
    public let wakeup: Wakeup
    /// Whether the last wait was ended by a wake-up.
    public private(set) var wasWoken = false

    /// A loop that watches nothing yet.
    public init() throws(SystemError) {
        let wakeup = try Wakeup()
        let raw = try checked("epoll_create", "event loop", zg_epoll_create())
        let code = zg_epoll_control(raw, 1, wakeup.descriptor, Readiness.readable.rawValue, Self.wakeToken)
        if code < 0 {
            close(raw)
            throw SystemError("epoll_ctl", "wake-up", Errno(-code))
        }
        self.wakeup = wakeup
        epoll = Descriptor(raw)
        events = .allocate(capacity: Self.eventsMax)
        events.initialize(repeating: zg_event_t(), count: Self.eventsMax)
    }

    deinit {
        events.deinitialize(count: Self.eventsMax)
        events.deallocate()
    }

    /// Watches a descriptor. `token` comes back with its events; `UInt64.max` is the loop's own.
    public func add(_ descriptor: Int32, _ readiness: Readiness, token: UInt64) throws(SystemError) {
        precondition(token != Self.wakeToken)
        let code = zg_epoll_control(epoll.raw, 1, descriptor, readiness.rawValue, token)
        try checked("epoll_ctl", "descriptor \(descriptor)", code)
    }

    /// Changes what a descriptor is watched for.
    public func change(_ descriptor: Int32, _ readiness: Readiness, token: UInt64) throws(SystemError) {
        precondition(token != Self.wakeToken)
        let code = zg_epoll_control(epoll.raw, 2, descriptor, readiness.rawValue, token)
        try checked("epoll_ctl", "descriptor \(descriptor)", code)
    }

    /// Stops watching a descriptor; one that is not watched is no error.
    public func remove(_ descriptor: Int32) { _ = zg_epoll_control(epoll.raw, 3, descriptor, 0, 0) }

    /// Waits until something is ready, at most `milliseconds` (-1: for ever), and returns how many events there are.
    public mutating func wait(milliseconds: Int32) throws(SystemError) -> Int {
        count = 0
        wasWoken = false
        let found = Int(
            try checked(
                "epoll_wait", "event loop", zg_epoll_wait(epoll.raw, events, Int32(Self.eventsMax), milliseconds)))
        // The wake-up's own event is taken out; order among the others stays.
        for index in 0..<found {
            if events[index].token == Self.wakeToken {
                _ = zg_eventfd_clear(wakeup.descriptor)
                wasWoken = true
            } else {
                events[count] = events[index]
                count += 1
            }
        }
        return count
    }

    /// An event of the last wait.
    public subscript(index: Int) -> Event {
        precondition(index >= 0 && index < count)
        return Event(token: events[index].token, readiness: Readiness(rawValue: events[index].events))
    }
}
