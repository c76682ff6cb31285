import CLinux
import Glibc
import LogEngine

/// Whose turn it is. Connections that have something to do stand in a queue of their namespace, namespaces in a ring;
/// each namespace uses what its round gives it (deficit round robin), so that neither many connections nor large
/// commands of one make another wait. A turn of the loop has a bounded amount of work.
extension Server {
    // MARK: Who is where

    /// Room for a namespace among the tenants, with what its settings say.
    mutating func ensureTenant(_ id: UInt32) {
        guard Int(id) >= tenantCapacity else { return }
        var capacity = max(tenantCapacity, 16)
        while capacity <= Int(id) { capacity *= 2 }
        let larger = UnsafeMutablePointer<Tenant>.allocate(capacity: capacity)
        larger.update(from: tenants, count: tenantCapacity)
        (larger + tenantCapacity).initialize(repeating: Tenant(), count: capacity - tenantCapacity)
        let before = tenantCapacity
        tenants.deallocate()
        (tenants, tenantCapacity) = (larger, capacity)
        for id in before..<capacity { applySettings(UInt32(id)) }
    }

    /// Takes over what a namespace's settings say about syncs, rates and connections.
    mutating func applySettings(_ id: UInt32) {
        guard Int(id) < tenantCapacity else { return }
        let tenant = tenants + Int(id)
        let own = engine.information(id)?.settings
        switch own?.durability ?? settings.durability {
        case .always: tenant.pointee.syncDelay = 0
        case .interval(let milliseconds): tenant.pointee.syncDelay = UInt64(milliseconds) * 1_000_000
        case .none: tenant.pointee.syncDelay = .max
        }
        let limit = Int(own?.connectionsMax ?? 0)
        tenant.pointee.connectionsMax = limit == 0 ? Limits.namespaceConnectionsMax : limit
        tenant.pointee.operations.set(rate: own?.operationsMax ?? 0, now: monotonic)
        tenant.pointee.bytes.set(rate: own?.bandwidthMax ?? 0, now: monotonic)
        tenant.pointee.isLimited = tenant.pointee.operations.rate != 0 || tenant.pointee.bytes.rate != 0
        if tenant.pointee.isAsleep { tenant.pointee.wakeAt = 0 }
    }

    /// Whether a namespace may have one connection more.
    mutating func hasRoom(_ namespace: UInt32) -> Bool {
        ensureTenant(namespace)
        return tenants[Int(namespace)].connections < tenants[Int(namespace)].connectionsMax
    }

    /// Counts a connection where it is now: a password or `SELECT` may have moved it.
    mutating func attach(_ connection: UnsafeMutablePointer<Connection>) {
        let namespace = connection.pointee.namespace
        if connection.pointee.tenant == namespace { return }
        ensureTenant(namespace)
        detach(connection)
        connection.pointee.tenant = namespace
        tenants[Int(namespace)].connections += 1
        if tenants[Int(namespace)].connections == 1 {
            tenantsConnected += 1
            applySettings(namespace)
        }
    }

    /// The connection uses no namespace any more.
    mutating func detach(_ connection: UnsafeMutablePointer<Connection>) {
        guard connection.pointee.tenant != .max else { return }
        let tenant = tenants + Int(connection.pointee.tenant)
        if connection.pointee.isQueued { unqueue(connection, tenant) }
        connection.pointee.tenant = .max
        tenant.pointee.connections -= 1
        if tenant.pointee.connections == 0 { tenantsConnected -= 1 }
    }

    // MARK: Queues

    /// A connection has something to do.
    @inline(__always)
    mutating func enqueue(_ connection: UnsafeMutablePointer<Connection>) {
        if connection.pointee.isQueued || connection.pointee.isHeld || connection.pointee.isPaused { return }
        let id = connection.pointee.tenant
        let tenant = tenants + Int(id)
        connection.pointee.isQueued = true
        connection.pointee.next = -1
        let descriptor = connection.pointee.descriptor
        if tenant.pointee.last >= 0, let before = connections[Int(tenant.pointee.last)] {
            before.pointee.next = descriptor
        } else {
            tenant.pointee.first = descriptor
        }
        tenant.pointee.last = descriptor
        if !tenant.pointee.isInRing && !tenant.pointee.isAsleep {
            // Who was not served lately goes before those who always have something to do, if it owes nothing.
            let isRare = counters.turns &- tenant.pointee.servedTurn > Limits.rareTurns
            enterRing(id, isFirst: isRare && tenant.pointee.deficit >= 0)
        }
    }

    private mutating func enterRing(_ id: UInt32, isFirst: Bool = false) {
        let tenant = tenants + Int(id)
        tenant.pointee.isInRing = true
        if isFirst, ringFirst != .max {
            tenant.pointee.next = ringFirst
            ringFirst = id
            return
        }
        tenant.pointee.next = .max
        if ringLast != .max { tenants[Int(ringLast)].next = id } else { ringFirst = id }
        ringLast = id
    }

