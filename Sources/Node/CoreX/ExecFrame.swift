internal import Bytes

/// A piece of the conversation with a program: type, length, bytes. `Documentation/formats/corex.md` describes it.
struct ExecFrame: Equatable {
    enum Kind: UInt8 {
        /// To the program's input; empty: its end.
        case input = 0
        /// From its output.
        case output = 1
        /// From its error output.
        case errors = 2
        /// It ended: u32 status, little-endian.
        case exit = 3
        /// Size of its terminal: u16 columns, u16 rows.
        case resize = 4
        /// It could not be started: text.
        case failure = 5
        /// It runs.
        case started = 6
    }
    /// Longest payload.
    static let payloadMax = 64 << 10
    /// Type and length.
    static let headBytes = 5

    let kind: Kind
    let payload: [UInt8]

    init(_ kind: Kind, _ payload: [UInt8] = []) { (self.kind, self.payload) = (kind, payload) }

    var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.u8(kind.rawValue)
        writer.u32(UInt32(payload.count))
        writer.append(payload)
        return writer.bytes
    }

    static func exit(_ status: Int32) -> ExecFrame {
        var writer = ByteWriter()
        writer.u32(UInt32(bitPattern: status))
        return ExecFrame(.exit, writer.bytes)
    }

    /// The status of an `exit` frame.
    var status: Int32? {
        guard kind == .exit, payload.count == 4 else { return nil }
        return Int32(bitPattern: payload.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
    }

    /// Columns and rows of a `resize` frame.
    var size: (columns: UInt16, rows: UInt16)? {
        guard kind == .resize, payload.count == 4 else { return nil }
        return (UInt16(payload[0]) | UInt16(payload[1]) << 8, UInt16(payload[2]) | UInt16(payload[3]) << 8)
    }
}

/// What arrived was not a frame.
struct ExecFrameError: Error, CustomStringConvertible {
    let description: String
}

/// Cuts a stream of bytes into frames.
struct ExecFrameParser {
    private var buffer: [UInt8] = []
    private var start = 0

    mutating func feed(_ bytes: [UInt8]) {
        if start > 0, start == buffer.count { (buffer, start) = ([], 0) }
        buffer += bytes
    }

    mutating func next() throws(ExecFrameError) -> ExecFrame? {
        let rest = buffer.count - start
        guard rest >= ExecFrame.headBytes else { return nil }
        guard let kind = ExecFrame.Kind(rawValue: buffer[start]) else {
            throw ExecFrameError(description: "unknown frame \(buffer[start])")
        }
        let length = (1...4).reversed().reduce(0) { $0 << 8 | Int(buffer[start + $1]) }
        guard length <= ExecFrame.payloadMax else { throw ExecFrameError(description: "a frame of \(length) bytes") }
        guard rest >= ExecFrame.headBytes + length else { return nil }
        let from = start + ExecFrame.headBytes
        let frame = ExecFrame(kind, Array(buffer[from..<from + length]))
        start = from + length
        if start > 1 << 20 {
            buffer.removeFirst(start)
            start = 0
        }
        return frame
    }
}
