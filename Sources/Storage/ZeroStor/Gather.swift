internal import Glibc

/// Joins what several threads want done into groups: whoever comes while nobody works does the work of all that wait.
///
/// While one group is worked on the next one gathers, so a slow step (a sync, a round trip) is shared by as many as wait for it.
final class Gather<Item>: @unchecked Sendable {  // guarded by `mutex`
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var queue: [Item] = []
    private var isWorking = false
    /// Items that were ever added, and those whose group is done.
    private var added: UInt64 = 0, done: UInt64 = 0
    private let groupMax: Int

    init(groupMax: Int) {
        self.groupMax = groupMax
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Returns when the group with the item was worked on; results are in the items.
    func submit(_ item: Item, _ work: ([Item]) -> Void) {
        pthread_mutex_lock(mutex)
        queue.append(item)
        added += 1
        let mine = added
        while done < mine {
            if isWorking {
                pthread_cond_wait(condition, mutex)
                continue
            }
            isWorking = true
            let group = Array(queue.prefix(groupMax))
            queue.removeFirst(group.count)
            pthread_mutex_unlock(mutex)
            work(group)
            pthread_mutex_lock(mutex)
            isWorking = false
            done += UInt64(group.count)
            pthread_cond_broadcast(condition)
        }
        pthread_mutex_unlock(mutex)
    }
}