    /// Takes the first out; it counts as in the ring until `rest`, so that nobody puts it there a second time.
    private mutating func leaveRing() -> UInt32 {
        let id = ringFirst
        let tenant = tenants + Int(id)
        ringFirst = tenant.pointee.next
        if ringFirst == .max { ringLast = .max }
        return id
    }

    private func dequeue(_ tenant: UnsafeMutablePointer<Tenant>) -> UnsafeMutablePointer<Connection>? {
        guard tenant.pointee.first >= 0, let connection = connections[Int(tenant.pointee.first)] else { return nil }
        tenant.pointee.first = connection.pointee.next
        if tenant.pointee.first < 0 { tenant.pointee.last = -1 }
        connection.pointee.isQueued = false
        return connection
    }

    /// Takes a connection out of the middle of its queue: it ends, or moves to another namespace.
    private func unqueue(_ connection: UnsafeMutablePointer<Connection>, _ tenant: UnsafeMutablePointer<Tenant>) {
        let descriptor = connection.pointee.descriptor
        connection.pointee.isQueued = false
        var before: UnsafeMutablePointer<Connection>?
        var at = tenant.pointee.first
        while at >= 0, let current = connections[Int(at)] {
            if at == descriptor {
                let next = connection.pointee.next
                if let before { before.pointee.next = next } else { tenant.pointee.first = next }
                if next < 0 { tenant.pointee.last = before?.pointee.descriptor ?? -1 }
                return
            }
            before = current
            at = current.pointee.next
        }
    }

    // MARK: A turn

    /// Whether a connection waits for its turn that may have it.
    var hasReady: Bool { ringFirst != .max }

    /// Serves connections until nobody has anything to do, or the turn is long enough.
    mutating func schedule() {
        if !sleepers.isEmpty { wake() }
        // Alone, a namespace may make a turn longer: more writes share a sync. A sync that takes long may be shared by more.
        var work =
            tenantsConnected > 1
            ? max(Limits.turnCost, min(Int(lastSyncTook), Limits.turnCostShared)) : Limits.turnCostAlone
        longSpent = 0
        // Commands with much to do are interrupted for those who come, who have to be looked at for that.
        let longMax = tenantsConnected > 1 ? Int(Limits.sliceNanoseconds) : Limits.longCostAlone
        while ringFirst != .max, work > 0, longSpent < longMax {
            let id = leaveRing()
            let tenant = tenants + Int(id)
            tenant.pointee.servedTurn = counters.turns
            tenant.pointee.deficit += Limits.quantumCost
            while tenant.pointee.deficit > 0, work > 0, longSpent < longMax, tenant.pointee.first >= 0 {
                if tenant.pointee.isLimited, !mayWork(id) { break }
                guard let connection = dequeue(tenant) else { break }
                // The table of tenants may move while a command is executed.
                let used = serve(connection, tenant.pointee.deficit)
                tenants[Int(id)].deficit -= used
                work -= used
                if tenant != tenants + Int(id) { break }
            }
            rest(id)
        }
    }

    /// Behind its part of a round: again to the ring's end if there is more to do.
    private mutating func rest(_ id: UInt32) {
        let tenant = tenants + Int(id)
        tenant.pointee.isInRing = false
        if tenant.pointee.first < 0 {
            // Who has nothing to do saves nothing up, but owes what it took.
            tenant.pointee.deficit = min(tenant.pointee.deficit, 0)
        } else if !tenant.pointee.isAsleep {
            tenant.pointee.deficit = min(tenant.pointee.deficit, Limits.quantumCost)
            enterRing(id)
        }
    }

    /// Whether a namespace with a rate may do something now; else it sleeps until then.
    private mutating func mayWork(_ id: UInt32) -> Bool {
        let tenant = tenants + Int(id)
        if tenant.pointee.operations.isOpen(monotonic), tenant.pointee.bytes.isOpen(monotonic) { return true }
        tenant.pointee.isAsleep = true
        tenant.pointee.wakeAt = max(
            tenant.pointee.operations.opensAt(monotonic), tenant.pointee.bytes.opensAt(monotonic))
        sleepers.append(id)
        counters.throttled += 1
        return false
    }

    private mutating func wake() {
        var index = 0
        while index < sleepers.count {
            let id = sleepers[index]
            if tenants[Int(id)].wakeAt > monotonic {
                index += 1
                continue
            }
            sleepers.swapAt(index, sleepers.count - 1)
            sleepers.removeLast()
            tenants[Int(id)].isAsleep = false
            if tenants[Int(id)].first >= 0, !tenants[Int(id)].isInRing { enterRing(id) }
        }
    }

    /// When the first namespace that sleeps wakes.
    var nextWake: UInt64? { sleepers.lazy.map { [tenants] in tenants[Int($0)].wakeAt }.min() }

    // MARK: A connection's part

