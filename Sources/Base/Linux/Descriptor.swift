internal import CLinux
internal import Glibc

/// An open file descriptor with one owner; closed when the owner goes.
public struct Descriptor: ~Copyable, Sendable {
    /// The number. Valid while this value lives.
    public let raw: Int32

    /// Takes over an open descriptor.
    public init(_ raw: Int32) { self.raw = raw }

    deinit { close(raw) }

    /// Gives the descriptor away; the caller closes it.
    public consuming func release() -> Int32 {
        let raw = raw
        discard self
        return raw
    }

    /// Opens `path` with flags of `open(2)`; close-on-exec is always set.
    public static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(SystemError) -> Descriptor {
        Descriptor(try checked("open", path, zg_open(path, flags, mode)))
    }

    /// Reads until `limit` bytes or the end.
    public borrowing func readAll(limit: Int, _ subject: String) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(raw, &buffer, buffer.count)
            if count < 0 {
                let error = errno
                if error == EINTR { continue }
                throw SystemError("read", subject, Errno(error))
            }
            if count == 0 { return bytes }
            guard bytes.count + count <= limit else { throw SystemError("read", subject, Errno(EFBIG)) }
            bytes += buffer[..<count]
        }
    }

    /// Writes all of `bytes`.
    public borrowing func writeAll(_ bytes: [UInt8], _ subject: String) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) }
            if count < 0 {
                let error = errno
                if error == EINTR { continue }
                throw SystemError("write", subject, Errno(error))
            }
            done += count
        }
    }
}
