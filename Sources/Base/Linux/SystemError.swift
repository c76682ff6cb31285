internal import Glibc

/// A system call's error number.
public struct Errno: Error, Hashable, Sendable, CustomStringConvertible {
    /// The number, positive.
    public let rawValue: Int32
    /// From a positive number.
    public init(_ rawValue: Int32) { self.rawValue = rawValue }

    /// No such file or directory.
    public static let notFound = Errno(ENOENT)
    /// The file exists.
    public static let exists = Errno(EEXIST)
    /// Permission denied.
    public static let denied = Errno(EACCES)
    /// No space left on the device.
    public static let noSpace = Errno(ENOSPC)
    /// Interrupted by a signal.
    public static let interrupted = Errno(EINTR)
    /// Would block.
    public static let again = Errno(EAGAIN)
    /// Transport endpoint is not connected: a FUSE mount without its server.
    public static let notConnected = Errno(ENOTCONN)
    /// Device or resource busy.
    public static let busy = Errno(EBUSY)
    /// No such process.
    public static let noProcess = Errno(ESRCH)

    /// The system's text for it.
    public var description: String { strerror(rawValue).map { String(cString: $0) } ?? "error \(rawValue)" }
}

/// A system call that failed: which one, on what, why.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, such as `open`.
    public let call: String
    /// What it was applied to: a path, a process.
    public let subject: String
    /// The reason.
    public let errno: Errno

    /// All three parts.
    public init(_ call: String, _ subject: String, _ errno: Errno) {
        (self.call, self.subject, self.errno) = (call, subject, errno)
    }

    /// One line for people.
    public var description: String { "\(call) \(subject): \(errno)" }
}

/// Passes a result of a `zg_` function on, or throws its negative error number.
@discardableResult
public func checked<Number: SignedInteger>(
    _ call: String, _ subject: @autoclosure () -> String, _ result: Number
) throws(SystemError) -> Number {
    guard result >= 0 else { throw SystemError(call, subject(), Errno(Int32(truncatingIfNeeded: -result))) }
    return result
}
