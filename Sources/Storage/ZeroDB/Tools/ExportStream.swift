import CISAL
import Glibc

/// The portable stream of `export` and `import`; `Documentation/formats/zero-db-export.md` has the bytes.
enum ExportStream {
    static let magic = Array("ZERODBEX".utf8)
    static let version: UInt32 = 1
    static let headerBytes = 32
    static let frameBytes = 32
    /// More than any record has.
    static let valueBytesMax = 64 << 20

    enum FrameType: UInt8 {
        case namespace = 1
        case value = 2
        case tombstone = 3
        case end = 4
    }

    struct Frame {
        var type: FrameType
        /// The namespace's number in this stream.
        var namespace: UInt32 = 0
        var time: UInt64 = 0
        var sequence: UInt64 = 0
        var key: [UInt8] = []
        var value: [UInt8] = []
    }

    static func checksum(_ state: UInt32, _ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.withUnsafeBytes { raw in
            guard let base = raw.baseAddress, !raw.isEmpty else { return state }
            return crc32_iscsi(
                UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self)), Int32(raw.count), state)
        }
    }

    static func bytes(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    }

    static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } }

    /// Writes a stream to a descriptor.
    struct Writer {
        private let descriptor: Int32
        private var buffer: [UInt8] = []
        private var chain: UInt32 = 0
        private(set) var frames: UInt64 = 0

        /// `start` is the time of the oldest record, so that a new device can be made that knows it.
        init(_ descriptor: Int32, created: UInt64, start: UInt64) {
            self.descriptor = descriptor
            var header = ExportStream.magic + ExportStream.bytes(UInt64(ExportStream.version), 4) + [0, 0, 0, 0]
            header += ExportStream.bytes(created, 8) + ExportStream.bytes(start, 8)
            chain = ~ExportStream.checksum(~0, header[8...])
            buffer = header
        }

        /// Adds a frame; false if it cannot be written.
        mutating func add(_ frame: Frame) -> Bool {
            var head: [UInt8] = [frame.type.rawValue, UInt8(truncatingIfNeeded: frame.key.count), 0, 0]
            head += ExportStream.bytes(UInt64(frame.namespace), 4)
            head += ExportStream.bytes(UInt64(frame.value.count), 4) + ExportStream.bytes(frame.time, 8)
            head += ExportStream.bytes(frame.sequence, 8)
            var state = ExportStream.checksum(~0, ExportStream.bytes(UInt64(chain), 4)[...])
            for part in [head, frame.key, frame.value] { state = ExportStream.checksum(state, part[...]) }
            chain = ~state
            buffer += ExportStream.bytes(UInt64(chain), 4)
            buffer += head
            buffer += frame.key
            buffer += frame.value
            frames += 1
            return buffer.count < 1 << 20 || flush()
        }

        /// Ends the stream.
        mutating func finish() -> Bool {
            add(Frame(type: .end, value: ExportStream.bytes(frames, 8))) && flush()
        }

        private mutating func flush() -> Bool {
            defer { buffer.removeAll(keepingCapacity: true) }
            return Tool.writeAll(buffer, to: descriptor)
        }
    }

    /// Why a stream cannot be read further.
    enum ReadError: Error {
        case notAStream
        case version(UInt32)
        case damaged(offset: UInt64)
        case ended(offset: UInt64)
        case system(Int32)
    }

    /// Reads a stream from a descriptor; gives only frames whose checksum is right.
    struct Reader {
        private let descriptor: Int32
        private var chain: UInt32
        private var offset: UInt64 = 0
        private var frames: UInt64 = 0
        private var buffer: [UInt8] = []
        private var start = 0
        /// The time of the oldest record.
        private(set) var oldest: UInt64 = 0

        init(_ descriptor: Int32) throws(ReadError) {
            self.descriptor = descriptor
            chain = 0
            let header = try take(ExportStream.headerBytes)
            guard Array(header[..<8]) == ExportStream.magic else { throw .notAStream }
            let version = UInt32(truncatingIfNeeded: ExportStream.number(header[8..<12]))
            guard version == ExportStream.version else { throw .version(version) }
            chain = ~ExportStream.checksum(~0, header[8...])
            oldest = ExportStream.number(header[24..<32])
        }

        /// The next frame; nil behind the last.
        mutating func next() throws(ReadError) -> Frame? {
            let at = offset
            let head = try take(ExportStream.frameBytes)
            let length = Int(ExportStream.number(head[12..<16]))
            guard let type = FrameType(rawValue: head[4]), length <= ExportStream.valueBytesMax else {
                throw .damaged(offset: at)
            }
            let key = try take(Int(head[5]))
            let value = try take(length)
            var state = ExportStream.checksum(~0, ExportStream.bytes(UInt64(chain), 4)[...])
            for part in [head[4...], key[...], value[...]] { state = ExportStream.checksum(state, part) }
            chain = ~state
            guard UInt64(chain) == ExportStream.number(head[..<4]) else { throw .damaged(offset: at) }
            if type == .end {
                guard ExportStream.number(value[...]) == frames else { throw .damaged(offset: at) }
                return nil
            }
            frames += 1
            return Frame(
                type: type, namespace: UInt32(truncatingIfNeeded: ExportStream.number(head[8..<12])),
                time: ExportStream.number(head[16..<24]), sequence: ExportStream.number(head[24..<32]), key: key,
                value: value)
        }

        private mutating func take(_ count: Int) throws(ReadError) -> [UInt8] {
            while buffer.count - start < count {
                if start > 0 {
                    buffer.removeFirst(start)
                    start = 0
                }
                var piece = [UInt8](repeating: 0, count: max(1 << 16, min(count - buffer.count, 1 << 20)))
                let got = read(descriptor, &piece, piece.count)
                if got < 0, errno == EINTR { continue }
                if got < 0 { throw .system(errno) }
                if got == 0 { throw .ended(offset: offset) }
                buffer += piece.prefix(got)
            }
            defer {
                start += count
                offset += UInt64(count)
            }
            return Array(buffer[start..<start + count])
        }
    }
}

extension ExportStream.ReadError {
    /// A sentence for people.
    var description: String {
        switch self {
        case .notAStream: "this is no stream of zero-db export"
        case .version(let version): "the stream has version \(version), which this zero-db does not know"
        case .damaged(let offset): "the stream is damaged at byte \(offset)"
        case .ended(let offset): "the stream ends at byte \(offset), before its end mark"
        case .system(let code): "reading the stream failed: \(String(cString: strerror(code)))"
        }
    }
}
