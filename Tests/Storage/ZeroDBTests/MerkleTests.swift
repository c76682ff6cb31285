import Crypto
import Testing

@testable import ZeroDB

@Suite("Zero-DB: proofs")
struct MerkleTests {
    /// The root again, from a leaf and its path.
    func climb(_ tree: LeafTree, _ value: [UInt8], _ leaf: Int) -> Digest {
        var hash = SHA256.hash([0] + value[LeafTree.range(leaf, value.count)])
        var path = tree.path(leaf)[...]
        var (index, width) = (leaf, tree.leafCount)
        while width > 1 {
            if index ^ 1 < width, let other = path.popFirst() {
                hash = SHA256.hash([1] + (index & 1 == 0 ? hash.bytes + other.bytes : other.bytes + hash.bytes))
            }
            (index, width) = (index / 2, (width + 1) / 2)
        }
        #expect(path.isEmpty)
        let sizes = [tree.leafCount, value.count].flatMap { size in (0..<8).map { UInt8(size >> (8 * $0) & 0xff) } }
        return SHA256.hash([2] + sizes + hash.bytes)
    }

    @Test("Every leaf's path leads to the root", arguments: [1, 4096, 4097, 8192, 12289, 40_000, 4096 * 16, 4096 * 33])
    func paths(length: Int) {
        let value = (0..<length).map { UInt8($0 % 253) }
        let tree = value.withUnsafeBytes { LeafTree($0) }
        for leaf in 0..<tree.leafCount { #expect(climb(tree, value, leaf) == tree.root, "leaf \(leaf)") }
    }

    @Test("The guide's vector")
    func vector() {
        let value = (0..<10_000).map { UInt8($0 % 251) }
        let tree = value.withUnsafeBytes { LeafTree($0) }
        #expect(tree.root.hex == "de2ab49326a58e1b058e30df8006439a668bc6e4eca80c1377ef1ca6fe53d161")
    }
}
