internal import CLZ4
internal import CZstd

/// How a chunk's bytes are compressed.
public enum Codec: UInt8, Sendable {
    /// Not at all.
    case none = 0
    /// An LZ4 block.
    case lz4 = 1
    /// A Zstandard frame.
    case zstd = 2
}

/// Which codec is tried.
public enum CodecPolicy: UInt8, Sendable {
    /// LZ4 where a look at the bytes says that it pays.
    case auto = 0
    /// None.
    case none = 1
    /// LZ4.
    case lz4 = 2
    /// Zstandard.
    case zstd = 3

    /// Of a policy's number; automatic for one that is not known.
    public init(_ number: UInt8) { self = CodecPolicy(rawValue: number) ?? .auto }
}

/// Compresses chunks. Used by one thread at a time.
public final class Compressor {
    /// Bytes of a sample, and how many are looked at.
    private static let sampleBytes = 4096, samples = 3
    private static let level: Int32 = 3
    private let policy: CodecPolicy
    private var context: OpaquePointer?
    private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: Compressor.sampleBytes, alignment: 16)

    /// A compressor that tries what the policy says.
    public init(policy: CodecPolicy) { self.policy = policy }

    deinit {
        space.deallocate()
        if let context { ZSTD_freeCCtx(context) }
    }

    /// Compresses into `target`, which has room for as many bytes as `plain`. `none` where that did not make it smaller by a sixteenth:
    /// then nothing of use is in `target`.
    public func compress(
        _ plain: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> (codec: Codec, count: Int) {
        precondition(target.count >= plain.count)
        let most = plain.count - plain.count / 16
        switch policy {
        case .none: return (.none, plain.count)
        case .auto where !pays(plain): return (.none, plain.count)
        case .auto, .lz4:
            let count = Self.lz4(plain, target, most)
            return count > 0 ? (.lz4, count) : (.none, plain.count)
        case .zstd:
            if context == nil { context = ZSTD_createCCtx() }
            let count = ZSTD_compressCCtx(context, target.baseAddress, most, plain.baseAddress, plain.count, Self.level)
            return ZSTD_isError(count) == 0 && count > 0 ? (.zstd, count) : (.none, plain.count)
        }
    }

    private static func lz4(_ plain: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer, _ most: Int)
        -> Int
    {
        guard let from = plain.baseAddress, let to = target.baseAddress, most > 0 else { return 0 }
        return Int(
            LZ4_compress_default(
                from.assumingMemoryBound(to: CChar.self), to.assumingMemoryBound(to: CChar.self),
                Int32(clamping: plain.count), Int32(clamping: most)))
    }

    /// Whether samples from the start, the middle and the end become smaller.
    private func pays(_ plain: UnsafeRawBufferPointer) -> Bool {
        guard plain.count > Self.samples * Self.sampleBytes else { return plain.count > 64 }
        for index in 0..<Self.samples {
            let at = (plain.count - Self.sampleBytes) / (Self.samples - 1) * index
            let sample = UnsafeRawBufferPointer(rebasing: plain[at..<at + Self.sampleBytes])
            if Self.lz4(sample, space, Self.sampleBytes * 15 / 16) > 0 { return true }
        }
        return false
    }

    /// Expands stored bytes into exactly as many as `plain` has.
    public static func expand(
        _ codec: Codec, _ stored: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer
    ) throws(DispersalError) {
        var count = -1
        switch codec {
        case .none:
            if stored.count == plain.count {
                plain.copyMemory(from: stored)
                count = stored.count
            }
        case .lz4:
            if let from = stored.baseAddress, let to = plain.baseAddress {
                count = Int(
                    LZ4_decompress_safe(
                        from.assumingMemoryBound(to: CChar.self), to.assumingMemoryBound(to: CChar.self),
                        Int32(clamping: stored.count), Int32(clamping: plain.count)))
            }
        case .zstd:
            let result = ZSTD_decompress(plain.baseAddress, plain.count, stored.baseAddress, stored.count)
            if ZSTD_isError(result) == 0 { count = result }
        }
        guard count == plain.count else { throw .notExpandable(codec: codec, length: plain.count) }
    }
}
