import CanonicalJSON
import CLinux
import Glibc
import Linux
import RESP

/// The event loop of a bus server, on a thread of its own.
final class BusLoop {
    private static let listenerToken: UInt64 = 0
    private static let wakeToken: UInt64 = 1

    private let server: BusServer
    private let epoll: Int32
    private let listener: Int32
    private var connections: [UInt64: BusConnection] = [:]
    private var nextToken: UInt64 = 2
    private var nextSequence: UInt64 = 0

    init(_ server: BusServer, epoll: Int32, listener: Int32) {
        (self.server, self.epoll, self.listener) = (server, epoll, listener)
    }

    func run() {
        _ = zg_epoll_control(epoll, 1, listener, UInt32(ZG_READABLE), Self.listenerToken)
        _ = zg_epoll_control(epoll, 1, server.mailbox.wake, UInt32(ZG_READABLE), Self.wakeToken)
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        var events = [zg_event_t](repeating: zg_event_t(), count: 128)
        var isStopped = false
        while !isStopped {
            let count = zg_epoll_wait(epoll, &events, Int32(events.count), waitMilliseconds())
            for event in events[..<max(0, Int(count))] {
                switch event.token {
                case Self.listenerToken: accept()
                case Self.wakeToken: isStopped = finishRequests()
                default: handle(event, space)
                }
            }
            expire()
        }
        space.deallocate()
        server.mailbox.shut()
        _ = finishRequests()
        connections = [:]
        close(listener)
        close(epoll)
    }

    /// Deadlines are looked at four times a second while anything runs or waits to be sent.
    private func waitMilliseconds() -> Int32 {
        connections.values.contains { $0.running != nil || $0.hasOutput } ? 250 : -1
    }

    private func accept() {
        while true {
            let client = zg_accept(listener)
            if client < 0 {
                // Out of descriptors: wait a little instead of spinning on a listener that stays readable.
                if client != -EAGAIN { usleep(20_000) }
                return
            }
            var pid: Int32 = 0
            var (uid, gid): (UInt32, UInt32) = (0, 0)
            let known = zg_peer(client, &pid, &uid, &gid)
            let ofOne = connections.values.count { $0.peer.uid == uid }
            if known < 0 || connections.count >= BusLimits.connectionsMax || ofOne >= BusLimits.connectionsOfOneMax {
                close(client)
                continue
            }
            let peer = BusPeer(pid: pid, uid: uid, gid: gid)
            let connection = BusConnection(descriptor: client, token: nextToken, peer: peer)
            nextToken += 1
            connections[connection.token] = connection
            connection.interest = connection.wantedInterest
            _ = zg_epoll_control(epoll, 1, client, connection.interest, connection.token)
        }
    }

    private func drop(_ connection: BusConnection) {
        _ = zg_epoll_control(epoll, 3, connection.descriptor, 0, 0)
        connections[connection.token] = nil
    }

    private func handle(_ event: zg_event_t, _ space: UnsafeMutableRawBufferPointer) {
        guard let connection = connections[event.token] else { return }
        if event.events & UInt32(ZG_HANGUP | ZG_FAULT) != 0 { return drop(connection) }
        let canRead = connection.running == nil && !connection.hasOutput && !connection.isClosing
        if event.events & UInt32(ZG_READABLE | ZG_PEER_CLOSED) != 0, canRead {
            if !connection.receive(space) { return drop(connection) }
        } else if event.events & UInt32(ZG_PEER_CLOSED) != 0 {
            connection.isHalfClosed = true
        }
        advance(connection)
    }

    /// Sends, then takes the next requests until one runs or the bytes are used up.
    private func advance(_ connection: BusConnection) {
        while true {
            if !connection.flush() { return drop(connection) }
            if connection.hasOutput || connection.running != nil { break }
            if connection.isClosing { return drop(connection) }
            do throws(RESPError) {
                guard let request = try connection.parser.next() else {
                    if connection.isHalfClosed { return drop(connection) }
                    break
                }
                dispatch(request, connection)
            } catch {
                connection.writer.error("BADREQUEST", "\(error)")
                connection.isClosing = true
            }
            if connection.running == nil { connection.queue() }
        }
        let wanted = connection.wantedInterest
        if wanted != connection.interest {
            connection.interest = wanted
            _ = zg_epoll_control(epoll, 2, connection.descriptor, wanted, connection.token)
        }
    }

