import CLinux
import CTLS
import Glibc
import LogEngine

/// The master's side: its log goes to replicas, and clients wait for them.
extension Server {
    /// Replicas' tokens of epoll; their index is not stable, so the descriptor is part of the token.
    static let replicaToken: UInt64 = 1 << 33

    // MARK: Connections

    /// `ZSYNC device epoch sequence protocol name inventory`: the connection becomes a replica's.
    mutating func beginReplica(_ connection: UnsafeMutablePointer<Connection>) {
        let hexadecimal = arguments[1].text
        let device = hexadecimal == "?" ? nil : Self.bytes(hexadecimal)
        guard hexadecimal == "?" || device != nil, let epoch = arguments[2].number, arguments[3].number != nil,
            let version = arguments[4].number, let inventory = SegmentSummary.decode(arguments[6].bytes)
        else {
            fail(connection, "ERR ZSYNC device epoch sequence protocol name segments")
            return
        }
        guard version == UInt64(Self.replicationProtocol) else {
            fail(connection, "ERR this master speaks replication protocol \(Self.replicationProtocol), not \(version)")
            return
        }
        guard replicas.members.count < Limits.replicasMax else {
            fail(connection, "ERR this master has \(Limits.replicasMax) replicas already")
            return
        }
        do throws(ReplicaRefusal) {
            let sender = try engine.beginSending(device: device, epoch: epoch, inventory: inventory)
            take(connection, sender, arguments[5].text)
        } catch { refuse(connection, error) }
    }

    private mutating func refuse(_ connection: UnsafeMutablePointer<Connection>, _ refusal: ReplicaRefusal) {
        switch refusal {
        case .foreign: fail(connection, "ERR the replica holds another device; its directory must be empty")
        case .superseded(let epoch):
            let own = engine.epoch
            supersede(by: epoch)
            fail(connection, "EPOCH \(own) the replica's epoch \(epoch) is higher: this device writes no more")
        case .diverged(let place):
            fail(
                connection,
                "DIVERGED \(place.segment) \(place.offset) the replica holds records behind this place that this master does not have"
            )
        case .compacted(let place):
            fail(
                connection,
                "COMPACTED \(place.segment) \(place.offset) what the replica holds behind this place was compacted since; this master knows all of it"
            )
        case .moved(let segment): fail(connection, "ERR segment \(segment) was compacted; ask again")
        case .incomplete: fail(connection, "ERR this copy is not complete itself yet")
        case .failed(let error): fail(connection, error)
        }
    }

    /// The descriptor changes hands: what a client's connection needs is freed.
    private mutating func take(
        _ connection: UnsafeMutablePointer<Connection>, _ sender: ReplicaSender, _ name: String
    ) {
        guard let (socket, waiting) = handOver(connection) else { return }
        let descriptor = socket.descriptor
        let replica = UnsafeMutablePointer<Replica>.allocate(capacity: 1)
        let printable = String(name.prefix(64).map { $0.isASCII && !$0.isWhitespace ? $0 : "." })
        replica.initialize(
            to: Replica(
                socket: socket, id: replicas.nextId, name: printable, sender: sender, now: monotonic))
        replicas.nextId += 1
        replicas.accepted += 1
        replicas.members.append(replica)
        replica.pointee.put(waiting)
        replica.pointee.put("+ZSYNC \(Self.replicationProtocol) \(engine.epoch)\r\n")
        _ = zg_epoll_control(epoll, 1, descriptor, 0, Self.replicaToken | UInt64(descriptor))
        EventLog.info(
            "replica_connected",
            "id=\(replica.pointee.id) name=\(printable) segment=\(sender.segment) offset=\(sender.offset)")
    }

