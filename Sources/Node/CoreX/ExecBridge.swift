internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import HTTP
internal import Linux
internal import RESP

/// Carries bytes between a client's connection and a program in a container, on a thread of its own. The shim starts
/// the program with our pipes as its input and outputs; nothing of a user's bytes passes through the shim.
struct ExecBridge {
    private let stream: DuplexStream
    private let socket: String
    private let request: JSONValue
    private var shim: Int32 = -1
    private var input: Int32 = -1
    private var output: Int32 = -1
    private var errors: Int32 = -1
    /// Bytes that the program did not take yet; nothing more is read from the client meanwhile.
    private var waiting: [UInt8] = []
    private var inputEnds = false
    private var frames = ExecFrameParser()
    private var replies = RESPParser()
    private var exit: Int32?
    /// The size of the client's terminal; it may be told before the program has its own.
    private var window: winsize?
    private var hasTerminal: Bool { request["tty"]?.bool == true }

    init(stream: DuplexStream, socket: String, request: JSONValue) {
        (self.stream, self.socket, self.request) = (stream, socket, request)
    }

    /// Runs until the program ended or the client went.
    mutating func run() {
        defer { closeAll() }
        do {
            try begin()
            frames.feed(stream.takeEarly())
            try takeFrames()
            while try turn() {}
        } catch let error as ExecFailure {
            try? stream.write(ExecFrame(.failure, Array(error.message.utf8)).bytes)
        } catch {
            // The client went: closing the shim's connection kills the program.
        }
    }

    private struct ExecFailure: Error {
        let message: String
    }

