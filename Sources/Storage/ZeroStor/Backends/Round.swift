internal import Glibc
internal import Linux

/// Answers to requests that were sent together, for the thread that waits for them.
final class Round: Pending, @unchecked Sendable {  // everything is read and written under `mutex`
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var outcomes: [Outcome?]
    private var missing: Int
    private var hasNews = false

    init(count: Int) {
        outcomes = Array(repeating: nil, count: count)
        missing = count
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// One request is answered.
    func complete(_ index: Int, _ outcome: Outcome) {
        pthread_mutex_lock(mutex)
        if outcomes[index] == nil {
            outcomes[index] = outcome
            missing -= 1
            hasNews = true
            pthread_cond_signal(condition)
        }
        pthread_mutex_unlock(mutex)
    }

    func wait(milliseconds: Int64, lingering: Int64, enough: ([Outcome?]) -> Bool) -> [Outcome?] {
        var until = Clock.monotonicNanoseconds() + milliseconds * 1_000_000
        var lingers = false
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while missing > 0 {
            if hasNews {
                hasNews = false
                guard !lingers, enough(outcomes) else { continue }
                if lingering == 0 { break }
                lingers = true
                until = min(until, Clock.monotonicNanoseconds() + lingering * 1_000_000)
            }
            var deadline = timespec(tv_sec: Int(until / 1_000_000_000), tv_nsec: Int(until % 1_000_000_000))
            if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT { break }
        }
        return outcomes
    }
}
