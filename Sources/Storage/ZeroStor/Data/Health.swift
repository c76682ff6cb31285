internal import Linux
internal import RESP
internal import Synchronization

/// What is known of the backends from how they answer: who gets no shards for a while, and who lied.
final class Health: Sendable {
    /// Why a backend is avoided.
    enum Trouble: String, Sendable { case silent, full, refuses }

    private struct State {
        var avoided: [UInt16: (until: Int64, trouble: Trouble)] = [:]
        var silentSince: [UInt16: Int64] = [:]
        var lies: [UInt16: Int] = [:]
    }
    private let state = Mutex(State())
    /// After a failure no new shards go there for so long, nanoseconds.
    private static let pause: Int64 = 5_000_000_000

    /// A request to it ended so.
    func note(_ backend: UInt16, _ outcome: Outcome?) {
        let now = Clock.monotonicNanoseconds()
        state.withLock { state in
            guard case .reply(let value)? = outcome else {
                state.avoided[backend] = (now + Self.pause, .silent)
                if state.silentSince[backend] == nil { state.silentSince[backend] = now }
                return
            }
            state.silentSince[backend] = nil
            guard let failure = value.failure else {
                state.avoided[backend] = nil
                return
            }
            // It is this gateway that is at fault.
            if failure.code == "FENCED" { return }
            let isFull = failure.code == "NOSPACE" || failure.code == "QUOTA"
            state.avoided[backend] = (now + Self.pause, isFull ? .full : .refuses)
        }
    }

    /// It answers; what it refused stays known.
    func noteAlive(_ backend: UInt16) { state.withLock { _ = $0.silentSince.removeValue(forKey: backend) } }

    /// It showed bytes that do not match their hash.
    func noteLie(_ backend: UInt16) { state.withLock { $0.lies[backend, default: 0] += 1 } }

    /// Whether shards may go there now.
    func takesShards(_ backend: UInt16) -> Bool {
        let now = Clock.monotonicNanoseconds()
        return state.withLock { ($0.avoided[backend]?.until ?? 0) <= now }
    }

    /// Why it is avoided now.
    func trouble(_ backend: UInt16) -> Trouble? {
        let now = Clock.monotonicNanoseconds()
        return state.withLock { state in
            guard let avoided = state.avoided[backend], avoided.until > now else { return nil }
            return avoided.trouble
        }
    }

    /// Since when it does not answer, monotonic nanoseconds.
    func silentSince(_ backend: UInt16) -> Int64? { state.withLock { $0.silentSince[backend] } }

    /// How often it was found to lie.
    func lies(_ backend: UInt16) -> Int { state.withLock { $0.lies[backend] ?? 0 } }
}