    /// Takes a connection's socket away from it, because it is another server's, with the replies that were not sent yet;
    /// nil if that is not possible.
    mutating func handOver(
        _ connection: UnsafeMutablePointer<Connection>
    ) -> (socket: PeerSocket, waiting: [UInt8])? {
        let descriptor = fcntl(connection.pointee.descriptor, F_DUPFD_CLOEXEC, 3)
        guard descriptor >= 0 else {
            fail(connection, "ERR no descriptor is left")
            return nil
        }
        if let tls = connection.pointee.tls {
            // What is encrypted goes on where it is; the connection must not say goodbye for it.
            guard zg_tls_move(tls, descriptor) == 0 else {
                _ = Glibc.close(descriptor)
                fail(connection, "ERR no memory is left")
                return nil
            }
        }
        let socket = PeerSocket(descriptor: descriptor, tls: connection.pointee.tls)
        connection.pointee.tls = nil
        connection.pointee.receivesSpecially = false
        _ = zg_epoll_control(epoll, 3, connection.pointee.descriptor, 0, 0)
        connection.pointee.isClosing = true
        connection.pointee.inputStart = connection.pointee.inputEnd
        let waiting = [UInt8](
            UnsafeRawBufferPointer(
                start: connection.pointee.output + connection.pointee.outputStart,
                count: connection.pointee.waitingOutput))
        (connection.pointee.outputStart, connection.pointee.outputEnd) = (0, 0)
        return (socket, waiting)
    }

    /// A replica said something, or takes more.
    mutating func handleReplica(_ descriptor: Int32, _ events: UInt32) {
        guard let replica = replicas.members.first(where: { $0.pointee.descriptor == descriptor }) else {
            handleMoving(descriptor, events)
            return
        }
        if events & ~UInt32(ZG_WRITABLE) != 0 { read(replica) }
    }

    // MARK: The end of a turn

    /// Sends replicas what was committed, and looks after who waits for them.
    mutating func tendReplicas() {
        replicas.hasMore = false
        noteSending()
        var index = 0
        while index < replicas.members.count {
            let replica = replicas.members[index]
            if !isUrgent, monotonic &- replica.pointee.lastRead >= Limits.replicaGather { read(replica) }
            if isUrgent || isDue(replica) { send(replica) }
            watch(replica)
            if monotonic &- replica.pointee.lastHeard > Limits.replicaSilence { replica.pointee.isDead = true }
            if replica.pointee.isDead { drop(index) } else { index += 1 }
        }
        updateRequirement()
    }

    /// Compaction waits a while for who is in the middle of a segment.
    private mutating func noteSending() {
        let isSame =
            engine.segmentsBeingSent.count == replicas.members.count
            && replicas.members.indices.allSatisfy {
                engine.segmentsBeingSent[$0] == replicas.members[$0].pointee.sender.segment
            }
        if !isSame { engine.segmentsBeingSent = replicas.members.map(\.pointee.sender.segment) }
    }

    /// Whether somebody waits for replicas.
    private var isUrgent: Bool { settings.replicasRequired > 0 || !replicas.waiters.isEmpty }

    private func isDue(_ replica: UnsafeMutablePointer<Replica>) -> Bool {
        replica.pointee.isCopying || replica.pointee.waitingOutput > 0
            || monotonic &- replica.pointee.lastSent >= Limits.replicaGather
    }

    private mutating func read(_ replica: UnsafeMutablePointer<Replica>) {
        replica.pointee.lastRead = monotonic
        if replica.pointee.receive(now: monotonic) { noteAcknowledged() }
    }

    /// Acknowledgements wake the loop only if somebody waits for them.
    private func watch(_ replica: UnsafeMutablePointer<Replica>) {
        let interest = UInt32(
            (isUrgent ? ZG_READABLE : ZG_PEER_CLOSED) | (replica.pointee.waitingOutput > 0 ? ZG_WRITABLE : 0))
        guard interest != replica.pointee.interest, !replica.pointee.isDead else { return }
        replica.pointee.interest = interest
        _ = zg_epoll_control(
            epoll, 2, replica.pointee.descriptor, interest, Self.replicaToken | UInt64(replica.pointee.descriptor))
    }

