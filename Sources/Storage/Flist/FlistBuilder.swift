import Bytes
import Crypto

/// Writes the metadata chunks of a tree whose contents are already stored.
public struct FlistBuilder {
    private struct Group {
        var links: UInt64
        var number: UInt64
    }

    private let secret: ConvergenceSecret
    private let sink: (SealedChunk) throws(FlistError) -> Void
    private var groups: [ObjectIdentifier: Group] = [:]
    private var slots: [UInt64] = []
    private var totals = RootChunk.Totals()
    private var nextSlot: UInt64 = 1

    /// `sink` stores each chunk.
    public init(_ secret: ConvergenceSecret, _ sink: @escaping (SealedChunk) throws(FlistError) -> Void) {
        (self.secret, self.sink) = (secret, sink)
    }

    /// Writes the tree below `root` and returns where its root chunk is.
    public mutating func write(_ root: TreeNode) throws(FlistError) -> (root: ChunkReference, totals: RootChunk.Totals)
    {
        countLinks(root)
        (nextSlot, slots, totals) = (1, [], RootChunk.Totals())
        try number(root, depth: 0)
        let entry = try entry([], root)
        let chunk = try ChunkCodec.seal(
            RootChunk(entry: entry, totals: totals, hardLinks: slots).encoded(), .root, secret)
        try sink(chunk)
        return (chunk.reference, totals)
    }

    static func sorted(_ children: [[UInt8]: TreeNode]) -> [(key: [UInt8], value: TreeNode)] {
        children.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    private mutating func countLinks(_ root: TreeNode) {
        groups = [:]
        var open = [root]
        while let node = open.popLast() {
            for child in node.children.values {
                if child.isDirectory {
                    open.append(child)
                } else {
                    groups[ObjectIdentifier(child), default: Group(links: 0, number: 0)].links += 1
                }
            }
        }
        groups = groups.filter { $0.value.links > 1 }
    }

    /// Gives every name its place, in the order in which readers count, and sums up.
    private mutating func number(_ node: TreeNode, depth: Int) throws(FlistError) {
        guard depth <= FlistLimits.depth else {
            throw .limit(subject: "depth of directories", value: UInt64(depth), limit: UInt64(FlistLimits.depth))
        }
        let slot = nextSlot
        nextSlot += 1
        let identity = ObjectIdentifier(node)
        if let group = groups[identity] {
            if group.number != 0 { return }
            slots.append(slot)
            groups[identity]?.number = UInt64(slots.count)
            guard UInt64(slots.count) <= FlistLimits.hardLinks else {
                throw .limit(subject: "hard-link groups", value: UInt64(slots.count), limit: FlistLimits.hardLinks)
            }
        }
        if !node.attributes.extended.isEmpty { totals.withExtendedAttributes += 1 }
        switch node.content {
        case .file(let pieces):
            totals.files += 1
            totals.bytes += pieces.reduce(0) { $0 + $1.size }
        case .directory(let children):
            totals.directories += 1
            for (_, child) in Self.sorted(children) { try number(child, depth: depth + 1) }
        default: totals.others += 1
        }
    }

    private func entry(_ name: [UInt8], _ node: TreeNode) throws(FlistError) -> Entry {
        let content: Entry.Content =
            switch node.content {
            case .file(let pieces): .file(size: pieces.reduce(0) { $0 + $1.size }, try tree(pieces))
            case .directory(let children): .directory(try directory(children))
            case .symbolicLink(let target): .symbolicLink(target)
            case .characterDevice(let major, let minor): .characterDevice(major: major, minor: minor)
            case .blockDevice(let major, let minor): .blockDevice(major: major, minor: minor)
            case .pipe: .pipe
            case .socket: .socket
            }
        let group = groups[ObjectIdentifier(node)]
        return Entry(
            name: name, attributes: node.attributes, hardLink: group?.number ?? 0, links: group?.links ?? 1,
            content: content)
    }

    /// Puts more pieces than fit in an entry into list chunks.
    private func tree(_ pieces: [SizedReference]) throws(FlistError) -> ChunkTree {
        var references = pieces
        var depth: UInt8 = 0
        while references.count > FlistLimits.directReferences {
            guard depth < FlistLimits.treeDepth else {
                throw .limit(
                    subject: "pieces of a file", value: UInt64(pieces.count),
                    limit: UInt64(
                        FlistLimits.directReferences * FlistLimits.listReferences * FlistLimits.listReferences))
            }
            var lists: [SizedReference] = []
            for start in stride(from: 0, to: references.count, by: FlistLimits.listReferences) {
                let group = references[start..<min(start + FlistLimits.listReferences, references.count)]
                var writer = ByteWriter()
                ChunkTree.encode(group, into: &writer)
                let chunk = try ChunkCodec.seal(writer.bytes, .list, secret)
                try sink(chunk)
                lists.append(SizedReference(size: group.reduce(0) { $0 + $1.size }, chunk: chunk.reference))
            }
            references = lists
            depth += 1
        }
        return ChunkTree(depth: depth, references: references)
    }

    /// Writes a directory's entries, its subdirectories first.
    private func directory(_ children: [[UInt8]: TreeNode]) throws(FlistError) -> DirectoryReference {
        var part = Part()
        var parts: [DirectoryPartReference] = []
        var subdirectories: UInt64 = 0
        for (name, child) in Self.sorted(children) {
            guard EntryDecoder.isName(name) else { throw .malformed(.directory, reason: "not a file name", offset: 0) }
            if child.isDirectory { subdirectories += 1 }
            part.add(try entry(name, child))
            if part.isFull(after: name) { parts.append(try close(&part)) }
        }
        if part.count > 0 { parts.append(try close(&part)) }
        guard parts.count <= FlistLimits.directoryParts else {
            throw .limit(
                subject: "parts of a directory", value: UInt64(parts.count), limit: UInt64(FlistLimits.directoryParts))
        }
        return DirectoryReference(subdirectories: subdirectories, parts: parts)
    }

    private func close(_ part: inout Part) throws(FlistError) -> DirectoryPartReference {
        var writer = ByteWriter(capacity: part.body.bytes.count + 5)
        writer.varint(part.count)
        writer.append(part.body.bytes)
        let chunk = try ChunkCodec.seal(writer.bytes, .directory, secret)
        try sink(chunk)
        defer { part = Part() }
        return DirectoryPartReference(
            firstName: part.firstName, entries: part.count, slots: part.slots, chunk: chunk.reference)
    }

    /// A directory chunk that is being filled.
    private struct Part {
        var body = ByteWriter()
        var firstName: [UInt8] = []
        var count: UInt64 = 0
        var slots: UInt64 = 0

        mutating func add(_ entry: Entry) {
            if count == 0 { firstName = entry.name }
            entry.encode(into: &body)
            count += 1
            slots += entry.slots
        }

        /// Ends where the name says so, so that a new entry moves only near borders: FNV-1a, nine lowest bits zero.
        func isFull(after name: [UInt8]) -> Bool {
            if body.bytes.count >= FlistLimits.partBytesMax { return true }
            guard body.bytes.count >= FlistLimits.partBytesMin else { return false }
            let hash = name.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
            return hash & 511 == 0
        }
    }
}
