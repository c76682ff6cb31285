import Crypto
import Dispersal
import Testing

@Suite struct ChunkTests {
    private func cuts(_ bytes: [UInt8], _ cutter: ChunkCutter, step: Int) -> [Int] {
        var cutter = cutter
        var (start, end) = (0, 0)
        var lengths: [Int] = []
        while true {
            let isEnd = end == bytes.count
            while let length = bytes[start..<end].withUnsafeBytes({ cutter.next($0, isEnd: isEnd) }) {
                lengths.append(length)
                start += length
            }
            if isEnd { return lengths }
            end = min(end + step, bytes.count)
        }
    }

    @Test func cutsDoNotDependOnHowBytesArrive() {
        var numbers = Numbers(1)
        let bytes = numbers.bytes(400_000)
        let cutter = ChunkCutter(secret: [1, 2, 3], least: 4096, usual: 16384, most: 65536)
        let whole = cuts(bytes, cutter, step: bytes.count)
        #expect(whole.reduce(0, +) == bytes.count && whole.count > 10)
        #expect(whole.dropLast().allSatisfy { $0 >= 4096 && $0 <= 65536 })
        for step in [1000, 4096, 70_001] { #expect(cuts(bytes, cutter, step: step) == whole) }
        #expect(cuts(bytes, ChunkCutter(secret: [9], least: 4096, usual: 16384, most: 65536), step: 4096) != whole)
        #expect(cuts(bytes, ChunkCutter(fixed: 100_000), step: 999) == [100_000, 100_000, 100_000, 100_000])
        #expect(cuts([], cutter, step: 1) == [])
    }

    @Test func aChangeMovesOnlyTheCutsNearIt() {
        var numbers = Numbers(2)
        let bytes = numbers.bytes(600_000)
        let changed = Array(bytes[..<1000]) + [7, 7, 7] + bytes[1000...]
        let cutter = ChunkCutter(secret: [5], least: 2048, usual: 8192, most: 32768)
        let before = cuts(bytes, cutter, step: 65536), after = cuts(changed, cutter, step: 65536)
        var same = 0
        for (left, right) in zip(before.reversed(), after.reversed()) where left == right { same += 1 }
        #expect(same >= before.count - 5)
    }

    @Test(arguments: [CodecPolicy.auto, .none, .lz4, .zstd])
    func whatIsCompressedExpandsAgain(policy: CodecPolicy) throws {
        var numbers = Numbers(3)
        let text = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 % 97) }
        for plain in [text, numbers.bytes(20_000), [1], []] {
            let compressor = Compressor(policy: policy)
            var space = [UInt8](repeating: 0, count: plain.count)
            let (codec, count) = plain.withUnsafeBytes { plain in
                space.withUnsafeMutableBytes { compressor.compress(plain, into: $0) }
            }
            if plain == text { #expect((codec == .none) == (policy == .none)) }
            let stored = codec == .none ? plain : Array(space[..<count])
            var expanded = [UInt8](repeating: 0, count: plain.count)
            try stored.withUnsafeBytes { stored in
                try expanded.withUnsafeMutableBytes { try Compressor.expand(codec, stored, into: $0) }
            }
            #expect(expanded == plain)
            // Rubbish is refused or expands to so many bytes of rubbish; it never harms.
            for _ in 0..<200 where !stored.isEmpty {
                var bad = stored
                bad[Int.random(in: 0..<bad.count, using: &numbers)] ^= UInt8.random(in: 1...255, using: &numbers)
                bad.withUnsafeBytes { bad in
                    expanded.withUnsafeMutableBytes { try? Compressor.expand(codec, bad, into: $0) }
                }
            }
            #expect(throws: DispersalError.self) {
                try (stored + [0]).withUnsafeBytes { stored in
                    try expanded.withUnsafeMutableBytes { try Compressor.expand(.none, stored, into: $0) }
                }
            }
        }
    }

    @Test func anyChangedBitOfASealedChunkIsNoticed() throws {
        let plain = Array("the quick brown fox".utf8), key = [UInt8](repeating: 4, count: 32)
        var sealed = [UInt8](repeating: 0, count: plain.count + ChunkSeal.overhead)
        plain.withUnsafeBytes { plain in sealed.withUnsafeMutableBytes { ChunkSeal.seal(key: key, plain, into: $0) } }
        func open(_ sealed: [UInt8], _ key: [UInt8]) throws -> [UInt8] {
            var opened = [UInt8](repeating: 0, count: plain.count)
            try sealed.withUnsafeBytes { sealed in
                try opened.withUnsafeMutableBytes { try ChunkSeal.open(key: key, sealed, into: $0) }
            }
            return opened
        }
        #expect(try open(sealed, key) == plain)
        for bit in 0..<sealed.count * 8 {
            var bad = sealed
            bad[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: DispersalError.notAuthentic) { try open(bad, key) }
        }
        #expect(throws: DispersalError.notAuthentic) { try open(sealed, [UInt8](repeating: 5, count: 32)) }
    }

    /// Every leaf of values around the sizes where the tree changes its shape is accepted, and nothing else is.
    @Test func leavesAreProved() {
        var numbers = Numbers(6)
        for length in [1, 4095, 4096, 4097, 8192, 12_289, 20_480, 28_673, 40_000] {
            let value = numbers.bytes(length)
            let tree = value.withUnsafeBytes { LeafTree($0) }
            let root = value.withUnsafeBytes { ShardRoot.of($0) }
            #expect(tree.root == root)
            for leaf in 0..<tree.leafCount {
                let bytes = Array(value[LeafTree.range(leaf, length)]), path = tree.path(leaf)
                func accepts(_ root: Digest, _ length: Int, _ leaf: Int, _ bytes: [UInt8], _ path: [Digest]) -> Bool {
                    bytes.withUnsafeBytes {
                        ShardRoot.accepts(root: root, length: length, leaf: leaf, bytes: $0, path: path)
                    }
                }
                #expect(accepts(root, length, leaf, bytes, path))
                var bad = bytes
                bad[0] ^= 1
                #expect(!accepts(root, length, leaf, bad, path))
                #expect(!accepts(.zero, length, leaf, bytes, path))
                #expect(!accepts(root, length + 4096, leaf, bytes, path))
                #expect(!accepts(root, length, leaf, bytes, path + [.zero]))
                if !path.isEmpty { #expect(!accepts(root, length, leaf, bytes, Array(path.dropLast()))) }
                if tree.leafCount > 1 { #expect(!accepts(root, length, (leaf + 1) % tree.leafCount, bytes, path)) }
            }
        }
    }
}
