import CInflate
import CZstd
import Crypto
import Flist
import Glibc
import Linux
import Synchronization

/// A stream of bytes that is read once, on one thread.
protocol ByteSource: AnyObject {
    /// Fills a part of `buffer` and returns how much; 0 at the end.
    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int
}

/// A file of the host, with its running digest.
final class FileSource: ByteSource {
    private let descriptor: Descriptor
    private let path: String
    private var hasher = SHA256Hasher()
    private let counter = Atomic<Int64>(0)

    init(_ path: String) throws(ImportError) {
        do { descriptor = try Descriptor.open(path, O_RDONLY) } catch {
            throw .unreadable(path: path, reason: "\(error.errno)")
        }
        self.path = path
        posix_fadvise(descriptor.raw, 0, 0, POSIX_FADV_SEQUENTIAL)
    }

    /// Bytes read so far; any thread may ask.
    var count: Int64 { counter.load(ordering: .relaxed) }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        while true {
            let got = Glibc.read(descriptor.raw, buffer.baseAddress, buffer.count)
            if got >= 0 {
                hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
                counter.wrappingAdd(Int64(got), ordering: .relaxed)
                return got
            }
            let code = errno
            if code != EINTR { throw .unreadable(path: path, reason: "\(Errno(code))") }
        }
    }

    /// The digest of what was read.
    var digest: Digest { hasher.finish() }
}

/// Reads another source on a thread of its own, a few pieces ahead, so that decompressing and cutting go on together.
///
/// `@unchecked Sendable`: the thread alone reads `source`, until it said that it ended; pieces pass through the monitor.
final class AheadSource: ByteSource, @unchecked Sendable {
    private struct State: Sendable {
        var full: [[UInt8]] = []
        var empty: [[UInt8]]
        var end: Result<Void, ImportError>?
        var isDropped = false
    }

    private static let pieces = 4
    private static let pieceBytes = 1 << 20

    private let source: any ByteSource
    private let monitor: Monitor<State>
    private var piece: [UInt8] = []
    private var given = 0

    init(_ source: any ByteSource) {
        self.source = source
        monitor = Monitor(State(empty: Array(repeating: [], count: Self.pieces)))
        let reader = Reader(source: source, monitor: monitor)
        startThread { reader.run() }
    }

    deinit { drop() }

    /// Ends the thread and waits until it no longer reads.
    func drop() {
        monitor.update { $0.isDropped = true }
        _ = monitor.wait { $0.end == nil ? nil : true }
    }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        if given == piece.count {
            let used = piece
            piece = []
            if !used.isEmpty { monitor.update { $0.empty.append(used) } }
            let next: Result<[UInt8], ImportError>? = monitor.wait { state in
                if !state.full.isEmpty { return .success(state.full.removeFirst()) }
                return state.end?.map { [] }
            }
            (piece, given) = (try next?.get() ?? [], 0)
        }
        let count = min(buffer.count, piece.count - given)
        piece.withUnsafeBytes { bytes in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[given..<given + count]))
        }
        given += count
        return count
    }

    private struct Reader: @unchecked Sendable {  // used by the one thread
        let source: any ByteSource
        let monitor: Monitor<State>

        func run() {
            var result: Result<Void, ImportError> = .success(())
            do throws(ImportError) { try readAll() } catch { result = .failure(error) }
            monitor.update { $0.end = result }
        }

        private func readAll() throws(ImportError) {
            while true {
                let next: [UInt8]?? = monitor.wait { state in
                    if state.isDropped { return .some(nil) }
                    return state.empty.popLast().map { .some($0) }
                }
                guard case .some(.some(var piece)) = next else { return }
                if piece.count != AheadSource.pieceBytes { piece = Array(repeating: 0, count: AheadSource.pieceBytes) }
                var filled = 0
                while filled < piece.count {
                    let got = try readInto(&piece, source, filled..<piece.count)
                    if got == 0 { break }
                    filled += got
                }
                let isLast = filled < piece.count
                if isLast { piece.removeSubrange(filled...) }
                if !piece.isEmpty { monitor.update { $0.full.append(piece) } }
                if isLast { return }
            }
        }
    }
}

/// Passes bytes on and keeps their digest.
final class HashingSource: ByteSource {
    private let source: any ByteSource
    private var hasher = SHA256Hasher()

    init(_ source: any ByteSource) { self.source = source }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        let got = try source.read(buffer)
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
        return got
    }

    var digest: Digest { hasher.finish() }
}

/// Reads ahead a little, so that the first bytes can be looked at.
final class PeekingSource: ByteSource {
    private let source: any ByteSource
    private var head: [UInt8] = []
    private var given = 0

