import CLinux
import Glibc
import Linux
import LogEngine

/// The follower's side: namespaces of this server take their records from other servers.
extension Server {
    // MARK: Beginning and ending

    /// Every namespace that follows asks its source again: at a start, and when this device becomes the master.
    mutating func resumeFollowing() {
        guard engine.role == .master else { return }
        for name in engine.namespaceNames {
            guard let id = engine.namespace(named: name), engine.following(id) != nil else { continue }
            beginFollowing(id, nil)
        }
    }

    /// Connects a namespace with its source, as its settings say.
    mutating func beginFollowing(_ id: UInt32, _ credentials: (user: [UInt8], password: [UInt8])?) {
        guard let following = engine.following(id),
            let address = MasterAddress(String(decoding: following.address, as: UTF8.self))
        else { return }
        leave(namespace: id)
        let link = SourceLink(id, address, now: monotonic)
        link.credentials = credentials
        moving.sources.append(link)
        EventLog.info(
            "following", "namespace=\(nameText(id)) source=\(address) sequence=\(following.sequence)")
    }

    /// A namespace follows no longer.
    mutating func leave(namespace id: UInt32) {
        if let link = moving.sources.first(where: { $0.namespace == id }) { leave(link) }
    }

    mutating func leave(_ link: SourceLink) {
        if link.descriptor >= 0 { _ = zg_epoll_control(epoll, 3, link.descriptor, 0, 0) }
        moving.sources.removeAll { $0 === link }
    }

    private func nameText(_ id: UInt32) -> String {
        engine.information(id).map { String(decoding: $0.name, as: UTF8.self) } ?? "\(id)"
    }

    mutating func end(_ link: SourceLink, _ why: String) {
        if link.descriptor >= 0 { _ = zg_epoll_control(epoll, 3, link.descriptor, 0, 0) }
        if link.lastError != why {
            EventLog.warning("source_lost", "namespace=\(nameText(link.namespace)) why=\"\(why)\"")
        }
        link.end(why, now: monotonic)
    }

    // MARK: Turns

    /// What namespaces that move have to do at a turn's end.
    mutating func tendMoving() {
        guard !moving.isEmpty || !moving.promotions.isEmpty else {
            moving.hasMore = false
            return
        }
        tendFollowers()
        for link in moving.sources { tend(link) }
        tendPromotions()
    }

    func nextMoveMoment() -> UInt64 {
        var until = UInt64.max
        for follower in moving.followers { until = min(until, nextMoment(follower)) }
        for link in moving.sources {
            if case .waiting(let moment) = link.state { until = min(until, moment) }
            until = min(until, monotonic &+ Limits.replicaPositionIdle)
        }
        for promotion in moving.promotions { until = min(until, promotion.deadline) }
        return until
    }

    private mutating func tend(_ link: SourceLink) {
        switch link.state {
        case .waiting(let until):
            guard monotonic >= until else { return }
            if let problem = link.connect(settings.peerTLS, now: monotonic) {
                end(link, problem)
                return
            }
            _ = zg_epoll_control(
                epoll, 1, link.descriptor, UInt32(ZG_READABLE | ZG_WRITABLE),
                Self.replicaToken | UInt64(link.descriptor))
        case .connecting, .greeting:
            if monotonic &- link.lastHeard > Limits.replicaSilence { end(link, "no answer") }
        case .streaming:
            if monotonic &- link.lastHeard > Limits.replicaSilence {
                end(link, "the source is silent")
            } else {
                acknowledge(link)
            }
        }
    }

    /// A follower's connection, or one to a source, is ready for something.
    mutating func handleMoving(_ descriptor: Int32, _ events: UInt32) {
        if let follower = moving.followers.first(where: { $0.pointee.socket.descriptor == descriptor }) {
            if events & ~UInt32(ZG_WRITABLE) != 0 { follower.pointee.receive(now: monotonic) }
            return
        }
        guard let link = moving.sources.first(where: { $0.descriptor == descriptor }) else { return }
        switch link.state {
        case .waiting: return
        case .connecting:
            let code = zg_connect_result(descriptor)
            guard code == 0 else {
                end(link, "connect: \(String(cString: strerror(-code)))")
                return
            }
            _ = zg_epoll_control(
                epoll, 2, descriptor, UInt32(ZG_READABLE), Self.replicaToken | UInt64(descriptor))
            greet(link)
        case .greeting, .streaming: receive(link)
        }
    }

    private mutating func greet(_ link: SourceLink) {
        guard let following = engine.following(link.namespace) else {
            leave(link)
            return
        }
        link.linesLeft = 1
        if let (user, password) = link.credentials {
            link.say([Array("AUTH".utf8), user, password])
            link.linesLeft += 1
        } else if let password = settings.replicaPassword {
            link.say([Array("AUTH".utf8), Array("admin".utf8), password])
            link.linesLeft += 1
        }
        let device = following.device.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        link.say([
            Array("NSSYNC".utf8), Array("\(Self.followProtocol)".utf8), following.name, Array(device.utf8),
            Array("\(following.namespace)".utf8), Array("\(following.sequence)".utf8), settings.replicaName,
        ])
        link.state = .greeting
        if !link.flush() { end(link, link.problem("the connection broke")) }
    }

