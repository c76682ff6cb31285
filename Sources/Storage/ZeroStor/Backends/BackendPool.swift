internal import EventLoop
internal import Glibc
internal import Linux
internal import RESP
internal import Synchronization

/// The real backends: one thread with one pipelined connection to each.
final class BackendPool: Backends {
    /// A connection on which nothing is answered for so long is given up.
    private static let silence: Int64 = 10_000_000_000

    private struct Inbox {
        var items: [BackendConnection.Item] = []
        var added: [(UInt16, BackendAddress)] = []
        var epoch: UInt64 = 0
        var hasEpoch = false
        var isStopping = false
    }
    private let inbox = Mutex(Inbox())
    private let wakeup: Wakeup

    init() throws(SystemError) {
        let loop = try PoolLoop()
        wakeup = loop.wakeup
        loop.start(self)
    }

    /// A backend to be reached under that number, instead of what was there before.
    func add(_ number: UInt16, _ address: BackendAddress) {
        inbox.withLock { $0.added.append((number, address)) }
        wakeup.signal()
    }

    func start(_ requests: [Request]) -> any Pending {
        let round = Round(count: requests.count)
        inbox.withLock { inbox in
            for (index, request) in requests.enumerated() {
                inbox.items.append(BackendConnection.Item(request: request, round: round, index: index))
            }
        }
        wakeup.signal()
        return round
    }

    func setEpoch(_ epoch: UInt64) {
        inbox.withLock {
            $0.epoch = epoch
            $0.hasEpoch = true
        }
        wakeup.signal()
    }

    /// Ends the loop; what waits is answered with an error.
    func stop() {
        inbox.withLock { $0.isStopping = true }
        wakeup.signal()
    }

    /// The loop and what it owns; used by its thread only after `start`.
    private final class PoolLoop: @unchecked Sendable {
        private var loop: EventLoop
        private var connections: [UInt16: BackendConnection] = [:]
        private var epoch: UInt64 = 0
        private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        let wakeup: Wakeup

        init() throws(SystemError) {
            loop = try EventLoop()
            wakeup = loop.wakeup
        }

        deinit { space.deallocate() }

        func start(_ pool: BackendPool) {
            startThread { [weak pool] in self.run { pool?.inbox.withLock { inbox in Self.take(&inbox) } } }
        }

        private static func take(_ inbox: inout Inbox) -> Inbox {
            let taken = inbox
            inbox.items = []
            inbox.added = []
            inbox.hasEpoch = false
            return taken
        }

        private func run(_ next: () -> Inbox?) {
            while true {
                guard let count = try? loop.wait(milliseconds: 250), let inbox = next(), !inbox.isStopping else {
                    break
                }
                let now = Clock.monotonicNanoseconds()
                for index in 0..<count { handle(loop[index], now) }
                take(inbox, now)
                for connection in connections.values.sorted(by: { $0.number < $1.number }) { push(connection, now) }
            }
            for connection in connections.values { connection.fail("the store is closed", now: 0) }
        }

        private func handle(_ event: Event, _ now: Int64) {
            guard let connection = connections[UInt16(event.token)], connection.descriptor >= 0 else { return }
            if !event.readiness.isDisjoint(with: [.writable, .failed, .hangup]) { connection.send(now: now) }
            if !event.readiness.isDisjoint(with: [.readable, .hangup, .failed]) { connection.receive(space, now: now) }
        }

        private func take(_ inbox: Inbox, _ now: Int64) {
            for (number, address) in inbox.added {
                connections[number]?.fail("the backend was replaced", now: now)
                connections[number] = BackendConnection(number, address)
            }
            if inbox.hasEpoch {
                epoch = inbox.epoch
                for connection in connections.values { connection.setEpoch(epoch) }
            }
            for item in inbox.items {
                if let connection = connections[item.request.backend] {
                    connection.add(item, now: now)
                } else {
                    item.round.complete(item.index, .unreachable("there is no backend \(item.request.backend)"))
                }
            }
        }

        private func push(_ connection: BackendConnection, _ now: Int64) {
            if connection.connectIfNeeded(now: now, epoch: epoch) {
                try? loop.add(
                    connection.descriptor, [.readable, .writable, .edge], token: UInt64(connection.number))
            }
            if connection.state != .closed, connection.wantsToWrite { connection.send(now: now) }
            connection.checkSilence(now: now, limit: BackendPool.silence)
        }
    }
}
