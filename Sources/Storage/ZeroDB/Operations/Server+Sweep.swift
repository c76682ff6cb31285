import CLinux
import LogEngine

/// Clients that harm: once a second a look at who does not read, does not speak, or holds too much.
extension Server {
    static let sweepMilliseconds: UInt32 = 1000

    /// The timer runs while there is anybody to look at.
    mutating func armTimer() {
        guard !operations.isTimerArmed else { return }
        operations.isTimerArmed = zg_db_timer_set(operations.timer, Self.sweepMilliseconds) == 0
    }

    mutating func sweep() {
        if connectionCount == 0, !operations.hooks.isBusy {
            operations.isTimerArmed = false
            _ = zg_db_timer_set(operations.timer, 0)
            return
        }
        var held = 0
        var largest: (descriptor: Int, bytes: Int) = (-1, 0)
        for descriptor in 0...operations.descriptorMax {
            guard let connection = connections[descriptor] else { continue }
            if let why = fault(connection) {
                evict(connection, why)
                continue
            }
            let bytes = memory(of: connection)
            held += bytes
            if bytes > largest.bytes { largest = (descriptor, bytes) }
        }
        operations.clientMemory = held
        while held > settings.limits.memoryBytes, largest.bytes > Limits.bufferKeptBytes,
            let connection = connections[largest.descriptor]
        {
            held -= largest.bytes
            evict(connection, .memory)
            largest = largestConnection()
        }
        operations.clientMemory = held
    }

    private func largestConnection() -> (descriptor: Int, bytes: Int) {
        var largest: (descriptor: Int, bytes: Int) = (-1, 0)
        for descriptor in 0...operations.descriptorMax {
            guard let connection = connections[descriptor] else { continue }
            let bytes = memory(of: connection)
            if bytes > largest.bytes { largest = (descriptor, bytes) }
        }
        return largest
    }

    /// Bytes that a connection's buffers and its transaction take.
    private func memory(of connection: UnsafeMutablePointer<Connection>) -> Int {
        let buffers = connection.pointee.memory
        if transactions.isEmpty { return buffers }
        return buffers + (transactions[connection.pointee.descriptor]?.memory ?? 0)
    }

    /// Why a connection is closed.
    enum Eviction: String {
        case idle, slow, output, memory, handshake
    }

    private func fault(_ connection: UnsafeMutablePointer<Connection>) -> Eviction? {
        let waiting = connection.pointee.waitingOutput
        if waiting > settings.limits.outputBytes { return .output }
        // What replicas have to confirm first is not the client's to take.
        if connection.pointee.sendableOutput > 0 {
            let stuck = monotonic &- min(monotonic, connection.pointee.sentAt)
            return stuck > settings.limits.slowSeconds * 1_000_000_000 ? .slow : nil
        }
        let quiet = monotonic &- min(monotonic, connection.pointee.activeAt)
        if !connection.pointee.isEstablished, quiet > ClientLimits.handshakeSeconds * 1_000_000_000 {
            return .handshake
        }
        // Who waits for an answer of ours is not idle.
        if settings.limits.idleSeconds > 0, connection.pointee.stops == 0,
            quiet > settings.limits.idleSeconds * 1_000_000_000
        {
            return .idle
        }
        return nil
    }

    mutating func evict(_ connection: UnsafeMutablePointer<Connection>, _ why: Eviction) {
        switch why {
        case .idle, .handshake: counters.evictedIdle += 1
        case .slow, .output: counters.evictedSlow += 1
        case .memory: counters.evictedMemory += 1
        }
        EventLog.warning(
            "client_closed",
            "client=\(connection.pointee.id) reason=\(why.rawValue) waiting_output=\(connection.pointee.waitingOutput) "
                + "input=\(connection.pointee.inputEnd - connection.pointee.inputStart)")
        // Behind a reply that is half sent an error would be read as part of it.
        if connection.pointee.waitingOutput == 0, connection.pointee.tls == nil, !connection.pointee.isLong {
            let text = Array("-ERR closed: \(Self.sentence(why))\r\n".utf8)
            _ = text.withUnsafeBytes { zg_db_send(connection.pointee.descriptor, $0.baseAddress, $0.count) }
        }
        close(connection)
    }

    private static func sentence(_ why: Eviction) -> String {
        switch why {
        case .idle: "the connection was idle for longer than --idle-timeout"
        case .slow: "replies were not taken within --slow-timeout"
        case .output: "more than --output-limit waited to be taken"
        case .memory: "clients' buffers took more than --client-memory, this one's most"
        case .handshake: "no TLS handshake within \(ClientLimits.handshakeSeconds) s"
        }
    }
}
