import LogEngine

/// Replies that wait for a sync beside the loop.
///
/// Where one namespace's writes are large and have to be on stable storage before they are answered, the others would wait
/// for that sync as well if the loop did it. So it is done by the syncer's thread, and only the replies that are true
/// because of it are kept back. What nobody else can feel is synced by the loop, which takes two switches of thread less.
struct UnsyncedReplies {
    struct Waiting {
        var descriptor: Int32
        var connection: UInt64
        /// The last record that has to be on stable storage.
        var sequence: UInt64
        /// It is paused by this, and not for another reason as well.
        var pauses: Bool
    }
    var waiting: [Waiting] = []
    /// The first record that a reader of an `always` namespace may not be told of yet; `.max`: none waits.
    var first = UInt64.max

    var isEmpty: Bool { first == .max }
}

extension Server {
    /// The first record whose readers can not be answered at once.
    @inline(__always)
    var firstUncertain: UInt64 { min(engine.turnFirstSequence, unsynced.first) }

    /// Whether what is not there may be so because of a write that can still fail.
    @inline(__always)
    var hasUncertain: Bool { engine.turnHasWrites || !unsynced.isEmpty }

    /// Whether the sync that this turn needs is left to the thread.
    var defersSync: Bool {
        guard syncer != nil, settings.replicasRequired == 0 else { return false }
        return !unsynced.isEmpty || (tenantsConnected > 1 && engine.turnBytes >= Limits.deferredSyncBytes)
    }

    /// This turn is written, and its sync left to the thread.
    mutating func deferSync() {
        unsynced.first = min(unsynced.first, engine.durableSequence + 1)
        counters.syncsDeferred += 1
    }

    /// Keeps back the turn's replies that are only true when what they tell of is on stable storage.
    mutating func holdUnsynced() {
        let last = engine.nextSequence - 1
        for descriptor in touched {
            guard let connection = connections[Int(descriptor)], connection.pointee.uncertain >= 0,
                connection.pointee.awaitsSync, !connection.pointee.isClosing,
                connection.pointee.uncertain < connection.pointee.outputEnd
            else { continue }
            let id = connection.pointee.id
            if connection.pointee.heldFrom >= 0 {
                // It went on with something else that it had waited for: what was held before waits a little longer.
                if let index = unsynced.waiting.firstIndex(where: { $0.connection == id }) {
                    unsynced.waiting[index].sequence = last
                }
                continue
            }
            connection.pointee.heldFrom = connection.pointee.uncertain
            let pauses = !connection.pointee.isPaused
            connection.pointee.isPaused = true
            unsynced.waiting.append(.init(descriptor: descriptor, connection: id, sequence: last, pauses: pauses))
        }
    }

    /// A sync has ended: who waited for it is answered; the others wait for the next one.
    mutating func releaseSynced() {
        guard !unsynced.isEmpty else { return }
        let durable = engine.durableSequence
        guard durable + 1 > unsynced.first else { return }
        for waiting in unsynced.waiting where waiting.sequence <= durable {
            guard let connection = waiter(waiting) else { continue }
            connection.pointee.heldFrom = -1
            if waiting.pauses {
                connection.pointee.isPaused = false
                resume(connection)
            } else {
                touch(connection)
            }
        }
        unsynced.waiting.removeAll { $0.sequence <= durable }
        unsynced.first = unsynced.waiting.isEmpty ? .max : durable + 1
    }

    /// The sync failed: nobody is told that it did not happen, because the medium may hold it.
    mutating func refuseUnsynced() {
        let waiting = unsynced.waiting
        unsynced = UnsyncedReplies()
        for waiting in waiting {
            guard let connection = waiter(waiting) else { continue }
            connection.pointee.outputEnd = connection.pointee.heldFrom
            connection.pointee.heldFrom = -1
            fail(connection, "\(Self.message(.readOnly)); whether this write is on stable storage is not known")
            connection.pointee.isClosing = true
            if waiting.pauses { connection.pointee.isPaused = false }
            connection.pointee.inputStart = connection.pointee.inputEnd
            touch(connection)
        }
    }

    private func waiter(_ waiting: UnsyncedReplies.Waiting) -> UnsafeMutablePointer<Connection>? {
        guard let connection = connections[Int(waiting.descriptor)], connection.pointee.id == waiting.connection,
            connection.pointee.heldFrom >= 0
        else { return nil }
        return connection
    }
}
