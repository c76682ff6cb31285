import CLinux
import Glibc
import Synchronization

/// Why a call had no reply. An error reply of the server is a value, not one of these.
public enum RESPClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The server could not be reached.
    case unreachable(endpoint: String, errno: Int32)
    /// The connection failed while sending or receiving.
    case broken(endpoint: String, errno: Int32)
    /// The server closed the connection before it replied.
    case closed(endpoint: String)
    /// The deadline passed.
    case late(endpoint: String)
    /// The reply was not the Redis protocol.
    case malformed(endpoint: String, RESPError)
    /// A command of the connection's setup was refused.
    case refused(endpoint: String, String)

    /// A sentence for people.
    public var description: String {
        switch self {
        case .unreachable(let endpoint, let code): "cannot reach \(endpoint): \(Self.text(code))"
        case .broken(let endpoint, let code): "connection to \(endpoint) failed: \(Self.text(code))"
        case .closed(let endpoint): "\(endpoint) closed the connection without a reply"
        case .late(let endpoint): "\(endpoint) did not reply in time"
        case .malformed(let endpoint, let error): "reply of \(endpoint) is malformed: \(error)"
        case .refused(let endpoint, let message): "\(endpoint) refused the connection: \(message)"
        }
    }

    private static func text(_ code: Int32) -> String {
        guard let text = strerror(code) else { return "error \(code)" }
        return String(cString: text)
    }
}

/// A blocking client of a server that speaks the Redis protocol, over a Unix socket or TCP.
///
/// Calls from several threads take turns. The connection is made by the first call and again after a
/// failure; a call is never sent twice. Calls block: keep them off the cooperative pool.
public final class RESPClient: Sendable {
    /// Where the server listens.
    public enum Endpoint: Sendable, CustomStringConvertible {
        /// A Unix stream socket.
        case unix(String)
        /// A TCP port.
        case tcp(host: String, port: UInt16)

        /// The path, or `host:port`.
        public var description: String {
            switch self {
            case .unix(let path): path
            case .tcp(let host, let port): "\(host):\(port)"
            }
        }
    }

    /// Where this client connects to.
    public let endpoint: Endpoint
    private let connection: Mutex<RESPConnection>

    /// A client that connects at its first call; `setup` commands run first on every new connection.
    public init(_ endpoint: Endpoint, limits: RESPParser.Limits = .init(), setup: [[[UInt8]]] = []) {
        self.endpoint = endpoint
        connection = Mutex(RESPConnection(endpoint, limits, setup))
    }

    /// A client of the Unix socket at `path`.
    public convenience init(unix path: String, setup: [[[UInt8]]] = []) {
        self.init(.unix(path), setup: setup)
    }

    /// A client of a TCP server.
    public convenience init(host: String, port: UInt16, setup: [[[UInt8]]] = []) {
        self.init(.tcp(host: host, port: port), setup: setup)
    }

    deinit { connection.withLock { $0.close() } }

    /// Closes the connection; a later call makes a new one.
    public func close() { connection.withLock { $0.close() } }

    /// Sends one command and waits for its reply. Descriptors in the reply are closed.
    public func call(
        _ arguments: [[UInt8]], deadline: Duration = .seconds(10)
    ) throws(RESPClientError) -> RESPValue {
        let reply = try exchange(arguments, deadline: deadline)
        for descriptor in reply.descriptors { _ = Glibc.close(descriptor) }
        return reply.value
    }

    /// Sends one command of text arguments and waits for its reply.
    public func call(_ arguments: String..., deadline: Duration = .seconds(10)) throws(RESPClientError) -> RESPValue {
        try call(arguments.map { Array($0.utf8) }, deadline: deadline)
    }

    /// Sends several commands at once; replies are in their order.
    public func pipeline(
        _ commands: [[[UInt8]]], deadline: Duration = .seconds(10)
    ) throws(RESPClientError) -> [RESPValue] {
        if commands.isEmpty { return [] }
        let until = RESPConnection.instant(after: deadline)
        return try connection.withLock { (connection: inout RESPConnection) throws(RESPClientError) -> [RESPValue] in
            let reply = try connection.exchange(commands, sending: [], until: until)
            for descriptor in reply.descriptors { _ = Glibc.close(descriptor) }
            return reply.values
        }
    }

    /// Sends one command with descriptors and returns the reply with the descriptors that came with it.
    ///
    /// What is sent stays open here; what is received belongs to the caller. Unix sockets only.
    public func exchange(
        _ arguments: [[UInt8]], sending descriptors: [Int32] = [], deadline: Duration = .seconds(10)
    ) throws(RESPClientError) -> (value: RESPValue, descriptors: [Int32]) {
        let until = RESPConnection.instant(after: deadline)
        return try connection.withLock {
            (connection: inout RESPConnection) throws(RESPClientError) -> (value: RESPValue, descriptors: [Int32]) in
            let reply = try connection.exchange([arguments], sending: descriptors, until: until)
            return (reply.values.first ?? .null, reply.descriptors)
        }
    }

    /// Waits for the next pushed message; nil when the deadline passes first.
    public func nextPush(deadline: Duration) throws(RESPClientError) -> [RESPValue]? {
        let until = RESPConnection.instant(after: deadline)
        return try connection.withLock { (connection: inout RESPConnection) throws(RESPClientError) -> [RESPValue]? in
            try connection.nextPush(until: until)
        }
    }
}
