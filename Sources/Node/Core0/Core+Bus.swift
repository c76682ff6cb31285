import Bus
import CLinux
import CanonicalJSON
import Glibc
import Linux
import RESP

// MARK: The bus socket: connections

extension Core {
    func listen() {
        let path = "\(options.run)/core.sock"
        let result = zg_unix_listen(path, 0o666, 64)
        guard result >= 0 else { return log.error("listen", ("path", path), ("error", "\(Errno(-result))")) }
        listener = result
        _ = watchSource(listener, .listener)
    }

    func acceptConnections() {
        for _ in 0..<64 {
            let fd = zg_accept(listener)
            guard fd >= 0 else { return }
            var (pid, uid, gid): (Int32, UInt32, UInt32) = (0, 0, 0)
            let isKnown = zg_peer(fd, &pid, &uid, &gid) >= 0
            let ofOne = connections.values.count { $0.peer.uid == uid }
            let isWithin = connections.count < Limits.connectionsMax && (uid == 0 || ofOne < Limits.connectionsOfOneMax)
            guard isKnown, isWithin || (uid == 0 && connections.count < 2 * Limits.connectionsMax) else {
                close(fd)
                continue
            }
            let id = nextSource
            let source = watchSource(fd, .connection(id))
            connections[id] = Connection(fd: fd, source: source, peer: BusPeer(pid: pid, uid: uid, gid: gid))
        }
    }

    func serve(_ id: UInt32, _ events: UInt32) {
        guard let connection = connections[id] else { return }
        let broken = UInt32(ZG_HANGUP | ZG_FAULT)
        if events & broken != 0 { return closeConnection(id) }
        if events & UInt32(Core.readable) != 0, !receive(connection) { return closeConnection(id) }
        work(id)
    }

