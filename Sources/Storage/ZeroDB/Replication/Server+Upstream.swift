import CLinux
import Glibc
import Linux
import LogEngine

/// The replica's side: its master's log comes in, and becomes this device's.
extension Server {
    static let upstreamToken: UInt64 = 6
    /// The version of what follows `ZSYNC`.
    static let replicationProtocol = 2

    /// Takes the log from a master from now on.
    mutating func follow(_ address: MasterAddress, discardsTail: Bool) throws(LogError) {
        try engine.follow()
        while let link = moving.sources.last { leave(link) }
        upstream = Upstream(address, discardsTail: discardsTail, now: monotonic)
        EventLog.info("replica_of", "master=\(address)")
    }

    /// What the connection to the master has to do at this turn's end.
    mutating func tendUpstream() {
        guard upstream != nil else { return }
        switch upstream?.state {
        case .waiting(let until):
            if monotonic >= until { connectUpstream() }
        case .connecting, .greeting:
            if monotonic &- (upstream?.lastHeard ?? 0) > Limits.replicaSilence { endUpstream("no answer") }
        case .streaming:
            if monotonic &- (upstream?.lastHeard ?? 0) > Limits.replicaSilence { endUpstream("the master is silent") }
            acknowledge()
        case nil: break
        }
        tendReplacements()
    }

    /// What the engine wants after a change of its segments.
    private mutating func tendReplacements() {
        if let failure = engine.takeReplacementFailure() {
            EventLog.error("replacement_failed", "why=\"\(failure)\"")
            if upstream?.descriptor != -1 { endUpstream("own segments: \(failure)") }
        }
        guard engine.needsReopening else { return }
        EventLog.info("copy_complete", "next_sequence=\(engine.nextSequence)")
        endUpstream("opened anew, because the copy is complete")
        do throws(LogError) { try reopen() } catch { return }
        upstream?.retryDelay = 0
        upstream?.state = .waiting(until: monotonic)
    }

    private mutating func connectUpstream() {
        guard let upstream else { return }
        if let problem = upstream.connect(settings.peerTLS, now: monotonic) {
            endUpstream(problem)
            return
        }
        _ = zg_epoll_control(
            epoll, 1, upstream.descriptor, UInt32(ZG_READABLE | ZG_WRITABLE), Self.upstreamToken)
    }

    mutating func endUpstream(_ why: String) {
        guard let descriptor = upstream?.descriptor else { return }
        let isNews = upstream?.lastError != why
        if descriptor >= 0 { _ = zg_epoll_control(epoll, 3, descriptor, 0, Self.upstreamToken) }
        if isNews { EventLog.warning("master_lost", "why=\"\(why)\"") }
        upstream?.end(why, now: monotonic)
    }

    /// The connection to the master is ready for something.
    mutating func handleUpstream(_ events: UInt32) {
        guard let state = upstream?.state, let descriptor = upstream?.descriptor, descriptor >= 0 else { return }
        switch state {
        case .waiting: return
        case .connecting:
            let code = zg_connect_result(descriptor)
            guard code == 0 else {
                endUpstream("connect: \(String(cString: strerror(-code)))")
                return
            }
            _ = zg_epoll_control(epoll, 2, descriptor, UInt32(ZG_READABLE), Self.upstreamToken)
            greet()
        case .greeting, .streaming: receiveUpstream()
        }
    }

    private mutating func greet() {
        let inventory: [SegmentSummary]
        do throws(LogError) { inventory = try engine.inventory() } catch {
            endUpstream("own segments: \(Self.message(error))")
            return
        }
        let device = inventory.isEmpty ? "?" : engine.device.map { Self.hexadecimal($0) }.joined()
        var lines = 1
        if let password = settings.replicaPassword {
            upstream?.say([Array("AUTH".utf8), Array("admin".utf8), password])
            lines += 1
        }
        let words = ["ZSYNC", device, "\(engine.epoch)", "\(engine.durableSequence)", "\(Self.replicationProtocol)"]
        upstream?.say(words.map { Array($0.utf8) } + [settings.replicaName, SegmentSummary.encode(inventory)])
        upstream?.linesLeft = lines
        upstream?.state = .greeting
        if upstream?.flush() == false { endUpstream(upstream?.problem("the connection broke") ?? "") }
    }

    private static func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

    private mutating func receiveUpstream() {
        var budget = Limits.replicaReadBytes
        while budget > 0, let upstream {
            let before = upstream.bytesReceived
            switch upstream.receive(now: monotonic) {
            case .nothing: budget = 0
            case .end:
                endUpstream(upstream.problem("the master closed the connection"))
                return
            case .some:
                budget -= Int(upstream.bytesReceived - before)
                if case .greeting = upstream.state, !readGreeting() { return }
                if upstream.isStreaming, !takeFrames() { return }
                if !upstream.mayHaveMore { budget = 0 }
            }
        }
        commitReplicated()
    }

    /// Lines until the stream begins; false if there is nothing more to read now.
    private mutating func readGreeting() -> Bool {
        while (upstream?.linesLeft ?? 0) > 0 {
            guard let line = upstream?.line() else { return false }
            guard line.hasPrefix("+") else {
                refused(line)
                return false
            }
            upstream?.linesLeft -= 1
            let words = line.split(separator: " ")
            if words.first == "+ZSYNC", let epoch = words.last.flatMap({ UInt64($0) }), epoch < engine.knownEpoch {
                endUpstream(Self.message(.outdated(epoch: epoch)))
                return false
            }
        }
        upstream?.state = .streaming
        upstream?.lastError = ""
        upstream?.retryDelay = 0
        EventLog.info("master_found", "epoch=\(engine.epoch) next_sequence=\(engine.nextSequence)")
        return true
    }

