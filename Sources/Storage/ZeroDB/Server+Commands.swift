import LogEngine

extension Server {
    /// Executes one command, whose arguments the parser has just found.
    @inline(__always)
    mutating func perform(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        let command = table.find(arguments[0])
        counters.commands[Int(command.rawValue)] += 1
        if isObserved { observe(connection, command, count) }
        if connection.pointee.isQueueing {
            queue(connection, command, count)
            return
        }
        switch command {
        case .get where count == 2: get(connection)
        case .set where count >= 3 && connection.pointee.role >= Role.readWrite: set(connection, count)
        default: performOther(connection, command, count)
        }
    }

    /// Everything but the two hot commands.
    @inline(never)
    mutating func performOther(
        _ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int
    ) {
        guard command != .unknown else {
            unknown(connection)
            return
        }
        let arity = command.arity
        guard arity >= 0 ? count == arity : count >= -arity else {
            fail(connection, "ERR wrong number of arguments for '\(command.name)' command")
            return
        }
        guard connection.pointee.role >= command.role else {
            fail(connection, "DENIED this connection may not use \(command.name)")
            return
        }
        if settings.replicasRequired > 0, command.isDefinition { markUncertain(connection) }
        switch command {
        case .unknown: break
        case .get:
            if count == 2 {
                get(connection)
            } else if count == 4, arguments[2].isWord("AT") {
                getAt(connection, arguments[3])
            } else {
                getPart(connection, count)
            }
        case .set, .setx: set(connection, count)
        case .check: check(connection)
        case .keytime: keyTime(connection)
        case .keycur: keyCursor(connection)
        case .history: history(connection, count)
        case .mset: mset(connection, count)
        case .mget, .del, .exists: eachKey(connection, command, count)
        case .length: length(connection)
        case .keyseq: keySequence(connection)
        case .getseq: getWithSequence(connection)
        case .scan, .scanx, .rscan, .kscan, .range, .prefix: beginPage(connection, command, count)
        case .dbsize: databaseSize(connection)
        case .batch: batch(connection, count)
        case .proof: proof(connection, count)
        case .next: connection.pointee.integer(engine.nextSequence)
        default: performControl(connection, command, count)
        }
    }

    private mutating func performControl(
        _ connection: UnsafeMutablePointer<Connection>, _ command: Command, _ count: Int
    ) {
        switch command {
        case .ping: ping(connection, count)
        case .echo: connection.pointee.bulk(arguments[1].bytes)
        case .hello: hello(connection, count)
        case .auth: authenticate(connection, count)
        case .select: select(connection, count)
        case .epoch: epoch(connection, count)
        case .multi: multi(connection)
        case .exec: fail(connection, "ERR EXEC without MULTI")
        case .discard: discard(connection)
        case .watch: watch(connection, count)
        case .unwatch:
            endTransaction(connection)
            connection.pointee.ok()
        case .quit:
            connection.pointee.ok()
            connection.pointee.isClosing = true
        case .reset: reset(connection)
        case .wait:
            if count == 3, arguments[1].number != nil {
                waitReplicas(connection)
            } else {
                waitForCommand(connection, count)
            }
        case .mirror: mirror(connection)
        case .nsjump: jump(connection)
        case .reload: reload(connection)
        case .stop: stopInOrder(connection)
        case .master: becomeMaster(connection)
        case .data: data(connection, count)
        case .index: dirtyIndexes(connection, count)
        case .time: time(connection)
        case .info: information(connection, count)
        case .command: describeCommands(connection, count)
        case .client: client(connection, count)
        case .config: configuration(connection, count)
        case .nsnew: createNamespace(connection, count)
        case .nsdel: removeNamespace(connection, count)
        case .nslist: listNamespaces(connection)
        case .nsinfo: namespaceInformation(connection)
        case .nsset: changeNamespace(connection)
        case .nsfence: fence(connection)
        case .flush: flushNamespace(connection)
        case .listen: openDoor(connection)
        case .unlisten: closeDoor(connection)
        case .doors: listDoors(connection)
        case .zsync: beginReplica(connection)
        case .nssync, .nsfollow, .nspromote: performMoving(connection, command, count)
        case .waitreplicas: waitReplicas(connection)
        case .promote: promote(connection, count)
        case .demote: demote(connection)
        case .replicaof: replicaOf(connection, count)
        case .role: tellRole(connection)
        case .compact: compact(connection)
        case .status: connection.pointee.bulk(statusText())
        case .metrics: connection.pointee.bulk(metricsText())
        case .hooks: listHooks(connection)
        default: break
        }
    }

    /// `RESET`: the connection is as it was at first.
    private mutating func reset(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.isResp3 = false
        connection.pointee.isMaster = false
        connection.pointee.epoch = 0
        endTransaction(connection)
        names[connection.pointee.descriptor] = nil
        if isObserved { stopObserving(connection) }
        (connection.pointee.namespace, connection.pointee.role) = (
            connection.pointee.homeNamespace, connection.pointee.homeRole
        )
        connection.pointee.put("+RESET\r\n")
    }

