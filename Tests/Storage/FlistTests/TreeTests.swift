import Bytes
import Crypto
import Testing

@testable import Flist

@Suite struct TreeTests {
    @Test func everyKindOfFileComesBack() throws {
        let store = MemoryStore()
        var attributes = FileAttributes(
            mode: 0o4755, uid: 4_000_000_000, gid: 7, modified: FileTime(seconds: -5, nanoseconds: 999_999_999))
        attributes.extended = [
            ExtendedAttribute(name: name("security.capability"), value: [1, 0, 0, 2]),
            ExtendedAttribute(name: name("user.empty"), value: []),
        ]
        let file = try store.file(name("contents"))
        file.attributes = attributes
        let tree: [String: TreeNode] = [
            "file": file, "empty": TreeNode(plainAttributes, .file([])),
            "dir": directory(["below": TreeNode(plainAttributes, .file([]))]),
            "link": TreeNode(plainAttributes, .symbolicLink(name("../else"))),
            "char": TreeNode(plainAttributes, .characterDevice(major: 1, minor: 3)),
            "block": TreeNode(plainAttributes, .blockDevice(major: 259, minor: 1_048_575)),
            "pipe": TreeNode(plainAttributes, .pipe), "socket": TreeNode(plainAttributes, .socket),
            "again": file,
        ]
        let root = try store.write(directory(tree))
        let reader = try FlistReader(root, StoreSource(store, secret: .publicImages))
        func found(_ path: String...) throws -> FlistReader.Located {
            try #require(try reader.lookup(path: path.map(name)))
        }
        #expect(try found("file").entry.attributes == attributes)
        #expect(try found("file").entry.links == 2)
        #expect(try found("file").inode == found("again").inode)
        #expect(try found("link").entry.content == .symbolicLink(name("../else")))
        #expect(try found("char").entry.content == .characterDevice(major: 1, minor: 3))
        #expect(try found("block").entry.content == .blockDevice(major: 259, minor: 1_048_575))
        #expect(try found("pipe").entry.content == .pipe)
        #expect(try found("socket").entry.content == .socket)
        #expect(try found("empty").entry.size == 0)
        #expect(try found("dir", "below").parent == found("dir").inode)
        #expect(try reader.lookup(path: [name("dir"), name("missing")]) == nil)
        #expect(try reader.lookup(path: [name("file"), name("below")]) == nil)
        #expect(reader.root.totals.files == 3)
        #expect(reader.root.totals.bytes == 8)
        #expect(reader.root.totals.withExtendedAttributes == 1)
        var verifier = FlistVerifier(StoreSource(store, secret: .publicImages))
        #expect(try verifier.verify(root).findings == [])
    }

    /// A tree of some thousand names, with hard links across directories.
    private func wide(_ store: MemoryStore) throws -> TreeNode {
        var random = Seeded(state: 9)
        let shared = [try store.file(name("one")), try store.file(name("two"))]
        var top: [String: TreeNode] = [:]
        for index in 0..<40 {
            var below: [String: TreeNode] = [:]
            for number in 0..<Int.random(in: 0..<60, using: &random) {
                below["n\(number)"] = number == 5 ? shared[index % 2] : try store.file(random.bytes(number))
            }
            below["deep"] = directory(["x": directory(["y": directory([:])])])
            top["d\(index)"] = directory(below)
        }
        return directory(top)
    }

    @Test func everyInodeLeadsBackToItsFile() throws {
        let store = MemoryStore()
        let reference = try store.write(try wide(store))
        let reader = try FlistReader(reference, StoreSource(store))
        var seen: Set<UInt64> = []
        func walk(_ located: FlistReader.Located) throws {
            seen.insert(located.inode)
            // A reader that never saw the path finds the same file.
            let fresh = try FlistReader(reference, StoreSource(store))
            let again = try fresh.file(located.inode)
            #expect(again.entry.content == located.entry.content)
            #expect(again.inode == located.inode)
            if case .directory = located.entry.content { #expect(again.parent == located.parent) }
            var children: [FlistReader.Located] = []
            try reader.list(located, from: 0) { _, child in
                children.append(child)
                return true
            }
            #expect(
                children.map(\.entry.name) == children.map(\.entry.name).sorted { $0.lexicographicallyPrecedes($1) })
            for child in children {
                #expect(try reader.lookup(child.entry.name, in: located)?.inode == child.inode)
                try walk(child)
            }
        }
        try walk(try reader.file(1))
        let totals = reader.root.totals
        #expect(UInt64(seen.count) == totals.files + totals.directories + totals.others)
        for inode in [0, reader.root.directory.slots + 1, Entry.hardLinkBase, Entry.hardLinkBase + 3, UInt64.max] {
            #expect(throws: FlistError.noInode(inode)) { try reader.file(inode) }
        }
    }

