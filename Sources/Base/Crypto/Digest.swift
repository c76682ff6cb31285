internal import Bytes
internal import COpenSSL

/// A SHA-256 hash: 32 bytes, held inline, ordered as its bytes are.
public struct Digest: Hashable, Sendable, Comparable {
    let value: Bytes32

    init(_ value: Bytes32) { self.value = value }

    /// From 32 bytes; nil for any other count.
    public init?(_ bytes: [UInt8]) {
        guard let value = Bytes32(bytes) else { return nil }
        self.value = value
    }

    /// From 64 lower-case hexadecimal digits; nil for anything else.
    public init?(hex: String) {
        guard hex.utf8.count == 64, let bytes = Hex.decode(hex) else { return nil }
        self.init(bytes)
    }

    /// 32 zero bytes.
    public static let zero = Digest(Bytes32())

    /// The 32 bytes.
    public var bytes: [UInt8] { value.bytes }

    /// The bytes as 64 lower-case hexadecimal digits.
    public var hex: String { Hex.encode(bytes) }

    /// Whether the bit at `index` is set, counted from the highest bit of the first byte: a path in a binary tree.
    public func bit(_ index: Int) -> Bool {
        let word =
            switch index >> 6 {
            case 0: value.first
            case 1: value.second
            case 2: value.third
            default: value.fourth
            }
        return (word >> UInt64(63 - index & 63)) & 1 == 1
    }

    /// Order of the bytes.
    public static func < (left: Digest, right: Digest) -> Bool { left.value < right.value }
}

extension Digest: CustomStringConvertible {
    /// The hexadecimal digits.
    public var description: String { hex }
}

/// SHA-256 of bytes at once.
public enum SHA256 {
    /// The hash of `bytes`.
    public static func hash(_ bytes: [UInt8]) -> Digest {
        bytes.withUnsafeBytes { hash($0) }
    }

    /// The hash of memory.
    public static func hash(_ bytes: UnsafeRawBufferPointer) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update(bytes)
        return hasher.finish()
    }

    /// The hash of a text's UTF-8.
    public static func hash(_ text: String) -> Digest { hash(Array(text.utf8)) }
}

/// SHA-256 in pieces. A value: a copy goes on from where the original is, without allocation.
public struct SHA256Hasher: Sendable {
    private var context = SHA256_CTX()

    /// A hash of nothing yet.
    public init() { SHA256_Init(&context) }

    /// Adds bytes.
    public mutating func update(_ bytes: [UInt8]) { SHA256_Update(&context, bytes, bytes.count) }

    /// Adds memory.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        SHA256_Update(&context, bytes.baseAddress, bytes.count)
    }

    /// Adds memory.
    public mutating func update(pointer: UnsafeRawPointer, count: Int) { SHA256_Update(&context, pointer, count) }

    /// Adds the bytes of a digest.
    public mutating func update(_ digest: Digest) {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { buffer in
            guard let base = buffer.baseAddress else { return }
            digest.value.store(to: base)
            SHA256_Update(&context, base, 32)
        }
    }

    /// The hash of all that was added. The hasher itself may go on.
    public func finish() -> Digest {
        var copy = context
        return withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { buffer in
            guard let base = buffer.baseAddress else { return .zero }
            SHA256_Final(base.assumingMemoryBound(to: UInt8.self), &copy)
            return Digest(Bytes32(base))
        }
    }
}
