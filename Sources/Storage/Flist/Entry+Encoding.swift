import Bytes
import Crypto

/// The type field of an encoded entry.
private enum TypeCode: UInt8 {
    case file = 1
    case directory = 2
    case symbolicLink = 3
    case characterDevice = 4
    case blockDevice = 5
    case pipe = 6
    case socket = 7
}

extension Entry {
    /// Appends the encoded entry.
    func encode(into writer: inout ByteWriter) {
        writer.lengthPrefixed(name)
        writer.u8(typeCode.rawValue)
        writer.varint(UInt64(attributes.mode))
        writer.varint(UInt64(attributes.uid))
        writer.varint(UInt64(attributes.gid))
        let seconds = attributes.modified.seconds
        writer.varint(UInt64(bitPattern: (seconds << 1) ^ (seconds >> 63)))
        writer.varint(UInt64(attributes.modified.nanoseconds))
        writer.varint(UInt64(attributes.extended.count))
        for attribute in attributes.extended {
            writer.lengthPrefixed(attribute.name)
            writer.lengthPrefixed(attribute.value)
        }
        writer.varint(hardLink)
        if hardLink != 0 { writer.varint(links) }
        switch content {
        case .file(let size, let tree):
            writer.varint(size)
            if size > 0 { tree.encode(into: &writer) }
        case .directory(let directory): directory.encode(into: &writer)
        case .symbolicLink(let target): writer.lengthPrefixed(target)
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            writer.varint(UInt64(major))
            writer.varint(UInt64(minor))
        case .pipe, .socket: break
        }
    }

    private var typeCode: TypeCode {
        switch content {
        case .file: .file
        case .directory: .directory
        case .symbolicLink: .symbolicLink
        case .characterDevice: .characterDevice
        case .blockDevice: .blockDevice
        case .pipe: .pipe
        case .socket: .socket
        }
    }
}

extension ChunkReference {
    func encode(into writer: inout ByteWriter) {
        writer.append(id.bytes)
        writer.append(key.bytes)
    }
}

extension ChunkTree {
    func encode(into writer: inout ByteWriter) {
        writer.u8(depth)
        Self.encode(references, into: &writer)
    }

    /// A count and that many references: also the whole of a list chunk.
    static func encode(_ references: some Collection<SizedReference>, into writer: inout ByteWriter) {
        writer.varint(UInt64(references.count))
        for reference in references {
            writer.varint(reference.size)
            reference.chunk.encode(into: &writer)
        }
    }
}

extension DirectoryReference {
    func encode(into writer: inout ByteWriter) {
        writer.varint(subdirectories)
        writer.varint(UInt64(parts.count))
        for part in parts {
            writer.lengthPrefixed(part.firstName)
            writer.varint(part.entries)
            writer.varint(part.slots)
            part.chunk.encode(into: &writer)
        }
    }
}

/// Reads the fields of entries out of a chunk and refuses what the format does not allow.
struct EntryDecoder {
    private var reader: ByteReader
    let kind: ChunkKind

    init(_ bytes: [UInt8], _ kind: ChunkKind) {
        reader = ByteReader(bytes)
        self.kind = kind
    }

    var offset: Int { reader.offset }

    func refusal(_ reason: String) -> FlistError { .malformed(kind, reason: reason, offset: reader.offset) }

    private mutating func read<Value>(_ body: (inout ByteReader) throws(ByteError) -> Value) throws(FlistError) -> Value
    {
        let start = reader.offset
        do { return try body(&reader) } catch { throw .malformed(kind, reason: "\(error)", offset: start) }
    }

    mutating func finish() throws(FlistError) {
        try read { (reader: inout ByteReader) throws(ByteError) in try reader.finish() }
    }

    mutating func number(_ subject: String, below limit: UInt64) throws(FlistError) -> UInt64 {
        let value = try read { (reader: inout ByteReader) throws(ByteError) in try reader.varint() }
        guard value < limit else { throw .limit(subject: subject, value: value, limit: limit - 1) }
        return value
    }

    mutating func bytes(limit: Int) throws(FlistError) -> [UInt8] {
        try read { (reader: inout ByteReader) throws(ByteError) in try reader.lengthPrefixed(limit: limit) }
    }

    private mutating func byte() throws(FlistError) -> UInt8 {
        try read { (reader: inout ByteReader) throws(ByteError) in try reader.u8() }
    }

    mutating func reference() throws(FlistError) -> ChunkReference {
        let raw = try read { (reader: inout ByteReader) throws(ByteError) in try reader.take(64) }
        guard let id = Digest(Array(raw[..<32])), let key = ChunkKey(Array(raw[32...])) else {
            throw refusal("reference")
        }
        return ChunkReference(id: id, key: key)
    }

    /// A name of a directory; only the root's is empty.
    mutating func name() throws(FlistError) -> [UInt8] {
        let name = try bytes(limit: FlistLimits.nameBytes)
        guard Self.isName(name) else { throw refusal("not a file name") }
        return name
    }

    static func isName(_ name: [UInt8]) -> Bool {
        !name.isEmpty && name.count <= FlistLimits.nameBytes && !name.contains(0) && !name.contains(0x2f)
            && name != [0x2e] && name != [0x2e, 0x2e]
    }