    @Test func largeDirectoriesHaveParts() throws {
        let store = MemoryStore()
        let file = try store.file(name("x"))
        guard case .file(let pieces) = file.content else { return }
        var children: [String: TreeNode] = [:]
        for index in 0..<20_000 { children["entry-\(index)"] = TreeNode(plainAttributes, .file(pieces)) }
        let reference = try store.write(directory(children))
        let reader = try FlistReader(reference, StoreSource(store))
        #expect(reader.root.directory.parts.count > 3)
        #expect(reader.root.directory.entries == 20_000)
        for index in stride(from: 0, to: 20_000, by: 777) {
            let found = try #require(try reader.lookup(path: [name("entry-\(index)")]))
            #expect(try reader.file(found.inode).entry.name == name("entry-\(index)"))
        }
        #expect(try reader.lookup(path: [name("entry-")]) == nil)
        #expect(try reader.lookup(path: [name("zzz")]) == nil)
        // One more name changes only the part where it falls, and the root.
        let before = store.count
        children["entry-10000-new"] = TreeNode(plainAttributes, .file(pieces))
        _ = try store.write(directory(children))
        #expect(store.count - before <= 3)
        var listed = 0
        var last: UInt64 = 0
        try reader.list(try reader.file(1), from: 19_990) { index, _ in
            listed += 1
            last = index
            return true
        }
        #expect(listed == 10)
        #expect(last == 19_999)
    }

    @Test func largeFilesHaveLists() throws {
        let store = MemoryStore()
        let chunk = try ChunkCodec.seal([UInt8](repeating: 5, count: 100), .content, .publicImages)
        let pieces = (1...9_000).map { SizedReference(size: UInt64($0), chunk: chunk.reference) }
        let reference = try store.write(directory(["big": TreeNode(plainAttributes, .file(pieces))]))
        let reader = try FlistReader(reference, StoreSource(store))
        guard case .file(let size, let tree) = try #require(try reader.lookup(path: [name("big")])).entry.content else {
            return
        }
        #expect(size == 9_000 * 9_001 / 2)
        #expect(tree.depth == 1)
        var collected: [UInt64] = []
        try reader.chunks(tree, 0..<size) { start, piece throws(FlistError) in
            #expect(start == piece.size * (piece.size - 1) / 2)
            collected.append(piece.size)
        }
        #expect(collected == Array(1...9_000))
        collected = []
        try reader.chunks(tree, (size - 1)..<size) { _, piece throws(FlistError) in collected.append(piece.size) }
        #expect(collected == [9_000])
    }

    @Test func verifierNamesEveryDamagedFile() throws {
        let store = MemoryStore()
        let bad = try store.file(name("bad contents"))
        let gone = try store.file(name("contents that are gone"))
        let root = try store.write(
            directory([
                "good": try store.file(name("good")),
                "sub": directory(["bad": bad, "gone": gone, "twin": try store.file(name("bad contents"))]),
            ]))
        guard case .file(let badPieces) = bad.content, case .file(let gonePieces) = gone.content else { return }
        store.change(badPieces[0].chunk.id) { $0?[20] ^= 1 }
        store.change(gonePieces[0].chunk.id) { $0 = nil }
        var verifier = FlistVerifier(StoreSource(store))
        let report = try verifier.verify(root)
        #expect(report.findings.map(\.path) == ["/sub/bad", "/sub/gone", "/sub/twin"])
        #expect(
            report.findings.map(\.error) == [
                .wrongIdentifier(badPieces[0].chunk.id), .missing(gonePieces[0].chunk.id),
                .wrongIdentifier(badPieces[0].chunk.id),
            ])
        store.change(root.id) { $0 = nil }
        #expect(throws: FlistError.missing(root.id)) { try verifier.verify(root) }
    }

    @Test func refusesTreesThatAreTooDeep() {
        var node = directory([:])
        for _ in 0...FlistLimits.depth { node = directory(["d": node]) }
        let store = MemoryStore()
        #expect(throws: FlistError.self) { try store.write(node) }
    }

    /// The vector of Documentation/formats/flist.md.
    @Test func publishedVector() throws {
        let store = MemoryStore()
        let hello = try store.file(name("hello"))
        let root = directory([
            "a": hello, "b": TreeNode(plainAttributes, .symbolicLink(name("a"))), "sub": directory(["c": hello]),
        ])
        let reference = try store.write(root)
        let plain = try StoreSource(store).plaintext(reference, .root)
        #expect(Hex.encode(plain) == Vectors.rootPlain)
        #expect(reference.id.hex == Vectors.rootId)
        #expect(reference.key.hex == Vectors.rootKey)
    }
}

