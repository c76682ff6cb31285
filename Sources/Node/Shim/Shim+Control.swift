internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux
internal import RESP

/// One connection to the control socket.
struct ShimClient {
    var uid: UInt32
    var parser = RESPParser(
        limits: .init(itemsMax: 8, bulkMax: ShimLimits.request, lineMax: 4096, messageMax: ShimLimits.request + 4096),
        allowsInline: true)
    var descriptors: [Int32] = []
    var output: [UInt8] = []
    /// A descriptor that goes out with the next bytes.
    var passing: [Int32] = []
    var exec: Int32?
    var isClosing = false
}

extension Shim {
    /// Waits for whatever comes first and handles all that is there.
    func wait(until deadline: Int64) {
        var list: [pollfd] = []
        for descriptor in [signals, listener, output, errors] {
            list.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
        }
        // A FIFO that had a writer and has none now is always "hung up": then only a timer brings us back to it.
        if phase == .ended || isIdleWaiting { list[2].fd = -1; list[3].fd = -1 }
        list.append(pollfd(fd: isChild ? -1 : pidfd, events: Int16(POLLIN), revents: 0))
        let fixed = list.count
        for (descriptor, client) in clients {
            let events = POLLIN | (client.output.isEmpty ? 0 : POLLOUT)
            list.append(pollfd(fd: descriptor, events: Int16(events), revents: 0))
        }
        let ready = poll(&list, UInt(list.count), Self.milliseconds(until: deadline))
        if ready <= 0 { return }
        if list[2].revents != 0 { readPipe(output, .output) }
        if list[3].revents != 0 { readPipe(errors, .errors) }
        if list[0].revents != 0 { takeSignals() }
        if list[4].revents != 0, !isChild, process != nil { adoptedEnded() }
        for entry in list[fixed...] where entry.revents != 0 {
            if Int32(entry.revents) & POLLOUT != 0 { flush(entry.fd) }
            if Int32(entry.revents) & (POLLIN | POLLHUP | POLLERR) != 0 { receive(entry.fd) }
        }
        if list[1].revents != 0 { accept() }
    }

    private var isIdleWaiting: Bool { if case .waiting = phase { true } else { false } }

    private static func milliseconds(until deadline: Int64) -> Int32 {
        if deadline == .max { return -1 }
        let left = deadline - Clock.monotonicNanoseconds()
        return left <= 0 ? 0 : Int32(clamping: (left + 999_999) / 1_000_000)
    }

    private func takeSignals() {
        while true {
            let signal = zg_container_signal_next(signals)
            if signal <= 0 { break }
            switch signal {
            case SIGTERM, SIGINT:
                (wantsRun, isLeaving) = (false, true)
                stop()
            case SIGHUP: if let error = reload() { report("error", "reload", ["error": error]) }
            default: break
            }
        }
        reap()
    }

    /// Moves what the container wrote into its log.
    private func readPipe(_ descriptor: Int32, _ stream: LogRecord.Stream) {
        withUnsafeTemporaryAllocation(byteCount: ShimLimits.pipe, alignment: 16) { space in
            let count = read(descriptor, space.baseAddress, space.count)
            guard count > 0 else { return }
            log.add(stream, Array(space[..<count])[...], time: Clock.wallNanoseconds())
        }
    }

    /// What is left in the pipes after the last writer went.
    func readPipes() {
        for (descriptor, stream) in [(output, LogRecord.Stream.output), (errors, .errors)] {
            // A pipe holds 64 KiB; nobody writes any more.
            for _ in 0..<32 {
                guard zg_poll(descriptor, UInt32(ZG_READABLE), 0) & Int32(ZG_READABLE) != 0 else { break }
                readPipe(descriptor, stream)
            }
        }
    }

    private func accept() {
        let descriptor = zg_accept(listener)
        guard descriptor >= 0 else { return }
        var pid: Int32 = 0
        var uid: UInt32 = .max
        var gid: UInt32 = .max
        let known = [ShimAccounts.root, ShimAccounts.compute, ShimAccounts.corex]
        guard zg_peer(descriptor, &pid, &uid, &gid) == 0, known.contains(uid), clients.count < ShimLimits.clients else {
            close(descriptor)
            return
        }
        clients[descriptor] = ShimClient(uid: uid)
    }

    private func receive(_ descriptor: Int32) {
        guard clients[descriptor] != nil else { return }
        var passed = [Int32](repeating: -1, count: Int(ZG_DESCRIPTORS_MAX))
        var count = 0
        var bytes = [UInt8](repeating: 0, count: 16 << 10)
        let got = zg_receive(descriptor, &bytes, bytes.count, &passed, passed.count, &count)
        clients[descriptor]?.descriptors += passed[..<count]
        if got == -Int(EAGAIN) { return }
        if got <= 0 || (clients[descriptor]?.descriptors.count ?? 0) > 3 {
            drop(descriptor)
            return
        }
        clients[descriptor]?.parser.feed(Array(bytes[..<got]))
        while clients[descriptor] != nil {
            do {
                guard let value = try clients[descriptor]?.parser.next() else { return }
                handle(value, descriptor)
            } catch {
                drop(descriptor)
            }
        }
    }

