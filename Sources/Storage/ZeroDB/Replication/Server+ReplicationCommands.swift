import LogEngine

/// Commands about what this device is among its copies.
extension Server {
    /// `PROMOTE [epoch]`: this replica becomes the master.
    mutating func promote(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        guard engine.role != .master else {
            fail(connection, "ERR this device is the master, of epoch \(engine.epoch)")
            return
        }
        var wanted: UInt64?
        if count > 1 {
            guard let number = arguments[1].number else {
                fail(connection, "ERR PROMOTE [epoch]")
                return
            }
            wanted = number
        }
        promote(connection, wanted)
    }

    private mutating func promote(_ connection: UnsafeMutablePointer<Connection>, _ epoch: UInt64?) {
        do throws(LogError) {
            let epoch = try engine.promote(epoch: epoch, time: now)
            if upstream != nil, upstream?.descriptor != -1 { endUpstream("promoted") }
            upstream = nil
            updateRequirement()
            resumeFollowing()
            EventLog.warning("promoted", "epoch=\(epoch) next_sequence=\(engine.nextSequence)")
            connection.pointee.integer(epoch)
        } catch .absent {
            fail(connection, "ERR nothing was received from a master yet")
        } catch .incomplete {
            fail(
                connection,
                "ERR this copy is not complete: it has to come to sequence \(engine.completeFrom) and have all of its master's segments"
            )
        } catch .fenced(let known) {
            fail(connection, "FENCED epoch \(known) is known: the new one must be higher")
        } catch { fail(connection, error) }
    }

    /// `DEMOTE epoch`: a master of that epoch exists, so nothing is written here any more.
    mutating func demote(_ connection: UnsafeMutablePointer<Connection>) {
        guard let epoch = arguments[1].number else {
            fail(connection, "ERR DEMOTE epoch")
            return
        }
        do throws(LogError) {
            guard try engine.supersede(by: epoch) else {
                fail(connection, "FENCED epoch \(engine.knownEpoch) is known: the other master's must be higher")
                return
            }
            EventLog.error("superseded", "epoch=\(engine.epoch) by=\(epoch)")
            connection.pointee.ok()
        } catch { fail(connection, error) }
    }

    /// `REPLICAOF host port [DISCARD]`, `REPLICAOF unix:PATH - [DISCARD]`, `REPLICAOF NO ONE`
    mutating func replicaOf(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
        if arguments[1].isWord("NO"), arguments[2].isWord("ONE"), count == 3 {
            if engine.role == .master { connection.pointee.ok() } else { promote(connection, nil) }
            return
        }
        let isShort = count == 3 || (count == 4 && arguments[3].isWord("DISCARD"))
        guard isShort, let address = MasterAddress(arguments[1].text, arguments[2].text),
            !address.isTLS || settings.peerTLS != nil
        else {
            fail(
                connection,
                "ERR REPLICAOF host port [DISCARD], tls:host with --replica-tls-ca, unix:PATH -, or REPLICAOF NO ONE")
            return
        }
        do throws(LogError) {
            if upstream != nil, upstream?.descriptor != -1 { endUpstream("another master") }
            try follow(address, discardsTail: count == 4 || settings.discardsTail)
            connection.pointee.ok()
        } catch { fail(connection, error) }
    }

    /// `ROLE`, in Redis' shape.
    func tellRole(_ connection: UnsafeMutablePointer<Connection>) {
        if engine.role == .replica {
            connection.pointee.array(5)
            connection.pointee.bulk("slave")
            connection.pointee.bulk(upstream?.address.host ?? upstream?.address.description ?? "")
            connection.pointee.integer(UInt64(upstream?.address.port ?? 0))
            let state = upstream?.isStreaming != true ? "connect" : engine.isIncomplete ? "sync" : "connected"
            connection.pointee.bulk(state)
            connection.pointee.integer(engine.durableSequence)
            return
        }
        connection.pointee.array(3)
        connection.pointee.bulk("master")
        connection.pointee.integer(engine.durableSequence)
        connection.pointee.array(replicas.members.count)
        for replica in replicas.members {
            connection.pointee.array(3)
            connection.pointee.bulk(replica.pointee.name)
            connection.pointee.bulk("0")
            connection.pointee.bulk(String(replica.pointee.acknowledged))
        }
    }

    /// The section of `INFO`.
    func replicationSection() -> [(String, String)] {
        var values: [(String, String)] = [
            ("role", engine.role == .master ? "master" : engine.role == .replica ? "slave" : "superseded"),
            ("epoch", "\(engine.epoch)"), ("known_epoch", "\(engine.knownEpoch)"),
            ("master_repl_offset", "\(engine.durableSequence)"), ("connected_slaves", "\(replicas.members.count)"),
            ("replicas_required", "\(settings.replicasRequired)"),
            ("replicas_degraded", replicas.isDegraded ? "1" : "0"),
            ("replicas_timeouts", "\(replicas.timeouts)"),
        ]
        for (index, replica) in replicas.members.enumerated() {
            let behind = engine.nextSequence &- 1 &- min(replica.pointee.acknowledged, engine.nextSequence &- 1)
            values.append(
                (
                    "slave\(index)",
                    "name=\(replica.pointee.name),state=online,sequence=\(replica.pointee.acknowledged),"
                        + "segment=\(replica.pointee.acknowledgedPlace.segment),"
                        + "offset=\(replica.pointee.acknowledgedPlace.offset),behind=\(behind),"
                        + "lag_microseconds=\(replica.pointee.lag / 1000),sent_bytes=\(replica.pointee.bytesSent)"
                ))
        }
        values += movingLines()
        guard let address = upstream?.address, let isUp = upstream?.isStreaming else { return values }
        let master = upstream?.receiver.masterSequence ?? 0
        let bytes = upstream?.receiver.masterBytes ?? 0
        let lost = engine.nextSequence > master ? 0 : master &- engine.nextSequence &+ 1
        // A master that has more sends it at once; one that is not connected may have more since then.
        let since = isUp && lost == 0 ? monotonic : upstream?.lastEqual ?? 0
        values += [
            ("master_host", address.host ?? address.description), ("master_port", "\(address.port)"),
            ("master_link_status", isUp ? "up" : "down"), ("master_last_error", upstream?.lastError ?? ""),
            ("master_last_io_seconds_ago", "\((monotonic &- (upstream?.lastHeard ?? monotonic)) / 1_000_000_000)"),
            ("master_connects", "\(upstream?.attempts ?? 0)"),
            ("slave_complete", engine.isIncomplete ? "0" : "1"),
            ("slave_complete_from", "\(engine.completeFrom)"),
            ("slave_replacements", "\(engine.replacementCounts.done)"),
            ("slave_replacements_pending", "\(engine.replacementCounts.pending)"), ("slave_read_only", "1"),
            ("slave_repl_offset", "\(engine.durableSequence)"),
            ("master_sequence", "\(master)"), ("behind_sequences", "\(lost)"),
            ("behind_bytes", "\(bytes > engine.logBytes ? bytes - engine.logBytes : 0)"),
            ("behind_milliseconds", "\((monotonic &- min(since, monotonic)) / 1_000_000)"),
        ]
        return values
    }
}

extension Command {
    /// Whether it changes what a namespace is, and so the log, in a turn of its own.
    var isDefinition: Bool {
        switch self {
        case .nsnew, .nsdel, .nsset, .nsfence: true
        default: false
        }
    }
}
