import LogEngine

/// Who waits for replicas: writers whose replies are kept back (`--replicas-required`), and `WAITREPLICAS`.
extension Server {
    /// Whether writes are answered only when replicas have them.
    private var waitsForReplicas: Bool {
        settings.replicasRequired > 0 && !replicas.isDegraded && engine.role == .master
    }

    /// Whether enough replicas are connected for writes to be taken at all, and what of the log they have.
    mutating func updateRequirement() {
        guard engine.role == .master else { return }
        if settings.replicasRequired == 0 {
            engine.note(confirmed: .max)
            engine.requireReplicas(isMissing: false)
            // The settings were others before.
            if !replicas.held.isEmpty { noteAcknowledged() }
            return
        }
        let confirmed = replicas.confirmed(by: settings.replicasRequired)
        if replicas.isDegraded, confirmed + 1 >= engine.nextSequence {
            replicas.isDegraded = false
            EventLog.info("replicas_caught_up")
        }
        noteConfirmed(confirmed)
        let isShort = replicas.members.count < settings.replicasRequired && !settings.degradesWithoutReplicas
        engine.requireReplicas(isMissing: isShort)
    }

    /// What was confirmed once stays so for readers, whichever replicas leave.
    private mutating func noteConfirmed(_ confirmed: UInt64) {
        replicas.floor = max(replicas.floor, confirmed)
        let isFree = replicas.isDegraded || settings.replicasRequired == 0
        engine.note(confirmed: isFree ? .max : replicas.floor)
    }

    /// Before the first client: what this device is, and what it requires.
    mutating func beginReplication() throws(LogError) {
        replicas.floor = engine.nextSequence - 1
        updateRequirement()
        if let address = settings.replicaOf { try follow(address, discardsTail: settings.discardsTail) }
        resumeFollowing()
    }

    /// Replies of this turn that are only true if replicas have what was written are kept back.
    mutating func holdUncertain() {
        guard waitsForReplicas else { return }
        let last = engine.nextSequence - 1
        guard replicas.confirmed(by: settings.replicasRequired) < last else { return }
        for descriptor in touched {
            guard let connection = connections[Int(descriptor)], connection.pointee.uncertain >= 0,
                connection.pointee.heldFrom < 0, !connection.pointee.isClosing,
                // A command that is not done may have nothing yet to be held back.
                connection.pointee.uncertain < connection.pointee.outputEnd
            else { continue }
            connection.pointee.heldFrom = connection.pointee.uncertain
            connection.pointee.isPaused = true
            replicas.held.append(
                .init(
                    descriptor: descriptor, connection: connection.pointee.id, sequence: last,
                    deadline: monotonic &+ settings.replicasTimeout * 1_000_000))
        }
    }

    /// `WAITREPLICAS count milliseconds`: how many replicas have everything that was written before, when there are
    /// `count` of them or the time is over (0: never).
    mutating func waitReplicas(_ connection: UnsafeMutablePointer<Connection>) {
        guard let count = arguments[1].number, let milliseconds = arguments[2].number, count <= 1 << 16,
            milliseconds <= 1 << 40
        else {
            fail(connection, "ERR WAITREPLICAS count milliseconds")
            return
        }
        let last = engine.nextSequence - 1
        let have = replicas.count(having: last)
        if have >= Int(count), !engine.turnHasWrites {
            connection.pointee.integer(UInt64(have))
            return
        }
        connection.pointee.isPaused = true
        replicas.waiters.append(
            .init(
                descriptor: connection.pointee.descriptor, connection: connection.pointee.id, sequence: last,
                count: Int(count), deadline: milliseconds == 0 ? .max : monotonic &+ milliseconds * 1_000_000))
    }

    /// Replicas have more than before: who waited for that goes on.
    mutating func noteAcknowledged() {
        guard !replicas.held.isEmpty || !replicas.waiters.isEmpty else { return }
        let confirmed = replicas.confirmed(by: settings.replicasRequired)
        noteConfirmed(confirmed)
        let done = replicas.held.filter { $0.sequence <= confirmed }
        if !done.isEmpty { replicas.held.removeAll { $0.sequence <= confirmed } }
        for held in done { release(held) }
        var index = 0
        while index < replicas.waiters.count {
            let have = replicas.count(having: replicas.waiters[index].sequence)
            if have >= replicas.waiters[index].count {
                answer(replicas.waiters.remove(at: index), have)
            } else {
                index += 1
            }
        }
    }

