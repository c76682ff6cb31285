import CLinux
import CTLS
import Glibc

/// One argument of a command, inside the connection's input.
struct Argument {
    var base: UnsafeRawPointer
    var count: Int

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    /// Whether it is a word, in either case.
    @inline(__always)
    func isWord(_ word: StaticString) -> Bool {
        guard word.utf8CodeUnitCount == count else { return false }
        for index in 0..<count {
            var byte = base.load(fromByteOffset: index, as: UInt8.self)
            if byte >= 97 && byte <= 122 { byte -= 32 }
            if byte != word.utf8Start[index] { return false }
        }
        return true
    }

    /// A decimal number without sign.
    var number: UInt64? {
        guard count > 0, count <= 20 else { return nil }
        var value: UInt64 = 0
        for index in 0..<count {
            let digit = base.load(fromByteOffset: index, as: UInt8.self) &- 48
            guard digit < 10 else { return nil }
            let (product, over) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            guard !over, !carry else { return nil }
            value = sum
        }
        return value
    }

    var array: [UInt8] { [UInt8](bytes) }
    var text: String { String(decoding: bytes, as: UTF8.self) }
}

/// What a connection may do.
enum Role {
    static let readOnly: UInt8 = 0
    static let readWrite: UInt8 = 1
    static let admin: UInt8 = 2
}

/// A client: a descriptor, what came and was not executed yet, what goes and was not sent yet.
struct Connection {
    let descriptor: Int32
    let id: UInt64
    var namespace: UInt32
    var role: UInt8
    /// What it was let in with, for `RESET`.
    private(set) var homeNamespace: UInt32
    private(set) var homeRole: UInt8
    /// The namespace to which it belongs (a socket of it, or an account that may use only it); 0: none.
    private(set) var boundNamespace: UInt32
    /// Why the commands in its input are not executed now; one look tells whether there is a reason.
    private(set) var stops: UInt8 = 0
    /// Its last command is answered later (a password is being derived); nothing is read or executed until then.
    var isPaused: Bool {
        get { stops & 1 != 0 }
        set { stops = stops & ~1 | (newValue ? 1 : 0) }
    }
    /// Its first command is not done: `Server.longCommands` has it.
    var isLong: Bool {
        get { stops & 2 != 0 }
        set { stops = stops & ~2 | (newValue ? 2 : 0) }
    }
    /// Memory that its command which is not done holds.
    var longMemory = 0
    /// Bytes do not come by a plain `recv`: descriptors may be with them, or they are encrypted.
    var receivesSpecially = false
    /// Its last receive may have ended before there was no more: behind a descriptor, or with a part of a TLS record.
    var readsShort = false
    /// OpenSSL's side of it; nil: it is not encrypted.
    var tls: OpaquePointer?
    /// When it said something last, and when it took something last.
    var activeAt: UInt64 = 0
    var sentAt: UInt64 = 0
    /// Hands were shaken.
    var isEstablished = true
    var isResp3 = false
    /// Nothing more is read or executed; it ends when its replies are gone.
    var isClosing = false
    /// It is in the list of connections that got replies in this turn.
    var isTouched = false
    /// The namespace among whose connections it counts, and in whose queue it stands.
    var tenant: UInt32 = .max
    /// It stands in the queue, before `next` (a descriptor, or -1).
    var isQueued = false
    var next: Int32 = -1
    /// Its socket may hold bytes that were not read.
    var mayRead = true
    /// The peer sends nothing more; what it sent is still to be read up to the end.
    var hasPeerClosed = false
    /// A reply of this turn has to wait until what it tells of is on stable storage.
    var awaitsSync = false
    /// epoll tells when it takes more bytes.
    var awaitsWritable = false
    /// Commands are complete in the input but were not executed, because replies wait.
    var isHeld = false
    /// Commands are not executed as they come: between MULTI and EXEC, or behind MASTER.
    var isQueueing = false
    /// Its commands were given to another server, whose number for who gave them each ends with.
    var isMaster = false
    /// The writer's epoch, for namespaces with a fence.
    var epoch: UInt64 = 0
    /// Whether descriptors may come with its bytes: an administrator on a Unix socket.
    var takesDescriptors = false
    /// A descriptor that came and was not used yet; -1 if none.
    var received: Int32 = -1
    /// Where in the output this turn's first reply stands that is only true if the turn is committed; -1 if none.
    var uncertain = -1
    /// From here on the output is kept back until replicas have what it tells of; -1: nothing is.
    var heldFrom = -1

