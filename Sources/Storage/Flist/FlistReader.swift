import Crypto

/// Gives the plaintext of chunks, checked.
public protocol ChunkSource: AnyObject, Sendable {
    /// The plaintext of a chunk of this kind.
    func plaintext(_ reference: ChunkReference, _ kind: ChunkKind) throws(FlistError) -> [UInt8]
}

/// Chunks straight from a store, each fetched, checked and opened anew.
public final class StoreSource: ChunkSource {
    private let store: any ChunkStore
    private let secret: ConvergenceSecret?

    /// With a secret, keys are compared with what contents give.
    public init(_ store: any ChunkStore, secret: ConvergenceSecret? = nil) {
        (self.store, self.secret) = (store, secret)
    }

    /// Fetches and opens.
    public func plaintext(_ reference: ChunkReference, _ kind: ChunkKind) throws(FlistError) -> [UInt8] {
        guard let stored = try store.fetch(reference.id) else { throw .missing(reference.id) }
        return try ChunkCodec.open(stored, reference, kind, secret)
    }
}

/// Finds files in a flist by name or by inode number, fetching only the directories on the way.
public final class FlistReader: Sendable {
    /// An entry and where it is.
    public struct Located: Sendable {
        /// The entry.
        public let entry: Entry
        /// Its place in the numbering.
        public let slot: UInt64
        /// The inode number of its directory; its own for the root.
        public let parent: UInt64
        /// Its inode number.
        public var inode: UInt64 { entry.inode(slot: slot) }
    }

    /// The first chunk.
    public let root: RootChunk
    private let source: any ChunkSource
    private let parts: BoundedCache<Digest, DirectoryPart>
    private let lists: BoundedCache<Digest, ChunkList>

    /// Opens the flist whose root chunk is `reference`; keeps decoded directories up to `cacheBytes`.
    public init(_ reference: ChunkReference, _ source: any ChunkSource, cacheBytes: Int = 32 << 20) throws(FlistError) {
        root = try RootChunk(try source.plaintext(reference, .root))
        self.source = source
        parts = BoundedCache(limit: cacheBytes)
        lists = BoundedCache(limit: 8 << 20)
    }

    /// The inode number of the root directory.
    public static let rootInode: UInt64 = 1

    /// One decoded part of a directory.
    public func part(_ reference: DirectoryPartReference) throws(FlistError) -> DirectoryPart {
        if let held = parts.value(reference.chunk.id),
            UInt64(held.entries.count) == reference.entries, held.entries.first?.name == reference.firstName
        {
            return held
        }
        let plain = try source.plaintext(reference.chunk, .directory)
        let part = try DirectoryPart(plain, expecting: reference)
        parts.insert(reference.chunk.id, part, cost: part.cost)
        return part
    }

    /// The file of this inode number, found by walking down from the root: one step a level.
    public func file(_ inode: UInt64) throws(FlistError) -> Located {
        var slot = inode
        if inode > Entry.hardLinkBase {
            let group = inode - Entry.hardLinkBase
            guard group <= UInt64(root.hardLinks.count) else { throw .noInode(inode) }
            slot = root.hardLinks[Int(group - 1)]
        }
        var located = Located(entry: root.entry, slot: 1, parent: Self.rootInode)
        guard slot >= 1, slot < 1 + root.directory.slots else { throw .noInode(inode) }
        while located.slot != slot {
            guard case .directory(let directory) = located.entry.content else { throw .noInode(inode) }
            located = try step(directory, located.slot, to: slot)
        }
        guard located.inode == inode else { throw .noInode(inode) }
        return located
    }

    private func step(_ directory: DirectoryReference, _ base: UInt64, to slot: UInt64) throws(FlistError) -> Located {
        var start = base + 1
        for reference in directory.parts {
            if slot < start + reference.slots {
                let part = try part(reference)
                let index = part.index(ofSlot: slot - start)
                return Located(entry: part.entries[index], slot: start + part.starts[index], parent: base)
            }
            start += reference.slots
        }
        throw .noInode(slot)
    }

    /// The entry `name` of a directory, or nil.
    public func lookup(_ name: [UInt8], in parent: Located) throws(FlistError) -> Located? {
        guard case .directory(let directory) = parent.entry.content else { return nil }
        var start = parent.slot + 1
        for (index, reference) in directory.parts.enumerated() {
            let next = index + 1
            if next < directory.parts.count, !name.lexicographicallyPrecedes(directory.parts[next].firstName) {
                start += reference.slots
                continue
            }
            let part = try part(reference)
            guard let found = part.index(of: name) else { return nil }
            return Located(entry: part.entries[found], slot: start + part.starts[found], parent: parent.inode)
        }
        return nil
    }