    private mutating func receive(_ link: SourceLink) {
        var budget = Limits.replicaReadBytes
        while budget > 0 {
            let before = link.bytesReceived
            switch link.receive(now: monotonic) {
            case .nothing: return
            case .end:
                end(link, link.problem("the source closed the connection"))
                return
            case .some:
                budget -= Int(link.bytesReceived - before)
                if case .greeting = link.state, !readGreeting(link) { return }
                if link.isStreaming, !takeFrames(link) { return }
                if !link.mayHaveMore { return }
            }
        }
    }

    /// Lines until the stream begins; false if there is nothing more to read now.
    private mutating func readGreeting(_ link: SourceLink) -> Bool {
        while link.linesLeft > 0 {
            guard let line = link.line() else { return false }
            guard line.hasPrefix("+"), link.linesLeft > 1 || meet(link, line) else {
                end(link, line.hasPrefix("+") ? "DIVERGED the source is another one than before" : line)
                return false
            }
            link.linesLeft -= 1
        }
        link.state = .streaming
        link.lastError = ""
        link.retryDelay = 0
        EventLog.info("source_found", "namespace=\(nameText(link.namespace)) source=\(link.address)")
        return true
    }

    /// `+NSSYNC protocol device number`: whether it is the source that it was.
    private mutating func meet(_ link: SourceLink, _ line: String) -> Bool {
        let words = line.split(separator: " ")
        guard words.count >= 4, words[0] == "+NSSYNC", let device = Self.bytes(String(words[2])),
            let number = UInt32(words[3]), number > 0
        else { return false }
        do throws(LogError) {
            return try engine.meet(link.namespace, device: device, namespace: number, time: now)
        } catch {
            EventLog.error("follow_failed", "namespace=\(nameText(link.namespace)) error=\(error)")
            return false
        }
    }

    /// Whole frames into the engine.
    private mutating func takeFrames(_ link: SourceLink) -> Bool {
        ensureTenant(link.namespace)
        let delay = tenants[Int(link.namespace)].syncDelay
        do throws(FollowFailure) {
            link.inputStart += try link.receiver.consume(
                &engine, link.input + link.inputStart, link.inputEnd - link.inputStart, sync: delay == 0, time: now)
        } catch {
            end(link, Self.message(error))
            if case .log(.full) = error { counters.refusedFull += 1 }
            return false
        }
        applySettings(link.namespace)
        if engine.isDirty, delay != .max { syncDueAt = min(syncDueAt, monotonic &+ delay) }
        if isLevel(link) { link.lastEqual = monotonic }
        if link.receiver.position?.isEnded == true {
            end(link, "the namespace was ended at the source")
            link.state = .waiting(until: monotonic &+ Limits.replicaSilence)
            return false
        }
        return true
    }

    /// Whether everything that the source had, when it spoke last, is here.
    private func isLevel(_ link: SourceLink) -> Bool {
        link.receiver.position?.isComplete == true && link.receiver.bytesLeft == 0
    }

    private mutating func acknowledge(_ link: SourceLink) {
        guard monotonic &- link.lastAcknowledgement >= Limits.followAcknowledge,
            let sequence = progress(link),
            sequence != link.acknowledged
                || monotonic &- link.lastAcknowledgement >= Limits.replicaPositionIdle
        else { return }
        link.output += Array("ACK \(sequence)\n".utf8)
        (link.acknowledged, link.lastAcknowledgement) = (sequence, monotonic)
        if !link.flush() { end(link, link.problem("the connection broke")) }
    }

    /// Everything of the source up to this number is here.
    private func progress(_ link: SourceLink) -> UInt64? {
        guard let following = engine.following(link.namespace) else { return nil }
        guard let position = link.receiver.position, position.isComplete else { return following.sequence }
        return max(following.sequence, position.sequence)
    }

    static func message(_ failure: FollowFailure) -> String {
        switch failure {
        case .protocolError: "the stream is not what it should be"
        case .corrupt(let sequence): "the value with the source's number \(sequence) does not match its checksum"
        case .batchTooLarge: "a batch of the source is too large"
        case .log(let error): "own log: \(message(error))"
        }
    }

    // MARK: What can be told

    /// Where a namespace that follows is.
    func followLines(_ link: SourceLink) -> [(String, String)] {
        let following = engine.following(link.namespace)
        let sequence = progress(link) ?? 0
        let behind = link.receiver.sourceSequence - min(sequence, link.receiver.sourceSequence)
        let isLevel = link.isStreaming && isLevel(link)
        let since = isLevel ? monotonic : min(link.lastEqual, monotonic)
        return [
            ("namespace", nameText(link.namespace)), ("source", "\(link.address)"),
            ("source_namespace", String(decoding: following?.name ?? [], as: UTF8.self)),
            ("link", link.isStreaming ? "up" : "down"), ("sequence", "\(sequence)"),
            ("behind_records", "\(behind)"), ("behind_bytes", "\(link.receiver.bytesLeft)"),
            ("behind_milliseconds", "\((monotonic - since) / 1_000_000)"),
            ("damaged", "\(missing(link))"), ("connects", "\(link.attempts)"), ("error", link.lastError),
        ]
    }

    /// Places of the source's log whose records are not here because they were damaged there.
    func missing(_ link: SourceLink) -> UInt64 { engine.following(link.namespace)?.missing ?? 0 }

    /// The same for `NSINFO`; empty for a namespace that follows nobody.
    func followText(_ id: UInt32) -> String {
        guard let link = moving.sources.first(where: { $0.namespace == id }) else { return "" }
        return followLines(link).dropFirst().map { "\nfollow_\($0): \($1)" }.joined()
    }
}
