import Crypto
import Flist
import Synchronization

/// A store in memory that can be damaged.
final class MemoryStore: ChunkStore {
    private let chunks = Mutex<[Digest: [UInt8]]>([:])

    var count: Int { chunks.withLock { $0.count } }
    var ids: [Digest] { chunks.withLock { $0.keys.sorted() } }

    func holds(_ ids: [Digest]) throws(FlistError) -> [Bool] {
        chunks.withLock { chunks in ids.map { chunks[$0] != nil } }
    }

    func add(_ new: [SealedChunk]) throws(FlistError) -> [Bool] {
        chunks.withLock { chunks in
            new.map { chunks.updateValue($0.stored, forKey: $0.reference.id) == nil }
        }
    }

    func fetch(_ id: Digest) throws(FlistError) -> [UInt8]? { chunks.withLock { $0[id] } }

    func change(_ id: Digest, _ body: (inout [UInt8]?) -> Void) { chunks.withLock { body(&$0[id]) } }
}

/// Numbers that a seed decides (SplitMix64).
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count { withUnsafeBytes(of: next().littleEndian) { bytes.append(contentsOf: $0) } }
        return Array(bytes[..<count])
    }
}

let plainAttributes = FileAttributes(mode: 0o644, uid: 0, gid: 0, modified: FileTime(seconds: 1_700_000_000))

func name(_ text: String) -> [UInt8] { Array(text.utf8) }

extension MemoryStore {
    /// Stores content in one piece a chunk.
    func file(_ content: [UInt8], _ secret: ConvergenceSecret = .publicImages) throws -> TreeNode {
        var pieces: [SizedReference] = []
        var cutter = ContentCutter()
        let emit = { (chunk: [UInt8]) throws(FlistError) in
            let sealed = try ChunkCodec.seal(chunk, .content, secret)
            _ = try self.add([sealed])
            pieces.append(SizedReference(size: UInt64(chunk.count), chunk: sealed.reference))
        }
        try content.withUnsafeBytes { try cutter.add($0, emit) }
        try cutter.finish(emit)
        return TreeNode(plainAttributes, .file(pieces))
    }

    func write(_ root: TreeNode, _ secret: ConvergenceSecret = .publicImages) throws -> ChunkReference {
        var builder = FlistBuilder(secret) { chunk throws(FlistError) in _ = try self.add([chunk]) }
        return try builder.write(root).root
    }
}

func directory(_ children: [String: TreeNode]) -> TreeNode {
    var attributes = plainAttributes
    attributes.mode = 0o755
    return TreeNode(attributes, .directory(Dictionary(uniqueKeysWithValues: children.map { (name($0), $1) })))
}
