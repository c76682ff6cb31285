import Bytes
import CanonicalJSON
import Crypto
import LedgerState
import Merkle
import Records

/// A place in the store whose bytes are not what was written, and how that shows.
public struct Damage: Error, Hashable, Sendable, CustomStringConvertible {
    /// The block or snapshot.
    public let place: String
    /// The key in the ledger's namespace.
    public let key: String
    /// What does not hold.
    public let reason: String

    /// One line for people.
    public var description: String { "\(place) (key \(key)) is damaged: \(reason)" }
    /// The damage as a document.
    var value: JSONValue { ["place": .string(place), "key": .string(key), "reason": .string(reason)] }
}

/// Blocks, checkpoints and snapshots in a store, every byte checked when it is read. Calls block.
struct LedgerArchive: Sendable {
    let storage: any LedgerStorage

    /// Reads a value; damage that the store found itself is reported as such.
    private func get(_ key: String, _ place: String) throws -> [UInt8]? {
        do { return try storage.get(key) } catch {
            if case .damaged(_, let reason) = error { throw Damage(place: place, key: key, reason: reason) }
            throw error
        }
    }

    /// The bytes of a block, which are not checked; nil where there is none of that height.
    func rawBlock(_ height: Int64) throws -> [UInt8]? { try get(StorageKey.block(height), "block \(height)") }

    /// The checkpoint at a height, its signatures checked; nil where there is none.
    func checkpoint(_ height: Int64, _ genesis: Genesis) throws -> (Checkpoint, [UInt8])? {
        let (key, place) = (StorageKey.checkpoint(height), "checkpoint \(height)")
        guard let bytes = try get(key, place) else { return nil }
        do {
            let checkpoint = try Checkpoint(JSONValue(canonical: bytes))
            try checkpoint.verify(genesis)
            guard checkpoint.height == height else {
                throw Damage(place: place, key: key, reason: "it is of another height")
            }
            return (checkpoint, bytes)
        } catch let damage as Damage { throw damage } catch { throw Damage(place: place, key: key, reason: "\(error)") }
    }

    /// A block and its checkpoint as one line of an answer, checked against the members' signatures.
    func line(_ height: Int64, _ genesis: Genesis) throws -> [UInt8] {
        let place = "block \(height)"
        guard let block = try rawBlock(height) else {
            throw Damage(place: place, key: StorageKey.block(height), reason: "it is missing")
        }
        guard let (checkpoint, bytes) = try checkpoint(height, genesis) else {
            throw Damage(place: place, key: StorageKey.checkpoint(height), reason: "its checkpoint is missing")
        }
        guard SHA256.hash(block) == checkpoint.block else {
            throw Damage(
                place: place, key: StorageKey.block(height), reason: "its bytes are not those that were signed")
        }
        return LedgerArchive.line(block, bytes)
    }

