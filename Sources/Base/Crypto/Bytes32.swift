/// 32 bytes inline, as four big-endian words so that order is the order of the bytes.
struct Bytes32: Hashable, Sendable, Comparable {
    var first: UInt64 = 0
    var second: UInt64 = 0
    var third: UInt64 = 0
    var fourth: UInt64 = 0

    init() {}

    init(_ pointer: UnsafeRawPointer) {
        first = UInt64(bigEndian: pointer.loadUnaligned(as: UInt64.self))
        second = UInt64(bigEndian: pointer.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        third = UInt64(bigEndian: pointer.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        fourth = UInt64(bigEndian: pointer.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
    }

    init?(_ bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        self = bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress else { return Bytes32() }
            return Bytes32(base)
        }
    }

    func store(to pointer: UnsafeMutableRawPointer) {
        pointer.storeBytes(of: first.bigEndian, as: UInt64.self)
        pointer.storeBytes(of: second.bigEndian, toByteOffset: 8, as: UInt64.self)
        pointer.storeBytes(of: third.bigEndian, toByteOffset: 16, as: UInt64.self)
        pointer.storeBytes(of: fourth.bigEndian, toByteOffset: 24, as: UInt64.self)
    }

    var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            store(to: UnsafeMutableRawPointer(base))
            filled = 32
        }
    }

    static func < (left: Bytes32, right: Bytes32) -> Bool {
        if left.first != right.first { return left.first < right.first }
        if left.second != right.second { return left.second < right.second }
        if left.third != right.third { return left.third < right.third }
        return left.fourth < right.fourth
    }
}