    private mutating func unknown(_ connection: UnsafeMutablePointer<Connection>) {
        let name = arguments[0]
        fail(connection, "ERR unknown command '\(String(decoding: name.bytes.prefix(64), as: UTF8.self))'")
        // A browser that was tricked into talking here must not get further.
        if name.isWord("POST") || name.isWord("HOST:") { connection.pointee.isClosing = true }
    }

    mutating func fail(_ connection: UnsafeMutablePointer<Connection>, _ text: String) {
        counters.errors += 1
        connection.pointee.error(text)
    }

    @inline(never)
    mutating func fail(_ connection: UnsafeMutablePointer<Connection>, _ error: LogError) {
        if case .corrupt(let segment, let offset) = error {
            counters.corruptReads += 1
            EventLog.error("corrupt_record", "segment=\(segment) offset=\(offset)")
        }
        if error == .full { counters.refusedFull += 1 }
        if connection.pointee.namespace == 0, error == .noNamespace {
            fail(connection, "NOAUTH Authentication required.")
            return
        }
        fail(connection, Self.message(error))
    }

    /// The reply's position from which on it is only true if the turn is committed, as safely as the namespace wants.
    @inline(__always)
    func markUncertain(_ connection: UnsafeMutablePointer<Connection>) {
        if connection.pointee.uncertain < 0 { connection.pointee.uncertain = connection.pointee.outputEnd }
        if tenants[Int(connection.pointee.namespace)].syncDelay == 0 { connection.pointee.awaitsSync = true }
    }

    /// The same for a write, which says when the turn has to be on stable storage.
    @inline(__always)
    mutating func markWrite(_ connection: UnsafeMutablePointer<Connection>) {
        markUncertain(connection)
        let delay = tenants[Int(connection.pointee.namespace)].syncDelay
        turnSyncDelay = min(turnSyncDelay, delay)
        if delay != 0 { turnIsRelaxed = true }
    }

    /// What a client reads about an error: a stable code and a sentence.
    static func message(_ error: LogError) -> String {
        switch error {
        case .full: "NOSPACE no space left on the device; nothing was written"
        case .readOnly: "READONLY the device takes no writes: see read_only_reason in INFO"
        case .fenced(let epoch): "FENCED writers below epoch \(epoch) are refused"
        case .conflict(let sequence): "CONFLICT the key's sequence number is \(sequence)"
        case .exists: "EXISTS the key exists"
        case .absent: "ERR no such key"
        case .quota: "QUOTA the namespace would grow over its maxsize"
        case .noNamespace: "NONS no such namespace"
        case .namespaceExists: "ERR the namespace exists"
        case .badName: "ERR a name is 1 to 128 letters, digits, '.', '_' or '-' and does not begin with '.'"
        case .locked: "LOCKED the namespace is locked"
        case .frozen: "FROZEN the namespace is frozen"
        case .worm: "WORM the namespace never changes or removes what was written"
        case .unknownId: "ERR this namespace gives ids: an empty key makes one, other keys are ids that exist"
        case .modeFixed: "ERR the mode of a namespace can only change while it is fresh"
        case .notOrdered: "ERR this needs an ordered namespace"
        case .indexDamaged: "CORRUPT the namespace's table is damaged; it is made anew at the next start"
        case .namespaceUnsupported: "ERR the namespace needs a newer version of zero-db"
        case .tooLarge: "ERR too large: keys have 1 to 255 bytes, values up to 8388608"
        case .corrupt(let segment, let offset):
            "CORRUPT segment \(segment) offset \(offset) does not match its checksum"
        case .unsupported(let segment, let version, let features):
            "ERR segment \(segment) has version \(version) and unknown required features \(features)"
        case .unknownRecord(let segment, let offset, let type):
            "ERR segment \(segment) offset \(offset) has a record of the unknown type \(type)"
        case .headerDamaged(let segment): "ERR both headers of segment \(segment) are damaged"
        case .foreign(let segment): "ERR segment \(segment) belongs to another device"
        case .unknownFile: "ERR the directory has a manifest, which needs a newer version of zero-db"
        case .refused(.replica):
            "READONLY this is a replica: write to its master (master_host in INFO replication), or PROMOTE it"
        case .refused(.superseded(let epoch)):
            "READONLY a master of epoch \(epoch) exists: write there; REPLICAOF makes this device its replica"
        case .refused(.following):
            "READONLY the namespace takes its records from another server (follow_source in NSINFO): NSPROMOTE ends that"
        case .refused(.tooFewReplicas): "NOREPLICAS fewer replicas than required are connected; nothing was written"
        case .manifestDamaged: "ERR the manifest is damaged: it is not known which segments count"
        case .incomplete: "LOADING this copy is not complete yet: INFO says how far it is"
        case .reservationTooLarge: "NOSPACE the device has less than that left to reserve"
        case .disk(let error): "ERR the disk failed: \(error)"
        }
    }

    static func reason(_ reason: ReadOnlyReason?) -> String {
        switch reason {
        case nil: ""
        case .syncFailed(let error): "a sync failed (\(error)); what the disk holds is not known any more"
        case .writeFailed(let error): "a write failed (\(error))"
        case .medium: "the medium is read-only"
        }
    }
}