    /// Canonical JSON of both, without encoding them again.
    static func line(_ block: [UInt8], _ checkpoint: [UInt8]) -> [UInt8] {
        Array(#"{"block":"#.utf8) + block + Array(#","checkpoint":"#.utf8) + checkpoint + Array("}".utf8)
    }

    // MARK: Snapshots

    /// What is written last of a snapshot: without it there is none.
    struct SnapshotNote: Hashable {
        var height: Int64
        var pieces: Int
        var hash: Digest

        var value: JSONValue {
            ["height": .integer(height), "pieces": .integer(Int64(pieces)), "sha256": .string(hash.hex)]
        }

        init(height: Int64, pieces: Int, hash: Digest) {
            (self.height, self.pieces, self.hash) = (height, pieces, hash)
        }

        init?(_ value: JSONValue) {
            guard let height = value["height"]?.integer, let pieces = value["pieces"]?.integer,
                let hash = value["sha256"]?.string.flatMap({ Digest(hex: $0) })
            else { return nil }
            self.init(height: height, pieces: Int(pieces), hash: hash)
        }
    }

    /// Snapshots that were stored, newest last. One that cannot be read is as none: they are all derived.
    func snapshotNotes() throws -> [SnapshotNote] {
        let bytes: [UInt8]?
        do { bytes = try storage.get(StorageKey.snapshots) } catch {
            if case .damaged = error { return [] }
            throw error
        }
        guard let bytes, let list = (try? JSONValue(canonical: bytes))?.array else { return [] }
        return list.compactMap { SnapshotNote($0) }
    }

    /// Stores a snapshot: tiles of the log, pieces of the state, then the note that says they are there.
    func store(_ chain: LedgerChain, _ checkpoint: Checkpoint, tiles: [(Int, [UInt8])], rest: [UInt8]) throws {
        var notes = try snapshotNotes().filter { $0.height != chain.height }
        for (number, tile) in tiles { try storage.replace(StorageKey.tile(number), tile) }
        let bytes = LedgerSnapshot.bytes(chain, checkpoint)
        var pieces = 0
        for start in stride(from: 0, to: bytes.count, by: StoreLimits.snapshotPieceBytes) {
            let piece = Array(bytes[start..<min(start + StoreLimits.snapshotPieceBytes, bytes.count)])
            try storage.replace(StorageKey.piece(chain.height, pieces), piece)
            pieces += 1
        }
        // The last piece holds hashes of entries that fill no tile yet.
        try storage.replace(StorageKey.piece(chain.height, pieces), rest)
        notes.append(SnapshotNote(height: chain.height, pieces: pieces, hash: SHA256.hash(bytes + rest)))
        let dropped = notes.dropLast(StoreLimits.snapshotsKept)
        notes = Array(notes.suffix(StoreLimits.snapshotsKept))
        try storage.replace(StorageKey.snapshots, JSONValue.array(notes.map(\.value)).canonicalBytes)
        for note in dropped {
            for number in 0...note.pieces { try storage.remove(StorageKey.piece(note.height, number)) }
        }
    }

    /// Reads a stored snapshot; everything in it is checked again.
    func snapshot(_ note: SnapshotNote, _ genesis: Genesis) throws -> (LedgerChain, Checkpoint, LogTree) {
        let place = "snapshot \(note.height)"
        var bytes: [UInt8] = []
        var rest: [UInt8] = []
        for number in 0...note.pieces {
            let key = StorageKey.piece(note.height, number)
            guard let piece = try get(key, place) else { throw Damage(place: place, key: key, reason: "it is missing") }
            if number == note.pieces { rest = piece } else { bytes += piece }
        }
        let first = StorageKey.piece(note.height, 0)
        guard SHA256.hash(bytes + rest) == note.hash else {
            throw Damage(place: place, key: first, reason: "its bytes are not those that were written")
        }
        let (chain, checkpoint): (LedgerChain, Checkpoint)
        do { (chain, checkpoint) = try LedgerSnapshot.read(bytes, genesis: genesis) } catch {
            throw Damage(place: place, key: first, reason: error.description)
        }
        let tree = try tree(size: Int(checkpoint.size), rest: rest, place)
        guard tree.root == checkpoint.logRoot else {
            throw Damage(place: place, key: StorageKey.tile(0), reason: "the log's tiles have another root")
        }
        return (chain, checkpoint, tree)
    }

    private func tree(size: Int, rest: [UInt8], _ place: String) throws -> LogTree {
        var tree = LogTree()
        for number in 0..<(size / StoreLimits.tileEntries) {
            let key = StorageKey.tile(number)
            guard let tile = try get(key, place), tile.count == StoreLimits.tileEntries * 32 else {
                throw Damage(place: place, key: key, reason: "the tile is missing or too short")
            }
            LedgerArchive.append(tile, to: &tree)
        }
        LedgerArchive.append(rest, to: &tree)
        guard tree.size == size else {
            throw Damage(place: place, key: StorageKey.tile(0), reason: "\(tree.size) of \(size) entries are there")
        }
        return tree
    }

    private static func append(_ hashes: [UInt8], to tree: inout LogTree) {
        for start in stride(from: 0, through: hashes.count - 32, by: 32) {
            if let leaf = Digest(Array(hashes[start..<start + 32])) { tree.append(leaf: leaf) }
        }
    }

    /// Tiles of the log that were completed after `size` entries, and the hashes that fill no tile yet.
    static func tiles(_ tree: LogTree, since size: Int, upTo end: Int) -> ([(Int, [UInt8])], [UInt8]) {
        let full = end / StoreLimits.tileEntries
        let tiles = (min(size / StoreLimits.tileEntries, full)..<full).map { number in
            let start = number * StoreLimits.tileEntries
            return (number, tree.leaves(start..<start + StoreLimits.tileEntries).flatMap(\.bytes))
        }
        return (tiles, tree.leaves(full * StoreLimits.tileEntries..<end).flatMap(\.bytes))
    }
}
