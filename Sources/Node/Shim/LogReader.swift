internal import CLinux
internal import Glibc
public import Linux

/// Reads a container's log folder, from the last lines on and then what is added. Any number of readers, no lock.
public struct LogReader: ~Copyable {
    private static let block = 64 << 10
    private let folder: String
    private var file: Int32 = -1
    private var inode: UInt64 = 0
    private var offset: Int64 = 0
    private var rest: [UInt8] = []
    /// True once lines were overwritten before they could be read.
    public private(set) var lost = false

    /// A reader of the folder `logs` of a container.
    public init(folder: String) { self.folder = folder }

    deinit { if file >= 0 { close(file) } }

    /// The last `count` records, oldest first; `more` goes on after them.
    public mutating func tail(_ count: Int) throws(SystemError) -> [LogRecord] {
        try openCurrent()
        var records: [LogRecord] = []
        if file >= 0 {
            offset = try File.status(of: file).size
            records = Self.last(count, of: file, size: offset, kept: &rest)
        }
        let path = "\(folder)/\(LogFiles.previous)"
        if records.count < count, let old = try? Descriptor.open(path, O_RDONLY | O_NOFOLLOW) {
            let size = try File.status(of: old.raw).size
            var unfinished: [UInt8] = []
            records = Self.last(count - records.count, of: old.raw, size: size, kept: &unfinished) + records
        }
        return records
    }

    /// Records that were added since, at most about a mebibyte of them.
    public mutating func more() throws(SystemError) -> [LogRecord] {
        if file < 0 { try openCurrent() }
        guard file >= 0 else { return [] }
        var records: [LogRecord] = []
        for _ in 0..<16 {
            let bytes = Self.read(file, at: offset, Self.block)
            offset += Int64(bytes.count)
            Self.split(bytes, &rest) { records.append($0) }
            if bytes.count == Self.block { continue }
            guard try moved() else { break }
        }
        return records
    }

    /// Whether the file was full and replaced; then reading goes on at the start of the new one.
    private mutating func moved() throws(SystemError) -> Bool {
        guard let now = try? File.status("\(folder)/\(LogFiles.current)", follow: false), now.inode != inode else {
            return false
        }
        let bytes = Self.read(file, at: offset, Self.block)
        if !bytes.isEmpty {
            // Something was added between our last read and the change.
            return true
        }
        let old = try? File.status("\(folder)/\(LogFiles.previous)", follow: false)
        if old?.inode != inode { lost = true }
        rest = []
        try openCurrent()
        return file >= 0
    }

    private mutating func openCurrent() throws(SystemError) {
        if file >= 0 { close(file) }
        file = -1
        offset = 0
        let path = "\(folder)/\(LogFiles.current)"
        let found = zg_open(path, O_RDONLY | O_NOFOLLOW, 0)
        if found == -ENOENT { return }
        file = try checked("open", path, found)
        inode = try File.status(of: file).inode
    }

    private static func read(_ file: Int32, at offset: Int64, _ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
            var got = 0
            repeat { got = pread(file, buffer.baseAddress, count, Int(offset)) } while got < 0 && errno == EINTR
            used = max(0, got)
        }
    }

    private static func split(_ bytes: [UInt8], _ rest: inout [UInt8], _ body: (LogRecord) -> Void) {
        var start = 0
        while let end = bytes[start...].firstIndex(of: 10) {
            let line = rest + bytes[start..<end]
            rest = []
            if let record = LogRecord(line: line[...]) { body(record) }
            start = end + 1
        }
        rest += bytes[start...]
    }

    /// The last records of a file, read from its end backwards.
    private static func last(_ count: Int, of file: Int32, size: Int64, kept: inout [UInt8]) -> [LogRecord] {
        var bytes: [UInt8] = []
        var from = size
        var lines = 0
        while from > 0, lines <= count {
            let step = min(Int64(block), from)
            from -= step
            let piece = read(file, at: from, Int(step))
            lines += piece.count { $0 == 10 }
            bytes = piece + bytes
        }
        var records: [LogRecord] = []
        kept = []
        split(bytes, &kept) { records.append($0) }
        return Array(records.suffix(max(0, count)))
    }
}
