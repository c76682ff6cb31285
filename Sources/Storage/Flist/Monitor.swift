import Glibc

/// A value with a lock and a way to wait for its changes. For threads of our own, never for the cooperative pool.
///
/// `@unchecked Sendable`: the mutex protects `state`, and the pointers never change.
package final class Monitor<State>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var state: State

    /// Guards `state`.
    package init(_ state: State) {
        self.state = state
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(changed, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    /// Reads or changes the state where nobody waits for that.
    package func withLock<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&state)
    }

    /// Reads or changes the state, and wakes everybody who waits.
    package func update<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer {
            pthread_cond_broadcast(changed)
            pthread_mutex_unlock(mutex)
        }
        return body(&state)
    }

    /// Reads or changes the state, and wakes one who waits.
    package func updateOne<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer {
            pthread_cond_signal(changed)
            pthread_mutex_unlock(mutex)
        }
        return body(&state)
    }

    /// Tries `body` now and after each update until it returns a value; nil when `milliseconds` pass first.
    package func wait<Result>(milliseconds: Int? = nil, _ body: (inout State) -> Result?) -> Result? {
        var until = timespec()
        if let milliseconds {
            clock_gettime(CLOCK_MONOTONIC, &until)
            let nanoseconds = until.tv_nsec + milliseconds % 1_000 * 1_000_000
            until.tv_sec += milliseconds / 1_000 + nanoseconds / 1_000_000_000
            until.tv_nsec = nanoseconds % 1_000_000_000
        }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&state) { return result }
            if milliseconds == nil {
                pthread_cond_wait(changed, mutex)
            } else if pthread_cond_timedwait(changed, mutex, &until) == ETIMEDOUT {
                return body(&state)
            }
        }
    }
}