    /// The file at a path of names below the root, or nil.
    public func lookup(path: [[UInt8]]) throws(FlistError) -> Located? {
        var located = try file(Self.rootInode)
        for name in path {
            guard let next = try lookup(name, in: located) else { return nil }
            located = next
        }
        return located
    }

    /// Calls `body` with entries of a directory from the `first` one on, until it returns false.
    public func list(
        _ parent: Located, from first: UInt64, _ body: (UInt64, Located) -> Bool
    ) throws(FlistError) {
        guard case .directory(let directory) = parent.entry.content else { return }
        var start = parent.slot + 1
        var index: UInt64 = 0
        for reference in directory.parts {
            if index + reference.entries > first {
                let part = try part(reference)
                for place in Int(first > index ? first - index : 0)..<part.entries.count {
                    let located = Located(
                        entry: part.entries[place], slot: start + part.starts[place], parent: parent.inode)
                    guard body(index + UInt64(place), located) else { return }
                }
            }
            index += reference.entries
            start += reference.slots
        }
    }

    /// Calls `body` with each content chunk that overlaps `range` of a file and the offset at which the chunk starts.
    public func chunks(
        _ tree: ChunkTree, _ range: Range<UInt64>, _ body: (UInt64, SizedReference) throws(FlistError) -> Void
    ) throws(FlistError) {
        var start: UInt64 = 0
        for reference in tree.references {
            if start >= range.upperBound { return }
            if start + reference.size > range.lowerBound { try chunks(reference, tree.depth, start, range, body) }
            start += reference.size
        }
    }

    private func chunks(
        _ reference: SizedReference, _ depth: UInt8, _ base: UInt64, _ range: Range<UInt64>,
        _ body: (UInt64, SizedReference) throws(FlistError) -> Void
    ) throws(FlistError) {
        if depth == 0 { return try body(base, reference) }
        let list = try self.list(reference, depth - 1)
        for index in list.index(at: range.lowerBound > base ? range.lowerBound - base : 0)..<list.references.count {
            let start = base + list.starts[index]
            if start >= range.upperBound { return }
            try chunks(list.references[index], depth - 1, start, range, body)
        }
    }

    /// The references of a list chunk, which lists chunks at `depth`.
    public func list(_ reference: SizedReference, _ depth: UInt8) throws(FlistError) -> ChunkList {
        if let held = lists.value(reference.chunk.id), held.size == reference.size, held.depth == depth { return held }
        var decoder = EntryDecoder(try source.plaintext(reference.chunk, .list), .list)
        let references = try decoder.references(
            limit: FlistLimits.listReferences, depth: depth, size: reference.size)
        try decoder.finish()
        let list = ChunkList(references, depth, reference.size)
        lists.insert(reference.chunk.id, list, cost: references.count * 96)
        return list
    }

    /// The path of an inode number, as text for people: the first of its names.
    public func path(_ inode: UInt64) -> String {
        var names: [String] = []
        var next = inode
        while next != Self.rootInode, names.count <= FlistLimits.depth {
            guard let located = try? file(next) else { return "(inode \(inode))" }
            names.append(FlistVerifier.text(located.entry.name))
            next = located.parent
        }
        return "/" + names.reversed().joined(separator: "/")
    }
}

/// The decoded references of one list chunk.
public final class ChunkList: Sendable {
    /// In order of the file.
    public let references: [SizedReference]
    let starts: [UInt64]
    let depth: UInt8
    let size: UInt64

    init(_ references: [SizedReference], _ depth: UInt8, _ size: UInt64) {
        var starts: [UInt64] = []
        starts.reserveCapacity(references.count)
        var start: UInt64 = 0
        for reference in references {
            starts.append(start)
            start += reference.size
        }
        (self.references, self.starts, self.depth, self.size) = (references, starts, depth, size)
    }

    /// The index of the reference that covers `offset`.
    func index(at offset: UInt64) -> Int {
        var low = 0
        var high = starts.count
        while low + 1 < high {
            let middle = (low + high) / 2
            if starts[middle] <= offset { low = middle } else { high = middle }
        }
        return low
    }
}