    /// Executes what a connection has said and reads more, up to a cost; returns what that cost.
    private mutating func serve(_ connection: UnsafeMutablePointer<Connection>, _ limit: Int) -> Int {
        touch(connection)
        // A receive and a send have their cost even if they carry little.
        var used = Limits.visitCost
        while !connection.pointee.isClosing {
            switch execute(connection, max(1, limit - used), &used) {
            case .held, .paused: return used
            case .limit:
                enqueue(connection)
                return used
            case .drained: break
            }
            guard connection.pointee.mayRead, !connection.pointee.isClosing else { return used }
            if used > limit {
                enqueue(connection)
                return used
            }
            used += receive(connection)
        }
        return used
    }

    /// One receive; its cost.
    private mutating func receive(_ connection: UnsafeMutablePointer<Connection>) -> Int {
        connection.pointee.reserveInput(2048)
        let room = min(connection.pointee.inputCapacity - connection.pointee.inputEnd, Limits.readBytes)
        let got =
            connection.pointee.receivesSpecially
            ? receiveSpecially(connection, room)
            : zg_db_receive(
                connection.pointee.descriptor, connection.pointee.input + connection.pointee.inputEnd, room)
        if got == -Int(EAGAIN) {
            connection.pointee.mayRead = false
            return 0
        }
        if got <= 0 {
            // Its own half is closed; what it asked before that was executed and is still answered.
            connection.pointee.mayRead = false
            connection.pointee.isClosing = true
            return 0
        }
        counters.bytesIn += UInt64(got)
        connection.pointee.activeAt = monotonic
        connection.pointee.inputEnd += got
        // epoll tells about each arrival once; less than asked for means that there is no more, unless the end is there.
        if got < room, !connection.pointee.hasPeerClosed, !connection.pointee.readsShort {
            connection.pointee.mayRead = false
        }
        return got / 4
    }

    /// Why `execute` stopped.
    private enum Stop {
        /// No whole command is left.
        case drained
        /// It used what it may.
        case limit
        /// Replies are not taken: it goes on when they are.
        case held
        /// Its last command is answered later.
        case paused
    }

    /// Executes the whole commands in a connection's input.
    @inline(__always)
    private mutating func execute(
        _ connection: UnsafeMutablePointer<Connection>, _ limit: Int, _ used: inout Int
    ) -> Stop {
        if connection.pointee.stops != 0, let stop = continued(connection, limit, &used) { return stop }
        var spent = 0
        // How far the input was looked at; nothing before the first command, which is wanted at once.
        var looked = Int.max
        defer { used += spent }
        while connection.pointee.inputStart < connection.pointee.inputEnd, !connection.pointee.isClosing {
            if connection.pointee.stops != 0 { return connection.pointee.isPaused ? .paused : .limit }
            if spent >= limit { return .limit }
            if connection.pointee.waitingOutput > Limits.outputBytes {
                connection.pointee.isHeld = true
                return .held
            }
            if connection.pointee.inputStart >= looked { looked = lookAhead(connection) }
            let start = connection.pointee.input + connection.pointee.inputStart
            switch parser.parse(start, connection.pointee.inputEnd - connection.pointee.inputStart) {
            case .command(let count, let bytes):
                let before = connection.pointee.outputEnd
                connection.pointee.inputStart += bytes
                commandBytes = bytes
                perform(connection, count)
                if looked == Int.max { looked = connection.pointee.inputStart }
                if connection.pointee.namespace != connection.pointee.tenant { attach(connection) }
                let cost = bytes + max(0, connection.pointee.outputEnd - before)
                spent += cost + Limits.commandCost + extraCost
                extraCost = 0
                if tenants[Int(connection.pointee.namespace)].isLimited, charge(connection, cost) { return .limit }
            case .empty(let bytes):
                connection.pointee.inputStart += bytes
                spent += Limits.commandCost
            case .incomplete(let more):
                makeRoom(connection, more)
                return .drained
            case .invalid(let why):
                counters.protocolErrors += 1
                connection.pointee.error("ERR Protocol error: \(why)")
                connection.pointee.isClosing = true
                connection.pointee.inputStart = connection.pointee.inputEnd
            }
        }
        if connection.pointee.stops == 0 { return .drained }
        return connection.pointee.isPaused ? .paused : .limit
    }

    /// Goes on with a connection's command that is not done; nil if it is, and the connection may go on as well.
    @inline(never)
    private mutating func continued(
        _ connection: UnsafeMutablePointer<Connection>, _ limit: Int, _ used: inout Int
    ) -> Stop? {
        if connection.pointee.isPaused { return .paused }
        guard connection.pointee.isLong else { return nil }
        if connection.pointee.waitingOutput > Limits.outputBytes {
            connection.pointee.isHeld = true
            return .held
        }
        let cost = goOn(connection)
        used += cost
        return connection.pointee.isLong || cost >= limit ? .limit : nil
    }

    /// Takes a command from its namespace's rates; true if there is nothing left.
    private func charge(_ connection: UnsafeMutablePointer<Connection>, _ bytes: Int) -> Bool {
        let tenant = tenants + Int(connection.pointee.namespace)
        tenant.pointee.operations.take(1)
        tenant.pointee.bytes.take(bytes)
        return !tenant.pointee.operations.isOpen(monotonic) || !tenant.pointee.bytes.isOpen(monotonic)
    }
}