@Suite struct DecoderTests {
    /// Whatever the bytes, decoding ends with a value or an error.
    @Test func survivesDamage() throws {
        let store = MemoryStore()
        var children: [String: TreeNode] = ["dir": directory(["x": try store.file([1, 2, 3])])]
        for index in 0..<30 { children["f\(index)"] = try store.file(Array(repeating: UInt8(index), count: index)) }
        children["hard"] = children["f3"]
        children["dev"] = TreeNode(plainAttributes, .characterDevice(major: 1, minor: 2))
        children["link"] = TreeNode(plainAttributes, .symbolicLink(name("target")))
        let reference = try store.write(directory(children))
        let source = StoreSource(store)
        let root = try source.plaintext(reference, .root)
        let part = try #require(try RootChunk(root).directory.parts.first)
        let plain = try source.plaintext(part.chunk, .directory)
        var random = Seeded(state: 42)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = Bool.random(using: &random) ? plain : root
            let isRoot = bytes == root
            for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.removeSubrange(place...)
                case 2: bytes.insert(contentsOf: [0xff, 0xff, 0xff, 0xff, 0x7f], at: place)
                default: bytes.remove(at: place)
                }
            }
            if isRoot {
                if (try? RootChunk(bytes)) != nil { accepted += 1 }
            } else if (try? DirectoryPart(bytes, expecting: part)) != nil {
                accepted += 1
            }
            var lists = EntryDecoder(bytes, .list)
            _ = try? lists.references(limit: FlistLimits.listReferences, depth: 0, size: 100)
        }
        // Most damage is noticed even without the tag: but a changed size or key is a valid entry.
        #expect(accepted < 15_000)
    }

    @Test(arguments: ["", ".", "..", "a/b", "a\0b", String(repeating: "x", count: 256)])
    func refusesNames(text: String) throws {
        #expect(!EntryDecoder.isName(name(text)))
        let store = MemoryStore()
        #expect(throws: FlistError.self) { try store.write(directory([text: TreeNode(plainAttributes, .pipe)])) }
    }

    @Test func refusesUnsortedAndDoubleNames() throws {
        func part(_ names: [String]) throws -> DirectoryPart {
            var writer = ByteWriter()
            writer.varint(UInt64(names.count))
            for text in names {
                Entry(name: name(text), attributes: plainAttributes, hardLink: 0, links: 1, content: .pipe).encode(
                    into: &writer)
            }
            let key = try #require(ChunkKey(Array(repeating: 0, count: 32)))
            let expected = DirectoryPartReference(
                firstName: name(names[0]), entries: UInt64(names.count), slots: UInt64(names.count),
                chunk: ChunkReference(id: .zero, key: key))
            return try DirectoryPart(writer.bytes, expecting: expected)
        }
        #expect(try part(["a", "b"]).entries.count == 2)
        #expect(throws: FlistError.self) { try part(["b", "a"]) }
        #expect(throws: FlistError.self) { try part(["a", "a"]) }
    }
}

@Suite struct BoundedCacheTests {
    @Test func keepsWhatWasUsedLast() {
        let cache = BoundedCache<Int, String>(limit: 10)
        for number in 0..<5 { cache.insert(number, "\(number)", cost: 2) }
        #expect(cache.value(0) == "0")
        cache.insert(5, "5", cost: 2)
        #expect(cache.value(1) == nil)
        #expect(cache.value(0) == "0")
        cache.insert(6, "6", cost: 9)
        #expect(cache.cost == 9)
        cache.insert(7, "7", cost: 11)
        #expect(cache.value(7) == nil)
        cache.insert(6, "six", cost: 1)
        #expect(cache.value(6) == "six")
        #expect(cache.cost == 1)
    }
}