    /// An entry; `isRoot` for the one without a name.
    mutating func entry(isRoot: Bool = false) throws(FlistError) -> Entry {
        let name: [UInt8]
        if isRoot {
            name = try bytes(limit: 0)
        } else {
            name = try self.name()
        }
        guard let type = TypeCode(rawValue: try byte()) else { throw refusal("unknown type of file") }
        let attributes = try attributes()
        let hardLink = try number("hard-link group", below: FlistLimits.hardLinks + 1)
        let links = hardLink == 0 ? 1 : try number("number of links", below: 1 << 32)
        guard hardLink == 0 || (links >= 2 && type != .directory) else { throw refusal("impossible hard link") }
        let content = try content(type)
        return Entry(name: name, attributes: attributes, hardLink: hardLink, links: links, content: content)
    }

    private mutating func attributes() throws(FlistError) -> FileAttributes {
        let mode = try number("mode", below: 0o10000)
        let uid = try number("uid", below: 1 << 32)
        let gid = try number("gid", below: 1 << 32)
        let zigzag = try read { (reader: inout ByteReader) throws(ByteError) in try reader.varint() }
        let seconds = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
        let nanoseconds = try number("nanoseconds", below: 1_000_000_000)
        let count = try number("number of extended attributes", below: 1 + UInt64(FlistLimits.attributesBytes / 2))
        var extended: [ExtendedAttribute] = []
        var total = 0
        for _ in 0..<count {
            let name = try bytes(limit: FlistLimits.attributeNameBytes)
            let value = try bytes(limit: FlistLimits.attributeValueBytes)
            total += name.count + value.count
            guard !name.isEmpty, !name.contains(0) else { throw refusal("not an attribute name") }
            if let last = extended.last, !last.name.lexicographicallyPrecedes(name) {
                throw refusal("unsorted attributes")
            }
            guard total <= FlistLimits.attributesBytes else {
                throw .limit(
                    subject: "extended attributes", value: UInt64(total), limit: UInt64(FlistLimits.attributesBytes))
            }
            extended.append(ExtendedAttribute(name: name, value: value))
        }
        return FileAttributes(
            mode: UInt16(mode), uid: UInt32(uid), gid: UInt32(gid),
            modified: FileTime(seconds: seconds, nanoseconds: UInt32(nanoseconds)), extended: extended)
    }

    private mutating func content(_ type: TypeCode) throws(FlistError) -> Entry.Content {
        switch type {
        case .file:
            let size = try number("size", below: 1 << 63)
            return .file(size: size, size == 0 ? .empty : try tree(size: size))
        case .directory: return .directory(try directory())
        case .symbolicLink:
            let target = try bytes(limit: FlistLimits.targetBytes)
            guard !target.isEmpty, !target.contains(0) else { throw refusal("not a link target") }
            return .symbolicLink(target)
        case .characterDevice:
            return .characterDevice(major: try deviceNumber(), minor: try deviceNumber())
        case .blockDevice:
            return .blockDevice(major: try deviceNumber(), minor: try deviceNumber())
        case .pipe: return .pipe
        case .socket: return .socket
        }
    }

    private mutating func deviceNumber() throws(FlistError) -> UInt32 {
        UInt32(try number("device number", below: 1 << 32))
    }

    private mutating func tree(size: UInt64) throws(FlistError) -> ChunkTree {
        let depth = try byte()
        guard depth <= FlistLimits.treeDepth else {
            throw .limit(subject: "levels of lists", value: UInt64(depth), limit: UInt64(FlistLimits.treeDepth))
        }
        let references = try references(limit: FlistLimits.directReferences, depth: depth, size: size)
        return ChunkTree(depth: depth, references: references)
    }

    /// References that together cover `size` bytes.
    mutating func references(limit: Int, depth: UInt8, size: UInt64) throws(FlistError) -> [SizedReference] {
        let count = try number("number of references", below: UInt64(limit) + 1)
        var references: [SizedReference] = []
        references.reserveCapacity(Int(count))
        var rest = size
        for _ in 0..<count {
            let covered = try number(
                "size of a piece", below: depth == 0 ? UInt64(FlistLimits.chunkBytes) + 1 : 1 << 63)
            guard covered > 0, covered <= rest else { throw refusal("pieces do not add up to the size") }
            rest -= covered
            references.append(SizedReference(size: covered, chunk: try reference()))
        }
        guard rest == 0 else { throw refusal("pieces do not add up to the size") }
        return references
    }

    private mutating func directory() throws(FlistError) -> DirectoryReference {
        let subdirectories = try number("number of directories", below: FlistLimits.slots)
        let count = try number("parts of a directory", below: UInt64(FlistLimits.directoryParts) + 1)
        var parts: [DirectoryPartReference] = []
        parts.reserveCapacity(Int(count))
        var total: UInt64 = 1
        var entries: UInt64 = 0
        for _ in 0..<count {
            let first = try name()
            if let last = parts.last, !last.firstName.lexicographicallyPrecedes(first) {
                throw refusal("unsorted parts")
            }
            let held = try number("entries of a part", below: FlistLimits.slots)
            let slots = try number("inodes of a part", below: FlistLimits.slots)
            guard held > 0, slots >= held else { throw refusal("a part with fewer inodes than entries") }
            total += slots
            entries += held
            guard total < FlistLimits.slots else {
                throw .limit(subject: "inodes", value: total, limit: FlistLimits.slots - 1)
            }
            parts.append(DirectoryPartReference(firstName: first, entries: held, slots: slots, chunk: try reference()))
        }
        guard subdirectories <= entries else { throw refusal("more directories than entries") }
        return DirectoryReference(subdirectories: subdirectories, parts: parts)
    }
}