    /// Reads up to `count` bytes now.
    init(_ source: any ByteSource, count: Int) throws(ImportError) {
        self.source = source
        var buffer = [UInt8](repeating: 0, count: count)
        while head.count < count {
            let got = try readInto(&buffer, source, 0..<count - head.count)
            if got == 0 { break }
            head += buffer[..<got]
        }
    }

    var first: [UInt8] { head }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        guard given < head.count else { return try source.read(buffer) }
        let count = min(buffer.count, head.count - given)
        head.withUnsafeBytes { bytes in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[given..<given + count]))
        }
        given += count
        return count
    }
}

/// Reads into an array; closures that lend its memory cannot throw typed errors.
func readInto(_ array: inout [UInt8], _ source: any ByteSource, _ range: Range<Int>) throws(ImportError) -> Int {
    let result: Result<Int, ImportError> = array.withUnsafeMutableBytes { buffer in
        do throws(ImportError) {
            return .success(try source.read(UnsafeMutableRawBufferPointer(rebasing: buffer[range])))
        } catch { return .failure(error) }
    }
    return try result.get()
}

/// Decompresses gzip, several members one after another.
final class GzipSource: ByteSource {
    private let source: any ByteSource
    private let subject: String
    private let inflate: OpaquePointer?
    private var input = [UInt8](repeating: 0, count: 262_144)
    private var start = 0
    private var end = 0
    private var isBetweenMembers = true
    private var sawMember = false

    init(_ source: any ByteSource, _ subject: String) {
        (self.source, self.subject) = (source, subject)
        inflate = zg_inflate_open()
    }

    deinit { zg_inflate_close(inflate) }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        while true {
            if start == end {
                (start, end) = (0, try readInto(&input, source, 0..<input.count))
                if end == 0 {
                    guard isBetweenMembers, sawMember else {
                        throw .badCompression(subject: subject, reason: "gzip data ends too early")
                    }
                    return 0
                }
            }
            // Padding of zeros after the last member is allowed, as gzip does.
            if isBetweenMembers, sawMember, input[start] == 0 {
                start += 1
                continue
            }
            isBetweenMembers = false
            var consumed = 0
            var produced = 0
            let state = input.withUnsafeBufferPointer { input in
                zg_inflate_step(
                    inflate, input.baseAddress?.advanced(by: start), end - start,
                    buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count, &consumed, &produced)
            }
            start += consumed
            guard state != Int32(zg_inflate_broken) else {
                throw .badCompression(subject: subject, reason: "gzip data is damaged")
            }
            if state == Int32(zg_inflate_end) {
                zg_inflate_reset(inflate)
                (isBetweenMembers, sawMember) = (true, true)
            }
            if produced > 0 { return produced }
        }
    }
}

/// Decompresses zstd, several frames one after another.
final class ZstdSource: ByteSource {
    private let source: any ByteSource
    private let subject: String
    private let stream: OpaquePointer?
    private var input: [UInt8]
    private var start = 0
    private var end = 0
    private var isBetweenFrames = true

    init(_ source: any ByteSource, _ subject: String) {
        (self.source, self.subject) = (source, subject)
        stream = ZSTD_createDStream()
        input = [UInt8](repeating: 0, count: ZSTD_DStreamInSize())
        // 128 MiB windows: what `zstd --long=27` makes, and no more memory for hostile input.
        ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 27)
    }

    deinit { ZSTD_freeDStream(stream) }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        while true {
            var mayHoldMore = true
            if start == end {
                (start, end) = (0, try readInto(&input, source, 0..<input.count))
                mayHoldMore = end > 0
                if end == 0, isBetweenFrames { return 0 }
            }
            var output = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
            let result = input.withUnsafeBytes { bytes in
                var block = ZSTD_inBuffer(src: bytes.baseAddress, size: end, pos: start)
                defer { start = block.pos }
                return ZSTD_decompressStream(stream, &output, &block)
            }
            guard ZSTD_isError(result) == 0 else {
                throw .badCompression(subject: subject, reason: "zstd: \(String(cString: ZSTD_getErrorName(result)))")
            }
            isBetweenFrames = result == 0
            if output.pos > 0 { return output.pos }
            guard mayHoldMore || isBetweenFrames else {
                throw .badCompression(subject: subject, reason: "zstd data ends too early")
            }
        }
    }
}

/// Chooses the decompression from the first bytes: media types of layers are not always true.
func decompressing(_ source: any ByteSource, _ subject: String) throws(ImportError) -> any ByteSource {
    let peeking = try PeekingSource(source, count: 4)
    if peeking.first.starts(with: [0x1f, 0x8b]) { return GzipSource(peeking, subject) }
    if peeking.first == [0x28, 0xb5, 0x2f, 0xfd] { return ZstdSource(peeking, subject) }
    return peeking
}
