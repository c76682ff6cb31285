import LogEngine
import Simulation

/// What goes over the connections.
extension ReplicaRun {
    /// Replicas without a connection ask for the log.
    func connect() throws(Stop) {
        for node in nodes where node.isUp && node.link == nil && node.engine.role == .replica {
            guard let master = node.upstream, nodes[master].isUp, random.chance(40) else { continue }
            try ask(node, master)
        }
    }

    private func ask(_ node: ReplicaNode, _ master: Int) throws(Stop) {
        let link = ReplicaLink(id: nextLink, replica: node.number, master: master, now: now)
        nextLink += 1
        do throws(LogError) {
            if node.engine.turnHasWrites || node.engine.isDirty { try node.engine.commit(sync: true) }
            let segments = try node.engine.inventory()
            links.append(link)
            (node.link, node.input, node.acknowledged) = (link, [], 0)
            node.receiver = ReplicaReceiver()
            say("link \(link.id): \(node.number) asks \(master) from \(node.engine.replicatedEnd)")
            send(
                link, 0,
                .hello(
                    device: segments.isEmpty ? [] : node.engine.device, epoch: node.engine.epoch,
                    segments: SegmentSummary.encode(segments)))
        } catch { try failed(node, error) }
    }

    /// Masters send what they have.
    func pump() throws(Stop) {
        for link in links where link.sender != nil && random.chance(70) { try pump(link) }
    }