    private func dispatch(_ value: RESPValue, _ connection: BusConnection) {
        guard let words = value.items?.map(\.bytes), let first = words.first ?? nil, !first.isEmpty else {
            return connection.writer.error("BADREQUEST", "a request is an array of strings")
        }
        let name = String(decoding: first.prefix(100), as: UTF8.self).uppercased()
        if !name.contains(".") { return builtIn(name, words, connection) }
        guard let verb = server.verb(name) else {
            let near = nearest(to: name, among: server.verbNames()).map { "; did you mean \($0)?" } ?? ""
            return connection.writer.error("UNKNOWN", "\(printable(name)) is no verb of \(server.service)\(near)")
        }
        guard let account = connection.peer.account, verb.accounts.contains(account) else {
            server.count(name, "DENIED")
            return connection.writer.error("DENIED", "uid \(connection.peer.uid) may not use \(name)")
        }
        guard words.count <= 2 else {
            server.count(name, "BADREQUEST")
            return connection.writer.error("BADREQUEST", "\(name) takes one JSON argument")
        }
        var body = JSONValue.object([:])
        if words.count == 2 {
            do throws(JSONError) {
                body = try JSONValue(parsing: words[1] ?? [])
            } catch {
                server.count(name, "BADREQUEST")
                return connection.writer.error("BADREQUEST", "argument of \(name): \(error)")
            }
        }
        start(verb, BusRequest(verb: name, body: body, peer: connection.peer), connection)
    }

    private func start(_ verb: BusServer.Verb, _ request: BusRequest, _ connection: BusConnection) {
        let (token, sequence, mailbox) = (connection.token, nextSequence, server.mailbox)
        nextSequence += 1
        let task = Task.detached {
            let result: Result<BusReply, BusError>
            do {
                result = .success(try await verb.handler(request))
            } catch {
                result = .failure(BusError(reporting: error))
            }
            mailbox.post(BusCompletion(token: token, sequence: sequence, verb: request.verb, result: result))
        }
        let parts = verb.deadline.components
        let wait = Int64(clamping: parts.seconds) * 1_000_000_000 + parts.attoseconds / 1_000_000_000
        let deadline = Clock.monotonicNanoseconds() + wait
        connection.running = .init(sequence: sequence, verb: request.verb, task: task, deadline: deadline)
    }

    /// Sends the replies of finished requests; true when the server was told to stop.
    private func finishRequests() -> Bool {
        let (completions, isStopped) = server.mailbox.take()
        for completion in completions {
            guard let connection = connections[completion.token],
                connection.running?.sequence == completion.sequence
            else {
                if case .success(let reply) = completion.result { reply.dispose() }
                continue
            }
            connection.running = nil
            switch completion.result {
            case .success(let reply):
                server.count(completion.verb, "OK")
                connection.writer.bulk(reply.payload)
                connection.queue(passing: reply.descriptor)
            case .failure(let error):
                server.count(completion.verb, error.code)
                connection.writer.error(error.code, error.message)
                connection.queue()
            }
            advance(connection)
        }
        return isStopped
    }

    private func expire() {
        let now = Clock.monotonicNanoseconds()
        for connection in Array(connections.values) {
            if let running = connection.running, running.deadline <= now {
                running.task.cancel()
                connection.running = nil
                server.count(running.verb, "DEADLINE")
                connection.writer.error("DEADLINE", "\(running.verb) took too long and was cancelled")
                connection.queue()
                advance(connection)
            } else if connection.hasOutput, connection.stalledSince + BusLimits.stalledSeconds * 1_000_000_000 < now {
                drop(connection)
            }
        }
    }
}

extension BusLoop {
    /// Commands that clients of Redis send by themselves, so that `redis-cli` is at home here.
    private func builtIn(_ name: String, _ words: [[UInt8]?], _ connection: BusConnection) {
        switch name {
        case "PING":
            if words.count > 1, let text = words[1] {
                connection.writer.bulk(text)
            } else {
                connection.writer.simple("PONG")
            }
        case "HELLO": hello(words, connection)
        case "COMMAND": connection.writer.value(.array([]))
        case "CLIENT", "SELECT": connection.writer.simple("OK")
        case "QUIT":
            connection.writer.simple("OK")
            connection.isClosing = true
        default:
            let message = "\(printable(name)) is no verb; a verb looks like \(server.service.uppercased()).STATUS"
            connection.writer.error("UNKNOWN", message)
        }
    }

    private func hello(_ words: [[UInt8]?], _ connection: BusConnection) {
        if words.count > 1 {
            switch words[1] {
            case Array("2".utf8): connection.writer.version = .two
            case Array("3".utf8): connection.writer.version = .three
            default: return connection.writer.error("NOPROTO", "RESP 2 and 3 are spoken here")
            }
        }
        connection.writer.value(
            .map([
                (.text("server"), .text("zero-\(server.service)")), (.text("version"), .text("1")),
                (.text("proto"), .integer(connection.writer.version == .three ? 3 : 2)),
                (.text("id"), .integer(Int64(connection.token))), (.text("mode"), .text("standalone")),
                (.text("role"), .text("master")), (.text("modules"), .array([])),
            ]))
    }

    /// Bytes of a stranger as they may stand in a message.
    private func printable(_ text: String) -> String {
        String(text.unicodeScalars.map { $0.value > 32 && $0.value < 127 ? Character($0) : "?" })
    }
}
