import Bytes
import Crypto

/// The decoded entries of one directory chunk, with their places in the numbering of inodes.
public final class DirectoryPart: Sendable {
    /// In order of names.
    public let entries: [Entry]
    /// For each entry, how many inode numbers the entries before it take.
    public let starts: [UInt64]
    /// Roughly how much memory it holds, for caches.
    public let cost: Int

    /// Decodes a directory chunk and checks it against what the parent says of it.
    init(_ plain: [UInt8], expecting part: DirectoryPartReference) throws(FlistError) {
        var decoder = EntryDecoder(plain, .directory)
        let count = try decoder.number("number of entries", below: UInt64(FlistLimits.chunkBytes))
        guard count == part.entries else { throw decoder.refusal("other number of entries than the parent says") }
        var entries: [Entry] = []
        var starts: [UInt64] = []
        entries.reserveCapacity(Int(min(count, UInt64(plain.count / 8))))
        starts.reserveCapacity(entries.capacity)
        var next: UInt64 = 0
        for _ in 0..<count {
            let entry = try decoder.entry()
            if let last = entries.last {
                guard last.name.lexicographicallyPrecedes(entry.name) else { throw decoder.refusal("unsorted names") }
            } else if entry.name != part.firstName {
                throw decoder.refusal("other first name than the parent says")
            }
            starts.append(next)
            next += entry.slots
            guard next <= part.slots else { throw decoder.refusal("more inodes than the parent says") }
            entries.append(entry)
        }
        guard next == part.slots else { throw decoder.refusal("fewer inodes than the parent says") }
        try decoder.finish()
        (self.entries, self.starts, cost) = (entries, starts, plain.count * 2 + entries.count * 256)
    }

    /// The index of `name`, or nil.
    public func index(of name: [UInt8]) -> Int? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].name.lexicographicallyPrecedes(name) { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].name == name ? low : nil
    }

    /// The index of the entry that holds place `slot` among those of this part.
    func index(ofSlot slot: UInt64) -> Int {
        var low = 0
        var high = starts.count
        while low + 1 < high {
            let middle = (low + high) / 2
            if starts[middle] <= slot { low = middle } else { high = middle }
        }
        return low
    }
}

/// The first chunk of a flist.
public struct RootChunk: Sendable, Hashable {
    /// What a whole flist adds up to.
    public struct Totals: Sendable, Hashable {
        /// Regular files; those with several names count once.
        public var files: UInt64 = 0
        /// Directories, the root among them.
        public var directories: UInt64 = 0
        /// Links, devices, pipes, sockets.
        public var others: UInt64 = 0
        /// Bytes of all files.
        public var bytes: UInt64 = 0
        /// Files that have extended attributes.
        public var withExtendedAttributes: UInt64 = 0

        /// Nothing.
        public init() {}
    }

    /// The root directory, without a name.
    public let entry: Entry
    /// Sums over the tree.
    public let totals: Totals
    /// For each group of hard-linked names, the place of its first name; ascending.
    public let hardLinks: [UInt64]

    /// The root directory.
    public var directory: DirectoryReference {
        if case .directory(let directory) = entry.content {
            directory
        } else {
            DirectoryReference(subdirectories: 0, parts: [])
        }
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        entry.encode(into: &writer)
        for total in [totals.files, totals.directories, totals.others, totals.bytes, totals.withExtendedAttributes] {
            writer.varint(total)
        }
        writer.varint(UInt64(hardLinks.count))
        var last: UInt64 = 1
        for slot in hardLinks {
            writer.varint(slot - last)
            last = slot
        }
        return writer.bytes
    }

    init(entry: Entry, totals: Totals, hardLinks: [UInt64]) {
        (self.entry, self.totals, self.hardLinks) = (entry, totals, hardLinks)
    }

    /// Decodes a root chunk.
    init(_ plain: [UInt8]) throws(FlistError) {
        var decoder = EntryDecoder(plain, .root)
        entry = try decoder.entry(isRoot: true)
        guard case .directory(let directory) = entry.content else {
            throw decoder.refusal("the root is not a directory")
        }
        var totals = Totals()
        totals.files = try decoder.number("files", below: 1 << 63)
        totals.directories = try decoder.number("directories", below: 1 << 63)
        totals.others = try decoder.number("other files", below: 1 << 63)
        totals.bytes = try decoder.number("bytes", below: 1 << 63)
        totals.withExtendedAttributes = try decoder.number("files with attributes", below: 1 << 63)
        self.totals = totals
        let count = try decoder.number("hard-link groups", below: FlistLimits.hardLinks + 1)
        var slots: [UInt64] = []
        var last: UInt64 = 1
        for _ in 0..<count {
            let step = try decoder.number("place of a hard link", below: FlistLimits.slots)
            guard step > 0, last + step <= directory.slots else { throw decoder.refusal("place of a hard link") }
            last += step
            slots.append(last)
        }
        hardLinks = slots
        try decoder.finish()
    }
}
