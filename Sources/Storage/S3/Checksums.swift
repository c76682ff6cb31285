import Bytes
import CISAL
import COpenSSL
import Crypto

/// The checksums that S3 knows beside the ETag.
enum ChecksumAlgorithm: String, CaseIterable, Sendable {
    case crc32 = "CRC32", crc32c = "CRC32C", crc64nvme = "CRC64NVME", sha1 = "SHA1", sha256 = "SHA256"

    /// `x-amz-checksum-crc32`
    var header: String { "x-amz-checksum-\(rawValue.lowercased())" }
    /// `ChecksumCRC32`
    var element: String { "Checksum\(rawValue)" }
    var length: Int {
        switch self {
        case .crc32, .crc32c: 4
        case .crc64nvme: 8
        case .sha1: 20
        case .sha256: 32
        }
    }
    /// Whether the checksum of the whole follows from those of the parts.
    var isLinear: Bool { self == .crc32 || self == .crc32c || self == .crc64nvme }
    /// The reflected polynomial.
    var polynomial: UInt64 {
        switch self {
        case .crc32: 0xEDB8_8320
        case .crc32c: 0x82F6_3B78
        default: 0x9A6C_9329_AC4B_C9B5
        }
    }
    init?(name: String) { self.init(rawValue: name.uppercased()) }
    init?(header: String) {
        guard header.hasPrefix("x-amz-checksum-") else { return nil }
        self.init(rawValue: header.dropFirst(15).uppercased())
    }
}

/// CRC-64/NVME, eight bytes a step.
enum CRC64NVME {
    private nonisolated(unsafe) static let tables: UnsafeMutablePointer<UInt64> = {
        let tables = UnsafeMutablePointer<UInt64>.allocate(capacity: 8 * 256)
        for index in 0..<256 {
            var value = UInt64(index)
            for _ in 0..<8 {
                value = value & 1 == 1 ? (value >> 1) ^ ChecksumAlgorithm.crc64nvme.polynomial : value >> 1
            }
            tables[index] = value
        }
        for slice in 1..<8 {
            for index in 0..<256 {
                let before = tables[(slice - 1) * 256 + index]
                tables[slice * 256 + index] = tables[Int(before & 255)] ^ (before >> 8)
            }
        }
        return tables
    }()

    /// Goes on from `crc` (0 at the start).
    static func update(_ crc: UInt64, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let table = tables
        var value = ~crc
        var index = 0
        while index + 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self).littleEndian ^ value
            value = table[7 * 256 + Int(word & 255)] ^ table[6 * 256 + Int(word >> 8 & 255)]
            value ^= table[5 * 256 + Int(word >> 16 & 255)] ^ table[4 * 256 + Int(word >> 24 & 255)]
            value ^= table[3 * 256 + Int(word >> 32 & 255)] ^ table[2 * 256 + Int(word >> 40 & 255)]
            value ^= table[256 + Int(word >> 48 & 255)] ^ table[Int(word >> 56)]
            index += 8
        }
        while index < bytes.count {
            value = table[Int((value ^ UInt64(bytes[index])) & 255)] ^ (value >> 8)
            index += 1
        }
        return ~value
    }
}

/// A hash of OpenSSL that goes along with the data.
final class EVPHasher {
    private let context = EVP_MD_CTX_new()
    init(_ type: OpaquePointer?) { EVP_DigestInit_ex(context, type, nil) }
    deinit { EVP_MD_CTX_free(context) }
    func update(_ bytes: UnsafeRawBufferPointer) { EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) }
    func finish() -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 64)
        var count: UInt32 = 0
        EVP_DigestFinal_ex(context, &out, &count)
        return Array(out.prefix(Int(count)))
    }
    static func md5() -> EVPHasher { EVPHasher(EVP_md5()) }
    static func md5(_ bytes: [UInt8]) -> [UInt8] {
        let hasher = md5()
        bytes.withUnsafeBytes { hasher.update($0) }
        return hasher.finish()
    }
}

/// One checksum that goes along with the data.
final class ChecksumHasher {
    let algorithm: ChecksumAlgorithm
    private var crc: UInt64 = 0
    private let hasher: EVPHasher?

    init(_ algorithm: ChecksumAlgorithm) {
        self.algorithm = algorithm
        switch algorithm {
        case .sha1: hasher = EVPHasher(EVP_sha1())
        case .sha256: hasher = EVPHasher(EVP_sha256())
        default: hasher = nil
        }
    }
    func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        switch algorithm {
        case .crc32:
            crc = UInt64(
                crc32_gzip_refl(UInt32(crc), base.assumingMemoryBound(to: UInt8.self), UInt64(bytes.count)))
        case .crc32c:
            let pointer = UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self))
            crc = UInt64(~crc32_iscsi(pointer, Int32(bytes.count), ~UInt32(crc)))
        case .crc64nvme: crc = CRC64NVME.update(crc, bytes)
        case .sha1, .sha256: hasher?.update(bytes)
        }
    }
    func finish() -> [UInt8] {
        if let hasher { return hasher.finish() }
        return (0..<algorithm.length).map { UInt8(truncatingIfNeeded: crc >> (8 * UInt64(algorithm.length - 1 - $0))) }
    }
    static func hash(_ algorithm: ChecksumAlgorithm, _ bytes: [UInt8]) -> [UInt8] {
        let hasher = ChecksumHasher(algorithm)
        bytes.withUnsafeBytes { hasher.update($0) }
        return hasher.finish()
    }
}

/// The CRC of two pieces behind each other, of their CRCs and the length of the second.
enum CRCJoin {
    static func join(_ algorithm: ChecksumAlgorithm, _ first: UInt64, _ second: UInt64, length: Int64) -> UInt64 {
        // A zero byte multiplies by x^8; so `first` is multiplied by x^(8*length) modulo the polynomial.
        let width = algorithm.length * 8
        var power = UInt64(1) << (width - 2)  // x^1, reflected
        for _ in 0..<3 { power = multiply(power, power, algorithm.polynomial, width) }
        var result = UInt64(1) << (width - 1)  // 1
        var rest = length
        while rest > 0 {
            if rest & 1 == 1 { result = multiply(result, power, algorithm.polynomial, width) }
            power = multiply(power, power, algorithm.polynomial, width)
            rest >>= 1
        }
        return multiply(first, result, algorithm.polynomial, width) ^ second
    }
    private static func multiply(_ left: UInt64, _ right: UInt64, _ polynomial: UInt64, _ width: Int) -> UInt64 {
        var product: UInt64 = 0
        var right = right
        for bit in (0..<width).reversed() {
            if left >> UInt64(bit) & 1 == 1 { product ^= right }
            right = right & 1 == 1 ? (right >> 1) ^ polynomial : right >> 1
        }
        return product
    }
    static func number(_ bytes: [UInt8]) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
    static func bytes(_ number: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64(count - 1 - $0))) }
    }
}