    private mutating func begin() throws {
        shim = zg_unix_connect(socket)
        guard shim >= 0 else { throw ExecFailure(message: "the container has no shim now: \(Errno(-shim))") }
        var inner: [Int32] = []
        defer { for descriptor in inner { close(descriptor) } }
        if !hasTerminal {
            let (inputRead, inputWrite) = try pipe()
            let (outputRead, outputWrite) = try pipe()
            let (errorsRead, errorsWrite) = try pipe()
            (input, output, errors) = (inputWrite, outputRead, errorsRead)
            inner = [inputRead, outputWrite, errorsWrite]
            _ = zg_socket_nonblocking(input, 1)
        }
        var writer = RESPWriter()
        writer.command([Array("SHIM.EXEC".utf8), request.canonicalBytes])
        let bytes = writer.take()
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                zg_send(shim, $0.baseAddress, $0.count, inner, sent == 0 ? inner.count : 0)
            }
            guard count > 0 else { throw ExecFailure(message: "the shim does not answer: \(Errno(Int32(-count)))") }
            sent += count
        }
    }

    private func pipe() throws -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else { throw ExecFailure(message: "no pipe: \(Errno(errno))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    /// Waits for something and handles it; false at the end.
    private mutating func turn() throws -> Bool {
        if exit != nil, output < 0, errors < 0 { return finish() }
        let wantsClient = waiting.isEmpty && !(inputEnds && input < 0 && !hasTerminal)
        var list = [
            pollfd(fd: stream.descriptor, events: Int16(wantsClient ? POLLIN : 0), revents: 0),
            pollfd(fd: shim, events: Int16(POLLIN), revents: 0),
            pollfd(fd: output, events: Int16(POLLIN), revents: 0),
            pollfd(fd: errors, events: Int16(POLLIN), revents: 0),
            pollfd(fd: waiting.isEmpty ? -1 : input, events: Int16(POLLOUT), revents: 0),
        ]
        // A program that ended may leave children that keep its pipes open: those are not waited for.
        let ready = poll(&list, UInt(list.count), exit == nil ? -1 : 200)
        if ready == 0, exit != nil { return finish() }
        if ready < 0 { return true }
        if list[2].revents != 0 { output = try pump(output, .output) }
        if list[3].revents != 0 { errors = try pump(errors, .errors) }
        if list[4].revents != 0 { feedInput() }
        if list[1].revents != 0 { try takeReplies() }
        if list[0].revents != 0 {
            let bytes = try stream.read()
            if bytes.isEmpty { return false }
            frames.feed(bytes)
            try takeFrames()
        }
        return true
    }

    private func finish() -> Bool {
        if let exit { try? stream.write(ExecFrame.exit(exit).bytes) }
        stream.finishWriting()
        return false
    }

    /// Sends what a pipe holds; the descriptor to go on with, -1 at its end.
    private func pump(_ descriptor: Int32, _ kind: ExecFrame.Kind) throws -> Int32 {
        var buffer = [UInt8](repeating: 0, count: 32 << 10)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        if count < 0, errno == EINTR || errno == EAGAIN { return descriptor }
        // EIO: the last program on a terminal went.
        guard count > 0 else {
            close(descriptor)
            return -1
        }
        try stream.write(ExecFrame(kind, Array(buffer[..<count])).bytes)
        return descriptor
    }

    private mutating func takeFrames() throws {
        while let frame = try frames.next() {
            switch frame.kind {
            case .input:
                if frame.payload.isEmpty { inputEnds = true } else { waiting += frame.payload }
                feedInput()
            case .resize:
                if let size = frame.size, hasTerminal {
                    window = winsize(ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0)
                    applySize()
                }
            default: throw ExecFrameError(description: "a client does not send \(frame.kind)")
            }
        }
    }

    private mutating func feedInput() {
        while !waiting.isEmpty, input >= 0 {
            let count = waiting.withUnsafeBytes { Glibc.write(input, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { return }
            if count < 0 {
                // It does not read any more; what comes is thrown away.
                closeInput()
                break
            }
            waiting.removeFirst(count)
        }
        // Before its terminal is there, input waits; after the program closed it, it is thrown away.
        let isBeforeTerminal = hasTerminal && exit == nil && output < 0
        if input < 0, !isBeforeTerminal { waiting = [] }
        if inputEnds, waiting.isEmpty {
            if !hasTerminal {
                closeInput()
            } else if input >= 0 {
                // A terminal has no end: this is its end-of-file character.
                _ = write(input, [4], 1)
                inputEnds = false
            }
        }
    }

    private mutating func closeInput() {
        if input >= 0 { close(input) }
        input = -1
        waiting = []
    }

    private mutating func takeReplies() throws {
        var descriptors = [Int32](repeating: -1, count: Int(ZG_DESCRIPTORS_MAX))
        var count = 0
        var bytes = [UInt8](repeating: 0, count: 4096)
        let got = zg_receive(shim, &bytes, bytes.count, &descriptors, descriptors.count, &count)
        for (index, descriptor) in descriptors[..<count].enumerated() {
            if index == 0, hasTerminal, output < 0 { useTerminal(descriptor) } else { close(descriptor) }
        }
        if got == -Int(EAGAIN) || got == -Int(EINTR) { return }
        guard got > 0 else {
            if exit != nil { return }
            throw ExecFailure(message: "the shim went away; the program may still run")
        }
        replies.feed(Array(bytes[..<got]))
        while let value = try replies.next() {
            switch value {
            case .push: try stream.write(ExecFrame(.started).bytes)
            case .error(let text): throw ExecFailure(message: text)
            default:
                let status = value.bytes.flatMap { try? JSONValue(parsing: $0) }?["exit"]?.integer ?? 255
                exit = Int32(clamping: status)
            }
        }
    }

    /// The program's terminal is both its input and its output.
    private mutating func useTerminal(_ descriptor: Int32) {
        output = descriptor
        input = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        _ = zg_socket_nonblocking(descriptor, 1)
        applySize()
        feedInput()
    }

    private func applySize() {
        guard var window, output >= 0 else { return }
        _ = ioctl(output, UInt(TIOCSWINSZ), &window)
    }

    private mutating func closeAll() {
        for descriptor in [shim, input, output, errors] where descriptor >= 0 { close(descriptor) }
        (shim, input, output, errors) = (-1, -1, -1, -1)
    }
}