    /// Reads what is there; false at the end of the stream.
    private func receive(_ connection: Connection) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        var descriptors = [Int32](repeating: -1, count: Int(ZG_DESCRIPTORS_MAX))
        var count = 0
        let got = zg_receive(connection.fd, &buffer, buffer.count, &descriptors, descriptors.count, &count)
        connection.descriptors += descriptors.prefix(count)
        while connection.descriptors.count > Limits.storedOfOneMax { close(connection.descriptors.removeFirst()) }
        if got == -Int(EAGAIN) || got == -Int(EINTR) { return true }
        guard got > 0 else { return false }
        connection.parser.feed(Array(buffer[..<got]))
        return true
    }

    /// Answers the requests that are complete, as far as they can be answered now.
    private func work(_ id: UInt32) {
        guard let connection = connections[id] else { return }
        while connection.token == nil, !connection.isClosing, connection.unsent < Limits.replyBytesMax {
            do throws(RESPError) {
                guard let request = try connection.parser.next() else { break }
                take(id, connection, request)
            } catch {
                connection.writer.error("PROTOCOL", "\(error)")
                connection.isClosing = true
            }
        }
        flush(id)
    }

    func resumeConnections() {
        while let id = resumable.popLast() { work(id) }
    }

    /// Writes what can be written and asks epoll for what is missing.
    func flush(_ id: UInt32) {
        guard let connection = connections[id] else { return }
        connection.output += connection.writer.take()
        while connection.unsent > 0 {
            let sent = connection.output.withUnsafeBytes { bytes in
                zg_send(connection.fd, bytes.baseAddress.map { $0 + connection.sent }, connection.unsent, nil, 0)
            }
            if sent == -Int(EINTR) { continue }
            if sent == -Int(EAGAIN) { break }
            guard sent > 0 else { return closeConnection(id) }
            connection.sent += sent
        }
        if connection.unsent == 0 {
            (connection.output, connection.sent) = ([], 0)
            if connection.isClosing { return closeConnection(id) }
        }
        let mayRead = connection.token == nil && connection.unsent < Limits.replyBytesMax && !connection.isClosing
        let events = (mayRead ? Core.readable : 0) | (connection.unsent > 0 ? Core.writable : 0)
        guard events != connection.events else { return }
        connection.events = events
        _ = zg_epoll_control(epoll, 2, connection.fd, UInt32(events), UInt64(connection.source))
    }

    /// True when nothing is left to be sent.
    func flushAll() -> Bool {
        for id in connections.keys { flush(id) }
        return connections.values.allSatisfy { $0.unsent == 0 }
    }

    private func closeConnection(_ id: UInt32) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        for fd in connection.descriptors { close(fd) }
        // What it waited for goes on; a descriptor to forget afterwards is still forgotten.
        unwatch(connection.fd, connection.source)
        close(connection.fd)
    }

    // MARK: Requests

    private func take(_ id: UInt32, _ connection: Connection, _ request: RESPValue) {
        defer {
            for fd in connection.descriptors { close(fd) }
            connection.descriptors = []
        }
        guard let words = request.items, let verb = words.first?.text?.uppercased(), !words.isEmpty else {
            return connection.writer.error("BADREQUEST", "a request is a verb and a JSON object")
        }
        switch verb {
        case "PING": return connection.writer.simple("PONG")
        case "QUIT":
            connection.isClosing = true
            return connection.writer.simple("OK")
        case "HELLO":
            if words.count > 1, words[1].text == "3" { connection.writer.version = .three }
            let version: Int64 = connection.writer.version == .three ? 3 : 2
            let facts: [(RESPValue, RESPValue)] = [
                (.text("server"), .text("zero-core")), (.text("proto"), .integer(version)),
            ]
            return connection.writer.value(.map(facts))
        case "COMMAND", "CLIENT": return connection.writer.value(.array([]))
        default: break
        }
        do throws(BusError) {
            guard words.count <= 2 else { throw .badRequest("\(verb) takes one JSON object") }
            let body = try Core.body(words.count > 1 ? words[1].bytes : nil)
            let call = BusRequest(verb: verb, body: body, peer: connection.peer)
            switch try answer(call, connection) {
            case .now(let value): connection.writer.value(value)
            case .later(let event, let answer): wait(id, connection, answer, event)
            }
        } catch {
            connection.writer.error(error.code, error.message)
        }
    }

    private static func body(_ bytes: [UInt8]?) throws(BusError) -> JSONValue {
        guard let bytes, !bytes.isEmpty else { return .object([:]) }
        do throws(JSONError) {
            return try JSONValue(parsing: bytes)
        } catch {
            throw BusError(error)
        }
    }

    /// Sends the event on its way; the answer follows from the supervisor, perhaps at once.
    private func wait(
        _ id: UInt32, _ connection: Connection, _ question: PendingAnswer.Question, _ event: LaterEvent
    ) {
        let token = nextToken
        nextToken += 1
        connection.token = token
        var deadline: UInt64?
        if case .start = question { deadline = Core.clock() + Limits.startAnswer }
        pending[token] = PendingAnswer(connection: id, key: event.key, question: question, deadline: deadline)
        if case .shutDown = question {
            shutDown("pid \(connection.peer.pid)", event.make(token))
        } else {
            process(event.make(token))
        }
    }

    /// Answers a request that waited.
    func answerPending(_ token: Int) {
        guard let answer = pending.removeValue(forKey: token) else { return }
        if case .stop(forget: true) = answer.question, let key = answer.key { forget(key) }
        guard let connection = connections[answer.connection], connection.token == token else { return }
        connection.token = nil
        if case .start = answer.question, let key = answer.key {
            connection.writer.value(.bulk(startDocument(key).canonicalBytes))
        } else {
            connection.writer.value(.bulk(Array("{}".utf8)))
        }
        // Not `work`: this may run inside of it. What else waits in the parser is taken after this event.
        flush(answer.connection)
        if connections[answer.connection] != nil, !connection.parser.isIdle { resumable.append(answer.connection) }
    }
}
