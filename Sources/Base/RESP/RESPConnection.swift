import CLinux
import Glibc

/// The state of one client connection; `RESPClient` guards it with its lock.
struct RESPConnection: Sendable {
    /// Most pushed messages that wait to be asked for; older ones are dropped, for a watcher reads anew anyway.
    static let pushesMax = 1024
    private static let receiveBytes = 64 << 10

    private let endpoint: RESPClient.Endpoint
    private let limits: RESPParser.Limits
    private let setup: [[[UInt8]]]
    private var descriptor: Int32 = -1
    private var parser = RESPParser()
    private var pushes: [[RESPValue]] = []
    private var received: [Int32] = []

    init(_ endpoint: RESPClient.Endpoint, _ limits: RESPParser.Limits, _ setup: [[[UInt8]]]) {
        (self.endpoint, self.limits, self.setup) = (endpoint, limits, setup)
    }

    /// Nanoseconds on the monotonic clock at which `duration` from now has passed.
    static func instant(after duration: Duration) -> Int64 {
        let parts = duration.components
        let (seconds, overflow) = parts.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return .max }
        let wait = seconds.addingReportingOverflow(parts.attoseconds / 1_000_000_000)
        let sum = now().addingReportingOverflow(wait.partialValue)
        return wait.overflow || sum.overflow ? .max : sum.partialValue
    }

    private static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    private static func milliseconds(until: Int64) -> Int32 {
        let now = now()
        if until <= now { return 0 }
        return Int32(clamping: (until - now + 999_999) / 1_000_000)
    }

    mutating func close() {
        if descriptor >= 0 { _ = Glibc.close(descriptor) }
        descriptor = -1
        closeReceived()
        pushes = []
    }

    private mutating func closeReceived() {
        for descriptor in received { _ = Glibc.close(descriptor) }
        received = []
    }

    private mutating func connect(until: Int64) throws(RESPClientError) {
        if descriptor >= 0, parser.isIdle, zg_idle_broken(descriptor) == 0 { return }
        if descriptor >= 0, !pushes.isEmpty { return }
        close()
        let result =
            switch endpoint {
            case .unix(let path): zg_unix_connect(path)
            case .tcp(let host, let port): zg_tcp_connect(host, port, Self.milliseconds(until: until))
            }
        guard result >= 0 else { throw .unreachable(endpoint: "\(endpoint)", errno: -result) }
        _ = zg_socket_nonblocking(result, 1)
        descriptor = result
        parser = RESPParser(limits: limits)
        for command in setup {
            let reply = try transfer([command], sending: [], until: until)
            if case .error(let message)? = reply.first {
                close()
                throw .refused(endpoint: "\(endpoint)", message)
            }
        }
    }

    mutating func exchange(
        _ commands: [[[UInt8]]], sending descriptors: [Int32], until: Int64
    ) throws(RESPClientError) -> (values: [RESPValue], descriptors: [Int32]) {
        try connect(until: until)
        let values = try transfer(commands, sending: descriptors, until: until)
        let taken = received
        received = []
        return (values, taken)
    }

    mutating func nextPush(until: Int64) throws(RESPClientError) -> [RESPValue]? {
        if descriptor < 0 { try connect(until: until) }
        while pushes.isEmpty {
            do {
                try receive(until: until, alsoWrite: false)
                try take { _ in }
            } catch {
                if case .late = error { return nil }
                close()
                throw error
            }
        }
        return pushes.removeFirst()
    }

    /// Sends all commands while it reads replies, so that neither side can wait for the other for ever.
    private mutating func transfer(
        _ commands: [[[UInt8]]], sending descriptors: [Int32], until: Int64
    ) throws(RESPClientError) -> [RESPValue] {
        var writer = RESPWriter()
        for command in commands { writer.command(command) }
        let output = writer.take()
        var sent = 0
        var passing = descriptors
        var replies: [RESPValue] = []
        replies.reserveCapacity(commands.count)
        do {
            while replies.count < commands.count {
                if sent < output.count { sent += try send(output, from: sent, &passing) }
                if sent < output.count || replies.count < commands.count {
                    try receive(until: until, alsoWrite: sent < output.count)
                    try take { replies.append($0) }
                }
            }
            return replies
        } catch {
            close()
            throw error
        }
    }

    private func send(_ output: [UInt8], from: Int, _ passing: inout [Int32]) throws(RESPClientError) -> Int {
        let count = output.withUnsafeBytes { bytes in
            let rest = UnsafeRawBufferPointer(rebasing: bytes[from...])
            return zg_send(descriptor, rest.baseAddress, rest.count, passing, passing.count)
        }
        if count == -Int(EAGAIN) { return 0 }
        if count == -Int(EPIPE) || count == -Int(ECONNRESET) { throw .closed(endpoint: "\(endpoint)") }
        if count < 0 { throw .broken(endpoint: "\(endpoint)", errno: Int32(-count)) }
        passing = []
        return count
    }

    /// Waits until something can be read (or written) and feeds what arrived.
    private mutating func receive(until: Int64, alsoWrite: Bool) throws(RESPClientError) {
        let events = UInt32(ZG_READABLE) | (alsoWrite ? UInt32(ZG_WRITABLE) : 0)
        let ready = zg_poll(descriptor, events, Self.milliseconds(until: until))
        if ready == 0 { throw .late(endpoint: "\(endpoint)") }
        if ready < 0 { throw .broken(endpoint: "\(endpoint)", errno: -ready) }
        if UInt32(ready) & ~UInt32(ZG_WRITABLE) == 0 { return }
        var descriptors = [Int32](repeating: -1, count: Int(ZG_DESCRIPTORS_MAX))
        var count = 0
        let got = withUnsafeTemporaryAllocation(byteCount: Self.receiveBytes, alignment: 16) { space in
            let got = zg_receive(
                descriptor, space.baseAddress, space.count, &descriptors, descriptors.count, &count)
            if got > 0 { parser.feed(UnsafeRawBufferPointer(rebasing: space[..<got])) }
            return got
        }
        received.append(contentsOf: descriptors[..<count])
        if got == -Int(EAGAIN) { return }
        if got == 0 || got == -Int(ECONNRESET) { throw .closed(endpoint: "\(endpoint)") }
        if got < 0 { throw .broken(endpoint: "\(endpoint)", errno: Int32(-got)) }
    }

    /// Takes every complete value; pushes are kept aside.
    private mutating func take(_ reply: (RESPValue) -> Void) throws(RESPClientError) {
        do throws(RESPError) {
            while let value = try parser.next() {
                guard case .push(let items) = value else {
                    reply(value)
                    continue
                }
                if pushes.count == Self.pushesMax { pushes.removeFirst() }
                pushes.append(items)
            }
        } catch {
            throw .malformed(endpoint: "\(endpoint)", error)
        }
    }
}
