internal import CISAL
internal import Synchronization

/// Reed-Solomon over GF(2^8) with a Cauchy matrix: any k of k + m shards give the data back. ISA-L does the arithmetic.
public struct ErasureCode: Sendable {
    /// Data shards, k.
    public let data: Int
    /// Parity shards, m.
    public let parity: Int
    private let tables: Tables

    /// The matrix of a shape, and ISA-L's tables of its parity rows.
    private final class Tables: Sendable {
        let matrix: [UInt8]
        let encoding: [UInt8]
        private static let known = Mutex<[Int: Tables]>([:])

        init(_ data: Int, _ parity: Int) {
            var matrix = [UInt8](repeating: 0, count: (data + parity) * data)
            gf_gen_cauchy1_matrix(&matrix, Int32(data + parity), Int32(data))
            self.matrix = matrix
            encoding = Self.expand(Array(matrix[(data * data)...]), data, parity)
        }

        static func expand(_ rows: [UInt8], _ data: Int, _ count: Int) -> [UInt8] {
            var rows = rows
            var tables = [UInt8](repeating: 0, count: max(32 * data * count, 1))
            if count > 0 { ec_init_tables(Int32(data), Int32(count), &rows, &tables) }
            return tables
        }

        static func of(_ data: Int, _ parity: Int) -> Tables {
            known.withLock { known in
                if let tables = known[data << 8 | parity] { return tables }
                let tables = Tables(data, parity)
                known[data << 8 | parity] = tables
                return tables
            }
        }
    }

    /// The code of k data and m parity shards; at most 255 in all.
    public init(data: Int, parity: Int) throws(DispersalError) {
        guard data >= 1, parity >= 0, data + parity <= 255 else { throw .badShape(data: data, parity: parity) }
        (self.data, self.parity) = (data, parity)
        tables = Tables.of(data, parity)
    }

    /// Computes the parity shards of data shards, `count` bytes each.
    public func encode(_ shards: [UnsafeRawPointer], into targets: [UnsafeMutableRawPointer], count: Int) {
        precondition(shards.count == data && targets.count == parity && count >= 0)
        Self.run(tables.encoding, shards, targets, count)
    }

    private static func run(
        _ tables: [UInt8], _ sources: [UnsafeRawPointer], _ targets: [UnsafeMutableRawPointer], _ count: Int
    ) {
        if targets.isEmpty || count == 0 { return }
        var tables = tables
        var from: [UnsafeMutablePointer<UInt8>?] = sources.map {
            UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: UInt8.self)
        }
        var to: [UnsafeMutablePointer<UInt8>?] = targets.map { $0.assumingMemoryBound(to: UInt8.self) }
        ec_encode_data(Int32(count), Int32(sources.count), Int32(targets.count), &tables, &from, &to)
    }

    /// Computes missing shards, data or parity, from k others. All pointers are to the same range of their shards.
    public func rebuild(
        _ shards: [UnsafeRawPointer?], missing: [Int], into targets: [UnsafeMutableRawPointer], count: Int
    ) throws(DispersalError) {
        precondition(shards.count == data + parity && missing.count == targets.count)
        precondition(missing.allSatisfy { $0 >= 0 && $0 < shards.count })
        var chosen: [Int] = []
        var sources: [UnsafeRawPointer] = []
        for (index, shard) in shards.enumerated() where chosen.count < data {
            guard let shard else { continue }
            chosen.append(index)
            sources.append(shard)
        }
        guard chosen.count == data else { throw .tooFewShards(have: chosen.count, need: data) }
        var square = chosen.flatMap { tables.matrix[$0 * data..<($0 + 1) * data] }
        var inverse = [UInt8](repeating: 0, count: data * data)
        // Any square part of [identity; Cauchy] is regular.
        guard gf_invert_matrix(&square, &inverse, Int32(data)) == 0 else { throw .tooFewShards(have: 0, need: data) }
        var rows: [UInt8] = []
        for index in missing {
            let row = tables.matrix[index * data..<(index + 1) * data]
            for column in 0..<data {
                var sum: UInt8 = 0
                for (position, factor) in row.enumerated() { sum ^= gf_mul(factor, inverse[position * data + column]) }
                rows.append(sum)
            }
        }
        Self.run(Tables.expand(rows, data, missing.count), sources, targets, count)
    }
}

/// How a stripe's bytes lie in its shards: data shard i has the bytes from i times the shard's length on, zeros behind the end.
public struct StripeShape: Sendable, Equatable {
    /// Data shards.
    public let data: Int
    /// Parity shards.
    public let parity: Int
    /// Bytes of the stripe.
    public let length: Int
    /// Bytes of each shard: a multiple of 64, so that vector code needs no rest.
    public let shardLength: Int

    /// The shape of a stripe of so many bytes.
    public init(data: Int, parity: Int, length: Int) {
        precondition(data >= 1 && parity >= 0 && length >= 0)
        (self.data, self.parity, self.length) = (data, parity, length)
        shardLength = ((length + data - 1) / data + 63) / 64 * 64
    }

    /// Which ranges of which data shards hold a range of the stripe, in order.
    public func locate(_ range: Range<Int>) -> [(shard: Int, range: Range<Int>)] {
        precondition(range.lowerBound >= 0 && range.upperBound <= length)
        var parts: [(shard: Int, range: Range<Int>)] = []
        var at = range.lowerBound
        while at < range.upperBound {
            let shard = at / shardLength
            let end = min(range.upperBound, (shard + 1) * shardLength)
            parts.append((shard, at - shard * shardLength..<end - shard * shardLength))
            at = end
        }
        return parts
    }
}
