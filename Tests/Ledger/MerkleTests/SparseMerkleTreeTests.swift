import Bytes
import Crypto
import Merkle
import Testing

/// A generator whose numbers are the same in every run.
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite struct SparseMerkleTreeTests {
    private typealias Tree = SparseMerkleTree<Int>

    private func entry(_ path: Digest, _ value: Int) -> Tree.Entry {
        Tree.Entry(path: path, hash: SHA256.hash("\(value)"), value: value)
    }

    /// The definition in Documentation/formats/ledger.md, as a model.
    private func model(_ leaves: [(Digest, Digest)], _ depth: Int = 0) -> Digest {
        if leaves.isEmpty { return Digest.zero }
        if leaves.count == 1 { return SHA256.hash([0] + leaves[0].0.bytes + leaves[0].1.bytes) }
        let left = leaves.filter { !$0.0.bit(depth) }, right = leaves.filter { $0.0.bit(depth) }
        return SHA256.hash([1] + model(left, depth + 1).bytes + model(right, depth + 1).bytes)
    }

    @Test func documentedVectors() {
        var tree = Tree()
        #expect(tree.root.hex == String(repeating: "0", count: 64))
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] { tree.insert(entry(StateHash.path(key), value)) }
        #expect(tree.root.hex == StateVectors.root)
        let proof = tree.proof(StateHash.path("b"))
        #expect(proof.depth == StateVectors.depth)
        #expect(proof.siblings.map(\.hex) == StateVectors.siblings)
        #expect(proof.shows(SHA256.hash("2"), at: StateHash.path("b"), root: tree.root))
    }

    @Test(arguments: 0..<12) func agreesWithTheModel(seed: Int) {
        var numbers = SeededNumbers(state: UInt64(seed))
        var tree = Tree()
        var expected: [Digest: Int] = [:]
        // Few different first bits in some runs, so that long common beginnings occur.
        let shape = seed % 3
        let paths = (0..<60).map { number -> Digest in
            var bytes = SHA256.hash("key \(number)").bytes
            if shape > 0 { for position in 0..<(shape == 1 ? 2 : 31) { bytes[position] = 0 } }
            return Digest(bytes) ?? Digest.zero
        }
        for step in 0..<300 {
            let path = paths[Int(numbers.next() % 60)]
            if numbers.next() % 3 == 0 {
                tree.remove(path)
                expected[path] = nil
            } else {
                tree.insert(entry(path, step))
                expected[path] = step
            }
            #expect(tree.count == expected.count)
            guard step % 20 == 0 else { continue }
            #expect(tree.root == model(expected.map { ($0.key, SHA256.hash("\($0.value)")) }), "step \(step)")
            for path in paths {
                let value = expected[path]
                #expect(tree[path] == value)
                let proof = tree.proof(path)
                let hash = value.map { SHA256.hash("\($0)") }
                #expect(proof.shows(hash, at: path, root: tree.root))
                #expect(!proof.shows(hash == nil ? SHA256.hash("x") : nil, at: path, root: tree.root))
                #expect(!proof.shows(hash, at: path, root: SHA256.hash("another root")))
            }
        }
        var listed: [Tree.Entry] = []
        tree.forEach { listed.append($0) }
        #expect(listed.map(\.path) == expected.keys.sorted())
        #expect(Tree(listed.shuffled(using: &numbers)).root == tree.root)
    }

    @Test func changedProofsShowNothing() throws {
        var tree = Tree()
        for number in 0..<100 { tree.insert(entry(SHA256.hash("key \(number)"), number)) }
        let path = SHA256.hash("key 7")
        let good = tree.proof(path)
        let value = SHA256.hash("7")
        #expect(good.shows(value, at: path, root: tree.root))
        for position in good.siblings.indices {
            var siblings = good.siblings
            siblings[position] = SHA256.hash("wrong")
            let changed = try #require(
                StateProof(depth: good.depth, bitmap: good.bitmap, siblings: siblings, terminal: good.terminal))
            #expect(!changed.shows(value, at: path, root: tree.root))
        }
        #expect(!good.shows(value, at: SHA256.hash("key 8"), root: tree.root))
        #expect(!good.shows(nil, at: SHA256.hash("key 8"), root: tree.root))
        #expect(StateProof(depth: 300, bitmap: [], siblings: [], terminal: .empty) == nil)
        #expect(StateProof(depth: 1, bitmap: [0x40], siblings: [value], terminal: .empty) == nil)
        #expect(StateProof(depth: 1, bitmap: [0x80], siblings: [], terminal: .empty) == nil)
        #expect(StateProof(depth: 1, bitmap: [0x80], siblings: [Digest.zero], terminal: .empty) == nil)
    }

    @Test func oldVersionsStayAsTheyWere() {
        var tree = Tree()
        for number in 0..<50 { tree.insert(entry(SHA256.hash("key \(number)"), number)) }
        let (old, root) = (tree, tree.root)
        for number in 0..<50 { tree.insert(entry(SHA256.hash("key \(number)"), number + 1)) }
        #expect(old.root == root)
        #expect(old[SHA256.hash("key 3")] == 3)
        for number in 0..<50 { tree.remove(SHA256.hash("key \(number)")) }
        #expect(tree.root == StateHash.empty && tree.count == 0)
        #expect(old.root == root)
    }
}

enum StateVectors {
    static let root = "8e2a164a410203f51300d7c6645b7a37f549768457be109acc126c63573a9e0a"
    static let depth = 4
    static let siblings: [String] = [
        "565388d4bc00257133f799d9366ac97f6e949c18acc53d17457f8859ba0f08d3",
        "6dc4a0fe4285844b9c64ba063f6a8b808a07eb2e8c124cda2babd55a2a7f3d24",
    ]
}