    /// Who has waited long enough is told the truth.
    mutating func expireWaiting() {
        if replicas.held.isEmpty && replicas.waiters.isEmpty { return }
        var index = 0
        while index < replicas.held.count {
            guard replicas.held[index].deadline <= monotonic else {
                index += 1
                continue
            }
            let held = replicas.held.remove(at: index)
            replicas.timeouts += 1
            if settings.degradesWithoutReplicas {
                if !replicas.isDegraded { EventLog.warning("replicas_late", "writes_are_answered_without_them=1") }
                replicas.isDegraded = true
                engine.note(confirmed: .max)
                release(held)
            } else {
                refuse(held)
            }
        }
        index = 0
        while index < replicas.waiters.count {
            let waiter = replicas.waiters[index]
            if waiter.deadline <= monotonic {
                replicas.waiters.remove(at: index)
                answer(waiter, replicas.count(having: waiter.sequence))
            } else {
                index += 1
            }
        }
    }

    /// Milliseconds until something is to be done about replicas, or the master.
    func replicationTimeout() -> Int32 {
        if replicas.hasMore || moving.hasMore { return 0 }
        var until = UInt64.max
        for held in replicas.held { until = min(until, held.deadline) }
        for waiter in replicas.waiters { until = min(until, waiter.deadline) }
        for replica in replicas.members {
            until = min(until, nextMoment(replica))
        }
        if !moving.isEmpty { until = min(until, nextMoveMoment()) }
        if case .waiting(let moment)? = upstream?.state { until = min(until, moment) }
        if upstream != nil { until = min(until, monotonic &+ Limits.replicaPositionIdle) }
        if until <= monotonic { return 0 }
        return Int32(min(60_000, (until - monotonic) / 1_000_000 + 1))
    }

    /// Whether it waits for others with `WAIT` or `WAITREPLICAS`, maybe for ever: it ends when its peer does.
    func isWaiting(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
        let id = connection.pointee.id
        return replicas.waiters.contains { $0.connection == id } || observers.waiters.contains { $0.id == id }
    }

    /// The connection ends.
    mutating func stopWaiting(_ connection: UnsafeMutablePointer<Connection>) {
        if replicas.waiters.isEmpty { return }
        let id = connection.pointee.id
        replicas.waiters.removeAll { $0.connection == id }
    }

    private func find(_ descriptor: Int32, _ id: UInt64) -> UnsafeMutablePointer<Connection>? {
        guard let connection = connections[Int(descriptor)], connection.pointee.id == id else { return nil }
        return connection
    }

    private mutating func release(_ held: ReplicaSet.Held) {
        guard let connection = find(held.descriptor, held.connection) else { return }
        connection.pointee.heldFrom = -1
        unblock(connection)
    }

    private mutating func answer(_ waiter: ReplicaSet.Waiter, _ count: Int) {
        guard let connection = find(waiter.descriptor, waiter.connection) else { return }
        connection.pointee.integer(UInt64(count))
        unblock(connection)
    }

    /// It is written here, and may be on some replicas: that is what the error says, and not that it did not happen.
    private mutating func refuse(_ held: ReplicaSet.Held) {
        guard let connection = find(held.descriptor, held.connection), connection.pointee.heldFrom >= 0 else { return }
        replicas.waiters.removeAll { $0.connection == held.connection }
        connection.pointee.outputEnd = connection.pointee.heldFrom
        connection.pointee.heldFrom = -1
        fail(
            connection,
            "NOREPLICAS \(settings.replicasRequired) replicas did not confirm the write in "
                + "\(settings.replicasTimeout) ms; it is written here, and is not safe against the loss of this device")
        connection.pointee.isClosing = true
        connection.pointee.isPaused = false
        connection.pointee.inputStart = connection.pointee.inputEnd
        touch(connection)
    }

    private mutating func unblock(_ connection: UnsafeMutablePointer<Connection>) {
        let isWaiting = replicas.waiters.contains { $0.connection == connection.pointee.id }
        if connection.pointee.heldFrom < 0, !isWaiting {
            connection.pointee.isPaused = false
            resume(connection)
        }
        touch(connection)
    }
}
