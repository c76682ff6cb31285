import CLinux
import Glibc
import LogEngine

/// A namespace on another server that follows one of this server's, as its source sees it.
struct Follower {
    let socket: PeerSocket
    let id: UInt64
    let name: String
    /// The namespace's name here, for people.
    let namespace: String
    let sender: NamespaceSender
    /// Everything up to this sequence number was written there.
    var acknowledged: UInt64
    /// When it last said something; monotonic nanoseconds.
    var lastHeard: UInt64
    /// When it was last told where the source is, when it was last sent something, and when the log was last looked at.
    var lastPosition: UInt64 = 0
    var lastSent: UInt64 = 0
    var lastLooked: UInt64 = 0
    var bytesSent: UInt64 = 0
    /// What epoll tells of it.
    var interest: UInt32 = 0
    /// It lacks more than one turn's part: nothing is gathered.
    var isCopying = true
    /// Its connection has ended, or has to.
    var isDead = false
    /// The namespace was ended, and it was told so.
    var isEnded = false

    let output: UnsafeMutableRawPointer
    var outputStart = 0
    var outputEnd = 0
    private let input: UnsafeMutablePointer<UInt8>
    private var inputEnd = 0

    static let outputBytes = 512 << 10
    private static let inputBytes = 4096

    init(socket: PeerSocket, id: UInt64, name: String, namespace: String, sender: NamespaceSender, now: UInt64) {
        (self.socket, self.id, self.name, self.sender) = (socket, id, name, sender)
        (self.namespace, acknowledged, lastHeard) = (namespace, sender.sequence, now)
        output = .allocate(byteCount: Self.outputBytes, alignment: 4096)
        input = .allocate(capacity: Self.inputBytes)
    }

    func free() {
        output.deallocate()
        input.deallocate()
        socket.close()
    }

    var waitingOutput: Int { outputEnd - outputStart }

    mutating func put(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, bytes.count <= Self.outputBytes - outputEnd else { return }
            (output + outputEnd).copyMemory(from: base, byteCount: bytes.count)
            outputEnd += bytes.count
        }
    }

    /// Sends what waits; false if the connection takes no more now.
    mutating func flush(now: UInt64) -> Bool {
        while waitingOutput > 0 {
            let sent = socket.send(output + outputStart, waitingOutput)
            if sent == -Int(EAGAIN) { return false }
            if sent < 0 {
                isDead = true
                return false
            }
            outputStart += sent
            bytesSent += UInt64(sent)
            lastSent = now
        }
        (outputStart, outputEnd) = (0, 0)
        return true
    }

    /// Takes acknowledgements: lines `ACK sequence`.
    mutating func receive(now: UInt64) {
        while !isDead {
            let got = socket.receive(input + inputEnd, Self.inputBytes - inputEnd)
            if got == -Int(EAGAIN) { return }
            guard got > 0 else {
                isDead = true
                return
            }
            inputEnd += got
            lastHeard = now
            lines()
            if inputEnd == Self.inputBytes { isDead = true }
        }
    }

    private mutating func lines() {
        var start = 0
        while let end = (start..<inputEnd).first(where: { input[$0] == 10 }) {
            let line = String(decoding: UnsafeBufferPointer(start: input + start, count: end - start), as: UTF8.self)
            start = end + 1
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\r" })
            guard words.count >= 2, words[0] == "ACK", let sequence = UInt64(words[1]) else {
                isDead = true
                return
            }
            acknowledged = max(acknowledged, sequence)
        }
        input.update(from: input + start, count: inputEnd - start)
        inputEnd -= start
    }
}

/// Namespaces that move: those of others that follow ours, and ours that follow others.
struct Moving {
    var followers: [UnsafeMutablePointer<Follower>] = []
    var nextId: UInt64 = 1
    /// A follower can take more than one turn's part.
    var hasMore = false
    /// Connections to sources, in the order in which they were asked for.
    var sources: [SourceLink] = []
    /// Connections that wait until a namespace has everything of its source.
    var promotions: [Promotion] = []

    /// A connection that wants a namespace to be written to here.
    struct Promotion {
        var descriptor: Int32
        var connection: UInt64
        var namespace: UInt32
        /// The source's fence that has to be met; nil: its lock or freeze.
        var epoch: UInt64?
        var deadline: UInt64
    }

    var isEmpty: Bool { followers.isEmpty && sources.isEmpty }
}

/// A namespace's connection to its source.
final class SourceLink: PeerLink {
    let namespace: UInt32
    var receiver: NamespaceReceiver
    /// Who we are there; nil: as the settings say.
    var credentials: (user: [UInt8], password: [UInt8])?
    /// What the source was told of last, and when.
    var acknowledged: UInt64 = 0
    var lastAcknowledgement: UInt64 = 0

    init(_ namespace: UInt32, _ address: MasterAddress, now: UInt64) {
        self.namespace = namespace
        receiver = NamespaceReceiver(namespace)
        super.init(address, now: now)
    }

    override func connect(_ tls: PeerTLSSettings?, now: UInt64) -> String? {
        receiver = NamespaceReceiver(namespace)
        (acknowledged, lastAcknowledgement) = (0, 0)
        return super.connect(tls, now: now)
    }
}
