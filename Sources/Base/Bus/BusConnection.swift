import CLinux
import Glibc
import Linux
import RESP

/// One client of a bus server; owned by the loop's thread.
final class BusConnection {
    /// A request whose handler runs.
    struct Running {
        let sequence: UInt64
        let verb: String
        let task: Task<Void, Never>
        let deadline: Int64
    }

    let descriptor: Int32
    let token: UInt64
    let peer: BusPeer
    var parser = RESPParser(limits: BusLimits.server, allowsInline: true)
    var writer = RESPWriter(.two)
    var running: Running?
    var interest: UInt32 = 0
    /// The peer sends no more; it is closed when its last reply went out.
    var isHalfClosed = false
    /// Nothing more is read; it is closed when the output went out.
    var isClosing = false
    private var output: [UInt8] = []
    private var sent = 0
    private var passing: Int32?
    private(set) var stalledSince: Int64 = 0

    init(descriptor: Int32, token: UInt64, peer: BusPeer) {
        (self.descriptor, self.token, self.peer) = (descriptor, token, peer)
    }

    deinit {
        running?.task.cancel()
        if let passing { close(passing) }
        close(descriptor)
    }

    var hasOutput: Bool { sent < output.count }

    /// Puts what was written, and a descriptor with its first byte, into the output. The output must be empty.
    func queue(passing descriptor: Int32? = nil) {
        precondition(!hasOutput && passing == nil)
        output = writer.take()
        sent = 0
        passing = descriptor
        stalledSince = Clock.monotonicNanoseconds()
    }

    /// Sends as much as the socket takes; false when the peer is gone.
    func flush() -> Bool {
        while hasOutput {
            let descriptors = passing.map { [$0] } ?? []
            let count = output.withUnsafeBytes { bytes in
                zg_send(
                    descriptor, bytes.baseAddress.map { $0 + sent }, bytes.count - sent, descriptors, descriptors.count)
            }
            if count == -Int(EAGAIN) { return true }
            guard count > 0 else { return false }
            sent += count
            stalledSince = Clock.monotonicNanoseconds()
            if let passing { close(passing) }
            passing = nil
        }
        output = []
        sent = 0
        return true
    }

    /// Reads what is there; false when the connection failed. The end of the stream sets `isHalfClosed`.
    func receive(_ space: UnsafeMutableRawBufferPointer) -> Bool {
        var count = 0
        let got = zg_receive(descriptor, space.baseAddress, space.count, nil, 0, &count)
        if got == -Int(EAGAIN) { return true }
        if got < 0 { return false }
        if got == 0 { isHalfClosed = true } else { parser.feed(UnsafeRawBufferPointer(rebasing: space[..<got])) }
        return true
    }

    /// The readiness it wants to hear of now. No new request is read while one runs or a reply is unsent.
    var wantedInterest: UInt32 {
        var wanted = hasOutput ? UInt32(ZG_WRITABLE) : 0
        if isHalfClosed || isClosing { return wanted }
        wanted |= UInt32(ZG_PEER_CLOSED)
        if running == nil, !hasOutput { wanted |= UInt32(ZG_READABLE) }
        return wanted
    }
}
