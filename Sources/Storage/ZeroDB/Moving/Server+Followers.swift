import CLinux
import Glibc
import LogEngine

/// The source's side: a namespace's records go to a namespace of another server that follows it.
extension Server {
    static let followProtocol = 1

    /// `NSSYNC protocol namespace device number sequence name`: the connection becomes a follower's.
    mutating func beginFollower(_ connection: UnsafeMutablePointer<Connection>) {
        guard let version = arguments[1].number, let number = arguments[4].number, number <= UInt64(UInt32.max),
            let sequence = arguments[5].number, let device = Self.bytes(arguments[3].text)
        else {
            fail(connection, "ERR NSSYNC protocol namespace device number sequence name")
            return
        }
        guard version == UInt64(Self.followProtocol) else {
            fail(connection, "ERR this source speaks version \(Self.followProtocol) of NSSYNC, not \(version)")
            return
        }
        let name = arguments[2].array
        guard mayFollow(connection, name) else {
            fail(connection, "DENIED following needs the administrator, or the namespace's password")
            return
        }
        guard moving.followers.count < Limits.followersMax else {
            fail(connection, "ERR this server has \(Limits.followersMax) followers already")
            return
        }
        var following = Following(address: [], name: name)
        (following.device, following.namespace, following.sequence) = (device, UInt32(number), sequence)
        do throws(FollowRefusal) {
            take(connection, try engine.beginSending(namespace: name, to: following), arguments[2].text)
        } catch {
            switch error {
            case .noNamespace: fail(connection, LogError.noNamespace)
            case .foreign:
                fail(
                    connection,
                    "DIVERGED what follows is of another device, or of a namespace of this name that was ended: "
                        + "a new namespace has to follow")
            }
        }
    }

    /// What follows gets everything, the password's verifier too: so it must be as good as the password.
    private func mayFollow(_ connection: UnsafeMutablePointer<Connection>, _ name: [UInt8]) -> Bool {
        if connection.pointee.role == Role.admin { return true }
        guard let id = engine.namespace(named: name), id == connection.pointee.namespace else { return false }
        return connection.pointee.role == Role.readWrite
            || engine.information(id)?.settings.passwordVerifier.isEmpty == true
    }

    private mutating func take(
        _ connection: UnsafeMutablePointer<Connection>, _ sender: NamespaceSender, _ namespace: String
    ) {
        let name = String(arguments[6].text.prefix(64).map { $0.isASCII && !$0.isWhitespace ? $0 : "." })
        guard let (socket, waiting) = handOver(connection) else { return }
        let follower = UnsafeMutablePointer<Follower>.allocate(capacity: 1)
        follower.initialize(
            to: Follower(
                socket: socket, id: moving.nextId, name: name, namespace: namespace, sender: sender, now: monotonic))
        moving.nextId += 1
        moving.followers.append(follower)
        let device = engine.device.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        follower.pointee.put(waiting)
        follower.pointee.put(Array("+NSSYNC \(Self.followProtocol) \(device) \(sender.namespace)\r\n".utf8))
        _ = zg_epoll_control(
            epoll, 1, socket.descriptor, 0, Self.replicaToken | UInt64(socket.descriptor))
        EventLog.info(
            "follower_connected",
            "id=\(follower.pointee.id) name=\(name) namespace=\(namespace) sequence=\(sender.sequence)")
    }

    /// Sends followers what was committed.
    mutating func tendFollowers() {
        moving.hasMore = false
        var index = 0
        while index < moving.followers.count {
            let follower = moving.followers[index]
            if isDue(follower) { send(follower) }
            watch(follower)
            if monotonic &- follower.pointee.lastHeard > Limits.replicaSilence { follower.pointee.isDead = true }
            if follower.pointee.isDead { drop(index) } else { index += 1 }
        }
    }

    private func isDue(_ follower: UnsafeMutablePointer<Follower>) -> Bool {
        follower.pointee.isCopying || follower.pointee.waitingOutput > 0
            || monotonic &- follower.pointee.lastLooked >= Limits.followGather
    }