    var input: UnsafeMutableRawPointer
    var inputCapacity: Int
    var inputStart = 0
    var inputEnd = 0
    var output: UnsafeMutableRawPointer
    var outputCapacity: Int
    var outputStart = 0
    var outputEnd = 0

    init(descriptor: Int32, id: UInt64, namespace: UInt32, role: UInt8, bound: UInt32 = 0) {
        (self.descriptor, self.id, self.namespace, self.role) = (descriptor, id, namespace, role)
        (homeNamespace, homeRole, boundNamespace) = (namespace, role, bound)
        inputCapacity = Limits.bufferBytes
        outputCapacity = Limits.bufferBytes
        input = .allocate(byteCount: inputCapacity, alignment: 16)
        output = .allocate(byteCount: outputCapacity, alignment: 16)
    }

    func free() {
        zg_tls_free(tls)
        input.deallocate()
        output.deallocate()
        if received >= 0 { _ = Glibc.close(received) }
        _ = Glibc.close(descriptor)
    }

    /// Puts it into one namespace and nowhere else.
    mutating func bind(to namespace: UInt32, _ role: UInt8) {
        (self.namespace, self.role) = (namespace, role)
        (homeNamespace, homeRole, boundNamespace) = (namespace, role, namespace)
    }

    /// One send of what waits: bytes that went, or -EAGAIN.
    @inline(__always)
    func send() -> Int {
        if let tls { return zg_tls_send(tls, output + outputStart, sendableOutput) }
        return zg_db_send(descriptor, output + outputStart, sendableOutput)
    }

    /// Memory that it holds.
    var memory: Int { inputCapacity + outputCapacity + longMemory }
    var isBound: Bool { boundNamespace != 0 }
    var waitingOutput: Int { outputEnd - outputStart }
    /// Bytes that may be sent now.
    var sendableOutput: Int { (heldFrom < 0 ? outputEnd : heldFrom) - outputStart }

    /// Room for so many more bytes of input behind what is there.
    mutating func reserveInput(_ bytes: Int) {
        if inputStart == inputEnd { (inputStart, inputEnd) = (0, 0) }
        if inputEnd + bytes <= inputCapacity { return }
        let count = inputEnd - inputStart
        if count + bytes <= inputCapacity {
            input.copyMemory(from: input + inputStart, byteCount: count)
        } else {
            var capacity = inputCapacity
            while capacity < count + bytes { capacity *= 2 }
            let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
            larger.copyMemory(from: input + inputStart, byteCount: count)
            input.deallocate()
            (input, inputCapacity) = (larger, capacity)
        }
        (inputStart, inputEnd) = (0, count)
    }

    /// Room for so many more bytes of output.
    @inline(__always)
    mutating func reserveOutput(_ bytes: Int) {
        if outputEnd + bytes > outputCapacity { growOutput(bytes) }
    }

    private mutating func growOutput(_ bytes: Int) {
        // What was already sent is not moved within a turn, because `uncertain` is an offset.
        var capacity = outputCapacity
        while capacity < outputEnd + bytes { capacity *= 2 }
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        (larger + outputStart).copyMemory(from: output + outputStart, byteCount: outputEnd - outputStart)
        output.deallocate()
        (output, outputCapacity) = (larger, capacity)
    }

