import LogEngine

/// Connections that want to know what others do: `MIRROR` gets every command, `WAIT` the next one of a name.
struct Observers {
    /// A connection that waits for a command of its namespace.
    struct Waiter {
        var descriptor: Int32
        var id: UInt64
        var namespace: UInt32
        /// Nil: any command.
        var command: Command?
        var until: UInt64
    }

    var mirrors: [Int32] = []
    var waiters: [Waiter] = []
    var isEmpty: Bool { mirrors.isEmpty && waiters.isEmpty }
    var nextTimeout: UInt64? { waiters.lazy.map(\.until).min() }
}

extension Server {
    /// `WAIT command|* [milliseconds]`: until another connection of the namespace executes the command.
    mutating func waitForCommand(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let name = arguments[1]
        let isAny = name.count == 1 && name.bytes[0] == UInt8(ascii: "*")
        let command = isAny ? nil : table.find(name)
        var milliseconds: UInt64 = 5000
        if count > 2 {
            guard count == 3, let number = arguments[2].number else {
                fail(connection, "ERR syntax: WAIT command|* [milliseconds]")
                return
            }
            milliseconds = number
        }
        guard command != .unknown else {
            fail(connection, "ERR WAIT does not know this command")
            return
        }
        guard Limits.waitMilliseconds.contains(milliseconds) else {
            fail(connection, "ERR WAIT lasts 100 to 1800000 milliseconds")
            return
        }
        connection.pointee.isPaused = true
        isObserved = true
        observers.waiters.append(
            .init(
                descriptor: connection.pointee.descriptor, id: connection.pointee.id,
                namespace: connection.pointee.namespace, command: command,
                until: monotonic &+ milliseconds * 1_000_000))
    }

    /// `MIRROR`: from here on every command that anybody's connection executes, reads included: time, namespace,
    /// connection and arguments.
    mutating func mirror(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.put("+Starting mirroring\r\n")
        isObserved = true
        if !observers.mirrors.contains(connection.pointee.descriptor) {
            observers.mirrors.append(connection.pointee.descriptor)
        }
    }

    /// Tells observers of a command that is about to be executed.
    @inline(never)
    mutating func observe(_ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int) {
        if !observers.waiters.isEmpty {
            let (namespace, descriptor) = (connection.pointee.namespace, connection.pointee.descriptor)
            wakeWaiters { $0.namespace == namespace && $0.descriptor != descriptor && $0.command ?? command == command }
        }
        guard !observers.mirrors.isEmpty, Self.isMirrored(command) else { return }
        let name = engine.information(connection.pointee.namespace)?.name ?? []
        let isOwned = connection.pointee.isMaster && count > 1
        let owner = isOwned ? arguments[count - 1].number ?? connection.pointee.id : connection.pointee.id
        let count = isOwned ? count - 1 : count
        var isGone = false
        for descriptor in observers.mirrors where descriptor != connection.pointee.descriptor {
            guard let mirror = connections[Int(descriptor)] else {
                isGone = true
                continue
            }
            // Whoever does not take it is closed, as the sweep would do later.
            guard mirror.pointee.waitingOutput <= settings.limits.outputBytes else {
                evict(mirror, .output)
                continue
            }
            touch(mirror)
            mirror.pointee.array(count + 3)
            mirror.pointee.integer(now / 1_000_000_000)
            mirror.pointee.bulk(name)
            mirror.pointee.integer(owner)
            for index in 0..<count { mirror.pointee.bulk(arguments[index].bytes) }
        }
        if isGone { observers.mirrors.removeAll { [connections] in connections[Int($0)] == nil } }
    }

    /// What has a password in it is nobody else's business.
    private static func isMirrored(_ command: Command) -> Bool {
        switch command {
        case .auth, .hello, .select, .nsset, .nsfollow, .mirror, .master, .unknown: false
        default: true
        }
    }

    private mutating func wakeWaiters(where isMet: (Observers.Waiter) -> Bool) {
        let met = observers.waiters.filter(isMet)
        guard !met.isEmpty else { return }
        observers.waiters.removeAll(where: isMet)
        isObserved = !observers.isEmpty
        for waiter in met { answer(waiter, isMet: true) }
    }

    /// Answers those who waited long enough.
    mutating func endWaits() {
        guard let first = observers.nextTimeout, first <= monotonic else { return }
        let over = observers.waiters.filter { [monotonic] in $0.until <= monotonic }
        observers.waiters.removeAll { [monotonic] in $0.until <= monotonic }
        isObserved = !observers.isEmpty
        for waiter in over { answer(waiter, isMet: false) }
    }

    private mutating func answer(_ waiter: Observers.Waiter, isMet: Bool) {
        guard let connection = connections[Int(waiter.descriptor)], connection.pointee.id == waiter.id else { return }
        connection.pointee.isPaused = false
        if !isMet {
            fail(connection, "ERR Timeout")
        } else if let command = waiter.command {
            connection.pointee.put("+")
            connection.pointee.put(command.name)
            connection.pointee.put("\r\n")
        } else {
            connection.pointee.put("+*\r\n")
        }
        resume(connection)
    }

    /// The connection ends: nobody is told for it any more.
    mutating func stopObserving(_ connection: UnsafeMutablePointer<Connection>) {
        let descriptor = connection.pointee.descriptor
        observers.mirrors.removeAll { $0 == descriptor }
        observers.waiters.removeAll { $0.descriptor == descriptor }
        isObserved = !observers.isEmpty
    }
}
