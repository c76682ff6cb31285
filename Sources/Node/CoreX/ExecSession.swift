internal import Bytes
internal import CLinux
internal import Glibc
internal import HTTP
public import Linux

/// The conversation with a program that Core-X runs. Calls block: keep them off the cooperative pool.
public final class ExecSession: Sendable {
    private let stream: DuplexStream

    init(_ stream: DuplexStream) { self.stream = stream }

    /// Something that the program did.
    public enum Event: Sendable, Equatable {
        /// It runs.
        case started
        /// It wrote.
        case output([UInt8])
        /// It wrote to its error output.
        case errors([UInt8])
        /// It ended with this status, 128+n after signal n.
        case exit(Int32)
    }

    /// Sends bytes to the program's input.
    public func send(_ bytes: [UInt8]) throws(SystemError) {
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + ExecFrame.payloadMax)
            try stream.write(ExecFrame(.input, Array(bytes[start..<end])).bytes)
            start = end
        }
    }

    /// Ends the program's input.
    public func endInput() throws(SystemError) { try stream.write(ExecFrame(.input).bytes) }

    /// Tells the size of the terminal.
    public func resize(columns: UInt16, rows: UInt16) throws(SystemError) {
        var writer = ByteWriter()
        writer.u16(columns)
        writer.u16(rows)
        try stream.write(ExecFrame(.resize, writer.bytes).bytes)
    }

    /// Breaks off; the program is killed.
    public func close() { stream.close() }

    /// Gives every event to `body` until the program ended; its status.
    public func receive(_ body: (Event) -> Void) throws(CoreXError) -> Int32 {
        var parser = ExecFrameParser()
        while true {
            do {
                while let frame = try parser.next() {
                    switch frame.kind {
                    case .started: body(.started)
                    case .output: body(.output(frame.payload))
                    case .errors: body(.errors(frame.payload))
                    case .exit:
                        let status = frame.status ?? 255
                        body(.exit(status))
                        return status
                    case .failure: throw CoreXError(failure: String(decoding: frame.payload, as: UTF8.self))
                    case .input, .resize: throw CoreXError("MALFORMED", "Core-X sent a frame of a client")
                    }
                }
                let bytes = try stream.read()
                if bytes.isEmpty { throw CoreXError("CLOSED", "the connection ended before the program did") }
                parser.feed(bytes)
            } catch let error as CoreXError {
                throw error
            } catch {
                throw CoreXError("FAILED", "\(error)")
            }
        }
    }

    /// Connects the program with descriptors of this process until it ended: what is read from `input` goes to it, what it
    /// writes goes to `output` and `errors`. Blocks; `input` is read on a thread of its own. Once nobody reads `output`
    /// any more the program is ended, and the status is that of a program that SIGPIPE ended.
    public func attach(input: Int32 = 0, output: Int32 = 1, errors: Int32 = 2) throws(CoreXError) -> Int32 {
        startThread { [self] in forward(input) }
        // The runtime complains there about a program that it cannot start; the failure says the same.
        var early: [UInt8] = []
        var (isStarted, isUnread) = (false, false)
        do throws(CoreXError) {
            return try receive { event in
                switch event {
                case .output(let bytes):
                    guard !isUnread, !Self.write(bytes, output) else { break }
                    isUnread = true
                    close()
                case .errors(let bytes) where !isStarted: early += bytes
                case .errors(let bytes): _ = Self.write(bytes, errors)
                case .started, .exit:
                    isStarted = true
                    _ = Self.write(early, errors)
                    early = []
                }
            }
        } catch {
            if isUnread { return 128 + SIGPIPE }
            throw error
        }
    }

    private func forward(_ input: Int32) {
        var buffer = [UInt8](repeating: 0, count: 32 << 10)
        while true {
            let count = Glibc.read(input, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            do throws(SystemError) {
                if count <= 0 {
                    try endInput()
                    return
                }
                try send(Array(buffer[..<count]))
            } catch {
                return
            }
        }
    }

    /// Whether all of it was written.
    private static func write(_ bytes: [UInt8], _ descriptor: Int32) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return false }
            done += count
        }
        return true
    }
}
