internal import CLinux
internal import Glibc
internal import Linux

/// One line of a container's log.
public struct LogRecord: Sendable, Equatable {
    /// Where the line came from.
    public enum Stream: UInt8, Sendable {
        /// Standard output.
        case output = 0x6F
        /// Standard error.
        case errors = 0x65
    }
    /// Nanoseconds since 1970 at which the line was complete.
    public var time: Int64
    /// Where it came from.
    public var stream: Stream
    /// Whether the line goes on in the next record of the stream.
    public var isPartial: Bool
    /// The bytes without the line end.
    public var text: [UInt8]

    /// A record.
    public init(time: Int64, stream: Stream, isPartial: Bool, text: [UInt8]) {
        (self.time, self.stream, self.isPartial, self.text) = (time, stream, isPartial, text)
    }

    /// Reads one line of a log file, without its end; nil where it is not a record.
    public init?(line: ArraySlice<UInt8>) {
        // "<digits> <o|e> <F|P> <text>"
        guard let space = line.firstIndex(of: 32), space > line.startIndex, line.endIndex >= space + 5,
            let time = Int64(String(decoding: line[..<space], as: UTF8.self)),
            let stream = Stream(rawValue: line[space + 1]), line[space + 2] == 32, line[space + 4] == 32
        else { return nil }
        let flag = line[space + 3]
        guard flag == UInt8(ascii: "F") || flag == UInt8(ascii: "P") else { return nil }
        self.init(
            time: time, stream: stream, isPartial: flag == UInt8(ascii: "P"), text: Array(line[(space + 5)...]))
    }

    /// The line of a log file, with its end.
    public func append(to bytes: inout [UInt8]) {
        bytes += Array("\(time)".utf8)
        bytes += [32, stream.rawValue, 32, UInt8(ascii: isPartial ? "P" : "F"), 32]
        bytes += text
        bytes.append(10)
    }
}

/// Names and bounds of a log folder.
public enum LogFiles {
    /// The file that is written now.
    public static let current = "current"
    /// The one before it.
    public static let previous = "previous"
    /// Longest text of one record; longer lines are cut into partial ones.
    public static let lineMax = 16 << 10
}

/// Writes lines into two files of at most half the size each: when the current one is full it becomes the previous one.
struct LogRing: ~Copyable {
    private let folder: String
    private var half: Int64
    private var file: Int32 = -1
    private var size: Int64 = 0
    private var partial: [LogRecord.Stream: [UInt8]] = [:]

    init(folder: String, max: Int64) throws(SystemError) {
        (self.folder, half) = (folder, max / 2)
        try open()
    }

    deinit { if file >= 0 { close(file) } }

    mutating func resize(max: Int64) { half = max / 2 }

    private mutating func open() throws(SystemError) {
        let path = "\(folder)/\(LogFiles.current)"
        if file >= 0 { close(file) }
        file = -1
        file = try checked("open", path, zg_open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o640))
        // Whatever the umask is, Core-X's group may read.
        fchmod(file, 0o640)
        size = try File.status(of: file).size
    }

    /// Adds what was read from a stream; complete lines are written at once.
    mutating func add(_ stream: LogRecord.Stream, _ bytes: ArraySlice<UInt8>, time: Int64) {
        var out: [UInt8] = []
        var start = bytes.startIndex
        while start < bytes.endIndex {
            let room = LogFiles.lineMax - (partial[stream]?.count ?? 0)
            let end = bytes[start...].firstIndex(of: 10) ?? bytes.endIndex
            if end - start > room {
                emit(stream, bytes[start..<start + room], partial: true, time: time, into: &out)
                start += room
            } else if end < bytes.endIndex {
                emit(stream, bytes[start..<end], partial: false, time: time, into: &out)
                start = end + 1
            } else {
                partial[stream, default: []] += bytes[start..<end]
                start = end
            }
        }
        write(out)
    }

    /// Writes what has no line end yet; the stream has ended.
    mutating func flush(time: Int64) {
        var out: [UInt8] = []
        for stream in [LogRecord.Stream.output, .errors] where partial[stream]?.isEmpty == false {
            emit(stream, [], partial: false, time: time, into: &out)
        }
        write(out)
    }

    private mutating func emit(
        _ stream: LogRecord.Stream, _ rest: ArraySlice<UInt8>, partial isPartial: Bool, time: Int64,
        into out: inout [UInt8]
    ) {
        let text = (partial[stream] ?? []) + rest
        partial[stream] = []
        LogRecord(time: time, stream: stream, isPartial: isPartial, text: text).append(to: &out)
        // A burst larger than half the ring must not make a file larger than that.
        if size + Int64(out.count) > half {
            write(out)
            out = []
        }
    }

    private mutating func write(_ bytes: [UInt8]) {
        if bytes.isEmpty { return }
        if size > 0, size + Int64(bytes.count) > half {
            // A failure keeps the old file growing rather than losing lines.
            if (try? File.rename("\(folder)/\(LogFiles.current)", to: "\(folder)/\(LogFiles.previous)")) != nil {
                try? open()
            }
        }
        if file < 0 { try? open() }
        var done = 0
        while file >= 0, done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            // A full disk loses log lines; the container goes on.
            if count <= 0 { break }
            done += count
        }
        size += Int64(done)
    }
}
