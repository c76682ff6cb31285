internal import CLinux
internal import Glibc
internal import Linux
internal import RESP

/// A pipelined connection to one backend. Owned by the pool's loop thread.
final class BackendConnection {
    enum State { case closed, connecting, open }

    /// A request and whom to tell.
    struct Item {
        let request: Request
        let round: Round
        let index: Int
    }

    let number: UInt16
    let address: BackendAddress
    private(set) var descriptor: Int32 = -1
    private(set) var state = State.closed
    /// Sent or being sent; replies come in this order. Items of the connection's own setup have no request.
    private var waiting: [Item?] = []
    private var waitingStart = 0
    /// Not begun to be sent.
    private var queue: [Item] = []
    private var queueStart = 0
    private var out: [UInt8] = []
    private var outStart = 0
    private var payload: (Payload, Int, [UInt8])?
    private var parser = RESPParser()
    private var notBefore: Int64 = 0
    private var failures = 0
    private var epoch: UInt64 = 0
    /// When the oldest request that has no answer was given, monotonic nanoseconds; 0: none.
    private var silentSince: Int64 = 0

    init(_ number: UInt16, _ address: BackendAddress) { (self.number, self.address) = (number, address) }

    /// Whether bytes wait to be sent.
    var wantsToWrite: Bool {
        state == .connecting || outStart < out.count || payload != nil || queueStart < queue.count
    }

    /// Whether anything waits for an answer.
    var isBusy: Bool { waitingStart < waiting.count || queueStart < queue.count }

    /// Takes a request; at once an answer where the backend was unreachable a moment ago.
    func add(_ item: Item, now: Int64) {
        if state == .closed, now < notBefore {
            item.round.complete(item.index, .unreachable("backend \(number) does not answer"))
            return
        }
        if !isBusy { silentSince = now }
        queue.append(item)
    }

    /// Connects where something waits; true if the descriptor is new.
    func connectIfNeeded(now: Int64, epoch: UInt64) -> Bool {
        guard state == .closed, isBusy else { return false }
        switch address.place {
        case .tcp(let host, let port): descriptor = zg_tcp_connect_begin(host, port)
        case .unix(let path):
            descriptor = zg_unix_connect(path)
            if descriptor >= 0 { _ = zg_socket_nonblocking(descriptor, 1) }
        }
        guard descriptor >= 0 else {
            fail("cannot reach backend \(number): \(Errno(-descriptor))", now: now)
            return false
        }
        state = .connecting
        silentSince = now
        parser = RESPParser()
        self.epoch = epoch
        var writer = RESPWriter(.two)
        writer.command([Array("SELECT".utf8), Array(address.namespace.utf8)])
        writer.command([Array("EPOCH".utf8), Array("\(epoch)".utf8)])
        waiting = [nil, nil]
        waitingStart = 0
        out = writer.take()
        outStart = 0
        return true
    }

    /// Tells the backend the epoch of what is sent from now on.
    func setEpoch(_ epoch: UInt64) {
        self.epoch = epoch
        guard state == .open else { return }
        // Behind what is queued already: that was given under the former epoch.
        moveQueueToOut(all: true)
        var writer = RESPWriter(.two)
        writer.command([Array("EPOCH".utf8), Array("\(epoch)".utf8)])
        if payload == nil { out += writer.take() } else { pendingEpoch = writer.take() }
        waiting.append(nil)
    }
    private var pendingEpoch: [UInt8]?