    func pump(_ link: ReplicaLink) throws(Stop) {
        let node = nodes[link.master]
        guard node.isUp, !link.isBroken, var sender = link.sender else { return }
        var buffer = [UInt8](repeating: 0, count: ReplicaSender.roomMin + random.below(30_000))
        var result: Result<Int, ReplicaRefusal> = .success(0)
        let tellsPosition = random.chance(20)
        buffer.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            do throws(ReplicaRefusal) {
                var count = try sender.fill(node.engine, base, room: bytes.count)
                if count == 0, tellsPosition, !sender.isBehind(node.engine) {
                    count = sender.position(node.engine, time: now, token: now, base)
                }
                result = .success(count)
            } catch { result = .failure(error) }
        }
        link.sender = sender
        switch result {
        case .failure(.failed(let error)): try failed(node, error)
        case .failure(let refusal): end(link, "\(refusal)")
        case .success(let count):
            var left = buffer[..<count]
            while !left.isEmpty {
                let part = left.prefix(1 + random.below(20_000))
                left = left.dropFirst(part.count)
                send(link, 1, .frames(Array(part)))
            }
        }
    }

    func send(_ link: ReplicaLink, _ direction: Int, _ message: ReplicaMessage) {
        var bytes = message.bytes(link.id, link.sent[direction], direction)
        link.sent[direction] += 1
        if damages, case .frames = message, random.chance(1) {
            counts.faults += 1
            link.isDamaged = true
            bytes[18 + random.below(bytes.count - 18)] ^= UInt8(1 << random.below(8))
        }
        let (from, to) = direction == 0 ? (link.replica, link.master) : (link.master, link.replica)
        network.send(.init(source: from, target: to, payload: bytes), at: now)
    }

    /// What has arrived is taken, in the order of its connection.
    func deliver() throws(Stop) {
        now += UInt64(random.below(100_000))
        while let message = network.receive(at: now) {
            let (id, index, direction) = ReplicaMessage.header(message.payload)
            guard let link = links.first(where: { $0.id == id }), nodes[message.target].isUp else { continue }
            link.early[direction][index] = message.payload
            link.lastHeard = now
            while let next = link.early[direction].removeValue(forKey: link.taken[direction]), !link.isBroken {
                link.taken[direction] += 1
                try take(ReplicaMessage(body: next[17...]), link)
            }
            // Something was lost on the way, and nobody sends it again.
            if link.early[direction].count > 6 { end(link, "it is silent") }
        }
        for link in links where now &- link.lastHeard > 40_000_000 { end(link, "it is silent") }
    }

    private func take(_ message: ReplicaMessage, _ link: ReplicaLink) throws(Stop) {
        let (replica, master) = (nodes[link.replica], nodes[link.master])
        switch message {
        case .hello(let device, let epoch, let segments): try answer(link, master, device, epoch, segments)
        case .superseded:
            end(link, "the other one is of a lower epoch")
            do throws(LogError) {
                if try replica.engine.resume() {
                    say("\(replica.number) is the master again")
                    replica.upstream = nil
                }
            } catch { try failed(replica, error) }
        case .diverged(let place): try cut(replica, master, place, link)
        case .accepted: break
        case .frames(let bytes): try takeFrames(replica, link, bytes)
        case .acknowledgement(let sequence):
            link.acknowledged = max(link.acknowledged, sequence)
            confirm(master)
        }
    }

    private func answer(
        _ link: ReplicaLink, _ node: ReplicaNode, _ device: [UInt8], _ epoch: UInt64, _ segments: [UInt8]
    ) throws(Stop) {
        let inventory = segments.withUnsafeBytes { SegmentSummary.decode($0) } ?? []
        do throws(ReplicaRefusal) {
            link.sender = try node.engine.beginSending(
                device: device.isEmpty ? nil : device, epoch: epoch, inventory: inventory)
            send(link, 1, .accepted)
        } catch {
            say("link \(link.id): \(error)")
            switch error {
            case .superseded(let epoch):
                do throws(LogError) {
                    _ = try node.engine.supersede(by: epoch)
                    node.isSuperseded = node.engine.role == .superseded
                    waiting.removeAll { $0.node == node.number }
                } catch { try failed(node, error) }
                if node.isUp { send(link, 1, .superseded) }
            case .diverged(let place): send(link, 1, .diverged(place))
            case .failed(let error): try failed(node, error)
            default: throw .wrong("a replica was refused: \(error)")
            }
        }
    }

    /// The replica has what its master does not have.
    private func cut(
        _ replica: ReplicaNode, _ master: ReplicaNode, _ place: LogPosition, _ link: ReplicaLink
    ) throws(Stop) {
        end(link, "diverged at \(place)")
        do throws(LogError) {
            let isHarmless = try replica.engine.isWithoutChanges(behind: place)
            if isHarmless || master.engine.epoch > replica.engine.epoch {
                say("\(replica.number) is cut at \(place)")
                try replica.discard(behind: place, time: now)
                return
            }
        } catch { return try failed(replica, error) }
        // A master that lost what it had not synced: the one that has more is promoted.
        if options.policy == .always { throw .wrong("replica \(replica.number) has what was never durable before") }
        try promote()
    }

    private func takeFrames(_ node: ReplicaNode, _ link: ReplicaLink, _ bytes: [UInt8]) throws(Stop) {
        node.input += bytes
        do throws(ReplicaFailure) { try node.take() } catch {
            if node.disk.isCrashed { return fall(node) }
            switch error {
            case .outdated: return end(link, "\(error)")
            case .protocolError, .corrupt:
                if link.isDamaged { return end(link, "\(error)") }
            default: break
            }
            throw .wrong("replica \(node.number): \(error)")
        }
        if random.chance(60) { try acknowledge(node, link) }
    }

    func acknowledge(_ node: ReplicaNode, _ link: ReplicaLink) throws(Stop) {
        do throws(LogError) {
            let sequence = try node.settle()
            guard sequence > node.acknowledged else { return }
            node.acknowledged = sequence
            send(link, 0, .acknowledgement(sequence))
        } catch { try failed(node, error) }
    }

    /// Clients whose writes are on enough replicas are answered.
    private func confirm(_ master: ReplicaNode) {
        guard master.engine.role == .master else { return }
        let have = links.filter { $0.master == master.number }.map(\.acknowledged).sorted(by: >)
        guard have.count >= required else { return }
        let confirmed = have[required - 1]
        for wait in waiting where wait.node == master.number && wait.last <= confirmed {
            acknowledged += wait.writes
            say("\(master.number) answers \(wait.last)")
        }
        waiting.removeAll { $0.node == master.number && $0.last <= confirmed }
    }
}
