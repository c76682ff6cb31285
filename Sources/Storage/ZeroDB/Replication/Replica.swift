import CLinux
import Glibc
import LogEngine

/// A replica as its master sees it: a connection that only takes the log, and says how much of it is durable there.
struct Replica {
    let socket: PeerSocket
    let id: UInt64
    let name: String
    let since: UInt64
    var sender: ReplicaSender
    /// Everything up to this sequence number is on the replica's stable storage.
    var acknowledged: UInt64 = 0
    var acknowledgedPlace = LogPosition(segment: 0, offset: 0)
    /// When it last said something; monotonic nanoseconds.
    var lastHeard: UInt64
    /// When it was last told where the master is.
    var lastPosition: UInt64 = 0
    /// How long the last position took to come back: to be sent, made durable and acknowledged.
    var lag: UInt64 = 0
    var bytesSent: UInt64 = 0
    /// What epoll tells of it.
    var interest: UInt32 = 0
    /// When it was last sent something; monotonic nanoseconds.
    var lastSent: UInt64 = 0
    /// When its acknowledgements were last read.
    var lastRead: UInt64 = 0
    /// A position was sent and has not come back.
    var awaitsToken = false
    /// It lacks more than one turn's part: nothing is gathered.
    var isCopying = true
    /// Its connection has ended, or has to.
    var isDead = false

    let output: UnsafeMutableRawPointer
    var outputStart = 0
    var outputEnd = 0
    private let input: UnsafeMutablePointer<UInt8>
    private var inputEnd = 0

    static let outputBytes = 1 << 20
    private static let inputBytes = 4096

    init(socket: PeerSocket, id: UInt64, name: String, sender: ReplicaSender, now: UInt64) {
        (self.socket, self.id, self.name, self.sender) = (socket, id, name, sender)
        (since, lastHeard) = (now, now)
        output = .allocate(byteCount: Self.outputBytes, alignment: 4096)
        input = .allocate(capacity: Self.inputBytes)
    }

    func free() {
        output.deallocate()
        input.deallocate()
        socket.close()
    }

    var descriptor: Int32 { socket.descriptor }
    var waitingOutput: Int { outputEnd - outputStart }
    var room: Int { Self.outputBytes - outputEnd }

    mutating func put(_ text: String) { put(Array(text.utf8)) }

    mutating func put(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, bytes.count <= room else { return }
            (output + outputEnd).copyMemory(from: base, byteCount: bytes.count)
            outputEnd += bytes.count
        }
    }

    /// Sends what waits; false if the connection takes no more now.
    mutating func flush() -> Bool {
        while waitingOutput > 0 {
            let sent = socket.send(output + outputStart, waitingOutput)
            if sent == -Int(EAGAIN) { return false }
            if sent < 0 {
                isDead = true
                return false
            }
            outputStart += sent
            bytesSent += UInt64(sent)
        }
        (outputStart, outputEnd) = (0, 0)
        return true
    }

    /// Takes acknowledgements: lines `ACK sequence segment offset token`. True if there was one.
    mutating func receive(now: UInt64) -> Bool {
        var hasNews = false
        while true {
            let got = socket.receive(input + inputEnd, Self.inputBytes - inputEnd)
            if got == -Int(EAGAIN) { return hasNews }
            if got <= 0 {
                isDead = true
                return hasNews
            }
            inputEnd += got
            lastHeard = now
            if lines(now: now) { hasNews = true }
            if inputEnd == Self.inputBytes {
                isDead = true
                return hasNews
            }
        }
    }

    private mutating func lines(now: UInt64) -> Bool {
        var hasNews = false
        var start = 0
        while let end = (start..<inputEnd).first(where: { input[$0] == 10 }) {
            let line = String(decoding: UnsafeBufferPointer(start: input + start, count: end - start), as: UTF8.self)
            start = end + 1
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\r" })
            guard words.count >= 5, words[0] == "ACK", let sequence = UInt64(words[1]),
                let segment = UInt64(words[2]), let offset = UInt64(words[3]), let token = UInt64(words[4])
            else {
                isDead = true
                return hasNews
            }
            acknowledged = max(acknowledged, sequence)
            acknowledgedPlace = LogPosition(segment: segment, offset: offset)
            if token != 0 { awaitsToken = false }
            if token != 0, token <= now { lag = now - token }
            hasNews = true
        }
        if start > 0 {
            input.update(from: input + start, count: inputEnd - start)
            inputEnd -= start
        }
        return hasNews
    }
}

/// What a server knows of its replicas and who waits for them.
struct ReplicaSet {
    /// A connection whose replies are kept back until enough replicas have what they tell of.
    struct Held {
        var descriptor: Int32
        var connection: UInt64
        var sequence: UInt64
        var deadline: UInt64
    }

    /// A connection that asked how many replicas have everything up to a number.
    struct Waiter {
        var descriptor: Int32
        var connection: UInt64
        var sequence: UInt64
        var count: Int
        var deadline: UInt64
    }

    var members: [UnsafeMutablePointer<Replica>] = []
    var nextId: UInt64 = 1
    var held: [Held] = []
    var waiters: [Waiter] = []
    /// Everything up to this number was confirmed once, or was there before this process.
    var floor: UInt64 = 0
    /// Writes are answered without waiting, because replicas were late and the settings say so.
    var isDegraded = false
    var timeouts: UInt64 = 0
    var accepted: UInt64 = 0
    /// A replica can take more than one turn's part.
    var hasMore = false

    var isEmpty: Bool { members.isEmpty }

    /// How many replicas have everything up to a number, durably.
    func count(having sequence: UInt64) -> Int {
        var count = 0
        for member in members where member.pointee.acknowledged >= sequence { count += 1 }
        return count
    }

    /// The highest number up to which so many replicas have everything.
    func confirmed(by count: Int) -> UInt64 {
        guard count > 0 else { return .max }
        guard members.count >= count else { return 0 }
        return members.map(\.pointee.acknowledged).sorted(by: >)[count - 1]
    }
}
