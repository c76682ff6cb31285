import CLinux
import Glibc
import LogEngine

/// Where a replica's master is.
public struct MasterAddress: Hashable, Sendable, CustomStringConvertible {
    /// A host and port, or nil.
    public var host: String?
    /// The port of the host.
    public var port: UInt16 = 0
    /// The Unix socket, if there is no host.
    public var path = ""

    /// `HOST:PORT` or `unix:PATH`.
    public init?(_ text: String) {
        if text.hasPrefix("unix:"), text.utf8.count > 5 {
            path = String(text.dropFirst(5))
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0
        else { return nil }
        var name = text[..<colon]
        if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
        guard !name.isEmpty else { return nil }
        (host, self.port) = (String(name), port)
    }

    /// As it is written.
    public var description: String {
        guard let host else { return "unix:" + path }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// A replica's connection to its master.
final class Upstream {
    enum State {
        /// Not before this moment is it tried again.
        case waiting(until: UInt64)
        case connecting
        /// Asked for the log; the master's answer is a line.
        case greeting
        case streaming
    }

    static let inputBytes = 1 << 20

    let address: MasterAddress
    /// Whether records that the master does not have may be cut away.
    var discardsTail: Bool
    var state: State
    var descriptor: Int32 = -1
    var receiver = ReplicaReceiver()
    /// Lines of the greeting that are still to come: one for `AUTH`, one for `ZSYNC`.
    var linesLeft = 0
    let input: UnsafeMutableRawPointer
    var inputStart = 0
    var inputEnd = 0
    /// What is still to be said to the master.
    var output: [UInt8] = []
    /// When the master was last heard.
    var lastHeard: UInt64 = 0
    /// When this device had last everything that the master had.
    var lastEqual: UInt64 = 0
    var acknowledged: UInt64 = 0
    var acknowledgedToken: UInt64 = 0
    var retryDelay: UInt64 = 0
    var attempts: UInt64 = 0
    var bytesReceived: UInt64 = 0
    var lastError = ""

    init(_ address: MasterAddress, discardsTail: Bool, now: UInt64) {
        (self.address, self.discardsTail) = (address, discardsTail)
        state = .waiting(until: now)
        input = .allocate(byteCount: Self.inputBytes, alignment: 4096)
        lastEqual = now
    }

    deinit {
        input.deallocate()
        if descriptor >= 0 { _ = Glibc.close(descriptor) }
    }

    var isStreaming: Bool { if case .streaming = state { true } else { false } }

    /// Begins to connect; the descriptor, or a negative error.
    func connect() -> Int32 {
        attempts += 1
        receiver = ReplicaReceiver()
        (inputStart, inputEnd, acknowledged, acknowledgedToken) = (0, 0, 0, 0)
        output.removeAll(keepingCapacity: true)
        let code: Int32
        if let host = address.host {
            code = zg_tcp_connect_begin(host, address.port)
        } else {
            code = zg_unix_connect(address.path)
            if code >= 0 { _ = zg_socket_nonblocking(code, 1) }
        }
        if code >= 0 {
            descriptor = code
            state = .connecting
        }
        return code
    }

    /// Ends the connection; it is tried again later, and later still if that fails.
    func end(_ why: String, now: UInt64) {
        if descriptor >= 0 { _ = Glibc.close(descriptor) }
        descriptor = -1
        lastError = why
        retryDelay = min(max(retryDelay * 2, 50_000_000), 5_000_000_000)
        state = .waiting(until: now &+ retryDelay)
    }

    func say(_ arguments: [[UInt8]]) {
        output += Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments { output += Array("$\(argument.count)\r\n".utf8) + argument + [13, 10] }
    }

    /// Sends what is to be said; false if the connection is broken.
    func flush() -> Bool {
        while !output.isEmpty {
            let sent = output.withUnsafeBytes { zg_db_send(descriptor, $0.baseAddress, $0.count) }
            if sent == -Int(EAGAIN) { return true }
            if sent < 0 { return false }
            output.removeFirst(sent)
        }
        return true
    }

    /// Room for more at the end of the input; 0 if there is none.
    func makeRoom() -> Int {
        if inputStart == inputEnd { (inputStart, inputEnd) = (0, 0) }
        if Self.inputBytes - inputEnd < 64 << 10, inputStart > 0 {
            input.copyMemory(from: input + inputStart, byteCount: inputEnd - inputStart)
            (inputStart, inputEnd) = (0, inputEnd - inputStart)
        }
        return Self.inputBytes - inputEnd
    }

    /// The next line of the greeting, without its end.
    func line() -> String? {
        for index in inputStart..<max(inputStart, inputEnd)
        where input.load(fromByteOffset: index, as: UInt8.self) == 10 {
            let bytes = UnsafeRawBufferPointer(start: input + inputStart, count: index - inputStart)
            let text = String(decoding: bytes.filter { $0 != 13 }, as: UTF8.self)
            inputStart = index + 1
            return text
        }
        return nil
    }
}
