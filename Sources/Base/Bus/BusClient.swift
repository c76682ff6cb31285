public import CanonicalJSON
import Glibc
import Linux
import RESP
import Synchronization

/// Calls verbs of one service over its Unix socket.
///
/// Calls may run at the same time; each uses a connection of its own from a small pool. A service that is just being
/// restarted is waited for, at most `patience`. A request that was sent is never sent again.
public final class BusClient: Sendable {
    /// Connections kept open between calls.
    private static let idleMax = 4

    /// The service's socket.
    public let socketPath: String
    private let patience: Duration
    private let idle = Mutex<[RESPClient]>([])

    /// A client; it connects when it is first called.
    public init(_ socketPath: String, patience: Duration = .seconds(2)) {
        (self.socketPath, self.patience) = (socketPath, patience)
    }

    /// Sends one request and waits for its reply without holding a thread of the cooperative pool.
    public func call(
        _ verb: String, _ body: JSONValue = .object([:]), deadline: Duration = .seconds(10)
    ) async throws(BusError) -> JSONValue {
        let reply = try await receive(verb, body, deadline: deadline)
        if let descriptor = reply.descriptor { _ = close(descriptor) }
        return reply.body
    }

    /// Like `call`, and also gives the descriptor that came with the reply, which the caller closes.
    public func receive(
        _ verb: String, _ body: JSONValue = .object([:]), deadline: Duration = .seconds(10)
    ) async throws(BusError) -> (body: JSONValue, descriptor: Int32?) {
        try await onThread { () throws(BusError) in try self.callBlocking(verb, body, deadline: deadline) }
    }

    /// Sends one request whose reply is not JSON, such as `<SERVICE>.METRICS`.
    public func text(_ verb: String, deadline: Duration = .seconds(10)) async throws(BusError) -> String {
        try await onThread { () throws(BusError) in
            let (bytes, descriptor) = try self.exchange(verb, .object([:]), deadline)
            if let descriptor { _ = close(descriptor) }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// Sends one request and blocks this thread until its reply; the caller closes the descriptor.
    public func callBlocking(
        _ verb: String, _ body: JSONValue = .object([:]), deadline: Duration = .seconds(10)
    ) throws(BusError) -> (body: JSONValue, descriptor: Int32?) {
        let (bytes, descriptor) = try exchange(verb, body, deadline)
        do throws(JSONError) {
            return (try JSONValue(parsing: bytes), descriptor)
        } catch {
            if let descriptor { _ = close(descriptor) }
            throw BusError(code: "MALFORMED", message: "reply of \(verb): \(error)")
        }
    }

    private func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws(BusError) -> Value
    ) async throws(BusError) -> Value {
        let result: Result<Value, BusError> = await withUnsafeContinuation { continuation in
            startThread {
                do throws(BusError) {
                    continuation.resume(returning: .success(try body()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    private func exchange(
        _ verb: String, _ body: JSONValue, _ deadline: Duration
    ) throws(BusError) -> (bytes: [UInt8], descriptor: Int32?) {
        let clock = ContinuousClock()
        let end = clock.now + deadline
        let client = idle.withLock { $0.popLast() } ?? RESPClient(.unix(socketPath), limits: BusLimits.client)
        let request = [Array(verb.utf8), body.canonicalBytes]
        let giveUp = min(end, clock.now + patience)
        while true {
            let reply: (value: RESPValue, descriptors: [Int32])
            do throws(RESPClientError) {
                reply = try client.exchange(request, deadline: max(.zero, end - clock.now))
                idle.withLock { if $0.count < Self.idleMax { $0.append(client) } }
            } catch {
                guard case .unreachable(_, let code) = error, code == ENOENT || code == ECONNREFUSED || code == EAGAIN,
                    clock.now < giveUp
                else { throw BusError(error) }
                usleep(20_000)
                continue
            }
            return try Self.result(reply.value, reply.descriptors, verb)
        }
    }

    private static func result(
        _ value: RESPValue, _ descriptors: [Int32], _ verb: String
    ) throws(BusError) -> (bytes: [UInt8], descriptor: Int32?) {
        for extra in descriptors.dropFirst() { _ = close(extra) }
        if let bytes = value.bytes { return (bytes, descriptors.first) }
        if let descriptor = descriptors.first { _ = close(descriptor) }
        if let failure = value.failure { throw BusError(code: failure.code, message: failure.message) }
        throw BusError(code: "MALFORMED", message: "reply of \(verb) is not a string")
    }
}