    private mutating func send(_ follower: UnsafeMutablePointer<Follower>) {
        follower.pointee.isCopying = false
        follower.pointee.lastLooked = monotonic
        var budget = Limits.followReadBytes
        while !follower.pointee.isDead {
            guard follower.pointee.flush(now: monotonic) else { return }
            if follower.pointee.isEnded {
                follower.pointee.isDead = true
                return
            }
            guard budget > 0 else {
                moving.hasMore = true
                follower.pointee.isCopying = true
                break
            }
            do throws(LogError) {
                follower.pointee.outputEnd = try follower.pointee.sender.fill(
                    &engine, follower.pointee.output, room: Follower.outputBytes - 128, budget: &budget)
            } catch {
                // What it lacks was compacted in between: it asks again from where it is.
                EventLog.warning("follower_broken", "id=\(follower.pointee.id) error=\(error)")
                follower.pointee.isDead = true
            }
            if follower.pointee.outputEnd == 0, budget > 0 { break }
        }
        tellPosition(follower)
        _ = follower.pointee.flush(now: monotonic)
    }

    /// Behind what was sent, and every second: where the source is.
    private mutating func tellPosition(_ follower: UnsafeMutablePointer<Follower>) {
        let isEnded = !engine.hasNamespace(follower.pointee.sender.namespace)
        let isNews = follower.pointee.lastSent > follower.pointee.lastPosition
        let isDue = monotonic &- follower.pointee.lastPosition >= Limits.replicaPositionIdle
        let isWhole = !follower.pointee.sender.isBehind(engine)
        guard follower.pointee.waitingOutput == 0, isEnded || isDue || (isNews && isWhole) else { return }
        follower.pointee.lastPosition = monotonic
        follower.pointee.isEnded = isEnded
        follower.pointee.outputEnd = follower.pointee.sender.position(engine, time: now, follower.pointee.output)
        if isEnded { moving.hasMore = true }
    }

    private func watch(_ follower: UnsafeMutablePointer<Follower>) {
        let interest = UInt32(ZG_READABLE | (follower.pointee.waitingOutput > 0 ? ZG_WRITABLE : 0))
        guard interest != follower.pointee.interest, !follower.pointee.isDead else { return }
        follower.pointee.interest = interest
        let descriptor = follower.pointee.socket.descriptor
        _ = zg_epoll_control(epoll, 2, descriptor, interest, Self.replicaToken | UInt64(descriptor))
    }

    /// When a follower has to be looked after again.
    func nextMoment(_ follower: UnsafeMutablePointer<Follower>) -> UInt64 {
        if follower.pointee.isDead { return 0 }
        if follower.pointee.waitingOutput == 0, follower.pointee.sender.isBehind(engine) {
            return follower.pointee.lastLooked &+ Limits.followGather
        }
        return follower.pointee.lastPosition &+ Limits.replicaPositionIdle
    }

    private mutating func drop(_ index: Int) {
        let follower = moving.followers.remove(at: index)
        EventLog.info(
            "follower_lost",
            "id=\(follower.pointee.id) name=\(follower.pointee.name) namespace=\(follower.pointee.namespace)")
        _ = zg_epoll_control(epoll, 3, follower.pointee.socket.descriptor, 0, 0)
        follower.pointee.free()
        follower.deallocate()
    }

    /// The process ends.
    mutating func dropFollowers() { while !moving.followers.isEmpty { drop(moving.followers.count - 1) } }

    /// The lines of `INFO` about namespaces that move.
    func movingLines() -> [(String, String)] {
        var lines: [(String, String)] = [("followers", "\(moving.followers.count)")]
        for (index, follower) in moving.followers.enumerated() {
            let behind = engine.nextSequence - 1 - min(follower.pointee.acknowledged, engine.nextSequence - 1)
            lines.append(
                (
                    "follower\(index)",
                    "namespace=\(follower.pointee.namespace),name=\(follower.pointee.name),"
                        + "sequence=\(follower.pointee.acknowledged),behind=\(behind),"
                        + "records=\(follower.pointee.sender.records),sent_bytes=\(follower.pointee.bytesSent),"
                        + "damaged=\(follower.pointee.sender.missing)"
                ))
        }
        lines.append(("following", "\(moving.sources.count)"))
        for (index, link) in moving.sources.enumerated() {
            lines.append(("following\(index)", followLines(link).map { "\($0)=\($1)" }.joined(separator: ",")))
        }
        return lines
    }
}
