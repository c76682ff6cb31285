import CInflate
import CZstd
import Crypto
import Glibc
import Linux

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
    /// Bytes read so far.
    private(set) var count: Int64 = 0
    private let onRead: (Int64) -> Void

    init(_ path: String, onRead: @escaping (Int64) -> Void = { _ in }) throws(ImportError) {
        do { descriptor = try Descriptor.open(path, O_RDONLY) } catch {
            throw .unreadable(path: path, reason: "\(error.errno)")
        }
        self.path = path
        self.onRead = onRead
        posix_fadvise(descriptor.raw, 0, 0, POSIX_FADV_SEQUENTIAL)
    }

    func read(_ buffer: UnsafeMutableRawBufferPointer) throws(ImportError) -> Int {
        while true {
            let got = Glibc.read(descriptor.raw, buffer.baseAddress, buffer.count)
            if got >= 0 {
                hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
                count += Int64(got)
                onRead(count)
                return got
            }
            let code = errno
            if code != EINTR { throw .unreadable(path: path, reason: "\(Errno(code))") }
        }
    }

    /// The digest of what was read.
    var digest: Digest { hasher.finish() }
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
            let got = try readInto(&buffer, source, count - head.count)
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
func readInto(_ array: inout [UInt8], _ source: any ByteSource, _ count: Int) throws(ImportError) -> Int {
    let result: Result<Int, ImportError> = array.withUnsafeMutableBytes { buffer in
        do throws(ImportError) {
            return .success(try source.read(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])))
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
                (start, end) = (0, try readInto(&input, source, input.count))
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
                (start, end) = (0, try readInto(&input, source, input.count))
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
