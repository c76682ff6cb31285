import Bytes
import Crypto
import Merkle
import Testing

/// Inputs, roots and proofs of the Certificate Transparency reference code (RFC 6962).
enum PublishedVectors {
    static let leaves: [[UInt8]] = [
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    ].compactMap { Hex.decode($0) }

    static let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]

    /// Index from 0, size, proof.
    static let inclusion: [(Int, Int, [String])] = [
        (0, 1, []),
        (
            0, 8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        ),
        (
            5, 8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1, 5,
            [
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        ),
    ]

    /// Old size, new size, proof.
    static let consistency: [(Int, Int, [String])] = [
        (1, 1, []),
        (
            1, 8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        ),
        (
            6, 8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        ),
        (
            2, 5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        ),
    ]
}

@Suite struct LogTreeTests {
    private func tree(_ entries: [[UInt8]]) -> LogTree {
        var tree = LogTree()
        for entry in entries { tree.append(entry) }
        return tree
    }

    @Test func publishedRoots() {
        #expect(LogHash.empty.hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(LogTree().root == LogHash.empty)
        var frontier = LogFrontier()
        var tree = LogTree()
        for (leaf, root) in zip(PublishedVectors.leaves, PublishedVectors.roots) {
            tree.append(leaf)
            frontier.append(leaf)
            #expect(tree.root.hex == root)
            #expect(frontier.root.hex == root)
        }
    }

    @Test func publishedProofs() {
        let tree = tree(PublishedVectors.leaves)
        for (index, size, proof) in PublishedVectors.inclusion {
            #expect(tree.inclusionProof(index: index, size: size).map(\.hex) == proof)
        }
        for (old, new, proof) in PublishedVectors.consistency {
            #expect(tree.consistencyProof(from: old, to: new).map(\.hex) == proof)
        }
    }

    /// The definition of RFC 6962, word for word, as a model.
    private func model(_ entries: ArraySlice<[UInt8]>) -> Digest {
        if entries.isEmpty { return SHA256.hash([UInt8]()) }
        if entries.count == 1, let only = entries.first { return SHA256.hash([0] + only) }
        var k = 1
        while k * 2 < entries.count { k *= 2 }
        let middle = entries.startIndex + k
        return SHA256.hash([1] + model(entries[..<middle]).bytes + model(entries[middle...]).bytes)
    }

    @Test func everyProofUpTo40AgreesWithTheDefinition() {
        let entries = (0..<40).map { [UInt8]("entry \($0)".utf8) }
        let tree = tree(entries)
        for size in 1...40 {
            let root = tree.root(size: size)
            #expect(root == model(entries[..<size]))
            for index in 0..<size {
                let proof = tree.inclusionProof(index: index, size: size)
                #expect(
                    LogProof.includes(entries[index], index: Int64(index), size: Int64(size), root: root, proof: proof))
            }
            for old in 0...size {
                let proof = tree.consistencyProof(from: old, to: size)
                let before = (Int64(old), tree.root(size: old))
                #expect(LogProof.extends(from: before, to: (Int64(size), root), proof: proof))
            }
        }
    }

    @Test func wrongProofsAreRefused() {
        let entries = (0..<23).map { [UInt8]("entry \($0)".utf8) }
        let tree = tree(entries)
        let root = tree.root
        for index in 0..<23 {
            let proof = tree.inclusionProof(index: index, size: 23)
            let place = Int64(index)
            #expect(!LogProof.includes([1], index: place, size: 23, root: root, proof: proof))
            #expect(!LogProof.includes(entries[index], index: (place + 1) % 23, size: 23, root: root, proof: proof))
            #expect(!LogProof.includes(entries[index], index: place, size: 23, root: root, proof: proof + [root]))
            #expect(
                !LogProof.includes(entries[index], index: place, size: 23, root: root, proof: Array(proof.dropLast())))
            #expect(!LogProof.includes(entries[index], index: -1, size: 23, root: root, proof: proof))
            #expect(!LogProof.includes(entries[index], index: place, size: 0, root: root, proof: proof))
            for position in proof.indices {
                var changed = proof
                changed[position] = LogHash.empty
                #expect(!LogProof.includes(entries[index], index: place, size: 23, root: root, proof: changed))
            }
        }
        for old in 1..<23 {
            let proof = tree.consistencyProof(from: old, to: 23)
            let before = (size: Int64(old), root: tree.root(size: old))
            #expect(!LogProof.extends(from: (before.size, LogHash.empty), to: (23, root), proof: proof))
            #expect(!LogProof.extends(from: before, to: (23, LogHash.empty), proof: proof))
            #expect(!LogProof.extends(from: before, to: (23, root), proof: Array(proof.dropLast())))
            #expect(!LogProof.extends(from: before, to: (23, root), proof: proof + [root]))
        }
        #expect(!LogProof.extends(from: (24, root), to: (23, root), proof: []))
        #expect(!LogProof.extends(from: (23, LogHash.empty), to: (23, root), proof: []))
    }

    @Test func frontierIsStoredByItsPeaks() {
        var frontier = LogFrontier()
        for number in 0..<11 { frontier.append([UInt8(number)]) }
        #expect(frontier.peaks.count == 3)
        #expect(LogFrontier(size: 11, peaks: frontier.peaks) == frontier)
        #expect(LogFrontier(size: 12, peaks: frontier.peaks) == nil)
        #expect(LogFrontier(size: -1, peaks: frontier.peaks) == nil)
    }
}