    /// Sends what it can.
    func send(now: Int64) {
        if state == .connecting {
            let code = zg_connect_result(descriptor)
            if code == -EINPROGRESS || code == -EAGAIN { return }
            guard code >= 0 else { return fail("cannot reach backend \(number): \(Errno(-code))", now: now) }
            state = .open
        }
        while true {
            if outStart == out.count, payload == nil {
                out.removeAll(keepingCapacity: out.capacity <= 1 << 20)
                outStart = 0
                guard moveQueueToOut(all: false) else { return }
            }
            if outStart < out.count {
                let sent = out.withUnsafeBytes {
                    zg_send(descriptor, $0.baseAddress.map { $0 + outStart }, $0.count - outStart, nil, 0)
                }
                guard sent > 0 else { return refused(sent, now) }
                outStart += sent
            } else if let (value, done, tail) = payload {
                let bytes = value.bytes
                let sent = zg_send(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, nil, 0)
                guard sent > 0 else { return refused(sent, now) }
                if done + sent < bytes.count {
                    payload = (value, done + sent, tail)
                } else {
                    payload = nil
                    out = tail
                    outStart = 0
                    if let epoch = pendingEpoch {
                        out += epoch
                        pendingEpoch = nil
                    }
                }
            }
        }
    }

    private func refused(_ sent: Int, _ now: Int64) {
        if sent == -Int(EAGAIN) || sent == 0 { return }
        fail("the connection to backend \(number) broke: \(Errno(Int32(-sent)))", now: now)
    }

    /// Encodes what waits, until a value that is sent from where it lies; false where there was nothing.
    @discardableResult
    private func moveQueueToOut(all: Bool) -> Bool {
        var moved = false
        while queueStart < queue.count, payload == nil, out.count < 256 << 10 || all {
            let item = queue[queueStart]
            queueStart += 1
            waiting.append(item)
            out += item.request.head
            if let value = item.request.payload {
                // Small values are cheaper to copy than to send by themselves.
                if value.count <= 16 << 10 || all {
                    out.append(contentsOf: value.bytes)
                    out += item.request.tail
                } else {
                    payload = (value, 0, item.request.tail)
                }
            }
            moved = true
        }
        if queueStart == queue.count {
            queue.removeAll(keepingCapacity: true)
            queueStart = 0
        }
        return moved
    }

    /// Takes what arrived and tells who waits for it.
    func receive(_ space: UnsafeMutableRawBufferPointer, now: Int64) {
        while state == .open {
            let got = recv(descriptor, space.baseAddress, space.count, 0)
            if got < 0 {
                if errno == EAGAIN || errno == EINTR { return }
                return fail("the connection to backend \(number) broke: \(Errno(errno))", now: now)
            }
            if got == 0 { return fail("backend \(number) closed the connection", now: now) }
            parser.feed(UnsafeRawBufferPointer(rebasing: space[..<got]))
            do {
                while let value = try parser.next() { take(value, now: now) }
            } catch {
                return fail("backend \(number) does not speak the protocol: \(error)", now: now)
            }
            if got < space.count { return }
        }
    }

    private func take(_ value: RESPValue, now: Int64) {
        guard waitingStart < waiting.count else {
            return fail("backend \(number) answered what nobody asked", now: now)
        }
        silentSince = now
        failures = 0
        let item = waiting[waitingStart]
        waiting[waitingStart] = nil
        waitingStart += 1
        if waitingStart == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            waitingStart = 0
        }
        if let item {
            item.round.complete(item.index, .reply(value))
        } else if let failure = value.failure {
            // No such namespace: nothing else will go well.
            fail("backend \(number) refused: \(failure.code) \(failure.message)", now: now)
        }
    }

    /// Gives up a connection on which nothing was answered for so long.
    func checkSilence(now: Int64, limit: Int64) {
        if state != .closed, isBusy, now - silentSince > limit { fail("backend \(number) does not answer", now: now) }
    }

    /// Everything that waits ends; a next try is made a little later.
    func fail(_ reason: String, now: Int64) {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        state = .closed
        failures = min(failures + 1, 6)
        notBefore = now + Int64(50_000_000 << failures)
        let items = waiting[waitingStart...].compactMap { $0 } + queue[queueStart...]
        waiting = []
        waitingStart = 0
        queue = []
        queueStart = 0
        out = []
        outStart = 0
        payload = nil
        pendingEpoch = nil
        for item in items { item.round.complete(item.index, .unreachable(reason)) }
    }
}
