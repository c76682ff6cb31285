import CLinux
import Glibc
public import Linux
import Synchronization

/// A raw connection in both directions, what an upgraded HTTP connection becomes. Calls block.
public final class DuplexStream: Sendable {
    /// The socket, blocking; for poll, splice and the like. It stays this stream's.
    public let descriptor: Int32
    private let early: Mutex<[UInt8]>

    /// Takes over a connected socket; `early` bytes were received before.
    public init(descriptor: Int32, early: [UInt8] = []) {
        self.descriptor = descriptor
        self.early = Mutex(early)
    }

    /// Connects to a TCP port.
    public static func connect(
        _ host: String, _ port: UInt16, timeout: Duration = .seconds(5)
    ) throws(SystemError) -> DuplexStream {
        let milliseconds = Int32(max(1, min(timeout / .milliseconds(1), 1e9)))
        let descriptor = try checked("connect", "\(host):\(port)", zg_tcp_connect(host, port, milliseconds))
        return DuplexStream(descriptor: descriptor)
    }

    deinit { Glibc.close(descriptor) }

    func unread(_ bytes: [UInt8]) { early.withLock { $0 = bytes + $0 } }

    /// Bytes that came with the handshake and were not read yet. Who uses the raw descriptor takes them first.
    public func takeEarly() -> [UInt8] {
        early.withLock { early in
            let taken = early
            early = []
            return taken
        }
    }

    /// The next bytes, at most `limit`; an empty array is the end. Throws ETIMEDOUT after `timeout`.
    public func read(limit: Int = 64 << 10, timeout: Duration? = nil) throws(SystemError) -> [UInt8] {
        let first = takeEarly()
        if !first.isEmpty {
            early.withLock { $0 = Array(first.dropFirst(limit)) }
            return Array(first.prefix(limit))
        }
        if let timeout {
            let milliseconds = timeout / .milliseconds(1)
            let ready = zg_poll(descriptor, UInt32(ZG_READABLE), Int32(max(0, min(milliseconds, 2e9))))
            if ready == 0 { throw SystemError("read", "connection", Errno(ETIMEDOUT)) }
        }
        var buffer = [UInt8](repeating: 0, count: limit)
        while true {
            let count = Glibc.read(descriptor, &buffer, limit)
            if count >= 0 { return Array(buffer[..<count]) }
            let code = errno
            if code == ECONNRESET { return [] }
            if code == EAGAIN {
                _ = zg_poll(descriptor, UInt32(ZG_READABLE), -1)
            } else if code != EINTR {
                throw SystemError("read", "connection", Errno(code))
            }
        }
    }

    /// Writes all bytes.
    public func write(_ bytes: [UInt8]) throws(SystemError) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { all in
                zg_send(descriptor, all.baseAddress.map { $0 + sent }, all.count - sent, nil, 0)
            }
            if count == -Int(EAGAIN) {
                _ = zg_poll(descriptor, UInt32(ZG_WRITABLE), -1)
            } else {
                sent += Int(try checked("write", "connection", count))
            }
        }
    }

    /// Tells the other side that nothing more comes; reading goes on.
    public func finishWriting() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Ends both directions; a blocked read returns. The descriptor is closed when the stream is let go.
    public func close() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