    /// Gives large empty buffers back.
    mutating func shrink() {
        if inputStart == inputEnd {
            (inputStart, inputEnd) = (0, 0)
            if inputCapacity > Limits.bufferKeptBytes {
                input.deallocate()
                inputCapacity = Limits.bufferBytes
                input = .allocate(byteCount: inputCapacity, alignment: 16)
            }
        }
        if outputStart == outputEnd {
            (outputStart, outputEnd) = (0, 0)
            if outputCapacity > Limits.bufferKeptBytes {
                output.deallocate()
                outputCapacity = Limits.bufferBytes
                output = .allocate(byteCount: outputCapacity, alignment: 16)
            }
        } else if outputStart > Limits.bufferKeptBytes, outputStart > waitingOutput {
            dropSent()
        }
    }

    /// Between turns: who always has something waiting would else grow its buffer by all that it ever took.
    private mutating func dropSent() {
        let count = waitingOutput
        output.copyMemory(from: output + outputStart, byteCount: count)
        if heldFrom >= 0 { heldFrom -= outputStart }
        if uncertain >= 0 { uncertain -= outputStart }
        (outputStart, outputEnd) = (0, count)
    }

    // MARK: Replies

    @inline(__always)
    mutating func put(_ text: StaticString) {
        let count = text.utf8CodeUnitCount
        reserveOutput(count)
        (output + outputEnd).copyMemory(from: text.utf8Start, byteCount: count)
        outputEnd += count
    }

    @inline(__always)
    mutating func put(byte: UInt8) {
        reserveOutput(1)
        output.storeBytes(of: byte, toByteOffset: outputEnd, as: UInt8.self)
        outputEnd += 1
    }

    mutating func put(bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        reserveOutput(bytes.count)
        (output + outputEnd).copyMemory(from: base, byteCount: bytes.count)
        outputEnd += bytes.count
    }

    /// A type byte, a number and the end of the line.
    @inline(__always)
    mutating func put(_ type: UInt8, _ number: UInt64) {
        reserveOutput(24)
        output.storeBytes(of: type, toByteOffset: outputEnd, as: UInt8.self)
        outputEnd += 1
        var digits = 1
        var limit: UInt64 = 10
        while number >= limit {
            digits += 1
            let (next, over) = limit.multipliedReportingOverflow(by: 10)
            if over { break }
            limit = next
        }
        var rest = number
        var at = outputEnd + digits
        outputEnd = at
        repeat {
            at -= 1
            output.storeBytes(of: UInt8(truncatingIfNeeded: rest % 10) + 48, toByteOffset: at, as: UInt8.self)
            rest /= 10
        } while rest != 0
        output.storeBytes(of: 13, toByteOffset: outputEnd, as: UInt8.self)
        output.storeBytes(of: 10, toByteOffset: outputEnd + 1, as: UInt8.self)
        outputEnd += 2
    }

    mutating func ok() { put("+OK\r\n") }
    mutating func integer(_ value: UInt64) { put(UInt8(ascii: ":"), value) }
    mutating func array(_ count: Int) { put(UInt8(ascii: "*"), UInt64(count)) }
    mutating func null() { if isResp3 { put("_\r\n") } else { put("$-1\r\n") } }

    mutating func bulk(_ bytes: UnsafeRawBufferPointer) {
        put(UInt8(ascii: "$"), UInt64(bytes.count))
        put(bytes: bytes)
        put("\r\n")
    }

    mutating func bulk(_ bytes: [UInt8]) { bytes.withUnsafeBytes { bulk($0) } }
    mutating func bulk(_ text: String) { bulk(Array(text.utf8)) }

    /// A map: its type in RESP3, twice as many elements of an array in RESP2.
    mutating func map(_ pairs: Int) {
        if isResp3 { put(UInt8(ascii: "%"), UInt64(pairs)) } else { array(pairs * 2) }
    }

    /// An error; its text may hold what a client said, so it is made one line.
    mutating func error(_ text: String) {
        put(byte: UInt8(ascii: "-"))
        for byte in text.utf8.prefix(400) { put(byte: byte < 32 || byte == 127 ? UInt8(ascii: " ") : byte) }
        put("\r\n")
    }
}
