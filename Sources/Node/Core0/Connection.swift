import Bus
import CLinux
import RESP

/// One client of the bus socket.
final class Connection {
    let fd: Int32
    let source: UInt32
    let peer: BusPeer
    var parser = RESPParser(
        limits: .init(itemsMax: 16, bulkMax: 64 << 10, depthMax: 2, lineMax: 4096, messageMax: 128 << 10),
        allowsInline: true)
    var writer = RESPWriter(.two)
    var output: [UInt8] = []
    var sent = 0
    /// Descriptors that came and that no request took yet.
    var descriptors: [Int32] = []
    /// The request that is not answered yet; the next one waits for it, so that replies keep their order.
    var token: Int?
    /// No more requests: close when the output is out.
    var isClosing = false
    var events = Core.readable

    init(fd: Int32, source: UInt32, peer: BusPeer) {
        (self.fd, self.source, self.peer) = (fd, source, peer)
    }

    var unsent: Int { output.count - sent }
}

/// A request whose answer follows.
struct PendingAnswer {
    enum Question { case start, stop(forget: Bool), restart, shutDown }
    /// The connection's id; it may be closed by now.
    let connection: UInt32
    let key: ProcessKey?
    let question: Question
    /// Answered then at the latest.
    var deadline: UInt64?
}
