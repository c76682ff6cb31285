internal import Glibc

/// Memory that requests under way may still read after whoever made it went on.
///
/// Written by its maker before it is handed over, only read after that.
final class Buffer: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let capacity: Int

    /// So many bytes, aligned for vector instructions, not initialised.
    init(capacity: Int) {
        self.capacity = capacity
        base = .allocate(byteCount: max(capacity, 64), alignment: 64)
    }

    deinit { base.deallocate() }

    /// All of it.
    var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: base, count: capacity) }

    /// A part of it.
    func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        return UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count)
    }
}

/// A value of a request: a part of a buffer, which it keeps.
struct Payload: Sendable {
    let buffer: Buffer
    let range: Range<Int>

    init(_ buffer: Buffer, _ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= buffer.capacity)
        (self.buffer, self.range) = (buffer, range)
    }

    /// A copy of these bytes.
    init(_ bytes: [UInt8]) {
        buffer = Buffer(capacity: bytes.count)
        range = 0..<bytes.count
        bytes.withUnsafeBytes { buffer.bytes.copyMemory(from: $0) }
    }

    var bytes: UnsafeRawBufferPointer { buffer.slice(range) }
    var count: Int { range.count }
}