    /// Milliseconds of the loop's sleep that this replica allows: a moment of monotonic time.
    func nextMoment(_ replica: UnsafeMutablePointer<Replica>) -> UInt64 {
        if replica.pointee.isDead { return 0 }
        if replica.pointee.waitingOutput == 0, replica.pointee.sender.isBehind(engine) {
            return replica.pointee.lastSent &+ Limits.replicaGather
        }
        if replica.pointee.awaitsToken { return replica.pointee.lastRead &+ Limits.replicaPositionBusy / 2 }
        let isBehind = replica.pointee.acknowledged + 1 < engine.nextSequence
        return replica.pointee.lastPosition
            &+ (isBehind ? Limits.replicaPositionBusy : Limits.replicaPositionIdle)
    }

    private mutating func send(_ replica: UnsafeMutablePointer<Replica>) {
        replica.pointee.isCopying = false
        var budget = Limits.replicaSendBytes
        while !replica.pointee.isDead {
            guard replica.pointee.flush() else { break }
            guard budget > 0 else {
                replicas.hasMore = true
                replica.pointee.isCopying = true
                break
            }
            let room = replica.pointee.room
            do throws(ReplicaRefusal) {
                let count = try replica.pointee.sender.fill(
                    engine, replica.pointee.output, room: min(room, max(budget, ReplicaSender.roomMin)))
                replica.pointee.outputEnd = count
                budget -= count
                if count > 0 { replica.pointee.lastSent = monotonic }
            } catch .moved(let segment) {
                EventLog.info("replica_asks_again", "id=\(replica.pointee.id) compacted=\(segment)")
                replica.pointee.isDead = true
            } catch {
                EventLog.error("replica_failed", "id=\(replica.pointee.id) error=\(error)")
                replica.pointee.isDead = true
            }
            if replica.pointee.outputEnd == 0 {
                guard tellPosition(replica) else { break }
            }
        }
    }

    /// Now and then, behind everything: where the master is. Often enough to measure by.
    private func tellPosition(_ replica: UnsafeMutablePointer<Replica>) -> Bool {
        let isBehind = replica.pointee.acknowledged + 1 < engine.nextSequence
        let pause = isBehind ? Limits.replicaPositionBusy : Limits.replicaPositionIdle
        guard monotonic &- replica.pointee.lastPosition >= pause else { return false }
        replica.pointee.lastPosition = monotonic
        replica.pointee.awaitsToken = true
        replica.pointee.outputEnd = replica.pointee.sender.position(
            engine, time: now, token: monotonic, replica.pointee.output)
        return true
    }

    private mutating func drop(_ index: Int) {
        let replica = replicas.members.remove(at: index)
        EventLog.info("replica_lost", "id=\(replica.pointee.id) name=\(replica.pointee.name)")
        _ = zg_epoll_control(epoll, 3, replica.pointee.descriptor, 0, 0)
        replica.pointee.free()
        replica.deallocate()
    }

    /// Everybody goes: this device is no master any more.
    mutating func dropReplicas() {
        while !replicas.members.isEmpty { drop(replicas.members.count - 1) }
    }

    /// Behind a stop in order: the replicas get the last records too, if they take them soon.
    mutating func drainReplicas() {
        let deadline = monotonic &+ Limits.replicaDrain
        repeat {
            tick()
            for replica in replicas.members {
                _ = replica.pointee.receive(now: monotonic)
                send(replica)
            }
            let isDone = replicas.members.allSatisfy {
                $0.pointee.isDead || $0.pointee.acknowledged + 1 >= engine.nextSequence
            }
            if isDone { break }
            usleep(500)
        } while monotonic < deadline
        dropReplicas()
    }

    /// Another master exists: nothing is written here any more.
    mutating func supersede(by epoch: UInt64) {
        do throws(LogError) {
            if try engine.supersede(by: epoch) {
                EventLog.error("superseded", "epoch=\(engine.epoch) by=\(epoch)")
            }
        } catch { EventLog.error("role_failed", "error=\(error)") }
    }

    static func bytes(_ hexadecimal: String) -> [UInt8]? {
        let digits = Array(hexadecimal.utf8)
        guard digits.count == 32 else { return nil }
        var result: [UInt8] = []
        for index in stride(from: 0, to: 32, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                return nil
            }
            result.append(byte)
        }
        return result
    }
}