    /// Whole frames into the engine.
    private mutating func takeFrames() -> Bool {
        guard let start = upstream?.inputStart, let end = upstream?.inputEnd, let input = upstream?.input else {
            return false
        }
        do throws(ReplicaFailure) {
            let used = try upstream?.receiver.consume(&engine, input + start, end - start) ?? 0
            upstream?.inputStart += used
        } catch {
            commitReplicated()
            endUpstream(Self.message(error))
            if case .log(let why) = error, why == .full { counters.refusedFull += 1 }
            return false
        }
        if engine.nextSequence > upstream?.receiver.masterSequence ?? 0 { upstream?.lastEqual = monotonic }
        if engine.replacementCounts.pending > 0 { hasWork = true }
        return true
    }

    /// What came in this turn is written, durable if the settings say so, and acknowledged.
    private mutating func commitReplicated() {
        guard engine.turnHasWrites || engine.isDirty else { return }
        let sync = settings.sync == .always
        let begun = Clock.monotonicNanoseconds()
        do throws(LogError) { try engine.commit(sync: sync) } catch {
            EventLog.error("commit_failed", "error=\(error)")
            endUpstream("own disk: \(Self.message(error))")
            return
        }
        if sync {
            counters.syncs += 1
            counters.syncNanoseconds += elapsed(begun)
        }
        acknowledge()
    }

    /// Tells the master what is durable here, if that is news.
    private mutating func acknowledge() {
        guard upstream?.isStreaming == true, let token = upstream?.receiver.token else { return }
        // What is not a copy of any moment yet is none of anything.
        let sequence = engine.isIncomplete ? 0 : engine.durableSequence
        let isNew = sequence != upstream?.acknowledged
        // A position comes back when everything before it is durable.
        let isBack = token != upstream?.acknowledgedToken && !engine.isDirty
        guard isNew || isBack else { return }
        let place = engine.replicatedEnd
        let line = "ACK \(sequence) \(place.segment) \(place.offset) \(isBack ? token : 0)\n"
        upstream?.output += Array(line.utf8)
        upstream?.acknowledged = sequence
        if isBack { upstream?.acknowledgedToken = token }
        if upstream?.flush() == false { endUpstream("the connection broke") }
    }

    /// The master does not send: what can be done about it is done.
    private mutating func refused(_ line: String) {
        let words = line.split(separator: " ")
        endUpstream(line)
        if words.first == "-EPOCH" {
            resumeMastery()
        } else if words.first == "-DIVERGED" || words.first == "-COMPACTED", words.count > 2,
            let segment = UInt64(words[1]),
            let offset = UInt64(words[2])
        {
            discard(LogPosition(segment: segment, offset: offset), isKnown: words.first == "-COMPACTED")
        }
    }

    /// The other one is of a lower epoch, and knows now that it is the master no longer.
    private mutating func resumeMastery() {
        do throws(LogError) {
            guard try engine.resume() else { return }
            upstream = nil
            EventLog.warning(
                "master_again", "epoch=\(engine.epoch) why=\"promoted since, and the other one is of a lower epoch\"")
        } catch { EventLog.error("role_failed", "error=\(error)") }
    }

    /// Records that the master does not have: notes of a process go at once, changes only if somebody allowed it. What
    /// it has compacted since, and what was only a part of a copy, is no loss.
    private mutating func discard(_ place: LogPosition, isKnown: Bool) {
        do throws(LogError) {
            let isLess = isKnown || engine.isIncomplete
            let isHarmless = isLess ? true : try engine.isWithoutChanges(behind: place)
            guard isHarmless || upstream?.discardsTail == true else {
                EventLog.error(
                    "diverged",
                    "segment=\(place.segment) offset=\(place.offset) remedy=\"--replica-discard-tail or REPLICAOF … DISCARD "
                        + "gives up what was written here behind that place\"")
                return
            }
            EventLog.warning(
                "tail_discarded", "segment=\(place.segment) offset=\(place.offset) had_changes=\(!isHarmless)")
            try engine.discard(behind: place)
            try reopen()
            upstream?.retryDelay = 0
            upstream?.state = .waiting(until: monotonic)
        } catch { EventLog.error("discard_failed", "error=\(error)") }
    }

    /// Opens the device again: its index knew records that are gone.
    private mutating func reopen() throws(LogError) {
        // Replicas of this one ask again: what they were sent may be other segments now.
        dropReplicas()
        engine.closeFiles()
        do throws(LogError) {
            var options = Program.options(settings)
            options.follows = true
            engine = try LogEngine.open(disk: disk, options: options, time: now)
        } catch {
            EventLog.error("reopen_failed", "error=\(error)")
            isStopping = true
            throw error
        }
    }

    static func message(_ failure: ReplicaFailure) -> String {
        switch failure {
        case .protocolError: "the stream is not what it should be"
        case .corrupt(let place): "damage at segment \(place.segment) offset \(place.offset) of the master"
        case .foreign: "the master is of another device"
        case .outdated(let epoch): "the master is of epoch \(epoch), a higher one is known"
        case .busy(let segment): "segment \(segment) is still being removed"
        case .log(let error): "own disk: \(message(error))"
        }
    }
}