    /// Ends a connection, and what it started with it.
    func drop(_ descriptor: Int32) {
        guard let client = clients.removeValue(forKey: descriptor) else { return }
        for passed in client.descriptors + client.passing { close(passed) }
        if let exec = client.exec { cancelExec(exec) }
        waitingForStop.removeAll { $0 == descriptor }
        close(descriptor)
    }

    private func handle(_ request: RESPValue, _ descriptor: Int32) {
        guard let words = request.items, let verb = words.first?.text?.uppercased(), words.count <= 2,
            let uid = clients[descriptor]?.uid
        else { return refuse(descriptor, "BADREQUEST", "a request is SHIM.<VERB> and at most one JSON document") }
        var body: JSONValue = .object([:])
        if words.count == 2 {
            guard let bytes = words[1].bytes, let value = try? JSONValue(parsing: bytes) else {
                return refuse(descriptor, "BADREQUEST", "the document is not JSON of the restricted model")
            }
            body = value
        }
        let isOwner = uid == ShimAccounts.root || uid == ShimAccounts.compute
        switch verb {
        case "PING": send(descriptor) { $0.simple("PONG") }
        case "SHIM.STATE": reply(descriptor, state.json)
        case "SHIM.STOP" where isOwner: stopRequest(descriptor, body)
        case "SHIM.KILL" where isOwner: killRequest(descriptor, body)
        case "SHIM.RELOAD" where isOwner:
            if let error = reload() { refuse(descriptor, "BADSPEC", error) } else { reply(descriptor, state.json) }
        case "SHIM.EXEC" where uid != ShimAccounts.compute: exec(descriptor, body)
        case "SHIM.STOP", "SHIM.KILL", "SHIM.RELOAD", "SHIM.EXEC":
            refuse(descriptor, "DENIED", "\(verb) is not for uid \(uid)")
        default: refuse(descriptor, "UNKNOWN", "there is no \(verb)")
        }
    }

    private func stopRequest(_ descriptor: Int32, _ body: JSONValue) {
        let seconds = body["timeout"]?.integer
        if let seconds, !(0...3600).contains(seconds) {
            return refuse(descriptor, "BADREQUEST", "a timeout is 0 to 3600 seconds")
        }
        wantsRun = false
        waitingForStop.append(descriptor)
        stop(seconds: seconds)
        if phase == .ended {
            waitingForStop.removeAll { $0 == descriptor }
            reply(descriptor, state.json)
        }
    }

    private func killRequest(_ descriptor: Int32, _ body: JSONValue) {
        let name = body["signal"]?.string ?? "KILL"
        guard let signal = SignalName.number(name) else {
            return refuse(descriptor, "BADREQUEST", "there is no signal \(name)")
        }
        guard pidfd >= 0 else { return refuse(descriptor, "NOTRUNNING", "the container does not run") }
        let result = zg_container_signal(pidfd, signal)
        if result < 0 { return refuse(descriptor, "FAILED", "\(Errno(-result))") }
        reply(descriptor, .object([:]))
    }

    /// Reads the order again and follows it; returns what is wrong with it.
    func reload() -> String? {
        let new: ShimOrder
        do { new = try Self.readOrder(paths) } catch { return "\(error)" }
        let isOther = new.spec.identity != (identity ?? order.spec.identity)
        order = new
        log.resize(max: new.spec.logMax)
        state.generation = new.generation
        wantsRun = new.desire == .run
        guard wantsRun else {
            obey()
            return nil
        }
        switch phase {
        case .running where isOther:
            become(.preparing, reason: "replacing the one that runs")
            stop()
        case .ended where !endedByPolicy || isOther, .waiting where isOther:
            state.attempt = 0
            phase = .waiting(until: 0)
            become(.waiting)
        default: save()
        }
        return nil
    }

    func refuse(_ descriptor: Int32, _ code: String, _ message: String) {
        send(descriptor) { $0.error(code, message) }
        closeDescriptors(of: descriptor)
    }

    func reply(_ descriptor: Int32, _ value: JSONValue) { send(descriptor) { $0.bulk(value.canonicalBytes) } }

    /// Closes descriptors that came with a request which did not want them.
    private func closeDescriptors(of descriptor: Int32) {
        for passed in clients[descriptor]?.descriptors ?? [] { close(passed) }
        clients[descriptor]?.descriptors = []
    }

    func send(_ descriptor: Int32, passing: [Int32] = [], _ write: (inout RESPWriter) -> Void) {
        guard clients[descriptor] != nil else {
            for passed in passing { close(passed) }
            return
        }
        var writer = RESPWriter()
        write(&writer)
        clients[descriptor]?.output += writer.take()
        clients[descriptor]?.passing += passing
        flush(descriptor)
    }

    /// Sends as much as the socket takes.
    func flush(_ descriptor: Int32) {
        guard let client = clients[descriptor], !client.output.isEmpty else { return }
        let sent = client.output.withUnsafeBytes {
            zg_send(descriptor, $0.baseAddress, $0.count, client.passing, client.passing.count)
        }
        if sent == -Int(EAGAIN) { return }
        guard sent >= 0 else {
            drop(descriptor)
            return
        }
        for passed in client.passing { close(passed) }
        clients[descriptor]?.passing = []
        clients[descriptor]?.output.removeFirst(sent)
    }
}
